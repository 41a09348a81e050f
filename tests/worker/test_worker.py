"""The worker's side: messages, the timed loop, warm-up."""

from __future__ import annotations

import ast
import contextlib
import gc
import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.capabilities import QUERIES_PER_STREAM, DeviceTime
from bench.errors import BenchError, OutOfMemory, Unsupported
from bench.worker import loadgen, messages, resident
from bench.worker.messages import Bound
from bench.worker.timing import WARMUP_CALLS, time_calls, warm_up
from bench.worker.wire import (
    MOST_HEAD_BYTES,
    Channel,
    ChannelClosed,
    ChannelGarbled,
    ChannelTimeout,
)
from bench.worker.work import Work

ROOT = Path(__file__).parents[2]


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    left, right = (Channel(sock) for sock in socket.socketpair())
    yield left, right
    left.close()
    right.close()


class FakeClock:
    """A clock that only calls advance."""

    def __init__(self, latencies: Iterator[int]) -> None:
        self.now = 0
        self.latencies = latencies

    def __call__(self) -> int:
        return self.now

    def call(self) -> None:
        self.now += next(self.latencies)


def test_messages_and_arrays_arrive_as_they_were_sent(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    arrays = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.zeros((0, 4), np.int64),
        np.array(7, np.int8),
        np.arange(12).reshape(3, 4)[:, ::2],
    ]
    left.send({"op": "block", "calls": 3}, *arrays)
    message, received = right.receive(5)
    assert message == {"op": "block", "calls": 3}
    for sent, got in zip(arrays, received, strict=True):
        assert (got.dtype, got.shape) == (sent.dtype, sent.shape)
        np.testing.assert_array_equal(got, sent)


def test_a_scalar_arrives_as_a_scalar(channels: tuple[Channel, Channel]) -> None:
    ours, theirs = channels
    ours.send({}, np.float32(2.5), np.asarray(3))
    _, arrays = theirs.receive()
    assert [(array.shape, array.item()) for array in arrays] == [((), 2.5), ((), 3)]


def test_a_closed_channel_and_a_silent_one_are_told_apart(
    channels: tuple[Channel, Channel],
) -> None:
    left, right = channels
    with pytest.raises(ChannelTimeout):
        right.receive(0.01)
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(5)


#: More than a socket takes without anybody reading.
LARGE = np.zeros(20_000_000, np.uint8)


def test_a_message_that_came_at_the_last_moment_leaves_the_next_one_its_time(
    channels: tuple[Channel, Channel],
) -> None:
    left, right = channels
    right.send({"an": "answer"})
    left.receive(1e-3)
    taken: list[int] = []

    def take() -> None:
        time.sleep(0.1)  # until it looks, the socket is full
        taken.append(right.receive(30)[1][0].nbytes)

    reader = threading.Thread(target=take)
    reader.start()
    left.send({"a": "request"}, LARGE)
    reader.join()
    assert taken == [LARGE.nbytes]


def test_a_message_that_nobody_takes_is_told_from_the_end_of_the_stream(
    channels: tuple[Channel, Channel],
) -> None:
    left, right = channels
    with pytest.raises(ChannelTimeout):
        left.send({"a": "request"}, LARGE, timeout_s=0.05)
    right.close()
    with pytest.raises(ChannelClosed):
        left.send({"a": "request"}, LARGE, timeout_s=5)


