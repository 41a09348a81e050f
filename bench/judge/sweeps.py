"""What a run with ``--batch auto`` says of each sweep: from which batch on more buys nothing, and
what ended it."""

from __future__ import annotations

from bench.numbers import NAME_LIMIT, UNSTABLE, is_unstable_ratio, printable, rate
from bench.record.result import SweepEnd
from bench.record.sweeps import Swept, rates_of, swept
from bench.spec import AUTO
from bench.stats.interval import Interval
from bench.stats.sweep import Knee, find_knee
from bench.store.run import StoredRun
from bench.variants import suffix


def sweep_sentences(run: StoredRun) -> list[str]:
    """A sentence for the knee and the end of each sweep of a run that made some."""
    suite = run.header.suite
    if suite.batch != AUTO:
        return []
    return [
        said
        for sweep in swept(run.records).values()
        if (said := _sentence(sweep, suite.margin, suite.confidence))
    ]


def _sentence(sweep: Swept, margin: float, confidence: float) -> str:
    rates = rates_of(sweep)
    parts = [f"the sweep {sweep_end(sweep.end)}"] if sweep.end is not None else []
    if len(rates) > 1:
        knee = find_knee(rates, margin, confidence)
        measured = f"(measured: {', '.join(map(str, sorted(rates)))})"
        found = _rising(knee, sweep) if knee.batch == max(rates) else _knee(knee, sweep)
        parts.insert(0, f"{found} {measured}")
    if not parts:
        return ""
    cell = sweep.largest.cell
    what = f"{cell.model.name}{suffix(cell.variant)} on {cell.target}, {cell.scenario}"
    return printable(f"{what}: {'; '.join(parts)}.", limit=5 * NAME_LIMIT)


def sweep_end(end: SweepEnd) -> str:
    """``ends at 512: out of memory``."""
    return f"ends at {end.batch}: {end.failure.kind.replace('-', ' ')}"


def _rate(sweep: Swept, batch: int) -> str:
    found = sweep.batches[batch].throughput
    return rate(found.value if found else None)


def _rising(knee: Knee, sweep: Swept) -> str:
    """Of a sweep that memory, a failure or its limits ended before throughput levelled off."""
    return (
        f"no knee was reached: throughput still rises at batch {knee.batch}, the largest measured, "
        f"to {_rate(sweep, knee.batch)}"
    )


def _knee(knee: Knee, sweep: Swept) -> str:
    """Where it is, and how it stands to the best batch."""
    where = f"the knee is at batch {knee.batch}, {_rate(sweep, knee.batch)}"
    if knee.batch == knee.best:
        return f"{where}: no smaller batch comes close, and no larger one was better"
    gain = knee.ratio.inverse()
    best = f"{_rate(sweep, knee.best)} at batch {knee.best}"
    if is_unstable_ratio(gain.estimate, gain.low, gain.high):
        # Nothing is surely worse than the best then, so the smallest batch would be the knee.
        return (
            f"no knee is established: the best, {best}, against batch {knee.batch} is {UNSTABLE}; "
            "measure longer (--max-invocations, --max-time)"
        )
    return (
        f"{where}; the best, {best}, is not distinguishable from it within the margin "
        f"({_more(gain)})"
    )


def _more(gain: Interval) -> str:
    """``0.0 to 4.2% more``, of the best over the knee: the best can't truly be worse."""
    low, high = (100 * max(0, bound - 1) for bound in (gain.low, gain.high))
    return f"{low:.1f} to {high:.1f}% more"
