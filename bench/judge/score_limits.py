"""The limits of a gate on scores: how good a model has to be, and how much worse it may become.

A limit that was asked for and has nothing to be held against is inconclusive: a gate that passes
because nobody scored the model says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bench.cards.tasks import find_task
from bench.cards.tasks.base import MetricRow, Score
from bench.cell import Cell
from bench.errors import SpecError
from bench.judge.advice import more_examples
from bench.judge.compare import Report, change_of
from bench.judge.finding import Finding, Limits, Outcome, is_accuracy, short_of
from bench.judge.matching import Matched, sides
from bench.record.result import Accuracy, Record
from bench.stats.distributions import normal
from bench.stats.interval import Interval
from bench.stats.multiple import simultaneous_confidence
from bench.store.run import StoredRun
from bench.store.scores import metric_of

#: The flags that the two kinds of limit on a score have.
_LEAST, _WORST = "--min-accuracy", "--worst-score"
_LOSS = "--max-accuracy-loss"
#: What is scored once, whatever the loads: model, variant, target.
Scored = tuple[str, str, str]


def check_score_limits(run: StoredRun, limits: Limits) -> None:
    """Raise `SpecError` where a limit names a model that isn't there, or is the other flag's."""
    names = {side.cell.model.name for side in sides(run)}  # also of what was not measured yet
    for flag, limit in _score_limits(limits):
        for name in filter(None, limit):
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise SpecError(f"{flag} {name}: {run.path} has no such model, but {known}.")
            _check_metric(run, flag, name)


def _score_limits(limits: Limits) -> list[tuple[str, Mapping[str, float]]]:
    return [(_LEAST, limits.min_accuracy), (_WORST, limits.worst_score)]


def _check_metric(run: StoredRun, flag: str, name: str) -> None:
    """Raise `SpecError` where a flag is not the one for the metric of a model."""
    for record in run.records:
        if record.cell.model.name != name or record.accuracy is None:
            continue
        metric = metric_of(record)
        right = _LEAST if is_accuracy(metric) else _WORST
        if flag != right:
            raise SpecError(
                f"{flag} {name}: it is scored by {metric.name}, of which {metric.better} is "
                f"better; use {right} {name}=LIMIT."
            )


# -- how good it has to be ------------------------------------------------------------------------


def accuracy_floors(
    run: StoredRun, matched: Matched, limits: Limits, confidence: float
) -> tuple[list[Finding], list[str]]:
    """Each model, variant and target once, whatever its loads."""
    wanted: dict[Scored, tuple[Record, float]] = {}
    for record in run.records:
        if record.accuracy is None:
            continue
        worst = limits.of(record.cell.model.name, metric_of(record))
        if worst is not None:
            wanted.setdefault(_scored(record.cell), (record, worst))
    each = simultaneous_confidence(max(1, len(wanted)), confidence)
    findings, warnings = [], []
    for record, worst in wanted.values():
        try:
            interval = _score(run, record, each).value
        except SpecError as error:
            warnings.append(str(error))
            interval = _kept_interval(record.accuracy, each)
        findings.append(_score_finding(record, interval, worst))
    held = [record for record, _ in wanted.values()]
    findings += _not_scored(run, matched, limits, held)
    return findings, list(dict.fromkeys(warnings))


def _not_scored(
    run: StoredRun, matched: Matched, limits: Limits, held: Sequence[Record]
) -> list[Finding]:
    """What a limit was asked for and never held against: that is no pass."""
    found = [
        Finding("accuracy", record.cell, Outcome.INCONCLUSIVE, words, _how_to_score(run))
        for record, words in _unscored(run, matched, limits)
    ]
    told = {finding.cell.model.name for finding in found}
    for flag, limit in _score_limits(limits):
        right = [r.cell.model.name for r in held if is_accuracy(metric_of(r)) == (flag == _LEAST)]
        for name in limit:
            models = [r for r in run.records if name in ("", r.cell.model.name)]
            if not models or told & {r.cell.model.name for r in models}:
                continue
            if not any(name in ("", model) for model in right):
                words = f"{flag}: no model was scored by such a metric."
                cell, advice = models[0].cell, _how_to_score(run)
                found.append(Finding("accuracy", cell, Outcome.INCONCLUSIVE, words, advice))
    return found


def _unscored(run: StoredRun, matched: Matched, limits: Limits) -> Iterator[tuple[Record, str]]:
    """The first record of each that works and has a limit and no score, where a score was to be
    expected: the model was asked for by its name, or was scored elsewhere or before."""
    scored = set(_scores_of(run.records))
    models = {name for name, _, _ in scored}
    before = set(_scores_of(match.a.record for match in matched.matches))
    seen: set[Scored] = set()
    for record in run.records:
        key, name = _scored(record.cell), record.cell.model.name
        if record.status != "ok" or key in scored or key in seen:
            continue
        seen.add(key)
        named = name in limits.min_accuracy or name in limits.worst_score
        if key in before and (named or "" in {**limits.min_accuracy, **limits.worst_score}):
            yield record, "not scored, but scored in the baseline."
        elif named:
            yield record, "not scored."
        elif name in models and "" in {**limits.min_accuracy, **limits.worst_score}:
            yield record, "not scored here, but scored on other targets."


def _scores_of(records: Iterable[Record | None]) -> dict[Scored, Record]:
    """The first scored record of each model, variant and target."""
    found: dict[Scored, Record] = {}
    for record in records:
        if record is not None and record.accuracy is not None:
            found.setdefault(_scored(record.cell), record)
    return found


def _how_to_score(run: StoredRun) -> str:
    if not run.header.suite.accuracy:
        return "Measure it again without --no-accuracy."
    return "Give its card labelled data, or leave out the limit."


def _scored(cell: Cell) -> Scored:
    return cell.model.name, cell.variant, cell.target


def _score(run: StoredRun, record: Record, confidence: float) -> Score:
    """The primary metric again, from what the run has stored."""
    columns = run.scored_columns(record)
    return find_task(record.cell.model.task).scores(columns, confidence)[0]


def _kept_interval(accuracy: Accuracy | None, confidence: float) -> Interval:
    """A score whose predictions are lost, at another confidence than it was kept with: each side as
    wide as a normal error of that size would make it."""
    assert accuracy is not None
    value = accuracy.value
    wider = normal.quantile(0.5 + confidence / 2) / normal.quantile(0.5 + value.confidence / 2)
    return Interval(
        value.value,
        value.value - (value.value - value.low) * wider,
        value.value + (value.high - value.value) * wider,
        confidence,
    )


def _score_finding(record: Record, found: Interval, worst: float) -> Finding:
    """A metric's whole interval has to be at the better side of the worst that is allowed."""
    assert record.accuracy is not None
    metric = metric_of(record)
    room = metric.gain(_minus(found, worst))
    shown, limit = metric.scale.value(found.estimate, found.low, found.high), _bound(metric, worst)
    outcome, words, advice = Outcome.PASS, "", ""
    if room.high < 0:
        outcome, words = Outcome.FAIL, f"it is {shown}; {limit} is required."
    elif room.low < 0:
        outcome = Outcome.INCONCLUSIVE
        words = f"it is {shown}: the interval straddles {metric.scale.value(worst)}."
        advice = more_examples(room.estimate, room, record.accuracy.examples)
    return Finding(
        "accuracy",
        record.cell,
        outcome,
        words,
        advice,
        found,
        worst,
        now=found.estimate,
        metric=metric,
        short=short_of(outcome, "not accurate enough", "the accuracy"),
    )


