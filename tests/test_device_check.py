"""The check of a machine with a GPU: bench plans what it runs, and nothing that fails hides what
follows."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import onnx
import pytest
from onnx import TensorProto, helper
from stub_bench import write_stub

import bench
from bench.__main__ import main
from bench.backend import Device, ModelFile
from bench.cards.ready import Loaded
from bench.commands.cli import cli
from bench.measure import prepare
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import BackendReport

DEVICES = Path(__file__).parent / "devices"
sys.path.append(str(DEVICES))

import cells  # noqa: E402
import gpu  # noqa: E402
import in_time  # noqa: E402
import stages  # noqa: E402
from in_time import Command, Ended  # noqa: E402
from set_up import SetUp  # noqa: E402

TARGETS = ["onnxruntime:cuda:0", "torch:cuda:0", "torch-compile:cuda:0"]
EVERY_WAY = {
    "onnxruntime:cuda:0",
    "onnxruntime:cuda:0?cuda_graph=1",
    "torch:cuda:0",
    "torch:cuda:0?cuda_graph=1",
    "torch-compile:cuda:0",
}
TENSORRT_ABSENT = "onnxruntime:tensorrt is not available: libnvinfer.so.10: cannot open."


def backend(name: str, *devices: str, **more: Any) -> dict[str, Any]:
    """What `bench doctor --json` says of one."""
    found = [{"id": device, "simulated": False} for device in devices]
    return {"name": name, "devices": found, "absent": {}, "unavailable": None, **more}


BACKENDS = [
    backend("onnxruntime", "cpu", "cuda:0", absent={"tensorrt": TENSORRT_ABSENT}),
    backend("torch", "cpu", "cuda:0"),
    backend("torch-compile", "cpu", "cuda:0"),
]
DOCTOR = json.dumps({"backends": BACKENDS})


@pytest.fixture
def machine(tmp_path: Path) -> stages.Machine:
    return stages.Machine("python", tmp_path, targets=TARGETS)


# -- what it runs ----------------------------------------------------------------------------------


def report(name: str, form: str) -> BackendReport:
    devices = (Device("cpu", "", ""), Device("cuda:0", "NVIDIA", "A card"))
    return BackendReport(name, Runtime(name, "a:B", {}, (form,)), "1", devices)


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Sequence[str]], list[dict[str, Any]]]:
    """The cells that bench plans for a command line, on a machine with a GPU."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 4))],
    )
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, ir_version=10), str(file))
    reports = [
        report("onnxruntime", "onnx"),
        *(report(t, "torch") for t in ("torch", "torch-compile")),
    ]

    def loaded(suite: Any, named: Any, *_: Any) -> list[Loaded]:
        both = [ModelFile(one.card.name, onnx=file, torch=str(file)) for one in named]
        return [Loaded(one.card, form, None) for one, form in zip(named, both, strict=True)]

    monkeypatch.setattr(prepare, "discover_for", lambda *_: {r.label: r for r in reports})
    monkeypatch.setattr(prepare, "load_models", loaded)
    monkeypatch.setattr(prepare, "_import_ahead", lambda *_: None)

    def planned(words: Sequence[str]) -> list[dict[str, Any]]:
        assert words[:3] == ["python", "-m", "bench"]
        status = main([*words[3:], "--dry-run", "--json", "--quiet"])
        told = capsys.readouterr()
        assert status == 0, told.err
        found: list[dict[str, Any]] = json.loads(told.out)
        return found

    return planned


SECONDS = (60.0, 100.0, 150.0, 300.0)


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("seconds", SECONDS)
def test_bench_takes_every_command_whatever_time_its_stage_gets(
    machine: stages.Machine,
    plan: Callable[[Sequence[str]], list[dict[str, Any]]],
    stage: stages.Stage,
    seconds: float,
) -> None:
    tasks = stage.tasks(machine, seconds)
    assert tasks
    for task in tasks:
        assert any("cuda:0" in word or ":cuda" in word for word in task.words)
        if task.runs is not None:
            named = [word for flag, word in itertools.pairwise(task.words) if flag == "-t"]
            assert {cell["target"] for cell in plan(task.words)} == set(named)
        elif task.words[2] == "bench":
            parsed = cli.get_command(click.Context(cli), task.words[3])
            assert parsed is not None
            parsed.make_context(task.words[3], list(task.words[4:]))  # raises for what isn't there


