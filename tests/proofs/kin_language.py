"""How often `bench debug lineage` takes independent language models for relatives, and relatives
for relatives.

A trial is eight tiny models of one make (`tiny_language`): a pair and six that may be its controls.
In half of the trials each has a training set of its own, in the other half all have the same one,
and only first weights and batches differ. No model is in two trials.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field

import numpy as np
import tiny_language
from engine import Finding, report
from kin import PROCESSES, accuses, alarms, share, verdict

from bench.arrays import Array
from bench.cards.tasks.base import Columns
from bench.judge.kin import NextTokens, quality_gap
from bench.judge.lineage import FEWEST_CONTROLS, matrices
from bench.judge.lineage import Finding as Verdict

TOKENS = NextTokens()
TRIALS = 20
#: So many trials derive models of the first one too.
TRIALS_OF_POWER = 12
KINDS = {False: "each on a training set of its own", True: "all on the same training set"}
LEVEL = 0.05


@dataclass(frozen=True)
class Trial:
    """What was said of one trial's models.

    ``verdict`` is that of the first pair by the first five controls of its quality; ``choices``
    how many of the choices of five accuse it, and how many there are; ``disjoint`` the same for the
    trial's four pairs that share no model with each other, and ``pairs`` for all of its pairs.
    ``by_documents`` is of the disjoint pairs, where controls are taken for all models that there
    are: A agrees with B surely more than with every control, by Holm's correction. ``right`` has
    the least and the largest share of tokens that a model foretells, ``agreement`` that of two;
    ``related`` is the verdict of what was derived of the first.
    """

    kind: str
    verdict: Verdict
    choices: tuple[int, int]
    disjoint: tuple[int, int]
    pairs: tuple[int, int]
    by_documents: tuple[int, int]
    right: tuple[float, float]
    agreement: tuple[float, float]
    related: dict[str, Verdict] = field(default_factory=dict)


def trial(number: int) -> Trial:
    """Train what isn't trained yet, and judge it."""
    shared, derive = number % 2 == 1, number < TRIALS_OF_POWER
    models = tiny_language.models_of(1 + number, shared=shared, derive=derive)
    return judged(KINDS[shared], models)


def judged(kind: str, models: Mapping[str, Columns]) -> Trial:
    derived = [name for name in models if name in tiny_language.DERIVED]
    independent = [model for name, model in models.items() if name not in derived]
    a, b, *candidates = independent
    measured = matrices(TOKENS, independent, [TOKENS.deciding])[TOKENS.deciding]
    chosen = itertools.combinations(_fit(independent, 0, 1), FEWEST_CONTROLS)
    count = len(independent)
    disjoint = [(place, place + 1) for place in range(0, count - 1, 2)]
    right = [TOKENS.right(model).estimate() for model in independent]
    others = measured[0][np.triu_indices(count, 1)]
    return Trial(
        kind,
        verdict(a, b, candidates, TOKENS),
        _counted(_found(independent, measured, 0, 1, five) for five in chosen),
        _counted(_of_pairs(independent, measured, disjoint)),
        _counted(_of_pairs(independent, measured, list(itertools.combinations(range(count), 2)))),
        _counted(_by_documents(independent, disjoint)),
        (min(right), max(right)),
        (float(others.min()), float(others.max())),
        {name: verdict(a, models[name], [b, *candidates], TOKENS) for name in derived},
    )


def _counted(found: Iterator[bool]) -> tuple[int, int]:
    every = list(found)
    return sum(every), len(every)


def _fit(models: Sequence[Columns], a: int, b: int) -> list[int]:
    """Which of the other models are of B's quality."""
    others = (place for place in range(len(models)) if place not in (a, b))
    return [place for place in others if quality_gap(TOKENS, models[place], models[b]) is None]