def _minus(found: Interval, value: float) -> Interval:
    return replace(
        found, estimate=found.estimate - value, low=found.low - value, high=found.high - value
    )


def _bound(metric: MetricRow, worst: float) -> str:
    return f"{'at least' if metric.sign > 0 else 'at most'} {metric.scale.value(worst)}"


# -- how much worse it may become -----------------------------------------------------------------


def accuracy_losses(
    matched: Matched, report: Report | None, limits: Limits, confidence: float
) -> tuple[list[Finding], list[str]]:
    """How much accuracy was lost since the baseline: example by example where both predictions
    are there, else from the two intervals."""
    if report is None or limits.max_accuracy_loss is None:
        return [], []
    findings, warnings = _scored_on_one_side(matched), []
    paired = {_scored(found.match.b.cell): found.match for found in report.accuracies}
    each = simultaneous_confidence(max(1, len(_both_scored(matched))), confidence)
    for key, (a, b) in _both_scored(matched).items():
        assert a.accuracy is not None
        assert b.accuracy is not None
        if key in paired:
            change = change_of(paired[key], each)
            findings.append(
                _loss_finding(b, change.difference, limits.max_accuracy_loss, change.examples)
            )
        elif (a.accuracy.metric, a.accuracy.dataset_sha256) != (
            b.accuracy.metric,
            b.accuracy.dataset_sha256,
        ):
            words = "scored on other data, or by another metric, than the baseline."
            advice = "Write a new baseline from a run on the same data."
            findings.append(Finding("accuracy loss", b.cell, Outcome.INCONCLUSIVE, words, advice))
        else:
            warnings.append(
                "where predictions can't be compared, accuracies are compared by their intervals, "
                "which is less precise."
            )
            difference = _unpaired_difference(a.accuracy, b.accuracy, each)
            findings.append(
                _loss_finding(b, difference, limits.max_accuracy_loss, b.accuracy.examples)
            )
    if not findings and matched.matches:
        one = matched.matches[0].b
        words = f"{_LOSS}: neither the baseline nor the run was scored."
        advice = _how_to_score(one.run)
        findings.append(Finding("accuracy loss", one.cell, Outcome.INCONCLUSIVE, words, advice))
    return findings, list(dict.fromkeys(warnings))


