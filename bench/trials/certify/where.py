"""Where a party leaves the reference: the search of `bench debug bisect`, resumed by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bench.arrays import Array
from bench.errors import BenchError
from bench.measure.feeds import Feeds
from bench.measure.language.steps import Step, prompt_step, token_step
from bench.measure.listener import Listener
from bench.measure.plan import PlannedCell
from bench.measure.prepare import Prepared
from bench.record.certificate import Finding, Place
from bench.trials.bisect import Bisection, bisect, bisect_form, has_own_file
from bench.trials.bisect_report import sentence
from bench.trials.certify.passes import Cast
from bench.trials.certify.texts import Texts
from bench.trials.certify.views import differing_text
from bench.variants import DEFAULT

WHOLE, PREFILL, DECODE = "whole model", "prefill", "decode"
_OTHER_MODEL = "not searched: it is another model than the reference's, with other tensors."

#: The inputs of each stage that a party is looked into at, for the evidence of its rows.
Stages = Callable[[PlannedCell, Mapping[str, Array]], Iterable[tuple[str, PlannedCell]]]


def places(
    found: Cast,
    judged: Sequence[Finding],
    rows: Mapping[int, Mapping[str, Array]],
    stages: Stages,
    prepared: Prepared,
    listener: Listener,
) -> tuple[Place, ...]:
    """One place a stage, or why there is none, for each party that isn't the same and has outputs.

    ``rows`` are those of each party's plain pass.
    """
    told = []
    for finding in judged:
        if finding.verdict != "same" and finding.party in rows:
            candidate = found.candidates[finding.party - 1]
            if candidate.cell.model.sha256 != found.reference.cell.model.sha256:
                told.append(Place(party=finding.party, stage=WHOLE, sentence=_OTHER_MODEL))
                continue
            for stage, planned in stages(candidate, rows[finding.party]):
                listener.phase(f"searching where {candidate.choice.target} differs ({stage})")
                told.append(_place(finding.party, planned, stage, prepared))
    return tuple(told)


def whole_model(
    candidate: PlannedCell, rows: Mapping[str, Array]
) -> Iterator[tuple[str, PlannedCell]]:
    """A model that answers samples is looked into on those that it was planned with."""
    yield WHOLE, candidate


def of_language(examiner: Texts) -> Stages:
    """A language model is looked into on a text after which it differs: as a prompt, and with its
    last token alone behind the cache that the others leave."""

    def stages(
        candidate: PlannedCell, rows: Mapping[str, Array]
    ) -> Iterator[tuple[str, PlannedCell]]:
        view = examiner.view(candidate)
        tokens = differing_text(view, (rows["excess"] > 1) | (rows["nonfinite"] > 0))
        if tokens is None:
            return
        yield PREFILL, _at(candidate, prompt_step(view.decoder, tokens))
        if tokens.shape[1] > 1:
            yield DECODE, _at(candidate, token_step(view.decoder, tokens))

    return stages


def _at(planned: PlannedCell, step: Step) -> PlannedCell:
    shapes = {name: tuple(array.shape) for name, array in step.feeds.items()}
    return replace(
        planned,
        inputs=Feeds.given(step.feeds),
        prompt=step.prompt,
        options=replace(planned.options, shapes=shapes),
        cell=planned.cell.model_copy(update={"input_sha256": step.sha256}),
    )


def _place(party: int, planned: PlannedCell, stage: str, prepared: Prepared) -> Place:
    try:
        bisection = _search(planned, prepared)
    except BenchError as error:
        return Place(party=party, stage=stage, sentence=f"not looked for: {error}")
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
    rightly = f"{found.target} computes the {variant} file as {found.reference} does"
    if found.beside:
        return f"{rightly}; {sentence(found)}"
    if found.agrees and variant != DEFAULT:
        return f"{rightly}: the difference comes from {variant}, not from the target."
    return sentence(found)


def _search(planned: PlannedCell, prepared: Prepared) -> Bisection:
    """In the party's own file; and where a runtime computes that as it should, between the file and
    the model that it was made of."""
    found = bisect(planned, prepared.reports, prepared.launcher)
    if not found.agrees or not has_own_file(planned):
        return found
    return bisect_form(planned, prepared.reports, prepared.launcher)