def test_a_message_cut_short_is_a_closed_channel(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    left.sock.sendall((100).to_bytes(8, "big") + b"[{")
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(5)


@given(st.binary(max_size=200), st.booleans())
def test_bytes_that_are_no_message_are_told_from_the_end_of_the_stream(
    data: bytes, framed: bool
) -> None:
    """Whatever comes: a message, nonsense, or the end, and never another exception."""
    left, right = (Channel(sock) for sock in socket.socketpair())
    left.sock.sendall((len(data).to_bytes(8, "big") if framed else b"") + data)
    left.close()
    with contextlib.suppress(ChannelClosed, ChannelGarbled):
        right.receive(5)
    right.close()


@pytest.mark.parametrize(
    "head",
    [
        "[1]",
        "{}",
        "[1, [[2, [3]]]]",
        '[1, [["O", [1]]]]',
        '[1, [["f4,O", [1]]]]',
        '[1, [["f4", [-1]]]]',
        '[1, [["f4", [1.5]]]]',
        '[1, [["f4", [true]]]]',
        '[1, [["no type", [1]]]]',
        f'[1, [["f4", [{1 << 60}, {1 << 60}]]]]',
        "[" * 100_000,
    ],
)
def test_a_head_that_announces_what_cannot_come_is_refused_before_memory_is_taken(
    channels: tuple[Channel, Channel], head: str
) -> None:
    left, right = channels
    right.free_bytes = lambda: 1 << 30
    left.sock.sendall(len(head).to_bytes(8, "big") + head.encode())
    with pytest.raises(ChannelGarbled):
        right.receive(5)


def test_a_length_that_no_message_has_is_not_waited_for(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    left.sock.sendall((MOST_HEAD_BYTES + 1).to_bytes(8, "big"))
    with pytest.raises(ChannelGarbled, match=str(MOST_HEAD_BYTES + 1)):
        right.receive(5)


def test_arrays_that_memory_does_not_hold_are_refused_and_others_are_not(
    channels: tuple[Channel, Channel],
) -> None:
    left, right = channels
    right.free_bytes = lambda: 100 << 20
    for count, fits in ((99 << 20, True), (101 << 20, False)):
        head = f'[1, [["i1", [{count}]]]]'.encode()
        left.sock.sendall(len(head).to_bytes(8, "big") + head)
        wanted = ChannelTimeout if fits else ChannelGarbled
        with pytest.raises(wanted):
            right.receive(0.05)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_every_call_is_timed_once_and_no_time_is_lost(latencies: list[int]) -> None:
    clock = FakeClock(iter(latencies))
    measured = time_calls(clock.call, len(latencies), clock)
    assert measured.tolist() == latencies
    assert measured.dtype == np.int64


def test_warm_up_ends_when_latency_is_steady() -> None:
    clock = FakeClock(itertools.chain([900, 500, 300, 200], itertools.repeat(100)))
    warmup = warm_up(clock.call, budget_s=1.0, clock=clock)
    assert warmup.settled
    assert warmup.calls == 10
    assert warmup.latency_ns == 100


def test_one_interrupt_does_not_hide_that_a_session_is_warm() -> None:
    latencies = [100] * (WARMUP_CALLS - 2) + [5_000] + [100] * 100
    clock = FakeClock(iter(latencies))
    assert warm_up(clock.call, budget_s=1.0, clock=clock).calls == WARMUP_CALLS


def test_a_session_that_never_settles_says_so_and_ends_within_its_budget() -> None:
    clock = FakeClock(itertools.cycle([100_000, 300_000]))
    warmup = warm_up(clock.call, budget_s=0.01, clock=clock)
    assert not warmup.settled
    assert clock.now <= 0.011 * 1e9


@given(st.lists(st.integers(1, 10**8), min_size=20, max_size=60))
def test_warm_up_always_ends(latencies: list[int]) -> None:
    clock = FakeClock(itertools.cycle(latencies))
    warmup = warm_up(clock.call, budget_s=0.05, clock=clock)
    assert warmup.calls >= 5


def test_what_a_worker_imports_is_in_the_syntax_of_python_3_9() -> None:
    files = [*(ROOT / "bench/worker").glob("*.py"), *(ROOT / "backends").rglob("*.py")]
    core = ("__init__", "backend", "folders", "capabilities", "errors")
    files += [ROOT / f"bench/{name}.py" for name in core]
    for file in files:
        ast.parse(file.read_text(), str(file), feature_version=(3, 9))


def imports(file: Path) -> list[str]:
    """What importing the file imports; a function's own imports wait until it is called."""
    names: list[str] = []
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        if file.parent.name != "bench" or not isinstance(node, ast.FunctionDef):
            waiting += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize("name", ["bench/__init__.py", "bench/worker/__init__.py"])
def test_what_precedes_the_greeting_imports_nothing(name: str) -> None:
    assert not imports(ROOT / name)


def test_what_a_worker_imports_is_the_standard_library_and_numpy() -> None:
    """Workers run in interpreters that have neither pydantic nor the rest of bench."""
    files = [*(ROOT / "bench/worker").glob("*.py"), ROOT / "bench/backend.py"]
    shared = ("capabilities", "decoding", "errors", "steps")
    files += [ROOT / f"bench/{name}.py" for name in (*shared, "__init__")]
    allowed = {*sys.stdlib_module_names, "numpy"}
    allowed_bench = {"bench.backend", *(f"bench.{name}" for name in shared)}
    for file in files:
        for name in imports(file):
            fine = name.split(".")[0] in allowed or name in allowed_bench
            fine = fine or name.startswith("bench.worker")
            assert fine, f"{file.name} imports {name}"


class CopyingSession:
    """Can time its copies; ``fails`` in doing so, where that is asked for."""

    def __init__(self, fails: bool) -> None:
        self.inputs = self.outputs = [TensorSpec("x", "float32", (-1, 4))]
        self.fails = fails
        self.closed = False

    def bind(self, feeds: Feeds) -> Any:
        return lambda: None

    api_call = bind

    def placement(self) -> Placement:
        return Placement({"npu:0": 1}, "made up")

    def copy_times(self, feeds: Feeds, repeats: int) -> dict[str, list[int]]:
        if self.fails:
            raise OutOfMemory("no room for copies")
        return {"h2d_ns": [10] * repeats, "d2h_ns": [feeds["x"].nbytes] * repeats}

    def close(self) -> None:
        self.closed = True


class CopyingBackend:
    name = "copying"

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.sessions: list[CopyingSession] = []

    def compile(self, *_: Any) -> CopyingSession:
        self.sessions.append(CopyingSession(self.fails))
        return self.sessions[-1]


DEVICE = Device("npu:0", "", "")


def loaded(backend: CopyingBackend, lane: messages.Lane = "prepared") -> tuple[Work, Bound]:
    """A worker's state with a model loaded and inputs bound, and what binding answered."""
    work = Work(backend)  # type: ignore[arg-type]
    load(work)
    feeds = {"x": np.zeros((2, 4), np.float32)}
    return work, work.bind(messages.Bind(feeds, lane, streams=1))


def load(work: Work, cpus: tuple[int, ...] = ()) -> None:
    work.load(messages.Load(ModelFile("m"), DEVICE, Options(), cpus))


def test_copies_are_timed_where_the_session_can_as_often_as_time_allows() -> None:
    work, bound = loaded(CopyingBackend())
    assert bound.times_copies
    for latency_ns, repeats in ((10, 20), (20_000_000, 10), (10**12, 2)):
        found = work.copy_times(messages.TimeCopies(latency_ns))
        assert found.times == {"h2d_ns": (10,) * repeats, "d2h_ns": (32,) * repeats}


def test_copies_that_are_part_of_the_call_are_not_timed_apart() -> None:
    work, bound = loaded(CopyingBackend(), lane="api")
    assert not bound.times_copies
    assert work.copy_times(messages.TimeCopies(10)).times == {}


def test_copies_that_cannot_be_timed_fail_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    work, _ = loaded(CopyingBackend(fails=True))
    assert work.copy_times(messages.TimeCopies(10)).times == {}
    assert "no room for copies" in capsys.readouterr().err


def test_an_unloaded_model_is_closed_and_another_can_be_loaded() -> None:
    backend = CopyingBackend()
    work, _ = loaded(backend)
    work.unload(messages.Unload())
    assert backend.sessions[0].closed
    load(work)
    assert [session.closed for session in backend.sessions] == [True, False]
    work.close(messages.Close())
    assert work.closed
    assert all(session.closed for session in backend.sessions)


def test_device_memory_is_none_where_the_backend_cannot_tell() -> None:
    backend = CopyingBackend()
    request = messages.AskDeviceMemory(DEVICE)
    work = Work(backend)  # type: ignore[arg-type]
    assert work.device_memory(request) == messages.DeviceMemory(None, None)
    backend.device_memory = lambda device: (3, 4)  # type: ignore[attr-defined]
    assert work.device_memory(request) == messages.DeviceMemory(3, 4)


def test_the_device_is_asked_before_and_after_each_block_and_not_in_it() -> None:
    backend = CopyingBackend()
    asked: list[str] = []
    backend.telemetry = lambda device: (  # type: ignore[attr-defined]
        asked.append(device.id) or {"power_w": float(len(asked))}
    )
    work, _ = loaded(backend)
    assert asked == ["npu:0"]  # opens the driver's library, which must not wait for a block
    for _ in range(3):
        work.block(messages.TimeBlock(calls=5, discard=1))
    found = work.told_readings(messages.AskReadings())
    assert found.before == ({"power_w": 2.0}, {"power_w": 4.0}, {"power_w": 6.0})
    assert found.readings == ({"power_w": 3.0}, {"power_w": 5.0}, {"power_w": 7.0})
    assert found.raising_calls == (0, 0, 0)  # it tells no clock
    work.unload(messages.Unload())
    assert work.told_readings(messages.AskReadings()) == messages.Readings(())


def test_a_device_is_at_its_working_clock_before_calls_are_timed() -> None:
    """Each call of the model raises it by 100 MHz, up to 2 GHz; idling between blocks costs 1."""
    backend, hz = CopyingBackend(), [1e9]
    backend.telemetry = lambda device: {"clock_hz": hz[0]}  # type: ignore[attr-defined]
    work, _ = loaded(backend)
    made: list[float] = []

    def call() -> None:
        made.append(hz[0])
        hz[0] = min(2e9, hz[0] + 1e8)

    work.call = call
    for _ in range(3):
        timed = work.block(messages.TimeBlock(calls=5, discard=2))
        assert len(timed.latency_ns) == 5
        assert set(made[-7:]) == {2e9}
        hz[0] = 1e9
    told = work.told_readings(messages.AskReadings())
    assert told.before == ({"clock_hz": 2e9},) * 3
    assert sum(told.raising_calls) == len(made) - 3 * 7
    assert min(told.raising_calls) >= 10


class TimedSession(CopyingSession):
    """Tells its device's own time."""

    def device_time(self, calls: int) -> DeviceTime:
        if self.fails:
            raise BenchError("work in several streams")
        return DeviceTime(1000.0 + calls, gaps=True)


@pytest.mark.parametrize(("latency_ns", "calls"), [(10, 20), (20_000_000, 10), (10**12, 2)])
def test_the_devices_own_time_is_asked_for_where_the_session_tells(
    latency_ns: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.CopyingSession", TimedSession)
    work, bound = loaded(CopyingBackend())
    assert bound.times_device
    found = work.device_time(messages.TimeDevice(latency_ns))
    assert found.time == DeviceTime(1000.0 + calls, gaps=True)


@pytest.mark.parametrize("what", ["device_time", "copy_times"])
def test_a_device_is_at_its_working_clock_when_it_is_timed_beside_the_blocks(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others had their turns since, and their ends, in which they load a session once more."""
    hz, seen = [2e9], []

    class Session(TimedSession):
        def device_time(self, calls: int) -> DeviceTime:
            seen.append(hz[0])
            return super().device_time(calls)

        def copy_times(self, feeds: Any, repeats: int) -> Any:
            seen.append(hz[0])
            return super().copy_times(feeds, repeats)

    monkeypatch.setattr(f"{__name__}.CopyingSession", Session)
    backend = CopyingBackend()
    backend.telemetry = lambda device: {"clock_hz": hz[0]}  # type: ignore[attr-defined]
    work, _ = loaded(backend)

    def call() -> None:
        hz[0] = min(2e9, hz[0] + 1e8)

    work.call = call
    work.block(messages.TimeBlock(calls=5, discard=2))
    hz[0] = 3e8
    asked = {"device_time": messages.TimeDevice(10), "copy_times": messages.TimeCopies(10)}
    getattr(work, what)(asked[what])
    assert seen == [2e9]


def test_the_devices_own_time_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = messages.TimeDevice(10)
    assert loaded(CopyingBackend())[0].device_time(request).time is None
    monkeypatch.setattr(f"{__name__}.CopyingSession", TimedSession)
    work, bound = loaded(CopyingBackend(), lane="api")  # whose calls copy as well
    assert not bound.times_device
    assert work.device_time(request).time is None
    work, _ = loaded(CopyingBackend(fails=True))
    assert work.device_time(request).time is None
    assert "work in several streams" in capsys.readouterr().err


def test_a_device_that_tells_nothing_has_no_readings() -> None:
    work, _ = loaded(CopyingBackend())
    work.block(messages.TimeBlock(calls=5, discard=1))
    assert work.told_readings(messages.AskReadings()).readings == ()


class Counting(CopyingBackend):
    """Its calls and loops are counted; the calls of a block are told by the clock that times them.

    It has a native lane, and streams.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.loops: list[int] = []

    def compile(self, *_: Any) -> Any:
        session = super().compile()
        session.bind = lambda feeds: self.call  # type: ignore[method-assign]
        session.api_call = lambda feeds: lambda: self.looped(-1)  # type: ignore[method-assign]
        session.native_timer = lambda feeds, time_calls: self.looped  # type: ignore[attr-defined]
        session.bind_streams = (  # type: ignore[attr-defined]
            lambda feeds, streams: lambda: self.looped(-10 * streams)
        )
        return session

    def call(self) -> None:
        self.calls += 1

    def looped(self, calls: int) -> Any:
        self.loops.append(calls)
        return np.full(max(calls, 1), 7, np.int64)


def test_the_first_calls_of_a_block_are_made_and_do_not_count() -> None:
    backend = Counting()
    work, _ = loaded(backend)
    before = backend.calls
    timed = work.block(messages.TimeBlock(calls=5, discard=3))
    assert timed.latency_ns.shape == (5,)
    assert backend.calls - before == 8


def test_calls_before_a_search_for_the_highest_rate_are_made_and_do_not_count() -> None:
    backend = Counting()
    work, _ = loaded(backend)
    before = backend.calls
    bounds = messages.Bounds(latency_ns=1e12)
    asked = messages.ServeQueries(1e6, queries=4, seed=1, bounds=bounds, allowed_above=9, discard=3)
    served = work.serve_queries(asked)
    assert served.latency_ns.shape == (4,)
    assert backend.calls - before == 7


def test_the_lane_asked_for_is_the_one_that_is_timed() -> None:
    feeds = {"x": np.zeros((2, 4), np.float32)}
    backend = Counting()
    work, _ = loaded(backend, "native")
    work.block(messages.TimeBlock(calls=5, discard=2))
    assert backend.loops == [1, 2, 5]  # the first inference, those that don't count, the block
    work.bind(messages.Bind(feeds, "api", streams=1))
    work.block(messages.TimeBlock(calls=2, discard=0))
    assert backend.loops[3:] == [-1, -1, -1]
    bound = work.bind(messages.Bind(feeds, "prepared", streams=3))
    assert backend.loops[-1] == -30
    assert bound.queries_per_call == 3 * QUERIES_PER_STREAM
    assert backend.calls == 0
    work.bind(messages.Bind(feeds, "prepared", streams=1))
    assert backend.calls == 1


@pytest.mark.parametrize("lane", ["api", "native"])
def test_streams_are_not_dropped_in_a_lane_that_has_none(lane: messages.Lane) -> None:
    work, _ = loaded(Counting())
    with pytest.raises(Unsupported, match=f"one call at a time in the {lane} lane"):
        work.bind(messages.Bind({"x": np.zeros((2, 4), np.float32)}, lane, streams=2))


@pytest.mark.parametrize("lane", ["prepared", "api"])
def test_loadgens_library_is_called_in_the_lane_that_is_bound(
    monkeypatch: pytest.MonkeyPatch, lane: messages.Lane
) -> None:
    def drive(module: Any, test: Any, calls: Any, queries_per_call: int) -> None:
        for call in calls:
            call()

    monkeypatch.setattr(loadgen, "module", lambda: None)
    monkeypatch.setattr(loadgen, "drive", drive)
    backend = Counting()
    work, _ = loaded(backend, lane)
    asked: Any = SimpleNamespace(test=None, library={"x": np.zeros((3, 4), np.float32)})
    before = backend.calls, len(backend.loops)
    work.drive_loadgen(asked)
    # Once to make it ready and once by LoadGen, each of three; and what is bound last.
    made = backend.calls - before[0], len(backend.loops) - before[1]
    assert made == ((7, 0) if lane == "prepared" else (0, 7))


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector as it was, whatever a worker did to it."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("collector")
def test_blocks_are_timed_with_the_garbage_collector_off_and_nothing_left_for_it() -> None:
    work, _ = loaded(CopyingBackend())
    assert gc.isenabled()
    gc.unfreeze()
    work.warm_up(messages.WarmUp(budget_s=1.0))
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 1000  # whatever a collection would look at, numpy and all


def test_the_most_memory_is_counted_from_loading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked worker inherits its parent's pages, and the high-water mark of them."""
    done: list[str] = []
    monkeypatch.setattr(resident, "reset_peak", lambda: done.append("reset"))
    backend = CopyingBackend()
    compiled = backend.compile
    backend.compile = lambda *_: done.append("compile") or compiled()  # type: ignore[method-assign]
    load(Work(backend))  # type: ignore[arg-type]
    assert done == ["reset", "compile"]


def test_the_high_water_mark_can_be_started_again() -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("this system has no clear_refs")
    held = np.ones(2**25)  # 256 MiB
    with_it = resident.peak_rss_bytes() or 0
    del held
    resident.reset_peak()
    assert (resident.peak_rss_bytes() or 0) < with_it - 2**27


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins nothing")
def test_a_worker_is_pinned_to_the_cores_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[tuple[int, tuple[int, ...]]] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: pinned.append((pid, cpus)))
    work = Work(CopyingBackend())  # type: ignore[arg-type]
    load(work)
    assert pinned == []
    load(work, cpus=(1, 3))
    assert pinned == [(0, (1, 3))]
