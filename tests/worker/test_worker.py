"""The worker's side: messages, the timed loop, warm-up."""

from __future__ import annotations

import ast
import itertools
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.backend import Feeds, Placement, TensorSpec
from bench.errors import OutOfMemory
from bench.worker.timing import WARMUP_CALLS, time_calls, warm_up
from bench.worker.wire import Channel, ChannelClosed, ChannelTimeout
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


def test_a_message_cut_short_is_a_closed_channel(channels: tuple[Channel, Channel]) -> None:
    left, right = channels
    left.sock.sendall((100).to_bytes(8, "big") + b"[{")
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(5)


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
    assert warmup.calls == WARMUP_CALLS
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
    files = [*(ROOT / "bench/worker").glob("*.py"), *(ROOT / "backends").glob("*.py")]
    files += [ROOT / name for name in ("bench/__init__.py", "bench/backend.py", "bench/errors.py")]
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
    files += [ROOT / f"bench/{name}.py" for name in ("capabilities", "errors", "__init__")]
    allowed = {*sys.stdlib_module_names, "numpy"}
    allowed_bench = {"bench.backend", "bench.capabilities", "bench.errors"}
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


def loaded(backend: CopyingBackend, lane: str = "prepared") -> tuple[Work, dict[str, Any]]:
    """A worker's state with a model loaded and inputs bound, and what binding answered."""
    work = Work(backend)  # type: ignore[arg-type]
    load(work)
    request = {"op": "bind", "names": ["x"], "lane": lane}
    answer, _ = work.handle(request, [np.zeros((2, 4), np.float32)])
    return work, answer


def load(work: Work) -> None:
    device = {"id": "npu:0", "vendor": "", "name": ""}
    options = {"threads": 1, "allow_fallback": False, "shapes": {}, "extra": {}}
    work.handle(
        {"op": "load", "model": {"name": "m"}, "device": device, "options": options, "cpus": []}, []
    )


def test_copies_are_timed_where_the_session_can_as_often_as_time_allows() -> None:
    work, answer = loaded(CopyingBackend())
    assert answer["times_copies"]
    for latency_ns, repeats in ((10, 20), (20_000_000, 10), (10**12, 2)):
        times, _ = work.handle({"op": "copy-times", "latency_ns": latency_ns}, [])
        assert times == {"h2d_ns": [10] * repeats, "d2h_ns": [32] * repeats}


def test_copies_that_are_part_of_the_call_are_not_timed_apart() -> None:
    work, answer = loaded(CopyingBackend(), lane="api")
    assert not answer["times_copies"]
    assert work.handle({"op": "copy-times", "latency_ns": 10}, []) == ({}, [])


def test_copies_that_cannot_be_timed_fail_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    work, _ = loaded(CopyingBackend(fails=True))
    assert work.handle({"op": "copy-times", "latency_ns": 10}, []) == ({}, [])
    assert "no room for copies" in capsys.readouterr().err


def test_an_unloaded_model_is_closed_and_another_can_be_loaded() -> None:
    backend = CopyingBackend()
    work, _ = loaded(backend)
    work.handle({"op": "unload"}, [])
    assert backend.sessions[0].closed
    load(work)
    assert [session.closed for session in backend.sessions] == [True, False]
    work.handle({"op": "close"}, [])
    assert work.closed
    assert all(session.closed for session in backend.sessions)


def test_device_memory_is_null_where_the_backend_cannot_tell() -> None:
    backend = CopyingBackend()
    device = {"id": "npu:0", "vendor": "", "name": ""}
    request = {"op": "device-memory", "device": device}
    work = Work(backend)  # type: ignore[arg-type]
    assert work.handle(request, [])[0] == {"memory": None}
    backend.device_memory = lambda device: (3, 4)  # type: ignore[attr-defined]
    assert work.handle(request, [])[0] == {"memory": [3, 4]}


def test_the_device_is_asked_after_each_block_and_not_in_it() -> None:
    backend = CopyingBackend()
    asked: list[str] = []
    backend.telemetry = lambda device: (  # type: ignore[attr-defined]
        asked.append(device.id) or {"power_w": float(len(asked))}
    )
    work, _ = loaded(backend)
    assert asked == ["npu:0"]  # opens the driver's library, which must not wait for a block
    for _ in range(3):
        work.handle({"op": "block", "calls": 5, "discard": 1}, [])
    answer, _ = work.handle({"op": "telemetry"}, [])
    assert answer == {"readings": [{"power_w": 2.0}, {"power_w": 3.0}, {"power_w": 4.0}]}
    work.handle({"op": "unload"}, [])
    assert work.handle({"op": "telemetry"}, [])[0] == {"readings": []}


def test_a_device_that_tells_nothing_has_no_readings() -> None:
    work, _ = loaded(CopyingBackend())
    work.handle({"op": "block", "calls": 5, "discard": 1}, [])
    assert work.handle({"op": "telemetry"}, [])[0] == {"readings": []}
