"""What the driver of a fleet needs of whatever carries orders out and records in.

Values only: a transport decides nothing, measures nothing, and writes nothing into a run.
`bench.fleet.simulated` is one with a virtual clock; `bench.fleet.ray` is the real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter

from bench.cell import Cell
from bench.fleet.nodes import NodeFacts
from bench.spec import Suite


@dataclass(frozen=True)
class Lease:
    """The right to one whole node for one group of cells, which are measured in turn there."""

    id: str  #: unique in a fleet run, also over its resumptions
    node: str
    cells: tuple[str, ...]  #: ids, as the node's own plan has them


@dataclass(frozen=True)
class Order:
    """What a node is told of a lease, besides the lease itself.

    ``run`` names the run directory that the lease's records belong to, new for each time that a
    node joins: a node that has none of that name begins one, whose header holds all of ``planned``
    (the cells that may come to this node), else it goes on with it.
    """

    run: str
    suite: Suite
    planned: tuple[Cell, ...]
    machine_name: str
    label: str = ""
    files: Mapping[str, Any] = field(default_factory=dict)  #: by model of the suite: its tree
    allow: tuple[str, ...] = ()  #: kinds of `bench.record.resumption.CHANGES`
    command: str = ""  #: the driver's command line

    def to_json(self) -> bytes:
        """UTF-8 JSON; `from_json` reads it."""
        return _ORDER.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of `to_json`."""
        return _ORDER.validate_json(data)


_ORDER: TypeAdapter[Order] = TypeAdapter(Order)


@dataclass(frozen=True)
class Joined:
    """A node is there, and idle: nothing of an earlier lease goes on there."""

    facts: NodeFacts


@dataclass(frozen=True)
class Lost:
    """A node is gone: dead, killed, or out of reach. It may join again."""

    node: str
    why: str


@dataclass(frozen=True)
class Grew:
    """A piece of a file of a run directory on a node.

    Appended files come piece by piece from offset 0 on, without gaps; small files that are written
    whole come at offset 0, the last one counting. Samples, outputs, predictions and facts of a cell
    come before its line of records.jsonl.
    """

    node: str
    run: str  #: `Order.run`
    path: str  #: within the run directory, with ``/`` between the parts
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Ended:
    """A lease is over, and all that it wrote has been told.

    ``error`` is None where every cell of the lease has a record, if of a failure. Else it says why
    not, and begins with its kind and a colon: ``node-changed``, ``plan``, ``versions``,
    ``refused``, ``agent-died``, ``disk``.
    """

    node: str
    lease: str
    error: str | None = None


Event = Joined | Lost | Grew | Ended


class Transport(Protocol):
    """Whatever reaches the nodes. All is called from one thread."""

    def nodes(self) -> list[NodeFacts]:
        """Who is there now; asks each node for its doctor. These count as joined."""
        ...

    def send_files(self, node: str, wanted: Mapping[str, Path]) -> None:
        """Bring contents (SHA-256 -> file here) to a node, each once."""
        ...

    def begin(self, node: str, lease: Lease, order: Order) -> None:
        """Start a lease and return at once; a node has one at a time."""
        ...

    def events(self, timeout_s: float) -> Sequence[Event]:
        """What happened since the last call, in order; waits for the first for so long at most."""
        ...

    def stop(self, node: str) -> None:
        """End what a node measures; its lease is over, and nothing of it is told any more."""
        ...

    def close(self) -> None:
        """Stop all nodes and let them go. Twice does nothing."""
        ...
