"""Is the distilled model still the same model? How like its original it answers and errs.

Accuracy alone can't tell: two models of the same accuracy may be right on different examples.
Each measure is taken of the distilled model and of the control, the same small network that was
trained without the original; their paired difference is what distillation itself did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError
from bench.stats.agreement import agreement, error_consistency, same_wrong_answers
from bench.stats.calibration import (
    calibration_interval,
    difference_of_calibrations,
    divergence,
)
from bench.stats.interval import Interval
from bench.stats.of_means import OfMeans, intervals, mean_of
from bench.stats.rank import spearman_difference, spearman_interval

#: What a task stores of n items. Classification: ``label`` and ``predicted``, int64 of shape (n,),
#: and where they are not too large ``logits``, float32 of shape (n, classes). Embedding: ``gold``
#: and ``similarity``, float64 of shape (n,), or ``query`` and ``recall_at_10``.
Columns = Mapping[str, Array]

CONFIDENCE = 0.95
#: At 1 the distributions are those that a user of the model sees.
TEMPERATURE = 1.0

#: Of the columns that a task stores, the one that has to be equal for items to be the same.
_SAME_ITEMS = ("label", "gold", "query")
_RECALL = "recall_at_10"


@dataclass(frozen=True)
class Measure:
    """One way of being alike, of the distilled model and of its control.

    ``effect`` is the distilled model's value minus the control's, on the same examples. A value is
    None where it does not exist, or where the outputs were not stored.
    """

    key: str
    name: str
    better: Literal["high", "low"]  #: which end of the scale is likeness (of ECE: calibration)
    respect: str  #: ends the sentence "more like the original in ..."; empty for no likeness
    value: Interval | None
    control: Interval | None = None
    effect: Interval | None = None

    @property
    def gained(self) -> Literal["more", "less", "unclear", "unknown"]:
        """Whether distillation made the model more like its original in this respect (of ECE:
        whether it is better calibrated)."""
        if self.effect is None:
            return "unknown"
        if self.effect.low <= 0 <= self.effect.high:
            return "unclear"
        return "more" if (self.effect.low > 0) == (self.better == "high") else "less"


@dataclass(frozen=True)
class Fidelity:
    """What was found of one distilled model, over ``examples`` labelled items.

    ``original_calibration`` is the expected calibration error of the original itself.
    """

    examples: int
    temperature: float
    confidence: float
    measures: tuple[Measure, ...]
    original_calibration: Interval | None = None


@dataclass(frozen=True)
class _Kind:
    """What a measure is called, and how it is read."""

    name: str
    better: Literal["high", "low"]
    respect: str


_KINDS = {
    "agreement": _Kind("same class (top-1 agreement)", "high", "what it answers"),
    "error_consistency": _Kind("errs on the same examples (kappa)", "high", "where it errs"),
    "same_wrong": _Kind("same wrong class, where both err", "high", "how it errs"),
    "divergence": _Kind("KL divergence, nats, T = {temperature}", "low", "its distributions"),
    "rank_agreement": _Kind("orders the pairs alike (Spearman's rho)", "high", "how it orders"),
    "similarity_error": _Kind("mean difference of similarity", "low", "its similarities"),
    "recall_agreement": _Kind("same share of the relevant found", "high", "what it finds"),
    "calibration_error": _Kind("calibration error (ECE)", "low", ""),
}

#: By model (``student``, ``control``, ``effect``) and measure.
_Found = dict[tuple[str, str], Interval | None]


def fidelity(
    student: Columns,
    original: Columns,
    control: Columns | None = None,
    temperature: float = TEMPERATURE,
    confidence: float = CONFIDENCE,
) -> Fidelity:
    """Compare stored predictions of the same labelled items, in the same order.

    Raises `SpecError` where they are of other items.
    """
    models = {"student": student} | ({} if control is None else {"control": control})
    _refuse_other_items(original, *models.values())
    found = _intervals(models, original, temperature, confidence)
    if "similarity" in original:
        found |= _rank_agreements(models, original["similarity"], confidence)
    found |= _calibrations(models, confidence)
    return Fidelity(
        examples=len(next(iter(student.values()))),
        temperature=temperature,
        confidence=confidence,
        measures=tuple(
            Measure(
                key,
                kind.name.format(temperature=f"{temperature:g}"),
                kind.better,
                kind.respect,
                *(found.get((who, key)) for who in ("student", "control", "effect")),
            )
            for key, kind in _KINDS.items()
            if ("student", key) in found
        ),
        original_calibration=(
            calibration_interval(original["label"], original["logits"], confidence)
            if "logits" in original
            else None
        ),
    )


def _refuse_other_items(original: Columns, *others: Columns) -> None:
    key = next(name for name in _SAME_ITEMS if name in original)
    if any(key not in o or not np.array_equal(original[key], o[key]) for o in others):
        raise SpecError("the predictions are of other examples, so fidelity is not compared.")


def _intervals(
    models: Mapping[str, Columns], original: Columns, temperature: float, confidence: float
) -> _Found:
    """Of what is a function of means: student, control and their difference, all from the same
    resamples."""
    each = {who: _statistics(model, original, temperature) for who, model in models.items()}
    flat = {(who, key): s for who, found in each.items() for key, s in found.items()}
    for key, control in each.get("control", {}).items():
        if key in each["student"]:
            flat["effect", key] = each["student"][key] - control
    return dict(zip(flat, intervals(list(flat.values()), confidence), strict=True))


def _statistics(model: Columns, original: Columns, temperature: float) -> dict[str, OfMeans]:
    if "similarity" in original:
        return {"similarity_error": mean_of(np.abs(model["similarity"] - original["similarity"]))}
    if "label" not in original:
        return {"recall_agreement": mean_of(model[_RECALL] == original[_RECALL])}
    labels, mine, theirs = model["label"], model["predicted"], original["predicted"]
    found = {
        "agreement": agreement(mine, theirs),
        "error_consistency": error_consistency(mine == labels, theirs == labels),
        "same_wrong": same_wrong_answers(labels, mine, theirs),
    }
    both = "logits" in model and "logits" in original
    if both and model["logits"].shape == original["logits"].shape:
        found["divergence"] = divergence(original["logits"], model["logits"], temperature)
    return found


def _rank_agreements(models: Mapping[str, Columns], theirs: Array, confidence: float) -> _Found:
    """Spearman's rho between a model's similarities and the original's."""
    try:
        found: _Found = {
            (who, "rank_agreement"): spearman_interval(theirs, model["similarity"], confidence)
            for who, model in models.items()
        }
        if "control" in models:
            control, student = (models[who]["similarity"] for who in ("control", "student"))
            effect, _ = spearman_difference(theirs, control, student, confidence)
            found["effect", "rank_agreement"] = effect
    except ValueError:  # all similarities of a model are equal: there is no order
        return {}
    return found


def _calibrations(models: Mapping[str, Columns], confidence: float) -> _Found:
    known = {who: (m["label"], m["logits"]) for who, m in models.items() if "logits" in m}
    found: _Found = {
        (who, "calibration_error"): calibration_interval(*model, confidence)
        for who, model in known.items()
    }
    if {"student", "control"} <= set(known):
        found["effect", "calibration_error"] = difference_of_calibrations(
            known["student"], known["control"], confidence
        )
    return found


@dataclass(frozen=True)
class Titled:
    """A fidelity with the names that it is of."""

    student: str
    original: str
    control: str | None
    target: str
    variant: str
    found: Fidelity
