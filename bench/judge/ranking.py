"""The order of the targets of each model, in words, with what is not settled said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from bench.cell import Cell
from bench.errors import SpecError
from bench.judge.alike import READABLE, Alike, settings_in_words
from bench.judge.compare import Effect, compare
from bench.judge.matching import Match, match_targets
from bench.numbers import printable, ratio
from bench.stats.verdict import Verdict
from bench.store.run import StoredRun
from bench.variants import suffix


@dataclass(frozen=True)
class Ranking:
    """Targets of one model in one scenario, the best first, and how they follow each other."""

    what: str
    targets: tuple[str, ...]
    steps: tuple[Effect, ...]  #: from each target to the next
    behind: tuple[Effect, ...]  #: from the first to each of the others

    def sentence(self) -> str:
        """``m single-stream: a is not distinguishable from b (1.02x, 0.98–1.06) and 2.1x (2.0–2.2)
        as fast as c, 3.0x (2.9–3.1) as d; c and d are not distinguishable.``"""
        best, *others = map(printable, self.targets)
        level: dict[Verdict, list[str]] = {verdict: [] for verdict in _WORDS}
        slower: list[tuple[str, str]] = []
        for target, effect in zip(others, self.behind, strict=True):
            found = effect.ratio
            times = ratio(found.estimate, found.low, found.high)
            if effect.verdict in _WORDS:
                bare = times.replace(" (", ", ").removesuffix(")")
                level[effect.verdict].append(f"{target} ({bare})")
            else:
                slower.append((times, target))
        parts = [f"{_WORDS[v]} {' and '.join(names)}" for v, names in level.items() if names]
        if slower:
            (times, target), *more = slower
            first = f"{times} as fast as {target}"
            parts.append(", ".join([first, *(f"{times} as {target}" for times, target in more)]))
        said = f"{printable(self.what)}: {best} is {' and '.join(parts)}"
        return "; ".join([said, *self._level(), *self._why_open()]) + "."

    def _level(self) -> list[str]:
        """Neighbours behind the first whose order is not settled."""
        found = []
        for one, other, step in zip(
            self.targets[1:], self.targets[2:], self.steps[1:], strict=False
        ):
            names = f"{printable(one)} and {printable(other)}"
            if step.verdict is Verdict.SAME:
                found.append(f"{names} are equally fast")
            elif step.verdict is Verdict.INCONCLUSIVE:
                found.append(f"{names} are not distinguishable")
        return found

    def _why_open(self) -> list[str]:
        """That an order is open for want of invocations, which narrow intervals of the cells taken
        alone don't let one expect."""
        effects = [*self.behind, *self.steps[1:]]
        counts = [
            min(effect.invocations) for effect in effects if effect.verdict is Verdict.INCONCLUSIVE
        ]
        if not counts or min(counts) >= _ENOUGH:
            return []
        return [f"{min(counts)} invocations are too few to tell: --thorough takes more"]


#: Invocations that a cell gets at least unless its run is cut short (`Suite.min_invocations`).
_ENOUGH = 5
#: Cells of a run whose orders are told unasked: each pair of targets is compared, and told.
MOST_CELLS = 32
#: How the best target is to one that it is not faster than.
_WORDS = {
    Verdict.SAME: "as fast as",
    Verdict.INCONCLUSIVE: "not distinguishable from",
    Verdict.CONTENTION_DEPENDENT: "by the machine's load faster or slower than",
}


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
    for what, matches in (each for family in families.values() for each in _alike(family)):
        report = compare(replace(matched, matches=tuple(matches)), (), margin, confidence)
        effects = {
            (c.match.a.cell.target, c.match.b.cell.target): c.effect
            for c in report.comparisons
            if c.effect is not None
        }
        ranking = _rank(what, matches[0].a.cell, effects)
        if ranking is not None:
            found.append(ranking)
    return found


def _alike(matches: Sequence[Match]) -> list[tuple[str, list[Match]]]:
    """The matches of one family with what they are about: all, where each target has one cell; else
    those of cells that are alike but for the target, so that among each a target has one cell."""
    cells = {cell.id: cell for match in matches for cell in (match.a.cell, match.b.cell)}
    name = _name(matches[0].a.cell)
    if len({cell.target for cell in cells.values()}) == len(cells):
        return [(name, list(matches))]
    alike = Alike(cells.values(), _name, (*READABLE, "model", "input"))
    grouped: dict[str, tuple[str, list[Match]]] = {}
    for match in matches:
        defined, other = (_but_for_target(cell) for cell in (match.a.cell, match.b.cell))
        if defined == other:
            what = ", ".join(filter(None, (name, settings_in_words(alike.apart(match.a.cell)))))
            grouped.setdefault(defined, (what, []))[1].append(match)
    return list(grouped.values())


def _but_for_target(cell: Cell) -> str:
    return cell.model_copy(update={"target": ""}).id


def _name(cell: Cell) -> str:
    batch = f" batch {cell.batch}" if cell.batch > 1 else ""
    return f"{cell.model.name}{suffix(cell.variant)} {cell.scenario}{batch}"


def _rank(what: str, cell: Cell, effects: dict[tuple[str, str], Effect]) -> Ranking | None:
    values: dict[str, float] = {}
    for (a, b), effect in effects.items():
        values.setdefault(a, effect.a)
        values.setdefault(b, effect.b)
    if len(values) < 2:
        return None
    order = sorted(values, key=lambda target: values[target], reverse=cell.is_rate)
    steps = [_step(effects, one, other) for one, other in pairwise(order)]
    behind = [_step(effects, order[0], other) for other in order[1:]]
    return Ranking(what, tuple(order), tuple(steps), tuple(behind))


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


def ranking_sentences(run: StoredRun) -> list[str]:
    """A sentence for each ranking of a run: of all loads where an order was its goal, else of as
    many as one reads at once."""
    suite = run.header.suite
    if suite.goal != "rank" and len(run.records) > MOST_CELLS:
        return []
    return [found.sentence() for found in rankings(run, suite.margin, suite.confidence)]
