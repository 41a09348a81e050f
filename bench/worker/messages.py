"""What the scheduler asks of a worker, and what it is answered: one frozen dataclass each.

Both sides import this module, encode what they say and decode what they hear
(`bench.worker.codec`): a message of another name, an unknown or missing field, or a value that
isn't of its field's type is a `MessageError` on the side that notices it, be it the sender.

Fields are in ns, bytes and seconds as their names say. Arrays travel as they are; a mapping of
inputs keeps its order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Mapping, Optional, Tuple, Union

import numpy as np

from bench.backend import Device, ModelFile, Options, Placement, TensorSpec
from bench.capabilities import DeviceTime, Nanoseconds, Reading

Array = np.ndarray[Any, Any]
#: Inputs by their names.
Inputs = Mapping[str, Array]
#: How an inference is made: the prepared call, the runtime's usual API, a loop without Python.
Lane = Literal["prepared", "api", "native"]


# What a worker says unasked.


@dataclass(frozen=True)
class Hello:
    """The first message of a worker."""

    protocol: int


# Requests, and behind each what answers it.


@dataclass(frozen=True)
class AskVersion:
    """Is the runtime there at all?"""


@dataclass(frozen=True)
class Version:
    """The runtime's own version."""

    version: str


@dataclass(frozen=True)
class AskDevices:
    """Which devices answer when touched?"""


@dataclass(frozen=True)
class Absence:
    """Why a kind of device is not there."""

    reason: str
    remedy: str
    not_in_build: bool  #: another build of the runtime would be for it


@dataclass(frozen=True)
class Devices:
    """Devices that answered, and by kind or by id why others that this build is for did not."""

    devices: Tuple[Device, ...]
    absent: Mapping[str, Absence]


@dataclass(frozen=True)
class AskPackages:
    """Which distributions can this interpreter import from?"""


@dataclass(frozen=True)
class Packages:
    """Their versions by name, sorted."""

    packages: Mapping[str, str]


@dataclass(frozen=True)
class Load:
    """Read and compile a model; one that was loaded before is closed."""

    model: ModelFile
    device: Device
    options: Options
    cpus: Tuple[int, ...]  #: the worker is pinned to; where there are none it stays as it is


@dataclass(frozen=True)
class LoadedInfo:
    """A compiled model, and what that cost."""

    load_ns: int
    rss_before_load_bytes: Optional[int]
    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Bind:
    """Bind inputs for one lane, in so many streams, and make the first call."""

    feeds: Inputs
    lane: Lane
    streams: int


@dataclass(frozen=True)
class BindQueries:
    """Whole queries of a language model: bind a stream of the session and make the first query.

    ``prompts`` are int64 of shape (prompts, batch, tokens), taken in turn; each gives
    ``new_tokens`` more. ``decoder`` is a `bench.decoding.Decoder` as JSON.
    """

    decoder: str
    prompts: Array
    new_tokens: int


@dataclass(frozen=True)
class Bound:
    """What is bound, where it runs, and what more can be asked about it."""

    bind_ns: int
    first_inference_ns: int
    queries_per_call: int
    rss_bytes: Optional[int]
    placement: Placement
    profiles: bool  #: a session like this one could find out more of its placement
    times_copies: bool
    times_device: bool  #: whether the device's own time of a call can be told from the host's
    tells_of_device: bool


@dataclass(frozen=True)
class WarmUp:
    """Call until the latency is steady, or so many seconds are spent."""

    budget_s: float


@dataclass(frozen=True)
class Warmup:
    """How a session warmed up."""

    calls: int
    settled: bool
    latency_ns: int  #: median of the last window


@dataclass(frozen=True)
class TimeBlock:
    """Make ``discard`` calls that don't count, then time ``calls``."""

    calls: int
    discard: int


@dataclass(frozen=True)
class TimedBlock:
    """The latency of each call, in order; of whole queries also the time to their first token, and
    those from each token to the next, (calls, new tokens - 1)."""

    latency_ns: Nanoseconds
    ttft_ns: Optional[Nanoseconds] = None
    gaps_ns: Optional[Nanoseconds] = None


@dataclass(frozen=True)
class Bounds:
    """What a query's times must not exceed; None where nothing is asked of one."""

    latency_ns: Optional[float] = None
    ttft_ns: Optional[float] = None
    tpot_ns: Optional[float] = None


@dataclass(frozen=True)
class ServeQueries:
    """Queries that arrive at random moments (`bench.worker.openloop`), until more than
    ``allowed_above`` are beyond one of ``bounds``."""

    rate_per_s: float
    queries: int
    seed: int
    bounds: Bounds
    allowed_above: int
    discard: int


