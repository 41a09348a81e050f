"""From what was measured of a cell to its record: estimates, intervals and validity checks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bench.arrays import Array
from bench.cell import MOST, Cell
from bench.errors import AccuracyFailed
from bench.record.result import (
    LEAST,
    Busy,
    Check,
    Estimate,
    Invocation,
    Latency,
    Memory,
    Percentile,
)
from bench.record.telemetry import telemetry_checks
from bench.stats.composed import quotient
from bench.stats.interval import Interval
from bench.stats.nested.pairing import Turns
from bench.stats.outliers import classify_outliers
from bench.stats.percentile import (
    early_stopping_percentile,
    minimum_samples,
    sample_percentile,
)
from bench.stats.stopping import Stated

_BOOTSTRAP_RESAMPLES = 400
#: Pooled samples used in a resample: more would not narrow an interval over few invocations.
_BOOTSTRAP_SAMPLES = 10_000


def figures(cell: Cell, invocations: Sequence[Invocation]) -> Array:
    """One figure an invocation, float64: samples/s for a rate, else the median latency in ns."""
    if cell.is_rate:
        return np.array([i.rate_per_s(cell.batch) for i in invocations])
    return np.array([i.median_ns for i in invocations])


def turns(one: Invocation) -> Turns:
    """What is compared of an invocation with one that was measured in turn with it."""
    return Turns(one.paced_ns, one.round_ns or {})


def relative_half_width(values: Array, confidence: float) -> float:
    """Half-width of the stated interval, over the estimate."""
    return Stated(confidence).interval(values).relative_half_width


def estimate(values: Sequence[float] | Array, stated: Stated) -> Estimate | None:
    """The typical invocation (a trimmed geometric mean) with its interval.

    None for fewer than two values: one process says nothing about the next.
    """
    if len(values) < 2:
        return None
    found = stated.interval(values)
    # Two invocations that are a thousandfold apart have bounds beyond all that is written down.
    low, high = max(found.low, LEAST), min(found.high, float(MOST))
    return as_estimate(replace(found, low=low, high=high))


def within_limits(value: float, low: float, high: float, confidence: float) -> Estimate | None:
    """An estimate computed from others: of bounds beyond all that is written down these limits are
    left, which only makes it wider; None where the value itself is beyond them."""
    if not abs(value) <= MOST:
        return None
    low, high = max(low, -float(MOST)), min(high, float(MOST))
    return Estimate(value=value, low=low, high=high, confidence=confidence)


def as_estimate(interval: Interval) -> Estimate:
    """As it is written down. Raises `AccuracyFailed` for what is no number, and for one that is
    larger than any that is written down."""
    values = (interval.estimate, interval.low, interval.high)
    if not all(map(math.isfinite, values)):
        raise AccuracyFailed(
            f"the computed value is not a number: {interval.estimate} ({interval.low} to "
            f"{interval.high}). Look for NaN and infinities in the model's outputs."
        )
    if max(map(abs, values)) > MOST:
        raise AccuracyFailed(
            f"the computed value is impossibly large: {interval.estimate:.3g} "
            f"({interval.low:.3g} to {interval.high:.3g})."
        )
    return Estimate(
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        confidence=interval.confidence,
    )


def latency(
    invocations: Sequence[Invocation], samples: Mapping[int, Array], stated: Stated
) -> Latency | None:
    """Latency statistics over all samples of all invocations."""
    median = estimate([i.median_ns for i in invocations], stated)
    floor = estimate([i.floor_ns for i in invocations], stated)
    arrays = [samples[i.index] for i in invocations if i.index in samples]
    if median is None or floor is None or not arrays:
        return None
    pooled = np.concatenate(arrays)
    return Latency(
        median_ns=median,
        floor_ns=floor,
        p90=percentile(pooled, arrays, 0.90, stated.confidence),
        p99=percentile(pooled, arrays, 0.99, stated.confidence),
        samples=len(pooled),
        outliers=classify_outliers(pooled).counts(),
    )


def busy(invocations: Sequence[Invocation], stated: Stated) -> Busy | None:
    """How much of a call's time its device worked: the quotient of two estimates, of which the
    device's own time is known of a few invocations alone."""
    worked = [i.device_ns for i in invocations if i.device_ns is not None]
    if min(len(worked), len(invocations)) < 2:
        return None
    share = quotient(stated.interval(worked), stated.interval([i.median_ns for i in invocations]))
    bounds = replace(share, low=max(share.low, LEAST), high=min(share.high, float(MOST)))
    return Busy(share=as_estimate(bounds), at_most=any(i.device_gaps for i in invocations))


