"""Workers of a generation start side by side, on a clock of its own; their time is nobody's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_group import Bench, FakeWatcher, FakeWorker, planned, suite

from bench.backend import Device
from bench.errors import OutOfMemory, WorkerCrashed
from bench.machine import memory
from bench.measure import group, member, starting
from bench.measure.group import Group
from bench.measure.listener import QuietProgress
from bench.measure.member import WARMUP_BUDGET_S
from bench.measure.pace.account import Account
from bench.measure.pace.stops import STARTING_PATIENCE, fewest, stops
from bench.measure.plan import PlannedCell
from bench.measure.starting import Room, start_members
from bench.runtimes.runtime import Runtime
from bench.worker import messages

LOAD_S = 5.0


@pytest.fixture(autouse=True)
def _watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "block_watcher", lambda own: FakeWatcher())
    monkeypatch.setattr(group, "round_watcher", lambda own, cpus, ended: FakeWatcher())
    monkeypatch.setattr(memory, "spare_bytes", lambda: 10**12)


class VirtualClock:
    """Time that passes when all who are expected to sleep do; alone if nobody else comes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.expected = 1
        self.patience_s = 2.0  #: of the real clock, for somebody who does not come
        self._sleeping: list[float] = []
        self._changed = threading.Condition()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._changed:
            until = self.now + seconds
            self._sleeping.append(until)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self.now >= until or len(self._sleeping) >= self.expected,
                timeout=self.patience_s,
            )
            if self.now < until:
                self.now = min(self._sleeping)
                self._changed.notify_all()
            self._sleeping.remove(until)


class SlowToLoad(Bench):
    """Cells each of which takes `LOAD_S` to load; some fail at it."""

    def __init__(self, names: Sequence[str], at_once: int, **arguments: Any) -> None:
        super().__init__(dict.fromkeys(names, 1e5), suite(max_invocations=3), **arguments)
        self.clock = VirtualClock()
        self.clock.expected = at_once
        self.loading: list[set[str]] = []
        self._now_loading: set[str] = set()
        self.warming = 0
        self.context = replace(self.context, account=Account(self.clock), at_once=at_once)

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> FakeWorker:
        worker = super().worker(runtime, threads, imports)
        plain, name = worker.answer_to, runtime.name

        def answer_to(request: messages.Request) -> messages.Answer:
            if isinstance(request, messages.Load) and name in self.latencies:
                self._now_loading.add(name)
                self.loading.append(set(self._now_loading))
                self.clock.sleep(LOAD_S)
                self._now_loading.discard(name)
            glimpse = isinstance(request, messages.WarmUp) and request.budget_s < WARMUP_BUDGET_S
            if isinstance(request, messages.WarmUp) and not glimpse and self.generations(name) == 1:
                assert not self._now_loading, "its latency sizes blocks, and others are starting"
            if isinstance(request, messages.TimeBlock):
                assert not self._now_loading, "nothing is measured while workers start"
                self.clock.now += 0.01
            return plain(request)

        worker.answer_to = answer_to  # type: ignore[method-assign]
        return worker

    def generations(self, name: str) -> int:
        return self.started[name]


NAMES = tuple("abcd")


@pytest.fixture
def known_sizes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Bench], Group]:
    """A group that knows how much its workers take."""

    def make(bench: Bench) -> Group:
        made = Group("single-stream batch 1", bench.states, bench.context)
        made.room.grown_bytes = {state.cell.id: 50 for state in bench.states}
        return made

    return make


def test_workers_of_a_generation_start_in_the_time_of_one(
    known_sizes: Callable[[Bench], Group],
) -> None:
    bench = SlowToLoad(NAMES, at_once=4)
    known_sizes(bench).run()
    assert {state.stop for state in bench.states} <= {"precision", "first-look", "max-invocations"}
    assert len(bench.states[0].invocations) == 3
    account = bench.context.account
    assert account.starting_s == pytest.approx(3 * LOAD_S)
    assert max(len(loading) for loading in bench.loading) == 4


def test_one_at_a_time_they_take_the_time_of_all() -> None:
    bench = SlowToLoad(NAMES, at_once=1)
    bench.run()
    assert bench.context.account.starting_s == pytest.approx(3 * 4 * LOAD_S)


