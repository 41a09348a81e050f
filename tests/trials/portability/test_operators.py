"""From tests to operators."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import SpecError
from bench.trials.portability.cases import Case, NodeTests
from bench.trials.portability.operators import (
    choose_cases,
    failure_rows,
    operator_rows,
    outcome_of_operator,
)
from bench.trials.portability.outcomes import TestResult


def case(name: str, operator: str = "Conv", **facts: object) -> Case:
    plain = {"domain": "", "opset": 11, "rtol": 1e-3, "atol": 1e-7}
    return Case(name, operator, inputs=("x",), types=("FLOAT",), **(plain | facts))  # type: ignore[arg-type]


def results(**outcomes: str) -> dict[str, TestResult]:
    return {
        name: TestResult(test=name, outcome=outcome, detail=f"why {name}")  # type: ignore[arg-type]
        for name, outcome in outcomes.items()
    }


counts = st.dictionaries(
    st.sampled_from(["pass", "wrong", "unsupported", "crash", "timeout"]), st.integers(1, 9)
)


@given(counts)
def test_an_operator_passes_only_where_every_test_does(counted: dict[str, int]) -> None:
    outcome = outcome_of_operator(counted)
    assert (outcome == "pass") == (set(counted) == {"pass"})
    assert (outcome == "not-expressible") == (not counted)


@given(counts)
def test_a_crash_is_never_hidden_by_tests_that_pass(counted: dict[str, int]) -> None:
    assert (outcome_of_operator(counted) == "crash") == ("crash" in counted)


@given(counts)
def test_a_wrong_result_is_never_hidden_by_tests_that_pass(counted: dict[str, int]) -> None:
    worse = {"crash", "timeout"} & set(counted)
    assert (outcome_of_operator(counted) == "wrong") == ("wrong" in counted and not worse)


def test_some_that_pass_and_some_that_are_refused_are_partial() -> None:
    (row,) = operator_rows([case("a"), case("b")], results(a="pass", b="unsupported"), "x:cpu")
    assert (row.outcome, row.tests, row.passed) == ("partial", 2, 1)


def test_the_worst_of_an_operator_is_told_with_its_error() -> None:
    cases = [case("a"), case("b"), case("c"), case("body", expanded=True)]
    found = results(a="pass", b="unsupported", body="pass")
    found["c"] = TestResult(test="c", outcome="wrong", detail="off", max_abs_error=2.0)
    (row,) = operator_rows(cases, found, "x:cpu")
    assert (row.outcome, row.tests, row.passed, row.worst_error) == ("wrong", 3, 1, 2.0)
    assert row.detail == "c: off"
    assert (row.expanded_tests, row.expanded_passed) == (1, 1)


def test_what_a_worker_cannot_be_given_is_counted_apart_and_never_failed() -> None:
    cases = [case("a"), case("b", inexpressible="INT4")]
    (row,) = operator_rows(cases, results(a="pass"), "x:cpu")
    assert (row.outcome, row.tests, row.not_expressible) == ("pass", 1, 1)
    (alone,) = operator_rows(cases[1:], {}, "x:cpu")
    assert alone.outcome == "not-expressible"


def test_each_version_of_an_operator_has_a_row_of_its_own() -> None:
    cases = [case("new", opset=22), case("old", opset=11)]
    rows = operator_rows(cases, results(new="unsupported", old="pass"), "x:cpu")
    assert [(row.opset, row.outcome) for row in rows] == [(11, "pass"), (22, "unsupported")]


def test_every_failure_has_a_row_with_its_reason() -> None:
    rows = failure_rows([case("a"), case("b"), case("c")], results(a="pass", b="crash"), "x:cpu")
    assert [(row.test, row.outcome, row.detail) for row in rows] == [("b", "crash", "why b")]


def test_operators_are_chosen_by_pattern_and_by_opset(onnx_tests: NodeTests) -> None:
    chosen = choose_cases(onnx_tests.cases, ["reduce*", "Conv"], None)
    names = {case.operator for case in chosen}
    assert "Conv" in names
    assert "ConvTranspose" not in names
    assert "ReduceMean" in names
    old = choose_cases(onnx_tests.cases, [], 13)
    assert {case.opset for case in old if not case.domain} <= set(range(1, 14))
    assert "Abs" in {case.operator for case in old}


def test_an_unknown_operator_is_refused_with_the_nearest(onnx_tests: NodeTests) -> None:
    with pytest.raises(SpecError, match=r"'Convv'. Did you mean .*Conv"):
        choose_cases(onnx_tests.cases, ["Convv"], None)


def test_an_opset_that_none_is_tested_at_is_refused(onnx_tests: NodeTests) -> None:
    with pytest.raises(SpecError, match="none of them from opset 7"):
        choose_cases(onnx_tests.cases, ["Conv"], 7)
