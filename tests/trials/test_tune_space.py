"""What `bench tune` chooses from: the simplest first, nothing twice, nothing without effect."""

from __future__ import annotations

import pytest

from bench.capabilities import Tunable
from bench.errors import SpecError
from bench.trials.tune.space import Configuration, Space, configuration, counts_up_to

DEFAULT = Configuration(threads=2, batch=32)
ARENA = {"arena": Tunable(("1", "0"))}
SPINNING = {"spinning": Tunable(("0", "1"), pooled=True)}


def words(space: Space) -> list[str]:
    return [" ".join(one.departures(space.default)) for one in space.configurations()]


def test_the_default_comes_first_and_then_those_with_the_fewest_departures() -> None:
    found = words(Space(DEFAULT, 2, threads=(1, 2), tunables=ARENA))
    assert found == ["", "threads=1", "arena=0", "threads=1 arena=0"]


def test_an_option_of_a_pool_is_not_tried_with_a_single_thread() -> None:
    found = words(Space(DEFAULT, 2, threads=(1, 2), tunables=SPINNING))
    assert found == ["", "threads=1", "spinning=1"]


def test_streams_share_the_cores_with_threads() -> None:
    found = words(Space(DEFAULT, 4, threads=(1, 2, 4), streams=(1, 2, 4)))
    assert found == [
        "", "streams=2", "threads=1", "threads=1 streams=2", "threads=1 streams=4", "threads=4",
    ]  # fmt: skip


def test_the_default_comes_first_though_its_streams_take_more_cores_than_there_are() -> None:
    """A target that names its streams: with all cores' threads for each, as `bench run` has it."""
    default = Configuration(threads=2, batch=32, streams=2)
    assert words(Space(default, 2, threads=(1, 2))) == ["", "threads=1"]
    assert words(Space(default, 2, tunables=ARENA)) == ["", "arena=0"]


def test_another_division_of_the_cores_is_one_choice_and_comes_before_options() -> None:
    """It has two departures, and is what helps throughput most: without time for all it must not be
    among the first that are left out."""
    default = Configuration(threads=2, batch=32)
    tunables = {**ARENA, **SPINNING, "level": Tunable(("all", "some", "few", "none"))}
    found = words(Space(default, 2, (1, 2), (1, 2), batches=(8, 32), tunables=tunables))
    assert found[:4] == ["", "batch=8", "threads=1", "threads=1 streams=2"]
    assert set(found[4:9]) == {"arena=0", "spinning=1", "level=some", "level=few", "level=none"}
    assert found[9:11] == ["threads=1 batch=8", "threads=1 streams=2 batch=8"]


def test_on_an_accelerator_no_core_limits_the_streams() -> None:
    found = words(Space(DEFAULT, 0, streams=(1, 2, 4)))
    assert found == ["", "streams=2", "streams=4"]


def test_batches_and_variants_are_departures_like_others() -> None:
    space = Space(DEFAULT, 2, batches=(1, 32), variants=("fp32", "int8-dynamic"))
    assert words(space) == ["", "variant=int8-dynamic", "batch=1", "batch=1 variant=int8-dynamic"]


def test_no_configuration_stands_twice() -> None:
    every = Space(
        DEFAULT,
        4,
        threads=(1, 2, 4),
        streams=(1, 2, 4),
        batches=(1, 8, 32),
        tunables={**ARENA, **SPINNING},
    ).configurations()
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("place", range(12))
def test_departures_read_back_as_the_configuration(place: int) -> None:
    space = Space(DEFAULT, 2, (1, 2), (1, 2), (1, 32), ("fp32", "int4"), {**ARENA, **SPINNING})
    one = space.configurations()[place * 2]
    assert configuration(",".join(one.departures(DEFAULT)), DEFAULT) == one


@pytest.mark.parametrize("text", ["threads", "threads=", "=2", "threads=two", "batch=0"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"name=value|whole number"):
        configuration(text, DEFAULT)


def test_streams_are_an_option_of_the_target_only_where_there_are_several() -> None:
    assert Configuration(1, 32).extra == {}
    assert Configuration(1, 32, 2, options=(("arena", "0"),)).extra == {
        "arena": "0",
        "streams": "2",
    }


@pytest.mark.parametrize(("most", "found"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6))])
def test_counts_double_up_to_the_most(most: int, found: tuple[int, ...]) -> None:
    assert counts_up_to(most) == found
