"""Which node measures what: the leases of a fleet as a state machine without clock, disk or nodes.

Every method decides, notes what happened (`bench.fleet.happened`) and returns that. The state
follows from what happened alone: `replayed` makes the same board of it again.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import dataclass, field

from bench.fleet.happened import (
    Added,
    Came,
    Excluded,
    Gone,
    Happened,
    Measured,
    Over,
    Taken,
    Unmeasured,
)
from bench.fleet.plan import Task

#: A cell is abandoned when its lease was lost with a node so often, or when so many nodes failed at
#: it: it may be what kills them.
TRIES = 2
#: A node whose leases were cut short so often in a row, with nothing measured, would take all that
#: there is. More than `TRIES`: a cell that kills nodes goes before the node does.
STRIKES = 3


@dataclass(eq=False)
class _Piece:
    """A task of a share."""

    task: str
    share: str
    group: _Group
    state: str = "waiting"  #: or leased, measured, unmeasured
    losses: int = 0  #: how often a node was lost that had it
    node: str = ""  #: that had it last
    run: str = ""  #: of that node then
    why: str = ""  #: nobody measured it
    refused_by: set[str] = field(default_factory=set)  #: nodes that ended its lease without it
    lost_by: set[str] = field(default_factory=set)  #: nodes that were lost while they had it

    @property
    def tries(self) -> int:
        return max(self.losses, len(self.refused_by))


@dataclass(eq=False)
class _Group:
    """The pieces of one lease, most often; the rest of them after it was cut short."""

    number: int
    share: str
    target: str
    pieces: list[_Piece]
    cost_s: float
    waiting: int = 0
    queued: bool = False

    @property
    def place(self) -> tuple[float, int]:
        """What takes longest first, so that the end isn't one node's."""
        return (-self.cost_s, self.number)


@dataclass
class _Node:
    """What the board knows of a node."""

    name: str
    share: str
    targets: tuple[str, ...]
    run: str
    state: str = "idle"  #: or leased, gone, excluded
    lease: str = ""
    pieces: list[_Piece] = field(default_factory=list)  #: of the lease
    strikes: int = 0
    measured: int = 0  #: by this lease


@dataclass(frozen=True)
class Counts:
    """How far a fleet is."""

    cells: int
    measured: int
    unmeasured: int
    leased: int

    @property
    def left(self) -> int:
        return self.cells - self.measured - self.unmeasured


class Board:
    """The leases of one fleet run."""

    def __init__(self) -> None:
        self.nodes: dict[str, _Node] = {}
        self.changes = (
            0  #: how often something came back or was added, so that idle nodes look again
        )
        self._pieces: dict[tuple[str, str], _Piece] = {}
        self._groups = 0
        self._latest: dict[tuple[str, str], tuple[str, str]] = {}  #: node and run by share, target
        self._queues: dict[tuple[str, str], list[tuple[tuple[float, int], _Group]]] = {}
        self._leases = 0
        self._measured = self._unmeasured = self._leased = 0
        self._cost_s = self._done_s = 0.0

    # --- what is asked ---------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        return Counts(len(self._pieces), self._measured, self._unmeasured, self._leased)

    @property
    def done_share(self) -> float:
        """Of what there is to do, by the guessed time."""
        return self._done_s / self._cost_s if self._cost_s else 1.0

    def left(self) -> int:
        """Cells that are neither measured nor abandoned."""
        return self.counts.left

    def leased(self, node: str) -> tuple[str, ...]:
        """The tasks of a node's lease that it has not measured yet."""
        known = self.nodes.get(node)
        return tuple(p.task for p in known.pieces if p.state == "leased") if known else ()

    def state_of(self, share: str, task: str) -> str:
        """``waiting``, ``leased``, ``measured`` or ``unmeasured``."""
        return self._pieces[share, task].state

    def why_unmeasured(self) -> dict[str, dict[str, str]]:
        """By run directory and task: why each cell was abandoned that was left there."""
        found: dict[str, dict[str, str]] = {}
        for piece in self._pieces.values():
            if piece.state == "unmeasured":
                found.setdefault(piece.run, {})[piece.task] = piece.why
        return found

    @property
    def shares(self) -> dict[str, Collection[str]]:
        """The shares, each with the targets of its cells."""
        found: dict[str, set[str]] = {}
        for share, target in self._queues:
            found.setdefault(share, set()).add(target)
        return dict(found)

    def knows(self, share: str, task: str) -> bool:
        """Whether a cell is one of a share's."""
        return (share, task) in self._pieces

    def idle(self) -> list[str]:
        """The nodes that could take a lease."""
        return [name for name, node in self.nodes.items() if node.state == "idle"]

    def awaited(self) -> list[str]:
        """Nodes that are gone and could measure what waits, if they came again."""
        gone = [node for node in self.nodes.values() if node.state == "gone"]
        waiting = [p for p in self._pieces.values() if p.state == "waiting"] if gone else []
        return [node.name for node in gone if any(_may(node, piece) for piece in waiting)]

    # --- what is decided -------------------------------------------------------------------

    def add(self, share: str, groups: Iterable[Sequence[Task]]) -> list[Happened]:
        """Cells that the nodes of a share measure; those that it has already are left out."""
        found: list[Happened] = []
        for group in groups:
            new = [task for task in group if (share, task.id) not in self._pieces]
            if new:
                ids, costs = tuple(t.id for t in new), tuple(t.cost_s for t in new)
                found.append(self._note(Added(share, new[0].cell.target, ids, costs)))
        return found

    def come(self, came: Came) -> list[Happened]:
        """A node joined, new or again."""
        return [self._note(came)]

    def take(self, name: str, able: Container[str]) -> Taken | None:
        """The longest lease that a node may have, of the tasks that it is ``able`` to measure; None
        where it isn't idle, or there is nothing for it now."""
        node = self.nodes[name]
        if node.state != "idle":
            return None
        best: list[_Piece] = []
        for target in node.targets:
            found = self._best(node, target, able)
            if found and (not best or found[0].group.place < best[0].group.place):
                best = found
        if not best:
            return None
        taken = Taken(f"L{self._leases + 1}", name, tuple(piece.task for piece in best))
        self._note(taken)
        return taken

    def finished(self, name: str, tasks: Collection[str]) -> list[Happened]:
        """Records of these tasks of the node's lease are on the disk."""
        return [self._note(Measured(name, tuple(tasks)))] if tasks else []

    def over(self, name: str, why: str = "") -> list[Happened]:
        """The node's lease ended, and said why it didn't measure all of it."""
        node = self.nodes[name]
        if node.state != "leased":
            return []
        why = why or ("it ended without a record" if self.leased(name) else "")
        pieces = [piece for piece in node.pieces if piece.state == "leased"]
        found = [self._note(Over(node.lease, name, why))]
        return found + self._struck_out(name, why) + self._given_up(pieces, why)

    def lost(self, name: str, why: str, *, blameless: bool = False) -> list[Happened]:
        """A node is gone. What it was measuring goes back; ``blameless``: that counts as no try."""
        node = self.nodes.get(name)
        if node is None or node.state in ("gone", "excluded"):
            return []
        pieces = [piece for piece in node.pieces if piece.state == "leased"]
        found = [self._note(Gone(name, why, blameless))]
        why = f"{name} was lost: {why}"
        return found + self._struck_out(name, why) + self._given_up(pieces, why)

    def exclude(self, name: str, why: str) -> list[Happened]:
        """A node must take no further part. What it was measuring goes back, and is not its
        fault."""
        if self.nodes[name].state == "excluded":
            return []
        return [self._note(Excluded(name, why))]

    def give_up(self, why: str) -> list[Happened]:
        """Nobody will come who could measure what waits."""
        waiting = [piece for piece in self._pieces.values() if piece.state == "waiting"]
        return self._unmeasured_events(waiting, why)

    # --- how the state follows -------------------------------------------------------------

    def apply(self, happened: Happened) -> None:
        """Take into account what happened."""
        match happened:
            case Added():
                self._add(happened)
            case Came():
                self.changes += 1
                known = self.nodes.get(happened.node)
                self._put_back(known)
                new = _Node(happened.node, happened.share, happened.targets, happened.run)
                new.strikes = known.strikes if known else 0
                self.nodes[happened.node] = new
                for target in new.targets:
                    self._latest[new.share, target] = (new.name, new.run)
            case Taken():
                self._take(happened)
            case Measured():
                self._finish(happened)
            case Over():
                node = self.nodes[happened.node]
                for piece in self._cut_short(node):
                    piece.refused_by.add(node.name)
                node.state, node.lease = "idle", ""
            case Gone():
                node = self.nodes[happened.node]
                if happened.blameless:
                    self._put_back(node)
                else:
                    for piece in self._cut_short(node):
                        piece.losses += 1
                        piece.lost_by.add(node.name)
                node.state, node.lease = "gone", ""
            case Excluded():
                self._put_back(self.nodes[happened.node])
                self.nodes[happened.node].state = "excluded"
            case Unmeasured():
                for task in happened.tasks:
                    piece = self._pieces[happened.share, task]
                    piece.state = "unmeasured"
                    piece.node, piece.run = happened.node, happened.run
                    piece.why = happened.why
                    piece.group.waiting -= 1
                    self._unmeasured += 1
                    self._done_s += _cost(piece)

    def _note(self, happened: Happened) -> Happened:
        self.apply(happened)
        return happened

    def _add(self, added: Added) -> None:
        group = _Group(self._groups, added.share, added.target, [], sum(added.costs_s))
        self._groups += 1
        for task in added.tasks:
            piece = _Piece(task, added.share, group)
            self._pieces[added.share, task] = piece
            group.pieces.append(piece)
        group.waiting = len(group.pieces)
        self._cost_s += group.cost_s
        self._push(group)
        self.changes += 1

    def _take(self, taken: Taken) -> None:
        node = self.nodes[taken.node]
        self._leases += 1
        node.state, node.lease, node.measured = "leased", taken.lease, 0
        node.pieces = [self._pieces[node.share, task] for task in taken.tasks]
        for piece in node.pieces:
            assert piece.state == "waiting"
            piece.state, piece.node, piece.run = "leased", node.name, node.run
            piece.group.waiting -= 1
        self._leased += len(node.pieces)

    def _finish(self, measured: Measured) -> None:
        node = self.nodes[measured.node]
        for task in measured.tasks:
            piece = self._pieces[node.share, task]
            if piece.state == "measured":
                continue
            if piece.state == "leased":
                self._leased -= 1
            elif piece.state == "waiting":  # its record was there before its line of the journal
                piece.group.waiting -= 1
            piece.state, piece.node = "measured", node.name
            self._measured += 1
            self._done_s += _cost(piece)
            node.measured += 1
            node.strikes = 0

    def _cut_short(self, node: _Node) -> list[_Piece]:
        """What a node had not measured, put back; a strike for it if that was all."""
        left = [piece for piece in node.pieces if piece.state == "leased"]
        node.strikes = node.strikes + 1 if left and not node.measured else 0
        self._put_back(node)
        return left

    def _put_back(self, node: _Node | None) -> None:
        """What a node had not measured is to be had again."""
        back = [piece for piece in node.pieces if piece.state == "leased"] if node else []
        for piece in back:
            piece.state = "waiting"
            piece.group.waiting += 1
            self._leased -= 1
            self._push(piece.group)
        if node is not None:
            node.pieces = []
        self.changes += bool(back)

    # --- queues ----------------------------------------------------------------------------

    def _push(self, group: _Group) -> None:
        if not group.queued:
            group.queued = True
            queue = self._queues.setdefault((group.share, group.target), [])
            heapq.heappush(queue, (group.place, group))

    def _best(self, node: _Node, target: str, able: Container[str]) -> list[_Piece]:
        """The pieces of the longest group of a target that the node may have now."""
        queue = self._queues.get((node.share, target), [])
        aside = []
        found: list[_Piece] = []
        while queue and not found:
            group = queue[0][1]
            found = [
                piece
                for piece in group.pieces
                if piece.state == "waiting" and self._may_now(node, piece) and piece.task in able
            ]
            if not found:
                entry = heapq.heappop(queue)
                group.queued = group.waiting > 0
                if group.queued:
                    aside.append(entry)
        for entry in aside:
            heapq.heappush(queue, entry)
        return found

    def _may_now(self, node: _Node, piece: _Piece) -> bool:
        """Whether a node may have a piece: not again what it was lost with, if another is there."""
        if not _may(node, piece):
            return False
        return node.name not in piece.lost_by or not any(
            other.state in ("idle", "leased") and _may(other, piece)
            for other in self.nodes.values()
            if other.name not in piece.lost_by
        )

    # --- giving up -------------------------------------------------------------------------

    def _struck_out(self, name: str, why: str) -> list[Happened]:
        if self.nodes[name].strikes < STRIKES:
            return []
        return [self._note(Excluded(name, f"{STRIKES} leases in a row failed: {why}"))]

    def _given_up(self, pieces: Sequence[_Piece], why: str) -> list[Happened]:
        """Those of the pieces that were tried often enough."""
        tired = [p for p in pieces if p.state == "waiting" and p.tries >= TRIES]
        return self._unmeasured_events(tired, f"tried {TRIES} times; the last time {why}")

    def _unmeasured_events(self, pieces: Sequence[_Piece], why: str) -> list[Happened]:
        by: dict[tuple[str, str, str], list[str]] = {}
        for piece in pieces:
            # Nobody had it: it fails where it could have been measured.
            latest = self._latest[piece.share, piece.group.target]
            node, run = (piece.node, piece.run) if piece.node else latest
            by.setdefault((piece.share, node, run), []).append(piece.task)
        return [
            self._note(Unmeasured(share, tuple(tasks), node, run, why))
            for (share, node, run), tasks in by.items()
        ]


def _may(node: _Node, piece: _Piece) -> bool:
    return (
        node.share == piece.share
        and piece.group.target in node.targets
        and node.name not in piece.refused_by
    )


def _cost(piece: _Piece) -> float:
    return piece.group.cost_s / len(piece.group.pieces)


def replayed(journal: Iterable[Happened]) -> Board:
    """The board as it was when the last of this had happened."""
    board = Board()
    for happened in journal:
        board.apply(happened)
    return board