@dataclass(frozen=True)
class ServedQueries:
    """Latencies from when each query was to arrive, of whole queries also the times from then to
    their first token; how late the generator was (p99)."""

    latency_ns: Nanoseconds
    generator_late_ns: float
    ttft_ns: Optional[Nanoseconds] = None


@dataclass(frozen=True)
class LoadGenTest:
    """One test of MLPerf's LoadGen, in the words of its ``TestSettings``.

    Seeds are decimal: they go beyond what a number in a message may be.
    """

    scenario: str  #: SingleStream, MultiStream, Server or Offline
    samples_per_query: int
    expected_per_s: float  #: queries, of Server the rate, of Offline samples
    target_latency_ns: int  #: Server alone
    target_latency_percentile: float  #: of 1
    min_duration_ms: int
    min_query_count: int
    max_query_count: int  #: 0: as many as it takes
    qsl_rng_seed: str
    sample_index_rng_seed: str
    schedule_rng_seed: str
    logs: str  #: the folder for its files, which is there
    traced: bool  #: whether each sample's latency is taken from its trace


@dataclass(frozen=True)
class DriveLoadGen:
    """LoadGen's performance mode on what is bound; or on the samples of a ``library`` (its first
    axis counts them), each bound before the test, one a query."""

    test: LoadGenTest
    library: Optional[Inputs] = None


@dataclass(frozen=True)
class Driven:
    """Latency of each query as LoadGen has it, where it was traced and the scenario has one, else
    of each call; and beside it the time of each call alone."""

    latency_ns: Nanoseconds
    call_ns: Nanoseconds


@dataclass(frozen=True)
class ScoreThroughLoadGen:
    """LoadGen's accuracy mode: every sample of ``feeds`` (the first axis counts them) through the
    checked path, ``batch`` at a time; one of the outputs is what LoadGen logs."""

    test: LoadGenTest
    feeds: Inputs
    output: int
    batch: int


@dataclass(frozen=True)
class ScoredThroughLoadGen:
    """What the logged bytes of a sample are."""

    dtype: str
    shape: Tuple[int, ...]


@dataclass(frozen=True)
class Fetch:
    """What did the last timed call leave?"""


@dataclass(frozen=True)
class Evaluate:
    """What does the checked path compute of these inputs?"""

    feeds: Inputs


@dataclass(frozen=True)
class Outputs:
    """In the order of the session's outputs."""

    arrays: Tuple[Array, ...]


@dataclass(frozen=True)
class ScoreTokens:
    """How probable is each target after the tokens before it?

    ``output`` is the place of the logits among the session's outputs; ``targets``, int64 [batch,
    tokens], are the ids that come next, -1 where none is scored. ``top`` is how many of the most
    probable ids are told of each.
    """

    feeds: Inputs
    output: int
    targets: Array
    top: int


@dataclass(frozen=True)
class TokenScores:
    """One row for each target that is scored, row by row of the batch.

    Natural logarithms of probabilities: ``right`` of the target; ``best`` of the most probable
    ``ids``, the first of them first; ``tail`` of all others together.
    """

    right: Array  #: float32 [targets]
    ids: Array  #: int32 [targets, top]
    best: Array  #: float32 [targets, top]
    tail: Array  #: float32 [targets]


@dataclass(frozen=True)
class GoOn:
    """What does a language model say after these tokens, int64 [tokens], if it always takes the
    most probable one? It ends with one of ``ends``, or after ``most``.

    ``decoder`` is a `bench.decoding.Decoder` as JSON.
    """

    decoder: str
    tokens: Array
    ends: Array  #: int64 [ends]
    most: int


@dataclass(frozen=True)
class WentOn:
    """The tokens that it said, int64, with the one that ended them where there was one."""

    tokens: Array


@dataclass(frozen=True)
class LoadDraft:
    """Read and compile a second model beside the first, one that drafts for it."""

    model: ModelFile
    device: Device
    options: Options


@dataclass(frozen=True)
class Speculate:
    """``most`` greedy tokens behind a prompt, int64 [tokens], with drafts of up to ``length``
    tokens; with 0 the first model alone.

    ``decoder`` and ``draft`` are each a `bench.decoding.Decoder` as JSON.
    """

    decoder: str
    draft: str
    prompt: Array
    most: int
    length: int


@dataclass(frozen=True)
class Speculated:
    """The answer, times and iterations (`bench.worker.speculation.Said`)."""

    tokens: Array  #: int64 [tokens]
    prompt_ns: int
    rest_ns: int
    drafted: Array  #: int64 [iterations]
    accepted: Array  #: int64 [iterations]
    margins: Array  #: float64 [tokens], of the model alone
    cuts: bool  #: whether its state is cut to the tokens that are accepted


