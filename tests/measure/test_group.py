"""The scheduler on made-up workers: interleaved, fair, reproducible, and nothing is ever lost."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_records import TEACHER, a_cell
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.backend import Device, ModelFile, Options
from bench.cards.ready import Loaded
from bench.errors import BenchError, WorkerCrashed
from bench.measure import group, member
from bench.measure.account import Account
from bench.measure.beats import BLOCK_NS, beat_for, equal_beats
from bench.measure.group import EXTRA_ROUNDS, ROUNDS, Group
from bench.measure.listener import QuietProgress
from bench.measure.member import Context
from bench.measure.plan import PlannedCell
from bench.measure.state import CellState
from bench.record.block import CANARY, Block
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, Target
from bench.spec import Suite

PIDS = itertools.count(1)


class FakeWorker:
    """Answers like a worker whose latencies come from ``latency_ns(calls)``."""

    def __init__(
        self, name: str, latency_ns: Callable[[int], np.ndarray], broken: set[str]
    ) -> None:
        self.name = name
        self.pid = next(PIDS)
        self.latency_ns = latency_ns
        self.broken = broken
        self.ended = False

    def request(self, op: str, *arrays: Any, **fields: Any) -> tuple[dict[str, Any], list[Any]]:
        assert not self.ended
        if op in self.broken:
            raise WorkerCrashed(f"{self.name} died during {op}")
        latency = float(np.median(self.latency_ns(5)))
        answers: dict[str, tuple[dict[str, Any], list[Any]]] = {
            "load": ({"load_ns": 5, "rss_before_load_bytes": 100}, []),
            "bind": (
                {
                    "bind_ns": 1,
                    "queries_per_call": 1,
                    "first_inference_ns": 9,
                    "rss_bytes": 150,
                    "placement": {"nodes": {}, "off_device": [], "source": "", "precision": ""},
                },
                [],
            ),
            "warm-up": ({"calls": 10, "settled": True, "latency_ns": latency}, []),
            "fetch": ({}, [np.zeros(1)]),
            "memory": ({"peak_rss_bytes": 200}, []),
        }
        if op == "block":
            return {}, [self.latency_ns(fields["calls"])]
        return answers[op]

    def end(self) -> None:
        self.ended = True

    kill = end


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
        broken: Callable[[str, int], set[str]] = lambda name, generation: set(),
        spread: float = 0.01,
    ) -> None:
        self.rng = np.random.default_rng(5)
        self.latencies, self.spread, self.broken = latencies, spread, broken
        self.started: Counter[str] = Counter()
        self.finished: list[CellState] = []
        self.store = FakeStore()
        self.states = [CellState(planned(name)) for name in latencies]
        self.context = Context(
            suite=suite,
            launcher=self,  # type: ignore[arg-type]
            store=self.store,  # type: ignore[arg-type]
            listener=QuietProgress(),
            account=Account(itertools.count(0.0, 0.005).__next__),
            rng=np.random.default_rng(suite.seed),
            cpus={1: (1,)},
            finish=self.finished.append,
        )

    def worker(self, runtime: Runtime, threads: int) -> FakeWorker:
        name = runtime.name
        generation = self.started[name]
        self.started[name] += 1
        level = self.latencies.get(name, 1e5) * np.exp(self.rng.normal(0, self.spread))

        def latency_ns(calls: int) -> np.ndarray:
            return np.maximum(1, self.rng.normal(level, level / 100, calls)).astype(np.int64)

        return FakeWorker(name, latency_ns, self.broken(name, generation))

    def run(self) -> Bench:
        Group("single-stream batch 1", self.states, self.context).run()
        return self

    def blocks(self) -> list[Block]:
        return [block for blocks in self.store.samples.values() for block in blocks]


def planned(name: str) -> PlannedCell:
    device = Device(id="cpu", vendor="", name="")
    runtime = Runtime(name, "nowhere:Nothing", {})
    return PlannedCell(
        cell=a_cell(target=f"{name}:cpu"),
        model=Loaded(card=None, file=ModelFile(name), dataset=None),  # type: ignore[arg-type]
        choice=Choice(Target(name, "cpu"), runtime, device),
        options=Options(),
        feeds={},
    )


@pytest.fixture(autouse=True)
def _watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "block_watcher", lambda own: FakeWatcher())
    monkeypatch.setattr(group, "round_watcher", lambda own, cpus: FakeWatcher())


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


# -- the order of measuring -----------------------------------------------------------------------


def test_each_cell_has_one_block_a_round_and_the_canary_takes_part() -> None:
    bench = Bench(THREE, suite()).run()
    for blocks in bench.store.samples.values():
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


# -- when it ends ---------------------------------------------------------------------------------


def test_a_cell_ends_when_its_interval_is_narrow() -> None:
    bench = Bench(THREE, suite()).run()
    assert {state.stop for state in bench.finished} == {"precision"}
    assert all(len(state.invocations) >= 3 for state in bench.states)


def test_a_noisy_cell_ends_with_its_budget_and_says_so() -> None:
    limited = Bench(THREE, suite(precision=0.001, max_invocations=6), spread=0.3).run()
    assert {state.stop for state in limited.finished} == {"max-invocations"}
    timed = Bench(THREE, suite(precision=0.001, max_time_s=0.5), spread=0.3).run()
    assert {state.stop for state in timed.finished} == {"max-time"}
    assert all(len(state.invocations) >= 3 for state in timed.states)


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
    assert "--max-time 33" in note


# -- what goes wrong ------------------------------------------------------------------------------


def test_a_crashed_worker_fails_its_cell_and_the_others_go_on() -> None:
    bench = Bench(THREE, suite(), lambda name, generation: {"block"} if name == "b" else set())
    bench.run()
    stops = {state.cell.target: state.stop for state in bench.finished}
    assert stops == {"a:cpu": "precision", "b:cpu": "failed", "c:cpu": "precision"}
    assert isinstance(bench.states[1].failure, WorkerCrashed)


def test_what_was_measured_before_a_crash_is_kept() -> None:
    def broken(name: str, generation: int) -> set[str]:
        return {"load"} if name == "b" and generation == 2 else set()

    bench = Bench(THREE, suite(), broken).run()
    assert bench.states[1].stop == "failed"
    assert len(bench.states[1].invocations) == 2


OPS = ["load", "bind", "warm-up", "block", "fetch", "memory"]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from("abc"), st.integers(0, 4)),
        st.sampled_from(OPS).map(lambda op: {op}),
        max_size=6,
    )
)
def test_whatever_fails_each_cell_ends_once_and_no_sample_is_lost(
    failures: dict[tuple[str, int], set[str]],
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
        assert invocation.disturbed_blocks >= 2
        assert ROUNDS < invocation.blocks <= ROUNDS + EXTRA_ROUNDS
    kept = [b for b in bench.blocks() if b.cell_id == bench.states[0].cell.id]
    assert sum(b.disturbed for b in kept) == sum(
        i.disturbed_blocks for i in bench.states[0].invocations
    )


def test_cells_that_do_not_fit_into_memory_are_measured_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fits = itertools.cycle([True, False])
    monkeypatch.setattr(group, "room_for_another", lambda largest: next(fits))
    latencies = {"a": 1e5, "b": 1e5, "c": 1e5, "d": 1e5}
    bench = Bench(latencies, suite()).run()
    assert len(bench.finished) == 4
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
