"""Two black boxes: are they more alike than independently trained models of the same kind?

Any two good models agree on most examples, so likeness means nothing by itself; and some pairs of
independent models are more alike than others, so one control means next to nothing either. Several
controls stand in B's place: models made like B (accuracy, architecture, recipe) that are known to
owe nothing to A. What they have in common with A tells what a *new* independent model would have
(`bench.stats.kinship`), and how much more B has is evidence that it is derived from A: by
distillation, by fine-tuning, by copying, or by the same training data and recipe, which no test of
outputs can tell apart. Where the controls are too few or not of B's kind, nothing is said.
Nothing here is a finding of guilt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.arrays import Array
from bench.cards.architecture import Architecture
from bench.cards.tasks.base import Columns
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.stats.agreement import agreement, error_consistency, same_wrong_answers
from bench.stats.interval import Interval
from bench.stats.kinship import kinship
from bench.stats.of_means import OfMeans, intervals, mean_of, replicas
from bench.stats.proportion import paired_difference_interval

#: With fewer, Student's quantile makes the interval so wide that only a copy stands out, and
#: whoever picks the controls decides the answer (`python tests/proofs lineage` measures it).
FEWEST_CONTROLS = 5
#: Where a model is wrong less often, one shared mistake moves kappa by more than a twentieth.
FEWEST_ERRORS = 20
#: A control whose accuracy surely differs from B's by more is not of its kind: the better two
#: models are, the more they agree, and kappa corrects for chance alone.
ACCURACY_MARGIN = 0.02
#: Nor by more than this share of B's errors: among models that err in 2%, 2 points are a lot.
ERROR_SHARE = 0.25
#: Stored files of one architecture differ by no more (names and metadata).
_SAME_SIZE = 0.02

Finding = Literal["more alike", "not more alike", "inconclusive", "withheld"]


@dataclass(frozen=True)
class Known:
    """What is known of a model besides its answers.

    ``made_of`` are the models that its card says it was made of; ``file_bytes`` is all that a
    stored run tells of an architecture.
    """

    name: str
    made_of: frozenset[str] = frozenset()
    architecture: Architecture | None = None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Likeness:
    """One measure: of A and B, of A and each control named, and of B and each (``beside``).

    ``expected`` is what a new independent model would have in common with A, ``excess`` what B has
    beyond that; None where the verdict is withheld or a value does not exist.
    """

    key: str
    name: str
    value: Interval | None
    controls: Mapping[str, Interval | None]
    beside: Mapping[str, Interval | None]
    expected: Interval | None = None
    excess: Interval | None = None


@dataclass(frozen=True)
class Lineage:
    """What was found of A and B, over ``examples`` labelled examples.

    ``passed_over`` has the reason for each control that is not counted; ``withheld`` says why
    nothing is concluded, and is empty where something is.
    """

    a: str
    b: str
    examples: int
    accuracies: Mapping[str, Interval]
    controls: tuple[str, ...]
    passed_over: Mapping[str, str]
    likenesses: tuple[Likeness, ...]
    withheld: str
    confidence: float

    @property
    def missing(self) -> int:
        """How many more controls a verdict needs."""
        return max(0, FEWEST_CONTROLS - len(self.controls))

    @property
    def kappa(self) -> Likeness:
        """Error consistency: the measure that the finding is of, since it is corrected for
        accuracy."""
        return _kappa(self.likenesses)

    @property
    def finding(self) -> Finding:
        """What the excess of kappa allows to say."""
        excess = self.kappa.excess
        if self.withheld or excess is None:
            return "withheld"
        if excess.low > 0:
            return "more alike"
        return "not more alike" if excess.high <= 0 else "inconclusive"


_NAMES = {
    "agreement": "same class (top-1 agreement)",
    "error_consistency": "err on the same examples (kappa)",
    "same_wrong": "same wrong class, where both err",
}


def lineage(
    a: tuple[str, Columns],
    b: tuple[str, Columns],
    controls: Mapping[str, Columns],
    known: Mapping[str, Known] | None = None,
    vouched_for: frozenset[str] = frozenset(),
    confidence: float = CONFIDENCE,
) -> Lineage:
    """Compare stored predictions of the same labelled examples, in the same order.

    ``a`` and ``b`` are a name and what its task stored. ``known`` is what cards tell, by the same
    names. Of a control whose architecture nothing tells, somebody has to vouch that it is of B's
    architecture and recipe, or it is not counted. Raises `SpecError` where predictions are of other
    examples, or where two are called the same.
    """
    models = _named([a, b, *controls.items()])
    passed_over = _Controls(models, a[0], b[0], dict(known or {}), vouched_for, confidence).unfit()
    counted = tuple(name for name in controls if name not in passed_over)
    withheld = _why_not(a, b, len(counted))
    accuracies, found = _measured(models, confidence)
    if not withheld:
        found = _judged(found, [models[name] for name in (a[0], b[0], *counted)], confidence)
        if _kappa(found).excess is None:
            withheld = "kappa does not exist for a pair, because a model is always right or wrong"
    return Lineage(
        a=a[0],
        b=b[0],
        examples=len(a[1]["label"]),
        accuracies=accuracies,
        controls=counted,
        passed_over=passed_over,
        likenesses=found,
        withheld=withheld,
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


def _why_not(a: tuple[str, Columns], b: tuple[str, Columns], counted: int) -> str:
    """Why no verdict is possible; empty where one is."""
    missing = FEWEST_CONTROLS - counted
    if missing > 0:
        count = "no control counts" if counted == 0 else f"{counted} of the controls count"
        return (
            f"{count}, and it takes {FEWEST_CONTROLS} to tell how much independently trained "
            f"models differ: {missing} more {'is' if missing == 1 else 'are'} needed"
        )
    for name, model in (a, b):
        errors = int((~_right(model)).sum())
        if errors < FEWEST_ERRORS:
            return (
                f"{name} errs on {errors} of the {len(model['label'])} examples, and it takes "
                f"{FEWEST_ERRORS} errors to tell whether two models err alike: use more examples"
            )
    return ""


class _Controls:
    """Which of the controls that were named can stand in B's place."""

    def __init__(
        self,
        models: Mapping[str, Columns],
        a: str,
        b: str,
        known: Mapping[str, Known],
        vouched_for: frozenset[str],
        confidence: float,
    ) -> None:
        self._models = models
        self._a, self._b = a, b
        self._known = {name: known.get(name, Known(name)) for name in models}
        self._vouched_for = vouched_for
        self._names = [name for name in models if name not in (a, b)]
        self._confidence = confidence

    def unfit(self) -> dict[str, str]:
        """Why each that isn't counted isn't."""
        counted: list[str] = []
        found: dict[str, str] = {}
        for name in self._names:
            reason = self._reason(name, counted)
            if reason:
                found[name] = reason
            else:
                counted.append(name)
        return found

    def _reason(self, name: str, counted: list[str]) -> str:
        """The first thing that is wrong with a control; those before it are ``counted``."""
        return (
            self._same_answers(name, counted)
            or self._descent(name, counted)
            or self._accuracy(name)
            or self._architecture(name)
        )

    def _same_answers(self, name: str, counted: list[str]) -> str:
        for other in (self._a, self._b, *counted):
            if np.array_equal(self._models[name]["predicted"], self._models[other]["predicted"]):
                return f"it gives the same answers as {other}"
        return ""

    def _descent(self, name: str, counted: list[str]) -> str:
        mine = self._known[name]
        for other in (self._a, self._b, *counted):
            theirs = self._known[other]
            if theirs.name in mine.made_of or mine.name in theirs.made_of:
                return f"one of it and {other} was made of the other"
        shared = mine.made_of & self._known[self._a].made_of
        return f"it was made of {min(shared)}, as {self._a} was" if shared else ""

    def _accuracy(self, name: str) -> str:
        gap = accuracy_gap(self._models[name], self._models[self._b], self._confidence)
        if gap is None:
            return ""
        side = "above" if gap.estimate > 0 else "below"
        return f"its accuracy is {100 * abs(gap.estimate):.1f} points {side} that of {self._b}"

    def _architecture(self, name: str) -> str:
        mine, theirs = self._known[name], self._known[self._b]
        if mine.architecture is not None and theirs.architecture is not None:
            if mine.architecture.like(theirs.architecture):
                return ""
            return (
                f"it is of another architecture ({mine.architecture}) than {self._b} "
                f"({theirs.architecture})"
            )
        if name in self._vouched_for or _same_size(mine.file_bytes, theirs.file_bytes):
            return ""
        return (
            f"nothing tells whether it is of the architecture and recipe of {self._b}; where you "
            "know that it is, say so with --same-recipe"
        )


