"""Whether whole queries take what their steps take, where one run measured both.

A query of P prompt tokens that makes N is a prefill of P tokens and N - 1 steps of decode behind P,
P + 1, ... P + N - 2 tokens. Only other records tell what those take, so this is looked at once all
of a run are there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.numbers import duration
from bench.record.result import Check, Estimate, Latency, Record
from bench.scenarios import AT, DECODE, GENERATE, PREFILL, find_scenario

#: What the check is called.
STEPS = "steps"


def steps_checked(records: Sequence[Record]) -> list[Record]:
    """The records, those of whole queries with a check of their sum; no other is changed."""
    steps: dict[tuple[object, ...], dict[str, Latency]] = {}
    for record in records:
        if record.status == "ok" and record.latency is not None:
            steps.setdefault(_who(record), {})[record.cell.scenario] = record.latency
    return [_checked(record, steps.get(_who(record), {})) for record in records]


def _checked(record: Record, steps: dict[str, Latency]) -> Record:
    scenario = find_scenario(record.cell.scenario)
    if scenario.plain_name != GENERATE.name or record.latency is None:
        return record
    assert scenario.size is not None
    assert scenario.answer is not None
    others = tuple(check for check in record.checks if check.name != STEPS)
    expected = _sum(steps, scenario.size, scenario.answer)
    if expected is None:
        return record.model_copy(update={"checks": others})
    return record.model_copy(
        update={"checks": (*others, _check(record.latency, expected, scenario.answer))}
    )


def _who(record: Record) -> tuple[object, ...]:
    """What is the same of a query and its steps."""
    cell = record.cell
    name, sha256 = cell.model.name, cell.model.sha256
    return name, sha256, cell.variant, cell.target, cell.threads, cell.batch, cell.allow_fallback


def _sum(steps: dict[str, Latency], prompt: int, answer: int) -> Estimate | None:
    """What the steps of a query take, bounds and all; None where not all of them were measured."""
    first = steps.get(f"{PREFILL.name}{AT}{prompt}")
    measured = {
        int(name.partition(AT)[2]): latency.median_ns
        for name, latency in steps.items()
        if name.startswith(f"{DECODE.name}{AT}")
    }
    passed = np.arange(prompt, prompt + answer - 1)
    if first is None or (len(passed) and not _covers(sorted(measured), passed)):
        return None
    depths = sorted(measured)

    def whole(name: str) -> float:
        known = [getattr(measured[depth], name) for depth in depths]
        # Between two depths what a step takes is close to a line: attention reads the whole cache.
        between = np.interp(passed, depths, known).sum() if len(passed) else 0.0
        return float(getattr(first.median_ns, name) + between)

    return first.median_ns.model_copy(
        update={name: whole(name) for name in ("value", "low", "high")}
    )


def _covers(depths: Sequence[int], passed: np.ndarray) -> bool:
    """Whether depths tell of all that are passed: these lie between two, or one lies among them."""
    if not depths:
        return False
    around = depths[0] <= passed[0] and passed[-1] <= depths[-1]
    return around or any(passed[0] <= depth <= passed[-1] for depth in depths)


def _check(latency: Latency, expected: Estimate, answer: int) -> Check:
    found = latency.median_ns
    agree = found.low <= expected.high and expected.low <= found.high
    steps = f"prefill and {answer - 1} step{'s' * (answer != 2)} of decode"
    detail = f"a query takes {_told(found)}, {steps} {_told(expected)}"
    if not agree and found.value > expected.value:
        detail += ": the rest is spent between the steps, on logits, choices and the state"
    return Check(name=STEPS, ok=agree, detail=detail)


def _told(value: Estimate) -> str:
    return f"{duration(value.value)} ({duration(value.low)} to {duration(value.high)})"
