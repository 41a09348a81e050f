"""Two black boxes: are they more alike than independently trained models of the same kind?

Any two good models agree on most examples, so likeness means nothing by itself; and some pairs of
independent models are more alike than others, so one control means next to nothing either. Several
controls stand in B's place: models made like B (accuracy, architecture, recipe) that are known to
owe nothing to A. What they have in common with A tells what a *new* independent model would have
(`bench.stats.kinship`), and how much more B has is evidence that it is derived from A: by
distillation, by fine-tuning, by copying, or by the same training data and recipe, which no test of
outputs can tell apart. Where the controls are too few or not of B's kind, nothing is said.
Nothing here is a finding of guilt. What is compared, classes or tokens, is `bench.judge.kin`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from bench.arrays import Array
from bench.cards.architecture import Architecture
from bench.cards.tasks.base import Columns
from bench.defaults import CONFIDENCE
from bench.errors import SpecError
from bench.judge.kin import Compared, kind_of, quality_gap
from bench.numbers import enumerated, p_value
from bench.stats.interval import Interval
from bench.stats.kinship import kinship
from bench.stats.of_means import replicas

#: With fewer, Student's quantile makes the interval so wide that only a copy stands out, and
#: whoever picks the controls decides the answer (`python tests/proofs lineage` measures it).
FEWEST_CONTROLS = 5
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
    nothing is concluded, and is empty where something is. ``beyond`` has for each control that
    counts the corrected p-value of `Compared.beyond`.
    """

    kind: Compared
    a: str
    b: str
    examples: int
    extent: str
    accuracies: Mapping[str, Interval]
    controls: tuple[str, ...]
    passed_over: Mapping[str, str]
    likenesses: tuple[Likeness, ...]
    withheld: str
    confidence: float
    beyond: Mapping[str, float] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """How many more controls a verdict needs."""
        return max(0, FEWEST_CONTROLS - len(self.controls))

    @property
    def deciding(self) -> Likeness:
        """The measure that the finding is of."""
        return _deciding(self.kind, self.likenesses)

    @property
    def finding(self) -> Finding:
        """What the excess allows to say, and where a kind tests it the examples with each control
        by itself."""
        excess = self.deciding.excess
        if self.withheld or excess is None:
            return "withheld"
        if excess.low > 0:
            surely = all(p <= 1 - self.confidence for p in self.beyond.values())
            return "more alike" if surely else "inconclusive"
        return "not more alike" if excess.high <= 0 else "inconclusive"


def lineage(
    a: tuple[str, Columns],
    b: tuple[str, Columns],
    controls: Mapping[str, Columns],
    known: Mapping[str, Known] | None = None,
    vouched_for: frozenset[str] = frozenset(),
    confidence: float = CONFIDENCE,
) -> Lineage:
    """Compare stored predictions of the same labelled examples, in the same order.

    ``a`` and ``b`` are a name and what its task stored: ``label`` and ``predicted``, or
    ``document``, ``token`` and ``predicted``. ``known`` is what cards tell, by the same
    names. Of a control whose architecture nothing tells, somebody has to vouch that it is of B's
    architecture and recipe, or it is not counted. Raises `SpecError` where predictions are of other
    examples, or where two are called the same.
    """
    models = _named([a, b, *controls.items()])
    kind = _kind(models)
    passed_over = _Controls(
        kind, models, a[0], b[0], dict(known or {}), vouched_for, confidence
    ).unfit()
    counted = {name: model for name, model in controls.items() if name not in passed_over}
    withheld = _too_few(len(counted)) or kind.too_little(dict((a, b)), len(counted), confidence)
    accuracies, found = _measured(kind, models, confidence)
    beyond: dict[str, float] = {}
    if not withheld:
        found = _judged(kind, found, [a[1], b[1], *counted.values()], confidence)
        beyond = kind.beyond(a[1], b[1], counted)
        if _deciding(kind, found).excess is None:
            withheld = (
                f"{kind.figure} does not exist for a pair, because one model is always right or "
                "always wrong"
            )
    return Lineage(
        kind=kind,
        a=a[0],
        b=b[0],
        examples=len(a[1]["predicted"]),
        extent=kind.extent(a[1]),
        accuracies=accuracies,
        controls=tuple(counted),
        passed_over=passed_over,
        likenesses=found,
        withheld=withheld,
        confidence=confidence,
        beyond=beyond,
    )


