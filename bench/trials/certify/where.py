"""Where a party leaves the reference: the search of `bench bisect`, gone on with by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.errors import BenchError
from bench.measure.listener import Listener
from bench.measure.plan import PlannedCell
from bench.measure.prepare import Prepared
from bench.record.certificate import Finding, Place
from bench.scenarios import find_scenario
from bench.trials.bisect import Bisection, bisect, bisect_form, has_own_file
from bench.trials.bisect_report import sentence
from bench.trials.certify.passes import Cast
from bench.variants import DEFAULT

WHOLE, PREFILL, DECODE = "whole model", "prefill", "decode"


def places(
    found: Cast, judged: Sequence[Finding], prepared: Prepared, listener: Listener
) -> tuple[Place, ...]:
    """One place a stage, or why there is none, for each party that isn't the same and has
    outputs."""
    told = []
    for finding in judged:
        if finding.verdict != "same" and finding.numbers is not None:
            candidate = found.candidates[finding.party - 1]
            for stage, planned in _stages(candidate, prepared):
                listener.phase(f"looking where {candidate.choice.target} differs ({stage})")
                told.append(_place(finding.party, planned, stage, prepared))
    return tuple(told)


def _stages(candidate: PlannedCell, prepared: Prepared) -> Iterator[tuple[str, PlannedCell]]:
    """What is looked into: of a language model a prompt, and one token behind others."""
    if candidate.model.decoder is None:
        yield WHOLE, candidate
        return
    yield PREFILL, candidate
    cell = candidate.cell
    for planned in prepared.plan.cells:
        other = planned.cell
        same = (other.model.name, other.variant, other.target) == (
            *(cell.model.name, cell.variant),
            cell.target,
        )
        if same and find_scenario(other.scenario).counts == "depth" and planned.refused is None:
            yield DECODE, planned
            return


def _place(party: int, planned: PlannedCell, stage: str, prepared: Prepared) -> Place:
    try:
        bisection = _search(planned, prepared)
    except BenchError as error:
        return Place(party=party, stage=stage, sentence=f"Not looked for: {error}")
    first = bisection.first
    return Place(
        party=party,
        stage=stage,
        tensor="" if first is None else first.tensor,
        node="" if first is None else first.node,
        op="" if first is None else first.op,
        error=None if first is None else first.error,
        sentence=_sentence(bisection, planned),
    )


def _sentence(found: Bisection, planned: PlannedCell) -> str:
    """A target that computes another precision rightly isn't what differs."""
    variant = planned.cell.variant
    if found.agrees and variant != DEFAULT:
        return (
            f"{found.target} computes the {variant} file as {found.reference} does: what differs "
            f"comes with {variant} and not with the target."
        )
    return sentence(found)


def _search(planned: PlannedCell, prepared: Prepared) -> Bisection:
    """In the party's own file; and where a runtime computes that as it should, between the file and
    the model that it was made of."""
    found = bisect(planned, prepared.reports, prepared.launcher)
    if not found.agrees or not has_own_file(planned):
        return found
    return bisect_form(planned, prepared.reports, prepared.launcher)