def test_starting_counts_against_no_cell_and_is_told_apart(
    known_sizes: Callable[[Bench], Group],
) -> None:
    bench = SlowToLoad(NAMES, at_once=4)
    known_sizes(bench).run()
    account = bench.context.account
    for state in bench.states:
        assert 0 < state.spent_s < LOAD_S
    assert account.useful_s < LOAD_S
    assert account.other_s == pytest.approx(0.0, abs=0.01)
    assert all(one.start_ns is not None for one in bench.store.invocations)


def test_the_first_worker_is_alone_where_its_size_is_not_known() -> None:
    bench = SlowToLoad(NAMES, at_once=3)
    bench.clock.patience_s = 0.3
    bench.run()
    assert len(bench.loading[0]) == 1
    assert max(len(loading) for loading in bench.loading) > 1


def test_a_runtime_that_imports_for_long_keeps_one_worker_waiting_and_not_all_places() -> None:
    def state(name: str, runtime: str, *imports: str) -> Any:
        made = Runtime(runtime, "nowhere:Nothing", {}, imports_to_load=imports)
        return SimpleNamespace(
            name=name, planned=SimpleNamespace(choice=SimpleNamespace(runtime=made))
        )

    asked = [
        state("a", "compiling", "inductor"),
        state("b", "compiling", "inductor"),
        state("c", "quick"),
        state("d", "other", "llvm"),
        state("e", "quick"),
    ]
    assert [one.name for one in starting.starting_order(asked)] == ["c", "a", "d", "e", "b"]


def test_workers_start_in_that_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        starting,
        "starting_order",
        lambda order: sorted(order, key=lambda one: one.cell.target, reverse=True),
    )
    bench = SlowToLoad(NAMES, at_once=1)
    bench.run()
    assert bench.loading[:4] == [{name} for name in reversed(NAMES)]


def test_a_glimpse_is_shown_of_each_cell_while_others_start(
    known_sizes: Callable[[Bench], Group],
) -> None:
    shown: list[tuple[int, int]] = []

    class Showing(QuietProgress):
        def cell_progress(self, cell: Any, invocations: int, *figures: Any) -> None:
            if not invocations:
                shown.append((len(bench.loading), round(figures[0], -5)))

    bench = SlowToLoad(NAMES, at_once=1)
    bench.context = replace(bench.context, listener=Showing())
    known_sizes(bench).run()
    assert shown == [(at + 1, 100_000) for at in range(4)]  # the first generation's alone


def test_one_that_fails_while_others_start_fails_alone(
    known_sizes: Callable[[Bench], Group],
) -> None:
    def broken(name: str, at: int) -> set[type]:
        return {messages.Load} if name == "b" else set()

    bench = SlowToLoad(NAMES, at_once=4, broken=broken)
    bench.clock.expected = 3
    known_sizes(bench).run()
    assert [type(state.failure) for state in bench.states] == [
        type(None),
        WorkerCrashed,
        type(None),
        type(None),
    ]
    assert not any(worker.alive for worker in bench.workers)


