"""What can come of one test on one target, and how that is decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bench.arrays import Array
from bench.cell import Frozen
from bench.errors import BenchError, OutOfMemory, Unavailable, WorkerCrashed, WorkerTimeout
from bench.numbers import printable, significant

TestOutcome = Literal["pass", "wrong", "unsupported", "crash", "timeout", "unavailable"]

_DETAIL_LIMIT = 300


class TestResult(Frozen):
    """One test on one target. ``max_abs_error`` is that of a wrong result, null where an output has
    another type or shape, or NaN where the test expects none; ``seconds`` is what the test took."""

    __test__ = False  # for pytest

    test: str
    outcome: TestOutcome
    detail: str = ""
    max_abs_error: float | None = None
    seconds: float = 0.0


def outcome_of_outputs(
    outputs: Sequence[Array], expected: Sequence[Array], rtol: float, atol: float
) -> tuple[TestOutcome, str, float | None]:
    """Outcome, detail and largest error of outputs against what the test expects.

    The rule is that of ONNX's runner (`onnx.backend.test.runner.Runner.assert_similar_outputs`):
    as many outputs, equal shapes and types, and ``|output - expected| <= atol + rtol * |expected|``
    with NaN and infinities in the same places.
    """
    if len(outputs) != len(expected):
        return "wrong", f"{len(outputs)} outputs in place of {len(expected)}", None
    worst = 0.0
    problem = ""
    for place, (mine, right) in enumerate(zip(outputs, expected, strict=True)):
        if mine.shape != right.shape:
            return "wrong", f"output {place} has the shape {mine.shape}, not {right.shape}", None
        if mine.dtype != right.dtype:
            return "wrong", f"output {place} is {mine.dtype}, not {right.dtype}", None
        if np.allclose(mine, right, rtol=rtol, atol=atol, equal_nan=True):
            continue
        error = _largest_error(mine, right)
        if error is None:
            return "wrong", f"output {place} has NaN or Inf in other places than expected", None
        if error >= worst:
            worst = error
            problem = f"output {place} is off by up to {significant(error)}"
    return ("wrong", problem, worst) if problem else ("pass", "", None)


def _largest_error(mine: Array, right: Array) -> float | None:
    """The largest absolute difference; None where not the same values are NaN or infinite."""
    if mine.dtype.kind == "b":
        return 1.0
    a, b = mine.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(np.isfinite(a), finite):
        return None
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return None
    return float(np.abs(a[finite] - b[finite]).max(initial=0.0))


def outcome_of(
    error: BenchError, *, alive: bool, file: Path | None = None
) -> tuple[TestOutcome, str]:
    """What an error means, and the words for it, where ``file`` has its name without its folder.

    ``alive`` tells whether the worker lives on: a runtime that refuses or raises in good order says
    that it can't do this, which is unsupported; one that dies has crashed.
    """
    words = str(error) if file is None else str(error).replace(str(file), file.name)
    detail = printable(words, limit=_DETAIL_LIMIT)
    if isinstance(error, WorkerTimeout):
        return "timeout", detail
    if isinstance(error, Unavailable):
        return "unavailable", detail
    if isinstance(error, OutOfMemory) or not alive:
        return "crash", detail
    if isinstance(error, WorkerCrashed):
        return "unsupported", f"it raised an error: {detail}"
    return "unsupported", detail
