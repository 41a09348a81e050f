"""Which hardware for which model: the best under the bounds that were asked for, what is not told
apart from it, and the cheapest that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.judge.matrix.cells import By, Entry, Matrix, Row
from bench.judge.matrix.front import families
from bench.judge.matrix.scores import Scores
from bench.judge.matrix.weigh import best_of, cost, price_of, surely_within
from bench.record.result import Estimate
from bench.stats.multiple import simultaneous_confidence


@dataclass(frozen=True)
class Choice:
    """What to take: for one model (``row``), or of all models that are scored alike.

    ``reference`` is the most accurate of all, which the others were held against. ``missed`` and
    ``unsure`` count those that surely miss the bound and those that it is not known of; ``lossy``
    those that are not surely within the loss.
    """

    row: Row | None
    dataset: str
    best: Entry | None
    tied: tuple[Entry, ...]
    candidates: int
    missed: int = 0
    unsure: int = 0
    lossy: int = 0
    reference: Entry | None = None
    cheapest: Entry | None = None
    price: Estimate | None = None
    cheapest_tied: tuple[Entry, ...] = ()


def choices(matrix: Matrix, scores: Scores) -> list[Choice]:
    """Of all models that are scored alike, where a loss is allowed; then of each model."""
    found = []
    if matrix.asked.within is not None:
        found += [
            _of_family(key[2], entries, matrix, scores)
            for key, entries in families(matrix).items()
            if len({entry.row for entry in entries}) > 1
        ]
    return found + [_of_row(row, matrix, scores) for row in matrix.rows]


def _of_family(dataset: str, entries: list[Entry], matrix: Matrix, scores: Scores) -> Choice:
    """Over all models: those that are surely within the loss of the most accurate."""
    asked = matrix.asked
    assert asked.within is not None
    reference = min(entries, key=lambda entry: cost(entry, "accuracy", asked) or 0.0)
    each = simultaneous_confidence(max(1, len(entries) - 1), asked.confidence)
    safe = [
        entry
        for entry in entries
        if surely_within(entry.scored, reference.scored, asked.within, each, scores)
    ]
    lossy = len(entries) - len(safe)
    rows = {entry.row for entry in entries}
    return _choice(
        None, dataset, safe, [e for e in matrix if e.row in rows], matrix, scores, lossy, reference
    )


def _of_row(row: Row, matrix: Matrix, scores: Scores) -> Choice:
    entries = matrix.of_row(row)
    return _choice(row, "", [e for e in entries if e.usable], entries, matrix, scores, 0, None)


def _choice(
    row: Row | None,
    dataset: str,
    candidates: Sequence[Entry],
    everything: Sequence[Entry],
    matrix: Matrix,
    scores: Scores,
    lossy: int,
    reference: Entry | None,
) -> Choice:
    asked = matrix.asked
    best, tied = best_of(candidates, asked.by, asked, scores)
    cheapest, cheapest_tied = _cheapest(candidates, matrix, scores)
    return Choice(
        row=row,
        dataset=dataset,
        best=best,
        tied=tuple(tied),
        candidates=len(candidates),
        missed=sum(not e.word and e.kept == "missed" for e in everything),
        unsure=sum(not e.word and e.kept == "inconclusive" for e in everything),
        lossy=lossy,
        reference=reference,
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
