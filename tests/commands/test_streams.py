"""Standard output that is full or closed: one sentence, and nothing is lost in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.commands.cli import COMMANDS

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


def shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell in which `bench` is this one."""
    return subprocess.run(
        ["bash", "-c", f'bench() {{ {sys.executable} -m bench "$@"; }}; {line}'],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("line", ["model list", "debug schema run", "--help", "--version"])
def test_a_full_standard_output_is_one_sentence(line: str, unbuffered: str) -> None:
    done = shell(f"bench {line} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == "bench: can't write to standard output: No space left on device.\n"


@needs_full
def test_every_command_tells_that_its_help_could_not_be_written() -> None:
    lines = "; ".join(f"bench {name} --help > /dev/full; echo $?" for name in sorted(COMMANDS)[::6])
    done = shell(lines)
    assert set(done.stdout.split()) == {"1"}
    assert set(done.stderr.splitlines()) == {
        "bench: can't write to standard output: No space left on device."
    }


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_disk_that_grows_full_in_the_middle_is_told(tmp_path: Path, unbuffered: str) -> None:
    """An unbuffered text stream of Python would drop the rest, and end with 0."""
    out = tmp_path / "schema.json"
    line = f"ulimit -f 1; bench debug schema run > {out}"
    # The limit would cut bytecode too, which every later process would trip over.
    done = shell(line, PYTHONUNBUFFERED=unbuffered, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 1
    assert done.stderr == "bench: can't write to standard output: File too large.\n"


@needs_full
def test_where_the_sentence_can_not_be_written_either_the_exit_code_says_it() -> None:
    assert shell("bench model list > /dev/full 2> /dev/full").returncode == 1


def test_to_closed_streams_nothing_is_printed_and_their_numbers_are_given_to_no_file() -> None:
    done = shell("bench model list >&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    code = (
        "import os; from bench.__main__ import main; main(['--version']); "
        "fd = os.open('/dev/null', os.O_RDONLY); print(fd, file=open('/dev/fd/9', 'w'))"
    )
    done = shell(f'exec 9>&1; "{sys.executable}" -c "{code}" >&- 2>&- <&-')
    assert int(done.stdout) > 2
