"""The stages of the device check: which commands are run, and what has to come of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cells
from in_time import HERE

TESTS = HERE.parent
TRIO = ("fashion-teacher", "fashion-student", "fashion-student-ce")
PAIR = (str(HERE / "bert-base-shape.toml"), str(HERE / "distilbert-shape.toml"))
HUGGING_FACE = str(HERE / "hf-encoder-shape.toml")
#: Under which a GPU runs what it otherwise runs by its defaults.
OPTIONS = ("", "?cuda_graph=1")
#: Whose energy counts as the device's own.
METERS = {"cuda": "gpu-board", "cpu": "package"}
#: With less for a stage, it measures one sample per query alone.
LONG_S = 120.0
#: Of a stage, for measuring; the rest is for Python to start, for tables, and for being late.
_MEASURING = 0.85
#: A window of energy has a lead and a tail (bench/measure/energy/passes.py); three rounds of one
#: per cell and two of the idle machine are the fewest that give a figure.
_AROUND_WINDOW_S, _ROUNDS, _IDLE_TURNS = 1.25, 3, 2
_WINDOW_S = (1.0, 3.0)


@dataclass
class Machine:
    """Where it runs, and which targets are measured."""

    python: str
    results: Path
    kind: str = "cuda"
    targets: list[str] = field(default_factory=list)

    def bench(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "bench", *arguments]

    def runs(self, stage: str) -> Path:
        """The folder for the runs of a stage."""
        return self.results / "runs" / stage

    def targets_of(self, runtime: str) -> list[str]:
        return [target for target in self.targets if target.startswith(f"{runtime}:")]


#: The complaints about a run that a task left.
Wanted = Callable[[cells.Run], list[str]]


def _nothing(run: cells.Run) -> list[str]:
    return []


@dataclass(frozen=True)
class Task:
    """A command, and how to tell whether it did what it was asked to."""

    words: Sequence[str]
    answers: tuple[int, ...] = (0,)  #: exit statuses
    runs: Path | None = None  #: the folder in which it leaves its run
    wanted: Wanted = _nothing


@dataclass(frozen=True)
class Stage:
    """Commands that run side by side, and the most of the time left that they may take."""

    name: str
    share: float
    tasks: Callable[[Machine, float], list[Task]]


def pair(machine: Machine, seconds: float) -> list[Task]:
    """Models that a GPU is bought for."""
    return [_measure(machine, "pair", PAIR, _with_graphs(machine), *_load(seconds))]


def trio(machine: Machine, seconds: float) -> list[Task]:
    """The default models, on CPU and GPU in one table."""
    targets = dict.fromkeys([*_with_graphs(machine), "onnxruntime:cpu", "torch:cpu"])
    return [_measure(machine, "trio", TRIO, list(targets), *_load(seconds))]


def energy(machine: Machine, seconds: float) -> list[Task]:
    """Joules of an original and its student, on as many targets as the time holds windows for."""
    able = [target for target in machine.targets if not target.startswith("torch-compile:")]
    targets, window_s = _metered(able or machine.targets, seconds)
    words = ["--energy", "--energy-window", f"{window_s:g}", *_offline(), *_few()]
    scope = METERS.get(machine.kind, machine.kind)
    return [_measure(machine, "energy", TRIO[:2], targets, *words, wanted=_no_energy(scope))]


def right(machine: Machine, seconds: float) -> list[Task]:
    """What has to hold however fast it is."""
    runtimes = dict.fromkeys(target.partition(":")[0] for target in machine.targets)
    folder = machine.results / "certificates"
    common = ("-r", "onnxruntime:cpu", *_each("-t", machine.targets), "-q")
    fashion = (*_each("--variant", ("fp32", "fp16")), "-o", str(folder / "fashion-student"))
    verse = ("--examples", "24", "--prompts", "8", "-o", str(folder / "verse-student"))
    graph = [t + o for t in machine.targets_of("torch")[:1] for o in _options(t)[-1:]]
    words = [*_single(), *_few()]
    captured = [
        _measure(machine, "right", [HUGGING_FACE], [target], *words, wanted=cells.unmeasured)
        for target in graph
    ]
    return [
        *(Task(_contract(machine, runtime)) for runtime in runtimes),
        *(Task(_own_tests(machine)) for _ in graph),
        # One that is inconclusive (3) is an answer.
        Task(machine.bench("certify", "fashion-student", *common, *fashion), answers=(0, 3)),
        Task(machine.bench("certify", "verse-student", *common, *verse), answers=(0, 3)),
        *captured,
    ]


def sweep(machine: Machine, seconds: float) -> list[Task]:
    """Batches until throughput stops rising, and the peaks of the device. Work is counted in the
    model's graph, so a runtime that takes ONNX comes first."""
    target = [*machine.targets_of("onnxruntime"), *machine.targets][0]
    words = [*_offline(batch="auto"), "--roofline", *_few()]
    return [_measure(machine, "sweep", PAIR[1:], [target], *words, wanted=_no_sweep)]


