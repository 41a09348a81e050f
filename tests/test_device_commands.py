"""What the device check runs ends in time, and leaves what it has."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEVICES = Path(__file__).parent / "devices"
sys.path.append(str(DEVICES))

import in_time  # noqa: E402
from in_time import Command, run  # noqa: E402


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """In a shell's background SIGINT is ignored, and so it would be by what is run here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same signals, sooner after each other."""
    shorter = tuple((number, seconds / 4) for number, seconds in in_time.PATIENCE)
    monkeypatch.setattr(in_time, "PATIENCE", shorter)
    monkeypatch.setattr(in_time, "ENDING_S", in_time.ENDING_S / 4)


def python(code: str, log: Path) -> Command:
    return Command([sys.executable, "-c", code], log)


def test_pytest_that_is_cut_off_still_says_what_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = tmp_path / "slow"
    tests = tmp_path / "test_two.py"
    tests.write_text(
        "import pathlib, time\ndef test_quick(): pass\n"
        f"def test_slow(): pathlib.Path({str(reached)!r}).touch(); time.sleep(300)\n"
    )
    waited = in_time._wait
    began = iter([lambda *_: until_there(reached)])
    monkeypatch.setattr(in_time, "_wait", lambda *given: next(began, waited)(*given))
    words = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:cacheprovider"]
    [ended] = run([Command([*words, str(tests)], tmp_path / "log")], time.monotonic())
    assert ended.cut
    assert "1 passed" in ended.last_words


def until_there(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


#: Heeds no signal, and has a child that doesn't either.
STUBBORN = """
import os, signal, sys, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.usefixtures("impatient")
def test_what_heeds_no_signal_is_killed_with_its_children_within_the_time(tmp_path: Path) -> None:
    until = time.monotonic() + 10
    [ended] = run([python(STUBBORN, tmp_path / "log")], until)
    assert time.monotonic() <= until + 2  # of a machine that is busy
    assert ended.cut
    assert ended.status == -signal.SIGKILL
    child = int(ended.last_words)
    assert not gone(os.getpid())
    deadline = time.monotonic() + 5
    while not gone(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(child)


@pytest.mark.usefixtures("impatient")
def test_commands_run_side_by_side_and_one_that_is_cut_off_costs_no_other(tmp_path: Path) -> None:
    commands = [
        python("import time; time.sleep(60)", tmp_path / "slow"),
        python("print(7)", tmp_path / "fine"),
    ]
    slow, fine = run(commands, time.monotonic() + 10)
    assert slow.cut
    assert (fine.cut, fine.status, fine.last_words) == (False, 0, "7")


def test_an_interrupt_ends_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    made: list[in_time._Running] = []
    began = in_time._Running.__init__
    monkeypatch.setattr(
        in_time._Running, "__init__", lambda self, c: (made.append(self), began(self, c))[1]
    )
    waited = in_time._wait
    waits = iter([interrupted])
    monkeypatch.setattr(in_time, "_wait", lambda *given: next(waits, waited)(*given))
    with pytest.raises(KeyboardInterrupt):
        run([python("import time; time.sleep(60)", tmp_path / "log")], time.monotonic() + 60)
    [one] = made
    assert not one.runs()


def test_a_log_may_hold_any_bytes(tmp_path: Path) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'before \xff after')"
    [ended] = run([python(code, tmp_path / "log")], time.monotonic() + 60)
    assert ended.last_words == "before � after"


def test_commands_do_not_run_in_the_checkout_whose_folder_bench_hides_the_package(
    tmp_path: Path,
) -> None:
    [ended] = run(
        [python("import os; print(os.getcwd())", tmp_path / "log")], time.monotonic() + 60
    )
    assert Path(ended.last_words) == tmp_path  # and what they leave lies beside their logs


def test_what_can_not_be_started_is_told(tmp_path: Path) -> None:
    [ended] = run([Command([str(tmp_path / "none")], tmp_path / "log")], time.monotonic() + 60)
    assert ended.status == 127
    assert "No such file" in ended.last_words


def test_what_is_for_programs_is_apart_from_what_is_printed_beside_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; print(1); print(2, file=sys.stderr)"]
    run([Command(words, tmp_path / "log", tmp_path / "out")], time.monotonic() + 60)
    assert (tmp_path / "out").read_text() == "1\n"
    assert (tmp_path / "log").read_text().endswith("2\n")


def test_a_group_is_killed_while_its_number_is_nobody_else_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """One that ends when it is asked to has ended by then, and nobody took leave of it yet."""
    asked: list[str] = []

    def killpg(group: int, number: int) -> None:
        asked.append(Path(f"/proc/{group}/stat").read_text().rpartition(")")[2].split()[0])

    monkeypatch.setattr(os, "killpg", killpg)
    [ended] = run([python("import time; time.sleep(60)", tmp_path / "log")], time.monotonic())
    assert ended.cut
    assert ended.status not in (None, 0)
    assert asked == ["Z"]
