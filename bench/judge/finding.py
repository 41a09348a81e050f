"""What a gate says of one limit of one cell, and of a whole run: the words, without the judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

from bench.cards.tasks.base import MetricRow
from bench.cell import Cell
from bench.errors import without_stop
from bench.judge.alike import Alike, Setting, settings_in_words
from bench.numbers import NAME_LIMIT, printable
from bench.stats.interval import Interval
from bench.variants import suffix

Kind = Literal[
    "latency",
    "throughput",
    "accuracy",
    "accuracy loss",
    "energy",
    "memory",
    "check",
    "ran",
    "certificate",
]
#: What is the same whatever the load.
OF_NO_LOAD = ("accuracy", "accuracy loss", "certificate")


class Outcome(StrEnum):
    """What was found of one limit of one cell."""

    ERROR = "error"  #: it worked in the baseline, and doesn't
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    PASS = "pass"
    #: the baseline has figures of it, and the run has none: a target, model or device is gone
    MISSING = "missing"
    SKIPPED = "skipped"  #: there was nothing to hold it against, or it failed before too
    NEW = "new"


class Decision(StrEnum):
    """What was found of the whole run."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


EXIT_CODES = {Decision.PASS: 0, Decision.FAIL: 1, Decision.INCONCLUSIVE: 3}


def outcome_of(found: Interval, most: float) -> Outcome:
    """What an interval says of a limit above."""
    if found.low > most:
        return Outcome.FAIL
    return Outcome.PASS if found.high <= most else Outcome.INCONCLUSIVE


def short_of(outcome: Outcome, beyond: str, what: str) -> str:
    """A `Finding` of a limit in short: what is ``beyond`` it, or ``what`` can't be held to it."""
    words = {Outcome.FAIL: beyond, Outcome.INCONCLUSIVE: f"{what} is too uncertain to check"}
    return words.get(outcome, "")


@dataclass(frozen=True)
class Limits:
    """What is allowed: shares, and accuracies as fractions of 1. None is no limit.

    ``min_accuracy`` maps a model's name, or ``""`` for all others, to its least accuracy, where
    that is a fraction and higher is better; ``worst_score`` to the worst value of any other metric,
    as it is stored. ``max_accuracy_loss`` is 0.01 for a point, and for 1 of a metric that is no
    fraction.
    """

    max_slowdown: float | None = None
    min_accuracy: Mapping[str, float] = field(default_factory=dict)
    max_accuracy_loss: float | None = None
    max_memory_growth: float | None = None
    worst_score: Mapping[str, float] = field(default_factory=dict)
    certificates: tuple[str, ...] = ()  #: their paths: what was measured has to be certified
    max_energy_growth: float | None = None
    max_energy_j: float | None = None  #: J a sample, gross
    allow_missing: bool = False  #: whether what only the baseline has may be left out

    @property
    def of_a_run(self) -> bool:
        """Whether one of them is about what a run measured, whatever any other did."""
        return bool(self.min_accuracy or self.worst_score) or self.max_energy_j is not None

    @property
    def alone(self) -> bool:
        """Whether one of them can be held to without a baseline."""
        return self.of_a_run or bool(self.certificates)

    def of(self, model: str, metric: MetricRow) -> float | None:
        """The worst that a model's metric may be."""
        limits = self.min_accuracy if is_accuracy(metric) else self.worst_score
        return limits.get(model, limits.get(""))


def is_accuracy(metric: MetricRow) -> bool:
    """Whether --min-accuracy is about it; --worst-score is about the others."""
    return metric.scale.is_fraction and metric.better == "higher"


@dataclass(frozen=True)
class Finding:
    """One limit held against one cell.

    ``found`` is what the limit is about: the time or memory of the run over the baseline's, an
    accuracy, or an accuracy's change. ``before`` and ``now`` are the two figures (ns, samples/s,
    bytes, fractions). ``words`` say what is wrong, or why there is nothing to judge; ``advice``
    says what to do.
    """

    kind: Kind
    cell: Cell
    outcome: Outcome
    words: str = ""
    advice: str = ""
    found: Interval | None = None
    limit: float | None = None
    before: float | None = None
    now: float | None = None
    metric: MetricRow | None = None  #: of an accuracy, or its change
    #: ``words`` in short, as they are counted over many cells: without figures of this one
    short: str = ""
    #: what tells its cell from others that are called the same; empty where there are none
    apart: tuple[Setting, ...] = ()

    @property
    def reason(self) -> str:
        """Why its outcome is what it is, in words that other cells may share."""
        return self.short or without_stop(self.words)

    @property
    def label(self) -> str:
        """The cell, and which limit; an accuracy doesn't depend on the load."""
        cell = self.cell
        if self.kind in OF_NO_LOAD:
            return printable(f"{self.subject}: {self.kind}", NAME_LIMIT)
        named = printable(cell.label, NAME_LIMIT)
        return f"{', '.join(filter(None, (named, settings_in_words(self.apart))))}: {self.kind}"

    @property
    def subject(self) -> str:
        """The model and where it runs, without a load."""
        return f"{self.cell.model.name}{suffix(self.cell.variant)} {self.cell.target}"


def told_apart(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings, each with what tells its cell from others that are called the same."""
    alike = Alike(finding.cell for finding in findings if finding.kind not in OF_NO_LOAD)
    return tuple(
        finding if finding.kind in OF_NO_LOAD else replace(finding, apart=alike.apart(finding.cell))
        for finding in findings
    )
