"""Is the distilled model still the same model? How like its original it answers and errs.

Accuracy alone can't tell: two models of the same accuracy may be right on different examples.
Each measure is taken of the distilled model and of the control, the same small network that was
trained without the original; their paired difference is of these two models on these examples. How
much another control would differ is not in its interval, so it tells nothing of where a model comes
from: `bench.judge.lineage` asks that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.cards.tasks.base import Columns, Task
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.stats.interval import Interval

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
    respect: str  #: ends the sentence "more like the original in ..."; empty for no likeness
    says: str  #: the value in words, where this is the first to be told
    value: Interval | None
    control: Interval | None = None
    effect: Interval | None = None

    @property
    def gained(self) -> Literal["more", "less", "unclear", "unknown"]:
        """Whether the model is more like the original than its control is in this respect, on these
        examples (of ECE: whether it is better calibrated)."""
        if self.effect is None:
            return "unknown"
        if self.effect.low <= 0 <= self.effect.high:
            return "unclear"
        return "more" if (self.effect.low > 0) == (self.better == "high") else "less"


@dataclass(frozen=True)
class Fidelity:
    """What was found of one distilled model, over ``examples`` labelled items.

    ``original_calibration`` is the expected calibration error of the original itself. ``limits``
    say why distributions were not compared; there are none where they were.
    """

    examples: int
    temperature: float
    confidence: float
    measures: tuple[Measure, ...]
    original_calibration: Interval | None = None
    limits: tuple[str, ...] = ()


def fidelity(
    task: Task,
    student: Columns,
    original: Columns,
    control: Columns | None = None,
    temperature: float = TEMPERATURE,
    confidence: float = CONFIDENCE,
) -> Fidelity:
    """Compare what a task stored of the same labelled items, in the same order.

    Raises `SpecError` where predictions are of other items.
    """
    models = {"student": student} | ({} if control is None else {"control": control})
    if not all(task.same(original, model) for model in models.values()):
        raise SpecError("the predictions are of other examples, so fidelity is not compared.")
    limits = [task.unlike(original, model) for model in models.values()]
    found = task.likeness(models, original, temperature, confidence)
    return Fidelity(
        examples=len(next(iter(student.values()))),
        temperature=temperature,
        confidence=confidence,
        measures=tuple(
            Measure(
                row.key,
                row.name.format(temperature=temperature),
                row.better,
                row.respect,
                row.says,
                *(found.get((who, row.key)) for who in ("student", "control", "effect")),
            )
            for row in task.likenesses
            if ("student", row.key) in found
        ),
        original_calibration=found.get(("original", "calibration_error")),
        limits=tuple(dict.fromkeys(filter(None, limits))),
    )


@dataclass(frozen=True)
class Titled:
    """A fidelity with the names that it is of; ``against`` is the original's target, where that is
    another."""

    student: str
    original: str
    control: str | None
    target: str
    variant: str
    found: Fidelity
    against: str = ""
