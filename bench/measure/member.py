"""One worker of a generation: started, asked, and what it told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bench.backend import Placement
from bench.capabilities import DeviceTime
from bench.errors import BenchError
from bench.machine.disturbance import Disturbance, Thresholds, Watcher, block_watcher
from bench.machine.quiet import Cores
from bench.measure.beats import Beat
from bench.measure.listener import Listener
from bench.measure.pace.account import Account
from bench.measure.pace.budget import Allowance
from bench.measure.plan import PlannedCell
from bench.measure.state import CellState
from bench.measure.taken import as_answered
from bench.record.block import Block
from bench.record.facts import Reading, ToldPlacement, Trial, WorkerFacts
from bench.record.loadgen import LoadGenSaid
from bench.runtimes.client import Worker
from bench.runtimes.loaded import worker_to_load
from bench.runtimes.processes import Launcher
from bench.scenarios import find_scenario
from bench.spec import Suite
from bench.store.write import RunStore
from bench.worker.messages import BindQueries, Bound, DeviceMemory, LoadedInfo, Warmup

WARMUP_BUDGET_S = 3.0
#: Of a worker that was not warmed up yet.
COLD = Warmup(calls=0, settled=False, latency_ns=0)
#: A first inference up to so long is followed by a few calls more, for a first glimpse.
_GLIMPSE_WITHIN_NS = 20_000_000
GLIMPSE_BUDGET_S = 0.05
#: Invocations that are asked for it: a device's own time of a call hardly differs between them.
DEVICE_TIMES = 3
#: How long the end of a process is waited for; its memory takes the kernel a while.
LONGEST_END_S = 2.0
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
    cpus: Cores  #: by how many cores a cell computes on
    finish: Callable[[CellState], None]  #: writes the record, while no worker lives
    first_generation: int = 0  #: those below were measured before the run was gone on with
    at_once: int = 1  #: workers that may start beside each other
    allowance: Allowance = field(default_factory=Allowance)  #: of the run's budget, for the group
    #: Told which cells were measured for the first time, while no worker lives.
    first_seen: Callable[[Sequence[CellState]], None] = lambda states: None
    #: Told of each generation: who was measured, who of the group is still to be, in how many s.
    measured: Callable[[Sequence[CellState], Sequence[CellState], float], None] = (
        lambda taken, waiting, seconds: None
    )


@dataclass
class Member:
    """One worker of the current generation."""

    state: CellState
    worker: Worker
    loaded: LoadedInfo
    bound: Bound
    warmup: Warmup
    watcher: Watcher
    start_ns: int  #: until it was ready, beside whatever else started
    device_memory: DeviceMemory | None = None  #: an accelerator's, once the worker was on it
    blocks: list[Block] = field(default_factory=list)
    trials: tuple[Trial, ...] = ()  #: of a server's search
    waited: list[float] = field(default_factory=list)  #: share of each block without a CPU
    loadgen: LoadGenSaid | None = None  #: of the test that LoadGen made of it
    glimpse_ns: int | None = None  #: about how long a call takes, seen while others started

    @property
    def gone(self) -> bool:
        """Whether its worker has ended, in order or not."""
        return not self.worker.alive

    @property
    def grown_bytes(self) -> int:
        """What loading and binding added to the worker, as far as the system tells."""
        before, after = self.loaded.rss_before_load_bytes, self.bound.rss_bytes
        return max(0, after - before) if before is not None and after is not None else 0

    def note_wait(self, seen: Disturbance) -> None:
        """Keep which share of a block its threads were without a CPU, where the system tells."""
        if seen.wait_share is not None:
            self.waited.append(round(seen.wait_share, 4))


def let_go(member: Member) -> None:
    """End a member's worker at once, and the watch over it; nothing happens the second time."""
    member.watcher.close()
    member.worker.kill()


def send_away(member: Member) -> None:
    """Let a member go that failed, before anything else is timed: its worker may live on, hold
    memory that others need, and compute. Giving back the memory of a large one takes a while."""
    let_go(member)
    member.worker.ended(LONGEST_END_S)


