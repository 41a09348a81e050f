"""Workers that found no rest to warm up in while others started do so afterwards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fake_records import a_cell

from bench.machine import memory
from bench.measure import starting
from bench.measure.pace.account import Account
from bench.measure.starting import Room, start_members
from bench.worker.messages import Warmup


def started(monkeypatch: pytest.MonkeyPatch, *settled: bool) -> list[Warmup]:
    """What warm-ups workers have that began warm, of cells whose latency is known."""
    told = {a_cell(threads=n + 1).id: one for n, one in enumerate(settled)}

    def start(state: Any, context: Any, born: Any, *, warm: bool, glimpse: bool) -> Any:
        assert not glimpse
        assert warm, "its latency is known, so it is warmed up at once"
        return SimpleNamespace(
            state=state,
            worker=SimpleNamespace(warm_up=lambda budget_s: Warmup(5, True, 20)),
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
        SimpleNamespace(cell=a_cell(threads=n + 1), planned=planned) for n in range(len(settled))
    ]
    context: Any = SimpleNamespace(at_once=2, account=Account())
    found = start_members(order, context, Room(), sized=told.keys())
    return [member.warmup for member in found.members]


def test_who_did_not_settle_in_a_crowd_is_warmed_up_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, again = Warmup(3, True, 10), Warmup(3 + 5, True, 20)
    assert started(monkeypatch, True, True, False) == [kept, kept, again]


def test_who_did_not_settle_alone_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, False) == [Warmup(3, False, 10)]
