"""Is the distilled model still the same model? How like its original it answers and errs.

Accuracy alone can't tell: two models of the same accuracy may be right on different examples.
Each measure is taken of the distilled model and of the control, the same small network that was
trained without the original; their paired difference is what distillation itself did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.errors import SpecError
from bench.stats.agreement import agreement, error_consistency, same_wrong_answers
from bench.stats.calibration import calibration_error, divergence
from bench.stats.interval import Interval
from bench.stats.of_means import OfMeans, intervals

Array = np.ndarray[Any, Any]
#: What a classification task stores: ``label`` and ``predicted``, int64 of shape (n,), and where
#: they are not too large ``logits``, float32 of shape (n, classes).
Columns = Mapping[str, Array]

CONFIDENCE = 0.95
#: At 1 the distributions are those that a user of the model sees.
TEMPERATURE = 1.0


@dataclass(frozen=True)
class Measure:
    """One way of being alike, of the distilled model and of its control.

    ``effect`` is the distilled model's value minus the control's, on the same examples. A value is
    None where it does not exist, or where the outputs were not stored.
    """

    key: str
    name: str
    better: Literal["high", "low"]  #: which end of the scale is likeness (of ECE: calibration)
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
    """What was found of one distilled model, over ``examples`` labelled examples.

    ``original_calibration`` is the expected calibration error of the original itself.
    """

    examples: int
    temperature: float
    confidence: float
    measures: tuple[Measure, ...]
    original_calibration: Interval | None = None


def fidelity(
    student: Columns,
    original: Columns,
    control: Columns | None = None,
    temperature: float = TEMPERATURE,
    confidence: float = CONFIDENCE,
) -> Fidelity:
    """Compare stored predictions of the same labelled examples, in the same order.

    Raises `SpecError` where they are of other examples.
    """
    _refuse_other_examples(student, original, *([control] if control is not None else []))
    statistics = {"student": _statistics(student, original, temperature)}
    if control is not None:
        statistics["control"] = _statistics(control, original, temperature)
    found = _intervals(statistics, confidence)
    for who in statistics:
        found[who, "calibration_error"] = _unknown(found.get((who, "calibration_error")))
    found["effect", "calibration_error"] = None
    own = _calibration(original)
    return Fidelity(
        examples=len(student["label"]),
        temperature=temperature,
        confidence=confidence,
        measures=tuple(
            Measure(
                key,
                _NAMES[key].format(temperature=f"{temperature:g}"),
                _BETTER[key],
                *(found.get((who, key)) for who in ("student", "control", "effect")),
            )
            for key in _NAMES
        ),
        original_calibration=(
            _unknown(intervals([own], confidence)[0]) if own is not None else None
        ),
    )


_NAMES = {
    "agreement": "same class (top-1 agreement)",
    "error_consistency": "errs on the same examples (kappa)",
    "same_wrong": "same wrong class, where both err",
    "divergence": "KL divergence, nats, T = {temperature}",
    "calibration_error": "calibration error (ECE)",
}
_BETTER: dict[str, Literal["high", "low"]] = {
    "agreement": "high",
    "error_consistency": "high",
    "same_wrong": "high",
    "divergence": "low",
    "calibration_error": "low",
}


def _statistics(model: Columns, original: Columns, temperature: float) -> dict[str, OfMeans]:
    labels, mine, theirs = model["label"], model["predicted"], original["predicted"]
    found = {
        "agreement": agreement(mine, theirs),
        "error_consistency": error_consistency(mine == labels, theirs == labels),
        "same_wrong": same_wrong_answers(labels, mine, theirs),
    }
    own = _calibration(model)
    if own is not None:
        found["calibration_error"] = own
    both = "logits" in model and "logits" in original
    if both and model["logits"].shape == original["logits"].shape:
        found["divergence"] = divergence(original["logits"], model["logits"], temperature)
    return found


def _unknown(found: Interval | None) -> Interval | None:
    """The estimate with an interval that says nothing, from 0 to 1.

    Noise in a bin counts as error whatever its sign, and a resample has more of it: for a well
    calibrated model every bootstrap percentile lies above the truth.
    """
    return None if found is None else Interval(found.estimate, 0.0, 1.0, found.confidence)


def _calibration(model: Columns) -> OfMeans | None:
    return calibration_error(model["label"], model["logits"]) if "logits" in model else None


def _intervals(
    statistics: Mapping[str, Mapping[str, OfMeans]], confidence: float
) -> dict[tuple[str, str], Interval | None]:
    """By model and measure; ``effect`` is student minus control. All from the same resamples."""
    flat = {(who, key): s for who, each in statistics.items() for key, s in each.items()}
    for key, control in statistics.get("control", {}).items():
        if key in statistics["student"]:
            flat["effect", key] = statistics["student"][key] - control
    return dict(zip(flat, intervals(list(flat.values()), confidence), strict=True))


def _refuse_other_examples(*columns: Columns) -> None:
    first = columns[0]["label"]
    if any(not np.array_equal(first, other["label"]) for other in columns[1:]):
        raise SpecError("the predictions are of other examples, so fidelity is not compared.")
