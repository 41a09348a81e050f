"""What a run writes down: the result of a cell, and the facts that make it worth trusting.

Times are integer nanoseconds, sizes bytes, rates samples per second, accuracies fractions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from bench.cell import MOST, Cell, Count, Frozen, Positive
from bench.numbers import wider_side
from bench.record.files import PredictionsFile
from bench.record.loadgen import LoadGenSaid
from bench.record.windows import Kind, Scope

SCHEMA_VERSION = 1

Status = Literal["ok", "failed"]
Standing = Literal["ok", "partial", "wrong", "failed"]
StopReason = Literal[
    "precision",
    "first-look",
    "ranked",
    "max-time",
    "max-invocations",
    "interrupted",
    "simulated",
    "failed",
    "foreign",
]


#: Below any clock's resolution in ns, and of a rate 31 years.
LEAST = 1e-9
#: A device that works for less of a call's time waits for longer than it works.
LAUNCH_BOUND = 0.5
#: What others divide by, or take the logarithm of: times in ns, rates.
Above = Annotated[float, Field(ge=LEAST, le=MOST)]
Figure = Annotated[float, Field(ge=-MOST, le=MOST)]


class Estimate(Frozen):
    """A value with its confidence interval, both in the unit of the field that holds it."""

    value: Figure
    low: Figure
    high: Figure
    confidence: Annotated[float, Field(gt=0, lt=1)]

    @property
    def half_width(self) -> float:
        """How far it reaches from the value, on its wider side."""
        return wider_side(self.value, self.low, self.high)


def value_of(estimate: Estimate | None) -> float | None:
    """The value alone; None where there is no estimate."""
    return None if estimate is None else estimate.value


def _above_zero(estimate: Estimate) -> Estimate:
    if min(estimate.value, estimate.low, estimate.high) < LEAST:
        raise ValueError(f"must be at least {LEAST:g}, in its value and its bounds")
    return estimate


#: An estimate of a time or of a rate.
Amount = Annotated[Estimate, AfterValidator(_above_zero)]


class Percentile(Frozen):
    """A latency percentile, or why there is none.

    ``value_ns`` is MLPerf's early-stopping estimate (an upper bound at 99% confidence) and is
    None where ``samples`` are fewer than the ``samples_needed`` for it.
    """

    p: Annotated[float, Field(gt=0, lt=1)]
    value_ns: Above | None
    low_ns: Above | None = None
    high_ns: Above | None = None
    samples: Count
    samples_needed: Count


class Latency(Frozen):
    """Latency of one query, over all samples of all invocations."""

    median_ns: Amount
    floor_ns: Amount  #: the 1st percentile: what the machine can do when left alone
    p90: Percentile
    p99: Percentile
    samples: Count
    outliers: dict[str, Count]  #: counts by class; outliers are kept in every figure


class Invocation(Frozen):
    """One worker process that measured a cell once."""

    cell_id: str
    index: Count
    load_ns: Positive  #: reading and compiling the model, and binding its inputs
    first_inference_ns: Positive
    warmup_calls: Count
    settled: bool  #: steady state was reached before measuring
    calls: Positive
    blocks: Count
    discarded_calls: Count
    median_ns: Above
    #: the geometric mean of the blocks' medians; None in runs that were made before it was kept
    typical_block_ns: Above | None = None
    #: the median of the block in each round, of which ratios of cells measured in turn are made;
    #: None in runs that were made before they were kept, whose ratios are of typical blocks
    round_ns: dict[Count, Above] | None = None
    floor_ns: Above
    busy_ns: Positive  #: sum over all measured calls
    peak_rss_bytes: Count | None
    rss_before_load_bytes: Count | None
    start_ns: Count | None = None  #: until its process was ready, beside what else started
    #: the most that the worker held on the device, as its driver or the runtime tells
    device_memory_bytes: Count | None = None
    canary_ns: Above | None = None  #: the canary's median in the same rounds
    disturbed_blocks: Count = 0
    disturbances: tuple[str, ...] = ()  #: what else used the machine in this generation
    cpus: tuple[Count, ...] = ()
    #: share of the blocks that count in which a thread was ready to run and had no CPU
    waited_share: float | None = None
    capacity_per_s: Above | None = None  #: server: the highest rate at which the bound held
    #: server: 99th percentile of how late queries came that found the system idle
    generator_late_ns: Figure | None = None
    #: of a language model's whole queries: the median time to the first token, and the median time
    #: from there to the last
    ttft_ns: Above | None = None
    rest_ns: Figure | None = None
    ttft_busy_ns: Count | None = None  #: sum of the times to first tokens over all measured calls
    queries_per_call: Positive = 1  #: above 1 where a call runs several streams at once
    h2d_ns: Above | None = None  #: median time of copying all inputs to the device
    d2h_ns: Above | None = None  #: median time of copying all outputs from the device
    device_ns: Above | None = None  #: how long the device worked on a call, watched apart
    device_gaps: bool = False  #: whether its pauses for the host are in that: then it's at most so
    device_readings: Count = 0  #: how often the device was asked for what follows
    power_w: Figure | None = None  #: median, of the whole device
    clock_hz: Figure | None = None  #: median, of what computes
    default_clock_hz: Figure | None = None
    clock_before_hz: Figure | None = None  #: median, right before the blocks
    memory_clock_hz: Figure | None = None  #: median
    temperature_c: Figure | None = None  #: the highest
    raising_calls: Count = 0  #: untimed, to bring the device to its working clock before the blocks
    throttled: dict[str, Count] | None = None  #: reason -> in how many readings; None if not told
    loadgen: LoadGenSaid | None = None  #: where MLPerf's LoadGen issued the queries

    @property
    def paced_ns(self) -> float:
        """The time of a query of the typical block."""
        return self.median_ns if self.typical_block_ns is None else self.typical_block_ns

    @property
    def query_ns(self) -> float:
        """Mean time between two finished queries; for a server between two that it can take."""
        if self.capacity_per_s is not None:
            return 1e9 / self.capacity_per_s
        return self.busy_ns / (self.calls * self.queries_per_call)

    def rate_per_s(self, batch: int) -> float:
        """Samples a second in queries of ``batch`` samples."""
        return batch * 1e9 / self.query_ns


#: Whether a bound is kept: sure that it is, sure that it isn't, or neither.
Kept = Literal["met", "missed", "inconclusive"]


class TokenTime(Frozen):
    """One time that whole queries of a language model are made up of, over all of them."""

    median_ns: Amount
    p90: Percentile
    p99: Percentile


class QueryTime(TokenTime):
    """One time of each of a language model's whole queries, which may be asked under a bound."""

    bound_ns: Positive | None = None  #: what its 99th percentile must not exceed
    kept: Kept | None = None  #: whether it does not, as far as the queries tell