def used_by(workers: Sequence[Worker]) -> Callable[[int], int | None]:
    """What tells a watcher the CPU time that one of these had used when it ended."""
    known = {worker.pid: worker for worker in workers}

    def told(pid: int) -> int | None:
        end = known[pid].ended(LONGEST_END_S) if pid in known else None
        return None if end is None else end.cpu_ns

    return told


def bind(worker: Worker, planned: PlannedCell) -> Bound:
    """Bind what a cell is timed on."""
    if planned.prompts is None:
        return worker.bind(planned.loads.feeds, lane=planned.cell.lane, streams=planned.streams)
    decoder, answer = planned.model.decoder, find_scenario(planned.cell.scenario).answer
    assert decoder is not None
    assert answer is not None
    return worker.bind_queries(BindQueries(decoder.to_json(), planned.prompts, answer))


def cpus_of(planned: PlannedCell, context: Context) -> tuple[int, ...]:
    """The CPUs that the cell's worker is kept on now: near its device, where it has one."""
    if planned.on_accelerator:
        return context.cpus.beside(planned.cores, planned.near_cpus)
    return context.cpus[planned.cores]


def bound_worker(
    state: CellState, context: Context, born: Callable[[Worker], None] = lambda worker: None
) -> tuple[Worker, LoadedInfo, Bound]:
    """Fork a worker, which ``born`` is told of, load the cell's model and bind its inputs. Raises
    `BenchError`; leaves no worker then."""
    planned = state.planned
    assert planned.choice.runtime is not None
    assert planned.choice.device is not None
    runtime, given = planned.choice.runtime, planned.loads
    worker = worker_to_load(context.launcher, runtime, planned.cell.threads, given.file)
    try:
        born(worker)
        # All cells are measured on the same cores, on which their workers would load and compile in
        # turn: those that can are pinned once they have.
        cpus = cpus_of(planned, context)
        moves = runtime.moves or planned.on_accelerator
        starts_on = context.cpus.around(cpus) if moves else cpus
        loaded = worker.load(given.file, planned.choice.device, given.options, starts_on)
        bound = bind(worker, planned)
        if moves:  # others may have given each of their threads a core of its own
            worker.stay_on(cpus)
        state.ran = True
    except BaseException:
        worker.kill()
        raise
    return worker, loaded, bound


def start_member(
    state: CellState,
    context: Context,
    born: Callable[[Worker], None] = lambda worker: None,
    *,
    warm: bool = True,
    glimpse: bool = False,
) -> Member:
    """A worker that is bound and, if wanted, warm, or was called a few times for a ``glimpse``.
    Raises `BenchError`; leaves no worker then.

    Several may be started by threads at once: nothing is touched but the cell's own state."""
    began_ns = time.monotonic_ns()
    worker, loaded, bound = bound_worker(state, context, born)
    try:
        warmup = worker.warm_up(WARMUP_BUDGET_S) if warm else COLD
        glimpse_ns = _glimpse(worker, bound) if glimpse else None
        held = _device_memory(worker, state.planned)
    except BaseException:
        worker.kill()
        raise
    start_ns = time.monotonic_ns() - began_ns
    watcher = block_watcher([worker.pid])
    return Member(
        state, worker, loaded, bound, warmup, watcher, start_ns, held, glimpse_ns=glimpse_ns
    )


def _glimpse(worker: Worker, bound: Bound) -> int | None:
    """About how long a call takes, in ns, for somebody who waits while others start: nothing is
    measured by it. None where finding out would make them wait."""
    if bound.first_inference_ns > _GLIMPSE_WITHIN_NS:
        return None
    return worker.warm_up(GLIMPSE_BUDGET_S).latency_ns


def _device_memory(worker: Worker, planned: PlannedCell) -> DeviceMemory | None:
    """What is left on an accelerator, where the backend tells."""
    if not planned.on_accelerator or planned.choice.device is None:
        return None
    return worker.device_memory(planned.choice.device)


