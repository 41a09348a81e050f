"""Operators by targets: the one arrangement that the terminal, Markdown and HTML draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from bench.present.page.portability import OUTCOMES
from bench.record.portability import ModelOutcome, OperatorOutcome, OperatorRow, PortabilityReport

#: What each outcome of an operator means, said of its tests.
_MEANING: dict[OperatorOutcome, str] = {
    "pass": "all tests pass",
    "partial": "some tests pass, none is wrong",
    "wrong": "a test gives a wrong result",
    "unsupported": "unsupported",
    "crash": "a test crashed its worker",
    "timeout": "a test did not end in time",
    "not-expressible": "only tests of types that can't be passed to a worker",
    "unavailable": "the target was not available",
}
#: The page's character for each outcome of an operator, and what it means here.
MARKS = {outcome: (OUTCOMES[outcome][0], words) for outcome, words in _MEANING.items()}
MODEL_MARKS: dict[ModelOutcome, str] = {
    outcome: OUTCOMES[outcome][0] for outcome in get_args(ModelOutcome)
}


@dataclass(frozen=True)
class MatrixRow:
    """An operator, and its row for each target that was tested."""

    operator: str
    domain: str
    opset: int
    cells: Mapping[str, OperatorRow]

    @property
    def label(self) -> str:
        """``Conv-22``, ``ai.onnx.ml.TreeEnsemble-5``: the name, and since which version."""
        prefix = f"{self.domain}." if self.domain else ""
        return f"{prefix}{self.operator}-{self.opset}"

    @property
    def good(self) -> bool:
        """Whether every target passes all that could be asked."""
        return all(cell.outcome in ("pass", "not-expressible") for cell in self.cells.values())


@dataclass(frozen=True)
class Matrix:
    """``targets`` are those that tests were run on, in the order asked for."""

    targets: tuple[str, ...]
    rows: tuple[MatrixRow, ...]


def matrix_of(report: PortabilityReport) -> Matrix:
    """The operators of a report, ONNX's own domain first, then by name."""
    cells: dict[tuple[str, str, int], dict[str, OperatorRow]] = {}
    for row in report.operators:
        cells.setdefault((row.domain, row.operator, row.opset), {})[row.target] = row
    rows = [MatrixRow(op, domain, opset, found) for (domain, op, opset), found in cells.items()]
    rows.sort(key=lambda row: (row.domain, row.operator, row.opset))
    tested = {row.target for row in report.operators}
    return Matrix(tuple(t.target for t in report.targets if t.target in tested), tuple(rows))


def cell_words(cell: OperatorRow | None) -> str:
    """``✓ 12``, ``~ 10/12``, ``·``."""
    if cell is None:
        return ""
    mark = MARKS[cell.worst][0]
    if not cell.tests:
        return mark
    return (
        f"{mark} {cell.tests}" if cell.outcome == "pass" else f"{mark} {cell.passed}/{cell.tests}"
    )


def suite_words(report: PortabilityReport) -> str:
    """Which tests these are, and what was left out, in a sentence or two."""
    suite = report.suite
    if suite is None:
        return ""
    chosen = f", {suite.chosen_by}" if suite.chosen_by else ""
    text = f"ONNX {suite.onnx_version}'s node tests{chosen}: {suite.tests} on each target"
    if suite.expanded:
        text += f", {suite.expanded} of these with the operator expressed through others"
    text += "."
    left = []
    if suite.not_expressible:
        left.append(f"{suite.not_expressible} of types that can't be passed to a worker")
    if suite.random:
        left.append(f"{suite.random} with random numbers")
    return f"{text} Left out: {', '.join(left)}." if left else text


def body_words(cell: OperatorRow) -> str:
    """What the operator's definition by a function of others adds, where it says something new."""
    if cell.outcome == "pass" or not cell.expanded_tests:
        return ""
    return f"expressed through other operators {cell.expanded_passed}/{cell.expanded_tests}"
