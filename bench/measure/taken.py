"""Taking what a worker answered: whatever it is, it costs its cell and not the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.errors import BenchError, WorkerCrashed, with_trace
from bench.record.assemble import invocation
from bench.record.block import Block
from bench.record.facts import WorkerFacts
from bench.record.result import Invocation

#: Characters of an error that nobody worded.
_MOST_WORDS = 300


@contextmanager
def as_answered(target: str) -> Iterator[None]:
    """Errors that nobody meant become a `WorkerCrashed`: what a worker answered was of the right
    form, and nothing can be made of it. `BenchError`, errors of the disk and assertions, which are
    about ourselves, pass."""
    try:
        yield
    except (BenchError, OSError, AssertionError):
        raise
    except Exception as error:
        words = str(error)[:_MOST_WORDS] or "no message"
        crashed = WorkerCrashed(
            f"{target}: its worker's answer can't be used ({type(error).__name__}: {words})."
        )
        raise with_trace(crashed, error) from error


def figured(told: WorkerFacts, blocks: Sequence[Block], canary_ns: float | None) -> Invocation:
    """The invocation. Raises `WorkerCrashed` where its figures are no times."""
    one = invocation(told, blocks, canary_ns)
    for name, value in (("median", one.median_ns), ("floor", one.floor_ns), ("mean", one.query_ns)):
        if not (math.isfinite(value) and value > 0):
            raise WorkerCrashed(f"its clock gave an impossible {name} latency of {value:g} ns.")
    return one
