"""Finds the backends through their entry points, and their devices by asking them."""

from __future__ import annotations

import fcntl
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from bench.backend import Device
from bench.errors import BenchError

#: A backend that needs longer to find its devices hangs: a slow import of a runtime takes seconds.
_LONGEST_S = 120.0
#: Asks one backend for its devices, in a process that no other runtime has touched.
_ASK = """
import dataclasses, importlib, json, sys
from bench.capabilities import ExplainsAbsence
from bench.errors import BenchError
module, _, name = sys.argv[1].partition(":")
try:
    backend = getattr(importlib.import_module(module), name)()
    answer = {"devices": [dataclasses.asdict(device) for device in backend.devices()]}
    absent = backend.absent_devices() if isinstance(backend, ExplainsAbsence) else {}
    answer["absent_kinds"] = {kind: str(error) for kind, error in absent.items()}
except BenchError as error:
    answer = {"absent": str(error)}
print("\\n" + json.dumps(answer))
"""


@dataclass(frozen=True)
class Target:
    """A backend and one of its devices, or why there is none."""

    name: str
    reference: str
    device: Device | None = None
    absent: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.device.id if self.device else 'absent'}"

    def adapter(self) -> type[Any]:
        """The backend's class."""
        module, _, name = self.reference.partition(":")
        adapter: type[Any] = getattr(importlib.import_module(module), name)
        return adapter


@dataclass(frozen=True)
class Found:
    targets: tuple[Target, ...]
    #: backend's reference, kind of device -> why there is none
    absent_kinds: Mapping[tuple[str, str], str]


@functools.cache
def find_targets(wanted: str = "") -> Found:
    """Every device of every installed backend, or of the target that is wanted; all backends are
    asked at once."""
    name, _, device_id = wanted.partition(":")
    installed = sorted(entry_points(group="bench.backends"), key=lambda point: point.name)
    points = [point for point in installed if name in ("", point.name)]
    printed = _printed([point.value for point in points])
    targets: list[Target] = []
    absent_kinds: dict[tuple[str, str], str] = {}
    for point in points:
        answer = json.loads(printed[point.value].splitlines()[-1])
        for kind, why in answer.get("absent_kinds", {}).items():
            absent_kinds[point.value, kind] = why
        targets += _answers(point.name, point.value, answer)
    if device_id:
        targets = [t for t in targets if t.device is None or t.device.id == device_id]
        absent_kinds = {}
    return Found(tuple(targets), absent_kinds)


def _answers(name: str, reference: str, answer: Mapping[str, Any]) -> list[Target]:
    if "absent" in answer:
        return [Target(name, reference, absent=answer["absent"])]
    return [Target(name, reference, Device(**device)) for device in answer["devices"]]


def _printed(references: list[str]) -> dict[str, str]:
    """What each backend answers, and maybe others; asked once for all processes of pytest-xdist."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return _ask_all(references)
    with Path(tempfile.gettempdir(), f"bench-contract-{run}.json").open("a+") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        known: dict[str, str] = json.loads(kept.read() or "{}")
        unasked = [reference for reference in references if reference not in known]
        known |= _ask_all(unasked)
        kept.truncate(0)
        kept.write(json.dumps(known))
        return known


def _ask_all(references: list[str]) -> dict[str, str]:
    asked = [(reference, _ask(reference)) for reference in references]
    return {reference: _output(reference, process) for reference, process in asked}


def _ask(reference: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _ASK, reference],
        env={**os.environ, **_environment(reference)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _output(reference: str, process: subprocess.Popen[str]) -> str:
    try:
        output, errors = process.communicate(timeout=_LONGEST_S)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise BenchError(f"{reference}: devices() took longer than {_LONGEST_S:g} s.") from error
    if process.returncode != 0:
        # A backend that breaks is not an absent one: its tests have to fail.
        raise BenchError(f"{reference}: devices() broke: {errors.strip()}")
    return output


def _environment(reference: str) -> Mapping[str, str]:
    try:
        environment: Mapping[str, str] = Target("", reference).adapter().environment
    except ImportError:  # said by the process that asks for the devices
        return {}
    return environment


def learn_fresh_facts(
    reference: str, device_id: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run `fresh.py` with one thread and the backend's environment."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "bench.contract.fresh", reference, device_id, folder],
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    facts["stderr"] = done.stderr
    return facts
