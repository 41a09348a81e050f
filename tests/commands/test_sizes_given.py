"""`--shape`: every size that is given counts, or is refused."""

from __future__ import annotations

import click
import pytest

from bench.commands.flags import read_sizes

CONTEXT, FLAG = click.Context(click.Command("run")), click.Option(["--shape"])


def test_sizes_of_several_flags_are_joined() -> None:
    assert read_sizes(CONTEXT, FLAG, ("h=8, w=9", "h=8")) == {"h": 8, "w": 9}


@pytest.mark.parametrize("values", [("seq=4,seq=8",), ("seq=4", "seq=8")])
def test_two_sizes_of_one_name_are_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter, match="seq is given as 4 and 8"):
        read_sizes(CONTEXT, FLAG, values)
