"""What a table says of a language model's whole queries: one note a load, one part a row."""

from __future__ import annotations

from collections.abc import Sequence

from bench.numbers import MISSING, NAME_LIMIT, duration, half_width, printable, significant
from bench.record.result import Amount, Queries, Record, TokenTime
from bench.scenarios import Scenario, find_scenario

_KEPT = {"met": "both bounds are met", "missed": "a bound is missed"}
_UNSURE = "whether both bounds are met is not sure"


def query_notes(records: Sequence[Record]) -> list[str]:
    """What the figures of whole queries are, and those that no column holds."""
    several = len({record.cell.model.name for record in records}) > 1
    found: dict[str, list[str]] = {}
    for record in records:
        if record.queries is None or record.simulated:
            continue
        scenario = find_scenario(record.cell.scenario)
        model = f" ({printable(record.cell.model.name, limit=NAME_LIMIT)})" if several else ""
        target = printable(record.cell.target, limit=NAME_LIMIT)
        words = "; ".join(filter(None, (_times(record.queries), _rates(record, record.queries))))
        found.setdefault(_what(scenario, record.cell.batch), []).append(f"{target}{model}: {words}")
    return [f"{MISSING} {what}; {'; '.join(rows)}." for what, rows in found.items()]


def _what(scenario: Scenario, batch: int) -> str:
    """The load, and what is not in it."""
    answer = f"{scenario.answer} greedy token{'s' * (scenario.answer != 1)}"
    if not scenario.one_sample:
        return (
            f"{scenario.name} batch {batch}: a query is {batch} prompts of {scenario.size} tokens "
            f"and {answer} each, made together"
        )
    each = f"{scenario.name}: a query is a prompt of {scenario.size} tokens and {answer}"
    if scenario.bounded:
        order = "one query at a time, first come, first served (no continuous batching)"
        return f"{each}; {order}; TTFT counts from the arrival"
    return f"{each}, one after the other; the latency is that of whole queries"


def _rates(record: Record, queries: Queries) -> str:
    """Tokens a second, of prompts and of answers apart; none where queries may have waited."""
    if queries.prompt_per_s is None:
        return ""
    parts = [f"{_rate(queries.prompt_per_s)} prompt tokens/s"]
    if queries.new_per_s is not None:
        parts.append(f"{_rate(queries.new_per_s)} generated tokens/s after the first")
    if record.throughput is not None:
        whole = significant(record.throughput.value * queries.new_tokens)
        parts.append(f"{whole} generated tokens/s over whole queries")
    return ", ".join(parts)


def _times(queries: Queries) -> str:
    """The times of tokens, and whether bounds on them are met."""
    times = (("TTFT", queries.ttft), ("TPOT", queries.tpot), ("ITL", queries.itl))
    parts = [f"{name} {_time(time)}" for name, time in times if time is not None]
    if queries.ttft_request_ns is not None and queries.tokenizing_ns is not None:
        before = f"{'template and ' * queries.templated}tokenising"
        request = duration(queries.ttft_request_ns.value)
        parts.insert(1, f"of the request {request} ({before} {duration(queries.tokenizing_ns)})")
    if queries.bounds is not None:
        parts.append(_KEPT.get(queries.bounds, _UNSURE))
    return ", ".join(parts)


def _time(time: TokenTime) -> str:
    median = duration(time.median_ns.value)
    if time.p99.value_ns is None:
        return f"{median} (no p99: {time.p99.samples} of {time.p99.samples_needed} queries)"
    return f"{median}, p99 {duration(time.p99.value_ns)}"


def _rate(rate: Amount | None) -> str:
    if rate is None:
        return MISSING
    return f"{significant(rate.value)} {half_width(rate.value, rate.low, rate.high)}".strip()