def _measure(
    machine: Machine,
    stage: str,
    models: Sequence[str],
    targets: Sequence[str],
    *words: str,
    wanted: Wanted = _nothing,
) -> Task:
    """`bench run`."""
    folder = machine.runs(stage)
    told = ["--quick", "--no-accuracy", "--results", str(folder)]
    command = machine.bench("run", *told, *_each("-m", models), *_each("-t", targets), *words)
    return Task(command, runs=folder, wanted=wanted)


def _load(seconds: float) -> list[str]:
    """Scenarios, whose cells share most of ``seconds``."""
    scenarios = [*_single(), *(_offline() if seconds > LONG_S else [])]
    return [*scenarios, "--budget", f"{_MEASURING * seconds:.0f}s"]


def _single() -> list[str]:
    return ["--scenario", "single-stream"]


def _offline(batch: str = "32") -> list[str]:
    return ["--scenario", "offline", "--batch", batch]


def _few() -> list[str]:
    """Processes, where it is not the latency that is asked for."""
    return ["--max-time", "1", "--min-invocations", "2", "--max-invocations", "2"]


def _metered(targets: Sequence[str], seconds: float) -> tuple[list[str], float]:
    """As many targets as the time holds windows for, and how long these are. Half of the time is
    for starting and for what is timed before."""
    shortest, longest = _WINDOW_S
    for count in range(len(targets), 0, -1):
        turns = _ROUNDS * (count * len(TRIO[:2]) + _IDLE_TURNS)
        window_s = math.floor(10 * (seconds / 2 / turns - _AROUND_WINDOW_S)) / 10
        if window_s >= shortest:
            return list(targets[:count]), min(window_s, longest)
    return list(targets[:1]), shortest


#: Runs the tests of the package that Python finds, which need not be the checkout's; as a path,
#: because pytest otherwise doesn't know their options.
_CONTRACT = (
    "import sys, pytest, bench.contract; "
    "sys.exit(pytest.main([*sys.argv[1:], bench.contract.__path__[0] + '/test_contract.py']))"
)


def _contract(machine: Machine, runtime: str) -> list[str]:
    """The tests that a backend has to pass on each of its devices of the kind; a TensorRT that is
    absent has to be refused, and one that is there tested."""
    own = ["-c", "/dev/null", "--rootdir", str(HERE), "-p", "no:cacheprovider", "-q", "-rfE"]
    chosen = ["--bench-target", runtime, "-k", f":{machine.kind} or :tensorrt"]
    return [machine.python, "-c", _CONTRACT, *own, *chosen]


def _own_tests(machine: Machine) -> list[str]:
    """What the repository tests of CUDA graphs and fork servers without a GPU, on one."""
    place = "cuda:0" if machine.kind == "cuda" else ""
    paths = sorted((TESTS / "backends").glob("test_torch_graph_*.py"))
    paths.append(TESTS / "worker" / "test_imports_of_models.py")
    pytest = [machine.python, "-m", "pytest", "-rfE", "-p", "no:cacheprovider"]
    return ["env", f"BENCH_TEST_CUDA={place}", *pytest, *map(str, paths)]


def _no_energy(scope: str) -> Wanted:
    return lambda run: cells.without_energy(run, scope)


def _no_sweep(run: cells.Run) -> list[str]:
    return [*cells.without_sweep(run), *cells.without_roofline(run)]


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _with_graphs(machine: Machine) -> list[str]:
    """Each target as it is, and replaying CUDA graphs where it has that option."""
    return [target + option for target in machine.targets for option in _options(target)]


def _options(target: str) -> tuple[str, ...]:
    """What it is measured with; torch-compile has modes instead."""
    captures = target.startswith(("onnxruntime:cuda", "torch:cuda"))
    return OPTIONS if captures else ("",)


STAGES = (
    Stage("pair", 0.42, pair),
    Stage("trio", 0.33, trio),
    Stage("energy", 0.4, energy),
    Stage("right", 0.6, right),
    Stage("sweep", 1.0, sweep),
)
