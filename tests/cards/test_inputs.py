"""Inputs: real or random, never all zero, always the same for the same seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bench.cards.inputs import (
    draw_samples,
    input_digest,
    random_inputs,
)

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool"]


@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(1, 5), min_size=0, max_size=4),
    st.integers(0, 10**6),
)
def test_random_inputs_have_their_type_and_shape_and_are_not_zero(
    dtype: str, shape: list[int], seed: int
) -> None:
    made = random_inputs({"x": tuple(shape)}, {"x": dtype}, {}, seed)["x"]
    assert made.dtype == dtype
    assert made.shape == tuple(shape)
    assert np.any(made != 0)
    again = random_inputs({"x": tuple(shape)}, {"x": dtype}, {}, seed)["x"]
    np.testing.assert_array_equal(made, again)


@given(st.integers(1, 1000), st.integers(0, 100))
def test_indices_stay_within_their_table(rows: int, seed: int) -> None:
    made = random_inputs({"ids": (8, 16)}, {"ids": "int64"}, {"ids": rows}, seed)["ids"]
    assert made.min() >= 0
    assert made.max() < rows


@given(st.integers(1, 20), st.integers(1, 40), st.integers(0, 99))
def test_samples_are_drawn_without_repeats_while_they_last(
    total: int, batch: int, seed: int
) -> None:
    data = {"x": np.arange(total), "y": np.arange(total) * 2}
    drawn = draw_samples(data, batch, seed)
    assert len(drawn["x"]) == batch
    np.testing.assert_array_equal(drawn["x"] * 2, drawn["y"])
    if batch <= total:
        assert len(set(drawn["x"].tolist())) == batch


def test_the_fingerprint_sees_values_types_and_names() -> None:
    x = np.ones((2, 3), np.float32)
    others = [{"x": x * 2}, {"y": x}, {"x": x.astype(np.float64)}, {"x": x.reshape(3, 2)}]
    assert input_digest({"x": x}) == input_digest({"x": x.copy()})
    for other in others:
        assert input_digest(other) != input_digest({"x": x})
