"""One place that makes a record: every figure and every check, from what was measured and told.

`bench run` assembles from what it holds in memory, `bench.store.derive` from the files of a run.
Both get the same record, and neither computes a figure by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bench.arrays import Array
from bench.cell import Cell
from bench.discover import Named
from bench.numbers import counted
from bench.record import estimate
from bench.record.block import Block, round_medians, trusted_samples, trusted_ttft, typical_block_ns
from bench.record.energy import energies, energies_by_other_kind
from bench.record.facts import CellFacts, ToldPlacement, Trial, WorkerFacts
from bench.record.parity import Reference, parity
from bench.record.placement import placement_check, placement_fact
from bench.record.precision import precision_check
from bench.record.queries import bounds_check, of_queries
from bench.record.result import (
    Accuracy,
    Check,
    Invocation,
    Metric,
    Parity,
    PlacementFact,
    Record,
)
from bench.record.telemetry import summarise
from bench.record.windows import Window
from bench.stats.interval import Interval
from bench.stats.percentile import floor, median
from bench.stats.stopping import Stated
from bench.variants import held_to

OTHER_SHAPES = "the outputs' shapes differ from the reference's"
#: A copy may take no time on a coarse clock, and estimates are geometric.
_SHORTEST_COPY_NS = 1.0
#: The check that a score which looks like a mistake fails.
DOUBT = "sanity"
#: The check that a cell fails whose measuring an interrupt ended.
COMPLETE = "complete"


class TaskScore(Protocol):
    """A metric as a task computes it (`bench.cards.tasks.base.Score`)."""

    @property
    def metric(self) -> Named: ...
    @property
    def value(self) -> Interval: ...
    @property
    def examples(self) -> int: ...
    @property
    def correct(self) -> int | None: ...


@dataclass(frozen=True)
class Evidence:
    """All that the record of a cell follows from.

    ``samples`` are the trusted latencies of each invocation in ns, and ``ttft`` of the same calls
    the times to the first token, where they are whole queries, and ``gaps`` those from token to
    token, (calls, tokens). ``scores`` and ``doubts`` are what the task makes of the predictions.
    ``least`` are the invocations that the suite asks of a cell at least."""

    cell: Cell
    facts: CellFacts
    invocations: Sequence[Invocation] = ()
    samples: Mapping[int, Array] | None = None
    ttft: Mapping[int, Array] | None = None
    gaps: Mapping[int, Array] | None = None
    outputs: Sequence[Array] | None = None
    reference: Reference | None = None
    witnesses: Sequence[Reference] = ()
    scores: Sequence[TaskScore] = ()
    doubts: Sequence[str] = ()
    energy: Sequence[Window] = ()
    least: int = 0


def assemble(evidence: Evidence, confidence: float) -> Record:
    """The record of a cell."""
    facts, taken, cell = evidence.facts, evidence.invocations, evidence.cell
    placement = _placement(facts, cell)
    stated = Stated(confidence, chosen=facts.stop != "first-look")
    compared, why_not = _parity(evidence, placement)
    rates = estimate.figures(cell, taken) if cell.is_rate else ()
    queries = of_queries(
        cell,
        taken,
        evidence.samples or {},
        evidence.ttft or {},
        evidence.gaps or {},
        facts,
        stated,
    )

    def over_invocations(name: str) -> Any:
        values = [getattr(i, name) for i in taken]
        return estimate.estimate([value for value in values if value is not None], stated)

    return Record(
        cell_id=cell.id,
        cell=cell,
        status="failed" if facts.failure else "ok",
        failure=facts.failure,
        stop=facts.stop,
        simulated=facts.simulated,
        device_name=facts.device_name,
        runtime_version=facts.runtime_version,
        environment=facts.environment,
        latency=estimate.latency(taken, evidence.samples or {}, stated),
        throughput=estimate.estimate(rates, stated),
        queries=queries,
        load_ns=over_invocations("load_ns"),
        first_inference_ns=over_invocations("first_inference_ns"),
        h2d_ns=over_invocations("h2d_ns"),
        d2h_ns=over_invocations("d2h_ns"),
        device_ns=over_invocations("device_ns"),
        busy=estimate.busy(taken, stated),
        memory=estimate.memory(taken) if taken else None,
        footprint=facts.footprint,
        energy=energies(cell, evidence.energy, confidence),
        energy_by_other_kind=energies_by_other_kind(cell, evidence.energy, confidence),
        roofline=facts.roofline,
        no_roofline=facts.no_roofline,
        sweep_end=facts.sweep_end,
        accuracy=_accuracy(facts, evidence.scores),
        parity=compared,
        placement=placement,
        variant_method=facts.variant_method,
        checks=(
            *_complete_check(evidence),
            *(estimate.checks(taken, cell.threads) if taken else ()),
            *bounds_check(queries),
            *_loadgen_checks(taken),
            *_placement_checks(placement, cell, facts.computes_in),
            *_accuracy_checks(facts, evidence.doubts),
            *_parity_checks(compared, why_not),
        ),
        invocations=tuple(taken),
        canary_ns=over_invocations("canary_ns"),
        group=facts.group,
        sizes=facts.sizes,
        assumed=facts.assumed,
        finished_at=facts.finished_at,
    )


def _complete_check(evidence: Evidence) -> list[Check]:
    """That measuring was stopped before the cell had its answer; nothing where it wasn't."""
    if evidence.facts.stop != "interrupted":
        return []
    have, least = len(evidence.invocations), evidence.least
    so_far = counted(have, "invocation")
    if have < least:
        so_far = f"{have} of at least {counted(least, 'invocation')}"
    detail = f"stopped early by Ctrl-C or SIGTERM after {so_far}; outputs not compared"
    return [Check(name=COMPLETE, ok=False, detail=detail)]