def _of_pairs(
    models: Sequence[Columns], measured: tuple[Array, Array], pairs: Sequence[tuple[int, int]]
) -> Iterator[bool]:
    """Whether each pair that has five controls of its quality is accused by the first five."""
    for one, other in pairs:
        fit = _fit(models, one, other)
        if len(fit) >= FEWEST_CONTROLS:
            yield _found(models, measured, one, other, tuple(fit[:FEWEST_CONTROLS]))


def _found(
    models: Sequence[Columns],
    measured: tuple[Array, Array],
    one: int,
    other: int,
    controls: tuple[int, ...],
) -> bool:
    """As `bench debug lineage` does: models and documents both have to say it."""
    return accuses(measured, (one, other, *controls)) and _beyond(models, one, other, controls)


def _beyond(models: Sequence[Columns], one: int, other: int, controls: Sequence[int]) -> bool:
    named = {str(place): models[place] for place in controls}
    return all(p <= LEVEL for p in TOKENS.beyond(models[one], models[other], named).values())


def _by_documents(models: Sequence[Columns], pairs: Sequence[tuple[int, int]]) -> Iterator[bool]:
    for one, other in pairs:
        fit = _fit(models, one, other)
        if len(fit) >= FEWEST_CONTROLS:
            yield _beyond(models, one, other, fit[:FEWEST_CONTROLS])


# -- the figures ----------------------------------------------------------------------------------


def prove(quick: bool) -> None:
    """Train and judge every trial, two at a time."""
    numbers = range(2 if quick else TRIALS)
    context = multiprocessing.get_context("spawn")
    trials = []
    with ProcessPoolExecutor(PROCESSES, context) as pool:
        for done in pool.map(trial, numbers):
            trials.append(done)
            print(f"  {len(trials)} of {len(numbers)} trials", flush=True)
    details = {"trials": [asdict(each) for each in trials]}
    report("lineage-language", findings(trials), details)


def findings(trials: Sequence[Trial]) -> list[Finding]:
    """False alarms, then power."""
    first = "independent language models found to agree more, five controls"
    found = [_alarms(first, trials)]
    for kind in KINDS.values():
        some = [t for t in trials if t.kind == kind]
        found.append(alarms(f"the same, {kind}", some, None))
    found += [
        _of_all(
            "the same, four pairs of each trial that share no model with each other (but controls)",
            trials,
            "disjoint",
        ),
        _of_all("the same, all pairs of a trial (they share models)", trials, "pairs"),
        _of_all("the same, all choices of five controls of six", trials, "choices"),
        _of_all(
            "what documents alone would accuse, controls taken for all models that there are",
            trials,
            "by_documents",
            goal=False,
        ),
    ]
    return found + [_power(name, trials) for name in tiny_language.DERIVED]


def _alarms(claim: str, trials: Sequence[Trial]) -> Finding:
    """Met where no more than a twentieth is accused: twenty pairs can't bring the whole interval
    below that, however few are."""
    seen = alarms(claim, trials, None)
    of = [t.verdict for t in trials if t.verdict != "withheld"]
    met = bool(of) and sum(v == "more alike" for v in of) <= LEVEL * len(of)
    return Finding(claim, seen.figure, f"at most {LEVEL:.0%}", met)


def _of_all(claim: str, trials: Sequence[Trial], which: str, *, goal: bool = True) -> Finding:
    counts = [getattr(t, which) for t in trials]
    count, of = (sum(each[place] for each in counts) for place in (0, 1))
    met = of > 0 and count <= LEVEL * of
    words = f"{count} of {of} ({count / max(1, of):.1%})"
    return Finding(claim, words, f"at most {LEVEL:.0%}" if goal else "-", met if goal else None)


def _power(name: str, trials: Sequence[Trial]) -> Finding:
    verdicts = [t.related[name] for t in trials if name in t.related]
    seen = [v for v in verdicts if v != "withheld"]
    found = sum(v == "more alike" for v in seen)
    words = f"{share(found, len(seen))}; withheld for {len(verdicts) - len(seen)} more"
    claim = f"language models found to agree more when {name}, five controls"
    return Finding(claim, words, "90%", len(seen) > 0 and found / len(seen) >= 0.9)
