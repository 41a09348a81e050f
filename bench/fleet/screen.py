"""What a fleet shows while it works: plain lines that read the same on a terminal and in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from bench.fleet.board import Board, Counts
from bench.fleet.nodes import NodeFacts
from bench.fleet.plan import NodePlan
from bench.fleet.transport import Lease
from bench.numbers import counted, printable
from bench.present.progress import elapsed

WIDTH = 80
#: Seconds between two looks at the whole fleet, if nothing else is said meanwhile.
EVERY_S = 10.0
#: Of a large fleet so many nodes are shown, those that measure longest.
MOST_NODES = 12
#: The first cells say little of the others.
FEW_CELLS = 3


class Screen:
    """Lines on a stream; none without one."""

    def __init__(
        self,
        stream: TextIO | None,
        clock: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        self._stream, self._clock, self._every_s = stream, clock, every_s
        self._started = self._last = clock()
        self._began_with = self._measured = 0
        self._doing: dict[str, tuple[float, Lease, NodePlan]] = {}

    def joined(self, node: NodeFacts, cells: int) -> None:
        """A node takes part."""
        targets = len(node.devices)
        self._say(f"{node.name}: {counted(targets, 'target')}, {counted(cells, 'cell')} it can run")

    def begun(self, counts: Counts, nodes: int, path: Path) -> None:
        """Measuring begins."""
        self._started = self._clock()
        done = (
            f", {counts.cells - counts.left} finished before" if counts.left < counts.cells else ""
        )
        self._say(f"{counted(counts.left, 'cell')} to measure on {counted(nodes, 'node')}{done}")
        self._say(f"results go to {path}")

    def lease(self, lease: Lease, plan: NodePlan) -> None:
        """A node begins a lease."""
        self._doing[lease.node] = (self._clock(), lease, plan)

    def measured(self, cells: int) -> None:
        """So many records more are on the disk."""
        self._measured += cells

    def unmeasured(self, cells: int, node: str, why: str) -> None:
        """Cells were abandoned."""
        self.note(f"FAILED  {counted(cells, 'cell')} of {node or 'the fleet'}: {why}")

    def note(self, text: str) -> None:
        """Something that a person should read now."""
        self._say(text)

    def tick(self, board: Board, nodes: Mapping[str, NodeFacts]) -> None:
        """Show the whole fleet, where that is due."""
        if self._stream is None or self._clock() - self._last < self._every_s:
            return
        self._last = self._clock()
        self._say(self._summary(board))
        busy = [name for name in nodes if board.nodes[name].state == "leased"]
        busy = [name for name in busy if name in self._doing]
        busy.sort(key=lambda name: self._doing[name][0])
        for name in busy[:MOST_NODES]:
            self._say(self._node_line(name, board))
        idle = len(nodes) - len(busy)
        more = [f"{len(busy) - MOST_NODES} more measure"] if len(busy) > MOST_NODES else []
        rest = ", ".join([*more, *([f"{counted(idle, 'node')} idle"] if idle else [])])
        if rest:
            self._say(f"  {rest}")

    def finished(self, counts: Counts, path: Path) -> None:
        """The session is over."""
        words = [f"{counts.measured} of {counted(counts.cells, 'cell')} measured"]
        if counts.unmeasured:
            words.append(f"{counts.unmeasured} abandoned")
        if counts.left:
            words.append(f"{counts.left} left")
        self._say(f"{', '.join(words)} after {elapsed(self._clock() - self._started)}; in {path}")

    def _summary(self, board: Board) -> str:
        counts, age_s = board.counts, self._clock() - self._started
        words = [f"{elapsed(age_s)}  {counts.measured}/{counts.cells} cells measured"]
        if counts.unmeasured:
            words.append(f"{counts.unmeasured} abandoned")
        words.append(f"{counts.left} left")
        if self._measured >= FEW_CELLS and counts.left:
            words.append(f"about {elapsed(age_s / self._measured * counts.left)} more")
        return ", ".join(words)

    def _node_line(self, name: str, board: Board) -> str:
        since, lease, plan = self._doing[name]
        left = board.leased(name)
        cell = plan.by_id[left[0]].cell if left else plan.by_cell[lease.cells[0]].cell
        done = len(lease.cells) - len(left)
        age = elapsed(self._clock() - since)
        what = f"{cell.target} {cell.scenario} batch {cell.batch}"
        return f"  {name:<14.14} {done}/{len(lease.cells)} {age:>5}  {cell.model.name} {what}"

    def _say(self, text: str) -> None:
        """One line; what a node measures is cut at the width, what is said in words never."""
        if self._stream is None:
            return
        line = printable(text, limit=1000)
        if line.startswith("  ") and len(line) > WIDTH:
            line = line[: WIDTH - 3] + "..."
        print(line, file=self._stream, flush=True)
