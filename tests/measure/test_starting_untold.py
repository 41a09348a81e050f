"""Workers on an accelerator that doesn't tell of its memory start side by side once it is known
that it holds them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from test_group import FakeWatcher, FakeWorker, planned
from test_starting import LOAD_S, NAMES, SlowToLoad, accelerated

from bench.backend import Device
from bench.errors import BenchError, OutOfMemory, WorkerCrashed
from bench.machine import memory
from bench.measure import group, member
from bench.measure.plan import PlannedCell
from bench.measure.starting import Room
from bench.measure.state import CellState
from bench.runtimes.runtime import Runtime
from bench.worker import messages


@pytest.fixture(autouse=True)
def _watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "block_watcher", lambda own: FakeWatcher())
    monkeypatch.setattr(group, "round_watcher", lambda own, *watched: FakeWatcher())
    monkeypatch.setattr(memory, "spare_bytes", lambda: 10**12)


class Untold(SlowToLoad):
    """An accelerator that doesn't tell of its memory. Where there is an ``error``, a worker that
    loads beside another ends with it."""

    def __init__(
        self,
        error: BenchError | None = None,
        cells: Callable[[str], PlannedCell] = accelerated,
        broken: Callable[[str, int], set[type]] = lambda name, generation: set(),
    ) -> None:
        super().__init__(NAMES, at_once=4, cells=cells, broken=broken)
        self.error = error
        self.loads: list[tuple[str, bool]] = []  #: of whom, and whether beside others

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> FakeWorker:
        worker = super().worker(runtime, threads, imports)
        plain, name = worker.answer_to, runtime.name

        def answer_to(request: messages.Request) -> messages.Answer:
            if isinstance(request, messages.AskDeviceMemory):
                return messages.DeviceMemory(None, None)
            if not isinstance(request, messages.Load) or name not in NAMES:
                return plain(request)
            self.clock.expected = 1 if self.generations(name) == 1 else len(NAMES)
            began = len(self.loading)
            answer = plain(request)
            beside = any(name in one and len(one) > 1 for one in self.loading[began:])
            self.loads.append((name, beside))
            if beside and self.error is not None:
                raise self.error
            return answer

        worker.answer_to = answer_to  # type: ignore[method-assign]
        return worker


def test_after_a_generation_in_which_all_were_alive_at_once_they_start_side_by_side() -> None:
    bench = Untold()
    bench.run()
    assert [len(state.invocations) for state in bench.states] == [3] * 4
    assert bench.context.account.starting_s == pytest.approx((4 + 1 + 1) * LOAD_S)


@pytest.mark.parametrize(
    "error", [OutOfMemory("no memory for its context"), WorkerCrashed("too many sessions")]
)
def test_where_that_does_not_go_well_they_start_one_after_another_again(error: BenchError) -> None:
    """Whatever it fails of: not every runtime says that memory ran out."""
    bench = Untold(error)
    bench.clock.patience_s = 0.3
    bench.run()
    assert not any(state.failure for state in bench.states)
    assert [len(state.invocations) for state in bench.states] == [3] * 4
    assert len({state.group for state in bench.states}) == 1
    beside = [beside for _, beside in bench.loads]
    assert beside[:4] == [False] * 4
    assert True in beside[4:8]
    assert beside[-8:] == [False] * 8, "each once more alone, and the next generation"


def test_one_that_never_started_fails_at_once() -> None:
    """Here b fails beside workers of the CPU, which take nothing of its device's."""

    def broken(name: str, generation: int) -> set[type]:
        return {messages.Load} if name == "b" else set()

    bench = Untold(
        cells=lambda name: (accelerated if name in "ab" else planned)(name), broken=broken
    )
    bench.clock.patience_s = 0.3
    bench.run()
    assert [bool(state.failure) for state in bench.states] == [False, True, False, False]
    assert bench.started["b"] == 1


def test_cells_that_were_never_alive_at_once_wait_for_each_other() -> None:
    """As those of two parts of a group, which memory doesn't hold together."""
    bench = Untold()
    a, b, c, d = bench.states
    room = Room(grown_bytes={state.cell.id: 50 for state in bench.states})
    room.held([a, b])
    room.held([c, d])
    assert room.for_another(b, [a], [])
    assert room.for_another(d, [c], [])
    assert not room.for_another(c, [a], [])
    assert not room.for_another(b, [a], [c])
    assert room.for_another(c, [], [a, b]), "alone each is tried"
    room.ran_out(a)
    assert not room.for_another(b, [a], [])


def on_card(name: str, device_id: str) -> CellState:
    made = accelerated(name)
    device = Device(device_id, "", "", pci="0000:06:00.0")
    return CellState(replace(made, choice=replace(made.choice, device=device)))


def test_a_card_that_backends_call_by_two_names_has_its_memory_once() -> None:
    a, b, c = (on_card(*one) for one in [("a", "cuda:0"), ("b", "tensorrt:0"), ("c", "cuda:0")])
    room = Room()

    def told(state: CellState, free_bytes: int) -> Any:
        memory_now = messages.DeviceMemory(free_bytes, 1000)
        return SimpleNamespace(state=state, grown_bytes=50, device_memory=memory_now)

    room.learn(told(a, 700), alone=True)
    room.learn(told(b, 400), alone=True)
    assert not room.for_another(c, [b], [a]), "300 of 400 are left, and twice as much is needed"
    assert room.for_another(c, [], [a, b])
    room.learn(told(b, 200), alone=True)
    assert not room.for_another(c, [], [a, b])
