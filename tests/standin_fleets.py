"""Fleets of stand-in nodes, and drivers of them on a virtual clock."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fake_records import a_cell

from bench import __version__
from bench.backend import Device
from bench.cell import Cell, ModelIdentity
from bench.fleet.disk import Disk
from bench.fleet.driver import Asked, Driver, Outcome, Past, Surroundings
from bench.fleet.file import FleetFile
from bench.fleet.nodes import Backend, NodeFacts
from bench.fleet.plan import NodePlan, Planner, Task, anywhere
from bench.fleet.screen import Screen
from bench.fleet.simulated import Fate, Simulated, SimulatedNode
from bench.fleet.transport import Joined, Lost
from bench.spec import Suite
from bench.store.find import find_runs
from bench.store.run import StoredRun, read_run

SUITE = Suite(name="s", models=("m",), threads=None)


def facts(name: str, *targets: str, machine: str = "kind-a", **changes: Any) -> NodeFacts:
    """A node with these targets; machines of one ``machine`` are of one kind."""
    by_backend: dict[str, list[Device]] = {}
    for target in targets or ("x:cpu",):
        backend, _, device = target.partition(":")
        by_backend.setdefault(backend, []).append(Device(device, "V", f"{device} of {name}"))
    values: dict[str, Any] = {
        "name": name,
        "machine": {"machine_id": machine, "cpu_model": machine, "kernel": "6.1"},
        "bench_version": __version__,
        "threads": 2,
        "backends": tuple(Backend(b, "", "1.0", tuple(d)) for b, d in by_backend.items()),
    }
    return NodeFacts(**(values | changes))


def cells(models: int, *targets: str) -> list[Cell]:
    """One cell of each model, which are no kin, on each target."""
    identities = [
        ModelIdentity(name=f"m{n}", sha256=f"{n:064x}", task="raw", file_bytes=10**6 * (n + 1))
        for n in range(models)
    ]
    return [a_cell(model, target) for model in identities for target in targets or ("x:cpu",)]


class CellPlanner(Planner):
    """Plans the same cells on every node that has their targets, with the node's threads."""

    def __init__(self, planned: Sequence[Cell], file: FleetFile | None = None) -> None:
        super().__init__(SUITE, file or FleetFile(), lambda choices: [])
        self._cells = planned
        self._made: dict[tuple[object, ...], NodePlan] = {}

    def plan(self, node: NodeFacts) -> NodePlan:
        key = (node.threads, *node.devices)
        if key not in self._made:
            mine = [c for c in self._cells if c.target in node.devices]
            threaded = [c.model_copy(update={"threads": node.threads}) for c in mine]
            tasks = (Task(anywhere(c), c, c.id, c.model.file_bytes / 1e6) for c in threaded)
            self._made[key] = NodePlan(tuple(tasks))
        return self._made[key]


class Fleet:
    """A fleet run in a folder; `drive` is one session of it."""

    def __init__(self, folder: Path, planned: Sequence[Cell], **asked: Any) -> None:
        self.folder = folder
        self.planner = CellPlanner(planned, asked.get("file"))
        self.shown = io.StringIO()
        values: dict[str, Any] = {
            "suite": SUITE,
            "bench_version": __version__,
            "created_at": "2026-01-01T00:00:00+00:00",
        }
        self.asked = Asked(**(values | asked))

    def drive(self, transport: Simulated, past: Past | None = None) -> Outcome:
        self.folder.mkdir(exist_ok=True)
        disk = Disk(self.folder)
        screen = Screen(self.shown, transport.clock)
        around = Surroundings(transport, screen, lambda choices: [], clock=transport.clock)
        try:
            if past is None:
                asked = self.asked.model_dump(mode="json", exclude_unset=True)
                disk.note([{"event": "began", "asked": asked}])
            return Driver(self.asked, around, self.planner, disk, past).run(transport.nodes())
        finally:
            disk.close()

    def runs(self) -> list[StoredRun]:
        return [read_run(path) for path in find_runs([self.folder])]

    def runs_or_none(self) -> list[StoredRun]:
        return self.runs() if (self.folder / "machines").exists() else []

    def standings(self) -> dict[str, list[str]]:
        """By cell without its threads: what each record of it says."""
        found: dict[str, list[str]] = {}
        for run in self.runs():
            for record in run.records:
                found.setdefault(anywhere(record.cell), []).append(record.status)
        return found


def node(
    facts_: NodeFacts,
    seconds: float | Callable[[Cell], float] = 10.0,
    lost: Sequence[float] = (),
    back: Sequence[float] = (),
    **changes: Any,
) -> SimulatedNode:
    """A stand-in node that is lost and comes again at these times."""
    fates = [Fate(at_s, Lost(facts_.name, "it was killed")) for at_s in lost]
    fates += [Fate(at_s, Joined(facts_)) for at_s in back]
    fates += changes.pop("fates", [])
    takes = seconds if callable(seconds) else lambda cell: seconds
    return SimulatedNode(facts_, takes, fates, **changes)
