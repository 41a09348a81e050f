"""What the driver of a fleet costs: `python tests/benchmarks/fleet.py`.

Stand-in nodes on a virtual clock; every record goes to the disk as in a real run. Prints the
driver's time and memory a cell at several sizes, which must grow in proportion, and what four
nodes take of the time of one.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from standin_fleets import Fleet, cells, facts, node

from bench.fleet.simulated import Simulated

#: Nodes and cells. The goal is for the last: under 2 GiB, and 5 ms a cell.
SIZES = ((10, 1_000), (100, 10_000), (1_000, 100_000))
GOAL_MS = 5.0
GOAL_BYTES = 2 * 2**30
KINDS = 10
TARGETS = tuple(f"x:npu:{number}" for number in range(10))


def scale(nodes: int, planned: int) -> None:
    """One run in a process of its own, so that its memory is its own."""
    found = cells(planned // KINDS // len(TARGETS), *TARGETS)
    fleet_nodes = [
        node(facts(f"n{n}", *TARGETS, machine=f"kind {n % KINDS}"), seconds) for n in range(nodes)
    ]
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
        fleet = Fleet(Path(folder) / "out", found)
        fleet.shown = io.StringIO()
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        outcome = fleet.drive(Simulated(fleet_nodes))
        took_s = time.perf_counter() - began_s
        cpu_s = time.process_time() - began_cpu_s
    assert outcome.measured == outcome.cells == planned, outcome
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{nodes:>5} nodes {planned:>7} cells: {1e3 * took_s / planned:6.2f} ms a cell "
        f"({1e3 * cpu_s / planned:.2f} ms of CPU, the stand-in nodes' too), "
        f"{peak / 2**20:6.0f} MiB ({peak / planned / 1024:5.1f} KiB a cell)",
        flush=True,
    )
    if planned == SIZES[-1][1]:
        assert peak < GOAL_BYTES, "more memory than the goal"
        print(f"goal: {GOAL_MS:g} ms a cell, {GOAL_BYTES / 2**30:g} GiB")


def seconds(cell: Any) -> float:
    """How long a stand-in node takes for a cell."""
    return 2.0 + 30.0 * (int(cell.model.sha256, 16) % 97) / 97


def shares() -> None:
    """Two hundred cells on one node, and on several."""
    alone_s = 0.0
    for count in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
            transport = Simulated([node(facts(f"n{n}"), seconds) for n in range(count)])
            Fleet(Path(folder) / "out", cells(200)).drive(transport)
        alone_s = alone_s or transport.now_s
        share = transport.now_s / alone_s
        print(f"{count} nodes, 200 cells: {share:.3f} of one node's time (1/{count})")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        scale(int(sys.argv[1]), int(sys.argv[2]))
    else:
        shares()
        for size in SIZES:
            subprocess.run([sys.executable, __file__, *map(str, size)], check=True)