def _scored_on_one_side(matched: Matched) -> list[Finding]:
    """What one side was scored on and the other, although it worked, was not."""
    before = _scores_of(match.a.record for match in matched.matches)
    now = _scores_of(match.b.record for match in matched.matches)
    works = {
        _scored(match.b.cell): match.b
        for match in reversed(matched.matches)
        if all(one.record is not None and one.record.status == "ok" for one in (match.a, match.b))
    }
    found = []
    for key, one in works.items():
        if key in before and key not in now:
            words, advice = "the baseline was scored and the run was not.", _how_to_score(one.run)
        elif key in now and key not in before:
            words = "the run was scored and the baseline was not."
            advice = "Write a new baseline from a run that was scored."
        else:
            continue
        found.append(Finding("accuracy loss", one.cell, Outcome.INCONCLUSIVE, words, advice))
    return found


def _both_scored(matched: Matched) -> dict[Scored, tuple[Record, Record]]:
    """The records of A and B of each model, variant and target that both were scored on, once."""
    before = _scores_of(match.a.record for match in matched.matches)
    now = _scores_of(match.b.record for match in matched.matches)
    return {key: (before[key], now[key]) for key in before if key in now}


def _unpaired_difference(before: Accuracy, now: Accuracy, confidence: float) -> Interval:
    """From each one's own interval: Newcombe 1998, Statistics in Medicine 17:873, method 10, with
    exact intervals in the place of Wilson's."""
    one, other = _kept_interval(before, confidence), _kept_interval(now, confidence)
    estimate = other.estimate - one.estimate
    down = math.hypot(other.estimate - other.low, one.high - one.estimate)
    up = math.hypot(other.high - other.estimate, one.estimate - one.low)
    return Interval(estimate, estimate - down, estimate + up, confidence)


def _loss_finding(record: Record, change: Interval, asked: float, examples: int) -> Finding:
    """How much worse a metric may become, in steps of its scale over 100."""
    assert record.accuracy is not None
    metric = metric_of(record)
    scale, allowed, gain = metric.scale, metric.scale.from_points(100 * asked), metric.gain(change)
    shown = scale.steps_of(
        f"{scale.difference(change.estimate)} ({scale.difference(change.low)} to "
        f"{scale.difference(change.high)})"
    )
    limit = scale.steps_of(scale.chosen(allowed))
    outcome, words, advice = Outcome.PASS, "", ""
    if gain.high < -allowed:
        outcome, words = Outcome.FAIL, f"it changed by {shown}; {limit} may be lost."
    elif gain.low < -allowed:
        outcome, words = (
            Outcome.INCONCLUSIVE,
            f"it changed by {shown}: too uncertain to check whether more than {limit} was lost.",
        )
        advice = more_examples(gain.estimate + allowed, gain, examples)
    now = record.accuracy.value.value
    return Finding(
        "accuracy loss",
        record.cell,
        outcome,
        words,
        advice,
        found=change,
        limit=-allowed * metric.sign,
        before=now - change.estimate,
        now=now,
        metric=metric,
        short=short_of(outcome, "too much accuracy lost", "the accuracy lost"),
    )
