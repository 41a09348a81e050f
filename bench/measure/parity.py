"""How far outputs are from the reference's, and how far they may be for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.cell import Variant
from bench.measure.reference import Reference
from bench.record.result import Parity


@dataclass(frozen=True)
class Tolerance:
    """Each value within ``absolute + relative * |reference|``; or, where ``cosine`` is given, each
    output's cosine similarity to the reference's at least that. ``source`` says whose limit it is.
    """

    source: str
    absolute: float = 0.0
    relative: float = 0.0
    cosine: float | None = None

    def allows(self, mine: Array, theirs: Array) -> bool:
        """Whether two float64 arrays of one shape agree; NaN and Inf never do, nor do unequal ones
        of the same sign."""
        if not np.isfinite(mine).all():
            return False
        if self.cosine is not None:
            found = cosine(mine, theirs)
            return np.array_equal(mine, theirs) if found is None else found >= self.cosine
        return bool((np.abs(mine - theirs) <= self.absolute + self.relative * np.abs(theirs)).all())


FP32_TOLERANCE = 1e-4
_DIRECTION = Tolerance("cosine >= 0.99 (below it Huawei's ait suspects an operator)", cosine=0.99)
TOLERANCES: dict[Variant, Tolerance] = {
    "fp32": Tolerance(
        "rtol = atol = 1e-4 (ONNX Runtime's transformer tests, fp32)",
        absolute=FP32_TOLERANCE,
        relative=FP32_TOLERANCE,
    ),
    "fp16": Tolerance(
        "rtol = 5e-2, atol = 1e-1 (ONNX Runtime's transformer tests, fp16)",
        absolute=1e-1,
        relative=5e-2,
    ),
    "bf16": _DIRECTION,
    "int8-dynamic": _DIRECTION,
    "int8-static": _DIRECTION,
}


def form_of(variant: Variant, precision: str) -> Variant:
    """The variant whose tolerance holds. A file that others made in int8 is called fp32 for want of
    a better word; one that a runtime computes in half precision unasked gets no such excuse.

    ``precision`` is what it computes in, as in `bench.backend.Placement.precision`.
    """
    return "int8-static" if variant == "fp32" and "int8" in precision.split("+") else variant


def parity(
    outputs: Sequence[Array], reference: Reference, variant: Variant = "fp32"
) -> Parity | None:
    """How far ``outputs`` are from the reference's (all of them together); None where the two
    can't be compared: no reference, other shapes."""
    pairs = _pairs(outputs, reference)
    if pairs is None:
        return None
    tolerance = TOLERANCES[variant]
    mine = np.concatenate([a.ravel() for a, _ in pairs])
    theirs = np.concatenate([b.ravel() for _, b in pairs])
    finite = bool(np.isfinite(mine).all())
    difference = np.abs(mine - theirs) if finite else None
    relative = difference / np.maximum(np.abs(theirs), FP32_TOLERANCE) if finite else None
    flips, samples = _flips(*pairs[0])
    return Parity(
        reference=reference.name,
        max_abs_error=None if difference is None else float(difference.max(initial=0.0)),
        max_rel_error=None if relative is None else float(relative.max(initial=0.0)),
        cosine=cosine(mine, theirs) if finite else None,
        tolerance=tolerance.source,
        ok=all(tolerance.allows(a, b) for a, b in pairs),
        top1_flips=flips if finite else None,
        samples=samples,
    )


def cosine(mine: Array, theirs: Array) -> float | None:
    """Cosine similarity of two float64 arrays as vectors; None where one is all zero."""
    norms = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return float(mine.ravel() @ theirs.ravel()) / norms if norms else None


def _pairs(outputs: Sequence[Array], reference: Reference) -> list[tuple[Array, Array]] | None:
    """Each output beside the reference's, float64, as many samples as the reference has."""
    if reference.outputs is None or len(outputs) != len(reference.outputs):
        return None
    pairs = [
        (
            np.asarray(mine[: len(theirs)] if theirs.ndim else mine, dtype=np.float64),
            np.asarray(theirs, dtype=np.float64),
        )
        for mine, theirs in zip(outputs, reference.outputs, strict=True)
    ]
    return None if any(mine.shape != theirs.shape for mine, theirs in pairs) else pairs


def _flips(mine: Array, theirs: Array) -> tuple[int | None, int | None]:
    """Samples whose largest output is another one, of how many; None where rows aren't scores."""
    if theirs.ndim != 2 or theirs.shape[1] < 2:
        return None, len(theirs) if theirs.ndim else None
    return int((mine.argmax(axis=1) != theirs.argmax(axis=1)).sum()), len(theirs)
