"""The scheduler on made-up workers: interleaved, fair, reproducible, and nothing is ever lost."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

import numpy as np
import pytest
from fake_records import TEACHER, a_cell
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.backend import Device, ModelFile, Options, Placement, TorchSource
from bench.capabilities import DeviceTime
from bench.cards.ready import Loaded
from bench.errors import BenchError, WorkerCrashed
from bench.machine import memory
from bench.measure import group, member
from bench.measure.beats import BLOCK_NS, DISCARDED_CALLS, beat_for, equal_beats
from bench.measure.feeds import Feeds
from bench.measure.group import EXTRA_ROUNDS, Group
from bench.measure.listener import QuietProgress
from bench.measure.member import DEVICE_TIMES, GLIMPSE_BUDGET_S, WARMUP_BUDGET_S, Context
from bench.measure.pace.account import Account
from bench.measure.pace.spending import ROUNDS
from bench.measure.pace.stops import fewest, overdraft_words
from bench.measure.plan import PlannedCell
from bench.measure.state import CellState
from bench.record.block import CANARY, Block
from bench.runtimes.client import End, Worker
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, Target
from bench.spec import Suite
from bench.stats.nested.allocation import FEWEST_ROUNDS
from bench.worker import messages
from bench.worker.codec import decode, encode
from bench.worker.messages import (
    AskMemory,
    AskReadings,
    Bind,
    Bound,
    Fetch,
    Load,
    LoadedInfo,
    TimeBlock,
    TimeCopies,
    TimeDevice,
    WarmUp,
)

PIDS = itertools.count(1)
#: By how many cores a cell computes on.
CPUS = {1: (1,), 2: (4, 6), 6: (0, 2, 4, 6, 8, 10)}
#: Where workers may start.
AROUND = tuple(range(12))


class FakeCores(dict[int, tuple[int, ...]]):
    """Gives other CPUs each time that they are chosen anew."""

    def __init__(self) -> None:
        super().__init__(CPUS)
        self.looks = 0

    def beside(self, count: int, near: tuple[int, ...]) -> tuple[int, ...]:
        return self[count]

    def around(self, cpus: Sequence[int]) -> tuple[int, ...]:
        return AROUND

    def choose_again(self) -> None:
        self.looks += 1
        step = 100 * (self.looks - 1)
        self.update({count: tuple(cpu + step for cpu in cpus) for count, cpus in CPUS.items()})


Heard = TypeVar("Heard")


class FakeWorker(Worker):
    """Answers like a worker whose latencies come from ``latency_ns(calls)``.

    What it is asked travels through the codec, is kept in ``heard``, but must be what ``wanted``
    (the planned cell, None for the canary) says.
    """

    def __init__(
        self,
        name: str,
        latency_ns: Callable[[int], np.ndarray],
        broken: set[type],
        wanted: PlannedCell | None,
        cpus: Callable[[], Sequence[int]],
    ) -> None:
        self.name = name
        self.pid = next(PIDS)
        self.latency_ns = latency_ns
        self.broken = broken
        self.wanted = wanted
        self.cpus = cpus
        self.heard: list[Any] = []
        self.alive = True
        self.well_s, self.left_s = time.monotonic(), math.inf
        self.stays_on: tuple[int, ...] = ()

    def ask(self, request: messages.Request, answer: type[Any]) -> Any:
        assert self.alive
        self.well_s = time.monotonic()
        arrived = decode(*encode(request), get_args(messages.Request))
        self.heard.append(arrived)
        self.check(arrived)
        if type(arrived) in self.broken:
            raise WorkerCrashed(f"{self.name} died during {type(arrived).__name__}")
        told = decode(*encode(self.answer_to(arrived)), (answer,))
        assert isinstance(told, answer)
        self.well_s = time.monotonic()
        return told

    def check(self, request: messages.Request) -> None:
        """Whoever measures asks for what the cell says, and for nothing else."""
        if isinstance(request, messages.Load):
            wanted = self.wanted  # all but "c" say that they move, as every accelerator's do
            free = wanted is not None and (self.name != "c" or wanted.on_accelerator)
            assert request.cpus == (AROUND if free else tuple(self.cpus()))
            if self.wanted is not None:
                assert request.model == self.wanted.file
                assert request.device == self.wanted.choice.device
                assert request.options == self.wanted.options
        if isinstance(request, messages.Bind):
            assert request.lane == (self.wanted.cell.lane if self.wanted else "prepared")
            assert request.streams == (self.wanted.streams if self.wanted else 1)
            assert list(request.feeds) == list(self.wanted.feeds if self.wanted else ())
        if isinstance(request, messages.WarmUp):
            assert request.budget_s in (WARMUP_BUDGET_S, GLIMPSE_BUDGET_S)
        if isinstance(request, messages.TimeBlock):
            assert request.calls >= 1
            assert 0 <= request.discard <= max(DISCARDED_CALLS, request.calls // 4)

        if isinstance(request, messages.TimeBlock | messages.WarmUp):
            wanted = self.wanted
            moved = wanted is not None and (self.name != "c" or wanted.on_accelerator)
            assert self.stays_on == (tuple(self.cpus()) if moved else ())

    def stay_on(self, cpus: Sequence[int]) -> None:
        self.stays_on = tuple(cpus)

    def answer_to(self, request: messages.Request) -> messages.Answer:
        if isinstance(request, messages.Load):
            return LoadedInfo(load_ns=5, rss_before_load_bytes=100, inputs=(), outputs=())
        if isinstance(request, messages.Bind):
            return Bound(
                bind_ns=1,
                first_inference_ns=9,
                queries_per_call=1,
                rss_bytes=150,
                placement=Placement({}, ""),
                profiles=False,
                times_copies=True,
                times_device=True,
                tells_of_device=True,
            )
        if isinstance(request, messages.WarmUp):
            return messages.Warmup(10, True, int(np.median(self.latency_ns(5))))
        if isinstance(request, messages.TimeBlock):
            return messages.TimedBlock(self.latency_ns(request.calls))
        if isinstance(request, messages.Fetch):
            return messages.Outputs((np.zeros(1),))
        if isinstance(request, messages.AskMemory):
            return messages.Memory(200)
        if isinstance(request, messages.AskReadings):
            return messages.Readings(({"power_w": 7.0},))
        if isinstance(request, messages.TimeCopies):
            return messages.CopyTimes({"h2d_ns": (3, 4, 5), "d2h_ns": (0, 0, 9)})
        if isinstance(request, messages.TimeDevice):
            return messages.DeviceTimed(DeviceTime(4.0 + self.pid % 2, gaps=False))
        raise AssertionError(f"nobody asks a worker that is timed for {request}")

    def end(self) -> None:
        self._left()

    kill = end

    def ended(self, wait_s: float = 0.0) -> End | None:
        return None if self.alive else End(9, 77)


class FakeStore:
    """Keeps in memory what a store would write."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Block]] = {}
        self.invocations: list[Any] = []
        self.workers: list[Any] = []

    def write_samples(self, name: str, blocks: Sequence[Block]) -> None:
        assert name not in self.samples, "a generation was overwritten"
        self.samples[name] = list(blocks)

    def append_invocations(self, invocations: Sequence[Any]) -> None:
        self.invocations += invocations

    def append_workers(self, told: Sequence[Any]) -> None:
        self.workers += told


