"""The scheduler's end of one worker: asking it, and naming how it failed."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from bench.apart import exit_words
from bench.backend import Device, ModelFile, Options, Placement
from bench.capabilities import DeviceTime, Nanoseconds
from bench.errors import (
    BenchError,
    OutOfMemory,
    Unavailable,
    WorkerCrashed,
    WorkerTimeout,
    from_kind,
    says_out_of_memory,
)
from bench.machine.cores import pin_process
from bench.machine.memory import free_bytes
from bench.runtimes.handshake import Greeting
from bench.runtimes.logs import cap_log, last_words, log_tail
from bench.runtimes.runtime import Runtime
from bench.unchanged import unchanged
from bench.worker import PROTOCOL, messages
from bench.worker.codec import MessageError, decode, encode
from bench.worker.family import descendants, end_all, end_group
from bench.worker.wire import Channel, ChannelClosed, ChannelGarbled, ChannelTimeout

Arrays = list[np.ndarray[Any, Any]]


_Error = TypeVar("_Error", bound=BenchError)
_Answer = TypeVar("_Answer")

#: How long a server is given to take leave of a worker that is dead.
_REAPED_S = 5.0
#: Characters of a runtime's own words in a message.
_MOST_WORDS = 2000


class End(NamedTuple):
    """How a worker's process ended. Its number may be another process's from then on."""

    status: int  #: what `os.waitstatus_to_exitcode` understands
    cpu_ns: int | None  #: what it had used by then, where the system tells


class Server(Protocol):
    """What a worker has to know of the process that forked it."""

    runtime: Runtime
    name: str
    greeting: Greeting | None  #: what its interpreter said about itself

    def end_of(self, pid: int, wait_s: float) -> End | None:
        """How a worker ended; None if it has not within ``wait_s`` seconds, as far as is known."""
        ...

    def end_after_import(self, pid: int, wait_s: float) -> End | None:
        """The same, ``wait_s`` seconds from when the server has nothing to import."""
        ...


class Worker:
    """The scheduler's end of one worker process."""

    def __init__(
        self, server: Server, pid: int, channel: Channel, log: Path, timeout_s: float
    ) -> None:
        self._server = server
        self._channel = channel
        channel.free_bytes = free_bytes
        self.pid = pid
        self.log = log
        self.timeout_s = timeout_s
        self.alive = True  #: as far as its last answer, or its end, told
        #: until when nothing is known to have happened to it, and when it was ended or found dead
        self.well_s = time.monotonic()
        self.left_s = math.inf
        self._killed = False
        self._end: End | None = None

    @property
    def greeting(self) -> Greeting:
        """What its interpreter said about itself."""
        assert self._server.greeting is not None  # there is no worker without
        return self._server.greeting

    def greet(self) -> None:
        """Check that both sides speak the same protocol."""
        try:
            hello = decode(*self._receive("start"), (messages.Hello,))
        except MessageError as error:
            raise with_log(
                WorkerCrashed(f"{self._server.name}: {error} Is its bench another version?"),
                log_tail(self.log),
            ) from error
        if hello.protocol != PROTOCOL:
            raise WorkerCrashed(
                f"{self._server.name}: its interpreter has another version of bench (protocol "
                f"{hello.protocol}, this is {PROTOCOL}). Install the same version there."
            )

    # Each of the following asks for one thing and waits. All raise the worker's own `BenchError`,
    # `WorkerTimeout` (the worker is killed), `WorkerCrashed` or `OutOfMemory` (it died), and
    # `MessageError` where one side doesn't understand the other.

    def version(self) -> str:
        """The runtime's own version. Raises `Unavailable` where it isn't there at all."""
        return self.ask(messages.AskVersion(), messages.Version).version

    def devices(self) -> messages.Devices:
        """The devices that answer when touched, and why others that the build is for do not."""
        return self.ask(messages.AskDevices(), messages.Devices)

    def packages(self) -> Mapping[str, str]:
        """The versions of every distribution that its interpreter can import from."""
        return self.ask(messages.AskPackages(), messages.Packages).packages

    def load(
        self, model: ModelFile, device: Device, options: Options, cpus: Sequence[int] = ()
    ) -> messages.LoadedInfo:
        """Read and compile a model, pinned to ``cpus`` where some are given. Raises `ModelChanged`
        where its files are no longer what they were."""
        request = messages.Load(model, device, options, tuple(cpus))
        with unchanged(model):
            return self.ask(request, messages.LoadedInfo)

    def stay_on(self, cpus: Sequence[int]) -> None:
        """Have the process, which may have many threads by now, run on these CPUs alone."""
        pin_process(self.pid, cpus)

    def bind(
        self, feeds: messages.Inputs, *, lane: messages.Lane = "prepared", streams: int = 1
    ) -> messages.Bound:
        """Bind inputs and make the first inference."""
        return self.ask(messages.Bind(feeds, lane, streams), messages.Bound)

    def bind_queries(self, asked: messages.BindQueries) -> messages.Bound:
        """Bind whole queries of a language model and make the first."""
        return self.ask(asked, messages.Bound)

    def warm_up(self, budget_s: float) -> messages.Warmup:
        """Call until the latency is steady, or ``budget_s`` seconds are spent."""
        found = self.ask(messages.WarmUp(budget_s), messages.Warmup)
        if found.latency_ns <= 0:
            raise self._absurd("warm-up", f"a call took {found.latency_ns} ns")
        return found

    def block(self, *, calls: int, discard: int) -> Nanoseconds:
        """The latencies of ``calls`` back-to-back calls, after ``discard`` that don't count."""
        return self.timed_block(calls=calls, discard=discard).latency_ns

    def timed_block(self, *, calls: int, discard: int) -> messages.TimedBlock:
        """The same, of whole queries with the times to their first tokens."""
        found = self.ask(messages.TimeBlock(calls, discard), messages.TimedBlock)
        for times, what in ((found.latency_ns, "latencies"), (found.ttft_ns, "first tokens")):
            if times is None:
                continue
            if times.shape != (calls,):
                raise self._absurd("time-block", f"{times.shape} {what} for {calls} calls")
            if (times < 0).any():
                raise self._absurd("time-block", f"a call took {times.min()} ns")
        gaps_ns = found.gaps_ns
        if gaps_ns is not None and (gaps_ns.ndim != 2 or len(gaps_ns) != calls):
            raise self._absurd("time-block", f"{gaps_ns.shape} gaps of tokens for {calls} calls")
        if gaps_ns is not None and (gaps_ns < 0).any():
            raise self._absurd("time-block", f"a token took {gaps_ns.min()} ns")
        return found

    def serve_queries(self, asked: messages.ServeQueries) -> messages.ServedQueries:
        """Queries that arrive at random moments."""
        return self.ask(asked, messages.ServedQueries)

    def drive_loadgen(self, asked: messages.DriveLoadGen, longest_s: float) -> messages.Driven:
        """One test of LoadGen, which may take ``longest_s`` by its settings."""
        with self._patient(longest_s):
            found = self.ask(asked, messages.Driven)
        for times in (found.latency_ns, found.call_ns):
            if times.ndim != 1 or not len(times) or (times < 0).any():
                raise self._absurd("drive-load-gen", f"latencies of shape {times.shape}")
        return found

    def score_through_loadgen(
        self, asked: messages.ScoreThroughLoadGen, longest_s: float
    ) -> messages.ScoredThroughLoadGen:
        """LoadGen's accuracy mode over all samples."""
        with self._patient(longest_s):
            return self.ask(asked, messages.ScoredThroughLoadGen)

    @contextmanager
    def _patient(self, longer_s: float) -> Iterator[None]:
        """Wait for an answer for so much longer than usual."""
        usual_s = self.timeout_s
        self.timeout_s = usual_s + longer_s
        try:
            yield
        finally:
            self.timeout_s = usual_s

    def fetch(self) -> Arrays:
        """The outputs that the last timed call left."""
        return list(self.ask(messages.Fetch(), messages.Outputs).arrays)

    def evaluate(self, feeds: messages.Inputs) -> Arrays:
        """The outputs of the checked path."""
        return list(self.ask(messages.Evaluate(feeds), messages.Outputs).arrays)

    def score_tokens(self, asked: messages.ScoreTokens) -> messages.TokenScores:
        """How probable the targets are after the tokens before them."""
        found = self.ask(asked, messages.TokenScores)
        scored = int((asked.targets >= 0).sum())
        shapes = found.right.shape, found.ids.shape, found.best.shape, found.tail.shape
        if shapes != ((scored,), found.best.shape, found.ids.shape, (scored,)):
            raise self._absurd("score-tokens", f"{shapes} for {scored} targets")
        return found

    def go_on(self, asked: messages.GoOn) -> messages.Array:
        """The most probable continuation, int64 [tokens]."""
        found = self.ask(asked, messages.WentOn).tokens
        if found.ndim != 1 or len(found) > asked.most or found.dtype.kind != "i":
            raise self._absurd("go-on", f"{found.shape} tokens where {asked.most} are the most")
        return found

    def load_draft(self, model: ModelFile, device: Device, options: Options) -> messages.LoadedInfo:
        """Read and compile a second model beside the first, as `load` does."""
        with unchanged(model):
            return self.ask(messages.LoadDraft(model, device, options), messages.LoadedInfo)

    def speculate(self, asked: messages.Speculate) -> messages.Speculated:
        """A greedy answer, with drafts or without."""
        found = self.ask(asked, messages.Speculated)
        if found.tokens.shape != (asked.most,) or min(found.prompt_ns, found.rest_ns) < 0:
            raise self._absurd("speculate", f"{found.tokens.shape} tokens of {asked.most}")
        if found.drafted.shape != found.accepted.shape or (found.accepted > found.drafted).any():
            raise self._absurd("speculate", "more accepted than drafted")
        return found

    def read_text(self, asked: messages.ReadText) -> messages.TextRead:
        """What a model puts first behind each token of a text."""
        found = self.ask(asked, messages.TextRead)
        steps = len(asked.text) // asked.at_once
        if (len(found.predicted), len(found.step_ns)) != (steps * asked.at_once, steps):
            raise self._absurd("read-text", f"{len(found.step_ns)} steps where {steps} fit")
        return found

    def copy_times(self, latency_ns: float) -> Mapping[str, tuple[int, ...]]:
        """Times in ns of the copies of what is bound, by ``h2d_ns`` and ``d2h_ns``; empty where
        they can't be timed. One inference takes ``latency_ns``."""
        return self.ask(messages.TimeCopies(latency_ns), messages.CopyTimes).times

    def device_time(self, latency_ns: float) -> DeviceTime | None:
        """How long the device works on one call of what is bound; None where that can't be told."""
        found = self.ask(messages.TimeDevice(latency_ns), messages.DeviceTimed).time
        if found is not None and not (math.isfinite(found.ns) and found.ns > 0):
            raise self._absurd("time-device", f"a call of {found.ns:g} ns")
        return found

    def device_memory(self, device: Device) -> messages.DeviceMemory:
        """Free and total bytes of the device, where the backend can tell."""
        return self.ask(messages.AskDeviceMemory(device), messages.DeviceMemory)

    def readings(self) -> messages.Readings:
        """What the device told of itself before and after each block."""
        return self.ask(messages.AskReadings(), messages.Readings)

    def watch_energy(
        self, device: Device, watch_s: float, every_s: float
    ) -> messages.EnergyWatched:
        """What the device's meter said over some time; no readings where it has none."""
        asked = messages.WatchEnergy(device, watch_s, every_s)
        found = self.ask(asked, messages.EnergyWatched)
        if not found.at_ns.shape == found.energy_uj.shape == found.power_mw.shape:
            raise self._absurd("watch-energy", f"{len(found.energy_uj)} of {len(found.at_ns)}")
        return found

    def placement(self, feeds: messages.Inputs) -> Placement:
        """The placement, with all that the session can find out on ``feeds`` in its own time."""
        return self.ask(messages.FindPlacement(feeds), messages.FoundPlacement).placement

    def peak_rss_bytes(self) -> int | None:
        """The most memory that it held since it loaded; None where the system doesn't tell."""
        return self.ask(messages.AskMemory(), messages.Memory).peak_rss_bytes

    def unload(self) -> None:
        """Close the session; another model may be loaded then."""
        self.ask(messages.Unload(), messages.Done)

    def _absurd(self, op: str, what: str) -> MessageError:
        """The error for an answer of the right type that can't be true."""
        return MessageError(f"{self._server.name}: the answer to `{op}` makes no sense: {what}.")

    def ask(self, request: messages.Request, answer: type[_Answer]) -> _Answer:
        """Send a request and wait for its answer, which is an ``answer``."""
        op = _words(type(request))
        if not self.alive:
            raise WorkerCrashed(
                f"{self._server.name}: `{op}` was sent to a worker that has exited."
            )
        message, arrays = encode(request)
        asked_s = time.monotonic()
        try:
            self._channel.send(message, *arrays, timeout_s=self.timeout_s)
        except ChannelTimeout as error:
            raise self._timed_out(op) from error
        except ChannelClosed as error:
            raise self._obituary(op) from error
        except BaseException:
            self.kill()
            raise
        try:
            found = decode(*self._receive(op), (answer, messages.Failed))
        except MessageError as error:
            text = f"{self._server.name}: the answer to `{op}` is not understood: {error}"
            raise with_log(MessageError(text), log_tail(self.log)) from error
        if isinstance(found, messages.Failed):
            self.well_s = asked_s  # what failed it came after that
            raise self._described(op, found)
        assert isinstance(found, answer)  # there was no third
        self.well_s = time.monotonic()
        return found

    def ended(self, wait_s: float = 0.0) -> End | None:
        """How its process ended; None where it lives, or nobody has told within ``wait_s``."""
        if self._end is None:
            self._end = self._server.end_of(self.pid, wait_s)
        return self._end

    def end(self) -> None:
        """Close the session, then the process and what it started; never raises."""
        if self._killed or self.ended() is not None:
            self.kill()
            return
        family = descendants(self.pid)
        try:
            self.timeout_s = min(self.timeout_s, 10.0)
            self.ask(messages.Close(), messages.Done)
        except BenchError:
            pass
        finally:
            end_all(family)
            self.kill()

    def kill(self) -> None:
        """End the process at once, with what it started. Nothing happens where it has ended, or was
        killed before: its number may be another process's by then, and so its family."""
        self._left()
        if self._killed:
            return
        self._killed = True
        # An idle one leaves at once when its channel ends, and what it started is nobody's then.
        family = descendants(self.pid) if self.ended() is None else []
        self._channel.close()
        if self.ended() is None:
            end_group(self.pid)
        if family:
            end_all(family)
        cap_log(self.log)

    def _left(self) -> None:
        self.alive = False
        self.left_s = min(self.left_s, time.monotonic())

    def was_beside(self, others: Iterable[Worker]) -> bool:
        """Whether any of them was there when what ended this one, or failed it, can have happened:
        a process that the kernel killed is found dead at its next request."""
        return any(one is not self and one.left_s >= self.well_s for one in others)

    def _receive(self, op: str) -> tuple[object, Arrays]:
        try:
            return self._channel.receive(self.timeout_s)
        except ChannelGarbled as error:
            self.kill()
            text = f"{self._server.name}: the answer to `{op}` is not a message: {error}."
            raise with_log(MessageError(text), log_tail(self.log)) from error
        except ChannelTimeout as error:
            raise self._timed_out(op) from error
        except ChannelClosed as error:
            raise self._obituary(op) from error
        except BaseException:
            # Part of a message may be read: what comes next would be taken for a beginning.
            self.kill()
            raise

    def _timed_out(self, op: str) -> WorkerTimeout:
        self.kill()
        return with_log(WorkerTimeout(self._timeout_words(op)), log_tail(self.log))

    def _timeout_words(self, op: str) -> str:
        if op == _words(messages.AskDevices):
            return (
                f"{self._server.name} did not list its devices within {self.timeout_s:g} s, so "
                "its driver seems to hang. The vendor's tool may say more; a restart often helps."
            )
        return (
            f"{self._server.name}: `{op}` did not finish within {self.timeout_s:g} s and the "
            "worker was killed. Raise --cell-timeout if it is just slow."
        )

    def _obituary(self, op: str) -> BenchError:
        """Why the worker is dead, as well as can be known."""
        self._left()
        # A server that imports modules for another worker takes leave of this one afterwards, and
        # nobody else knows what ended it.
        if self._end is None:
            self._end = self._server.end_after_import(self.pid, _REAPED_S)
        end = self._end
        tail = log_tail(self.log)
        code = None if end is None else os.waitstatus_to_exitcode(end.status)
        # Nobody but the kernel's out-of-memory killer (or a person) sends SIGKILL to a worker
        # whose channel is still open: the scheduler closes the channel first.
        if code == -signal.SIGKILL:
            text = (
                f"{self._server.name}: the worker was killed during `{op}`, most likely by the "
                "kernel's out-of-memory killer. Use a smaller batch or free memory."
            )
            return with_log(OutOfMemory(text), tail)
        text = (
            f"{self._server.name}: the worker {exit_words(code)} during `{op}`{last_words(tail)}."
        )
        if says_out_of_memory(tail):
            text = f"{text} It ran out of memory: use a smaller batch or free memory."
            return with_log(OutOfMemory(text), tail)
        return with_log(WorkerCrashed(text), tail)

    def _described(self, op: str, failed: messages.Failed) -> BenchError:
        text, elsewhere = failed.text[:_MOST_WORDS], self._server.runtime.interpreter
        if failed.kind == Unavailable.kind:
            reason, remedy = failed.reason[:_MOST_WORDS], failed.remedy[:_MOST_WORDS]
            error: BenchError = Unavailable(reason, remedy)
            if op == _words(messages.AskVersion) and elsewhere is not None:
                # Its runtime can't be imported there; the adapter's advice is for our interpreter.
                reason = f"{self._server.name}: in {elsewhere.python} {reason}"
                error = Unavailable(reason, elsewhere.mend)
        elif failed.kind == WorkerCrashed.kind and says_out_of_memory(text):
            error = OutOfMemory(f"{self._server.name}: {text}. Use a smaller batch.")
        elif failed.kind == WorkerCrashed.kind:
            error = WorkerCrashed(f"{self._server.name}: {text}")
        else:
            error = from_kind(failed.kind, text)
        return with_log(error, log_tail(self.log))


def _words(request: type) -> str:
    """``WarmUp`` -> ``warm-up``, for messages to people."""
    return re.sub("(?<=[a-z])(?=[A-Z])", "-", request.__name__).lower()


def with_log(error: _Error, tail: str) -> _Error:
    error.log_tail = tail
    return error
