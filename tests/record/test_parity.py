"""Parity: outputs are compared with the truth, and what can't be is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.measure.reference import first_samples
from bench.record.parity import FP32_TOLERANCE, Reference, parity
from bench.variants import FP16, FP32, INT8_STATIC, held_to


def reference(*outputs: Any) -> Reference:
    return Reference("torch 1", tuple(np.asarray(o, np.float32) for o in outputs))


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32)))
def test_equal_outputs_agree(values: np.ndarray) -> None:
    found = parity([values], reference(values))
    assert found is not None
    assert found.ok
    assert found.max_abs_error == 0


@given(st.floats(-100, 100), st.floats(0, 1))
def test_agreement_ends_at_the_stated_tolerance(value: float, share: float) -> None:
    allowed = FP32_TOLERANCE * (1 + abs(value))
    inside = parity([np.array([value + share * allowed * 0.99])], as_is(value))
    beyond = parity([np.array([value + allowed * (1.01 + share)])], as_is(value))
    assert inside is not None
    assert inside.ok
    assert beyond is not None
    assert not beyond.ok


def as_is(value: float) -> Reference:
    return Reference("torch 1", (np.array([value]),))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_never_agree(bad: float) -> None:
    found = parity([np.array([1.0, bad])], reference([1.0, 2.0]))
    assert found is not None
    assert not found.ok
    assert found.max_abs_error is None
    assert found.model_dump_json()


def test_a_file_that_holds_int8_is_allowed_what_int8_is() -> None:
    assert held_to("fp32", "fp32+int8") is INT8_STATIC
    assert held_to("fp32", "fp32") is held_to("fp32", "") is FP32
    assert held_to("fp32", "bf16") is FP32, "half precision that nobody asked for is no excuse"
    assert held_to("fp16", "fp16+int8") is FP16


def test_what_cannot_be_compared_is_not_compared() -> None:
    assert parity([np.ones((2, 3))], reference(np.ones((2, 4)))) is None
    assert parity([np.ones(2)], reference(np.ones(2), np.ones(2))) is None
    assert parity([np.ones(2)], Reference("torch", None, "not installed")) is None


def test_a_reference_of_fewer_samples_is_compared_with_the_first() -> None:
    outputs = np.arange(32, dtype=np.float32).reshape(8, 4)
    found = parity([outputs], reference(outputs[:4]))
    assert found is not None
    assert found.ok


def test_large_batches_give_the_reference_a_few_samples() -> None:
    feeds = {"x": np.arange(64).reshape(32, 2)}
    assert first_samples(feeds, 32)["x"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert first_samples(feeds, 2) is feeds
    mixed = {"x": np.ones((32, 2)), "scale": np.ones(3)}
    assert first_samples(mixed, 32) is mixed
