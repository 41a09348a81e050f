"""How placement is weighed and worded."""

from __future__ import annotations

from typing import Any

import pytest

from bench.record.placement import placement_check, placement_fact, share_on_device, share_percent
from bench.record.result import PlacementFact


def fact(**changes: Any) -> PlacementFact:
    plain = {
        "nodes": {"npu:0": 3, "cpu": 1},
        "off_device": ["odd (Shrink, on cpu: no kernel)"],
        "source": "s",
        "precision": "fp16",
        "time_share": {"npu:0": 0.6, "cpu": 0.4},
        **changes,
    }
    return placement_fact(plain, "npu:0")


ALL = {"nodes": {"npu:0": 4}, "off_device": [], "time_share": {"npu:0": 1.0}}


def test_nodes_and_their_time_are_weighed_apart() -> None:
    found = fact()
    assert found.on_device_share == 0.75
    assert found.on_device_time_share == 0.6
    assert share_on_device(found) == 0.6


def test_without_a_measured_time_the_nodes_count() -> None:
    found = fact(time_share={})
    assert found.time_share is None
    assert share_on_device(found) == 0.75
    assert share_percent(found) == "75%"


def test_a_device_that_no_time_was_spent_on_has_none_of_it() -> None:
    assert fact(time_share={"cpu": 1.0}).on_device_time_share == 0.0


@pytest.mark.parametrize(("share", "text"), [(0.6, "60%"), (0.99999, "99.9%"), (1.0, "99.9%")])
def test_a_hundred_percent_means_every_node(share: float, text: str) -> None:
    assert share_percent(fact(time_share={"npu:0": share, "cpu": 1 - share})) == text
    assert share_percent(fact(**ALL)) == "100%"


def test_the_check_fails_for_one_node_elsewhere_and_names_it() -> None:
    check = placement_check(fact(), "npu:0")
    assert check is not None
    assert not check.ok
    assert check.detail == (
        "60% of the time and 3 of 4 nodes ran on npu:0; elsewhere: odd (Shrink, on cpu: no kernel)"
    )


def test_the_check_counts_what_it_does_not_name() -> None:
    check = placement_check(fact(nodes={"cpu": 9}, off_device=[f"n{i}" for i in range(9)]), "t")
    assert check is not None
    assert check.detail.endswith("elsewhere: n0, n1, n2 and 6 more")


def test_all_on_the_device_passes_and_unknown_is_no_check() -> None:
    check = placement_check(fact(**ALL), "npu:0")
    assert check is not None
    assert check.ok
    assert placement_check(fact(nodes={}, off_device=[], time_share={}), "npu:0") is None


def test_time_elsewhere_fails_where_the_runtime_does_not_tell_nodes() -> None:
    check = placement_check(fact(nodes={}, off_device=[]), "npu:0")
    assert check is not None
    assert not check.ok
    assert check.detail == "60% of the time was on npu:0"
    assert placement_check(fact(nodes={}, off_device=[], time_share={"npu:0": 1.0}), "t").ok


def test_what_a_session_said_of_its_placement_is_kept() -> None:
    found = fact()
    assert found.nodes == {"npu:0": 3, "cpu": 1}
    assert found.off_device == ("odd (Shrink, on cpu: no kernel)",)
    assert (found.source, found.precision) == ("s", "fp16")
    assert found.time_share == {"npu:0": 0.6, "cpu": 0.4}
    unknown = fact(nodes={}, off_device=[], time_share=None)
    assert (unknown.on_device_share, unknown.on_device_time_share) == (None, None)
    assert share_on_device(unknown) is None
    assert share_percent(unknown) == ""


def test_nodes_elsewhere_fail_even_where_no_time_was_spent_on_them() -> None:
    check = placement_check(fact(time_share={"npu:0": 1.0}), "npu:0")
    assert check is not None
    assert not check.ok
    assert check.detail.startswith("99.9% of the time and 3 of 4 nodes ran on npu:0; elsewhere: ")


@pytest.mark.parametrize(("off", "end"), [(3, "n0, n1, n2"), (4, "n0, n1, n2 and 1 more")])
def test_three_nodes_are_named(off: int, end: str) -> None:
    told = fact(
        nodes={"cpu": off, "npu:0": 1}, off_device=[f"n{i}" for i in range(off)], time_share={}
    )
    check = placement_check(told, "npu:0")
    assert check is not None
    assert check.detail == f"1 of {off + 1} nodes ran on npu:0; elsewhere: {end}"


@pytest.mark.parametrize(("share", "text"), [(0.1234, "12.3%"), (0.0, "0%"), (0.9982, "99.8%")])
def test_a_share_has_three_digits(share: float, text: str) -> None:
    assert share_percent(fact(time_share={"npu:0": share, "cpu": 1 - share})) == text


def test_an_old_record_without_times_loads() -> None:
    old = PlacementFact.model_validate(
        {"nodes": {"cpu": 2}, "on_device_share": 1.0, "off_device": [], "source": "s"}
    )
    assert share_percent(old) == "100%"
