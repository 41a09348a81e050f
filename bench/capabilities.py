"""What a backend or a session may offer beyond the contract in `bench.backend`.

Each capability is a protocol of its own, kept by having the method or the attribute: no base class
is needed, and none is registered. Who wants one asks ``isinstance(session, Streams)``; whoever
lacks it is measured without. The contract suite checks each one that a backend has.

Like the contract, this module runs on Python 3.9 with the standard library and numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Optional,
    Protocol,
    Tuple,
    TypedDict,
    runtime_checkable,
)

import numpy as np

from bench.backend import Device, Feeds, Placement
from bench.decoding import Decoder
from bench.errors import Unavailable

#: Latencies, one a call.
Nanoseconds = np.ndarray[Any, np.dtype[np.int64]]
#: Token ids [batch, new tokens].
Tokens = np.ndarray[Any, np.dtype[np.int64]]
#: Scores of each token of the vocabulary, [batch, vocabulary].
Logits = np.ndarray[Any, np.dtype[np.float32]]
#: The same for each of several tokens, [batch, tokens, vocabulary].
EachLogits = np.ndarray[Any, np.dtype[np.float32]]

#: Queries that a stream makes before it waits for the others: waiting costs less, the more it
#: is shared by.
QUERIES_PER_STREAM = 4

#: The batch that a backend's ``trials`` are tried at.
TRIAL_BATCH = 4

#: ``time_calls(call, calls)``: latencies in ns, int64 of shape (calls,), of back-to-back calls.
TimeCalls = Callable[[Callable[[], object], int], Nanoseconds]

#: The arguments of one ``pip install`` each.
Steps = Tuple[Tuple[str, ...], ...]


# What a session may have.


@runtime_checkable
class Streams(Protocol):
    """Offline queries in flight at once."""

    def bind_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        """Prepare ``streams`` streams (2 or more), each with a copy of ``feeds``.

        One call makes `QUERIES_PER_STREAM` inferences in each of them, all streams at the same
        time, and returns when the last has ended; `fetch` then copies out what one of them left.
        Raises `Unsupported`, naming the streams, where this session can't run several.
        """
        ...


@runtime_checkable
class ProfilesPlacement(Protocol):
    """The placement with what only further work tells."""

    def profiled_placement(self, feeds: Feeds) -> Placement:
        """The `placement` with ``time_share``, the precision or reasons besides, for example from
        a profile of a few inferences on ``feeds``.

        Its ``nodes`` are those of `placement`. It is asked for in a worker that isn't timed, so
        it may take its time, and may leave the session as it likes.
        """
        ...


@runtime_checkable
class NativeTimer(Protocol):
    """The ``native`` lane: a loop of inferences without Python between them."""

    def native_timer(self, feeds: Feeds, time_calls: TimeCalls) -> Callable[[int], Nanoseconds]:
        """What is returned makes so many inferences on a copy of ``feeds`` and gives their
        latencies in ns, int64 of shape (calls,), all above 0; `fetch` then copies out what that
        loop's last inference left.

        ``time_calls`` times a loop in Python, for a runtime that has to be called from there after
        all. Raises `Unsupported` where this device, or this build of the runtime, has no such
        loop.
        """
        ...


@runtime_checkable
class TimesCopies(Protocol):
    """For inputs and outputs that travel between host and device."""

    def copy_times(self, feeds: Feeds, repeats: int) -> Mapping[str, Sequence[int]]:
        """``h2d_ns`` and ``d2h_ns``: times in ns of copying all inputs to the device and all
        outputs back, ``repeats`` (1 or more) of each, on the clock that the runtime offers for it.
        What else the runtime can time stands under names of its own, as often.

        Leaves bound callables, and what `fetch` gives, as they were. Raises a `BenchError` where
        copies can't be timed, which fails nothing.
        """
        ...


@dataclass(frozen=True)
class DeviceTime:
    """How long a device works on one call, in ns.

    ``gaps`` is False where the device had all its work before it began. It is True where the time
    goes from the first kernel's beginning to the last one's end and the device may have waited for
    its host in between: it worked no longer than so.
    """

    ns: float
    gaps: bool


@runtime_checkable
class TimesDevice(Protocol):
    """For devices that compute while the host does something else."""

    def device_time(self, calls: int) -> DeviceTime:
        """The typical call of ``calls`` (1 or more) more of what `Session.bind` or `bind_streams`
        gave last.

        Asked after all calls that are timed, since watching a device may slow its host down, or
        take another session. Raises a `BenchError` where this can't be told, which fails nothing.
        """
        ...


class DecodingStream(Protocol):
    """A decoding session: a language model that continues from the state of its own last step."""

    @property
    def position(self) -> int:
        """How many tokens it has taken since it was made or `reset`."""
        ...

    def reset(self) -> None:
        """Forget them all: the next step begins a text."""
        ...

    def step(self, tokens: Tokens) -> Logits:
        """Take one or more tokens behind those taken so far; the logits of the last one.

        Returns when they are on the host, in an array of the caller's own. The state stays where
        the model runs, and the next step takes it up there: no copy of it passes through the host.
        Raises `SpecError` for tokens of another type or batch, or for more than the capacity
        holds, and is then as it was.
        """
        ...


@runtime_checkable
class ChecksDrafts(Protocol):
    """What a `DecodingStream` may have beside: several tokens checked in one step, and steps taken
    back. Speculative decoding needs both."""

    @property
    def cuts(self) -> bool:
        """Whether `cut` can be had: tensors of which each token has an entry of its own."""
        ...

    def step_each(self, tokens: Tokens) -> EachLogits:
        """A `step` that gives the logits behind each of its tokens."""
        ...

    def keep(self) -> object:
        """The state as it is, for `put_back`; later steps leave it as it is, at no copy's cost."""
        ...

    def put_back(self, kept: object) -> None:
        """Be as when that was kept, in the same text: what came after it was never taken."""
        ...

    def cut(self, position: int) -> None:
        """Forget the tokens behind the first ``position``, 1 or more. Raises `Unsupported` where
        the state doesn't allow it."""
        ...


