"""Where a party leaves the reference: the search of `bench bisect`, gone on with by itself."""

from __future__ import annotations

from collections.abc import Sequence

from bench.errors import BenchError
from bench.measure.listener import Listener
from bench.measure.plan import PlannedCell
from bench.measure.prepare import Prepared
from bench.record.certificate import Finding, Place
from bench.trials.bisect import Bisection, bisect
from bench.trials.bisect_report import sentence
from bench.trials.certify.passes import Cast
from bench.variants import DEFAULT

WHOLE = "whole model"


def places(
    found: Cast, judged: Sequence[Finding], prepared: Prepared, listener: Listener
) -> tuple[Place, ...]:
    """One place, or why there is none, for each party that isn't the same and has outputs."""
    told = []
    for finding in judged:
        if finding.verdict != "same" and finding.numbers is not None:
            candidate = found.candidates[finding.party - 1]
            listener.phase(f"looking where {candidate.choice.target} differs")
            told.append(_place(finding.party, candidate, WHOLE, prepared))
    return tuple(told)


def _place(party: int, planned: PlannedCell, stage: str, prepared: Prepared) -> Place:
    try:
        bisection = bisect(planned, prepared.reports, prepared.launcher)
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