def test_interrupted_while_workers_start_none_is_left(
    known_sizes: Callable[[Bench], Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = SlowToLoad(NAMES, at_once=4)
    made = known_sizes(bench)
    plain = starting.wait

    def interrupted(*given: Any, **named: Any) -> Any:
        plain(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(starting, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert not any(worker.alive for worker in bench.workers if worker.name in NAMES)


def test_the_order_of_blocks_does_not_depend_on_who_was_ready_first() -> None:
    def order(at_once: int) -> list[tuple[str, int]]:
        bench = SlowToLoad(NAMES, at_once=at_once)
        bench.clock.expected = 1
        bench.run()
        return [(b.cell_id, b.position) for b in bench.blocks()]

    assert order(1) == order(3)


# -- memory ---------------------------------------------------------------------------------------


def test_as_many_start_at_once_as_memory_holds_twice(
    known_sizes: Callable[[Bench], Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may be held twice while it is compiled; alone a worker needs its size."""
    monkeypatch.setattr(memory, "spare_bytes", lambda: 2 * 2 * 50)
    bench = SlowToLoad(NAMES, at_once=4)
    bench.clock.expected = 2
    known_sizes(bench).run()
    assert max(len(loading) for loading in bench.loading) == 2


def of_size(file_bytes: int, name: str) -> PlannedCell:
    made = planned(name)
    of_its_own = {"file_bytes": file_bytes, "sha256": f"{file_bytes:064x}"}
    model = made.cell.model.model_copy(update=of_its_own)
    return replace(made, cell=made.cell.model_copy(update={"model": model}))


def accelerated(name: str, file_bytes: int = 20) -> PlannedCell:
    made = of_size(file_bytes, name)
    choice = replace(made.choice, device=Device("gpu:0", "", ""))
    return replace(made, choice=choice)


class OnADevice(SlowToLoad):
    """Workers of an accelerator that holds ``total`` bytes, of which each takes 100."""

    def __init__(self, total: int, others: int = 0, file_bytes: int = 20) -> None:
        super().__init__(NAMES, at_once=4, cells=lambda name: accelerated(name, file_bytes))
        self.clock.expected = 1
        self.total, self.others, self.most = total, others, 0

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> FakeWorker:
        worker = super().worker(runtime, threads, imports)
        plain = worker.answer_to

        def answer_to(request: messages.Request) -> messages.Answer:
            alive = sum(one.alive for one in self.workers if one.name in NAMES)
            if isinstance(request, messages.AskDeviceMemory):
                assert request.device.id == "gpu:0"
                free = self.total - self.others - 100 * alive
                return messages.DeviceMemory(max(0, free), self.total)
            if isinstance(request, messages.Load) and runtime.name in NAMES:
                self.most = max(self.most, alive)
            return plain(request)

        worker.answer_to = answer_to  # type: ignore[method-assign]
        return worker


@pytest.mark.parametrize(("total", "others", "most"), [(10_000, 0, 4), (250, 0, 2), (560, 300, 2)])
def test_no_more_workers_are_on_a_device_than_its_memory_holds(
    total: int, others: int, most: int
) -> None:
    """What other programs hold of it is taken for a worker's only until a second one tells."""
    bench = OnADevice(total, others)
    bench.run()
    assert len(bench.finished) == 4
    assert not any(state.failure for state in bench.states)
    assert bench.most == most


def test_what_a_worker_took_of_a_device_counts_and_not_the_size_of_its_file() -> None:
    bench = OnADevice(10_000, file_bytes=6000)
    bench.run()
    assert bench.most == 4


class Filling(SlowToLoad):
    """Workers each of which takes the size of its model, of memory that holds ``total``; it isn't
    known before that it is not enough."""

    def __init__(self, total: int, **sizes: int) -> None:
        super().__init__(tuple(sizes), at_once=4, cells=lambda name: of_size(sizes[name], name))
        self.clock.expected = 1
        self.total, self.sizes = total, sizes
        self.held: dict[FakeWorker, int] = {}
        self.tried: list[str] = []
        self._turn = threading.Lock()

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> FakeWorker:
        worker = super().worker(runtime, threads, imports)
        plain, name = worker.answer_to, runtime.name

        def answer_to(request: messages.Request) -> messages.Answer:
            if isinstance(request, messages.Load) and name in self.sizes:
                with self._turn:
                    self.tried.append(name)
                    alive = sum(size for one, size in self.held.items() if one.alive)
                    if alive + self.sizes[name] > self.total:
                        raise OutOfMemory(f"{name} found {self.total - alive} bytes")
                    self.held[worker] = self.sizes[name]
            return plain(request)

        worker.answer_to = answer_to  # type: ignore[method-assign]
        return worker

    def failures(self) -> dict[str, str]:
        by_name = {s.planned.choice.target.backend: s.failure for s in self.states}
        return {name: str(failure) for name, failure in by_name.items() if failure}

    def parts(self) -> dict[str, str]:
        return {s.planned.choice.target.backend: s.group[-1] for s in self.states}


def only_b_unknown(bench: Bench) -> Room:
    room = Room()
    room.grown_bytes = {s.cell.id: 50 for s in bench.states if s.cell.target != "b:cpu"}
    return room


def test_a_cell_of_which_nothing_is_known_is_sized_by_its_models_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes that at least, whatever others took."""
    bench = Filling(10_000, a=20, b=6000, d=20)
    monkeypatch.setattr(memory, "spare_bytes", lambda: 5000)
    made = Group("single-stream batch 1", bench.states, bench.context)
    made.room = only_b_unknown(bench)
    made.run()
    assert bench.failures() == {}
    parts = bench.parts()
    assert parts["a"] == parts["d"] != parts["b"], "the large one has memory for itself"


def test_who_fits_is_not_left_out_with_one_before_it_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Filling(10_000, a=20, b=6000, d=20)
    monkeypatch.setattr(memory, "spare_bytes", lambda: 5000)
    found = start_members(bench.states, bench.context, only_b_unknown(bench))
    assert [one.state.cell.target for one in found.members] == ["a:cpu", "d:cpu"]
    assert [state.cell.target for state in found.without_room] == ["b:cpu"]


def test_who_starts_alone_needs_memory_for_its_model_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model may be held twice while it is compiled, so beside others that start it waits."""
    bench = Filling(10_000, a=20, b=3000, d=20)
    monkeypatch.setattr(memory, "spare_bytes", lambda: 5000)
    found = start_members(bench.states, bench.context, only_b_unknown(bench))
    assert len(found.members) == 3
    assert {"b"} in bench.loading


@pytest.mark.parametrize("known", ["the first of its file", "the cell, in another generation"])
def test_a_size_that_was_told_counts_and_not_that_of_the_file_or_of_the_largest(
    known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both of one model, of which each worker takes 50, fit in 60 behind a larger one."""
    monkeypatch.setattr(memory, "spare_bytes", lambda: 60)
    bench = Filling(10_000, a=3000, b=3000)
    room = Room()
    room.grown_bytes = {"another": 3000}
    if known.startswith("the cell"):
        room.grown_bytes |= {state.cell.id: 50 for state in bench.states}
    found = start_members(bench.states, bench.context, room)
    assert found.without_room == []


def test_what_a_worker_on_another_device_told_says_nothing_of_this_one() -> None:
    """The host's part of a model that is on an accelerator is small."""
    here, there = Bench({"a": 1e5}, suite()).states[0], OnADevice(10_000).states[0]
    assert here.cell.model.name == there.cell.model.name
    assert starting.loaded_by(here)[0] != starting.loaded_by(there)[0]


def test_who_ran_out_of_memory_while_others_started_is_started_once_more_alone() -> None:
    bench = Filling(100, a=60, b=60)
    room = Room()
    room.grown_bytes = {state.cell.id: 1 for state in bench.states}
    found = start_members(bench.states, bench.context, room)
    assert len(bench.tried) == 3
    assert len(found.members) == len(found.without_room) == 1, "it waits until the other has ended"
    assert found.failed == []


def test_out_of_memory_counts_where_nothing_else_of_ours_has_any(
    known_sizes: Callable[[Bench], Group],
) -> None:
    bench = Filling(100, a=60, b=60, d=101)
    known_sizes(bench).run()
    assert bench.failures() == {"d": "d found 100 bytes"}
    parts = bench.parts()
    assert len({parts[name] for name in "abd"}) == 3
    alone = Filling(100, a=101)
    alone.run()
    assert alone.failures() == {"a": "a found 100 bytes"}
    assert alone.tried == ["a"]


class FullWhileTimed(SlowToLoad):
    """A worker has no memory for a block while another holds some, but in the ``first`` of its
    generations."""

    def __init__(self, first: int, *, even_alone: bool = False) -> None:
        super().__init__(("a", "b"), at_once=1)
        self.first, self.even_alone = first, even_alone

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> FakeWorker:
        worker = super().worker(runtime, threads, imports)
        plain, name = worker.answer_to, runtime.name

        def answer_to(request: messages.Request) -> messages.Answer:
            beside = any(one.name == "a" for one in self.workers if one.alive)
            full = name == "b" and self.started[name] > self.first and (beside or self.even_alone)
            if full and isinstance(request, messages.TimeBlock):
                raise OutOfMemory("b found 0 bytes")
            return plain(request)

        worker.answer_to = answer_to  # type: ignore[method-assign]
        return worker


@pytest.mark.parametrize("first", [0, 1])
def test_who_runs_out_of_memory_while_others_are_timed_is_measured_after_them(first: int) -> None:
    bench = FullWhileTimed(first)
    bench.run()
    a, b = bench.states
    assert (a.failure, b.failure) == (None, None)
    assert len(b.invocations) >= 2
    assert len({one.index for one in a.invocations} & {i.index for i in b.invocations}) == first
    assert (a.group == b.group) == bool(first), "the first generations are paired"
    assert len(bench.finished) == 2


@pytest.mark.parametrize("first", [0, 1])
def test_who_runs_out_of_memory_alone_fails(first: int) -> None:
    bench = FullWhileTimed(first, even_alone=True)
    bench.run()
    a, b = bench.states
    assert a.failure is None
    assert str(b.failure) == "b found 0 bytes"
    assert len(b.invocations) == first


# -- when it takes for ever -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], []),
        ([(1.0, 4.0)], [3.0]),
        ([(0.0, 4.0), (0.0, 4.0)], [2.0, 2.0]),
        ([(0.0, 4.0), (2.0, 6.0)], [3.0, 3.0]),
        ([(0.0, 9.0), (3.0, 6.0), (7.0, 7.0)], [7.5, 1.5, 0.0]),
        ([(0.0, 2.0), (5.0, 6.0)], [2.0, 1.0]),
    ],
)
def test_time_that_several_take_is_divided_among_them(
    taken: list[tuple[float, float]], expected: list[float]
) -> None:
    assert starting.shares(taken) == pytest.approx(expected)


def test_a_cell_s_time_to_start_is_its_share_and_not_what_it_waited_for_others(
    known_sizes: Callable[[Bench], Group],
) -> None:
    bench = SlowToLoad(NAMES, at_once=4)
    known_sizes(bench).run()
    for state in bench.states:
        assert state.starting_s == pytest.approx(3 * LOAD_S / 4)


@pytest.mark.parametrize("fails", [False, True])
def test_importing_its_runtime_is_no_cell_s_time_to_start(fails: bool) -> None:
    """Whichever comes first waits for it, in a model that loads at once."""

    class SlowToImport(SlowToLoad):
        def worker(self, runtime: Runtime, *given: Any) -> FakeWorker:
            if runtime.name in NAMES:
                self.clock.now += 1000.0
            return super().worker(runtime, *given)

    broken = {messages.Bind} if fails else set[type]()
    bench = SlowToImport("a", at_once=1, broken=lambda name, at: broken if name == "a" else set())
    bench.run()
    (state,) = bench.states
    assert bool(state.failure) == fails
    assert state.starting_s == pytest.approx((1 if fails else 3) * LOAD_S)


def test_a_cell_that_takes_long_to_start_makes_do_with_two_invocations() -> None:
    bench = Bench({"a": 1e5}, suite(max_time_s=10, min_invocations=5))
    state = bench.states[0]
    state.invocations = list(Bench({"a": 1e5}, suite(max_invocations=3)).run().store.invocations)
    state.samples = {i.index: np.ones(9, np.int64) for i in state.invocations}
    for starting_s in (0.0, 49.9, 50.0):
        state.starting_s = starting_s
        too_long = starting_s >= STARTING_PATIENCE * 10
        assert fewest(state, bench.context.suite) == (2 if too_long else 5)
        found = stops([state], [state], bench.context.suite)
        assert found == ([(state, "max-time")] if too_long else [])


def test_a_start_that_takes_long_is_not_told_as_calls_that_did() -> None:
    noisy = Bench({"a": 1e5}, suite(max_time_s=10, min_invocations=5), spread=0.3)
    (state,) = noisy.states
    state.starting_s = STARTING_PATIENCE * 10
    noisy.run()
    assert (len(state.invocations), state.stop) == (2, "max-time")
    assert state.spent_s < 10
    assert not state.overdrawn
