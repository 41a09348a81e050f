"""What came of tests, kept between runs: one file for each target, versions and adapter.

A line is added as soon as a test has ended, so a run that is interrupted loses nothing and the next
goes on from there. A file that can't be read, or in part, costs what was in it and no more.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from bench.discover import load_backend
from bench.errors import BenchError
from bench.runtimes.targets import Choice
from bench.trials.portability.outcomes import TestResult

#: Of the lines, and of what the executor and the comparison do: a change asks everything anew.
_FORMAT = 1


class KeptResults:
    """Outcomes by test name, in memory and in one file.

    ``problem`` says why the file can't be written, where it can't: outcomes are then not kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self.results = _read(path)
        self._file: TextIO | None = None

    def add(self, result: TestResult) -> None:
        """Remember an outcome; a runtime that could not be had says nothing about the test."""
        self.results[result.test] = result
        if result.outcome == "unavailable" or self.problem:
            return
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _open_for_lines(self.path)
            self._file.write(result.model_dump_json() + "\n")
            self._file.flush()
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror or error}"

    def forget(self, names: Iterable[str]) -> None:
        """Let these tests be asked anew; what is found then is added behind the old."""
        for name in names:
            self.results.pop(name, None)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def kept_results(cache: Path, choice: Choice, onnx_version: str) -> KeptResults:
    """The file for a target as it is now: another version of the runtime, of ONNX, of the driver or
    of the adapter's own code has another file."""
    device = choice.device
    facts = {
        "format": _FORMAT,
        "onnx": onnx_version,
        "target": str(choice.target),
        "runtime": choice.version,
        "device": None if device is None else [device.vendor, device.name, device.driver],
        "adapter": _adapter_sha256(choice.target.backend),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    name = "".join(c if c.isalnum() else "-" for c in str(choice.target))[:80]
    return KeptResults(cache / "portability" / f"{name}-{digest[:16]}.jsonl")


def _adapter_sha256(backend: str) -> str:
    try:
        source = inspect.getsourcefile(load_backend(backend))
        return hashlib.sha256(Path(source or "").read_bytes()).hexdigest()
    except (BenchError, OSError, TypeError):
        return ""  # no source to read: then its version alone speaks


def _read(path: Path) -> dict[str, TestResult]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    found: dict[str, TestResult] = {}
    for line in lines:
        try:
            result = TestResult.model_validate_json(line)
        except ValidationError:  # the last line of a run that was killed, or no line of ours
            continue
        found[result.test] = result
    return found


def _open_for_lines(path: Path) -> TextIO:
    """For appending, after a line that a killed run left without its end."""
    file = path.open("a", encoding="utf-8")
    if file.tell() and not path.read_bytes().endswith(b"\n"):
        file.write("\n")
    return file
