"""Everything that a machine with an NVIDIA GPU is asked, in ten minutes.

    python tests/devices/gpu.py [--no-install] [--seconds 600] [--results DIR] [STAGE ...]

Sets up an environment of its own (``--no-install``: uses the Python that runs this), asks for the
targets, holds every CUDA target to the contract suite, certifies two models beside the CPU, and
measures the default trio, a larger pair and their energy on every CUDA target. Each stage has a
share of the time and a log; one that fails or is cut off costs that one. What was measured lies
below DIR as ordinary runs and certificates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGES = (
    ["--editable", f"{ROOT}[torch,language,hf,cuda]"],
    ["onnxruntime-gpu", "pytest>=8", "hypothesis", "jsonschema"],
)
TRIO = ("fashion-teacher", "fashion-student", "fashion-student-ce")
PAIR = (str(HERE / "bert-base-shape.toml"), str(HERE / "distilbert-shape.toml"))
#: Options under which a GPU runs what it runs by default otherwise.
OPTIONS = ("", "?cuda_graph=1")
#: With less for a stage, it measures less.
_LONG_S = 120.0


@dataclass
class Machine:
    """Where it runs, and what is known so far."""

    python: str
    results: Path
    deadline: float
    kind: str = "cuda"
    targets: list[str] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def bench(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "bench", *arguments]


@dataclass(frozen=True)
class Stage:
    """One thing to do: the most of the time left that it may take, and the commands."""

    name: str
    share: float
    commands: Callable[[Machine, float], list[list[str]]]
    together: bool = False  #: nothing is timed, so the commands may run side by side


def doctor(machine: Machine, seconds: float) -> list[list[str]]:
    """Which targets are there, in words; the others are read from JSON."""
    done = subprocess.run(
        machine.bench("doctor", "--json"), capture_output=True, text=True, check=False
    )
    told: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {"backends": []}
    found = [
        f"{backend['name']}:{device['id']}"
        for backend in told["backends"]
        for device in backend["devices"]
        if device["id"].partition(":")[0] == machine.kind and not device["simulated"]
    ]
    machine.targets = list(dict.fromkeys(found))  # a runtime in two environments is named once
    return [machine.bench("doctor")]


def right(machine: Machine, seconds: float) -> list[list[str]]:
    """Every target keeps what a backend promises, two models are the same as on the CPU, and
    what is tested of CUDA graphs and fork servers without a GPU holds here too."""
    suite = ROOT / "bench" / "contract" / "test_contract.py"
    pytest = [machine.python, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider"]
    tests = ROOT / "tests"
    ours = sorted((tests / "backends").glob("test_torch_graph_*.py"))
    ours.append(tests / "worker" / "test_imports_of_models.py")
    place = "cuda:0" if machine.kind == "cuda" else ""
    folder = machine.results / "certificates"
    common = ("-r", "onnxruntime:cpu", *_each("-t", machine.targets), "-q")
    fashion = (*_each("--variant", ("fp32", "fp16")), "-o", str(folder / "fashion-student"))
    verse = ("--examples", "24", "--prompts", "8", "-o", str(folder / "verse-student"))
    return [
        [*pytest, str(suite), "-k", f":{machine.kind}"],
        ["env", f"BENCH_TEST_CUDA={place}", *pytest, *map(str, ours)],
        machine.bench("certify", "fashion-student", *common, *fashion),
        machine.bench("certify", "verse-student", *common, *verse),
    ]


def trio(machine: Machine, seconds: float) -> list[list[str]]:
    """The default models, on CPU and GPU in one table."""
    targets = [*_with_graphs(machine.targets), "onnxruntime:cpu", "torch:cpu"]
    return [_run(machine, TRIO, targets, seconds)]


def pair(machine: Machine, seconds: float) -> list[list[str]]:
    """Models that a GPU is bought for; exported to ONNX only where there is time for it."""
    of_torch = [target for target in machine.targets if target.startswith("torch")]
    targets = machine.targets if seconds > _LONG_S else of_torch
    return [_run(machine, PAIR, _with_graphs(targets), seconds)]


def energy(machine: Machine, seconds: float) -> list[list[str]]:
    """Joules of an original and its student, in windows that fit into the time."""
    targets = [target for target in machine.targets if not target.startswith("torch-compile")]
    words = ["--energy", "--energy-window", "3" if seconds > _LONG_S else "2"]
    words += ["--min-invocations", "3", "--max-invocations", "3", "--scenario", "offline"]
    return [_measure(machine, TRIO[:2], targets, 1.0, *words)]


def _run(
    machine: Machine, models: Sequence[str], targets: Sequence[str], seconds: float
) -> list[str]:
    """A run whose cells share half of ``seconds``; the other half goes to starting."""
    scenarios = ("single-stream", "offline") if seconds > _LONG_S else ("single-stream",)
    cells = len(models) * len(targets) * len(scenarios)
    each_s = min(5.0, max(0.5, seconds / 2 / cells))
    return _measure(machine, models, targets, each_s, *_each("--scenario", scenarios))


def _measure(
    machine: Machine, models: Sequence[str], targets: Sequence[str], each_s: float, *words: str
) -> list[str]:
    """`bench run`, for so many seconds a cell."""
    told = ["--quick", "--max-time", f"{each_s:.1f}", "--batch", "32", "--no-accuracy"]
    told += ["--results", str(machine.results / "runs")]
    return machine.bench("run", *told, *_each("-m", models), *_each("-t", targets), *words)


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _with_graphs(targets: Sequence[str]) -> list[str]:
    """Each as it is, and replaying CUDA graphs where it can."""
    return [t + o for t in targets for o in (OPTIONS if _captures(t) else ("",))]


def _captures(target: str) -> bool:
    """Whether it has the option to replay a CUDA graph; torch-compile has modes."""
    return target.startswith(("onnxruntime:", "torch:"))


STAGES = (
    Stage("doctor", 0.2, doctor),
    Stage("right", 0.35, right, together=True),
    Stage("trio", 0.4, trio),
    Stage("pair", 0.45, pair),
    Stage("energy", 1.0, energy),
)


def main() -> int:
    arguments = _arguments()
    started = time.monotonic()
    results = arguments.results.resolve()
    (results / "logs").mkdir(parents=True, exist_ok=True)
    machine = Machine(sys.executable, results, started + arguments.seconds, arguments.kind)
    if not arguments.no_install:
        machine.python = _install(ROOT / ".venv-gpu")
    failed = []
    for stage in STAGES:
        if arguments.stages and stage.name not in (*arguments.stages, "doctor"):
            continue
        if not _done(stage, machine):
            failed.append(stage.name)
    print(f"{time.monotonic() - started:.0f} s in all; everything is in {results}")
    print("failed: " + ", ".join(failed) if failed else "every stage passed")
    return 1 if failed else 0


def _done(stage: Stage, machine: Machine) -> bool:
    """Run one stage; whether each of its commands ended well within its share of the time."""
    begun = time.monotonic()
    until = begun + stage.share * machine.left_s
    statuses: list[int] = []
    logs: list[Path] = []
    running: list[subprocess.Popen[bytes]] = []
    for number, command in enumerate(stage.commands(machine, until - begun)):
        logs.append(machine.results / "logs" / f"{stage.name}-{number}.txt")
        running.append(_begun(command, logs[-1]))
        if not stage.together:
            statuses.append(_status(running.pop(), until))
    statuses += [_status(process, until) for process in running]
    print(f"\n=== {stage.name}: {time.monotonic() - begun:.0f} s, exit {statuses}")
    for log in logs:
        print(log.read_text(), flush=True)
    # A certificate that is inconclusive (3), or a cell that a target refuses, is an answer.
    return all(status in (0, 3) for status in statuses)


def _begun(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("w") as out:
        print("$ " + " ".join(command), file=out, flush=True)
        # Not from the checkout: the folder bench/ there would hide the installed package.
        return subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=HERE, env=_variables()
        )


def _status(process: subprocess.Popen[bytes], until: float) -> int:
    """The exit status of a command; interrupted when its time is up, which loses no record."""
    try:
        return process.wait(max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _variables() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "100"}


def _install(folder: Path) -> str:
    """A Python with bench, PyTorch and ONNX Runtime for CUDA."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for packages in PACKAGES:
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
    return str(python)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="only these, after doctor")
    parser.add_argument("--no-install", action="store_true", help="use this Python as it is")
    parser.add_argument("--kind", default="cuda", help="of devices; default cuda")
    parser.add_argument("--seconds", type=float, default=600.0, help="for everything; default 600")
    parser.add_argument("--results", type=Path, default=Path("gpu"), help="folder; default gpu/")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
