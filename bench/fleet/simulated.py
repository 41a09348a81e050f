"""A transport of stand-in nodes and a virtual clock: hours of a fleet in seconds of a test."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.cell import Cell
from bench.fleet.given_up import header_of
from bench.fleet.nodes import NodeFacts
from bench.fleet.transport import Ended, Event, Grew, Joined, Lease, Lost, Order
from bench.record.result import Record
from bench.store.find import HEADER, RECORDS

#: Larger plans are left out of the stand-in run directories' headers, which nodes write, not the
#: driver.
_MOST_PLANNED = 100


@dataclass(frozen=True)
class Fate:
    """Something that befalls a node at a time of the virtual clock."""

    at_s: float
    event: Joined | Lost


@dataclass
class SimulatedNode:
    """A stand-in node: ``seconds`` says how long it takes for a cell; ``error`` what each lease of
    it ends with, in place of records; ``ending_s``: from the last record of a lease to its end."""

    facts: NodeFacts
    seconds: Callable[[Cell], float]
    fates: Sequence[Fate] = ()
    error: str | None = None
    ending_s: float = 0.0
    alive: bool = True
    epoch: int = 0  #: what was under way in an earlier one never happens
    run: str = ""
    written: int = 0  #: bytes of records.jsonl
    leases: list[Lease] = field(default_factory=list)


class Simulated:
    """See `bench.fleet.transport.Transport`."""

    def __init__(
        self,
        nodes: Sequence[SimulatedNode],
        record: Callable[[Cell], bytes] | None = None,
    ) -> None:
        self.now_s = 0.0
        self.closed = False
        self.by_name = {node.facts.name: node for node in nodes}
        self._record = record or record_line
        self._queue: list[tuple[float, int, str, int | None, Event]] = []
        self._numbers = itertools.count()
        self._plans: dict[int, tuple[tuple[Cell, ...], dict[str, Cell]]] = {}
        for node in nodes:
            for fate in node.fates:
                self._put(fate.at_s, node.facts.name, None, fate.event)

    def clock(self) -> float:
        """The virtual time in s."""
        return self.now_s

    def nodes(self) -> list[NodeFacts]:
        return [node.facts for node in self.by_name.values() if node.alive]

    def send_files(self, node: str, wanted: Mapping[str, Path]) -> None:
        assert all(path.exists() for path in wanted.values())

    def begin(self, node: str, lease: Lease, order: Order) -> None:
        it = self.by_name[node]
        assert it.alive, f"{node} is dead"
        assert lease.node == node
        it.leases.append(lease)
        if order.run != it.run:
            it.run, it.written = order.run, 0
            planned = order.planned if len(order.planned) <= _MOST_PLANNED else ()
            header = header_of(order, it.facts, planned).model_dump_json().encode()
            self._put(self.now_s, node, it.epoch, Grew(node, order.run, HEADER, 0, header))
        cells = self._cells(order.planned)
        at_s = self.now_s
        for cell_id in lease.cells if it.error is None else ():
            cell = cells[cell_id]
            at_s += it.seconds(cell)
            data = self._record(cell)
            grew = Grew(node, order.run, RECORDS, it.written, data)
            it.written += len(data)
            self._put(at_s, node, it.epoch, grew)
        self._put(at_s + it.ending_s, node, it.epoch, Ended(node, lease.id, it.error))

    def events(self, timeout_s: float) -> Sequence[Event]:
        until_s = self.now_s + timeout_s
        found: list[Event] = []
        while self._queue and self._queue[0][0] <= (self.now_s if found else until_s):
            at_s, _, name, epoch, event = heapq.heappop(self._queue)
            node = self.by_name[name]
            if epoch is not None and epoch != node.epoch:
                continue
            self.now_s = max(self.now_s, at_s)
            self._befall(node, event)
            found.append(event)
        if not found:
            self.now_s = until_s
        return found

    def stop(self, node: str) -> None:
        self.by_name[node].epoch += 1

    def close(self) -> None:
        self.closed = True

    def _cells(self, planned: tuple[Cell, ...]) -> Mapping[str, Cell]:
        """The cells of a plan by their ids, which equal nodes share."""
        if id(planned) not in self._plans:
            self._plans[id(planned)] = (planned, {cell.id: cell for cell in planned})
        return self._plans[id(planned)][1]

    def _befall(self, node: SimulatedNode, event: Event) -> None:
        if isinstance(event, Lost):
            node.alive, node.run = False, ""
            node.epoch += 1
        elif isinstance(event, Joined):
            node.alive, node.facts, node.run = True, event.facts, ""
            node.epoch += 1

    def _put(self, at_s: float, name: str, epoch: int | None, event: Event) -> None:
        heapq.heappush(self._queue, (at_s, next(self._numbers), name, epoch, event))


def record_line(cell: Cell) -> bytes:
    """The record of a cell on a stand-in target, as a line."""
    record = Record(
        cell_id=cell.id, cell=cell, status="ok", stop="simulated", simulated=True, checks=()
    )
    return record.model_dump_json().encode() + b"\n"
