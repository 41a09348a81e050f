"""What each node of a fleet can measure, planned by the code that `bench run` plans with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.cards.ready import Loaded
from bench.cell import Cell
from bench.errors import BenchError, SpecError, Unavailable
from bench.fleet.file import FleetFile, NodeTable
from bench.fleet.nodes import Backend, NodeFacts, who_has_what
from bench.measure.plan import PlannedCell, make_plan
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import (
    BackendReport,
    Choice,
    Target,
    choose_targets,
    find_runtime,
    parse_target,
)
from bench.spec import SECONDS_PER_INVOCATION, Suite

#: A cell whose model is much larger takes all of its time, one whose model is much smaller little
#: of it. Only the order of leases follows from it: which are begun first.
TYPICAL_BYTES = 64 * 2**20

#: Makes the models of a suite ready for the targets of a node.
Loader = Callable[[Sequence[Choice]], Sequence[Loaded]]


@dataclass(frozen=True)
class Task:
    """A cell as any node of a share could measure it: ``id`` is a cell's id without its threads,
    which differ from machine to machine."""

    id: str
    cell: Cell
    cell_id: str
    cost_s: float  #: a guess, to begin what takes long first


@dataclass(frozen=True)
class NodePlan:
    """The cells that a node can measure. Equal nodes share one."""

    tasks: tuple[Task, ...]
    left_out: tuple[str, ...] = ()

    @cached_property
    def by_id(self) -> dict[str, Task]:
        return {task.id: task for task in self.tasks}

    @cached_property
    def by_cell(self) -> dict[str, Task]:
        return {task.cell_id: task for task in self.tasks}

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(task.cell for task in self.tasks)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(task.cell.target for task in self.tasks))


class Planner:
    """Plans for nodes, each kind of node once."""

    def __init__(self, suite: Suite, file: FleetFile, load: Loader, where: object = "") -> None:
        self.suite, self.file, self.where = suite, file, where
        self._load = load
        self._known: dict[str, NodePlan] = {}

    def plan(self, node: NodeFacts) -> NodePlan:
        """What a node can measure; nothing where it has none of the targets. Raises `SpecError`."""
        choices = choices_of(self.suite.targets, node, self.file.node(node.name), self.where)
        key = json.dumps([node.threads, [_choice_key(choice) for choice in choices]])
        if key not in self._known:
            self._known[key] = self._made(node, choices)
        return self._known[key]

    def _made(self, node: NodeFacts, choices: Sequence[Choice]) -> NodePlan:
        if not choices:
            return NodePlan(())
        plan = make_plan(self.suite, self._load(choices), choices, node.threads)
        tasks = (task_of(planned, self.suite) for planned in plan.cells)
        return NodePlan(tuple(tasks), plan.left_out)


def refuse_absent(
    targets: Sequence[str], nodes: Sequence[NodeFacts], file: FleetFile, where: object = ""
) -> None:
    """Raises `SpecError` for a target that no node has, which says who has what."""
    for text in targets:
        if not any(choices_of([text], node, file.node(node.name), where) for node in nodes):
            raise SpecError(
                f"no node of the fleet has {'a target' if text == '*' else text}: "
                f"{who_has_what(nodes) or 'there is no node'}."
            )


def choices_of(
    requested: Sequence[str], node: NodeFacts, table: NodeTable, where: object = ""
) -> list[Choice]:
    """The targets of a node that ``requested`` means, and its table allows; none of those that it
    doesn't have. Raises `SpecError` for a target in the table that the node doesn't have."""
    reports = {backend.label: _report(backend) for backend in node.backends}
    found = _present(requested, reports, node.name)
    if table.targets is None:
        return found
    allowed: set[Target] = set()
    for text in table.targets:
        choices = _present([text], reports, node.name)
        if not choices:
            raise SpecError(
                f"{where}: `nodes.{node.name}.targets` names {text}, which that node does not "
                f"have: {who_has_what([node])}."
            )
        allowed |= {_without_options(choice.target) for choice in choices}
    return [choice for choice in found if _without_options(choice.target) in allowed]


def _present(
    requested: Sequence[str], reports: Mapping[str, BackendReport], node: str
) -> list[Choice]:
    """Those of the targets that are there."""
    labels = {*reports, *(report.name for report in reports.values())}
    known = [t for t in requested if t == "*" or parse_target(t).label in labels]
    try:
        found = choose_targets(known, reports)
    except SpecError as error:
        raise SpecError(f"{node}: {error}") from error
    return [choice for choice in found if choice.device is not None]


def _without_options(target: Target) -> Target:
    return Target(target.backend, target.device, (), target.environment)


def _report(backend: Backend) -> BackendReport:
    """What a probe of the backend would have found here."""
    return BackendReport(
        backend.name,
        _runtime(backend.name),
        backend.version,
        backend.devices,
        Unavailable(backend.unavailable) if backend.unavailable else None,
        backend.environment,
        {kind: Unavailable(why) for kind, why in backend.absent.items()},
    )


def _runtime(name: str) -> Runtime | None:
    """What the adapter declares; None of one that is installed on the node alone."""
    try:
        return find_runtime(name)
    except BenchError:
        return None


def _choice_key(choice: Choice) -> list[object]:
    device = choice.device
    return [str(choice.target), choice.on_accelerator, choice.named, device and device.simulated]


def anywhere(cell: Cell) -> str:
    """The id of a cell's task."""
    return cell.model_copy(update={"threads": 0}).id


def task_of(planned: PlannedCell, suite: Suite) -> Task:
    """The cell of a plan as a task."""
    cell = planned.cell
    size = planned.cell.model.file_bytes * cell.batch
    least_s = suite.min_invocations * SECONDS_PER_INVOCATION
    cost_s = least_s + suite.max_time_s * size / (size + TYPICAL_BYTES)
    return Task(anywhere(cell), cell, cell.id, 0.0 if planned.refused else cost_s)


def groups(tasks: Iterable[Task]) -> list[tuple[Task, ...]]:
    """The tasks of each lease: cells that are compared as pairs, which are those of one family of
    models (a model, those distilled from it, their controls and variants) on one target, in one
    scenario and batch."""
    found: dict[tuple[object, ...], list[Task]] = {}
    tasks = list(tasks)
    families = _families([task.cell for task in tasks])
    for task in tasks:
        cell = task.cell
        key = (families[cell.model.name], cell.target, cell.scenario, cell.batch)
        found.setdefault(key, []).append(task)
    return [tuple(group) for group in found.values()]


def _families(cells: Iterable[Cell]) -> dict[str, str]:
    """Model -> the name of its family."""
    above: dict[str, str] = {}

    def head(name: str) -> str:
        while above.setdefault(name, name) != name:
            name = above[name]
        return name

    for model in {id(cell.model): cell.model for cell in cells}.values():
        for kin in (model.distilled_from, model.control_of, model.variant_of):
            if kin is not None:
                above[head(model.name)] = head(kin)
        head(model.name)
    return {name: head(name) for name in list(above)}
