"""Everything that a matrix answers, found at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import SpecError
from bench.judge.matrix.across import Across, across_machines
from bench.judge.matrix.build import make_matrix
from bench.judge.matrix.cells import Asked, Matrix, in_several
from bench.judge.matrix.choice import Choice, choices
from bench.judge.matrix.front import Front, fronts
from bench.judge.matrix.machines import Beside, beside
from bench.judge.matrix.scores import Scores
from bench.store.machines import by_machine
from bench.store.run import StoredRun, marks_of


@dataclass(frozen=True)
class Answered:
    """The table, the joint fronts, what to take, ratios across machines, and the machines."""

    matrix: Matrix
    fronts: tuple[Front, ...]
    choices: tuple[Choice, ...]
    across: tuple[Across, ...]
    machines: tuple[Beside, ...]
    problems: tuple[str, ...]
    unchecked: tuple[str, ...] = ()  #: of bundles whose numbers nobody can vouch for


def answer(runs: Sequence[StoredRun], asked: Asked) -> Answered:
    """Weigh all runs of all machines. Raises `SpecError` where they have nothing that is asked for.

    `Asked.prices` are by the names that `by_machine` gives.
    """
    scores = Scores()
    matrix = make_matrix(by_machine(runs), asked, scores)
    if asked.by == "price" and len(matrix.currencies) > 1:
        raise SpecError(
            f"--by price: the machines' prices are in {in_several(matrix.currencies)}. Give all in "
            "one currency (--price NAME=PRICE --currency NAME)."
        )
    found = fronts(matrix, scores)
    chosen = choices(matrix, scores)
    return Answered(
        matrix,
        tuple(found),
        tuple(chosen),
        tuple(across_machines(matrix)),
        tuple(beside(matrix)),
        tuple(scores.problems),
        tuple(marks_of(runs, unchecked=True)),
    )