# -- an invocation --------------------------------------------------------------------------------


def invocation(told: WorkerFacts, blocks: Sequence[Block], canary_ns: float | None) -> Invocation:
    """What one worker measured, from what it told and its timed blocks."""
    best = best_trial(told)
    return Invocation(
        cell_id=told.cell_id,
        index=told.index,
        load_ns=told.load_ns + told.bind_ns,
        first_inference_ns=told.first_inference_ns,
        warmup_calls=told.warmup_calls,
        settled=told.settled,
        discarded_calls=told.discard * len(blocks),
        peak_rss_bytes=told.peak_rss_bytes,
        rss_before_load_bytes=told.rss_before_load_bytes,
        start_ns=told.start_ns,
        disturbances=told.disturbances,
        cpus=told.cpus,
        waited_share=_waited_share(told.waited, blocks),
        capacity_per_s=_capacity_per_s(told),
        generator_late_ns=best.late_ns if best else None,
        queries_per_call=told.queries_per_call,
        h2d_ns=_copy_ns(told.h2d_ns),
        d2h_ns=_copy_ns(told.d2h_ns),
        device_ns=told.device_ns,
        device_gaps=told.device_gaps,
        loadgen=told.loadgen,
        **summarise(told.readings, told.readings_before, told.raising_calls),
        **timed(blocks, canary_ns),
    )


def _capacity_per_s(told: WorkerFacts) -> float | None:
    """Of a server: the rate that it takes; through LoadGen what it completed in its test."""
    if told.loadgen is not None:
        return told.loadgen.figure if told.loadgen.scenario == "Server" else None
    best = best_trial(told)
    return None if best is None else best.rate_per_s


def best_trial(told: WorkerFacts) -> Trial | None:
    """A search goes on above what held, so the last rate that held is the highest."""
    return next((trial for trial in reversed(told.trials) if trial.held), None)


#: The fields of an invocation that `timed` gives.
TIMED = (
    "calls",
    "blocks",
    "disturbed_blocks",
    "median_ns",
    "typical_block_ns",
    "round_ns",
    "floor_ns",
    "busy_ns",
    "canary_ns",
    "ttft_ns",
    "rest_ns",
    "ttft_busy_ns",
)


def timed(blocks: Sequence[Block], canary_ns: float | None) -> dict[str, Any]:
    """The fields of an invocation that its timed blocks and the canary's give."""
    latency_ns, ttft_ns = trusted_samples(blocks), trusted_ttft(blocks)
    values = (
        len(latency_ns),
        len(blocks),
        sum(block.disturbed for block in blocks),
        median(latency_ns),
        typical_block_ns(blocks),
        round_medians(blocks),
        floor(latency_ns),
        int(latency_ns.sum()),
        canary_ns,
        None if ttft_ns is None else median(ttft_ns),
        None if ttft_ns is None else median(latency_ns - ttft_ns),
        None if ttft_ns is None else int(ttft_ns.sum()),
    )
    return dict(zip(TIMED, values, strict=True))


def _waited_share(waited: Sequence[float], blocks: Sequence[Block]) -> float | None:
    """The mean over the blocks that the figures come from; None where the system didn't tell."""
    if len(waited) != len(blocks) or not blocks:
        return None
    shares = [share for share, block in zip(waited, blocks, strict=True) if not block.disturbed]
    return float(np.mean(shares or waited))


def canary_median(blocks: Sequence[Block]) -> float | None:
    """The canary's median over the blocks of a generation; None without any."""
    if not blocks:
        return None
    return float(np.median(np.concatenate([block.latency_ns for block in blocks])))


def _copy_ns(times: Sequence[int]) -> float | None:
    return max(_SHORTEST_COPY_NS, float(np.median(times))) if times else None


