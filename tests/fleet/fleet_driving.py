"""A driver of a few lines: it begins leases and writes down what comes. As a program, `python
fleet_driving.py ADDRESS FOLDER`, it begins an endless lease on node n1 and says so."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.cell import Cell
from bench.fleet.file import FleetFile
from bench.fleet.files import pack
from bench.fleet.ray.connect import connect
from bench.fleet.transport import Ended, Event, Grew, Lease, Lost, Order
from bench.measure.listener import QuietProgress
from bench.measure.prepare import prepare
from bench.spec import Suite

TARGETS = ("stand-in:ok?us=20", "stand-in:ok?us=400")
SHORT = {"precision": 0.5, "min_invocations": 2, "max_time_s": 1.0}
#: More invocations than any test waits for.
ENDLESS = {"max_time_s": 300.0, "min_invocations": 900, "max_invocations": 1000}


def a_suite(model: Path, **more: object) -> Suite:
    return Suite.model_validate(
        {
            "models": (str(model),),
            "targets": TARGETS,
            "scenarios": ("single-stream",),
            "threads": 1,
            **SHORT,
            **more,
        }
    )


def cells_of(suite: Suite, cache: Path) -> tuple[Cell, ...]:
    """As `bench run` would plan them; with the threads given, they are the same on every node."""
    with prepare(suite, QuietProgress(), cache) as prepared:
        return tuple(planned.cell for planned in prepared.plan.cells)


class Driving:
    """What a driver does with a transport, and what came of it under ``folder``."""

    def __init__(self, address: str, folder: Path, count: int) -> None:
        nodes = {
            f"n{number}": {"resource": f"n{number}", "targets": ["stand-in:ok"]}
            for number in range(1, count + 1)
        }
        self.transport = connect(FleetFile.model_validate({"nodes": nodes}), address)
        self.folder = folder
        self.seen: list[Event] = []  #: since the last lease began
        self._leases = 0

    def begin(
        self,
        node: str,
        suite: Suite,
        cells: Sequence[Cell],
        measured: Sequence[Cell],
        *,
        run: str = "",
    ) -> str:
        """Begin a lease, and return its id; the run is new where none is named."""
        self._leases += 1
        self.seen.clear()
        lease = f"lease-{self._leases}"
        packed = pack(suite.models)
        self.transport.send_files(node, packed.contents)
        run = run or f"{node}-{self._leases}"
        order = Order(run, suite, tuple(cells), node, files=packed.trees, command="bench fleet")
        ids = tuple(cell.id for cell in measured)
        self.transport.begin(node, Lease(lease, node, ids), order)
        return lease

    def wait(self, done: Callable[[Event], bool], timeout_s: float = 60) -> Event:
        """Write down what comes, until the event that is waited for."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.transport.events(1.0):
                self.seen.append(event)
                if isinstance(event, Grew):
                    self._write(event)
            for event in self.seen:
                if done(event):
                    return event
        raise AssertionError(f"it did not happen; what did is {self.seen}")

    def ended(self, lease: str) -> Ended:
        event = self.wait(lambda e: isinstance(e, Ended) and e.lease == lease)
        assert isinstance(event, Ended)
        return event

    def lost(self, node: str, timeout_s: float = 60) -> Lost:
        event = self.wait(lambda e: isinstance(e, Lost) and e.node == node, timeout_s)
        assert isinstance(event, Lost)
        return event

    def measures(self, node: str) -> None:
        """Wait until a worker has measured something there."""
        self.wait(lambda e: isinstance(e, Grew) and e.node == node and "invocat" in e.path)

    def _write(self, event: Grew) -> None:
        path = self.folder / event.node / event.run / event.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(0, 2)
            assert event.offset in (0, file.tell()), f"{event.path}: a gap, or a piece twice"
            assert event.offset or not event.path.endswith(".jsonl") or not file.tell()
            file.seek(event.offset)
            file.write(event.data)


def main() -> None:
    address, folder, model = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    suite = a_suite(model, **ENDLESS)
    cells = cells_of(suite, folder / "cache")
    driving = Driving(address, folder, 1)
    driving.transport.nodes()
    driving.begin("n1", suite, cells, cells[:1])
    driving.measures("n1")
    print("measuring", flush=True)
    while True:
        driving.transport.events(1.0)


if __name__ == "__main__":
    main()