def accuracy_gap(control: Columns, b: Columns, confidence: float = CONFIDENCE) -> Interval | None:
    """The control's accuracy minus B's, where that is surely not 0 and too large for models of one
    kind; else None."""
    theirs, mine = _right(control), _right(b)
    gap = paired_difference_interval(
        int((mine & ~theirs).sum()), int((theirs & ~mine).sum()), len(mine), confidence
    )
    margin = min(ACCURACY_MARGIN, ERROR_SHARE * float((~mine).mean()))
    if gap.low <= 0 <= gap.high or abs(gap.estimate) <= margin:
        return None
    return gap


def _same_size(one: int | None, other: int | None) -> bool:
    if not one or not other:
        return False
    return abs(one - other) <= _SAME_SIZE * max(one, other)


def _statistic(key: str, one: Columns, other: Columns) -> OfMeans:
    if key == "agreement":
        return agreement(one["predicted"], other["predicted"])
    if key == "error_consistency":
        return error_consistency(_right(one), _right(other))
    return same_wrong_answers(one["label"], one["predicted"], other["predicted"])


def _kappa(likenesses: tuple[Likeness, ...]) -> Likeness:
    return next(each for each in likenesses if each.key == "error_consistency")


def _measured(
    models: Mapping[str, Columns], confidence: float
) -> tuple[dict[str, Interval], tuple[Likeness, ...]]:
    """Accuracies, and every measure on these examples, all from the same resamples."""
    a, b, *controls = models
    pairs = [(a, b), *((a, control) for control in controls), *((b, c) for c in controls)]
    statistics = [mean_of(_right(model)) for model in models.values()]
    statistics += [_statistic(key, models[i], models[j]) for key in _NAMES for i, j in pairs]
    found = iter(intervals(statistics, confidence))
    accuracies = {name: next(found) for name in models}
    likenesses = []
    for key, name in _NAMES.items():
        value = next(found)
        with_a = {control: next(found) for control in controls}
        likenesses.append(Likeness(key, name, value, with_a, {c: next(found) for c in controls}))
    known = {name: each for name, each in accuracies.items() if each is not None}
    return known, tuple(likenesses)


