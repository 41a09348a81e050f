"""Parity: outputs are compared with the truth, and what can't be is said."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.record.parity import FP32_TOLERANCE, Reference, parity
from bench.variants import BF16, FP16, FP32, INT8_STATIC, held_to


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
    size = abs(value) or 1.0
    allowed = FP32_TOLERANCE * (max(size, 0.01) + abs(value))
    inside = parity([np.array([value + share * allowed * 0.99])], as_is(value))
    beyond = parity([np.array([value + allowed * (1.01 + share)])], as_is(value))
    assert inside is not None
    assert inside.ok
    assert beyond is not None
    assert not beyond.ok


def as_is(value: float) -> Reference:
    return Reference("torch 1", (np.array([value]),))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_or_infinity_never_agrees_with_a_number(bad: float) -> None:
    for mine, theirs in (([1.0, bad], [1.0, 2.0]), ([1.0, 2.0], [1.0, bad])):
        found = parity([np.array(mine)], reference(theirs))
        assert found is not None
        assert not found.ok
        assert found.max_abs_error is None
        assert found.model_dump_json()


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8-static"])
def test_infinity_agrees_with_the_same_infinity_alone(variant: str) -> None:
    masked = np.array([[0.5, -0.25, -np.inf]])
    found = parity([masked], reference(masked), variant)
    assert found is not None
    assert found.ok
    assert found.max_abs_error == 0
    assert found.top1_flips == 0
    other = parity([np.abs(masked)], reference(masked), variant)
    assert other is not None
    assert not other.ok
    moved = parity([masked[:, ::-1]], reference(masked), variant)
    assert moved is not None
    assert not moved.ok


def test_what_a_file_computes_in_decides_what_it_is_allowed() -> None:
    assert held_to("fp32", "fp32+int8") is INT8_STATIC
    assert held_to("fp32", "fp16+int8") is INT8_STATIC
    assert held_to("fp32", "fp16") is FP16
    assert held_to("fp32", "bf16") is BF16
    assert held_to("fp32", "fp32") is held_to("fp32", "") is FP32
    assert held_to("fp16", "fp16+int8") is FP16, "what was asked for by name counts"


@given(st.floats(-3, 3), st.integers(0, 2**32 - 1))
def test_what_is_allowed_grows_with_the_outputs(decades: float, seed: int) -> None:
    """A plain product of float32 is right at every size, and one off by a hundredth at none."""
    rng = np.random.default_rng(seed)
    left, right = rng.standard_normal((2, 4, 64)).astype(np.float32)
    size = np.float32(10.0**decades)
    exact = (left.astype(np.float64) @ right.T.astype(np.float64)) * float(size)
    product = parity([(left * size) @ right.T], Reference("exact", (exact,)))
    off = parity([exact + 0.01 * np.abs(exact).max()], Reference("exact", (exact,)))
    assert product is not None
    assert product.ok
    assert off is not None
    assert not off.ok


def test_one_large_value_or_many_zeros_do_not_hide_errors_of_the_others() -> None:
    for theirs in (np.r_[1e6, np.full(99, 0.5)], np.r_[np.zeros(80), np.full(20, 1000.0)]):
        wrong = theirs.copy()
        wrong[-1] += 0.01 * np.median(theirs[theirs != 0])
        right = theirs * (1 + 5e-5)
        found = parity([wrong], Reference("r", (theirs,)))
        assert found is not None
        assert not found.ok
        same = parity([right], Reference("r", (theirs,)))
        assert same is not None
        assert same.ok


def test_neighbours_in_the_outputs_own_type_are_both_right() -> None:
    halves = np.array([1.0, 100.0], np.float16)
    neighbours = np.nextafter(halves, np.float16(1000))
    found = parity([neighbours], Reference("r", (halves,)))
    assert found is not None
    assert found.ok
    wide = halves.astype(np.float32)
    told = parity([neighbours.astype(np.float32)], Reference("r", (wide,)))
    assert told is not None
    assert not told.ok


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_bytes_that_stand_for_narrow_floats_are_compared_as_numbers(name: str) -> None:
    narrow = np.array([0.5, -2.0, 16.0]).astype(getattr(ml_dtypes, name))
    raw = narrow.view(f"u{narrow.dtype.itemsize}")
    for mine, theirs in ((raw, narrow), (narrow, raw)):
        found = parity([mine], Reference("r", (theirs,)))
        assert found is not None
        assert found.ok
        assert found.max_abs_error == 0
    wrong = parity([raw[::-1].copy()], Reference("r", (narrow,)))
    assert wrong is not None
    assert not wrong.ok


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (8, 1)])
def test_a_single_number_has_no_direction(shape: tuple[int, ...]) -> None:
    theirs = np.full(shape, 2.0)
    twice = parity([2 * theirs], Reference("r", (theirs,)), "int8-static")
    assert twice is not None
    assert not twice.ok, "its cosine would be 1"
    assert twice.cosine is None
    near = parity([1.05 * theirs], Reference("r", (theirs,)), "int8-static")
    assert near is not None
    assert near.ok
    small = parity([theirs * 0 + 0.005], Reference("r", (0 * theirs,)), "int8-static")
    assert small is not None
    assert small.ok, "a step of an int8 range near 0"


def test_a_reference_that_independent_runtimes_contradict_is_in_doubt() -> None:
    mine, wrong = np.ones((2, 3)), reference(np.zeros((2, 3)))
    agrees = Reference("openvino 2026", (mine * (1 + 1e-6),))
    supports = Reference("tract 0.2", wrong.outputs)
    neither = Reference("iree 3", (5 * mine,))
    absent = Reference("mnn", None, "not installed")

    def doubted(*witnesses: Reference) -> tuple[str, ...]:
        found = parity([mine], wrong, "fp32", witnesses)
        assert found is not None
        assert not found.ok
        return found.doubted_by

    assert doubted(agrees, neither, absent) == ("openvino 2026",)
    assert doubted(agrees, supports) == ()
    assert doubted(neither) == doubted(absent) == doubted() == ()
    right = parity([mine], reference(mine), "fp32", [supports])
    assert right is not None
    assert right.ok
    assert right.doubted_by == ()


def test_what_cannot_be_compared_is_not_compared() -> None:
    assert parity([np.ones((2, 3))], reference(np.ones((2, 4)))) is None
    assert parity([np.ones(2)], reference(np.ones(2), np.ones(2))) is None
    assert parity([np.ones(2)], Reference("torch", None, "not installed")) is None


def test_all_samples_are_compared_or_none() -> None:
    outputs = np.arange(32, dtype=np.float32).reshape(8, 4)
    assert parity([outputs], reference(outputs[:4])) is None
    wrong = outputs.copy()
    wrong[-1] += 1
    found = parity([wrong], reference(outputs))
    assert found is not None
    assert not found.ok
    assert found.samples == 8
