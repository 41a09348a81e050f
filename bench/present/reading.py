"""What a stored run tells: its records, and what follows from them by comparing models."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from bench.errors import SpecError
from bench.judge.changes import Changes
from bench.judge.deal import make_deal
from bench.judge.fidelities import Fidelities
from bench.judge.fidelity import Titled
from bench.judge.pairs import Pair, compare
from bench.judge.ranking import ranking_sentences
from bench.judge.sweeps import sweep_sentences
from bench.numbers import counted
from bench.present.agreeing import pair_sentences
from bench.present.deal import answer
from bench.present.layout import wrap
from bench.store.run import StoredRun


@dataclass(frozen=True)
class Reading:
    """``likeness`` has one entry for each distilled model; ``orders`` are the ranked targets in
    words and ``knees`` those of sweeps; ``answer`` says what to take (empty for a run without an
    original and what was made of it); ``warnings`` what could not be read."""

    pairs: tuple[Pair, ...]
    likeness: tuple[Titled, ...]
    orders: tuple[str, ...]
    knees: tuple[str, ...]
    answer: str
    warnings: tuple[str, ...]


def read_out(stored: StoredRun) -> Reading:
    """Compare what can be compared; where predictions are lost the accuracies stay uncompared."""
    changes, fidelities = Changes(stored), Fidelities(stored)
    pairs = compare(stored.records, changes)
    likeness = fidelities.first_of_each()
    warnings = stored.remarks
    warnings += dict.fromkeys([*changes.problems, *fidelities.problems])
    return Reading(
        pairs=tuple(pairs),
        likeness=tuple(likeness),
        orders=tuple(ranking_sentences(stored)),
        knees=tuple(sweep_sentences(stored)),
        answer=_answer(stored, pairs, changes),
        warnings=tuple(warnings),
    )


def _answer(stored: StoredRun, pairs: list[Pair], changes: Changes) -> str:
    """What to take, in one sentence; `bench show --deal` weighs it in full."""
    if not any(pair.relation == "original" for pair in pairs):
        return ""
    try:
        return answer(make_deal(stored.records, changes.at))
    except SpecError:  # nothing was both measured and scored
        return ""


#: Orders that are told at the end. With the pairs' sentences and the next commands they fill a
#: terminal of 24 lines, so that nobody scrolls past them to the tables.
MOST_ORDERS = 3


def conclusion(reading: Reading) -> tuple[list[str], ...]:
    """What the tables come to: the orders of targets, what pairs differ in, and what to take."""
    orders = list(reading.orders[:MOST_ORDERS])
    more = counted(len(reading.orders) - len(orders), "more order")
    if len(reading.orders) > len(orders):
        orders.append(f"{more}: `bench compare RUN` shows every two targets.")
    answers = [reading.answer] if reading.answer else []
    return [*orders, *reading.knees], pair_sentences(reading.pairs), answers


def conclusion_text(reading: Reading, width: int = 80) -> Text:
    """The sentences of `conclusion`, no line wider than ``width``."""
    parts = [
        "".join(wrap(sentence, width, indent=2) + "\n" for sentence in part)
        for part in conclusion(reading)
        if part
    ]
    return Text("\n".join(parts))
