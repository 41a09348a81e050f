"""Whole queries of a language model: what follows from when each was due, had its first token and
was done. The definitions are in docs/scenarios.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cell import Cell
from bench.numbers import duration
from bench.record import estimate
from bench.record.facts import CellFacts
from bench.record.result import Check, Invocation, Kept, Percentile, Queries, QueryTime, TokenTime
from bench.scenarios import find_scenario
from bench.stats.percentile import median
from bench.stats.stopping import Stated

#: Of two that follow from one clock the later reading may be the same: estimates are geometric.
_SHORTEST_NS = 1.0


def time_per_token(latency_ns: Array, ttft_ns: Array, new_tokens: int) -> Array | None:
    """TPOT of each query in ns, (E2E - TTFT) / (n - 1); None for n < 2: a single token has no time
    between tokens."""
    if new_tokens < 2:
        return None
    found: Array = (latency_ns - ttft_ns) / (new_tokens - 1)
    return found


def of_queries(
    cell: Cell,
    invocations: Sequence[Invocation],
    samples: Mapping[int, Array],
    first: Mapping[int, Array],
    gaps: Mapping[int, Array],
    facts: CellFacts,
    stated: Stated,
) -> Queries | None:
    """What is known of a cell's queries; None where it isn't of whole queries, or too few processes
    measured it."""
    scenario = find_scenario(cell.scenario)
    prompt, answer = scenario.size, scenario.answer
    taken = [i for i in invocations if i.index in samples and i.index in first]
    if prompt is None or answer is None or len(taken) < 2:
        return None
    ttft = _time([first[i.index] for i in taken], cell.ttft_bound_ns, stated)
    per_token = (time_per_token(samples[i.index], first[i.index], answer) for i in taken)
    arrays = [array for array in per_token if array is not None]
    tpot = _time(arrays, cell.tpot_bound_ns, stated) if arrays else None
    between = [gaps[i.index].ravel() for i in taken if i.index in gaps and answer > 1]
    waited = scenario.bounded  # then a time to the first token holds that in the queue, too
    return Queries(
        prompt_tokens=prompt,
        new_tokens=answer,
        ttft=ttft,
        tpot=tpot,
        itl=_spread(between, stated) if len(between) > 1 else None,
        **_of_request(ttft, facts),
        prompt_per_s=None
        if waited
        else estimate.estimate([prompt_rate(i, cell.batch * prompt) for i in taken], stated),
        new_per_s=None
        if waited or tpot is None
        else estimate.estimate([new_rate(i, cell.batch * (answer - 1)) for i in taken], stated),
        bounds=all_kept(time.kept for time in (ttft, tpot) if time is not None),
    )


def _of_request(ttft: QueryTime, facts: CellFacts) -> dict[str, Any]:
    """What a request takes besides, and with it to the first token."""
    if not facts.tokenizing_ns:
        return {}
    before_ns = max(float(np.median(facts.tokenizing_ns)), _SHORTEST_NS)
    model = ttft.median_ns
    shifted = {name: getattr(model, name) + before_ns for name in ("value", "low", "high")}
    return {
        "tokenizing_ns": before_ns,
        "templated": facts.templated,
        "ttft_request_ns": model.model_copy(update=shifted),
    }


def prompt_rate(one: Invocation, tokens: int) -> float:
    """Tokens of prompts a second, of an invocation whose queries have so many ``tokens`` each."""
    assert one.ttft_busy_ns is not None
    return one.calls * tokens * 1e9 / max(one.ttft_busy_ns, _SHORTEST_NS)


def new_rate(one: Invocation, tokens: int) -> float:
    """Tokens made behind the first a second; a query makes so many ``tokens`` there."""
    assert one.ttft_busy_ns is not None
    return one.calls * tokens * 1e9 / max(one.busy_ns - one.ttft_busy_ns, _SHORTEST_NS)


def kept(percentile: Percentile, bound_ns: float) -> Kept:
    """Whether a percentile keeps to a bound: surely where MLPerf's upper bound of it and its
    interval over the processes both do, surely not where that whole interval is beyond."""
    if percentile.value_ns is None:
        return "inconclusive"
    low_ns = percentile.value_ns if percentile.low_ns is None else percentile.low_ns
    high_ns = percentile.value_ns if percentile.high_ns is None else percentile.high_ns
    if max(percentile.value_ns, high_ns) <= bound_ns:
        return "met"
    return "missed" if min(percentile.value_ns, low_ns) > bound_ns else "inconclusive"


def all_kept(each: Iterable[Kept | None]) -> Kept | None:
    """Of several bounds: met where all are, missed where one is; None where there are none."""
    found = {one for one in each if one is not None}
    if not found:
        return None
    if "missed" in found:
        return "missed"
    return "met" if found == {"met"} else "inconclusive"


def bounds_check(queries: Queries | None) -> list[Check]:
    """Whether the bounds are kept, in words; none where there are none."""
    if queries is None or queries.bounds is None:
        return []
    times = (("TTFT", queries.ttft), ("TPOT", queries.tpot))
    words = [_words(name, time) for name, time in times if time and time.bound_ns]
    return [Check(name="bounds", ok=queries.bounds == "met", detail="; ".join(words))]


def _words(name: str, time: QueryTime) -> str:
    p99, bound_ns = time.p99, time.bound_ns
    assert bound_ns is not None
    if p99.value_ns is None:
        have = f"{p99.samples} queries, but a p99 needs {p99.samples_needed}"
    else:
        have = f"p99 {duration(p99.value_ns)}"
    return f"{name} {have}, bound {duration(bound_ns)}: {time.kept}"


def _time(arrays: Sequence[Array], bound_ns: int | None, stated: Stated) -> QueryTime:
    """One time of the queries of each invocation, held against its bound."""
    found = _spread(arrays, stated)
    return QueryTime(
        median_ns=found.median_ns,
        p90=found.p90,
        p99=found.p99,
        bound_ns=bound_ns,
        kept=None if bound_ns is None else kept(found.p99, bound_ns),
    )


def _spread(arrays: Sequence[Array], stated: Stated) -> TokenTime:
    """The times of each invocation, over all."""
    arrays = [np.maximum(array, _SHORTEST_NS) for array in arrays]
    pooled = np.concatenate(arrays)
    middle = estimate.estimate([median(array) for array in arrays], stated)
    assert middle is not None
    p90, p99 = (estimate.percentile(pooled, arrays, p, stated.confidence) for p in (0.90, 0.99))
    return TokenTime(median_ns=middle, p90=p90, p99=p99)
