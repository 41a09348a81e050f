"""What was found out of a cell and of its workers, as it was told: the raw data behind a record,
besides the timed calls, the outputs and the predictions.

Nothing here is computed from anything else; all that is computed is in `bench.record.assemble`.
"""

from __future__ import annotations

from pydantic import Field

from bench.cell import Count, Frozen, Positive
from bench.record.files import OutputsFile, PredictionsFile
from bench.record.loadgen import LoadGenSaid
from bench.record.result import (
    Above,
    EnvironmentFact,
    Failure,
    Footprint,
    Parity,
    Roofline,
    StopReason,
    SweepEnd,
)


class Reading(Frozen):
    """What a device told of itself once, right before or after timed calls; None is what it doesn't
    tell."""

    power_w: float | None = None
    clock_hz: float | None = None
    default_clock_hz: float | None = None
    throttled: tuple[str, ...] | None = None  #: reasons
    memory_bytes: int | None = None
    memory_clock_hz: float | None = None
    temperature_c: float | None = None


class Trial(Frozen):
    """One rate that a server's search tried."""

    rate_per_s: Above
    held: bool
    late_ns: float  #: 99th percentile of how late the generator was


class WorkerFacts(Frozen):
    """What one worker told, and how it was asked: a line of workers.jsonl."""

    cell_id: str
    index: int
    load_ns: int  #: reading and compiling the model
    bind_ns: int
    first_inference_ns: int
    warmup_calls: int
    settled: bool
    discard: int  #: first calls of each block, not counted
    discard_why: str = ""  #: how that number was come by, in words
    #: from asking for the process to its being ready, beside what else started
    start_ns: int | None = None
    rss_before_load_bytes: int | None = None
    peak_rss_bytes: int | None = None
    disturbances: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()
    waited: tuple[float, ...] = ()  #: share of each block in which a thread had no CPU
    queries_per_call: Positive = 1
    trials: tuple[Trial, ...] = ()  #: server: in the order of the search
    h2d_ns: tuple[int, ...] = ()  #: each copy of all inputs to the device
    d2h_ns: tuple[int, ...] = ()  #: each copy of all outputs back
    readings: tuple[Reading, ...] = ()  #: right after each block
    readings_before: tuple[Reading, ...] = ()
    raising_calls: tuple[Count, ...] = ()  #: untimed, to bring the device to its clock before each
    device_ns: Above | None = None  #: what the device worked on a call (`bench.capabilities`)
    device_gaps: bool = False  #: whether its pauses for the host are in that
    loadgen: LoadGenSaid | None = None  #: of the test that LoadGen made of it


class ToldPlacement(Frozen):
    """What a session told of where its nodes are (see `bench.backend.Placement`)."""

    nodes: dict[str, int] = Field(default_factory=dict)
    source: str = ""
    off_device: tuple[str, ...] = ()
    precision: str = ""
    time_share: dict[str, float] = Field(default_factory=dict)


class Scored(Frozen):
    """What was scored: the data, what of it was left out, and the file of the predictions."""

    dataset: str
    dataset_sha256: str
    predictions: PredictionsFile
    notes: tuple[str, ...] = ()


class Witness(Frozen):
    """An independent runtime, and the file of what it makes of the same model and inputs."""

    name: str
    outputs: OutputsFile


class CellFacts(Frozen):
    """What is known of a finished cell besides what its workers told: a line of facts.jsonl."""

    cell_id: str
    stop: StopReason
    failure: Failure | None = None
    simulated: bool = False
    device_name: str = ""
    runtime_version: str = ""
    environment: EnvironmentFact | None = None
    variant_method: str = ""
    group: str = ""
    finished_at: str = ""
    placement: ToldPlacement | None = None  #: as the timed session told
    profiled: ToldPlacement | None = None  #: as a session of its own found out
    computes_in: str = ""  #: the narrowest types of the model's file; empty where that isn't known
    outputs: OutputsFile = ""  #: file of what the last timed call put out, as much as is compared
    reference: str = ""
    reference_outputs: OutputsFile = ""  #: file of what the reference put out
    witnesses: tuple[Witness, ...] = ()  #: asked where the two disagree
    not_compared: str = ""  #: why there is no parity
    parity: Parity | None = None  #: only where the outputs are too large to be kept
    footprint: Footprint | None = None
    roofline: Roofline | None = None
    no_roofline: str = ""  #: why there is none, where it was asked for
    sweep_end: SweepEnd | None = None
    scored: Scored | None = None
    not_scored: str = ""  #: why there is no accuracy
    #: of whole queries: each time of making token ids of a request's text, in ns
    tokenizing_ns: tuple[float, ...] = ()
    templated: bool = False  #: whether these have a chat template in them
    sizes: dict[str, int] = Field(default_factory=dict)  #: of dimensions, as asked for by name
    assumed: tuple[str, ...] = ()  #: what of the inputs nobody said, in words
