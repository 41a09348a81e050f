"""Whether a cell computes in the precision that was asked for."""

from __future__ import annotations

from bench.record.result import Check
from bench.variants import HALVES, find_variant


def precision_check(variant: str, found: str, file: str = "") -> Check | None:
    """Whether the model computes as its variant says; None where that can't be known.

    ``found`` is as in `bench.backend.Placement.precision`, and ``file`` what the model's own file
    computes in.
    """
    parts = set(found.split("+")) if found else set()
    if not parts:
        return None
    expected = find_variant(variant).computes_in
    # An int8 part of a model whose variant asks for nothing is the model's own, and so is a half
    # that stands in its file.
    unasked = {row.computes_in for row in HALVES} - set(file.split("+"))
    ok = expected in parts if expected else parts.isdisjoint(unasked)
    words = f"it computes in {' and '.join(sorted(parts))}"
    return Check(
        name="precision", ok=ok, detail=words if ok else f"{variant} was requested, but {words}"
    )
