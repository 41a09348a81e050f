"""What happens to the leases of a fleet: the lines of its journal, from which all else follows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from bench.errors import SpecError


@dataclass(frozen=True)
class Added:
    """Cells that one of the nodes of a share measures, once; ``tasks`` are one lease."""

    event: ClassVar[str] = "added"
    share: str  #: a kind of machine, a node, or the whole fleet
    target: str
    tasks: tuple[str, ...]  #: ids (`bench.fleet.plan.Task`)
    costs_s: tuple[float, ...]


@dataclass(frozen=True)
class Came:
    """A node joined, and measures into the run directory ``run`` from now on."""

    event: ClassVar[str] = "came"
    node: str
    share: str
    targets: tuple[str, ...]
    run: str
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Taken:
    """A node has a lease."""

    event: ClassVar[str] = "taken"
    lease: str
    node: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """Records of these cells are on the disk of the driver."""

    event: ClassVar[str] = "measured"
    node: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Over:
    """A lease ended; what it had not measured goes back. ``why`` is empty where that is nothing."""

    event: ClassVar[str] = "over"
    lease: str
    node: str
    why: str = ""


@dataclass(frozen=True)
class Gone:
    """A node is lost, and what it had not measured goes back; it may join again."""

    event: ClassVar[str] = "gone"
    node: str
    why: str
    blameless: bool = False  #: its lease doesn't count as tried


@dataclass(frozen=True)
class Excluded:
    """A node takes no further part, and what it had not measured goes back."""

    event: ClassVar[str] = "excluded"
    node: str
    why: str


@dataclass(frozen=True)
class Unmeasured:
    """Nobody measures these cells any more: they fail, in the run of a node."""

    event: ClassVar[str] = "unmeasured"
    share: str
    tasks: tuple[str, ...]
    node: str
    run: str
    why: str


Happened = Added | Came | Taken | Measured | Over | Gone | Excluded | Unmeasured
_KINDS: dict[str, type[Happened]] = {
    kind.event: kind for kind in (Added, Came, Taken, Measured, Over, Gone, Excluded, Unmeasured)
}


def to_line(happened: Happened) -> dict[str, Any]:
    """JSON-ready."""
    return {"event": happened.event, **asdict(happened)}


def from_line(line: Mapping[str, Any]) -> Happened | None:
    """The inverse of `to_line`; None for a line that says nothing of leases. Raises `SpecError`."""
    values = dict(line)
    kind = _KINDS.get(values.pop("event", ""))
    if kind is None:
        return None
    lists = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
    try:
        return kind(**{**values, **lists})
    except TypeError as error:
        raise SpecError(f"not a line of a fleet's journal: {json.dumps(line)[:80]}.") from error
