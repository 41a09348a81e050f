"""Whether a cell computes in the precision that was asked for."""

from __future__ import annotations

from bench.record.result import Check

#: What a variant's compiled model has to compute in, at least in part.
_EXPECTED = {"fp16": "fp16", "bf16": "bf16", "int8-dynamic": "int8", "int8-static": "int8"}
#: What an fp32 model must not be turned into in silence. An int8 part is the model's own.
_LOWER = {"fp16", "bf16"}


def precision_check(variant: str, found: str) -> Check | None:
    """Whether the model computes as its variant says; None where that can't be known.

    ``found`` is as in `bench.backend.Placement.precision`.
    """
    parts = set(found.split("+")) if found else set()
    if not parts:
        return None
    expected = _EXPECTED.get(variant)
    ok = expected in parts if expected else not parts & _LOWER
    words = f"it computes in {' and '.join(sorted(parts))}"
    return Check(
        name="precision", ok=ok, detail=words if ok else f"{variant} was asked for, {words}"
    )
