"""Times, shares and lists are written in one way, whichever flag they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from bench.commands.flags import (
    DURATION,
    OFFSET,
    SHARE,
    SHARE_ABOVE_ZERO,
    read_list,
    read_models,
    read_targets,
)

CONTEXT, FLAG = click.Context(click.Command("run")), click.Option(["--flag"], multiple=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("2m", 120), ("1h", 3600), ("500ms", 0.5), ("90", 90), ("1.5 m", 90), ("0.5", 0.5)],
)
def test_a_time_has_its_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == pytest.approx(seconds)


def test_a_default_that_is_a_number_is_taken_as_seconds() -> None:
    assert DURATION.convert(20.0, None, None) == 20


@pytest.mark.parametrize("text", ["0", "0s", "-5s", "5 days", "", "nan", "inf", "1e999", "5ss"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        DURATION.convert(text, None, None)


def test_an_offset_may_be_negative_or_zero() -> None:
    assert [OFFSET.convert(text, None, None) for text in ("-1h", "0", "+90")] == [-3600, 0, 90]


@pytest.mark.parametrize(
    ("text", "share"), [("2%", 0.02), ("0.02", 0.02), ("0", 0), (" 5 %", 0.05)]
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, share: float) -> None:
    assert SHARE.convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["2", "100%", "-1%", "two", "nan", "inf", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SHARE.convert(text, None, None)


def test_a_share_that_may_not_be_zero_refuses_zero() -> None:
    with pytest.raises(click.BadParameter, match="above 0"):
        SHARE_ABOVE_ZERO.convert("0%", None, None)


@pytest.mark.parametrize("read", [read_list, read_models, read_targets])
def test_names_are_joined_by_commas_or_given_in_several_flags(
    read: Callable[..., tuple[str, ...]],
) -> None:
    assert read(CONTEXT, FLAG, ("a,b", "c", "b , d")) == ("a", "b", "c", "d")


@pytest.mark.parametrize("read", [read_list, read_models, read_targets])
def test_a_comma_without_a_name_is_refused(read: Callable[..., tuple[str, ...]]) -> None:
    with pytest.raises(click.BadParameter, match="beside a comma"):
        read(CONTEXT, FLAG, ("a,,b",))


def test_a_path_that_exists_keeps_its_commas(tmp_path: Path) -> None:
    model, module = tmp_path / "a,b.onnx", tmp_path / "nets,old.py"
    for path in (model, module):
        path.touch()
    given = (str(model), f"{module}:make")
    assert read_models(CONTEXT, FLAG, given) == given


def test_a_comma_among_a_targets_options_parts_no_targets() -> None:
    given = ("ascend:0?gears=1,2&om=x,b:cpu", "c:cpu?k=1")
    assert read_targets(CONTEXT, FLAG, given) == ("ascend:0?gears=1,2&om=x", "b:cpu", "c:cpu?k=1")