@runtime_checkable
class DecodesFromState(Protocol):
    """For language models: whole texts, token after token."""

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> DecodingStream:
        """A decoding session of ``batch`` texts of up to ``capacity`` tokens each, without any yet.

        Several of one `Session` don't disturb each other, nor what is bound. A runtime that
        compiles for shapes has to be compiled without them (``Options.shapes`` empty), so that
        lengths stay free. Raises `Unsupported`, with the reason, where this session can't.
        """
        ...


# What a backend may have.


@runtime_checkable
class ReportsDeviceMemory(Protocol):
    """How much memory a device has left: as many workers as fit in it start beside each other.

    Where that isn't known, they do only after a generation in which all were alive at once.
    """

    def device_memory(self, device: Device) -> Optional[Tuple[int, int]]:
        """Free and total bytes of the device's memory now; None where the runtime doesn't tell."""
        ...


class Reading(TypedDict, total=False):
    """What a device tells of itself at one moment; what isn't known is left out."""

    power_w: float  #: of the whole device
    clock_hz: float  #: of what computes
    default_clock_hz: float
    throttled: List[str]  #: why it is slower than it can sustain, in words; empty where it isn't
    memory_bytes: int  #: held by this process
    memory_clock_hz: float
    temperature_c: float  #: of the chip


@runtime_checkable
class Telemetry(Protocol):
    """Power, clock, throttling and memory of a device."""

    def telemetry(self, device: Device) -> Reading:
        """What the device tells of itself now; it is asked right before and after timed calls, and
        while a device that tells its clock is brought to the one that it works at.

        Never raises for a device that `devices` lists: one that tells nothing gives ``{}``.
        """
        ...


class EnergyReading(TypedDict, total=False):
    """What a meter says at one moment; one of the two values may be missing. Where nothing can be
    read, ``missing`` alone is there.

    The processes are now and then asked for, and left out where the device doesn't tell of them.
    """

    scope: str  #: what it is the energy of: ``gpu-board``, ``npu``
    meter: str  #: which device it reads, by a name that no other device has
    energy_j: float  #: counted since some moment before
    power_w: float
    present: List[int]  #: the processes that hold something of the device, by their numbers
    computing: List[int]  #: those that computed on it since this was told last
    missing: str  #: why nothing can be read, for who has to mend it; without a stop


@runtime_checkable
class MetersEnergy(Protocol):
    """A meter of a device's energy."""

    def energy(self, device: Device) -> EnergyReading:
        """What the device's meter says now, with its scope and its name.

        It is asked many times a second, from a process that computes nothing. Never raises for a
        device that `devices` lists: one without a meter gives ``{}``, one whose meter can't be read
        says why.
        """
        ...


@runtime_checkable
class ExplainsAbsence(Protocol):
    """Why devices that this build of the runtime is for are not there."""

    def absent_devices(self) -> Mapping[str, Unavailable]:
        """For each kind of device (``cuda``, ``npu``, without a number) that did not answer when
        `devices` was called last, the true cause: what a user reads who names such a target. For a
        device that did not answer while others of its kind did, the same by its id (``cuda:1``)."""
        ...


# What a backend's class may declare; `declaration` reads it.


@runtime_checkable
class DeclaresVariants(Protocol):
    """The precision forms that it runs."""

    #: of ``fp32``, ``fp16``, ``bf16``, ``int8-dynamic``, ``int8-static``, ``int4``
    variants: Tuple[str, ...]


@runtime_checkable
class DeclaresTrials(Protocol):
    """Sets of its options (behind ``?``) that `bench debug selftest` tries besides none, each at a
    batch of `TRIAL_BATCH`."""

    trials: Tuple[Mapping[str, str], ...]