@dataclass(frozen=True)
class ReadText:
    """What does the model (the second, if ``of_draft``) put first behind each token of ``text``,
    taken in steps of ``at_once`` tokens behind ``prompt``; both int64 [tokens]?"""

    decoder: str
    of_draft: bool
    prompt: Array
    text: Array
    at_once: int


@dataclass(frozen=True)
class TextRead:
    """The most probable ids, int64, and each step's time."""

    predicted: Array
    step_ns: Nanoseconds


@dataclass(frozen=True)
class TimeCopies:
    """How long do the copies of what is bound take? One inference takes ``latency_ns``."""

    latency_ns: float


@dataclass(frozen=True)
class CopyTimes:
    """Times in ns by what they are of (``h2d_ns``, ``d2h_ns``); none where they can't be timed."""

    times: Mapping[str, Tuple[int, ...]]


@dataclass(frozen=True)
class TimeDevice:
    """How long does the device work on one call of what is bound? One takes ``latency_ns``."""

    latency_ns: float


@dataclass(frozen=True)
class DeviceTimed:
    """None where that can't be told."""

    time: Optional[DeviceTime]


@dataclass(frozen=True)
class AskDeviceMemory:
    """How much memory has the device left?"""

    device: Device


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes now; None where the backend can't tell."""

    free_bytes: Optional[int]
    total_bytes: Optional[int]


@dataclass(frozen=True)
class AskReadings:
    """What did the device tell of itself before and after each block?"""


@dataclass(frozen=True)
class Readings:
    """In the order of the blocks; none where the device tells nothing."""

    readings: Tuple[Reading, ...]  #: right after each
    before: Tuple[Reading, ...] = ()  #: right before each
    #: untimed calls that brought the device to its clock before each
    raising_calls: Tuple[int, ...] = ()


@dataclass(frozen=True)
class WatchEnergy:
    """What does the device's meter say, asked again and again for so long? At least once."""

    device: Device
    watch_s: float
    every_s: float


@dataclass(frozen=True)
class EnergyWatched:
    """Readings by time on the clock of latencies; no times where the device has no meter, or where
    that can't be read, with the reason in ``missing``. Values that it doesn't tell are -1.
    ``present`` and ``computing`` are as in any `EnergyReading` of these."""

    scope: str
    meter: str
    at_ns: Nanoseconds
    energy_uj: Nanoseconds
    power_mw: Nanoseconds
    present: Tuple[int, ...] = ()
    computing: Tuple[int, ...] = ()
    missing: str = ""


@dataclass(frozen=True)
class FindPlacement:
    """The placement, with all that the session can find out on these inputs in its own time."""

    feeds: Inputs


@dataclass(frozen=True)
class FoundPlacement:
    """Where the nodes ran."""

    placement: Placement


@dataclass(frozen=True)
class AskMemory:
    """How much memory did this process hold at most since it loaded its model?"""


@dataclass(frozen=True)
class Memory:
    """The high-water mark; None where the system doesn't tell."""

    peak_rss_bytes: Optional[int]


@dataclass(frozen=True)
class Unload:
    """Close the session, if there is one; another model may be loaded then."""


@dataclass(frozen=True)
class Close:
    """Close the session and end."""


@dataclass(frozen=True)
class Done:
    """It is done, and there is nothing to tell."""


@dataclass(frozen=True)
class Failed:
    """Instead of any answer: an error of this kind (`bench.errors`) was raised.

    ``reason`` and ``remedy`` are apart where the kind has them.
    """

    kind: str
    text: str
    reason: str = ""
    remedy: str = ""


Request = Union[
    AskVersion,
    AskDevices,
    AskPackages,
    Load,
    Bind,
    BindQueries,
    WarmUp,
    TimeBlock,
    ServeQueries,
    DriveLoadGen,
    ScoreThroughLoadGen,
    Fetch,
    Evaluate,
    ScoreTokens,
    GoOn,
    LoadDraft,
    Speculate,
    ReadText,
    TimeCopies,
    TimeDevice,
    AskDeviceMemory,
    AskReadings,
    WatchEnergy,
    FindPlacement,
    AskMemory,
    Unload,
    Close,
]
Answer = Union[
    Version,
    Devices,
    Packages,
    LoadedInfo,
    Bound,
    Warmup,
    TimedBlock,
    ServedQueries,
    Driven,
    ScoredThroughLoadGen,
    Outputs,
    TokenScores,
    WentOn,
    Speculated,
    TextRead,
    CopyTimes,
    DeviceTimed,
    DeviceMemory,
    Readings,
    EnergyWatched,
    FoundPlacement,
    Memory,
    Done,
    Failed,
]
