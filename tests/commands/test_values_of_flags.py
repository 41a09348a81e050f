"""Times, shares and lists are written in one way, whichever flag they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from bench.commands.cli import cli, command_paths
from bench.commands.flags import (
    DURATION,
    OFFSET,
    ONE_TARGET,
    POINTS,
    POINTS_ABOVE_ZERO,
    SHARE,
    SHARE_ABOVE_ZERO,
    SHARE_OF_TRUST,
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


def test_a_confidence_that_a_coin_has_too_is_refused() -> None:
    assert SHARE_OF_TRUST.convert("99%", None, None) == pytest.approx(0.99)
    with pytest.raises(click.BadParameter, match=r"at least 0\.5"):
        SHARE_OF_TRUST.convert("49%", None, None)


@pytest.mark.parametrize("text", ["0.5", "0.5points", "0.5 point", "0.5%"])
def test_points_have_their_unit_or_none(text: str) -> None:
    assert POINTS.convert(text, None, None) == 0.5
    assert POINTS.convert("0", None, None) == 0


@pytest.mark.parametrize("text", ["much", "-1", "100", "nan", "0.5 percent", ""])
def test_what_is_no_number_of_points_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not a number of points"):
        POINTS.convert(text, None, None)
    with pytest.raises(click.BadParameter, match="above 0"):
        POINTS_ABOVE_ZERO.convert("0", None, None)


def command_of(path: tuple[str, ...]) -> click.Command:
    command: click.Command = cli
    for word in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


@pytest.mark.parametrize("path", command_paths(), ids=" ".join)
def test_flags_of_one_name_are_written_in_one_way_in_every_command(path: tuple[str, ...]) -> None:
    whole = command_of(path)
    for command in [*whole.commands.values()] if isinstance(whole, click.Group) else [whole]:
        for option in command.params:
            flags = set(option.opts)
            if "--json" in flags:
                assert isinstance(option, click.Option)
                # `portability` takes the file of the release before, too.
                assert option.is_flag or option.flag_value == "-"
            # `ci init` writes what it is given into a file.
            times = {"--timeout", "--max-time", "--cell-timeout", "--keep-every"}
            if flags & times and path != ("ci", "init"):
                assert option.type is DURATION
            if flags & {"--margin", "--confidence"} and path != ("certify",):
                assert option.type in (SHARE, SHARE_ABOVE_ZERO, SHARE_OF_TRUST)
            if flags & {"--within", "--loss", "--max-accuracy-loss"}:
                assert option.type in (POINTS, POINTS_ABOVE_ZERO)
            if flags & {"--target", "--on", "--scenario", "--variant"} and option.multiple:
                assert option.callback in (read_list, read_targets, ONE_TARGET["callback"])
            if flags & {"--target", "--on", "--variant"}:
                assert option._custom_shell_complete is not None
