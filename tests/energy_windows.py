"""Windows as a run writes them, of a machine whose powers are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.cell import Cell
from bench.record.energy import energies
from bench.record.result import Energy
from bench.record.windows import IDLE, Kind, Scope, Trace, Window

SPAN_S = 3.0
_TURN_S = 5.0


def trace(
    watts: float,
    scope: Scope = "package",
    meter: str = "package-0",
    kind: Kind = "counter",
    **changes: Any,
) -> Trace:
    """Readings under one power; a counter's moves every 100 ms."""
    at = np.arange(-0.5, SPAN_S + 0.5, 0.05)
    if kind == "counter":
        values = 1e6 * watts * 0.1 * np.floor(at / 0.1 + 1e-9) + 1e9
    else:
        values = np.full(len(at), 1e3 * watts)
    given = {"at_ns": np.round(at * 1e9), "values": np.round(values)}
    readings = {name: tuple(map(int, array)) for name, array in given.items()}
    return Trace(**{"scope": scope, "meter": meter, "kind": kind, **readings, **changes})


def window(
    cell_id: str,
    index: int,
    position: int,
    traces: Sequence[Trace],
    queries: int = 300,
    **changes: Any,
) -> Window:
    values: dict[str, Any] = {
        "cell_id": cell_id,
        "index": index,
        "position": position,
        "began_at": "2026-11-28T08:00:00.000+00:00",
        "began_ns": round(1e9 * _TURN_S * (100 * index + position)),
        "span_ns": round(1e9 * SPAN_S),
        "queries": 0 if cell_id == IDLE else queries,
        "traces": tuple(traces),
    }
    return Window(**(values | changes))


def rounds(
    cells: Mapping[str, Callable[[int], float]],
    idle: Callable[[int, int], float] = lambda index, position: 40.0,
    count: int = 5,
    **changes: Any,
) -> list[Window]:
    """Rounds of windows: ``cells`` maps an id to its power by round; ``idle`` is the idle power by
    round and position."""
    found = []
    for index in range(count):
        last = len(cells) + 1
        found.append(window(IDLE, index, 0, [trace(idle(index, 0), **changes)]))
        for position, (cell_id, watts) in enumerate(cells.items(), 1):
            found.append(window(cell_id, index, position, [trace(watts(index), **changes)]))
        found.append(window(IDLE, index, last, [trace(idle(index, last), **changes)]))
    return found


def the_energy(cell: Cell, windows: Sequence[Window], confidence: float = 0.95) -> Energy:
    """The only one that the windows give."""
    (found,) = energies(cell, windows, confidence)
    return found
