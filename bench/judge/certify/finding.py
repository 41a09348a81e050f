"""All that follows from the evidence of a certificate, in a run and when it is derived again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.cards.tasks.base import Columns, Task
from bench.judge.certify.decisions import decisions_of, moved
from bench.judge.certify.distributions import distributions_of
from bench.judge.certify.numbers import floor_of, numbers_of
from bench.judge.certify.running import running_of
from bench.judge.certify.verdict import Judged, judge
from bench.numbers import PLAIN
from bench.record.certificate import (
    Answers,
    Asked,
    Decisions,
    Distributions,
    Examined,
    Finding,
    FreeRunning,
    Numbers,
    Party,
    Pass,
)
from bench.record.placement import is_all_on_device, placement_check

#: Columns of a file of evidence, by its name.
Read = Callable[[str], Mapping[str, Array]]


@dataclass(frozen=True)
class Seen:
    """What a certificate was told, without what follows from it."""

    asked: Asked
    examined: Examined
    parties: tuple[Party, ...]
    passes: tuple[Pass, ...]
    answers: tuple[Answers, ...]


def findings(seen: Seen, read: Read) -> tuple[dict[str, Numbers], tuple[Finding, ...]]:
    """The reference's differences from itself by condition, and the verdict on each party.

    Raises `SpecError` for evidence that can't be read.
    """
    floor: dict[str, Numbers] = {
        each.condition: numbers_of(read(each.rows))
        for each in seen.passes
        if each.party == 0 and each.rows
    }
    judge_one = _Judge(seen, read, floor)
    return floor, tuple(judge_one.finding(place) for place in range(1, len(seen.parties)))


class _Judge:
    """Verdicts on parties of one certificate."""

    def __init__(self, seen: Seen, read: Read, floor: Mapping[str, Numbers]) -> None:
        self._seen, self._read, self._floor = seen, read, floor
        self._task: Task = find_task(seen.parties[0].model.task)
        self._wandering = self._moved()

    def finding(self, place: int) -> Finding:
        plain = self._pass(place, "plain")
        if plain is None or not (plain.rows or plain.predictions):
            why = plain.failure if plain is not None else "it was not run."
            verdict = "impossible" if plain is not None and plain.impossible else "inconclusive"
            return Finding(party=place, verdict=verdict, reasons=(why,))
        rows = self._read(plain.rows) if plain.rows else None
        numbers = None if rows is None else numbers_of(rows, floor_of(self._floor.values()))
        decisions = self._decisions(plain)
        judged = self._judged(place, plain.failure, numbers, decisions)
        again = self._pass(place, "again")
        return Finding(
            party=place,
            verdict=judged.verdict,
            reasons=judged.reasons,
            numbers=numbers,
            itself=numbers_of(self._read(again.rows)) if again and again.rows else None,
            distributions=self._distributions(rows),
            decisions=decisions,
            running=self._running(place),
        )

    def _judged(
        self, place: int, apart: str, numbers: Numbers | None, decisions: Decisions | None
    ) -> Judged:
        floor, unit = list(self._floor.values()), self._seen.examined.unit
        scale = self._task.metric(decisions.metric).scale if decisions is not None else PLAIN
        doubts = _doubts(self._seen.parties[place])
        return judge(numbers, floor, decisions, unit, doubts, scale, apart)

    def _pass(self, place: int, condition: str) -> Pass | None:
        found = (p for p in self._seen.passes if (p.party, p.condition) == (place, condition))
        return next(found, None)

    def _distributions(self, rows: Mapping[str, Array] | None) -> Distributions | None:
        if rows is None:
            return None
        count = len(rows["difference"])
        return distributions_of(
            rows,
            np.asarray(rows.get("document", np.arange(count))),
            self._seen.asked.confidence,
            of_tokens=self._seen.examined.unit == "token",
        )

    def _decisions(self, plain: Pass) -> Decisions | None:
        reference = self._pass(0, "plain")
        if reference is None or not reference.predictions or not plain.predictions:
            return None
        theirs = self._read(reference.predictions)
        found = self._compared(self._read(plain.predictions), theirs)
        if found is None:
            return None
        return found.model_copy(update={"floor": self._wandering})

    def _compared(self, mine: Columns, theirs: Columns) -> Decisions | None:
        asked = self._seen.asked
        try:
            return decisions_of(
                self._task, mine, theirs, asked.margin, asked.confidence, self._seen.examined.groups
            )
        except ValueError:  # a single document has no interval
            return None

    def _moved(self) -> float | None:
        """The largest change of the metric between the reference's own passes, on their rows."""
        reference = self._pass(0, "plain")
        if reference is None or not reference.predictions:
            return None
        plain, found = self._read(reference.predictions), []
        for each in self._seen.passes:
            if each.party == 0 and each.condition != "plain" and each.predictions:
                again = self._read(each.predictions)
                some = {name: values[: len(again[name])] for name, values in plain.items()}
                found.append(moved(self._task, again, some, self._seen.asked.confidence))
        return max((change for change in found if change is not None), default=None)

    def _running(self, place: int) -> FreeRunning | None:
        mine = self._answers(place)
        if not mine:
            return None
        return running_of(mine[0], self._answers(0), self._seen.asked.confidence)

    def _answers(self, party: int) -> list[Mapping[str, Array]]:
        return [self._read(a.rows) for a in self._seen.answers if a.party == party and a.rows]


def _doubts(party: Party) -> list[str]:
    """Why a party's answers may not be those of its device."""
    fact = party.placement
    if fact is None or is_all_on_device(fact):
        return []
    check = placement_check(fact, party.target)
    where = check.detail if check is not None else "part of it ran elsewhere"
    return [
        f"{party.target} did not run all of the model itself: {where}. Without fallback the "
        "target refuses such a model."
    ]