def _named(models: list[tuple[str, Columns]]) -> dict[str, Columns]:
    found = dict(models)
    if len(found) < len(models):
        raise SpecError("lineage compares different models: each needs its own name.")
    return found


def _kind(models: Mapping[str, Columns]) -> Compared:
    """What all models were asked. Raises `SpecError` where it isn't the same."""
    first, *others = models
    kind = kind_of(models[first])
    for name in others:
        if kind_of(models[name]) is not kind:
            raise SpecError(
                f"{first} and {name} are not models of the same kind: compare like with like."
            )
    kind.check(models)
    return kind


def _too_few(counted: int) -> str:
    """Why so many controls don't do; empty where they do."""
    missing = FEWEST_CONTROLS - counted
    if missing <= 0:
        return ""
    count = "no control is valid" if counted == 0 else f"{counted} of the controls are valid"
    return (
        f"{count}, but at least {FEWEST_CONTROLS} are needed to tell how much independently "
        f"trained models differ: {missing} more {'is' if missing == 1 else 'are'} needed"
    )


class _Controls:
    """Which of the controls that were named can stand in B's place."""

    def __init__(
        self,
        kind: Compared,
        models: Mapping[str, Columns],
        a: str,
        b: str,
        known: Mapping[str, Known],
        vouched_for: frozenset[str],
        confidence: float,
    ) -> None:
        self._kind = kind
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
                return f"it or {other} was made from the other"
        shared = mine.made_of & self._known[self._a].made_of
        return f"it was made from {min(shared)}, like {self._a}" if shared else ""

    def _accuracy(self, name: str) -> str:
        gap = quality_gap(self._kind, self._models[name], self._models[self._b], self._confidence)
        if gap is None:
            return ""
        side = "above" if gap.estimate > 0 else "below"
        points = f"{100 * abs(gap.estimate):.1f} points"
        return f"its {self._kind.quality_name} is {points} {side} that of {self._b}"

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
            f"it is unknown whether it has the architecture and recipe of {self._b}; if you know "
            "that it has, say so with --same-recipe"
        )


def _same_size(one: int | None, other: int | None) -> bool:
    if not one or not other:
        return False
    return abs(one - other) <= _SAME_SIZE * max(one, other)


def _deciding(kind: Compared, likenesses: tuple[Likeness, ...]) -> Likeness:
    return next(each for each in likenesses if each.key == kind.deciding)


def _measured(
    kind: Compared, models: Mapping[str, Columns], confidence: float
) -> tuple[dict[str, Interval], tuple[Likeness, ...]]:
    """Accuracies, and every measure on these examples, all from the same resamples."""
    a, b, *controls = models
    pairs = [(a, b), *((a, control) for control in controls), *((b, c) for c in controls)]
    statistics = [kind.right(model) for model in models.values()]
    statistics += [
        kind.statistic(key, models[i], models[j]) for key in kind.measures for i, j in pairs
    ]
    found = iter(kind.intervals(statistics, confidence))
    accuracies = {name: next(found) for name in models}
    likenesses = []
    for key, name in kind.measures.items():
        value = next(found)
        with_a = {control: next(found) for control in controls}
        likenesses.append(Likeness(key, name, value, with_a, {c: next(found) for c in controls}))
    known = {name: each for name, each in accuracies.items() if each is not None}
    return known, tuple(likenesses)


def _judged(
    kind: Compared, measured: tuple[Likeness, ...], models: list[Columns], confidence: float
) -> tuple[Likeness, ...]:
    """The measures with what is expected of a new independent model; ``models`` are A, B and the
    controls that count."""
    found = []
    compared = matrices(kind, models, [each.key for each in measured])
    for each in measured:
        kin = kinship(*compared[each.key], confidence)
        expected, excess = (kin.expected, kin.excess) if kin is not None else (None, None)
        found.append(replace(each, expected=expected, excess=excess))
    return tuple(found)


