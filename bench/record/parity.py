"""How far outputs are from the reference's, and how far they may be for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.record.result import Parity
from bench.variants import DEFAULT, FP32, Tolerance, find_variant

FP32_TOLERANCE = FP32.tolerance.absolute


@dataclass(frozen=True)
class Reference:
    """What the outputs ought to be: ``outputs`` is None where no reference could be had."""

    name: str
    outputs: tuple[Array, ...] | None
    why_not: str = ""


def allows(tolerance: Tolerance, mine: Array, theirs: Array) -> bool:
    """Whether two float64 arrays of one shape agree; NaN and Inf never do, nor do unequal ones of
    the same sign."""
    if not np.isfinite(mine).all():
        return False
    if tolerance.cosine is not None:
        found = cosine(mine, theirs)
        return np.array_equal(mine, theirs) if found is None else found >= tolerance.cosine
    limit = tolerance.absolute + tolerance.relative * np.abs(theirs)
    return bool((np.abs(mine - theirs) <= limit).all())


def parity(outputs: Sequence[Array], reference: Reference, variant: str = DEFAULT) -> Parity | None:
    """How far ``outputs`` are from the reference's (all of them together); None where the two
    can't be compared: no reference, other shapes."""
    pairs = _pairs(outputs, reference)
    if pairs is None:
        return None
    tolerance = find_variant(variant).tolerance
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
        ok=all(allows(tolerance, a, b) for a, b in pairs),
        top1_flips=flips if finite else None,
        samples=samples,
    )


def cosine(mine: Array, theirs: Array) -> float | None:
    """Cosine similarity of two float64 arrays as vectors; None where one is all zero."""
    norms = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return float(mine.ravel() @ theirs.ravel()) / norms if norms else None


def compared_part(outputs: Sequence[Array], reference: Reference) -> list[Array]:
    """As much of ``outputs`` as is compared: as many samples as the reference has."""
    theirs = reference.outputs or ()
    if len(outputs) != len(theirs):
        return list(outputs)
    return [
        mine[: len(other)] if mine.ndim and other.ndim else mine
        for mine, other in zip(outputs, theirs, strict=True)
    ]


def _pairs(outputs: Sequence[Array], reference: Reference) -> list[tuple[Array, Array]] | None:
    """Each output beside the reference's, float64, as many samples as the reference has."""
    if reference.outputs is None or len(outputs) != len(reference.outputs):
        return None
    mine_of = compared_part(outputs, reference)
    pairs = [
        (np.asarray(mine, dtype=np.float64), np.asarray(theirs, dtype=np.float64))
        for mine, theirs in zip(mine_of, reference.outputs, strict=True)
    ]
    return None if any(mine.shape != theirs.shape for mine, theirs in pairs) else pairs


def _flips(mine: Array, theirs: Array) -> tuple[int | None, int | None]:
    """Samples whose largest output is another one, of how many; None where rows aren't scores."""
    if theirs.ndim != 2 or theirs.shape[1] < 2:
        return None, len(theirs) if theirs.ndim else None
    return int((mine.argmax(axis=1) != theirs.argmax(axis=1)).sum()), len(theirs)
