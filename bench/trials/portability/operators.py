"""From the outcomes of tests to operators: the rows of the matrix."""

from __future__ import annotations

import fnmatch
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bench.discover import nearest
from bench.errors import SpecError
from bench.record.portability import FailureRow, OperatorOutcome, OperatorRow
from bench.trials.portability.cases import Case, since_version
from bench.trials.portability.outcomes import TestResult

Results = Mapping[str, TestResult]

#: From the worst on: which failure an operator is named after.
_WORST_FIRST: tuple[OperatorOutcome, ...] = (
    "crash",
    "timeout",
    "wrong",
    "unsupported",
    "unavailable",
)


def choose_cases(
    cases: Sequence[Case], operators: Sequence[str], opset: int | None
) -> tuple[Case, ...]:
    """The cases of the operators that match one of the patterns (``Conv``, ``Reduce*``; all where
    there is none), and of those alone that ``opset`` defines as tested.

    Raises `SpecError` for a pattern that matches none, with the nearest names.
    """
    names = {case.operator for case in cases}
    for pattern in operators:
        if not any(_matches(name, pattern) for name in names):
            close = nearest(pattern, names)
            hint = f"Did you mean {' or '.join(close)}?" if close else "Names are ONNX's: Conv."
            raise SpecError(f"ONNX tests no operator called {pattern!r}. {hint}")
    chosen = tuple(
        case
        for case in cases
        if (not operators or any(_matches(case.operator, p) for p in operators))
        and (opset is None or since_version(case.operator, case.domain, opset) == case.opset)
    )
    if not chosen:
        raise SpecError(
            "ONNX tests only the newest definition of each operator, none of them from opset "
            f"{opset}. Leave out --opset, or try a model of that opset with -m."
        )
    return chosen


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


def operator_rows(cases: Iterable[Case], results: Results, target: str) -> list[OperatorRow]:
    """A row for each operator and version, by name."""
    groups: dict[tuple[str, str, int], list[Case]] = defaultdict(list)
    for case in cases:
        if not case.random:
            groups[case.operator, case.domain, case.opset].append(case)
    ordered = sorted(groups.items(), key=lambda item: (item[0][1], item[0][0], item[0][2]))
    return [_row(key, group, results, target) for key, group in ordered]


def _row(
    key: tuple[str, str, int], group: Sequence[Case], results: Results, target: str
) -> OperatorRow:
    plain = [results[c.name] for c in group if not c.expanded and c.name in results]
    expanded = [results[c.name] for c in group if c.expanded and c.name in results]
    counts = Counter(str(result.outcome) for result in plain)
    errors = [result.max_abs_error for result in plain if result.max_abs_error is not None]
    bad = worst(plain)
    operator, domain, opset = key
    return OperatorRow(
        operator=operator,
        domain=domain,
        opset=opset,
        target=target,
        outcome=outcome_of_operator(counts),
        tests=len(plain),
        passed=counts["pass"],
        worst_error=max(errors, default=None),
        detail="" if bad is None else f"{bad.test}: {bad.detail}",
        counts=dict(counts),
        not_expressible=sum(bool(c.inexpressible) for c in group if not c.expanded),
        expanded_tests=len(expanded),
        expanded_passed=sum(result.outcome == "pass" for result in expanded),
    )


def outcome_of_operator(counts: Mapping[str, int]) -> OperatorOutcome:
    """One word for the outcomes of an operator's tests."""
    failed = [outcome for outcome in _WORST_FIRST if counts.get(outcome)]
    if not failed:
        return "pass" if counts.get("pass") else "not-expressible"
    if failed[0] in ("crash", "timeout", "wrong") or not counts.get("pass"):
        return failed[0]
    return "partial"


def worst(results: Iterable[TestResult]) -> TestResult | None:
    """The worst failure, the largest error among equals; None where all pass."""
    failed = [result for result in results if result.outcome != "pass"]
    return min(
        failed,
        key=lambda r: (_WORST_FIRST.index(r.outcome), -(r.max_abs_error or 0.0), r.test),
        default=None,
    )


def failure_rows(cases: Iterable[Case], results: Results, target: str) -> list[FailureRow]:
    """A row for each test that did not pass."""
    return [
        FailureRow(
            test=case.name,
            operator=case.operator,
            domain=case.domain,
            opset=case.opset,
            target=target,
            outcome=result.outcome,
            detail=result.detail,
            max_abs_error=result.max_abs_error,
        )
        for case in cases
        if (result := results.get(case.name)) is not None and result.outcome != "pass"
    ]
