"""What one worker does: load a model, bind inputs, warm up, time blocks, compute outputs."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from dataclasses import replace
from importlib import metadata
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, get_args

import numpy as np

from bench.backend import Backend, Device, Session
from bench.capabilities import (
    QUERIES_PER_STREAM,
    ChecksDrafts,
    DecodesFromState,
    DecodingStream,
    ExplainsAbsence,
    Nanoseconds,
    NativeTimer,
    ProfilesPlacement,
    Reading,
    ReportsDeviceMemory,
    Streams,
    Telemetry,
    TimesCopies,
    TimesDevice,
)
from bench.decoding import Decoder
from bench.errors import (
    BenchError,
    NotInBuild,
    OutOfMemory,
    Unavailable,
    Unsupported,
    WorkerCrashed,
)
from bench.worker import PROTOCOL, loadgen, openloop, resident, speculation
from bench.worker import messages as m
from bench.worker.clocks import WorkingClock
from bench.worker.codec import MOST_TEXT, Encoded, decode, encode
from bench.worker.greedy import greedy
from bench.worker.likelihoods import likelihoods
from bench.worker.metering import watch_energy
from bench.worker.queries import Queries
from bench.worker.timing import time_calls, warm_up
from bench.worker.wire import Channel, ChannelClosed

_NATIVE_PILOT_CALLS = 20
#: What is timed beside latencies (copies, the device's own time) is timed so often, but no longer
#: than about so many ns of inferences.
_REPEATS = 20
_BUDGET_NS = 200_000_000
_REQUESTS = get_args(m.Request)


def serve(channel: Channel, backend: Backend) -> None:
    """Answer requests until the channel closes or the end is asked for.

    An error becomes an answer with its kind and message; the worker lives on, the scheduler
    decides. A worker whose scheduler died sees its channel close and ends.
    """
    work = Work(backend)
    _send(channel, encode(m.Hello(PROTOCOL)))
    with contextlib.suppress(ChannelClosed):
        while not work.closed:
            _send(channel, answer(work, *channel.receive()))


def _send(channel: Channel, encoded: Encoded) -> None:
    message, arrays = encoded
    channel.send(message, *arrays)


def answer(work: Work, data: object, arrays: Sequence[m.Array]) -> Encoded:
    """What is answered to an encoded request, encoded; it raises nothing."""
    try:
        return encode(work.handle(decode(data, arrays, _REQUESTS)))
    except BenchError as error:
        return encode(_failure(error))
    except MemoryError:
        return encode(m.Failed(OutOfMemory.kind, "the worker ran out of memory"))
    except Exception as error:
        words = _words(error)
        frames, kind = "".join(traceback.format_tb(error.__traceback__)), type(error).__name__
        print(f"{frames}{kind}: {words}", file=sys.stderr, flush=True)
        first = words.strip().splitlines()
        text = f"{kind}: {first[0] if first else '(no message)'}"
        return encode(m.Failed(WorkerCrashed.kind, text))


def _words(error: BaseException) -> str:
    """What an error says of itself, cut to what can be told."""
    try:
        return str(error)[:MOST_TEXT]
    except Exception as another:  # of a runtime's own class
        return f"(no message: {type(another).__name__})"


def _failure(error: BenchError) -> m.Failed:
    if isinstance(error, Unavailable):
        reason, remedy = error.reason[:MOST_TEXT], error.remedy[:MOST_TEXT]
        return m.Failed(error.kind, _words(error), reason, remedy)
    return m.Failed(error.kind, _words(error))


def _collect_no_more() -> None:
    """A full collection with a runtime loaded takes up to 100 ms, and the loops make no garbage."""
    gc.collect()
    gc.freeze()
    gc.disable()


def _affordable(latency_ns: float) -> int:
    """How often something is timed that takes about as long as a call."""
    return max(2, min(_REPEATS, int(_BUDGET_NS / max(latency_ns, 1))))


class Work:
    """The state of one worker: at most one session and one bound call; a second where one model
    drafts for the other."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.session: Optional[Session] = None
        self.draft: Optional[Session] = None  #: a second model, which drafts for the first
        self.call: Optional[Callable[[], object]] = None
        self.timer: Optional[Callable[[int], Nanoseconds]] = None
        self.queries: Optional[Queries] = None  #: the call, where it is a whole query
        self.queries_per_call = 1
        self.feeds: m.Inputs = {}  #: what is bound
        self.lane: m.Lane = "prepared"  #: in which it is bound
        self.copied: Optional[m.Inputs] = None  #: what is bound, where its copies can be timed
        self.watched: Optional[TimesDevice] = None  #: the session, if it can tell its device's time
        self.device: Optional[Device] = None
        self.readings: List[Reading] = []  #: right after each block
        self.readings_before: List[Reading] = []
        self.raising_calls: List[int] = []  #: which brought the device to its clock before
        self.working_clock = WorkingClock()
        self.closed = False
        self._operations: Dict[type, Callable[[Any], m.Answer]] = {
            m.AskVersion: self.version,
            m.AskDevices: self.devices,
            m.AskPackages: self.packages,
            m.Load: self.load,
            m.Bind: self.bind,
            m.BindQueries: self.bind_queries,
            m.WarmUp: self.warm_up,
            m.TimeBlock: self.block,
            m.ServeQueries: self.serve_queries,
            m.DriveLoadGen: self.drive_loadgen,
            m.ScoreThroughLoadGen: self.score_through_loadgen,
            m.Fetch: self.fetch,
            m.Evaluate: self.evaluate,
            m.ScoreTokens: self.score_tokens,
            m.GoOn: self.go_on,
            m.LoadDraft: self.load_draft,
            m.Speculate: self.speculate,
            m.ReadText: self.read_text,
            m.TimeCopies: self.copy_times,
            m.TimeDevice: self.device_time,
            m.AskDeviceMemory: self.device_memory,
            m.AskReadings: self.told_readings,
            m.WatchEnergy: self.watch_energy,
            m.FindPlacement: self.placement,
            m.AskMemory: self.memory,
            m.Unload: self.unload,
            m.Close: self.close,
        }

    def handle(self, request: m.Request) -> m.Answer:
        """Do what is asked."""
        return self._operations[type(request)](request)

    def version(self, request: m.AskVersion) -> m.Version:
        """An error here means that the runtime isn't there at all."""
        return m.Version(self.backend.version())

    def devices(self, request: m.AskDevices) -> m.Devices:
        """Which devices answer when touched, and why others that the build is for do not."""
        backend = self.backend
        found = tuple(backend.devices())
        explained = backend.absent_devices() if isinstance(backend, ExplainsAbsence) else {}
        absent = {
            key: m.Absence(error.reason, error.remedy, isinstance(error, NotInBuild))
            for key, error in explained.items()
        }
        return m.Devices(found, absent)

    def packages(self, request: m.AskPackages) -> m.Packages:
        found = ((d.metadata["Name"], d.version) for d in metadata.distributions())
        return m.Packages(dict(sorted((n, v) for n, v in found if n and v)))

    def load(self, request: m.Load) -> m.LoadedInfo:
        """Read and compile the model; the time of that is the load time."""
        if request.cpus and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, request.cpus)
        resident.reset_peak()
        rss_before = resident.current_rss_bytes()
        if self.session is not None:  # a worker may load one model after another
            self.session.close()
            self.session = None
        started = time.perf_counter_ns()
        self.session = self.backend.compile(request.model, request.device, request.options)
        load_ns = time.perf_counter_ns() - started
        self.device = request.device
        self._read_device()  # the first opens the driver's library, which takes long
        self._forget_device()
        return m.LoadedInfo(
            load_ns=load_ns,
            rss_before_load_bytes=rss_before,
            inputs=tuple(self.session.inputs),
            outputs=tuple(self.session.outputs),
        )

    def bind(self, request: m.Bind) -> m.Bound:
        """Bind the inputs and make the first inference."""
        session, self.timer, self.queries = self._session(), None, None
        started = time.perf_counter_ns()
        self.call, queries_per_call = self._make_call(session, request)
        self.queries_per_call = queries_per_call
        self.feeds, self.lane = request.feeds, request.lane
        bind_ns = time.perf_counter_ns() - started
        times_copies = isinstance(session, TimesCopies) and request.lane == "prepared"
        self.copied = request.feeds if times_copies else None
        self.watched = None
        if isinstance(session, TimesDevice) and request.lane == "prepared":
            self.watched = session
        return self._first_call(session, self.call, bind_ns, queries_per_call)

    def bind_queries(self, request: m.BindQueries) -> m.Bound:
        """Make a stream of the session, and the first whole query."""
        session, self.timer, self.copied = self._session(), None, None
        self.watched = None
        if not isinstance(session, DecodesFromState):
            raise Unsupported(
                f"{self.backend.name} doesn't keep a model's state between steps, so it can't "
                "time whole queries. Use --scenario prefill or --scenario decode."
            )
        _, batch, tokens = request.prompts.shape
        started = time.perf_counter_ns()
        stream = session.decoding(
            Decoder.from_json(request.decoder), batch, tokens + request.new_tokens
        )
        self.call = self.queries = Queries(stream, request.prompts, request.new_tokens)
        bind_ns = time.perf_counter_ns() - started
        return self._first_call(session, self.call, bind_ns, 1)

    def _first_call(
        self, session: Session, call: Callable[[], object], bind_ns: int, queries_per_call: int
    ) -> m.Bound:
        """Make it, and say what is bound."""
        started = time.perf_counter_ns()
        call()
        first_ns = time.perf_counter_ns() - started
        return m.Bound(
            bind_ns=bind_ns,
            first_inference_ns=first_ns,
            queries_per_call=queries_per_call,
            rss_bytes=resident.current_rss_bytes(),
            placement=session.placement(),
            profiles=isinstance(session, ProfilesPlacement),
            times_copies=self.copied is not None,
            times_device=self.watched is not None,
            tells_of_device=isinstance(self.backend, Telemetry),
        )

    def warm_up(self, request: m.WarmUp) -> m.Warmup:
        """Reach the steady state, then shut the garbage collector out of what follows."""
        warmup = warm_up(self._call(), request.budget_s)
        if self.timer is not None:
            # A loop of one is mostly the way into it; the blocks are sized by a real one.
            latency_ns = int(np.median(self.timer(_NATIVE_PILOT_CALLS)))
            warmup = replace(warmup, latency_ns=latency_ns)
        _collect_no_more()
        return warmup

    def block(self, request: m.TimeBlock) -> m.TimedBlock:
        """Discard the first calls (caches are cold after other workers' turns), time the rest."""
        call = self._call()
        self._ready_device(call)
        if self.timer is not None:
            if request.discard:
                self.timer(request.discard)
            timed = m.TimedBlock(self.timer(request.calls))
            self._read_device()
            return timed
        for _ in range(request.discard):
            call()
        if self.queries is not None:
            self.queries.forget()
        latency_ns = time_calls(call, request.calls)
        self._read_device()
        if self.queries is None:
            return m.TimedBlock(latency_ns)
        return m.TimedBlock(latency_ns, self.queries.ttft_ns(), self.queries.gaps_ns())

    def serve_queries(self, request: m.ServeQueries) -> m.ServedQueries:
        """Queries at random moments, their latencies counted from when they were to arrive."""
        arrivals = openloop.poisson_arrivals_ns(request.rate_per_s, request.queries, request.seed)
        call = self._call()
        self._ready_device(call)
        for _ in range(request.discard):
            call()
        if self.queries is not None:
            self.queries.forget()
        bounds = self._bounds(request.bounds)
        served = openloop.serve(call, arrivals, bounds, request.allowed_above)
        self._read_device()
        late_ns = float(np.quantile(served.late_ns, 0.99)) if len(served.late_ns) else 0.0
        ttft_ns = self.queries.ttft_since(served.due_ns) if self.queries else None
        return m.ServedQueries(served.latency_ns, late_ns, ttft_ns)

    def drive_loadgen(self, request: m.DriveLoadGen) -> m.Driven:
        """One test of MLPerf's LoadGen, which issues its queries to the prepared call."""
        module, call = loadgen.module(), self._call()
        calls = self._library(request.library)
        self._ready_device(call)
        driven = loadgen.drive(module, request.test, calls or [call], self.queries_per_call)
        self._read_device()
        if calls:  # what is fetched afterwards is of what was bound last
            self.call = self._one_call(self.feeds)
            self.call()
        return driven

    def _library(self, samples: Optional[m.Inputs]) -> List[Callable[[], object]]:
        """A call for each sample, made once."""
        if samples is None:
            return []
        total = len(next(iter(samples.values())))
        calls: List[Callable[[], object]] = []
        for place in range(total):
            one = {name: array[place : place + 1] for name, array in samples.items()}
            calls.append(self._one_call(one))
            calls[-1]()
        return calls

    def score_through_loadgen(self, request: m.ScoreThroughLoadGen) -> m.ScoredThroughLoadGen:
        """LoadGen's accuracy mode through the checked path."""
        session = self._session()

        def outputs(feeds: m.Inputs) -> m.Array:
            return np.asarray(session.run(feeds)[request.output])

        return loadgen.score(loadgen.module(), request, outputs)

    def _bounds(self, asked: m.Bounds) -> List[openloop.Beyond]:
        """What says of a query whether it was beyond each of the bounds."""
        found = [] if asked.latency_ns is None else [openloop.longer_than(asked.latency_ns)]
        if self.queries is not None and asked.ttft_ns is not None:
            found.append(self.queries.first_later_than(asked.ttft_ns))
        if self.queries is not None and asked.tpot_ns is not None:
            found.append(self.queries.tokens_longer_than(asked.tpot_ns))
        return found

    def fetch(self, request: m.Fetch) -> m.Outputs:
        """The outputs that the last timed call left; of a whole query the tokens that its last step
        had seen, and the logits that it gave."""
        if self.queries is not None:
            return m.Outputs((self.queries.text, self.queries.logits))
        return m.Outputs(tuple(map(np.asarray, self._session().fetch())))

    def evaluate(self, request: m.Evaluate) -> m.Outputs:
        """Outputs for a chunk of a data set, through the checked path."""
        return m.Outputs(tuple(map(np.asarray, self._session().run(request.feeds))))

    def score_tokens(self, request: m.ScoreTokens) -> m.TokenScores:
        """How probable the targets are: logits of a whole text are too large to be told."""
        outputs = self._session().run(request.feeds)
        return likelihoods(outputs[request.output], request.targets, request.top)

    def go_on(self, request: m.GoOn) -> m.WentOn:
        """The most probable continuation."""
        decoder = Decoder.from_json(request.decoder)
        said = greedy(self._session(), decoder, request.tokens, set(request.ends), request.most)
        return m.WentOn(np.array(said, np.int64))

    def load_draft(self, request: m.LoadDraft) -> m.LoadedInfo:
        """Read and compile a model beside the one that is loaded."""
        self._close_draft()
        rss_before = resident.current_rss_bytes()
        started = time.perf_counter_ns()
        draft = self.draft = self.backend.compile(request.model, request.device, request.options)
        load_ns = time.perf_counter_ns() - started
        _collect_no_more()
        return m.LoadedInfo(load_ns, rss_before, tuple(draft.inputs), tuple(draft.outputs))

    def speculate(self, request: m.Speculate) -> m.Speculated:
        """An answer with drafts, or without."""
        capacity = len(request.prompt) + request.most
        original = self._stream(self._session(), request.decoder, capacity)
        if request.length:
            draft = self._stream(self._draft(), request.draft, capacity)
            said = speculation.speculate(
                original, draft, request.prompt, request.most, request.length
            )
        else:
            said = speculation.alone(original, request.prompt, request.most)
        return m.Speculated(
            tokens=np.array(said.tokens, np.int64),
            prompt_ns=said.prompt_ns,
            rest_ns=said.rest_ns,
            drafted=np.array(said.drafted, np.int64),
            accepted=np.array(said.accepted, np.int64),
            margins=np.array(said.margins, np.float64),
            cuts=isinstance(original, ChecksDrafts) and original.cuts,
        )

    def read_text(self, request: m.ReadText) -> m.TextRead:
        """A text in steps of one size."""
        session = self._draft() if request.of_draft else self._session()
        capacity = len(request.prompt) + len(request.text)
        stream = self._stream(session, request.decoder, capacity)
        found = speculation.read(stream, request.prompt, request.text, request.at_once)
        return m.TextRead(found.predicted, np.array(found.step_ns, np.int64))

    def _stream(self, session: Session, decoder: str, capacity: int) -> DecodingStream:
        """Of one text. Raises `Unsupported` where the state doesn't stay where the model runs:
        times would be those of copies."""
        if not isinstance(session, DecodesFromState):
            raise Unsupported(
                f"{self.backend.name} doesn't keep a model's state between steps, which drafting "
                "needs. Use onnxruntime or torch."
            )
        return session.decoding(Decoder.from_json(decoder), 1, capacity)

    def _draft(self) -> Session:
        if self.draft is None:
            raise BenchError("no draft is loaded in this worker: the scheduler skipped it.")
        return self.draft

    def _close_draft(self) -> None:
        draft, self.draft = self.draft, None
        if draft is not None:
            draft.close()

    def copy_times(self, request: m.TimeCopies) -> m.CopyTimes:
        """How long the copies of what is bound take; nothing where the session can't tell.

        They are a side show: their failure is told in the worker's log, and fails nothing.
        """
        session = self._session()
        if self.copied is None or not isinstance(session, TimesCopies):
            return m.CopyTimes({})
        try:
            self._raise_clock()
            times = session.copy_times(self.copied, _affordable(request.latency_ns))
        except BenchError as error:
            print(f"copies could not be timed: {error}", file=sys.stderr, flush=True)
            return m.CopyTimes({})
        return m.CopyTimes({name: tuple(map(int, values)) for name, values in times.items()})

    def device_time(self, request: m.TimeDevice) -> m.DeviceTimed:
        """How long the device works on a call; nothing where the session can't tell, as above."""
        if self.watched is None:
            return m.DeviceTimed(None)
        try:
            self._raise_clock()
            return m.DeviceTimed(self.watched.device_time(_affordable(request.latency_ns)))
        except BenchError as error:
            print(f"the device's time is unknown: {error}", file=sys.stderr, flush=True)
            return m.DeviceTimed(None)

    def device_memory(self, request: m.AskDeviceMemory) -> m.DeviceMemory:
        """Free and total bytes on the device, where the backend can tell."""
        found = None
        if isinstance(self.backend, ReportsDeviceMemory):
            found = self.backend.device_memory(request.device)
        return m.DeviceMemory(*(found if found is not None else (None, None)))

    def told_readings(self, request: m.AskReadings) -> m.Readings:
        """What the device told of itself before and after each block."""
        before, calls = tuple(self.readings_before), tuple(self.raising_calls)
        return m.Readings(tuple(self.readings), before, calls)

    def watch_energy(self, request: m.WatchEnergy) -> m.EnergyWatched:
        """What the meter of a device says over some time; this worker computes nothing."""
        return watch_energy(self.backend, request)

    def _read_device(self) -> None:
        """Ask the device how it is, now that it still is as the calls left it."""
        reading = self._reading()
        if reading:
            self.readings.append(reading)

    def _ready_device(self, call: Callable[[], object]) -> None:
        """Have it at its working clock, and ask it how it is before the calls."""
        reading, calls = self.working_clock.reach(call, self._reading)
        if reading:
            self.readings_before.append(reading)
            self.raising_calls.append(calls)

    def _raise_clock(self) -> None:
        """Have it at its working clock for what is timed beside the blocks: others had their turns
        since the last one."""
        self.working_clock.reach(self._call(), self._reading)

    def _reading(self) -> Reading:
        if isinstance(self.backend, Telemetry) and self.device is not None:
            return self.backend.telemetry(self.device)
        return {}

    def _forget_device(self) -> None:
        self.readings, self.readings_before, self.raising_calls = [], [], []
        self.working_clock = WorkingClock()

    def placement(self, request: m.FindPlacement) -> m.FoundPlacement:
        """The placement with all that the session can find out on these inputs, in its own time."""
        session = self._session()
        if isinstance(session, ProfilesPlacement):
            return m.FoundPlacement(session.profiled_placement(request.feeds))
        return m.FoundPlacement(session.placement())

    def memory(self, request: m.AskMemory) -> m.Memory:
        return m.Memory(resident.peak_rss_bytes())

    def close(self, request: m.Close) -> m.Done:
        self.closed = True
        return self.unload(m.Unload())

    def unload(self, request: m.Unload) -> m.Done:
        self._close_draft()
        session, self.session = self.session, None
        self.call = self.timer = self.copied = self.queries = self.watched = None
        self._forget_device()
        if session is not None:
            session.close()
        return m.Done()

    def _make_call(self, session: Session, request: m.Bind) -> Tuple[Callable[[], object], int]:
        """A call in the lane asked for, and how many queries it is; the native lane times whole
        loops of calls itself."""
        feeds = request.feeds
        if request.streams > 1:
            if request.lane != "prepared":
                raise Unsupported(
                    f"{self.backend.name} makes one call at a time in the {request.lane} lane, so "
                    "it can't use streams there."
                )
            return self._streams(session, request.streams, feeds)
        if request.lane == "api":
            return session.api_call(feeds), 1
        if request.lane == "native":
            return self._native_call(session, feeds), 1
        return session.bind(feeds), 1

    def _one_call(self, feeds: m.Inputs) -> Callable[[], object]:
        """A further call like the bound one, with other inputs."""
        return self._make_call(self._session(), m.Bind(feeds, self.lane, 1))[0]

    def _native_call(self, session: Session, feeds: m.Inputs) -> Callable[[], object]:
        if not isinstance(session, NativeTimer):
            raise Unsupported(
                f"{self.backend.name} has no native lane; its lanes are prepared and api."
            )
        timer = self.timer = session.native_timer(feeds, time_calls)
        return lambda: timer(1)

    def _streams(
        self, session: Session, streams: int, feeds: m.Inputs
    ) -> Tuple[Callable[[], object], int]:
        if not isinstance(session, Streams):
            raise Unsupported(f"{self.backend.name} can't run several streams of one session.")
        return session.bind_streams(feeds, streams), streams * QUERIES_PER_STREAM

    def _session(self) -> Session:
        if self.session is None:
            raise BenchError("no model is loaded in this worker: the scheduler skipped `load`.")
        return self.session

    def _call(self) -> Callable[[], object]:
        if self.call is None:
            raise BenchError("no input is bound in this worker: the scheduler skipped `bind`.")
        return self.call
