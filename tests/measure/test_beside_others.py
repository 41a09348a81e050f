"""Whoever ran out of memory beside others is kept apart from them, whatever is measured and however
it ended; nobody fails for others' memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from test_group import FakeWatcher, FakeWorker
from test_starting import Filling, FullWhileTimed, SlowToLoad

from bench.errors import OutOfMemory, WorkerCrashed
from bench.machine import memory
from bench.measure import group, member
from bench.measure.canary import Canary
from bench.measure.group import Group
from bench.measure.starting import Room, start_members
from bench.runtimes.runtime import Runtime
from bench.trials.tune.measuring import _NEVER, RaceGroup
from bench.worker import messages


@pytest.fixture(autouse=True)
def _watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "block_watcher", lambda own: FakeWatcher())
    monkeypatch.setattr(group, "round_watcher", lambda own, cpus, ended: FakeWatcher())
    monkeypatch.setattr(memory, "spare_bytes", lambda: 10**12)


def race(bench: SlowToLoad, rounds: int) -> None:
    """So many rounds of a race over all cells, whose workers may start side by side."""
    context = replace(bench.context, suite=bench.context.suite.model_copy(update=_NEVER))
    racing = RaceGroup("race", bench.states, context, {}, bounded=False)
    racing.room.grown_bytes = {state.cell.id: 1 for state in bench.states}
    with Canary(bench.context.launcher) as canary:
        for _ in range(rounds):
            racing.generation_of(bench.states, canary)


def processes(bench: SlowToLoad) -> dict[str, int]:
    return {s.planned.choice.target.backend: len(s.invocations) for s in bench.states}


# -- once is enough -------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 2])
def test_who_ran_out_of_memory_in_a_race_is_measured_alone_from_then_on(first: int) -> None:
    bench = FullWhileTimed(first)
    race(bench, 4)
    assert processes(bench) == {"a": 4, "b": 4}
    assert bench.started["b"] == 4 + 1, "one worker for nothing, and no more"
    a, b = ({one.index for one in state.invocations} for state in bench.states)
    assert len(a & b) == first


def test_who_ran_out_of_memory_as_it_started_is_not_tried_beside_others_again() -> None:
    bench = Filling(100, a=60, b=60)
    bench.clock.expected = 1
    race(bench, 4)
    assert processes(bench) == {"a": 4, "b": 4}
    wasted = len(bench.tried) - 4 - 4
    assert wasted == 2, "one beside another that started, and one beside one that was there"


def test_who_ran_out_of_memory_beside_others_that_started_is_started_when_none_does() -> None:
    """It fits beside those that are there: while it starts it takes more for a moment."""
    bench = SlowToLoad(("a", "b"), at_once=2)
    plain, tried = bench.worker, []

    def worker(runtime: Runtime, *given: Any) -> FakeWorker:
        made = plain(runtime, *given)
        answer = made.answer_to

        def answer_to(request: messages.Request) -> messages.Answer:
            found = answer(request)
            if isinstance(request, messages.Load) and runtime.name == "b":
                tried.append(len(bench.loading[-1]))
                if tried[-1] > 1:
                    raise OutOfMemory("b found 0 bytes")
            return found

        made.answer_to = answer_to  # type: ignore[method-assign]
        return made

    bench.worker = worker  # type: ignore[method-assign]
    race(bench, 4)
    assert processes(bench) == {"a": 4, "b": 4}
    assert len(tried) <= 4 + 1
    a, b = ({one.index for one in state.invocations} for state in bench.states)
    assert a == b, "beside each other, once they have started"


def test_a_group_keeps_apart_who_ran_out_of_memory_in_a_later_generation() -> None:
    """At the start of its third worker, beside one that is there."""
    bench = SlowToLoad(("a", "b"), at_once=1)
    plain = bench.worker

    def worker(runtime: Runtime, *given: Any) -> FakeWorker:
        made = plain(runtime, *given)
        answer = made.answer_to

        def answer_to(request: messages.Request) -> messages.Answer:
            beside = any(one.name == "a" for one in bench.workers if one.alive)
            third = runtime.name == "b" and bench.started["b"] > 2
            if third and beside and isinstance(request, messages.Load):
                raise OutOfMemory("b found 0 bytes")
            return answer(request)

        made.answer_to = answer_to  # type: ignore[method-assign]
        return made

    bench.worker = worker  # type: ignore[method-assign]
    in_order(bench, invocations=5).run()
    assert processes(bench) == {"a": 5, "b": 5}
    assert bench.started["b"] == 5 + 1
    assert len(bench.finished) == 2


class InOrder:
    """Everybody's turn comes in the order of the cells."""

    def permutation(self, count: int) -> range:
        return range(count)


def in_order(bench: SlowToLoad, invocations: int = 3) -> Group:
    """A group whose workers start in the order of its cells, each so many times."""
    asked = {"max_invocations": invocations, "precision": 1e-9}
    rules = bench.context.suite.model_copy(update=asked)
    context = replace(bench.context, suite=rules, rng=InOrder())  # type: ignore[arg-type]
    return Group("single-stream batch 1", bench.states, context)


