"""Whether a model computes as its variant says."""

from __future__ import annotations

import pytest

from bench.record.precision import precision_check

RIGHT = [
    ("fp32", "fp32"),
    ("fp32", "fp32+int8"),  # an int8 part is the model's own
    ("fp32", "int8"),
    ("fp16", "fp16"),
    ("fp16", "fp16+fp32"),
    ("bf16", "bf16+fp32"),
    ("int8-dynamic", "fp32+int8"),
    ("int8-static", "int8"),
]
WRONG = [
    ("fp32", "fp16"),
    ("fp32", "bf16+fp32"),
    ("fp16", "fp32"),
    ("fp16", "bf16"),
    ("bf16", "fp16"),
    ("int8-dynamic", "fp32"),
    ("int8-static", "fp16+fp32"),
]


@pytest.mark.parametrize(("variant", "found"), RIGHT)
def test_a_variant_that_is_computed_at_least_in_part_passes(variant: str, found: str) -> None:
    check = precision_check(variant, found)
    assert check is not None
    assert (check.name, check.ok) == ("precision", True)
    assert check.detail == f"it computes in {' and '.join(sorted(found.split('+')))}"


@pytest.mark.parametrize(("variant", "found"), WRONG)
def test_a_variant_that_was_turned_into_another_fails_and_says_what_it_is(
    variant: str, found: str
) -> None:
    check = precision_check(variant, found)
    assert check is not None
    assert (check.name, check.ok) == ("precision", False)
    words = " and ".join(sorted(found.split("+")))
    assert check.detail == f"{variant} was requested, but it computes in {words}"


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8-static"])
def test_what_a_runtime_does_not_tell_is_not_judged(variant: str) -> None:
    assert precision_check(variant, "") is None