class FakeWatcher:
    """Finds every ``every``-th block disturbed."""

    wait_share = 0.01

    def __init__(self, every: int = 0) -> None:
        self.every = every
        self.count = 0

    def __enter__(self) -> FakeWatcher:
        return self

    def __exit__(self, *_: object) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> FakeWatcher:
        self.count += 1
        return self

    def disturbed(self, thresholds: object = None) -> list[str]:
        return ["a neighbour"] if self.every and self.count % self.every == 0 else []

    def close(self) -> None: ...


class Bench:
    """A group of made-up cells and all that came of it."""

    def __init__(
        self,
        latencies: dict[str, float],
        suite: Suite,
        broken: Callable[[str, int], set[type]] = lambda name, generation: set(),
        spread: float = 0.01,
        cells: Callable[[str], PlannedCell] | None = None,
    ) -> None:
        self.rng = np.random.default_rng(5)
        self.workers: list[FakeWorker] = []
        self.latencies, self.spread, self.broken = latencies, spread, broken
        self.started: Counter[str] = Counter()
        self.finished: list[CellState] = []
        self.store = FakeStore()
        self.states = [CellState((cells or planned)(name)) for name in latencies]
        self.context = Context(
            suite=suite,
            launcher=self,  # type: ignore[arg-type]
            store=self.store,  # type: ignore[arg-type]
            listener=QuietProgress(),
            account=Account(itertools.count(0.0, 0.005).__next__),
            rng=np.random.default_rng(suite.seed),
            cpus=FakeCores(),  # type: ignore[arg-type]
            finish=self.finished.append,
        )

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> FakeWorker:
        name = runtime.name
        generation = self.started[name]
        self.started[name] += 1
        level = self.latencies.get(name, 1e5) * np.exp(self.rng.normal(0, self.spread))

        def latency_ns(calls: int) -> np.ndarray:
            return np.maximum(1, self.rng.normal(level, level / 100, calls)).astype(np.int64)

        cells = {state.planned.choice.target.backend: state.planned for state in self.states}
        wanted = cells.get(name)
        assert threads == (wanted.cell.threads if wanted else 1)
        assert imports == (("a_compiler", *wanted.file.imports) if wanted else ())
        # The canary computes on the last of the cores that the group uses.
        most = max(state.planned.cores for state in self.states)

        def cpus() -> Sequence[int]:
            return self.context.cpus[wanted.cores] if wanted else self.context.cpus[most][-1:]

        worker = FakeWorker(name, latency_ns, self.broken(name, generation), wanted, cpus)
        self.workers.append(worker)
        return worker

    def heard(self, kind: type[Heard], name: str = "a") -> list[list[Heard]]:
        """What each of the workers of a cell was asked for of that kind, in order."""
        return [
            [request for request in worker.heard if isinstance(request, kind)]
            for worker in self.workers
            if worker.name == name
        ]

    def run(self) -> Bench:
        Group("single-stream batch 1", self.states, self.context).run()
        return self

    def blocks(self) -> list[Block]:
        return [block for blocks in self.store.samples.values() for block in blocks]


