"""`--shape` and `--threads`: what is given counts, or is refused, or told to be too much."""

from __future__ import annotations

import click
import pytest

from bench.__main__ import main
from bench.commands.flags import read_sizes

CONTEXT, FLAG = click.Context(click.Command("run")), click.Option(["--shape"])


def test_sizes_of_several_flags_are_joined() -> None:
    assert read_sizes(CONTEXT, FLAG, ("h=8, w=9", "h=8")) == {"h": 8, "w": 9}


@pytest.mark.parametrize("values", [("seq=4,seq=8",), ("seq=4", "seq=8")])
def test_two_sizes_of_one_name_are_refused(values: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter, match="seq is given as 4 and 8"):
        read_sizes(CONTEXT, FLAG, values)


@pytest.mark.parametrize(("threads", "told"), [(2, False), (3, True)])
def test_more_threads_than_cpus_are_told_before_the_run(
    threads: int, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.measure.prepare.allowed_cpus", lambda: (4, 5))
    asked = ["run", "fashion-student", "-t", "onnxruntime:cpu", "--threads", str(threads)]
    assert main([*asked, "--dry-run"]) == 0
    assert (f"--threads {threads}: only 2 CPUs" in capsys.readouterr().err) == told