def test_those_that_are_kept_apart_start_behind_the_others() -> None:
    bench = SlowToLoad(("a", "b", "d"), at_once=1)
    room = Room()
    room.apart = {bench.states[0].cell.id}
    found = start_members(bench.states, bench.context, room)
    assert [one.state.cell.target for one in found.members] == ["b:cpu", "d:cpu"]
    assert [state.cell.target for state in found.without_room] == ["a:cpu"]
    assert found.ran_out == []
    alone = start_members(bench.states[:1], bench.context, room)
    assert [one.state.cell.target for one in alone.members] == ["a:cpu"]


def test_those_that_are_kept_apart_start_behind_those_that_start_alone() -> None:
    bench = SlowToLoad(("a", "b", "d"), at_once=2)
    room = Room()
    ids = [state.cell.id for state in bench.states]
    room.apart, room.starts_alone = {ids[0]}, set(ids)
    found = start_members(bench.states, bench.context, room)
    assert [one.state.cell.target for one in found.members] == ["b:cpu", "d:cpu"]
    assert [state.cell.target for state in found.without_room] == ["a:cpu"]


# -- whose memory it was --------------------------------------------------------------------------


class Killed(SlowToLoad):
    """The worker of ``a`` is there when ``b`` loads, and the kernel kills it then: nobody hears of
    that before it is asked for something. ``b`` comes to ``then``."""

    def __init__(self, then: Callable[[], None], at: int = 1, *, alone: bool = False) -> None:
        super().__init__(("a", "b"), at_once=1)
        self.then, self.at, self.alone = then, at, alone

    def worker(self, runtime: Runtime, threads: int, imports: Sequence[str] = ()) -> FakeWorker:
        worker = super().worker(runtime, threads, imports)
        plain, ask, name = worker.answer_to, worker.ask, runtime.name

        def answer_to(request: messages.Request) -> messages.Answer:
            here = [one for one in self.workers if one.name == "a" and one.alive]
            if name == "b" and isinstance(request, messages.Load) and self.started[name] == self.at:
                dead.extend(here)
                self.then()
            return plain(request)

        def asked(request: messages.Request, answer: type[Any]) -> Any:
            lonely = self.alone and name == "a" and self.started["a"] > self.at
            if worker in dead or (lonely and isinstance(request, messages.TimeBlock)):
                raise OutOfMemory("the worker was killed, most likely by the kernel")
            return ask(request, answer)

        dead = self.__dict__.setdefault("dead", [])
        worker.answer_to = answer_to  # type: ignore[method-assign]
        worker.ask = asked  # type: ignore[method-assign]
        return worker


def goes_on() -> None: ...


def crashes() -> None:
    raise WorkerCrashed("b died, too")


def finds_none() -> None:
    raise OutOfMemory("b found 0 bytes")


@pytest.mark.parametrize("then", [goes_on, crashes, finds_none])
@pytest.mark.parametrize("at", [1, 3])
def test_a_worker_that_is_killed_while_another_starts_costs_its_cell_one_worker(
    then: Callable[[], None], at: int
) -> None:
    """Whatever came of the other, which may be gone by the time that somebody finds out."""
    notes: list[str] = []
    bench = Killed(then, at)
    bench.context.listener.note = notes.append  # type: ignore[method-assign]
    in_order(bench, invocations=5).run()
    a, b = bench.states
    assert a.failure is None
    assert len(a.invocations) == 5, "what was measured before is kept, and the rest is measured"
    assert bench.started["a"] == 5 + 1
    assert (b.failure is None) == (then is not crashes)
    assert any(note.startswith(f"{a.cell.label} ran out of memory beside others") for note in notes)


def test_a_worker_that_is_killed_alone_fails_its_cell() -> None:
    bench = Killed(goes_on, alone=True)
    in_order(bench).run()
    a, b = bench.states
    assert isinstance(a.failure, OutOfMemory)
    assert bench.started["a"] == 2
    assert b.failure is None


def test_who_ended_in_order_is_not_beside_one_that_runs_out_of_memory_behind_it() -> None:
    """The last of a generation to be asked for its outputs is alone: it is not tried once more."""
    bench = SlowToLoad(("a", "b"), at_once=1)
    plain = bench.worker

    def worker(runtime: Runtime, *given: Any) -> FakeWorker:
        made = plain(runtime, *given)
        answer = made.answer_to

        def answer_to(request: messages.Request) -> messages.Answer:
            if runtime.name == "b" and isinstance(request, messages.Fetch):
                assert not any(one.name == "a" for one in bench.workers if one.alive)
                raise OutOfMemory("b found 0 bytes")
            return answer(request)

        made.answer_to = answer_to  # type: ignore[method-assign]
        return made

    bench.worker = worker  # type: ignore[method-assign]
    in_order(bench).run()
    assert isinstance(bench.states[1].failure, OutOfMemory)
    assert bench.started["b"] == 1
    assert bench.states[0].failure is None
