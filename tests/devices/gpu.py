"""Checks a machine with an NVIDIA GPU within ten minutes.

    python tests/devices/gpu.py [--no-install] [--seconds 570] [--results DIR] [STAGE ...]

set-up   an environment of its own in .venv-gpu, with the PyTorch of the Python that runs this if
         that has CUDA; what can't be installed (no network, no time) is looked for in that Python.
         pip obeys its variables, so PIP_NO_INDEX and PIP_FIND_LINKS make it use wheels at hand.
doctor   which targets there are, and why TensorRT is absent if it is
pair     two encoders of the sizes of BERT-base and DistilBERT on every CUDA target
trio     the models of the default suite on every CUDA target and on the CPU
energy   the energy of an original and its student
right    every CUDA target keeps the contract of backends, the repository's tests of CUDA graphs
         pass, two models are the same as on the CPU, and an encoder of transformers is captured
sweep    `--batch auto` and `--roofline` on one cell

Each stage gets a share of the time that is left, and the stages after one that fails or is cut off
are carried out all the same. The script ends before its time is up. DIR has the runs, the
certificates, the logs, and `summary.txt`, which is written after each stage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import cells
from in_time import ENDING_S, Command, Ended, read, run
from set_up import ROOT, set_up
from stages import STAGES, Machine, Stage, Task

#: What set-up installs, so a device of the kind has to answer to each.
RUNTIMES = ("onnxruntime", "torch", "torch-compile")
#: pip may take minutes, and the rest has to fit behind it.
SET_UP_SHARE, DOCTOR_SHARE = 0.3, 0.2
#: What a command needs to be worth starting, and what the last summary takes.
_LEAST_S, _SUMMARY_S = 5.0, 3.0


@dataclass
class Part:
    """What came of one stage."""

    name: str
    began: float
    seconds: float | None = None  #: None: it is not at its end
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        if self.seconds is None:
            return f"{self.name}: not finished, {time.monotonic() - self.began:.0f} s"
        return f"{self.name}: {'FAILED' if self.faults else 'passed'}, {self.seconds:.0f} s"


class Check:
    """One check of a machine, from set-up to its summary."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self.machine = machine
        self.began = time.monotonic()
        self.until = self.began + seconds - _SUMMARY_S
        self.parts: list[Part] = []
        self.records: list[cells.Json] = []
        self.ended_by = ""
        self.logs = machine.results / "logs"
        self.logs.mkdir(parents=True)

    @property
    def failed(self) -> list[str]:
        """The names of stages that failed."""
        return [part.name for part in self.parts if part.faults]

    def carry_out(self, names: Sequence[str], *, install: bool) -> None:
        """Do all stages, or those that are named; without a target there is nothing to do."""
        if install:
            self._part("set-up", SET_UP_SHARE, self._set_up)
        if self.machine.python:
            self._part("doctor", DOCTOR_SHARE, self._doctor)
        chosen = [stage for stage in STAGES if not names or stage.name in names]
        for stage in chosen if self.machine.targets else []:
            share = 1.0 if stage is chosen[-1] else stage.share
            self._part(stage.name, share, self._stage(stage))

    def _part(self, name: str, share: float, do: Callable[[Part, float], None]) -> None:
        """Do one stage within its share of the time; whatever is wrong with it, others follow."""
        began = time.monotonic()
        part = Part(name, began)
        self.parts.append(part)
        until = began + share * max(0.0, self.until - began)
        try:
            if until - began < ENDING_S + _LEAST_S:
                part.faults.append("there was no time left for it")
            else:
                do(part, until)
        except Exception as error:
            part.faults.append(f"the check itself is wrong: {type(error).__name__}: {error}")
            with contextlib.suppress(OSError):
                (self.logs / f"{name}-error.txt").write_text(traceback.format_exc(), "utf-8")
        part.seconds = time.monotonic() - began
        self.write_summary()
        say(f"\n=== {part.heading}")
        for log in sorted(self.logs.glob(f"{name}-*.txt")):
            say(read(log))

    def _set_up(self, part: Part, until: float) -> None:
        found = set_up(ROOT / ".venv-gpu", self.logs, until)
        part.notes += found.notes
        self.machine.python = found.python
        os.environ.update(found.variables)
        if not found.python:
            part.faults.append(
                f"bench is not installed. Install it for {sys.executable}, and run this again "
                "with --no-install."
            )

    def _doctor(self, part: Part, until: float) -> None:
        told = self.logs / "doctor.json"
        command = Command(self.machine.bench("doctor", "--json"), self.logs / "doctor-0.txt", told)
        [ended] = run([command], until)
        try:
            backends = json.loads(read(told))["backends"]
        except (ValueError, KeyError):
            part.faults += _complaints(Task(command.words), ended, None) or ["it printed no JSON"]
            return
        kind = self.machine.kind
        self.machine.targets = targets_in(backends, kind)
        part.notes.append("targets: " + (", ".join(self.machine.targets) or "none"))
        part.faults += missing(backends, RUNTIMES, kind)
        if not self.machine.targets:
            part.faults.append(f"there is no {kind} target, so nothing else was done")
        known, words = tensorrt(backends)
        (part.notes if known else part.faults).append(words)

    def _stage(self, stage: Stage) -> Callable[[Part, float], None]:
        def do(part: Part, until: float) -> None:
            tasks = stage.tasks(self.machine, until - time.monotonic() - ENDING_S)
            logs = [self.logs / f"{stage.name}-{number}.txt" for number in range(len(tasks))]
            before = [cells.runs_in(task.runs) if task.runs else set() for task in tasks]
            commands = [Command(task.words, log) for task, log in zip(tasks, logs, strict=True)]
            all_ended = run(commands, until)
            for task, old, ended in zip(tasks, before, all_ended, strict=True):
                new = cells.runs_in(task.runs) - old if task.runs else set()
                found = cells.read_run(max(new)) if new else None
                if found is not None:
                    part.notes += found.notes()
                    self.records += found.records
                part.faults += _complaints(task, ended, found)

        return do

    def write_summary(self) -> None:
        """What is known by now; an earlier one is replaced whole."""
        new = self.machine.results / "summary.txt.new"
        with contextlib.suppress(OSError):
            new.write_text(self.summary(), encoding="utf-8")
            new.replace(self.machine.results / "summary.txt")

    def summary(self) -> str:
        """How each stage ended, and which cells told the device's own time."""
        seconds = time.monotonic() - self.began
        lines = [f"{seconds:.0f} s in all; everything is in {self.machine.results}"]
        if self.ended_by:
            lines.append(f"ended by {self.ended_by} before it was done")
        for part in self.parts:
            lines.append(part.heading)
            lines += [f"  {words}" for words in (*part.faults, *part.notes)]
        times = cells.device_times(self.records, self.machine.kind)
        lines += ["the device's own time", *(f"  {line}" for line in times)] if times else []
        return "\n".join(lines) + "\n"


