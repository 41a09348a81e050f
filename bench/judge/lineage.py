"""Two black boxes: are they more alike than independently trained models of the same accuracy?

Any two good models agree on most examples, so likeness means nothing by itself. A control stands
in B's place: a model like B that is known to owe nothing to A. How much more like A than the
controls B is, is evidence that it is derived from A: by distillation, by fine-tuning, by copying,
or by the same training data and recipe, which no test of outputs can tell apart. Nothing here is
a finding of guilt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.cards.tasks.base import Columns
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.numbers import points
from bench.stats.agreement import agreement, error_consistency, same_wrong_answers
from bench.stats.interval import Interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.of_means import OfMeans, intervals, mean_of

#: A control whose accuracy differs by more makes agreement hard to read: the better two models
#: are, the more they agree. Kappa corrects for it.
ACCURACY_MARGIN = 0.02

Finding = Literal["more alike", "not more alike", "inconclusive"]


@dataclass(frozen=True)
class Likeness:
    """One measure of A and B, and of A and each control.

    ``excess`` is A-B's value minus A-C's, by control, and ``beside`` B-C's value; the intervals of
    all measures and controls hold together.
    """

    key: str
    name: str
    value: Interval | None
    controls: Mapping[str, Interval | None]
    excess: Mapping[str, Interval | None]
    beside: Mapping[str, Interval | None]

    @property
    def finding(self) -> Finding:
        """What the intervals allow to say, against every control."""
        known = [found for found in self.excess.values() if found is not None]
        if not known or len(known) < len(self.excess):
            return "inconclusive"
        if all(found.low > 0 for found in known):
            return "more alike"
        return "not more alike" if any(found.high <= 0 for found in known) else "inconclusive"


@dataclass(frozen=True)
class Lineage:
    """What was found of A and B, over ``examples`` labelled examples."""

    a: str
    b: str
    examples: int
    accuracies: Mapping[str, Interval]
    likenesses: tuple[Likeness, ...]
    confidence: float

    @property
    def controls(self) -> list[str]:
        return [name for name in self.accuracies if name not in (self.a, self.b)]

    @property
    def finding(self) -> Finding:
        """That of error consistency, which is corrected for accuracy."""
        return next(each.finding for each in self.likenesses if each.key == "error_consistency")

    @property
    def unlike_controls(self) -> list[str]:
        """Controls whose accuracy differs from B's by more than `ACCURACY_MARGIN`."""
        of = {name: found.estimate for name, found in self.accuracies.items()}
        return [name for name in self.controls if abs(of[name] - of[self.b]) > ACCURACY_MARGIN]


_NAMES = {
    "agreement": "same class (top-1 agreement)",
    "error_consistency": "err on the same examples (kappa)",
    "same_wrong": "same wrong class, where both err",
}


def lineage(
    a: tuple[str, Columns],
    b: tuple[str, Columns],
    controls: Mapping[str, Columns],
    confidence: float = CONFIDENCE,
) -> Lineage:
    """Compare stored predictions of the same labelled examples, in the same order.

    ``a`` and ``b`` are a name and what its task stored (`bench.judge.fidelity.Columns`). Raises
    `SpecError` where predictions are of other examples, or where two are called the same.
    """
    models = _named([a, b, *controls.items()])
    accuracies = intervals([mean_of(_right(m)) for m in models.values()], confidence)
    together = simultaneous_confidence(max(1, len(_NAMES) * len(controls)), confidence)
    return Lineage(
        a=a[0],
        b=b[0],
        examples=len(a[1]["label"]),
        accuracies={
            name: found for name, found in zip(models, accuracies, strict=True) if found is not None
        },
        likenesses=tuple(_likeness(key, a[1], b[1], controls, together) for key in _NAMES),
        confidence=confidence,
    )


def _named(models: list[tuple[str, Columns]]) -> dict[str, Columns]:
    found = dict(models)
    if len(found) < len(models):
        raise SpecError("lineage compares different models: each has to have a name of its own.")
    first, labels = models[0][0], models[0][1]["label"]
    for name, columns in models[1:]:
        if not np.array_equal(labels, columns["label"]):
            raise SpecError(f"{name} was scored on other examples than {first}: use the same data.")
    return found