@runtime_checkable
class DeclaresRequirements(Protocol):
    """The private environments that it can run in (`bench env create NAME`).

    By name, each as its steps, and a step as the arguments of one ``pip install``:
    ``{"acme-npu": (("acme==2.1", "numpy<2"),)}``.
    """

    requirements: Mapping[str, Steps]


@dataclass(frozen=True)
class ReferenceRole:
    """How a backend serves as the reference: what a model's outputs ought to be.

    References are asked in the order of ``rank``, the lowest first, until one runs the model.
    ``options`` (as behind ``?``) switch off what could make its outputs differ from the model's.
    """

    rank: int
    options: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class DeclaresReference(Protocol):
    """That its outputs may be the reference; it is then probed even when it isn't measured.

    This one isn't inherited: a backend derived from a reference computes something else.
    """

    reference: ReferenceRole


@runtime_checkable
class DeclaresDistributions(Protocol):
    """The distributions (PyPI's names) whose versions decide what its figures mean: a run notes
    the version of each that is installed."""

    distributions: Tuple[str, ...]


@runtime_checkable
class DeclaresStaticShapes(Protocol):
    """The kinds of its devices (``cpu``, ``npu``; without a number) that compile a graph for one
    set of shapes and take no tensor without an element, as language models have before their first
    token. A language model is given to them as a graph for each kind of step, its sizes fixed."""

    static_shapes: Tuple[str, ...]


@runtime_checkable
class DeclaresLoading(Protocol):
    """Modules that loading any model needs and finding devices doesn't, and that take long: the
    fork server imports them once, before the first worker that is to load a model. As with
    ``preload``, importing them must start no thread and open no device."""

    imports_to_load: Tuple[str, ...]


@runtime_checkable
class DeclaresMoving(Protocol):
    """Whether its threads stay where the system puts them once a model is loaded. Its workers then
    load on many cores beside each other, and are kept on those of their cell after that. A runtime
    that pins its own threads, or puts the caller's back at each inference (OpenVINO does), must
    not say so: it is kept on the cell's cores from the beginning."""

    moves: bool


@dataclass(frozen=True)
class Tunable:
    """An option (behind ``?``) that changes how fast a model runs and not what it computes, for
    `bench tune` to try: its ``values``, of which the first is what saying nothing means.

    Without values it is a number of streams, which `bench` chooses by the cores that there are.
    ``kinds`` of device (``cpu``, ``cuda``; without a number) have it; where none is named all have.
    One that is ``pooled`` changes nothing with a single thread. ``lingers_s`` says for how long
    the runtime's threads stay busy after a call with a value, while another worker is to be timed.
    """

    values: Tuple[str, ...] = ()
    kinds: Tuple[str, ...] = ()
    pooled: bool = False
    lingers_s: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class DeclaresTunables(Protocol):
    """What `bench tune` may try, by the names of the options."""

    tunables: Mapping[str, Tunable]


@dataclass(frozen=True)
class Declaration:
    """The optional attributes of a backend's class, with what it means to leave one out."""

    variants: Tuple[str, ...] = ("fp32",)
    trials: Tuple[Mapping[str, str], ...] = ()
    requirements: Mapping[str, Steps] = field(default_factory=dict)
    reference: Optional[ReferenceRole] = None
    distributions: Tuple[str, ...] = ()
    static_shapes: Tuple[str, ...] = ()
    imports_to_load: Tuple[str, ...] = ()
    moves: bool = False
    tunables: Mapping[str, Tunable] = field(default_factory=dict)


def declaration(adapter: object) -> Declaration:
    """What a backend (its class, or one of them) declares, the defaults filled in.

    Values are as the adapter wrote them: a third party's may be malformed, and who uses one says
    so in its own words.
    """
    declared: Dict[str, Any] = {}
    if isinstance(adapter, DeclaresVariants):
        declared["variants"] = tuple(adapter.variants)
    if isinstance(adapter, DeclaresTrials):
        declared["trials"] = tuple(adapter.trials)
    if isinstance(adapter, DeclaresRequirements):
        declared["requirements"] = adapter.requirements
    if isinstance(adapter, DeclaresReference) and _says_itself(adapter, "reference"):
        declared["reference"] = adapter.reference
    if isinstance(adapter, DeclaresDistributions):
        declared["distributions"] = tuple(adapter.distributions)
    if isinstance(adapter, DeclaresStaticShapes):
        declared["static_shapes"] = tuple(adapter.static_shapes)
    if isinstance(adapter, DeclaresLoading):
        declared["imports_to_load"] = tuple(adapter.imports_to_load)
    if isinstance(adapter, DeclaresMoving):
        declared["moves"] = bool(adapter.moves)
    if isinstance(adapter, DeclaresTunables):
        declared["tunables"] = dict(adapter.tunables)
    return Declaration(**declared)


def _says_itself(adapter: object, name: str) -> bool:
    """Whether an attribute stands in the class itself (or on the object), not in a base of it."""
    own = adapter if isinstance(adapter, type) else type(adapter)
    return name in vars(own) or name in vars(adapter)
