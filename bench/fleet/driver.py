"""The driver of a fleet: leases out, records in, until every cell is measured or abandoned."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.cell import Cell, Frozen
from bench.errors import BenchError, SpecError
from bench.fleet.board import Board
from bench.fleet.disk import BrokenFiles, Disk, cells_in
from bench.fleet.file import FleetFile
from bench.fleet.files import Packed
from bench.fleet.given_up import narrow, write_failures
from bench.fleet.happened import Came, Excluded, Happened, Unmeasured, to_line
from bench.fleet.known import changed, clock_words, other_version
from bench.fleet.nodes import NodeFacts
from bench.fleet.plan import Loader, NodePlan, Planner, groups
from bench.fleet.screen import Screen
from bench.fleet.transport import Ended, Event, Grew, Joined, Lease, Lost, Order, Transport
from bench.spec import Suite
from bench.store.find import RECORDS
from bench.store.merged import MACHINES, MergedMachine, MergedRun, machine_folder, write_merged

Spread = Literal["kind", "node", "target"]
SPREADS: dict[Spread, str] = {
    "kind": "each kind of machine measures everything it can; nodes of a kind share the work",
    "node": "each node measures everything it can",
    "target": "each cell once, on any node that has its target",
}
#: What may differ, and is recorded then: between nodes, or from what a node was.
ALLOWANCES = ("versions", "machine")
#: How long a node that is gone is waited for when nothing else is left to do: a machine that was
#: started again is back in that time, or takes long.
REJOIN_S = 60.0
#: The driver looks after the time at least so often.
POLL_S = 1.0
#: Errors of a lease that are about the node, and not about what it measured.
NODE_ERRORS = ("node-changed", "versions", "disk")


class Asked(Frozen):
    """What a fleet run was asked for: the first line of its journal."""

    suite: Suite  #: its models as they can be found from every folder
    spread: Spread = "kind"
    label: str = ""
    allow: tuple[str, ...] = ()
    file: FleetFile = FleetFile()
    where: str = ""  #: the fleet file's path
    address: str | None = None
    command: str = ""
    bench_version: str
    created_at: str


@dataclass
class _Open:
    """A node that takes part now."""

    facts: NodeFacts
    plan: NodePlan
    order: Order
    lease: str = ""
    tail: bytes = b""  #: of records.jsonl, behind the last end of a line
    here: set[str] = field(default_factory=set)  #: cells that its run directory has a record of


@dataclass(frozen=True)
class Outcome:
    """How a fleet run ended."""

    path: Path
    cells: int
    measured: int
    unmeasured: int
    interrupted: bool = False

    failed: int = 0  #: records of a failure, or of what isn't the model's

    @property
    def left(self) -> int:
        return self.cells - self.measured - self.unmeasured


@dataclass(frozen=True)
class Surroundings:
    """What a driver works with."""

    transport: Transport
    screen: Screen
    load: Loader
    packed: Callable[[], Packed] = Packed  #: the models' files, once they are loaded
    clock: Callable[[], float] = time.monotonic


@dataclass
class Past:
    """What earlier sessions left: the board, the facts of each node in each of its run directories,
    remarks on nodes, and what has to be added to the journal."""

    board: Board = field(default_factory=Board)
    runs: dict[str, NodeFacts] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)
    found: list[Happened] = field(default_factory=list)


class Driver:
    """One session of a fleet run: from its beginning, or from where an earlier one stopped."""

    def __init__(
        self,
        asked: Asked,
        around: Surroundings,
        planner: Planner,
        disk: Disk,
        past: Past | None = None,
    ) -> None:
        past = past or Past()
        self.asked, self.planner, self.disk = asked, planner, disk
        self.transport, self.screen, self.clock = around.transport, around.screen, around.clock
        self.board, self.sent = past.board, around.packed()
        self.interrupted = False
        self.failed = 0
        #: targets of each share that an earlier session planned
        self._began = dict(self.board.shares)
        self._planned: dict[str, list[NodePlan]] = {}  #: by share
        self._runs = dict(past.runs)  #: of each run directory, its node as it was
        self._remarks = dict(past.remarks)  #: by node
        self._open: dict[str, _Open] = {}
        self._lines: list[Mapping[str, Any]] = []  #: of the journal, and not yet in it
        self._seen_changes = -1
        self._to_ask: set[str] = set()
        self._waits_since: float | None = None

    # --- a session -------------------------------------------------------------------------

    def run(self, nodes: Sequence[NodeFacts]) -> Outcome:
        """Measure. Raises `SpecError` for nodes that it can't begin with; `BenchError` where the
        disk fails, with all that was written before whole."""
        try:
            for facts in nodes:
                self._admit(facts)
            self._flush()
            self._write_merged()
            self.screen.begun(self.board.counts, len(self._open), self.disk.path)
            self._begin_leases()
            while self.board.left():
                self._step()
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.transport.close()
        self._finish()
        counts = self.board.counts
        return Outcome(
            self.disk.path,
            counts.cells,
            counts.measured,
            counts.unmeasured,
            self.interrupted,
            self.failed,
        )

    def _step(self) -> None:
        """Wait for what happens next, and do what follows from it."""
        for event in self.transport.events(POLL_S):
            self._happened(event)
        self.disk.force()
        self._flush()
        self._begin_leases()
        self._doubt()
        self.screen.tick(self.board, {name: one.facts for name, one in self._open.items()})

    def _begin_leases(self) -> None:
        """Give every idle node what it may have."""
        if self.board.changes != self._seen_changes:
            self._to_ask.update(self.board.idle())
        leases = []
        for name in sorted(self._to_ask & self._open.keys()):
            node = self._open[name]
            taken = self.board.take(name, node.plan.by_id)
            if taken is not None:
                self._lines.append(to_line(taken))
                node.lease = taken.lease
                cells = tuple(node.plan.by_id[task].cell_id for task in taken.tasks)
                leases.append(Lease(taken.lease, name, cells))
        self._to_ask.clear()
        self._seen_changes = self.board.changes
        self._flush()
        for lease in leases:
            self.screen.lease(lease, self._open[lease.node].plan)
            try:
                self.transport.begin(lease.node, lease, self._open[lease.node].order)
            except BenchError as error:
                self._ended(Ended(lease.node, lease.id, str(error)))

    def _doubt(self) -> None:
        """Give up what nobody measures who is there, once who is gone had time to come again."""
        # A lease ends a while after its last record, and then its node may take what waits.
        busy = any(node.lease for node in self._open.values())
        if busy or not self.board.counts.left or self._to_ask:
            self._waits_since = None
            return
        awaited = self.board.awaited()
        if self._waits_since is None:
            self._waits_since = self.clock()
            if awaited:
                names = ", ".join(awaited)
                self.screen.note(f"waiting {REJOIN_S:.0f} s for {names} to reconnect")
        if not awaited or self.clock() - self._waits_since >= REJOIN_S:
            self._did(self.board.give_up(self._why_nobody(awaited)))
            self._flush()

    @staticmethod
    def _why_nobody(awaited: Sequence[str]) -> str:
        if awaited:
            return f"{', '.join(awaited)} did not reconnect within {REJOIN_S:.0f} s"
        return "no remaining node can measure it"

    # --- what happens ----------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        match event:
            case Joined():
                self._join(event.facts)
            case Lost():
                self._lose(event.node, event.why)
            case Grew():
                self._grew(event)
            case Ended():
                self._ended(event)

    def _join(self, facts: NodeFacts) -> None:
        """A node came while the fleet works: one that can't take part is told, and left out."""
        known = self.board.nodes.get(facts.name)
        if known is not None and known.state == "excluded":
            return
        if facts.name in self._open:
            self._lose(facts.name, "it restarted")
        try:
            self._admit(facts)
        except BenchError as error:
            self._remark(facts.name, f"left out: {error}")

    def _admit(self, facts: NodeFacts) -> None:
        """Plan for a node, and let it take part. Raises `SpecError` where it may not."""
        remarks = self._accepted(facts)
        plan = self.planner.plan(facts)
        share = self._share(facts)
        self._refuse_another_plan(share, plan)
        run = self._new_run(facts.name)
        order = self._order(run, facts, plan)
        if plan.tasks:
            self.transport.send_files(facts.name, self.sent.contents)
        self._did(self.board.add(share, groups(plan.tasks)) if self._adds(share, plan) else [])
        self._did(self.board.come(Came(facts.name, share, plan.targets, run, facts.to_json())))
        self._runs[run] = facts
        self._open[facts.name] = _Open(facts, plan, order)
        self._to_ask.add(facts.name)
        self.screen.joined(facts, len(plan.tasks))
        for words in (*remarks, *plan.left_out):
            self._remark(facts.name, words)

    def _order(self, run: str, facts: NodeFacts, plan: NodePlan) -> Order:
        return Order(
            run=run,
            suite=self.asked.suite,
            planned=plan.cells,
            machine_name=facts.name,
            label=self.asked.label,
            files=self.sent.trees,
            allow=self.asked.allow,
            command=self.asked.command,
        )

    def _accepted(self, facts: NodeFacts) -> list[str]:
        """What has to be told of a node that takes part. Raises `SpecError` for one that must
        not."""
        other = other_version(facts)
        if other and "versions" not in self.asked.allow:
            raise SpecError(
                f"{other}: their figures would come from different versions. Install the same "
                "version, or accept and record the difference: --allow versions."
            )
        was = next((one for one in self._runs.values() if one.name == facts.name), None)
        changes = changed(was, facts) if was is not None else []
        if changes and "machine" not in self.asked.allow:
            raise SpecError(
                f"{facts.name} is not the same machine any more: {'; '.join(changes)}. Start a "
                "new run, or accept and record the change: --allow machine."
            )
        changes = [f"it changed during the run: {words}" for words in changes]
        return [words for words in (other, *changes, clock_words(facts)) if words]

    def _share(self, facts: NodeFacts) -> str:
        """Within which each cell is measured once: for a node that comes again as before."""
        known = self.board.nodes.get(facts.name)
        if known is not None:
            return known.share
        match self.asked.spread:
            case "node":
                return f"node {facts.name}"
            case "kind":
                given = self.asked.file.node(facts.name).kind
                return f"kind {given or facts.machine_id}"
        return "fleet"

    def _adds(self, share: str, plan: NodePlan) -> bool:
        """Whether a plan may have cells that its share doesn't have: equal nodes have one plan."""
        known = self._planned.setdefault(share, [])
        if any(other is plan for other in known):
            return False
        known.append(plan)
        return True

    def _refuse_another_plan(self, share: str, plan: NodePlan) -> None:
        """Raises `SpecError` where a resumed run would measure other cells than it began with."""
        if share not in self._began:
            return
        targets = self._began[share]
        new = [
            task
            for task in plan.tasks
            if task.cell.target in targets and not self.board.knows(share, task.id)
        ]
        if new:
            raise SpecError(
                f"{self.disk.path}: not resumed, because its plan changed: {new[0].cell.label} "
                f"and {len(new) - 1} more cells differ from its start (another model, other "
                "inputs, another bench). Start a new run."
            )

    def _new_run(self, name: str) -> str:
        """A name for a run directory that nobody has: that of the node, numbered where it has
        several."""
        number = 1
        while True:
            text = name if number == 1 else f"{name}-{number}"
            run = machine_folder(Path(), text).name
            if run not in self._runs and not self.disk.folder(run).exists():
                return run
            number += 1

    def _lose(self, name: str, why: str) -> None:
        node = self._open.pop(name, None)
        if node is None:
            return
        self.screen.note(f"{name} is lost: {why}")
        self._did(self.board.lost(name, why))
        self.disk.close_run(node.order.run)

    def _grew(self, grew: Grew) -> None:
        """A piece of a node's file; of a lease that is not its own any more nothing is taken."""
        node = self._open.get(grew.node)
        if node is None or grew.run != node.order.run:
            return
        try:
            found = self._records_in(node, grew) if grew.path == RECORDS else []
            self.disk.take(grew)
        except BrokenFiles as error:
            self._exclude(grew.node, f"{error}")
            return
        node.here.update(found)
        tasks = [node.plan.by_cell[cell].id for cell in found if cell in node.plan.by_cell]
        self._did(self.board.finished(grew.node, tasks))
        self.screen.measured(len(tasks))

    def _records_in(self, node: _Open, grew: Grew) -> list[str]:
        """The cells whose records a piece completes. Raises `BrokenFiles` for one that the node has
        no right to: another node may have it.

        A sweep goes on to batches that nobody planned: they belong to the node that began it."""
        data = node.tail + grew.data
        end = data.rfind(b"\n") + 1
        found = cells_in(data[:end])
        leased = set(self.board.leased(node.facts.name))
        for cell in found:
            task = node.plan.by_cell.get(cell)
            if cell in node.here or (task is not None and task.id not in leased):
                raise BrokenFiles(f"it sent a record of {cell}, which it was not asked to measure")
        if len(set(found)) < len(found):
            raise BrokenFiles("it sent two records of one cell")
        node.tail = data[end:]
        return found

    def _ended(self, ended: Ended) -> None:
        node = self._open.get(ended.node)
        if node is None or node.lease != ended.lease:
            return
        node.lease = ""
        self._to_ask.add(ended.node)
        error = ended.error or ""
        if error.partition(":")[0] in NODE_ERRORS:
            self._exclude(ended.node, error)
            return
        if error:
            self.screen.note(f"{ended.node} did not measure all of {ended.lease}: {error}")
        self._did(self.board.over(ended.node, error))

    def _exclude(self, name: str, why: str) -> None:
        self._did(self.board.exclude(name, why))

    def _did(self, happened: Iterable[Happened]) -> None:
        """Note for the journal what the board decided, and tell what a person has to know."""
        for one in happened:
            self._lines.append(to_line(one))
            if isinstance(one, Excluded):
                self._remark(one.node, f"takes no further part: {one.why}")
                node = self._open.pop(one.node, None)
                if node is not None:
                    self.transport.stop(one.node)
                    self.disk.close_run(node.order.run)
            elif isinstance(one, Unmeasured):
                self.screen.unmeasured(len(one.tasks), one.node, one.why)

    def _remark(self, name: str, words: str) -> None:
        self._remarks.setdefault(name, []).append(words)
        self._lines.append({"event": "remark", "node": name, "words": words})
        self.screen.note(f"{name}: {words}")

    def _flush(self) -> None:
        if self._lines:
            self.disk.note(self._lines)
            self._lines.clear()

    # --- the end ---------------------------------------------------------------------------

    def _finish(self) -> None:
        """Leave run directories that say what they hold, and no more."""
        self._flush()
        for name in list(self._open):
            self.disk.close_run(self._open.pop(name).order.run)
        if not self.board.left():
            self._write_failures()
        self.failed = sum(narrow(self.disk.folder(run)) for run in self._runs)
        self._write_merged()
        self.screen.finished(self.board.counts, self.disk.path)

    def _write_failures(self) -> None:
        """A failed record for every cell that was abandoned."""
        for run, why in self.board.why_unmeasured().items():
            facts = self._runs[run]
            plan = self.planner.plan(facts)
            cells = {plan.by_id[t].cell_id: words for t, words in why.items() if t in plan.by_id}
            write_failures(self.disk.folder(run), self._order(run, facts, plan), facts, cells)

    def _write_merged(self) -> None:
        """fleet.json as things are now."""
        runs: dict[str, list[str]] = {}
        for run, facts in self._runs.items():
            if self.disk.folder(run).exists():
                runs.setdefault(facts.name, []).append(run)
        latest = {facts.name: facts for facts in self._runs.values()}
        machines = [
            MergedMachine(
                name=name,
                runs=tuple(f"{MACHINES}/{run}" for run in runs.get(name, ())),
                clock_offset_s=facts.clock_offset_s,
                remarks=tuple(self._remarks.get(name, ())),
                price_per_hour=self.asked.file.node(name).price_per_hour,
                currency=self.asked.file.node(name).currency,
            )
            for name, facts in latest.items()
        ]
        write_merged(
            self.disk.path,
            MergedRun(
                made_by="fleet",
                bench_version=self.asked.bench_version,
                label=self.asked.label,
                created_at=self.asked.created_at,
                machines=tuple(machines),
                suite=self.asked.suite,
                plan=tuple(self._all_cells()),
            ),
        )

    def _all_cells(self) -> Collection[Cell]:
        plans = {id(plan): plan for plan in map(self.planner.plan, self._runs.values())}
        return {t.cell_id: t.cell for plan in plans.values() for t in plan.tasks}.values()