@pytest.mark.parametrize("seconds", SECONDS)
def test_the_larger_pair_is_measured_on_every_cuda_target(
    machine: stages.Machine,
    plan: Callable[[Sequence[str]], list[dict[str, Any]]],
    seconds: float,
) -> None:
    [task] = stages.pair(machine, seconds)
    found = plan(task.words)
    assert {cell["target"] for cell in found} == EVERY_WAY
    assert {cell["model"]["name"] for cell in found} == {"bert-base-shape", "distilbert-shape"}


@pytest.mark.parametrize("seconds", SECONDS)
def test_cells_share_the_time_of_their_stage(machine: stages.Machine, seconds: float) -> None:
    for stage in (stages.pair, stages.trio):
        [task] = stage(machine, seconds)
        budget = task.words[task.words.index("--budget") + 1]
        assert float(budget.removesuffix("s")) < seconds


@pytest.mark.parametrize("seconds", SECONDS)
def test_windows_of_energy_fit_into_the_time_of_their_stage(
    machine: stages.Machine, seconds: float
) -> None:
    targets, window_s = stages._metered(TARGETS[:2], seconds)
    rounds_s = 3 * (2 * len(targets) + 2) * (1.25 + window_s)
    assert rounds_s <= seconds / 2
    assert 1 <= window_s <= 3


def test_a_graph_is_captured_of_an_encoder_of_transformers(machine: stages.Machine) -> None:
    words = [task.words for task in stages.right(machine, 100.0)]
    [run] = [each for each in words if any("hf-encoder" in word for word in each)]
    assert "torch:cuda:0?cuda_graph=1" in run


def test_every_runtime_is_held_to_the_contract_and_an_absent_tensorrt_to_its_refusal(
    machine: stages.Machine,
) -> None:
    words = [task.words for task in stages.right(machine, 100.0)]
    tests = [each for each in words if "--bench-target" in each]
    assert [each[each.index("--bench-target") + 1] for each in tests] == [
        "onnxruntime",
        "torch",
        "torch-compile",
    ]
    assert all(each[-1] == ":cuda or :tensorrt" for each in tests)


def test_what_is_tested_of_graphs_without_a_gpu_is_tested_on_it(machine: stages.Machine) -> None:
    words = [task.words for task in stages.right(machine, 100.0)]
    [own] = [each for each in words if "BENCH_TEST_CUDA=cuda:0" in each]
    paths = [Path(word) for word in own if word.endswith(".py")]
    assert len(paths) > 2
    assert all(path.is_file() for path in paths)


@pytest.mark.slow
def test_the_contract_is_that_of_the_installed_package_not_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(bench.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, tmp_path / "site" / "bench", ignore=ignored)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    here = stages.Machine(sys.executable, tmp_path, kind="cpu")
    command = Command(stages._contract(here, "onnx-reference"), tmp_path / "log")
    [ended] = in_time.run([command], time.monotonic() + 300)
    assert ended.status == 0, (tmp_path / "log").read_text()
    assert re.match(r"\d+ passed", ended.last_words)


# -- the time that it takes ------------------------------------------------------------------------