class Queries(Frozen):
    """A language model's whole queries; the definitions are in docs/scenarios.md.

    ``prompt_tokens`` and ``new_tokens`` are those of each of a query's samples. The rates are
    tokens a second of all samples: those of the prompts over the time to the first tokens, and
    the others that were made over the time from there.
    """

    prompt_tokens: Positive
    new_tokens: Positive
    ttft: QueryTime
    tpot: QueryTime | None = None  #: None where a query makes one token
    #: from each token to the next, one by one; not of queries that may have waited
    itl: TokenTime | None = None
    #: making token ids of a request's text, timed apart: a median; None where that wasn't timed
    tokenizing_ns: Above | None = None
    templated: bool = False  #: whether a chat template is in that
    #: that and the time to the first token: what a user waits
    ttft_request_ns: Amount | None = None
    prompt_per_s: Amount | None = None  #: None for queries that may have waited
    new_per_s: Amount | None = None
    bounds: Kept | None = None  #: whether all bounds are kept


class Memory(Frozen):
    """Peak resident set of the worker over its life, and what loading and running added to it."""

    peak_rss_bytes: Count | None
    added_rss_bytes: Count | None
    device_bytes: Count | None = None


class Footprint(Frozen):
    """What a language model takes in memory for one query, foretold before anything is loaded from
    the description of its state; ``cache_held_bytes`` is measured.

    ``needed_bytes`` are the least that running it can take: weights, the state before and after,
    logits; for a cache that has to be filled first, what filling it takes where that is more.
    """

    weights_bytes: Count  #: of the file that is loaded
    cache_bytes: Count  #: the state that the query leaves, of all its samples
    cache_token_bytes: Figure  #: what a token of one sample adds to it in the long run
    logits_bytes: Count  #: [batch, new tokens at once, vocabulary] in float32
    needed_bytes: Count
    #: whether the state behind fewer tokens is a part of it, so that drafted tokens that are
    #: rejected can be cut off
    cache_cuts: bool | None = None
    #: measured: the state that was bound before the query, as the reference left it
    cache_held_bytes: Count | None = None


class EnergyRound(Frozen):
    """A cell's window in one round and the idle ones around it, where they are valid."""

    index: Count
    gross_j: Figure  #: a query
    idle_w: Figure | None = None  #: of the machine, in the middle of the cell's window
    net_j: Figure | None = None  #: a query, without what idling would have taken


