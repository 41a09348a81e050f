"""`python -m bench.fleet.agent RUN LEASE STORE`: what a node measures of a run, for one lease.

It prepares, or goes on with, the run directory RUN with the lease's cells alone. LEASE (JSON) holds
the cells' ids, the order, and the name of the node's lock; STORE the files that came. What happens
is told on standard output, a line of JSON each:

    {"phase": "scoring fashion-student on onnxruntime:cpu"}   what is being done
    {"wrote": "records.jsonl", "size": 4711}    a file of the run has grown, or is new
    {"error": "plan: ..."}          why not every cell of the lease has a record

Standard input is the lease's life: whoever started this process writes a byte now and then. When it
closes, or nothing comes for `SILENCE_S`, measuring ends and the node is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.cell import Cell
from bench.errors import BenchError, SpecError
from bench.fleet.arrived import places
from bench.fleet.part import OtherMachine, OtherPlan, measure_part, only
from bench.fleet.transport import Order
from bench.folders import cache_folder
from bench.measure.listener import QuietProgress
from bench.measure.measuring import Outcome
from bench.measure.prepare import Prepared, prepare
from bench.measure.run import header_of
from bench.record.header import RunHeader
from bench.store.find import HEADER
from bench.streams import open_what_is_closed

#: Whoever started this writes every second; past this it is stopped, hung or cut off, and the
#: driver has given the cell to another node.
SILENCE_S = 10.0
#: Workers end with their launcher within moments; a driver's call that never returns is not
#: waited for.
_PATIENCE_S = 5.0
_LEASE_STOPPED = 3


class Told(QuietProgress):
    """Says on a stream what goes on."""

    def __init__(self, stream: Any, run: Path) -> None:
        self._stream, self._run = stream, run
        self._turn = threading.Lock()

    def say(self, **what: str | int) -> None:
        """One line; whoever read them may be gone, which standard input tells."""
        with self._turn, contextlib.suppress(OSError):
            self._stream.write(json.dumps(what) + "\n")
            self._stream.flush()

    def phase(self, text: str) -> None:
        self.say(phase=text)

    def note(self, text: str) -> None:
        self.say(note=text)

    def wrote(self, name: str) -> None:
        """A file of the run has grown to so many bytes, or is new; it is on the disk."""
        self.say(wrote=name, size=(self._run / name).stat().st_size)


def main(arguments: Sequence[str]) -> int:
    """Carry out one lease; returns the exit code, 0 where every cell has a record."""
    run, lease, store = map(Path, arguments)
    told = _own_output(run)
    _end_with(sys.stdin.fileno())
    try:
        data = json.loads(lease.read_bytes())
        order = Order.from_json(json.dumps(data["order"]).encode())
        with _alone(lease.with_name(data["lock"])):
            carry_out(run, data["cells"], order, store, told)
    except KeyboardInterrupt:
        return _LEASE_STOPPED
    except Exception as error:
        told.say(error=f"{_kind(error)}: {error}")
        return 1
    return 0


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until what an earlier agent of this node left has ended: its driver lost it, and its
    workers may take a moment. The lock ends with the process."""
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def carry_out(
    run: Path, cell_ids: Collection[str], order: Order, store: Path, told: Told
) -> Outcome:
    """Measure the cells of a lease into the run directory.

    Raises `BenchError` where not each of them gets a record, and `KeyboardInterrupt` where they are
    not wanted any more.
    """
    wanted = [cell for cell in order.planned if cell.id in cell_ids]
    here = places(order.files, store)
    models = tuple(here.get(text, text) for text in order.suite.models)
    suite = order.suite.model_copy(update={"models": models})
    if (run / HEADER).is_file():
        # Whatever else there is was looked for when the run began.
        targets = tuple(dict.fromkeys(cell.target for cell in wanted))
        suite = suite.model_copy(update={"targets": targets})
    with prepare(suite, told, cache_folder()) as prepared:
        outcome = measure_part(
            only(prepared, wanted),
            run,
            _header(prepared, order),
            told,
            allowed=order.allow,
            written=told.wrote,
        )
    if outcome.interrupted:
        raise KeyboardInterrupt
    _refuse_incomplete(wanted, outcome)
    return outcome


def _header(prepared: Prepared, order: Order) -> RunHeader:
    """What the run says of itself: what was asked of the fleet, and all that may come here."""
    return header_of(prepared).model_copy(
        update={
            "command": order.command,
            "suite": order.suite,
            "models": order.suite.models,
            "cells": order.planned,
            "machine_name": order.machine_name,
            "label": order.label,
        }
    )


def _refuse_incomplete(wanted: Sequence[Cell], outcome: Outcome) -> None:
    found = {record.cell_id for record in outcome.records}
    missing = [cell.label for cell in wanted if cell.id not in found]
    if missing:
        raise BenchError(f"no record was made for {', '.join(missing)}.")


def _kind(error: Exception) -> str:
    """In the words of `bench.fleet.transport.Ended`."""
    if isinstance(error, OtherMachine):
        return "node-changed"
    if isinstance(error, OtherPlan):
        return "plan"
    if isinstance(error.__cause__, OSError) or isinstance(error, OSError):
        return "disk"
    if isinstance(error, SpecError):
        return "refused"
    return error.kind if isinstance(error, BenchError) else f"bug ({type(error).__name__})"


def _own_output(run: Path) -> Told:
    """Standard output for the lines alone: what anything else prints goes to standard error."""
    open_what_is_closed()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return Told(stream, run)


def _end_with(life: int) -> None:
    """Stop measuring, as Ctrl-C does, when nobody wants it any more."""

    def watch() -> None:
        while True:
            ready, _, _ = select.select([life], [], [], SILENCE_S)
            if not ready or not os.read(life, 4096):
                break
        os.kill(os.getpid(), signal.SIGINT)
        timer = threading.Timer(_PATIENCE_S, os._exit, [_LEASE_STOPPED])
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=watch, name="life", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
