"""How far outputs are from the reference's, and how far they may be for each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.record.result import Parity
from bench.tolerance import as_numbers, disagreements
from bench.variants import DEFAULT, FP32, Tolerance, find_variant

FP32_TOLERANCE = FP32.tolerance.absolute
#: Single numbers smaller than this are not held to a share of themselves: a step of an int8 range
#: from -1 to 1 is 2/255.
_LEAST_NORM = 0.05


@dataclass(frozen=True)
class Reference:
    """What the outputs ought to be: ``outputs`` is None where no reference could be had."""

    name: str
    outputs: tuple[Array, ...] | None
    why_not: str = ""


def allows(tolerance: Tolerance, mine: Array, theirs: Array) -> bool:
    """Whether two arrays of one shape agree.

    A direction (`Tolerance.cosine`) is one of several numbers that belong together: outputs of one
    number a sample are held to a difference instead.
    """
    if tolerance.cosine is None:
        return not bool(disagreements(tolerance, mine, theirs).any())
    a, b = as_numbers(mine, theirs), as_numbers(theirs, mine)
    finite = np.isfinite(a) & np.isfinite(b)
    if disagreements(tolerance, mine[~finite], theirs[~finite]).any():
        return False
    a, b = a[finite], b[finite]
    if one_number_a_sample(theirs):
        # As far apart as vectors of one length at that angle.
        off = float(np.sqrt(2 * (1 - tolerance.cosine)))
        size = max(float(np.linalg.norm(b)), _LEAST_NORM * np.sqrt(len(b)))
        return bool(np.linalg.norm(a - b) <= off * size)
    found = cosine(a, b)
    return bool(np.array_equal(a, b) if found is None else found >= tolerance.cosine)


def one_number_a_sample(output: Array) -> bool:
    """Whether a sample's output is a single number, whose cosine is 1 whatever it is."""
    return output.ndim == 0 or output.size in (0, 1, len(output))


def parity(
    outputs: Sequence[Array],
    reference: Reference,
    variant: str = DEFAULT,
    witnesses: Sequence[Reference] = (),
) -> Parity | None:
    """How far ``outputs`` are from the reference's (all of them together); None where the two
    can't be compared: no reference, other shapes.

    ``witnesses`` are what independent runtimes make of the same model and inputs. Where some of
    them agree with ``outputs``, and none with the reference, it is the reference that is in doubt.
    """
    pairs = _pairs(outputs, reference)
    if pairs is None:
        return None
    tolerance = find_variant(variant).tolerance
    mine = np.concatenate([as_numbers(a, b).ravel() for a, b in pairs])
    theirs = np.concatenate([as_numbers(b, a).ravel() for a, b in pairs])
    difference = _differences(mine, theirs)
    comparable = bool(np.isfinite(difference).all())
    relative = difference / np.maximum(np.abs(theirs), FP32_TOLERANCE) if comparable else None
    finite = np.isfinite(mine) & np.isfinite(theirs)
    flips, samples = _flips(*pairs[0])
    several = not all(one_number_a_sample(b) for _, b in pairs)
    ok = all(allows(tolerance, a, b) for a, b in pairs)
    return Parity(
        reference=reference.name,
        max_abs_error=float(difference.max(initial=0.0)) if comparable else None,
        max_rel_error=None if relative is None else float(np.nanmax(relative, initial=0.0)),
        cosine=cosine(mine[finite], theirs[finite]) if comparable and several else None,
        tolerance=tolerance.source,
        ok=ok,
        top1_flips=flips if comparable else None,
        samples=samples,
        doubted_by=() if ok else _doubted_by(outputs, reference, variant, witnesses),
    )


def largest_difference(mine: Array, theirs: Array) -> float | None:
    """Of two arrays of one shape; None where NaN or Inf is in one of the two alone."""
    found = _differences(as_numbers(mine, theirs), as_numbers(theirs, mine))
    return float(found.max(initial=0.0)) if np.isfinite(found).all() else None


def _differences(mine: Array, theirs: Array) -> Array:
    """Of float64 arrays, value by value; what is the same, infinities and NaN too, differs by 0."""
    with np.errstate(invalid="ignore"):
        same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
        found: Array = np.where(same, 0.0, np.abs(mine - theirs))
    return found


def _doubted_by(
    outputs: Sequence[Array], reference: Reference, variant: str, witnesses: Sequence[Reference]
) -> tuple[str, ...]:
    """Who agrees with ``outputs`` and not with the reference; nobody where anyone supports it."""
    mine: list[str] = []
    theirs: list[str] = []
    for witness in witnesses:
        against = parity(reference.outputs or (), witness, variant)
        found = parity(outputs, witness, variant)
        if against is not None and against.ok:
            theirs.append(witness.name)
        elif found is not None and found.ok:
            mine.append(witness.name)
    return () if theirs else tuple(mine)


def cosine(mine: Array, theirs: Array) -> float | None:
    """Cosine similarity of two float64 arrays as vectors; None where one is all zero."""
    norms = float(np.linalg.norm(mine) * np.linalg.norm(theirs))
    return float(mine.ravel() @ theirs.ravel()) / norms if norms else None


def _pairs(outputs: Sequence[Array], reference: Reference) -> list[tuple[Array, Array]] | None:
    """Each output beside the reference's; None where they aren't of the same shapes."""
    if reference.outputs is None or len(outputs) != len(reference.outputs):
        return None
    pairs = list(zip(map(np.asarray, outputs), map(np.asarray, reference.outputs), strict=True))
    return None if any(mine.shape != theirs.shape for mine, theirs in pairs) else pairs


def _flips(mine: Array, theirs: Array) -> tuple[int | None, int | None]:
    """Samples whose largest output is another one, of how many; None where rows aren't scores."""
    if theirs.ndim != 2 or theirs.shape[1] < 2:
        return None, len(theirs) if theirs.ndim else None
    best, right = (as_numbers(*both).argmax(axis=1) for both in ((mine, theirs), (theirs, mine)))
    return int((best != right).sum()), len(theirs)