class Energy(Frozen):
    """Energy of one scope over windows of seconds, each in a process of its own.

    ``gross_j`` and ``net_j`` are a query's; a query has ``samples``, and ``tokens`` where it is a
    language model's. Both are means over rounds. Without enough valid windows there is no figure,
    and ``missing`` says why.
    """

    scope: Scope
    meters: tuple[str, ...]  #: added up
    kind: Kind  #: a counter of energy, or readings of power
    samples: Positive
    tokens: Positive | None = None
    gross_j: Estimate | None = None
    net_j: Estimate | None = None
    power_w: Estimate | None = None
    idle_w: Estimate | None = None
    #: by how much a window's energy may be off, as a share, for want of finer times
    resolution: Figure | None = None
    rounds: tuple[EnergyRound, ...] = ()
    windows: Count  #: of this cell, valid or not
    invalid: dict[str, Count] = Field(default_factory=dict)  #: reason -> windows, idle ones too
    missing: str = ""

    @property
    def above_idle(self) -> bool:
        """Whether it is sure that the cell takes more than idling."""
        return self.net_j is not None and self.net_j.low > 0


class Busy(Frozen):
    """The device's own time of a call over the time of a call.

    ``at_most`` where pauses in which the device waited for its host are in the former.
    """

    share: Amount
    at_most: bool = False

    @property
    def launch_bound(self) -> bool:
        """Whether the device surely waits for longer than it works, so that a call takes as long as
        its host takes to launch its work."""
        return self.share.high < LAUNCH_BOUND


class Roofline(Frozen):
    """What one query makes and moves, counted in the model's graph, and what the target's runtime
    reached at most where it did nothing else.

    ``bytes`` are weights, inputs and outputs, each once: the least. ``unknown`` are operators that
    were not counted, by their number. The peak of operations is that of a matrix product in
    ``peak_of``, a variant's name; a bench of before knew fp32 alone and didn't say so.
    """

    operations: Count
    bytes: Count
    unknown: dict[str, Count] = Field(default_factory=dict)
    peak_operations_per_s: Above | None = None
    peak_bytes_per_s: Above
    peak_of: str = ""
    no_peak: str = ""  #: why the runtime runs no such product


class Metric(Frozen):
    """A further metric of the same outputs: top-5, or one class (``class 3``)."""

    name: str
    value: Estimate
    examples: Count


class Accuracy(Frozen):
    """The score on the labelled data, through a session compiled with the cell's options.

    ``metric`` is the task's primary one; a proportion or correlation as a fraction of 1.
    ``correct`` is None where the metric is no proportion. ``notes`` tell what of the labelled data
    was left out or cut, and so isn't in the score.
    """

    metric: str
    value: Estimate
    correct: Count | None
    examples: Count  #: scored items: examples, pairs of texts, queries
    dataset: str
    dataset_sha256: str
    predictions: PredictionsFile  #: file in the run directory: one row a scored item
    further: tuple[Metric, ...] = ()
    notes: tuple[str, ...] = ()


class Parity(Frozen):
    """Difference of the timed session's own outputs from the reference's, on the timed input.

    The reference is the model's fp32 form whatever the variant; ``tolerance`` says what is allowed
    for the variant, and where that limit comes from.
    """

    reference: str
    max_abs_error: float | None  #: None where NaN or Inf is in one of the two alone
    max_rel_error: float | None
    cosine: float | None
    tolerance: str
    ok: bool
    top1_flips: Count | None = (
        None  #: samples whose largest output is another; None for no classifier
    )
    samples: int | None = None
    #: independent runtimes that agree with these outputs and not with the reference, where none
    #: agrees with the reference: then that is in doubt, and not what was timed
    doubted_by: tuple[str, ...] = ()


class PlacementFact(Frozen):
    """Where the nodes ran. ``off_device`` names those elsewhere, and why where that is known."""

    nodes: dict[str, Count]
    on_device_share: Figure | None  #: of the nodes, 0 to 1
    off_device: tuple[str, ...] = ()
    source: str
    precision: str = ""
    #: device -> its fraction of the nodes' time, where that was measured
    time_share: dict[str, Figure] | None = None
    on_device_time_share: Figure | None = None  #: of that time, 0 to 1


class EnvironmentFact(Frozen):
    """The environment whose interpreter measured, where it is not that of `bench`."""

    name: str
    python: str  #: version
    numpy: str  #: version


class Check(Frozen):
    """One validity check; what fails is marked and kept."""

    name: str
    ok: bool
    detail: str


class Failure(Frozen):
    """A typed failure: ``kind`` is one of the kinds in `bench.errors`."""

    kind: str
    message: str
    log_tail: str = ""


class SweepEnd(Frozen):
    """Why a sweep over the batch (``--batch auto``) has no larger one than this: the next batch did
    not fit into memory."""

    batch: Positive  #: the one that failed
    failure: Failure