def matrices(
    kind: Compared, models: Sequence[Columns], keys: Sequence[str]
) -> dict[str, tuple[Array, Array]]:
    """Measures of every pair of m models, shape (m, m), and the same of resampled examples (or
    documents), shape (resamples, m, m); NaN on the diagonal."""
    one, other = np.triu_indices(len(models), 1)
    pairs = [(models[int(i)], models[int(j)]) for i, j in zip(one, other, strict=True)]
    statistics = [kind.statistic(key, *pair) for key in keys for pair in pairs]
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
            f"How alike {names} are says nothing by itself: name at least {FEWEST_CONTROLS} "
            "independently trained models with the accuracy, architecture and recipe of "
            f"{found.b}, with --control."
        ]
    said = [
        f"Not counted as a control: {enumerated(which)}, because {reason}."
        for reason, which in _by_reason(found.passed_over).items()
    ]
    if found.finding == "withheld":
        said.append(f"The verdict is withheld: {found.withheld}.")
        return said
    said += [_evidence(found), *_each_control(found), *_about_agreement(found)]
    said.append(_reservation(found))
    return said


def _by_reason(passed_over: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, reason in passed_over.items():
        found.setdefault(reason, []).append(name)
    return found


def _evidence(found: Lineage) -> str:
    kind, deciding = found.kind, found.deciding
    value, expected, excess = deciding.value, deciding.expected, deciding.excess
    assert value is not None
    assert expected is not None
    assert excess is not None
    words = {
        "more alike": "more than a new model trained independently, like the controls, would",
        "not more alike": "no more than a model trained independently, like the controls, does",
        "inconclusive": "no more than a model trained independently, like the controls, may",
    }[found.finding]
    return (
        f"{found.b} {kind.does.format(a=found.a)} {words}: {kind.figure} {_figure(value)}, where "
        f"{_figure(expected)} is expected of such a model at {found.confidence:.0%}, by "
        f"{len(found.controls)} controls; excess {excess.estimate:+.2f} ({excess.low:+.2f} to "
        f"{excess.high:+.2f})."
    )


def _each_control(found: Lineage) -> list[str]:
    """What the examples say of each control by itself, where a kind tests that."""
    if not found.beyond:
        return []
    beyond = [name for name, p in found.beyond.items() if p <= 1 - found.confidence]
    largest = max(found.beyond.values())
    if len(beyond) == len(found.beyond):
        return [
            f"By documents, {found.a} agrees with {found.b} more than with any of the "
            f"{len(beyond)} controls ({p_value(largest)} or less, by Holm's correction)."
        ]
    return [
        f"By documents, {found.a} agrees with {found.b} significantly more than with "
        f"{len(beyond)} of the "
        f"{len(found.beyond)} controls (the largest {p_value(largest)}, by Holm's correction)."
    ]


def _about_agreement(found: Lineage) -> list[str]:
    """The share that a reader can picture, where the finding is of something else."""
    same = next(each for each in found.likenesses if each.key == "agreement")
    others = [same.controls[name] for name in found.controls]
    highest = max((other.estimate for other in others if other is not None), default=None)
    if same is found.deciding or same.value is None or highest is None:
        return []
    return [
        f"They name the same class for {same.value.estimate:.1%} of {found.examples} examples; "
        f"with the controls it is at most {highest:.1%}."
    ]


def _reservation(found: Lineage) -> str:
    if found.finding == "more alike":
        return (
            "Distillation, fine-tuning or copying would cause that, but so would training on the "
            "same data by the same recipe: outputs alone can't tell which. It only holds if the "
            f"controls were made like {found.b} and independently of {found.a}."
        )
    return (
        f"That is not evidence that one of {found.a} and {found.b} was made from the other, nor "
        "proof that it wasn't."
    )


def _figure(found: Interval) -> str:
    return f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