def _loadgen_checks(taken: Sequence[Invocation]) -> list[Check]:
    """Whether LoadGen calls its tests valid, in words; nothing where it made none."""
    told = [one.loadgen for one in taken if one.loadgen is not None]
    if not told:
        return []
    tests = f"{len(told)} test{'s' * (len(told) != 1)}"
    invalid = [one for one in told if not one.valid]
    why = dict.fromkeys(words for one in invalid for words in one.why)
    if not invalid:
        return [Check(name="loadgen", ok=True, detail=f"LoadGen reports VALID for {tests}")]
    detail = f"LoadGen reports INVALID for {len(invalid)} of {tests}: {'; '.join(why)}"
    return [Check(name="loadgen", ok=False, detail=detail)]


# -- placement, accuracy, parity ------------------------------------------------------------------


def _placement(facts: CellFacts, cell: Cell) -> PlacementFact | None:
    """Where the cell's nodes and their time were, and what they compute in."""
    if facts.placement is None:
        return None
    told = facts.placement.model_dump() | _further(facts.profiled)
    if facts.simulated:  # what a simulator spends on a node says nothing of the device
        told["time_share"] = {}
    return placement_fact(told, device_of(cell.target))


def device_of(target: str) -> str:
    """The device that a target names: ``cuda:0`` of ``onnxruntime:cuda:0?streams=2``."""
    return target.partition("?")[0].partition(":")[2]


def _further(profiled: ToldPlacement | None) -> dict[str, Any]:
    """What a session of its own found out beyond the timed one."""
    if profiled is None:
        return {}
    found = profiled.model_dump(include={"precision", "time_share", "source", "off_device"})
    return {name: value for name, value in found.items() if value}


def _placement_checks(placement: PlacementFact | None, cell: Cell, file: str) -> list[Check]:
    if placement is None:
        return []
    found = (
        placement_check(placement, cell.target),
        precision_check(cell.variant, placement.precision, file),
    )
    return [check for check in found if check is not None]


def _accuracy(facts: CellFacts, scores: Sequence[TaskScore]) -> Accuracy | None:
    """The task's scores on the labelled data."""
    if facts.scored is None or not scores:
        return None
    primary, *further = scores
    return Accuracy(
        metric=primary.metric.name,
        value=estimate.as_estimate(primary.value),
        correct=primary.correct,
        examples=primary.examples,
        dataset=facts.scored.dataset,
        dataset_sha256=facts.scored.dataset_sha256,
        notes=facts.scored.notes,
        predictions=facts.scored.predictions,
        further=tuple(
            Metric(name=s.metric.name, value=estimate.as_estimate(s.value), examples=s.examples)
            for s in further
        ),
    )


def _accuracy_checks(facts: CellFacts, doubts: Sequence[str]) -> list[Check]:
    """What makes the score doubtful, or why there is none."""
    if facts.not_scored:
        return [Check(name="accuracy", ok=False, detail=facts.not_scored)]
    return [Check(name=DOUBT, ok=False, detail=text) for text in doubts]


def _parity(evidence: Evidence, placement: PlacementFact | None) -> tuple[Parity | None, str]:
    """How far the timed outputs are from the reference's, or why that is not known; neither where
    no outputs were taken."""
    facts = evidence.facts
    reference = evidence.reference
    if evidence.outputs is None or reference is None or reference.outputs is None:
        return facts.parity, facts.not_compared
    held = held_to(evidence.cell.variant, facts.computes_in or _int8_alone(placement))
    found = parity(evidence.outputs, reference, held.name, evidence.witnesses)
    return found, OTHER_SHAPES if found is None else ""


def _int8_alone(placement: PlacementFact | None) -> str:
    """What is known of a file that nobody looked into: runtimes don't make int8 of their own."""
    parts = placement.precision.split("+") if placement else []
    return "int8" if "int8" in parts else ""


def _parity_checks(found: Parity | None, why_not: str) -> list[Check]:
    if found is None:
        detail = f"not compared: {why_not}"
        return [Check(name="parity", ok=False, detail=detail)] if why_not else []
    error = "NaN or Inf" if found.max_abs_error is None else f"{found.max_abs_error:.1e}"
    flips = f", {found.top1_flips} of {found.samples} top-1" if found.top1_flips else ""
    detail = f"largest difference from {found.reference}: {error}{flips}; {found.tolerance}"
    if found.doubted_by:
        agrees = f"{' and '.join(found.doubted_by)} agree{'s' * (len(found.doubted_by) == 1)}"
        detail = f"{found.reference} is in doubt: {agrees} with what was timed; {detail}"
        return [Check(name="reference", ok=False, detail=detail)]
    return [Check(name="parity", ok=found.ok, detail=detail)]
