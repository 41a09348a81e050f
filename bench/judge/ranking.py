"""The order of the targets of each model, in words, with what is not settled said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bench.errors import SpecError
from bench.judge.compare import Effect, compare
from bench.judge.matching import Match, match_targets
from bench.numbers import printable, ratio
from bench.stats.verdict import Verdict
from bench.store.run import StoredRun


@dataclass(frozen=True)
class Ranking:
    """Targets of one model in one scenario, the best first, and how each follows the last."""

    what: str
    targets: tuple[str, ...]
    steps: tuple[Effect, ...]  #: from each target to the next

    def sentence(self) -> str:
        """``m offline batch 8, best first: a; b, 0.57x (0.56–0.58); c, 1.01x (...): the same.``"""
        words = [printable(self.targets[0])]
        for target, step in zip(self.targets[1:], self.steps, strict=True):
            words.append(f"{printable(target)}, {_how(step)}")
        return f"{printable(self.what)}, best first: {'; '.join(words)}."


def rankings(run: StoredRun, margin: float, confidence: float) -> list[Ranking]:
    """One ranking for each model, scenario and batch that ran on two targets or more.

    Its verdicts hold together at ``confidence``, as the rule that ended the measuring does.
    """
    try:
        matched = match_targets(run)
    except SpecError:
        return []
    families: dict[tuple[object, ...], list[Match]] = {}
    for match in matched.matches:
        cell = match.a.cell
        key = (cell.model.name, cell.variant, cell.scenario, cell.batch)
        families.setdefault(key, []).append(match)
    found = []
    for matches in families.values():
        report = compare(replace(matched, matches=tuple(matches)), (), margin, confidence)
        effects = {
            (c.match.a.cell.target, c.match.b.cell.target): c.effect
            for c in report.comparisons
            if c.effect is not None
        }
        ranking = _rank(matches, effects)
        if ranking is not None:
            found.append(ranking)
    return found


def _rank(matches: Sequence[Match], effects: dict[tuple[str, str], Effect]) -> Ranking | None:
    values: dict[str, float] = {}
    for (a, b), effect in effects.items():
        values.setdefault(a, effect.a)
        values.setdefault(b, effect.b)
    if len(values) < 2:
        return None
    cell = matches[0].a.cell
    order = sorted(values, key=lambda target: values[target], reverse=cell.is_rate)
    steps = [_step(effects, one, other) for one, other in pairwise(order)]
    batch = f" batch {cell.batch}" if cell.batch > 1 else ""
    what = f"{cell.model.name} {cell.scenario}{batch}"
    return Ranking(what, tuple(order), tuple(steps))


def _step(effects: dict[tuple[str, str], Effect], one: str, other: str) -> Effect:
    """The effect of ``other`` over ``one``, whichever way it was computed."""
    if (one, other) in effects:
        return effects[one, other]
    turned = effects[other, one]
    mirrored = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
    return replace(
        turned,
        a=turned.b,
        b=turned.a,
        ratio=turned.ratio.inverse(),
        floor=None if turned.floor is None else turned.floor.inverse(),
        verdict=mirrored.get(turned.verdict, turned.verdict),
    )


def _how(step: Effect) -> str:
    interval = step.ratio
    words = ratio(interval.estimate, interval.low, interval.high)
    if step.verdict in (Verdict.FASTER, Verdict.SLOWER):
        return words
    return f"{words}: {'the same' if step.verdict is Verdict.SAME else 'not distinguishable'}"


def ranking_sentences(run: StoredRun) -> list[str]:
    """A sentence for each ranking of a run whose goal was one."""
    suite = run.header.suite
    if suite.goal != "rank":
        return []
    return [found.sentence() for found in rankings(run, suite.margin, suite.confidence)]
