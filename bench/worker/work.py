"""What one worker does: load a model, bind inputs, warm up, time blocks, compute outputs."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
import traceback
from importlib import metadata
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from bench.backend import (
    Backend,
    Device,
    Session,
    model_file_from_plain,
    options_from_plain,
    to_plain,
)
from bench.capabilities import (
    QUERIES_PER_STREAM,
    ExplainsAbsence,
    NativeTimer,
    ProfilesPlacement,
    ReportsDeviceMemory,
    Streams,
    Telemetry,
    TimesCopies,
)
from bench.errors import BenchError, NotInBuild, OutOfMemory, Unavailable, Unsupported
from bench.worker import PROTOCOL, openloop, resident
from bench.worker.timing import time_calls, warm_up
from bench.worker.wire import Channel, ChannelClosed

_NATIVE_PILOT_CALLS = 20
#: Copies are timed so often, but no longer than about so many ns of inferences.
_COPY_REPEATS = 20
_COPY_BUDGET_NS = 200_000_000

Result = Tuple[Dict[str, Any], List["np.ndarray[Any, Any]"]]
Operation = Callable[[Dict[str, Any], List[Any]], Result]


def serve(channel: Channel, backend: Backend) -> None:
    """Answer requests until the channel closes or ``close`` is asked for.

    An error becomes an answer with its kind and message; the worker lives on, the scheduler
    decides. A worker whose scheduler died sees its channel close and ends.
    """
    work = Work(backend)
    channel.send({"protocol": PROTOCOL, "pid": os.getpid(), "python": sys.version.split()[0]})
    with contextlib.suppress(ChannelClosed):
        while not work.closed:
            request, arrays = channel.receive()
            answer, results = _answer(work, request, arrays)
            channel.send(answer, *results)


def _answer(
    work: Work, request: dict[str, Any], arrays: list[np.ndarray[Any, Any]]
) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
    try:
        return work.handle(request, arrays)
    except BenchError as error:
        answer = {"error": error.kind, "message": str(error)}
        if isinstance(error, Unavailable):
            answer.update(reason=error.reason, remedy=error.remedy)
        return answer, []
    except MemoryError:
        return {"error": OutOfMemory.kind, "message": "the worker ran out of memory"}, []
    except Exception as error:
        traceback.print_exc()  # into the worker's log
        last = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {last[0] if last else '(no message)'}"
        return {"error": "crashed", "message": text}, []


class Work:
    """The state of one worker: at most one session and one bound call."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.session: Optional[Session] = None
        self.call: Optional[Callable[[], object]] = None
        self.timer: Optional[Callable[[int], np.ndarray[Any, Any]]] = None
        self.feeds: dict[str, Any] = {}
        self.device: Optional[Device] = None
        self.readings: list[dict[str, Any]] = []
        self.closed = False

    def handle(
        self, request: dict[str, Any], arrays: list[np.ndarray[Any, Any]]
    ) -> tuple[dict[str, Any], list[np.ndarray[Any, Any]]]:
        """Do what ``request["op"]`` names."""
        operations: dict[str, Operation] = {
            "version": self.version,
            "devices": self.devices,
            "packages": self.packages,
            "load": self.load,
            "bind": self.bind,
            "warm-up": self.warm_up,
            "block": self.block,
            "open-loop": self.open_loop,
            "fetch": self.fetch,
            "copy-times": self.copy_times,
            "device-memory": self.device_memory,
            "telemetry": self.telemetry,
            "unload": self.unload,
            "evaluate": self.evaluate,
            "placement": self.placement,
            "memory": self.memory,
            "close": self.close,
        }
        return operations[request["op"]](request, arrays)

    def version(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """The runtime's version: an error here means that the runtime isn't there at all."""
        return {"version": self.backend.version()}, []

    def devices(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Which devices answer when touched, and why others that the build is for do not."""
        found = [to_plain(device) for device in self.backend.devices()]
        backend = self.backend
        explained = backend.absent_devices() if isinstance(backend, ExplainsAbsence) else {}
        absent = {
            kind: [error.reason, error.remedy, isinstance(error, NotInBuild)]
            for kind, error in explained.items()
        }
        return {"devices": found, "absent": absent}, []

    def packages(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """The versions of every distribution that this interpreter can import from."""
        found = ((d.metadata["Name"], d.version) for d in metadata.distributions())
        return {"packages": dict(sorted((n, v) for n, v in found if n and v))}, []

    def load(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Read and compile the model; the time of that is the load time."""
        if request["cpus"] and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, request["cpus"])
        model = model_file_from_plain(request["model"])
        device = Device(**request["device"])
        options = options_from_plain(request["options"])
        resident.reset_peak()
        rss_before = resident.current_rss_bytes()
        if self.session is not None:  # a worker may load one model after another
            self.session.close()
            self.session = None
        started = time.perf_counter_ns()
        self.session = self.backend.compile(model, device, options)
        load_ns = time.perf_counter_ns() - started
        self.device = device
        self._read_device()  # the first reading opens the driver's library, which takes long
        self.readings.clear()
        answer = {
            "load_ns": load_ns,
            "rss_before_load_bytes": rss_before,
            "inputs": [to_plain(spec) for spec in self.session.inputs],
            "outputs": [to_plain(spec) for spec in self.session.outputs],
        }
        return answer, []

    def bind(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Bind the arrays (named by ``request["names"]``) and make the first inference."""
        session = self._session()
        feeds = dict(zip(request["names"], arrays))
        started = time.perf_counter_ns()
        self.call, queries_per_call = self._make_call(session, request, feeds)
        bind_ns = time.perf_counter_ns() - started
        times_copies = isinstance(session, TimesCopies) and request["lane"] == "prepared"
        self.feeds = feeds if times_copies else {}
        started = time.perf_counter_ns()
        self.call()
        first_ns = time.perf_counter_ns() - started
        answer = {
            "bind_ns": bind_ns,
            "queries_per_call": queries_per_call,
            "first_inference_ns": first_ns,
            "times_copies": times_copies,
            "tells_of_device": isinstance(self.backend, Telemetry),
            "rss_bytes": resident.current_rss_bytes(),
            # ``profiles``: whether a session like this one could find out more (`placement`).
            "placement": {
                **to_plain(session.placement()),
                "profiles": isinstance(session, ProfilesPlacement),
            },
        }
        return answer, []

    def warm_up(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Reach the steady state, then shut the garbage collector out of what follows."""
        warmup = warm_up(self._call(), request["budget_s"])
        if self.timer is not None:
            # A loop of one is mostly the way into it; the blocks are sized by a real one.
            latency_ns = int(np.median(self.timer(_NATIVE_PILOT_CALLS)))
            warmup = warmup._replace(latency_ns=latency_ns)
        # A full collection with a runtime loaded takes up to 100 ms, and the loop makes no garbage.
        gc.collect()
        gc.freeze()
        gc.disable()
        return warmup._asdict(), []

    def block(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Discard the first calls (caches are cold after other workers' turns), time the rest."""
        call = self._call()
        if self.timer is not None:
            self.timer(request["discard"])
            return {}, [self.timer(request["calls"])]
        for _ in range(request["discard"]):
            call()
        latency_ns = time_calls(call, request["calls"])
        self._read_device()
        return {}, [latency_ns]

    def open_loop(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Queries at random moments, their latencies counted from when they were to arrive."""
        arrivals = openloop.poisson_arrivals_ns(
            request["rate_per_s"], request["queries"], request["seed"]
        )
        call = self._call()
        for _ in range(request["discard"]):
            call()
        served = openloop.serve(call, arrivals, request["bound_ns"], request["allowed_above"])
        self._read_device()
        late_ns = float(np.quantile(served.late_ns, 0.99)) if len(served.late_ns) else 0.0
        return {"generator_late_ns": late_ns}, [served.latency_ns]

    def fetch(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """The outputs that the last timed call left."""
        return {}, list(self._session().fetch())

    def copy_times(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """How long the copies of what is bound take, in ns; nothing where the session can't tell.

        They are a side show: their failure is told in the worker's log, and fails nothing.
        """
        session = self._session()
        if not self.feeds or not isinstance(session, TimesCopies):
            return {}, []
        affordable = int(_COPY_BUDGET_NS / max(request["latency_ns"], 1))
        try:
            times = session.copy_times(self.feeds, max(2, min(_COPY_REPEATS, affordable)))
        except BenchError as error:
            print(f"copies could not be timed: {error}", file=sys.stderr, flush=True)
            return {}, []
        return {name: [int(ns) for ns in values] for name, values in times.items()}, []

    def device_memory(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Free and total bytes on the device; null where the backend can't tell."""
        device, found = Device(**request["device"]), None
        if isinstance(self.backend, ReportsDeviceMemory):
            found = self.backend.device_memory(device)
        return {"memory": None if found is None else list(found)}, []

    def telemetry(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """What the device told of itself after each block, see `bench.capabilities`."""
        return {"readings": self.readings}, []

    def _read_device(self) -> None:
        """Ask the device how it is, now that it still is as the calls left it."""
        if isinstance(self.backend, Telemetry) and self.device is not None:
            reading = self.backend.telemetry(self.device)
            if reading:
                self.readings.append(dict(reading))

    def evaluate(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Outputs for a chunk of a data set, through the checked path."""
        return {}, list(self._session().run(dict(zip(request["names"], arrays))))

    def placement(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """The placement with all that the session can find out on these inputs, in its own time."""
        session = self._session()
        feeds = dict(zip(request["names"], arrays))
        if isinstance(session, ProfilesPlacement):
            found = session.profiled_placement(feeds)
        else:
            found = session.placement()
        return {"placement": to_plain(found)}, []

    def memory(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        return {"peak_rss_bytes": resident.peak_rss_bytes()}, []

    def close(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        self.closed = True
        return self.unload(request, arrays)

    def unload(self, request: dict[str, Any], arrays: list[Any]) -> Result:
        """Close the session, if there is one; another model may be loaded then."""
        session, self.session = self.session, None
        self.call = self.timer = None
        self.feeds = {}
        self.readings = []
        if session is not None:
            session.close()
        return {}, []

    def _make_call(
        self, session: Session, request: dict[str, Any], feeds: dict[str, Any]
    ) -> Tuple[Callable[[], object], int]:
        """A call in the lane asked for, and how many queries it is; the native lane times whole
        loops of calls itself."""
        lane = request["lane"]
        if lane == "api":
            return session.api_call(feeds), 1
        if lane == "prepared" and request.get("streams", 1) > 1:
            return self._streams(session, request["streams"], feeds)
        if lane == "prepared":
            return session.bind(feeds), 1
        if not isinstance(session, NativeTimer):
            raise Unsupported(
                f"{self.backend.name} has no native lane; its lanes are prepared and api."
            )
        self.timer = timer = session.native_timer(feeds, time_calls)
        return (lambda: timer(1)), 1

    def _streams(
        self, session: Session, streams: int, feeds: dict[str, Any]
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