FEEDS = {"image": np.ones((1, 2), np.float32), "mask": np.zeros(1, np.int64)}


def model_file(name: str) -> ModelFile:
    source = TorchSource(Path("nets.py"), "net", imports=("a_large_library",))
    return ModelFile(name, torch=source)


def planned(name: str, options: Options | None = None, **cell: Any) -> PlannedCell:
    device = Device(id="cpu", vendor="", name="")
    runtime = Runtime(
        name, "nowhere:Nothing", {}, ("torch",), imports_to_load=("a_compiler",), moves=name != "c"
    )
    return PlannedCell(
        cell=a_cell(target=f"{name}:cpu", **cell),
        model=Loaded(card=None, file=model_file(name), dataset=None),  # type: ignore[arg-type]
        choice=Choice(Target(name, "cpu"), runtime, device),
        options=options or Options(),
        inputs=Feeds.given(FEEDS),
    )


@pytest.fixture(autouse=True)
def _watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "block_watcher", lambda own: FakeWatcher())
    monkeypatch.setattr(group, "round_watcher", lambda own, cpus, ended: FakeWatcher())


def suite(**settings: Any) -> Suite:
    return Suite(**{"precision": 0.05, "min_invocations": 3, "max_time_s": 1000, **settings})


THREE = {"a": 1e5, "b": 1.2e5, "c": 9e6}


# -- how many calls -------------------------------------------------------------------------------


@given(st.floats(100, 1e10))
def test_a_block_lasts_about_ten_milliseconds(latency_ns: float) -> None:
    beat = beat_for(latency_ns)
    assert beat.calls >= 1
    assert beat.discard >= 1
    if 1e3 < latency_ns < BLOCK_NS / 2:
        assert 0.6 * BLOCK_NS <= beat.calls * latency_ns <= 1.5 * BLOCK_NS


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(1e3, 1e9), min_size=1))
def test_cells_of_similar_latency_make_equal_calls(latencies: dict[str, float]) -> None:
    beats = equal_beats(latencies)
    assert beats.keys() == latencies.keys()
    ordered = sorted(latencies, key=lambda name: latencies[name])
    for one, other in itertools.pairwise(ordered):
        if latencies[other] < 2 * latencies[one]:
            assert beats[one] == beats[other]


@pytest.mark.parametrize(
    ("latency_ns", "discarded"), [(1e4, 5), (4e5, 5), (6e5, 4), (1e6, 2), (2e6, 1), (1e9, 1)]
)
def test_calls_that_do_not_count_fill_two_milliseconds_and_are_five_at_most(
    latency_ns: float, discarded: int
) -> None:
    """A long call warms its own caches; docs/method.md."""
    assert beat_for(latency_ns).discard == discarded


# -- what workers are asked -----------------------------------------------------------------------


