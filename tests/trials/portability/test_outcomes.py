"""When an output is right, and what an error means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.errors import (
    BenchError,
    OutOfMemory,
    SpecError,
    Unavailable,
    Unsupported,
    WorkerCrashed,
    WorkerTimeout,
)
from bench.trials.portability.outcomes import outcome_of, outcome_of_outputs

RTOL, ATOL = 1e-3, 1e-7

arrays = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=3, max_side=3), elements=st.floats(width=32)
)


@given(arrays, st.sampled_from([0.0, 1e-5, 9e-4, 1.1e-3, 0.5]))
def test_a_result_is_right_exactly_where_onnx_would_say_so(right: np.ndarray, off: float) -> None:
    with np.errstate(all="ignore"):
        mine = (right * np.float32(1 + off)).astype(np.float32)
    try:
        np.testing.assert_allclose(mine, right, rtol=RTOL, atol=ATOL)
        expected = "pass"
    except AssertionError:
        expected = "wrong"
    assert outcome_of_outputs([mine], [right], RTOL, ATOL)[0] == expected


def test_the_largest_error_of_all_outputs_is_told() -> None:
    zero = np.zeros(2)
    outcome, detail, error = outcome_of_outputs(
        [zero + 0.25, zero + 3, zero], [zero, zero, zero], RTOL, ATOL
    )
    assert (outcome, error) == ("wrong", 3.0)
    assert "output 1 is off by up to 3" in detail


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        ([np.zeros(3, np.float32)], "the shape (3,)"),
        ([np.zeros(2, np.float64)], "is float64, not float32"),
        ([np.array([0, np.nan], np.float32)], "NaN or Inf in other places"),
        ([], "0 outputs in place of 1"),
    ],
)
def test_another_shape_type_count_or_nan_is_wrong_without_an_error_size(
    mine: list[np.ndarray], words: str
) -> None:
    outcome, detail, error = outcome_of_outputs(mine, [np.zeros(2, np.float32)], RTOL, ATOL)
    assert (outcome, error) == ("wrong", None)
    assert words in detail


def test_nan_and_infinity_where_they_are_expected_are_right() -> None:
    right = np.array([np.nan, np.inf, 1.0])
    assert outcome_of_outputs([right.copy()], [right], RTOL, ATOL)[0] == "pass"
    outcome, _, error = outcome_of_outputs([np.array([np.nan, np.inf, 2.0])], [right], RTOL, ATOL)
    assert (outcome, error) == ("wrong", 1.0)


@pytest.mark.parametrize(
    ("error", "alive", "outcome"),
    [
        (Unsupported("no kernel"), True, "unsupported"),
        (SpecError("can't load it"), True, "unsupported"),
        (WorkerCrashed("RuntimeError: no"), True, "unsupported"),
        (WorkerCrashed("died of SIGSEGV"), False, "crash"),
        (OutOfMemory("no memory"), True, "crash"),
        (WorkerTimeout("did not end"), False, "timeout"),
        (Unavailable("gone"), True, "unavailable"),
    ],
)
def test_a_runtime_that_refuses_in_good_order_has_not_crashed(
    error: BenchError, alive: bool, outcome: str
) -> None:
    assert outcome_of(error, alive=alive)[0] == outcome


def test_a_detail_names_a_file_without_its_folder() -> None:
    error = SpecError("/home/me/.cache/x.onnx: it can't be read: Load from /home/me/.cache/x.onnx.")
    detail = outcome_of(error, alive=True, file=Path("/home/me/.cache/x.onnx"))[1]
    assert detail == "x.onnx: it can't be read: Load from x.onnx."