def copy_times(member: Member) -> Mapping[str, tuple[int, ...]]:
    """Times in ns of each copy to and from the device; empty where they aren't known."""
    if not member.bound.times_copies:
        return {}
    return member.worker.copy_times(member.warmup.latency_ns)


def device_time(member: Member) -> DeviceTime | None:
    """How long the device works on a call; None where that isn't known, or was asked often enough,
    or a call waits for others."""
    cell, taken = member.state.cell, member.state.invocations
    if (
        not member.bound.times_device
        or len(taken) >= DEVICE_TIMES
        or find_scenario(cell.scenario).bounded
    ):
        return None
    return member.worker.device_time(member.warmup.latency_ns)


def device_readings(member: Member) -> dict[str, Any]:
    """What the device told of itself before and after each block, as fields of `WorkerFacts`; none
    where the backend can't ask it."""
    if not member.bound.tells_of_device:
        return {}
    told = member.worker.readings()
    return {
        "readings": tuple(map(Reading.model_validate, told.readings)),
        "readings_before": tuple(map(Reading.model_validate, told.before)),
        "raising_calls": told.raising_calls,
    }


def last_words(member: Member) -> dict[str, Any]:
    """What is left to ask of a worker whose calls are timed, as fields of `WorkerFacts`."""
    return {"peak_rss_bytes": member.worker.peak_rss_bytes(), **device_readings(member)}


def asides(member: Member, note: Callable[[str], None]) -> dict[str, Any]:
    """What is asked of a worker at the very end, as fields of `WorkerFacts`: it needs memory of its
    own, and is not what is measured. An error costs the cell these answers, and not its figures;
    then ``note`` is told, and no worker of the cell is asked again."""
    found: dict[str, Any] = {}
    if member.state.asides_failed:
        return found
    try:
        copies = copy_times(member)
        found |= {name: copies.get(name, ()) for name in ("h2d_ns", "d2h_ns")}
        device = device_time(member)
        if device is not None:
            found |= {"device_ns": device.ns, "device_gaps": device.gaps}
    except BenchError as error:
        member.state.asides_failed = True
        note(f"{member.state.cell.label}: not all is known of its device and its copies: {error}")
    return found


def facts_of(member: Member, index: int, beat: Beat, said: Mapping[str, Any]) -> WorkerFacts:
    """All that a worker told, with what it ``said`` in the end."""
    return WorkerFacts(
        cell_id=member.state.cell.id,
        index=index,
        start_ns=member.start_ns,
        load_ns=member.loaded.load_ns,
        bind_ns=member.bound.bind_ns,
        first_inference_ns=member.bound.first_inference_ns,
        warmup_calls=member.warmup.calls,
        settled=member.warmup.settled,
        discard=beat.discard,
        discard_why=beat.why,
        rss_before_load_bytes=member.loaded.rss_before_load_bytes,
        queries_per_call=member.bound.queries_per_call,
        trials=member.trials,
        waited=tuple(member.waited),
        loadgen=member.loadgen,
        **said,
    )


def told_placement(told: Placement) -> ToldPlacement:
    """The placement as a worker tells it, to be kept."""
    return ToldPlacement.model_validate(asdict(told))


def keep_placement(state: CellState, bound: Bound) -> None:
    """Note what the session that was timed says of its placement."""
    state.placement, state.profiles = told_placement(bound.placement), bound.profiles


def try_out(state: CellState, context: Context) -> None:
    """A simulated device: its outputs and placement count, and no latency is taken."""
    try:
        with as_answered(state.cell.target):
            with context.account.useful(state):
                worker, _, bound = bound_worker(state, context)
                try:
                    state.outputs = state.planned.given(worker.fetch())
                finally:
                    worker.end()
            keep_placement(state, bound)
        state.stop = "simulated"
    except BenchError as error:
        state.failure, state.stop = error, "failed"
    context.finish(state)
