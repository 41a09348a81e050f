"""Which hardware for which model: the best under the bounds that were asked for, what is not told
apart from it, and the cheapest that does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.judge.matrix.cells import By, Entry, Matrix, Row
from bench.judge.matrix.front import families
from bench.judge.matrix.scores import Scores
from bench.judge.matrix.weigh import best_of, cost, price_of, surely_within
from bench.record.result import Estimate
from bench.stats.multiple import simultaneous_confidence


@dataclass(frozen=True)
class Choice:
    """What to take: for one model (``row``), or of all models that are scored alike.

    ``reference`` is the most accurate of all whose predictions are known, which the others were
    held against. ``missed`` and ``unsure`` count those that surely miss the bound and those that it
    is not known of; ``lossy`` those that are not surely within the loss, and ``unjudged`` those of
    which that can't be said, for want of predictions to compare; ``uncompared`` are those that
    are not compared with the most accurate, for the same want. ``words`` count what stands in place
    of figures.
    """

    row: Row | None
    dataset: str
    best: Entry | None
    tied: tuple[Entry, ...]
    candidates: int
    missed: int = 0
    unsure: int = 0
    lossy: int = 0
    unjudged: int = 0
    uncompared: tuple[Entry, ...] = ()
    words: Mapping[str, int] = field(default_factory=dict)
    reference: Entry | None = None
    cheapest: Entry | None = None
    price: Estimate | None = None
    cheapest_tied: tuple[Entry, ...] = ()


def choices(matrix: Matrix, scores: Scores) -> list[Choice]:
    """Of all models that are scored alike, where a loss is allowed; then of each model."""
    found = []
    if matrix.asked.within is not None:
        found += [
            _of_family(key[2], {entry.row for entry in entries}, matrix, scores)
            for key, entries in families(e for e in matrix if not e.word).items()
            if len({entry.row for entry in entries}) > 1
        ]
    return found + [_of_row(row, matrix, scores) for row in matrix.rows]


def _of_family(dataset: str, rows: Collection[Row], matrix: Matrix, scores: Scores) -> Choice:
    """Over all models: those that are surely within the loss of the most accurate."""
    asked = matrix.asked
    assert asked.within is not None
    everything = [entry for entry in matrix if entry.row in rows]
    usable = [entry for entry in everything if entry.usable]
    judged = [entry for entry in usable if scores.known(entry.scored)]
    reference = min(judged, key=lambda e: cost(e, "accuracy", asked) or 0.0, default=None)
    best = reference.scored if reference is not None else None
    each = simultaneous_confidence(max(1, len(judged) - 1), asked.confidence)
    held = [(e, surely_within(e.scored, best, asked.within, each, scores)) for e in judged]
    choice = _choice(None, dataset, [e for e, safe in held if safe], everything, matrix, scores)
    return replace(
        choice,
        lossy=sum(safe is False for _, safe in held),
        unjudged=len(usable) - len(judged) + sum(safe is None for _, safe in held),
        reference=reference,
    )


def _of_row(row: Row, matrix: Matrix, scores: Scores) -> Choice:
    entries = matrix.of_row(row)
    return _choice(row, "", [e for e in entries if e.usable], entries, matrix, scores)


def _choice(
    row: Row | None,
    dataset: str,
    candidates: Sequence[Entry],
    everything: Sequence[Entry],
    matrix: Matrix,
    scores: Scores,
) -> Choice:
    asked = matrix.asked
    best, tied = best_of(candidates, asked.by, asked, scores)
    uncompared = [e for e in tied if asked.by == "accuracy" and not scores.known(e.scored)]
    cheapest, cheapest_tied = _cheapest(candidates, matrix, scores)
    return Choice(
        row=row,
        dataset=dataset,
        best=best,
        tied=tuple(e for e in tied if e not in uncompared),
        uncompared=tuple(uncompared),
        candidates=len(candidates),
        missed=sum(not e.word and e.kept == "missed" for e in everything),
        unsure=sum(not e.word and e.kept == "inconclusive" for e in everything),
        words=Counter(e.word for e in everything if e.word),
        cheapest=cheapest,
        price=price_of(cheapest, asked) if cheapest is not None else None,
        cheapest_tied=tuple(cheapest_tied),
    )


def _cheapest(
    candidates: Sequence[Entry], matrix: Matrix, scores: Scores
) -> tuple[Entry | None, list[Entry]]:
    """By what a sample costs; nothing where prices are in several currencies, or where the matrix
    is one of prices, whose best it is already."""
    asked = matrix.asked
    by: By = "price"
    if len(matrix.currencies) != 1 or asked.by == by:
        return None, []
    return best_of(candidates, by, asked, scores)
