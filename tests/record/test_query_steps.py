"""bench/record/steps.py: whole queries held against the steps that they are made of."""

from __future__ import annotations

import pytest
from fake_records import STUDENT, a_cell, a_record

from bench.record.result import Check, Record
from bench.record.steps import steps_checked


def of(scenario: str, median_ns: float, target: str = "x:cpu", **changes: object) -> Record:
    return a_record(a_cell(scenario=scenario, target=target), median_ns, **changes)  # type: ignore[arg-type]


PREFILL = of("prefill@100", 5000.0)
SHORT, LONG = of("decode@100", 1000.0), of("decode@110", 2000.0)
#: 5,000 and steps behind 100, 101 and 102 tokens: 1,000, 1,100 and 1,200
WHOLE = 8300.0


def checks(*records: Record) -> list[Check]:
    return [c for record in steps_checked(records) for c in record.checks if c.name == "steps"]


def test_a_query_that_takes_what_its_steps_take_agrees() -> None:
    (found,) = checks(of("generate@100+4", WHOLE), PREFILL, SHORT, LONG)
    assert found.ok
    assert "8.30 µs" in found.detail
    assert "3 steps of decode" in found.detail


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_disagreement_beyond_the_intervals_is_a_mark(factor: float) -> None:
    (found,) = checks(PREFILL, SHORT, LONG, of("generate@100+4", WHOLE * factor))
    assert not found.ok
    assert ("between the steps" in found.detail) == (factor > 1)


def test_intervals_that_touch_are_no_disagreement() -> None:
    (found,) = checks(of("generate@100+4", WHOLE * 1.02), PREFILL, SHORT, LONG)
    assert found.ok, "1.2% each"


@pytest.mark.parametrize(
    "others",
    [
        (SHORT, LONG),
        (PREFILL,),
        (of("prefill@99", 5000.0), SHORT, LONG),
        (PREFILL, of("decode@30", 1000.0), of("decode@99", 1000.0)),
        (PREFILL, LONG),
        (a_record(a_cell(STUDENT, "x:cpu", "prefill@100"), 5000.0), SHORT, LONG),
        (PREFILL.model_copy(update={"status": "failed"}), SHORT, LONG),
    ],
    ids=["no prefill", "no decode", "other prompt", "shallower", "deeper", "model", "failed"],
)
def test_steps_that_were_not_all_measured_say_nothing(others: tuple[Record, ...]) -> None:
    assert checks(of("generate@100+4", WHOLE), *others) == []


def test_a_single_depth_among_those_passed_stands_for_all() -> None:
    (found,) = checks(of("generate@100+4", 8000.0), PREFILL, of("decode@102", 1000.0))
    assert found.ok


def test_a_query_of_one_token_is_its_prefill() -> None:
    (found,) = checks(of("generate@100+1", 5000.0), PREFILL)
    assert found.ok


def test_looking_again_changes_nothing_and_no_other_record_is_touched() -> None:
    records = [of("generate@100+4", WHOLE), PREFILL, SHORT, LONG]
    once = steps_checked(records)
    assert steps_checked(once) == once
    assert once[1:] == records[1:]
    alone = steps_checked(once[:1])
    assert alone[0].checks == records[0].checks, "what nothing supports any more is gone"
