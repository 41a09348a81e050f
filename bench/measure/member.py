"""One worker of a generation: started, asked, and what it told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.backend import to_plain
from bench.errors import BenchError
from bench.machine.disturbance import Thresholds, Watcher, block_watcher
from bench.measure.account import Account
from bench.measure.listener import Listener
from bench.measure.state import CellState
from bench.record.block import Block
from bench.record.facts import Reading, ToldPlacement, Trial, WorkerFacts
from bench.runtimes.client import Worker
from bench.runtimes.processes import Launcher
from bench.spec import Suite
from bench.store.write import RunStore

WARMUP_BUDGET_S = 3.0
#: A block's figure is a median, which waiting for a tenth of the block hardly moves; at 2% nearly
#: every block of a busy two-core machine was marked, and a mark that all rows carry says nothing.
BLOCK_THRESHOLDS = Thresholds(wait_share=0.10)


@dataclass(frozen=True)
class Context:
    """What measuring needs from its surroundings."""

    suite: Suite
    launcher: Launcher
    store: RunStore
    listener: Listener
    account: Account
    rng: np.random.Generator
    cpus: Mapping[int, tuple[int, ...]]  #: by how many cores a cell computes on
    finish: Callable[[CellState], None]  #: writes the record


@dataclass
class Member:
    """One worker of the current generation."""

    state: CellState
    worker: Worker
    load: dict[str, Any]
    bind: dict[str, Any]
    warmup: dict[str, Any]
    watcher: Watcher
    blocks: list[Block] = field(default_factory=list)
    trials: tuple[Trial, ...] = ()  #: of a server's search

    @property
    def grown_bytes(self) -> int:
        """What loading and binding added to the worker, as far as the system tells."""
        before, after = self.load["rss_before_load_bytes"], self.bind["rss_bytes"]
        return max(0, after - before) if before is not None and after is not None else 0


def start_member(state: CellState, context: Context) -> Member:
    """Fork, load, bind and warm up one worker. Raises `BenchError`; leaves no worker then."""
    planned = state.planned
    assert planned.choice.runtime is not None
    assert planned.choice.device is not None
    with context.account.useful(state):
        worker = context.launcher.worker(planned.choice.runtime, planned.cell.threads)
        try:
            load, _ = worker.request(
                "load",
                model=to_plain(planned.file),
                device=to_plain(planned.choice.device),
                options=to_plain(planned.options),
                cpus=list(context.cpus[planned.cores]),
            )
            bind, _ = worker.request(
                "bind",
                *planned.feeds.values(),
                names=list(planned.feeds),
                lane=planned.cell.lane,
                streams=planned.streams,
            )
            warmup: dict[str, Any] = {}
            if not planned.choice.device.simulated:
                warmup, _ = worker.request("warm-up", budget_s=WARMUP_BUDGET_S)
        except BaseException:
            worker.kill()
            raise
    return Member(state, worker, load, bind, warmup, block_watcher([worker.pid]))


def copy_times(member: Member) -> dict[str, list[int]]:
    """Times in ns of each copy to and from the device; empty where they aren't known."""
    if not member.bind.get("times_copies"):
        return {}
    times, _ = member.worker.request("copy-times", latency_ns=member.warmup["latency_ns"])
    return dict(times)


def device_readings(member: Member) -> tuple[Reading, ...]:
    """What the device told of itself after each block; empty where the backend can't ask it."""
    if not member.bind.get("tells_of_device"):
        return ()
    answer, _ = member.worker.request("telemetry")
    return tuple(Reading.model_validate(told, extra="ignore") for told in answer["readings"])


def last_words(member: Member, index: int, discard: int) -> WorkerFacts:
    """What is left to ask of a worker whose calls are timed, with all that it told before."""
    memory, _ = member.worker.request("memory")
    readings = device_readings(member)
    # The last thing: copying needs memory of its own, and is not what is measured here.
    copies = copy_times(member)
    return WorkerFacts(
        cell_id=member.state.cell.id,
        index=index,
        load_ns=member.load["load_ns"],
        bind_ns=member.bind["bind_ns"],
        first_inference_ns=member.bind["first_inference_ns"],
        warmup_calls=member.warmup["calls"],
        settled=member.warmup["settled"],
        discard=discard,
        rss_before_load_bytes=member.load["rss_before_load_bytes"],
        peak_rss_bytes=memory["peak_rss_bytes"],
        queries_per_call=member.bind["queries_per_call"],
        trials=member.trials,
        h2d_ns=tuple(copies.get("h2d_ns", ())),
        d2h_ns=tuple(copies.get("d2h_ns", ())),
        readings=readings,
    )


def told_placement(plain: Mapping[str, Any]) -> ToldPlacement:
    """The placement as a worker tells it."""
    return ToldPlacement.model_validate(plain, extra="ignore")


def keep_placement(member: Member) -> None:
    """Note what the session that was timed says of its placement."""
    plain = member.bind["placement"]
    member.state.placement = told_placement(plain)
    member.state.profiles = bool(plain.get("profiles"))


def try_out(state: CellState, context: Context) -> None:
    """A simulated device: its outputs and placement count, and no latency is taken."""
    try:
        member = start_member(state, context)
        with context.account.useful(state):
            _, state.outputs = member.worker.request("fetch")
            member.worker.end()
        keep_placement(member)
        state.stop = "simulated"
    except BenchError as error:
        state.failure, state.stop = error, "failed"
    context.finish(state)