def _right(model: Columns) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(model["label"] == model["predicted"])


def _statistic(key: str, one: Columns, other: Columns) -> OfMeans:
    if key == "agreement":
        return agreement(one["predicted"], other["predicted"])
    if key == "error_consistency":
        return error_consistency(_right(one), _right(other))
    return same_wrong_answers(one["label"], one["predicted"], other["predicted"])


def _likeness(
    key: str, a: Columns, b: Columns, controls: Mapping[str, Columns], confidence: float
) -> Likeness:
    between = _statistic(key, a, b)
    with_a = [_statistic(key, a, control) for control in controls.values()]
    with_b = [_statistic(key, b, control) for control in controls.values()]
    every = [between, *with_a, *(between - other for other in with_a), *with_b]
    value, *rest = intervals(every, confidence)
    count = len(controls)
    by_control = [
        dict(zip(controls, rest[start : start + count], strict=True))
        for start in range(0, 3 * count, count or 1)
    ] or [{}, {}, {}]
    return Likeness(key, _NAMES[key], value, *by_control)


def sentences(found: Lineage) -> list[str]:
    """The evidence in plain words."""
    names = f"{found.a} and {found.b}"
    if not found.controls:
        return [
            f"How alike {names} are means nothing by itself: name independently trained models of "
            "similar accuracy with --control."
        ]
    kappa = next(each for each in found.likenesses if each.key == "error_consistency")
    same = next(each for each in found.likenesses if each.key == "agreement")
    said = [_evidence(found, kappa), *_about_agreement(same, found)]
    if found.unlike_controls:
        margin = points(ACCURACY_MARGIN).removeprefix("+")
        said.append(
            f"The accuracy of {', '.join(found.unlike_controls)} differs by more than {margin} "
            f"points from that of {found.b}, so read kappa, which is corrected for accuracy, and "
            "not agreement."
        )
    said += _about_likes(kappa, found)
    if found.finding == "more alike":
        said.append(
            "That is what distillation, fine-tuning or copying would leave, and also what training "
            "on the same data by the same recipe would: outputs alone can't tell these apart."
        )
    return said


def _evidence(found: Lineage, kappa: Likeness) -> str:
    names = f"{found.a} and {found.b}"
    known = {name: excess for name, excess in kappa.excess.items() if excess is not None}
    if kappa.value is None or len(known) < len(kappa.excess):
        return f"{names}: kappa does not exist, because a model is always right or always wrong."
    least = min(known, key=lambda name: known[name].estimate)
    other, excess = kappa.controls[least], known[least]
    assert other is not None
    figures = (
        f"kappa {_figure(kappa.value)} against {_figure(other)} of {least}; "
        f"excess {excess.estimate:+.2f} ({excess.low:+.2f} to {excess.high:+.2f})"
    )
    words = {
        "more alike": f"{found.b} errs where {found.a} does more than every control",
        "not more alike": f"{found.b} errs where {found.a} does no more than a control",
        "inconclusive": (
            f"whether {found.b} errs where {found.a} does more than the controls is inconclusive"
        ),
    }
    return f"{words[kappa.finding]}: {figures}."


def _about_agreement(same: Likeness, found: Lineage) -> list[str]:
    if same.value is None:
        return []
    others = [c.estimate for c in same.controls.values() if c is not None]
    return [
        f"They name the same class for {same.value.estimate:.1%} of {found.examples} examples; "
        f"with the controls it is at most {max(others):.1%}."
    ]


def _about_likes(kappa: Likeness, found: Lineage) -> list[str]:
    """Where B is more like a control than like A, what the two share explains a part."""
    if kappa.value is None:
        return []
    nearer = [
        name
        for name, beside in kappa.beside.items()
        if beside is not None and beside.low > kappa.value.high
    ]
    if not nearer:
        return []
    return [
        f"{found.b} errs like {', '.join(nearer)} even more than like {found.a}: they share more "
        "than that (architecture, data, seed)."
    ]


def _figure(found: Interval) -> str:
    return f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