def percentile(pooled: Array, arrays: Sequence[Array], p: float, confidence: float) -> Percentile:
    """MLPerf's early-stopping estimate, with a bootstrap interval over invocations."""
    value = early_stopping_percentile(pooled, p)
    if value is None:
        return Percentile(
            p=p, value_ns=None, samples=len(pooled), samples_needed=minimum_samples(p)
        )
    low, high = _cluster_bootstrap(arrays, p, confidence)
    return Percentile(
        p=p,
        value_ns=float(value),
        low_ns=low,
        high_ns=high,
        samples=len(pooled),
        samples_needed=minimum_samples(p),
    )


def _cluster_bootstrap(
    arrays: Sequence[Array], p: float, confidence: float
) -> tuple[float | None, float | None]:
    """Percentile interval from resampling whole invocations (Davison & Hinkley 1997, section 3.8):
    samples of one process are too alike to be resampled one by one."""
    if len(arrays) < 2:
        return None, None
    rng = np.random.default_rng(0)
    size = max(1, _BOOTSTRAP_SAMPLES // len(arrays))
    thinned = [rng.choice(a, size, replace=False) if len(a) > size else a for a in arrays]
    picks = rng.integers(0, len(arrays), size=(_BOOTSTRAP_RESAMPLES, len(arrays)))
    values = [sample_percentile(np.concatenate([thinned[i] for i in row]), p) for row in picks]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def memory(invocations: Sequence[Invocation]) -> Memory:
    """The largest peak of any invocation, and what loading and running added to a worker; and the
    most that one held on the device."""
    peaks = [i.peak_rss_bytes for i in invocations if i.peak_rss_bytes is not None]
    added = [
        i.peak_rss_bytes - i.rss_before_load_bytes
        for i in invocations
        if i.peak_rss_bytes is not None and i.rss_before_load_bytes is not None
    ]
    held = [i.device_memory_bytes for i in invocations if i.device_memory_bytes is not None]
    return Memory(
        peak_rss_bytes=max(peaks, default=None),
        added_rss_bytes=max(added, default=None),
        device_bytes=max(held, default=None),
    )


def checks(invocations: Sequence[Invocation], threads: int = 1) -> list[Check]:
    """What has to hold for the figures to be trusted; one inference computes in ``threads``."""
    settled = sum(i.settled for i in invocations)
    blocks = sum(i.blocks for i in invocations)
    disturbed = sum(i.disturbed_blocks for i in invocations)
    return [
        Check(
            name="steady-state",
            ok=settled == len(invocations),
            detail=f"{settled} of {len(invocations)} invocations settled in the warm-up",
        ),
        Check(
            name="undisturbed",
            ok=disturbed <= blocks * _DISTURBED_SHARE,
            detail=f"{disturbed} of {blocks} blocks were disturbed by other load",
        ),
        *_own_cpu(invocations, threads),
        *telemetry_checks(invocations),
    ]


def _own_cpu(invocations: Sequence[Invocation], threads: int) -> list[Check]:
    """Whether the figures are those of CPUs that the worker had for itself."""
    waited = [i.waited_share for i in invocations if i.waited_share is not None]
    fewest = min((len(i.cpus) for i in invocations if i.cpus), default=threads)
    crowded = fewest < threads
    if not waited and not crowded:
        return []
    shared = [share for share in waited if share > _SHARED_CPU]
    words = []
    if waited and not shared:
        words.append(f"all {len(waited)} invocations had their CPUs for themselves")
    if shared:
        words.append(
            f"{len(shared)} of {len(waited)} invocations shared a CPU with other programs and "
            f"waited for it {np.mean(shared):.0%} of the time, so latencies read high"
        )
    if crowded:
        words.append(f"{threads} threads took turns on {fewest} CPU{'s' * (fewest != 1)}")
    ok = len(shared) <= len(waited) * _SHARED_INVOCATIONS and not crowded
    return [Check(name="own-cpu", ok=ok, detail="; ".join(words))]


#: The median of a cell moves little while fewer blocks than this were hit.
_DISTURBED_SHARE = 0.25
#: A worker that waited for longer than this shared its CPU: the limit of a disturbed block
#: (`bench.measure.member`). The blocks that count exceed it only where none was left undisturbed.
_SHARED_CPU = 0.10
#: The estimate leaves out the fifth of the invocations that was slowest.
_SHARED_INVOCATIONS = 0.2
