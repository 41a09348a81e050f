"""Finds the backends through their entry points, and their devices by asking them."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from bench.backend import Device

from .subject import Subject

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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        params = [_param(target, metafunc.config) for target in find_targets()]
        metafunc.parametrize("target", params, scope="session")
    if "absent_kind" in metafunc.fixturenames:
        find_targets()
        kinds = list(absent_kinds)
        ids = [f"{reference.rpartition(':')[2]}:{kind}" for reference, kind in kinds]
        metafunc.parametrize("absent_kind", kinds, ids=ids)


def _param(target: Target, config: pytest.Config) -> Any:
    marks = [pytest.mark.skip(reason=target.absent)] if target.absent else []
    if config.pluginmanager.hasplugin("xdist"):  # compile a model once, not in each process
        marks.append(pytest.mark.xdist_group(str(target)))
    return pytest.param(target, id=str(target), marks=marks)


_targets: list[Target] = []
#: backend's reference, kind of device -> why there is none
absent_kinds: dict[tuple[str, str], str] = {}


def find_targets() -> list[Target]:
    """Every device of every installed backend; all backends are asked at once."""
    if not _targets:
        points = sorted(entry_points(group="bench.backends"), key=lambda point: point.name)
        printed = _printed([point.value for point in points])
        for point in points:
            _targets.extend(_answers(point.name, point.value, printed[point.value]))
    return _targets


def _printed(references: list[str]) -> dict[str, str]:
    """What each backend answers; asked once for all processes of pytest-xdist."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return _ask_all(references)
    with Path(tempfile.gettempdir(), f"bench-contract-{run}.json").open("a+") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        if text := kept.read():
            known: dict[str, str] = json.loads(text)
            return known
        asked = _ask_all(references)
        kept.write(json.dumps(asked))
        return asked


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
    output, errors = process.communicate(timeout=120)
    if process.returncode != 0:
        # A backend that breaks is not an absent one: its tests have to fail.
        pytest.fail(f"{reference}: devices() broke: {errors.strip()}", pytrace=False)
    return output


def _answers(name: str, reference: str, output: str) -> list[Target]:
    answer = json.loads(output.splitlines()[-1])
    for kind, why in answer.get("absent_kinds", {}).items():
        absent_kinds[reference, kind] = why
    if "absent" in answer:
        return [Target(name, reference, absent=answer["absent"])]
    return [Target(name, reference, Device(**device)) for device in answer["devices"]]


def _environment(reference: str) -> Mapping[str, str]:
    try:
        environment: Mapping[str, str] = Target("", reference).adapter().environment
    except ImportError:  # said by the process that asks for the devices
        return {}
    return environment


@pytest.fixture(scope="session")
def subject(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """The target with its runtime imported in this process, under its environment."""
    adapter = target.adapter()
    assert target.device
    with pytest.MonkeyPatch.context() as patch:
        for key, value in adapter.environment.items():
            patch.setenv(key, value)
        for preload in adapter.preload:
            importlib.import_module(preload)
    made = Subject(adapter(), target.device, tmp_path_factory.mktemp("models"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def fresh_facts(target: Target) -> dict[str, Any]:
    """What `fresh.py` learns about the target in a process of its own."""
    assert target.device
    return learn_fresh_facts(target.reference, target.device.id, target.adapter().environment)


def learn_fresh_facts(
    reference: str, device_id: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run `fresh.py` with one thread and the backend's environment."""
    tests = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "contract.fresh", reference, device_id, folder],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                **environment,
                "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]),
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    facts["stderr"] = done.stderr
    return facts