def test_a_worker_is_asked_for_what_its_cell_says_and_pinned_to_its_cores() -> None:
    """The fake worker compares each field with the cell; here they are all unlike the defaults."""
    options = Options(2, True, {"image": (8, 2)}, {"streams": "3"})
    changes: dict[str, Any] = {"scenario": "offline", "lane": "native", "threads": 2, "batch": 8}
    bench = Bench({"a": 1e5}, suite(), cells=lambda name: planned(name, options, **changes)).run()
    for (load,), (bind,) in zip(bench.heard(Load), bench.heard(Bind), strict=True):
        assert load == Load(model_file("a"), Device("cpu", "", ""), options, AROUND)
        assert (bind.lane, bind.streams) == ("native", 3)
        np.testing.assert_array_equal(bind.feeds["image"], [[1, 1]])
    (canary,) = bench.heard(Load, CANARY)
    assert canary[0].cpus == (10,)
    assert {i.cpus for i in bench.states[0].invocations} == {CPUS[6]}
    assert {worker.stays_on for worker in bench.workers if worker.name == "a"} == {CPUS[6]}


def test_a_generation_that_was_left_alone_is_followed_by_one_on_the_same_cpus() -> None:
    bench = Bench({"a": 1e5, "b": 1e5}, suite()).run()
    assert len(bench.heard(Load)) >= 3
    assert bench.context.cpus.looks == 1  # type: ignore[attr-defined]
    assert {i.cpus for i in bench.store.invocations} == {CPUS[1]}


@pytest.mark.parametrize("watcher", ["every block disturbed", "waiting alone"])
def test_a_disturbed_generation_is_followed_by_another_choice_for_all_of_its_workers(
    monkeypatch: pytest.MonkeyPatch, watcher: str
) -> None:
    """The fake worker checks that it is pinned where its generation is, the canary too."""
    found = FakeWatcher(every=1 if watcher == "every block disturbed" else 0)
    found.wait_share = 0.3
    monkeypatch.setattr(member, "block_watcher", lambda own: found)
    bench = Bench({"a": 1e5, "b": 1e5}, suite()).run()
    by_index: dict[int, set[tuple[int, ...]]] = {}
    for one in bench.store.invocations:
        by_index.setdefault(one.index, set()).add(one.cpus)
        assert one.waited_share == pytest.approx(0.3)
    assert by_index == {g: {(1 + 100 * g,)} for g in range(len(by_index))}
    assert [load.cpus for load in bench.heard(Load, CANARY)[0]] == [
        (1 + 100 * g,) for g in range(len(by_index))
    ]


def test_a_canary_that_dies_is_started_again_and_no_cell_fails() -> None:
    def broken(name: str, started: int) -> set[type]:
        return {TimeBlock} if name == CANARY and started == 0 else set()

    bench = Bench({"a": 1e5}, suite(), broken).run()
    assert [state.failure for state in bench.states] == [None]
    assert bench.started[CANARY] == 2
    first, *others = bench.states[0].invocations
    assert first.canary_ns is None
    assert all(one.canary_ns is not None for one in others)


def test_without_any_canary_the_cells_are_measured_all_the_same() -> None:
    def broken(name: str, started: int) -> set[type]:
        return {Load} if name == CANARY else set()

    bench = Bench({"a": 1e5}, suite(), broken).run()
    assert [state.failure for state in bench.states] == [None]
    assert {i.canary_ns for i in bench.states[0].invocations} == {None}


def test_outputs_are_taken_from_the_call_that_was_timed_where_it_leaves_them() -> None:
    """The usual API returns its outputs and leaves none to fetch."""
    for lane, fetched in (("prepared", 1), ("native", 1), ("api", 0)):
        bench = Bench({"a": 1e5}, suite(), cells=lambda n, lane=lane: planned(n, lane=lane)).run()
        assert all(len(requests) == fetched for requests in bench.heard(Fetch))
        assert (bench.states[0].outputs is not None) == bool(fetched)