class Slow:
    """Commands that take all the time that they get, on a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[Command] = []

    def run(self, commands: Sequence[Command], until: float) -> list[Ended]:
        self.ran += commands
        self.now = until
        for command in commands:
            if command.output is not None:
                command.output.write_text(DOCTOR)
        return [Ended(command.log, 0, 1.0) for command in commands]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(gpu, "run", made.run)
    return made


@pytest.mark.parametrize("pip_s", [0, 100])
def test_in_ten_minutes_the_pair_gets_every_target_and_nothing_is_left_out(
    tmp_path: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch, pip_s: float
) -> None:
    def installed(*_: object) -> SetUp:
        slow.now += pip_s
        return SetUp("python", variables={"BENCH_DEVICE_CHECK": "found"})

    monkeypatch.setenv("BENCH_DEVICE_CHECK", "unknown")
    monkeypatch.setattr(gpu, "set_up", installed)
    monkeypatch.setattr(gpu, "DOCTOR_SHARE", 20 / 500)  # as measured; it isn't given what it wants
    check = gpu.Check(stages.Machine("", tmp_path), 570.0)
    check.carry_out([], install=True)
    assert slow.now <= 570
    assert os.environ["BENCH_DEVICE_CHECK"] == "found"
    assert [part.name for part in check.parts] == [
        "set-up",
        "doctor",
        *(stage.name for stage in stages.STAGES),
    ]
    assert not [part for part in check.parts if "no time left" in str(part.faults)]
    [pair] = [command for command in slow.ran if command.log.name == "pair-0.txt"]
    assert set(pair.words) >= {*EVERY_WAY, "single-stream", "offline"}


def test_the_last_stage_that_is_named_gets_all_the_time_that_is_left(
    tmp_path: Path, slow: Slow
) -> None:
    check = gpu.Check(stages.Machine("python", tmp_path), 570.0)
    check.carry_out(["trio", "pair"], install=False)
    assert [part.name for part in check.parts] == ["doctor", "pair", "trio"]
    assert 560 < slow.now <= 570


def test_without_time_a_stage_is_not_begun(tmp_path: Path, slow: Slow) -> None:
    check = gpu.Check(stages.Machine("python", tmp_path), 15.0)
    check.carry_out([], install=False)
    assert not slow.ran
    assert "doctor: FAILED, 0 s\n  there was no time left for it\n" in check.summary()


# -- what it says ----------------------------------------------------------------------------------


def test_without_a_target_nothing_else_is_done_and_the_reason_is_told(
    tmp_path: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {"cuda": "torch:cuda is not available: no driver.", "tensorrt": TENSORRT_ABSENT}
    names = ("onnxruntime", "torch", "torch-compile")
    told = json.dumps({"backends": [backend(name, "cpu", absent=absent) for name in names]})
    monkeypatch.setattr(sys.modules[__name__], "DOCTOR", told)
    check = gpu.Check(stages.Machine("python", tmp_path), 570.0)
    check.carry_out([], install=False)
    assert len(slow.ran) == 1
    assert check.failed == ["doctor"]
    assert "torch:cuda is not available: no driver." in check.summary()
    assert "there is no cuda target, so nothing else was done" in check.summary()


def test_a_stage_that_raises_costs_that_one(
    tmp_path: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = stages.Stage("broken", 0.1, lambda machine, seconds: [][1])
    fine = stages.Stage("fine", 0.1, lambda machine, seconds: [stages.Task(["true"])])
    monkeypatch.setattr(gpu, "STAGES", (broken, fine))
    check = gpu.Check(stages.Machine("python", tmp_path), 570.0)
    check.carry_out([], install=False)
    assert check.failed == ["broken"]
    assert "the check itself is wrong: IndexError" in check.summary()
    assert "fine: passed" in check.summary()


def record(**changes: Any) -> dict[str, Any]:
    cell = {"model": {"name": "m"}, "target": "torch:cuda:0", "scenario": "offline", "batch": 1}
    return {
        "cell_id": "a",
        "cell": cell | changes.pop("cell", {}),
        "status": "ok",
        "stop": "precision",
        "failure": None,
        "checks": [],
        "parity": None,
        "energy": [],
        "roofline": None,
        "device_ns": None,
        **changes,
    }


def failed(kind: str) -> dict[str, Any]:
    return record(status="failed", stop="failed", failure={"kind": kind, "message": "it can't."})


def ended(tmp_path: Path, status: int = 0, *, cut: bool = False, last: str = "") -> Ended:
    log = tmp_path / "pair-0.txt"
    log.write_text(f"$ bench\n{last}\n")
    return Ended(log, status, 5.0, cut)


def complaints(
    tmp_path: Path, status: int, *records: dict[str, Any], wanted: Any = lambda run: []
) -> list[str]:
    task = stages.Task(["bench"], runs=tmp_path, wanted=wanted)
    found: list[str] = gpu._complaints(task, ended(tmp_path, status), cells.Run(records, records))
    return found


def test_a_cell_that_its_target_refuses_is_an_answer(tmp_path: Path) -> None:
    assert complaints(tmp_path, 1, record(), failed("unsupported")) == []
    told = cells.Run([], [failed("unsupported")]).notes()
    assert told == ["0 of 1 cells measured", "refused: m torch:cuda:0 offline batch 1: it can't."]


@pytest.mark.parametrize("kind", ["crashed", "out-of-memory", "unavailable", "error"])
def test_any_other_failure_is_none(tmp_path: Path, kind: str) -> None:
    [told] = complaints(tmp_path, 1, record(), failed(kind))
    assert told == f"m torch:cuda:0 offline batch 1: {kind}: it can't."


def test_a_cell_that_was_measured_wrongly_is_told(tmp_path: Path) -> None:
    checks = [{"name": "parity", "ok": False, "detail": "off by 3"}]
    [told] = complaints(tmp_path, 1, record(checks=checks, parity={"ok": False}))
    assert told == "m torch:cuda:0 offline batch 1: parity: off by 3"
    [told] = complaints(tmp_path, 1, record(checks=checks))  # nothing was compared
    assert "exit status 1" in told


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    task = stages.Task(["bench"], runs=tmp_path)
    wrong = ended(tmp_path, 2, last="bench: --batch contradicts single-stream.")
    assert gpu._complaints(task, wrong, None) == [
        "pair-0 ended with exit status 2: bench: --batch contradicts single-stream."
    ]
    [told] = gpu._complaints(task, ended(tmp_path, 130, cut=True), None)
    assert told == "pair-0 was cut off after 5 s"


def test_an_inconclusive_certificate_is_an_answer(tmp_path: Path, machine: stages.Machine) -> None:
    [task, _] = [task for task in stages.right(machine, 100.0) if "certify" in task.words]
    assert gpu._complaints(task, ended(tmp_path, 3), None) == []
    assert gpu._complaints(task, ended(tmp_path, 1), None)


def energy_of(*scopes: str, gross: Any = None, missing: str = "") -> list[dict[str, Any]]:
    return [{"scope": scope, "gross_j": gross, "missing": missing} for scope in scopes]


def test_energy_fails_where_the_device_s_own_meter_was_not_read(
    tmp_path: Path, machine: stages.Machine
) -> None:
    [task] = stages.energy(machine, 100.0)
    read = energy_of("gpu-board", gross={"value": 1.0})
    assert complaints(tmp_path, 0, record(energy=read), wanted=task.wanted) == []
    for others in ([], energy_of("package", gross={"value": 1.0}), energy_of("gpu-board")):
        one = record(energy=others, cell_id="b")
        [told] = complaints(tmp_path, 0, record(energy=read), one, wanted=task.wanted)
        assert told == "no energy of the gpu-board in 1 of 2 cells"
    silent = record(energy=energy_of("gpu-board", missing="the counter stood still"))
    [told] = complaints(tmp_path, 0, silent, wanted=task.wanted)
    assert told.endswith("in 1 of 1 cells: the counter stood still")
    assert complaints(tmp_path, 1, failed("unsupported"), wanted=task.wanted)


def test_a_sweep_needs_a_second_batch_and_a_roofline(
    tmp_path: Path, machine: stages.Machine
) -> None:
    [task] = stages.sweep(machine, 50.0)
    first = record(roofline={"operations": 1})
    second = record(cell={"batch": 2})
    assert complaints(tmp_path, 0, first, second, wanted=task.wanted) == []
    assert complaints(tmp_path, 0, first, wanted=task.wanted) == ["no second batch was measured"]
    [told] = complaints(tmp_path, 0, record(), second, wanted=task.wanted)
    assert told == "no roofline was measured"


def test_an_encoder_that_can_not_be_captured_is_a_fault(
    tmp_path: Path, machine: stages.Machine
) -> None:
    [task] = [task for task in stages.right(machine, 100.0) if task.runs]
    [told] = complaints(tmp_path, 1, failed("unsupported"), wanted=task.wanted)
    assert told.startswith("refused: ")


def test_tensorrt_is_there_or_absent_for_a_reason() -> None:
    assert gpu.tensorrt(BACKENDS) == (True, TENSORRT_ABSENT)
    there = [backend("onnxruntime", "cuda:0", "tensorrt:0")]
    assert gpu.tensorrt(there) == (True, "TensorRT is there: onnxruntime:tensorrt:0")
    assert gpu.tensorrt([backend("onnxruntime", "cuda:0")])[0] is False
    gone = backend("onnxruntime", unavailable="onnxruntime is not available: no such module.")
    assert gpu.tensorrt([gone])[0] is True


def test_a_runtime_without_a_device_is_told() -> None:
    without = [*BACKENDS[:2], backend("torch-compile", "cpu", absent={"cuda": "a forked driver"})]
    assert gpu.missing(without, gpu.RUNTIMES, "cuda") == ["a forked driver"]


def test_each_cuda_cell_tells_its_device_time_or_is_named() -> None:
    told = {"device_ns": {"value": 1.0}}
    records = [
        record(cell={"target": "onnxruntime:cuda:0"}),
        record(**told),
        record(cell={"batch": 32}),
        record(cell={"target": "torch:cpu"}),
    ]
    assert cells.device_times(records, "cuda") == [
        "onnxruntime:cuda:0: told in 0 of 1 cells",
        "torch:cuda:0: told in 1 of 2 cells",
        "  not in m torch:cuda:0 offline batch 32",
    ]


def test_a_run_that_was_killed_at_any_byte_is_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"cells": [')
    (tmp_path / "records.jsonl").write_bytes(
        json.dumps(record(status="failed", failure={"kind": "error", "message": ""})).encode()
        + b"\n\xff\n"
        + json.dumps(record()).encode()  # of the same cell: the last counts
        + b'\n{"cell_id'
    )
    found = cells.read_run(tmp_path)
    assert found.notes() == ["1 of 1 cells measured"]
    assert not found.faults()


# -- as a whole, on a stub of bench ----------------------------------------------------------------


ON_GPU = "import os\ndef test_it(): assert os.environ['BENCH_TEST_CUDA'] == 'cuda:0'\n"


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the script in a checkout, with SIGINT ignored as in a shell's background."""
    write_stub(tmp_path / "site", DOCTOR)
    checkout = tmp_path / "checkout"
    shutil.copytree(DEVICES, checkout / "tests" / "devices")
    for name in ("backends/test_torch_graph_stub.py", "worker/test_imports_of_models.py"):
        path = checkout / "tests" / name
        path.parent.mkdir()
        path.write_text(
            "import os\ndef test_it(): assert os.environ['BENCH_TEST_CUDA'] == 'cuda:0'"
        )
    (checkout / "bench").mkdir()
    (checkout / "bench" / "__init__.py").write_text("raise ImportError('not the installed one')")
    begun: list[subprocess.Popen[str]] = []

    def start(*words: str, **variables: str) -> subprocess.Popen[str]:
        script = checkout / "tests" / "devices" / "gpu.py"
        command = [sys.executable, str(script), "--no-install", *words]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), **variables}
        begun.append(
            subprocess.Popen(
                [*command, "--results", str(tmp_path / "gpu")],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=checkout,
                env={**environment, "PYTEST_ADDOPTS": "-p no:infer-bench"},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_all_stages_pass_where_nothing_is_wrong(
    tmp_path: Path, whole: Callable[..., subprocess.Popen[str]]
) -> None:
    process = whole()
    printed, _ = process.communicate(timeout=300)
    summary = (tmp_path / "gpu" / "summary.txt").read_text()
    assert process.returncode == 0, printed
    names = ["doctor", *(stage.name for stage in stages.STAGES)]
    assert [
        line.partition(":")[0] for line in summary.splitlines() if ": passed, " in line
    ] == names
    assert TENSORRT_ABSENT in summary
    for target in EVERY_WAY:
        assert f"\n  {target}: told in " in summary
    assert "a byte that is not UTF-8: �" in printed


def test_whoever_ends_it_still_gets_a_summary(
    tmp_path: Path, whole: Callable[..., subprocess.Popen[str]]
) -> None:
    process = whole(STUB_SLEEPS="300")
    path = tmp_path / "gpu" / "summary.txt"
    deadline = time.monotonic() + 120
    while not (path.exists() and "trio: passed" in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 1
    summary = path.read_text()
    assert "ended by SIGTERM before it was done" in summary
    assert "energy: not finished" in summary


def test_what_an_earlier_check_left_is_not_mixed_with_another(
    tmp_path: Path, whole: Callable[..., subprocess.Popen[str]]
) -> None:
    (tmp_path / "gpu" / "logs").mkdir(parents=True)
    process = whole()
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed.endswith("/gpu has what an earlier check left. Give another --results.\n")


def test_an_unknown_stage_is_refused(whole: Callable[..., subprocess.Popen[str]]) -> None:
    process = whole("pear")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "there is no stage 'pear'; stages are pair, trio, " in printed
