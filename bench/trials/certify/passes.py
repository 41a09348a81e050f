"""All passes that a certificate rests on: the reference beside itself, and each target beside the
reference and beside itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.arrays import Array
from bench.errors import BenchError, SpecError, Unsupported
from bench.measure.listener import Listener
from bench.measure.plan import PlannedCell
from bench.measure.prepare import Prepared
from bench.measure.reference import numeric
from bench.record.certificate import Condition, Party, Pass
from bench.record.facts import ToldPlacement
from bench.record.placement import placement_fact
from bench.scenarios import OFFLINE, find_scenario
from bench.store.certificates import Evidence
from bench.trials.certify.examiner import Answer, Examiner
from bench.variants import DEFAULT, FP32, Tolerance, held_to


@dataclass(frozen=True)
class Cast:
    """Who takes part: cells of the plan, of which the first is the reference."""

    reference: PlannedCell
    candidates: tuple[PlannedCell, ...]

    @property
    def all(self) -> tuple[PlannedCell, ...]:
        return (self.reference, *self.candidates)


def cast(
    prepared: Prepared,
    model: str,
    against: str,
    reference: str,
    on: Sequence[str],
    variants: Sequence[str],
) -> Cast:
    """The cells that a certificate is about. ``model`` and ``against`` are names of cards.

    Raises `SpecError` where the reference can't be had: without it nothing can be said.
    """
    cells = _examined(prepared.plan.cells)
    found = next(
        (
            p
            for p in cells
            if p.cell.model.name == against
            and p.cell.variant == DEFAULT
            and str(p.choice.target) == reference
        ),
        None,
    )
    if found is None:
        raise SpecError(
            f"{against} on {reference}: it is not in the plan, so it can't be the reference."
        )
    if (why := _absent(found)) is not None:
        raise SpecError(f"{against} on {reference} can't be the reference: {why}")
    candidates = [
        p
        for p in cells
        if p.cell.model.name == model
        and p is not found
        and p.cell.target in on
        and p.cell.variant in variants
    ]
    return Cast(found, tuple(candidates))


def _examined(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Of each model, variant and target the cell that it is examined in: of a language model that
    of a prompt, the first that its context holds, of any other that of samples."""
    found: dict[tuple[str, str, str], PlannedCell] = {}
    for planned in cells:
        scenario = find_scenario(planned.cell.scenario)
        language = planned.model.decoder is not None
        if scenario.counts == "prompt" if language else scenario.name == OFFLINE.name:
            key = planned.cell.model.name, planned.cell.variant, planned.cell.target
            if key not in found or found[key].refused is not None:
                found[key] = planned
    return list(found.values())


def _absent(planned: PlannedCell) -> BenchError | None:
    return planned.choice.unavailable or planned.refused


@dataclass
class Passes:
    """What was seen so far."""

    parties: list[Party]
    passes: list[Pass]


def examine(found: Cast, examiner: Examiner, evidence: Evidence, listener: Listener) -> Passes:
    """Ask everybody, and keep what they answered.

    A target that fails costs its own verdict. Raises `BenchError` where the reference itself does.
    """
    reference = found.reference
    listener.phase(f"asking the reference, {_words(reference)}")
    theirs = examiner.answer(reference, "plain")
    seen = Passes([party(reference, theirs.placement)], [])
    seen.passes.append(
        Pass(party=0, condition="plain", predictions=_kept(theirs.predictions, evidence))
    )
    for condition, words in examiner.conditions(reference).items():
        listener.phase(f"asking the reference again, {words}")
        seen.passes.append(_again(0, reference, condition, words, theirs, examiner, evidence))
    for place, candidate in enumerate(found.candidates, start=1):
        listener.phase(f"asking {_words(candidate)}")
        seen.parties.append(party(candidate, None))
        for one in _of_candidate(place, candidate, theirs, examiner, evidence, seen):
            seen.passes.append(one)
    return seen


def _of_candidate(
    place: int,
    candidate: PlannedCell,
    theirs: Answer,
    examiner: Examiner,
    evidence: Evidence,
    seen: Passes,
) -> Iterator[Pass]:
    absent = _absent(candidate)
    if absent is not None:
        yield _without(place, absent)
        return
    try:
        mine = examiner.answer(candidate, "plain")
    except BenchError as error:
        yield _without(place, error)
        return
    seen.parties[place] = party(candidate, mine.placement)
    kept, failure = "", ""
    try:
        kept = evidence.keep(examiner.rows(mine, theirs))
    except BenchError as error:  # what each decides may still be held against the other
        failure = str(error)
    predictions = _kept(mine.predictions, evidence)
    yield Pass(party=place, condition="plain", rows=kept, predictions=predictions, failure=failure)
    yield _again(place, candidate, "again", "in a fresh process", mine, examiner, evidence)


def _without(place: int, error: BenchError) -> Pass:
    """The pass of a party that has no answers: it can't do what is asked, or it failed at it."""
    return Pass(
        party=place,
        condition="plain",
        failure=str(error),
        impossible=isinstance(error, Unsupported),
    )


def _again(
    place: int,
    planned: PlannedCell,
    condition: Condition,
    words: str,
    plain: Answer,
    examiner: Examiner,
    evidence: Evidence,
) -> Pass:
    """A party beside itself."""
    try:
        other = examiner.answer(planned, condition)
        rows = examiner.rows(other, plain)
    except BenchError as error:
        return Pass(party=place, condition=condition, detail=words, failure=str(error))
    return Pass(
        party=place,
        condition=condition,
        detail=words,
        rows=evidence.keep(rows),
        predictions=_kept(other.predictions, evidence),
    )


def _kept(predictions: dict[str, Array], evidence: Evidence) -> str:
    return evidence.keep(predictions) if predictions else ""


def party(planned: PlannedCell, placement: ToldPlacement | None) -> Party:
    """Who a cell is, as a certificate tells it."""
    choice, device = planned.choice, planned.choice.device
    fact = None
    if placement is not None and device is not None and placement.nodes:
        fact = placement_fact(placement.model_dump(), device.id)
    return Party(
        model=planned.cell.model,
        variant=planned.cell.variant,
        target=str(choice.target),
        threads=planned.cell.threads,
        device_name=device.name if device is not None else "",
        runtime_version=choice.version,
        simulated=bool(device is not None and device.simulated),
        placement=fact,
        computes_in=numeric(planned),
    )


def limit_of(reference: PlannedCell) -> Tolerance:
    """How far values may be from the reference's and count as rounding: what its own precision
    leaves.

    A cosine says nothing of values: a reference that is held to one elsewhere is held to float32's
    rounding, and what it differs by from itself is its floor.
    """
    tolerance = held_to(reference.cell.variant, numeric(reference)).tolerance
    return FP32.tolerance if tolerance.cosine is not None else tolerance


def _words(planned: PlannedCell) -> str:
    return f"{planned.cell.model.name} on {planned.choice.target}"