class Foreign(Frozen):
    """What another tool measured, as it says so.

    No interval and no check: the file of a single process can't support the first, and nothing is
    known about the second. What that tool does not tell is None. ``samples`` counts its timings;
    ``stored_samples`` of them are in the run's samples, the others were not in the file.
    """

    tool: str  #: ``pytest-benchmark``, ``benchmark_app``, ...
    version: str = ""
    source: str  #: name of the file that it was read from
    name: str  #: what the tool calls this result
    median_ns: Above | None = None
    mean_ns: Above | None = None
    stddev_ns: Figure | None = None
    min_ns: Above | None = None
    max_ns: Above | None = None
    p90_ns: Above | None = None
    p99_ns: Above | None = None
    throughput_per_s: Above | None = None
    samples: Count | None = None
    stored_samples: Count = 0
    details: dict[str, str] = Field({}, description="what else the file says about it")


class Record(Frozen):
    """The result of one cell."""

    schema_version: int = SCHEMA_VERSION
    cell_id: str
    cell: Cell
    status: Status
    failure: Failure | None = None
    stop: StopReason
    simulated: bool = False
    device_name: str = ""
    runtime_version: str = ""
    environment: EnvironmentFact | None = None
    latency: Latency | None = None
    throughput: Amount | None = None  #: samples per second, back-to-back queries
    queries: Queries | None = None  #: where a query is a language model's prompt and its answer
    load_ns: Amount | None = None
    first_inference_ns: Amount | None = None
    h2d_ns: Amount | None = None  #: copying all inputs to the device; not part of the latency
    d2h_ns: Amount | None = None  #: copying all outputs from the device; nor this
    device_ns: Amount | None = None  #: how long the device worked on a call
    busy: Busy | None = None  #: how much of a call's time that was
    memory: Memory | None = None
    footprint: Footprint | None = None  #: of a language model
    energy: tuple[Energy, ...] = ()  #: by scope, the device's own first
    #: of the same windows by the other kind of readings, where that gives a figure too: what this
    #: cell has in common with one that could only be read in that way
    energy_by_other_kind: tuple[Energy, ...] = ()
    roofline: Roofline | None = None  #: where it was asked for
    no_roofline: str = ""  #: why there is none, where it was asked for
    sweep_end: SweepEnd | None = None  #: of the largest batch of a sweep that memory ended
    accuracy: Accuracy | None = None
    parity: Parity | None = None
    placement: PlacementFact | None = None
    variant_method: str = ""  #: how the variant was made: tool, options, calibration data
    checks: tuple[Check, ...] = ()
    invocations: tuple[Invocation, ...] = ()
    canary_ns: Amount | None = None
    group: str = ""  #: cells of one group were measured interleaved
    #: sizes of dimensions, as they were asked for by name
    sizes: dict[str, int] = Field(default_factory=dict)
    assumed: tuple[str, ...] = ()  #: what of the inputs nobody said and was guessed, in words
    finished_at: str = ""
    foreign: Foreign | None = None  #: set where another tool measured it; then `latency` is None

    @property
    def wrong(self) -> tuple[str, ...]:
        """The checks that say that this is no measurement of what was asked for: outputs that are
        not the model's, another place, another precision. Its figures are kept and not ranked.

        Outputs that nothing could be compared with, or of which only the reference's are in doubt,
        are not known to be wrong; nor is a place that the user allowed.
        """
        found = {check.name for check in self.checks if not check.ok}
        # Without `parity` nothing was compared; one in doubt has a check of another name.
        parity = self.parity is not None and "parity" in found
        wrong = {
            "parity": parity,
            "placement": "placement" in found and not self.cell.allow_fallback,
            "precision": "precision" in found,
        }
        return tuple(name for name, is_wrong in wrong.items() if is_wrong)

    @property
    def partial(self) -> bool:
        """Whether an interrupt ended its measuring. What it has is shown and decides nothing; a
        resumed run measures it to its end, and that record replaces this one."""
        return self.stop == "interrupted"

    @property
    def lone_ns(self) -> float | None:
        """The latency of its only invocation, which is shown, and supports no interval; None where
        there are several, or it is of a rate."""
        only = self._only
        return None if only is None or self.cell.is_rate else only.median_ns

    @property
    def lone_rate(self) -> float | None:
        """Likewise the samples a second."""
        only = self._only
        return only.rate_per_s(self.cell.batch) if only and self.cell.is_rate else None

    @property
    def _only(self) -> Invocation | None:
        usable = self.status == "ok" and not self.simulated and len(self.invocations) == 1
        return self.invocations[0] if usable else None

    @property
    def standing(self) -> Standing:
        """Whether its figures count: the status, told apart where it ran and is `wrong`, or is
        `partial`."""
        if self.status != "ok":
            return self.status
        if self.wrong:
            return "wrong"
        return "partial" if self.partial else "ok"