def test_every_block_of_a_cell_has_the_calls_of_its_beat() -> None:
    bench = Bench(THREE, suite()).run()
    for name in THREE:
        first, *later = bench.heard(TimeBlock, name)
        asked = {(block.calls, block.discard) for requests in later for block in requests}
        assert len(asked) == 1, "the same in every generation but the first"
        ((calls, _),) = asked
        beat = beat_for({**THREE}[name])
        opening = max(beat.discard, calls // 4)
        assert {(b.calls, b.discard) for b in first[:ROUNDS]} == {(calls + opening, 0)}
    beats = {name: bench.heard(TimeBlock, name)[-1][-1] for name in (*THREE, CANARY)}
    assert beats["a"].calls == beats["b"].calls != beats["c"].calls
    for name, latency_ns in {**THREE, CANARY: 1e5}.items():
        assert 0.7 * BLOCK_NS < beats[name].calls * latency_ns < 1.5 * BLOCK_NS
    assert beats["c"].discard == beat_for(9e6).discard, "one call a block tells of no opening"
    assert beats[CANARY].discard == beat_for(1e5).discard


def test_an_invocation_says_what_its_worker_did_and_told() -> None:
    bench = Bench({"a": 1e5}, suite()).run()
    kept = {i.index: i for i in bench.states[0].invocations}
    for index, asked in enumerate(bench.heard(TimeBlock)):
        made, samples = kept[index], bench.states[0].samples[index]
        assert made.blocks == len(asked) >= FEWEST_ROUNDS
        assert made.discarded_calls == made.blocks * bench.heard(TimeBlock)[-1][-1].discard
        called = sum(block.calls + block.discard for block in asked)
        assert made.calls + made.discarded_calls == called
        assert made.calls == len(samples)
        assert made.busy_ns == samples.sum()
        assert made.load_ns == 5 + 1  # compiling and binding
        assert made.first_inference_ns == 9
        assert (made.warmup_calls, made.settled) == (10, True)
        assert (made.rss_before_load_bytes, made.peak_rss_bytes) == (100, 200)
        assert (made.h2d_ns, made.d2h_ns) == (4.0, 1.0)  # medians; a coarse clock's 0 is 1
        assert (made.power_w, made.device_readings) == (7.0, 1)
        # The device's own time is known well enough from the first few.
        assert (made.device_ns in (4.0, 5.0)) == (made.index < DEVICE_TIMES)


@pytest.mark.parametrize(
    ("fatal", "known"),
    [(TimeDevice, {"h2d_ns": 4.0, "device_ns": None}), (TimeCopies, {"h2d_ns": None})],
)
def test_what_is_asked_beside_the_figures_costs_no_figure(
    fatal: type, known: dict[str, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies of it has told all that was measured; no other is asked then."""
    notes: list[str] = []
    monkeypatch.setattr(QuietProgress, "note", lambda self, text: notes.append(text))
    bench = Bench({"a": 1e5}, suite(min_invocations=3), lambda name, at: {fatal}).run()
    (state,) = bench.states
    assert state.failure is None
    assert len(state.invocations) >= 3
    assert state.outputs is not None
    first, *later = state.invocations
    assert all(made.peak_rss_bytes == 200 and made.median_ns > 0 for made in state.invocations)
    assert {name: getattr(first, name) for name in known} == known
    assert [(made.h2d_ns, made.device_ns) for made in later] == [(None, None)] * len(later)
    assert sum(map(len, bench.heard(fatal))) == 1
    (note,) = notes
    assert note.startswith(f"{state.cell.label}: not all is known of its device and its copies: ")
    assert note.endswith(f"died during {fatal.__name__}")


def test_the_devices_own_time_is_asked_of_the_first_few_whether_or_not_they_know_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a session of its own it may take as long as loading the model."""
    unknown = messages.DeviceTimed(None)
    told = FakeWorker.answer_to
    monkeypatch.setattr(
        FakeWorker,
        "answer_to",
        lambda self, asked: unknown if isinstance(asked, TimeDevice) else told(self, asked),
    )
    bench = Bench({"a": 1e5}, suite(min_invocations=DEVICE_TIMES + 2)).run()
    asked = [len(requests) for requests in bench.heard(TimeDevice)]
    assert asked == [1] * DEVICE_TIMES + [0] * (len(asked) - DEVICE_TIMES)


def test_the_time_for_it_is_no_cells_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench({"a": 1e5}, suite(max_invocations=3))
    account, asides = bench.context.account, group.asides

    def slow(*given: Any) -> dict[str, Any]:
        for _ in range(100_000):
            account.total_s  # noqa: B018  # each look takes 5 ms here
        return asides(*given)

    monkeypatch.setattr(group, "asides", slow)
    bench.run()
    assert account.useful_s > 3 * 500
    assert bench.states[0].spent_s < 500
    assert len(bench.states[0].invocations) == 3


# -- the order of measuring -----------------------------------------------------------------------


def test_each_cell_has_one_block_a_round_and_the_canary_takes_part() -> None:
    """In the first rounds, of which nothing is known."""
    bench = Bench(THREE, suite(max_invocations=3)).run()
    blocks = next(iter(bench.store.samples.values()))
    for number in range(ROUNDS):
        in_round = [block for block in blocks if block.round == number]
        assert Counter(block.cell_id for block in in_round) == Counter(
            [CANARY, *(state.cell.id for state in bench.states)]
        )
        assert sorted(block.position for block in in_round) == list(range(len(in_round)))


def test_the_order_is_random_and_the_same_for_the_same_seed() -> None:
    def order(seed: int) -> list[tuple[str, int, int]]:
        found = Bench(THREE, suite(seed=seed)).run().blocks()
        return [(b.cell_id, b.round, b.position) for b in found]

    assert order(1) == order(1)
    assert order(1) != order(2)
    first_turns = {cell for cell, _, position in order(1) if position == 0}
    assert len(first_turns) == 4


def test_each_round_has_an_order_of_its_own() -> None:
    """Else a neighbour that wakes up in step with the rounds would hit the same cell each time."""
    for blocks in Bench(THREE, suite(max_invocations=3)).run().store.samples.values():
        orders = {
            tuple(
                block.cell_id
                for block in sorted(blocks, key=lambda block: block.position)
                if block.round == number
            )
            for number in range(ROUNDS)
        }
        assert len(orders) > ROUNDS / 2


# -- when it ends ---------------------------------------------------------------------------------


def test_a_cell_ends_when_its_interval_is_narrow() -> None:
    bench = Bench(THREE, suite()).run()
    assert {state.stop for state in bench.finished} == {"precision"}
    assert all(len(state.invocations) >= 3 for state in bench.states)


def test_processes_that_agree_more_than_their_blocks_allow_end_no_cell() -> None:
    """Every second block of `b` is twice as slow, so all of its processes have the same median."""
    bench = Bench({"a": 1e5, "b": 1e7}, suite(precision=0.02, max_invocations=9), spread=0.0)
    plain = bench.worker

    def worker(runtime: Runtime, *given: Any) -> FakeWorker:
        made = plain(runtime, *given)
        if runtime.name == "b":
            steady, slower = made.latency_ns, itertools.cycle((1, 2))
            made.latency_ns = lambda calls: steady(calls) * next(slower)
        return made

    bench.worker = worker  # type: ignore[method-assign]
    a, b = bench.run().states
    assert (a.stop, len(a.invocations)) == ("first-look", 3)
    assert len(b.invocations) > 5


def test_a_noisy_cell_ends_with_its_budget_and_says_so() -> None:
    limited = Bench(THREE, suite(precision=0.001, max_invocations=6), spread=0.3).run()
    assert {state.stop for state in limited.finished} == {"max-invocations"}
    timed = Bench(THREE, suite(precision=0.001, max_time_s=0.5), spread=0.3).run()
    assert {state.stop for state in timed.finished} == {"max-time"}
    assert all(len(state.invocations) >= 3 for state in timed.states)


def test_a_cell_may_overdraw_its_time_threefold_for_its_first_invocations() -> None:
    """Then two have to do: a model that takes minutes to compile would take hours."""
    state, rules = CellState(planned("a")), suite(max_time_s=10, min_invocations=5)
    for spent_s, invocations in ((9.0, 5), (29.9, 5), (30.0, 2), (299.0, 2)):
        state.spent_s = spent_s
        assert fewest(state, rules) == invocations


def test_a_cell_that_goes_on_for_its_fewest_invocations_is_told() -> None:
    # Less than a suite may ask for: made-up workers take some 30 ms.
    short = suite(precision=0.001, min_invocations=10).model_copy(update={"max_time_s": 0.2})
    bench = Bench(THREE, short, spread=0.3).run()
    assert all(len(state.invocations) == 10 for state in bench.finished)
    assert all(state.overdrawn for state in bench.finished)
    spent = [state.spent_s for state in bench.finished]
    words = overdraft_words(spent, short)
    assert f"3 cells took up to {max(spent):.3g} s, more than --max-time 0.2s" in words
    assert "10 here (--min-invocations), or 2 once 3 times that time is spent." in words
    enough = Bench(THREE, suite(precision=0.001, max_time_s=5.0), spread=0.3).run()
    assert not any(state.overdrawn for state in enough.finished)


def test_slow_calls_have_no_more_rounds_than_their_time_holds() -> None:
    """A language model's whole query takes seconds, and a block of it makes two calls at first."""
    for latency_s, rounds in ((0.1, ROUNDS), (0.3, 5), (10.0, FEWEST_ROUNDS)):
        quick = suite(min_invocations=3, max_invocations=4, max_time_s=10.0)
        bench = Bench({"a": latency_s * 1e9}, quick)

        def computed_s(bench: Bench = bench, latency_s: float = latency_s) -> float:
            asked = [block for blocks in bench.heard(TimeBlock) for block in blocks]
            return latency_s * sum(block.calls + block.discard for block in asked)

        bench.context = replace(bench.context, account=Account(computed_s))
        made = [len(blocks) for blocks in bench.run().heard(TimeBlock)]
        assert made == [rounds] * len(made)
        assert len(made) >= 2


def test_ranking_ends_for_a_settled_cell_and_goes_on_for_an_open_pair() -> None:
    latencies = {"near": 1.00e5, "nearer": 1.01e5, "far": 5e5}
    rules = suite(goal="rank", margin=0.001, max_invocations=25)
    bench = Bench(latencies, rules, spread=0.02).run()
    counts = {s.cell.target: len(s.invocations) for s in bench.states}
    assert bench.states[2].stop == "ranked"
    assert counts["far:cpu"] < counts["near:cpu"]


def test_a_p99_out_of_reach_is_said_before_measuring_with_what_would_be_enough() -> None:
    class Notes(QuietProgress):
        heard: ClassVar[list[str]] = []

        def note(self, text: str) -> None:
            self.heard.append(text)

    bench = Bench({"slow": 5e8, "fast": 1e5}, suite(max_time_s=20))
    bench.context = replace(bench.context, listener=Notes())
    bench.run()
    (note,) = Notes.heard
    assert "slow:cpu" in note
    assert "needs 662 queries" in note
    assert re.search(r"--max-time 3[23]\d\b", note)  # 662 queries of about half a second


# -- what goes wrong ------------------------------------------------------------------------------


def test_a_crashed_worker_fails_its_cell_and_the_others_go_on() -> None:
    bench = Bench(THREE, suite(), lambda name, at: {TimeBlock} if name == "b" else set())
    bench.run()
    stops = {state.cell.target: state.stop for state in bench.finished}
    assert stops == {"a:cpu": "precision", "b:cpu": "failed", "c:cpu": "precision"}
    assert isinstance(bench.states[1].failure, WorkerCrashed)


@pytest.mark.parametrize("op", [Load, TimeBlock, Fetch])
def test_the_record_of_a_cell_that_failed_is_written_when_no_worker_lives(op: type) -> None:
    """Scores and references compute, which others would be timed beside."""
    bench = Bench(THREE, suite(), lambda name, at: {op} if (name, at) == ("b", 1) else set())
    alive: dict[str, set[str]] = {}

    def finish(state: CellState) -> None:
        bench.finished.append(state)
        alive[state.cell.target] = {w.name for w in bench.workers if w.alive} - {CANARY}

    bench.context = replace(bench.context, finish=finish)
    bench.run()
    assert alive == {"a:cpu": set(), "b:cpu": set(), "c:cpu": set()}
    assert bench.finished[0].cell.target == "b:cpu"
    assert len(bench.finished[0].invocations) == 1


@pytest.mark.parametrize(("op", "ran"), [(Load, False), (Bind, False), (TimeBlock, True)])
def test_a_cell_knows_whether_its_model_ever_ran(op: type, ran: bool) -> None:
    bench = Bench({"a": 1e5, "b": 1e5}, suite(), lambda n, at: {op} if n == "b" else set()).run()
    assert [state.ran for state in bench.states] == [True, ran]


def test_a_worker_that_failed_and_lives_on_is_ended_before_anything_else_is_timed() -> None:
    """It holds memory, and may compute."""
    bench = Bench(THREE, suite(), lambda name, at: {TimeBlock} if name == "b" else set())
    plain = bench.worker

    def worker(runtime: Runtime, *given: Any) -> FakeWorker:
        made = plain(runtime, *given)
        answer = made.answer_to

        def answer_to(request: messages.Request) -> messages.Answer:
            failed = [w for w in bench.workers if w.name == "b" and TimeBlock in map(type, w.heard)]
            assert not any(one.alive for one in failed)
            return answer(request)

        made.answer_to = answer_to  # type: ignore[method-assign]
        return made

    bench.worker = worker  # type: ignore[method-assign]
    bench.run()
    assert [state.failure is None for state in bench.states] == [True, False, True]


def test_what_a_worker_used_that_fails_in_a_round_is_told_to_the_watcher(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else what other programs used is unknown for all cells of the generation; a canary dies, too.
    What it gives back of its memory is waited for."""
    told: list[int | None] = []
    waited: list[str] = []

    def watcher(own: Sequence[int], cpus: object, ended: Callable[[int], int | None]) -> Any:
        watching = FakeWatcher()
        plain = watching.stop

        def stop() -> FakeWatcher:
            told.extend(ended(pid) for pid in own)
            return plain()

        watching.stop = stop  # type: ignore[method-assign]
        return watching

    def ended(self: FakeWorker, wait_s: float = 0.0) -> End | None:
        if wait_s and not self.alive:
            waited.append(self.name)
        return None if self.alive else End(9, 77)

    monkeypatch.setattr(group, "round_watcher", watcher)
    monkeypatch.setattr(FakeWorker, "ended", ended)
    broken = {"b": {TimeBlock}, CANARY: {TimeBlock}}
    Bench(THREE, suite(max_invocations=3), lambda name, at: broken.get(name, set())).run()
    assert told[:5].count(77) == 2
    assert told[:5].count(None) == 3, "this process, and those that live"
    assert waited[0] in ("b", CANARY)
    assert "b" in waited


def test_what_was_measured_before_a_crash_is_kept() -> None:
    def broken(name: str, generation: int) -> set[type]:
        return {Load} if name == "b" and generation == 2 else set()

    bench = Bench(THREE, suite(), broken).run()
    assert bench.states[1].stop == "failed"
    assert len(bench.states[1].invocations) == 2


OPS = [Load, Bind, WarmUp, TimeBlock, Fetch, AskMemory, AskReadings, TimeCopies, TimeDevice]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.integers(0, 4)),
        st.sampled_from(OPS).map(lambda op: {op}),
        max_size=6,
    )
)
def test_whatever_fails_each_cell_ends_once_and_no_sample_is_lost(
    failures: dict[tuple[str, int], set[type]],
) -> None:
    bench = Bench(THREE, suite(), lambda name, at: failures.get((name, at), set())).run()
    assert Counter(state.cell.id for state in bench.finished) == Counter(
        state.cell.id for state in bench.states
    )
    for state in bench.states:
        mine = [block for block in bench.blocks() if block.cell_id == state.cell.id]
        assert sum(len(block.latency_ns) for block in mine) == sum(
            invocation.calls for invocation in state.invocations
        )
        assert [i for i in bench.store.invocations if i.cell_id == state.cell.id] == (
            state.invocations
        )


def test_an_error_outside_of_a_cell_ends_the_run() -> None:
    bench = Bench(THREE, suite())

    def full(name: str, blocks: Sequence[Block]) -> None:
        raise BenchError("the disk is full")

    bench.store.write_samples = full  # type: ignore[method-assign]
    with pytest.raises(BenchError, match="full"):
        bench.run()
    assert bench.finished == []


# -- disturbance, memory, resuming ----------------------------------------------------------------


def test_disturbed_blocks_are_marked_and_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "block_watcher", lambda own: FakeWatcher(every=4))
    bench = Bench({"a": 1e5}, suite()).run()
    for invocation in bench.states[0].invocations:
        assert invocation.disturbed_blocks >= 1
        assert invocation.blocks - invocation.disturbed_blocks >= FEWEST_ROUNDS
        assert invocation.blocks <= ROUNDS + EXTRA_ROUNDS
    assert bench.states[0].invocations[0].blocks > ROUNDS
    kept = [b for b in bench.blocks() if b.cell_id == bench.states[0].cell.id]
    assert sum(b.disturbed for b in kept) == sum(
        i.disturbed_blocks for i in bench.states[0].invocations
    )


def test_cells_that_do_not_fit_into_memory_are_measured_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits = itertools.cycle([True, False])
    asked: list[int] = []
    monkeypatch.setattr(
        memory, "room_for_another", lambda largest: asked.append(largest) or next(fits)
    )
    latencies = {"a": 1e5, "b": 1e5, "c": 1e5, "d": 1e5}
    bench = Bench(latencies, suite()).run()
    assert len(bench.finished) == 4
    assert set(asked) == {150 - 100}, "what loading and binding added to one of the same file"
    parts: dict[str, set[int]] = {}
    for state in bench.states:
        parts.setdefault(state.group, set()).update(i.index for i in state.invocations)
    assert len(parts) > 1
    for one, other in itertools.combinations(parts.values(), 2):
        assert one.isdisjoint(other), "cells of two parts would count as paired"


def test_a_resumed_cell_needs_only_what_is_missing(tmp_path: Path) -> None:
    first = Bench({"a": 1e5}, suite(min_invocations=3, max_invocations=3)).run()
    again = Bench({"a": 1e5}, suite(min_invocations=5, max_invocations=5))
    again.states[0].invocations = list(first.states[0].invocations)
    again.states[0].samples = dict(first.states[0].samples)
    again.run()
    assert [i.index for i in again.states[0].invocations] == [0, 1, 2, 3, 4]
    assert again.started["a"] == 2


def test_the_fake_cells_differ_in_their_ids() -> None:
    """Else the tests above would prove nothing."""
    assert len({planned(name).cell.id for name in "abc"}) == 3
    assert TEACHER.name == planned("a").cell.model.name
