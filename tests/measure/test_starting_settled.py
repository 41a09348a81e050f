"""Workers that found no rest to warm up in while others started do so afterwards."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fake_records import a_cell

from bench.errors import OutOfMemory
from bench.machine import memory
from bench.measure import starting
from bench.measure.pace.account import Account
from bench.measure.starting import Room, Started, start_members
from bench.runtimes import client
from bench.worker.messages import Warmup


class Worker:
    """One that is asked to warm up again, for which memory may not be enough."""

    def __init__(self, fails: bool) -> None:
        self.fails, self.killed = fails, False
        self.well_s, self.left_s = time.monotonic(), math.inf

    def warm_up(self, budget_s: float) -> Warmup:
        self.well_s = time.monotonic()
        if self.fails:
            raise OutOfMemory("no memory is left on the device")
        return Warmup(5, True, 20)

    was_beside = client.Worker.was_beside

    def kill(self) -> None:
        self.killed, self.left_s = True, min(self.left_s, time.monotonic())

    def ended(self, wait_s: float = 0.0) -> None:
        assert self.killed


def start(
    monkeypatch: pytest.MonkeyPatch, *settled: bool, fails: bool = False
) -> tuple[Started, list[Worker]]:
    """What comes of workers that began warm, of cells whose latency is known."""
    workers: list[Worker] = []
    told = {a_cell(threads=n + 1).id: one for n, one in enumerate(settled)}

    def start(state: Any, context: Any, born: Any, *, warm: bool, glimpse: bool) -> Any:
        assert not glimpse
        assert warm, "its latency is known, so it is warmed up at once"
        workers.append(Worker(fails))
        born(workers[-1])
        return SimpleNamespace(
            state=state,
            worker=workers[-1],
            warmup=Warmup(3, told[state.cell.id], 10),
            grown_bytes=0,
            glimpse_ns=None,
            device_memory=None,
            watcher=SimpleNamespace(close=lambda: None),
        )

    monkeypatch.setattr(starting, "start_member", start)
    monkeypatch.setattr(memory, "spare_bytes", lambda: 10**12)
    planned = SimpleNamespace(
        on_accelerator=False, choice=SimpleNamespace(device=None, runtime=None)
    )
    order: Any = [
        SimpleNamespace(cell=a_cell(threads=n + 1), planned=planned, starting_s=0.0)
        for n in range(len(settled))
    ]
    context: Any = SimpleNamespace(at_once=2, account=Account())
    return start_members(order, context, Room(), sized=told.keys()), workers


def started(monkeypatch: pytest.MonkeyPatch, *settled: bool) -> list[Warmup]:
    """Their warm-ups in the end."""
    return [member.warmup for member in start(monkeypatch, *settled)[0].members]


def test_who_did_not_settle_in_a_crowd_is_warmed_up_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, again = Warmup(3, True, 10), Warmup(3 + 5, True, 20)
    assert started(monkeypatch, True, True, False) == [kept, kept, again]


def test_who_did_not_settle_alone_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, False) == [Warmup(3, False, 10)]


def test_who_fails_to_warm_up_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    found, workers = start(monkeypatch, True, False, False, fails=True)
    assert len(found.members) == 1
    assert len(found.without_room) == 2, "others have the memory that it found none of"
    assert sum(worker.killed for worker in workers) == 2


def test_who_finds_no_memory_to_warm_up_and_is_the_last_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, workers = start(monkeypatch, False, False, False, fails=True)
    assert found.members == []
    assert [type(error) for _, error in found.failed] == [OutOfMemory]
    assert len(found.without_room) == 2
    assert all(worker.killed for worker in workers)