def _judged(
    measured: tuple[Likeness, ...], models: list[Columns], confidence: float
) -> tuple[Likeness, ...]:
    """The measures with what is expected of a new independent model; ``models`` are A, B and the
    controls that count."""
    found = []
    compared = matrices(models, [each.key for each in measured])
    for each in measured:
        kin = kinship(*compared[each.key], confidence)
        expected, excess = (kin.expected, kin.excess) if kin is not None else (None, None)
        found.append(replace(each, expected=expected, excess=excess))
    return tuple(found)


def matrices(models: Sequence[Columns], keys: Sequence[str]) -> dict[str, tuple[Array, Array]]:
    """Measures of every pair of m models, shape (m, m), and the same of resampled examples, shape
    (resamples, m, m); NaN on the diagonal."""
    one, other = np.triu_indices(len(models), 1)
    pairs = [(models[int(i)], models[int(j)]) for i, j in zip(one, other, strict=True)]
    statistics = [_statistic(key, *pair) for key in keys for pair in pairs]
    resampled = replicas(statistics)
    found = {}
    for place, key in enumerate(keys):
        mine = slice(place * len(pairs), (place + 1) * len(pairs))
        values = np.full((len(models), len(models)), np.nan)
        values[one, other] = values[other, one] = [each.estimate() for each in statistics[mine]]
        cube = np.full((len(resampled), *values.shape), np.nan)
        cube[:, one, other] = cube[:, other, one] = resampled[:, mine]
        found[key] = values, cube
    return found


# -- words ----------------------------------------------------------------------------------------


def sentences(found: Lineage) -> list[str]:
    """The evidence in plain words."""
    names = f"{found.a} and {found.b}"
    if not found.controls and not found.passed_over:
        return [
            f"How alike {names} are means nothing by itself: name at least {FEWEST_CONTROLS} "
            f"independently trained models of the accuracy, architecture and recipe of {found.b} "
            "with --control."
        ]
    said = [
        f"Not counted as a control: {_listed(which)}, because {reason}."
        for reason, which in _by_reason(found.passed_over).items()
    ]
    if found.finding == "withheld":
        said.append(f"The verdict is withheld: {found.withheld}.")
        return said
    said += [_evidence(found), *_about_agreement(found), _reservation(found)]
    return said


def _by_reason(passed_over: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, reason in passed_over.items():
        found.setdefault(reason, []).append(name)
    return found


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _evidence(found: Lineage) -> str:
    value, expected, excess = found.kappa.value, found.kappa.expected, found.kappa.excess
    assert value is not None
    assert expected is not None
    assert excess is not None
    words = {
        "more alike": "more than a new model trained independently, like the controls, would",
        "not more alike": "no more than a model trained independently, like the controls, does",
        "inconclusive": "no more than a model trained independently, like the controls, may",
    }[found.finding]
    return (
        f"{found.b} errs where {found.a} does {words}: kappa {_figure(value)}, where "
        f"{_figure(expected)} is expected of such a model at {found.confidence:.0%}, by "
        f"{len(found.controls)} controls; excess {excess.estimate:+.2f} ({excess.low:+.2f} to "
        f"{excess.high:+.2f})."
    )


def _about_agreement(found: Lineage) -> list[str]:
    same = next(each for each in found.likenesses if each.key == "agreement")
    others = [same.controls[name] for name in found.controls]
    highest = max((other.estimate for other in others if other is not None), default=None)
    if same.value is None or highest is None:
        return []
    return [
        f"They name the same class for {same.value.estimate:.1%} of {found.examples} examples; "
        f"with the controls it is at most {highest:.1%}."
    ]


def _reservation(found: Lineage) -> str:
    if found.finding == "more alike":
        return (
            "That is what distillation, fine-tuning or copying would leave, and also what training "
            "on the same data by the same recipe would: outputs alone can't tell these apart. It "
            f"holds only if the controls were made like {found.b} and owe nothing to {found.a}."
        )
    return (
        f"That is no evidence that one of {found.a} and {found.b} was made of the other, and no "
        "proof that it wasn't."
    )


def _figure(found: Interval) -> str:
    return f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