def _complaints(task: Task, ended: Ended, found: cells.Run | None) -> list[str]:
    """What is wrong with how a command ended, and with the run that it left."""
    name, last = ended.log.stem, f": {ended.last_words}" if ended.last_words else ""
    faults = found.faults() if found is not None else []
    if ended.cut:
        return [f"{name} was cut off after {ended.seconds:.0f} s{last}", *faults]
    # `bench run` exits with 1 if a cell has no figures that count, and its record says why.
    explained = ended.status == 1 and found is not None and bool(faults or found.refused)
    if ended.status not in task.answers and not explained:
        faults.append(f"{name} ended with exit status {ended.status}{last}")
    if task.runs is not None and found is None and not faults:
        faults.append(f"{name} left no run")
    return faults + (task.wanted(found) if found is not None else [])


def targets_in(backends: Sequence[cells.Json], kind: str) -> list[str]:
    """The targets of a kind that `bench doctor` found; a runtime in two environments is one."""
    return list(
        dict.fromkeys(
            f"{backend['name']}:{device['id']}"
            for backend in backends
            for device in backend["devices"]
            if device["id"].partition(":")[0] == kind and not device["simulated"]
        )
    )


def missing(backends: Sequence[cells.Json], runtimes: Sequence[str], kind: str) -> list[str]:
    """Why there is no device of a kind, for each runtime that has to have one."""
    found = {target.partition(":")[0] for target in targets_in(backends, kind)}
    return [_absence(backends, name, kind) for name in runtimes if name not in found]


def tensorrt(backends: Sequence[cells.Json]) -> tuple[bool, str]:
    """Whether it is known that TensorRT is there, or why it is not; and that in words."""
    present = targets_in(backends, "tensorrt")
    if present:
        return True, f"TensorRT is there: {', '.join(present)}"
    words = _absence(backends, "onnxruntime", "tensorrt")
    return " is not available" in words, words


def _absence(backends: Sequence[cells.Json], name: str, kind: str) -> str:
    """The reason that `bench doctor` gives."""
    for backend in backends:
        if backend["name"] == name:
            reason = backend["absent"].get(kind) or backend["unavailable"]
            return reason or f"{name}:{kind} is absent, and bench doctor doesn't say why"
    return f"bench doctor doesn't list {name}"


def say(text: str) -> None:
    """Print; a reader that went away ends nothing."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def main() -> int:
    arguments = _arguments()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    machine = Machine(sys.executable, arguments.results.resolve(), arguments.kind)
    try:
        check = Check(machine, arguments.seconds)
    except FileExistsError:
        sys.exit(f"{machine.results} has what an earlier check left. Give another --results.")
    except OSError as error:
        sys.exit(f"{machine.results} can't be written: {error.strerror}. Give another --results.")
    _heed_signals(check)
    with contextlib.suppress(KeyboardInterrupt):
        check.carry_out(arguments.stages, install=not arguments.no_install)
    check.write_summary()
    say("\n" + check.summary())
    say("failed: " + ", ".join(check.failed) if check.failed else "no stage failed")
    return 1 if check.failed or check.ended_by else 0


def _heed_signals(check: Check) -> None:
    """Whoever ends the check may kill it soon afterwards, so the summary is written at once.

    Commands inherit that these signals are not ignored, as they would be in a shell's background.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: object) -> NoReturn:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        check.ended_by = signal.Signals(number).name
        check.write_summary()
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, end)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="only these, after doctor")
    parser.add_argument("--no-install", action="store_true", help="use this Python as it is")
    parser.add_argument("--kind", default="cuda", help="of devices; default cuda")
    parser.add_argument("--seconds", type=float, default=570.0, help="for everything; default 570")
    now = Path("gpu", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    parser.add_argument("--results", type=Path, default=now, help="new folder; default gpu/TIME")
    arguments = parser.parse_args()
    names = [stage.name for stage in STAGES]
    for name in arguments.stages:
        if name not in names:
            parser.error(f"there is no stage {name!r}; stages are {', '.join(names)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
