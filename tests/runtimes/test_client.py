"""The scheduler's end of a worker: requests and answers, and what isn't understood."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

from bench.backend import Device, ModelFile, Options, Placement
from bench.capabilities import DeviceTime
from bench.errors import OutOfMemory, Unavailable, Unsupported, WorkerCrashed, WorkerTimeout
from bench.runtimes.client import Worker
from bench.worker import PROTOCOL
from bench.worker import messages as m
from bench.worker.codec import MessageError, decode, encode
from bench.worker.wire import Channel, ChannelClosed

FEEDS = {"x": np.ones((1, 2), np.float32)}
DEVICE, MODEL, OPTIONS = Device("cpu", "", ""), ModelFile("net"), Options(extra={"a": "b"})
NS = np.array([3, 4], np.int64)
PLACEMENT = Placement({"cpu": 1}, "told")
BOUND = m.Bound(1, 2, 1, None, PLACEMENT, True, False, False, False)
WORKED = DeviceTime(8.5, gaps=True)
SERVE = m.ServeQueries(9.5, 3, seed=1, bounds=m.Bounds(2.0), allowed_above=2, discard=4)
ASK_QUERIES = m.BindQueries("{}", np.ones((1, 1, 2), np.int64), new_tokens=3)
SERVED = m.ServedQueries(NS, 1.5)
Answers = Callable[[Any], tuple[Any, list[np.ndarray]]]


@pytest.fixture
def worker() -> Iterator[Callable[[Answers], Worker]]:
    """A client whose other side answers as it is told; nobody is killed."""
    channels: list[Channel] = []

    def made(answers: Answers) -> Worker:
        ours, theirs = (Channel(sock) for sock in socket.socketpair())
        channels.extend((ours, theirs))

        def serve() -> None:
            with contextlib.suppress(ChannelClosed):  # nothing was sent
                request = decode(*theirs.receive(5), get_args(m.Request))
                message, arrays = answers(request)
                theirs.send(message, *arrays)

        server = SimpleNamespace(name="acme", runtime=SimpleNamespace(interpreter=None))
        Thread(target=serve, daemon=True).start()
        return Worker(server, os.getpid(), ours, Path("/nowhere.log"), 5)  # type: ignore[arg-type]

    yield made
    for channel in channels:
        channel.close()


@pytest.mark.parametrize(
    ("call", "request_", "answered", "gives"),
    [
        (lambda w: w.version(), m.AskVersion(), m.Version("1"), "1"),
        (lambda w: w.devices(), m.AskDevices(), m.Devices((DEVICE,), {}), m.Devices((DEVICE,), {})),
        (lambda w: w.packages(), m.AskPackages(), m.Packages({"a": "1"}), {"a": "1"}),
        (
            lambda w: w.load(MODEL, DEVICE, OPTIONS, [2, 5]),
            m.Load(MODEL, DEVICE, OPTIONS, (2, 5)),
            m.LoadedInfo(1, 2, (), ()),
            m.LoadedInfo(1, 2, (), ()),
        ),
        (lambda w: w.bind({}, lane="api", streams=3), m.Bind({}, "api", 3), BOUND, BOUND),
        (lambda w: w.bind({}), m.Bind({}, "prepared", 1), BOUND, BOUND),
        (lambda w: w.bind_queries(ASK_QUERIES), ASK_QUERIES, BOUND, BOUND),
        (lambda w: w.warm_up(2.5), m.WarmUp(2.5), m.Warmup(9, True, 7), m.Warmup(9, True, 7)),
        (lambda w: w.block(calls=2, discard=3), m.TimeBlock(2, 3), m.TimedBlock(NS), NS),
        (
            lambda w: w.serve_queries(SERVE),
            SERVE,
            m.ServedQueries(NS, 1.5),
            m.ServedQueries(NS, 1.5),
        ),
        (lambda w: w.fetch(), m.Fetch(), m.Outputs((NS,)), [NS]),
        (lambda w: w.evaluate(FEEDS), m.Evaluate(FEEDS), m.Outputs((NS,)), [NS]),
        (lambda w: w.copy_times(7.5), m.TimeCopies(7.5), m.CopyTimes({"a": (1,)}), {"a": (1,)}),
        (
            lambda w: w.device_memory(DEVICE),
            m.AskDeviceMemory(DEVICE),
            m.DeviceMemory(1, 2),
            m.DeviceMemory(1, 2),
        ),
        (lambda w: w.device_time(7.5), m.TimeDevice(7.5), m.DeviceTimed(WORKED), WORKED),
        (lambda w: w.readings(), m.AskReadings(), m.Readings(({},)), m.Readings(({},))),
        (lambda w: w.placement({}), m.FindPlacement({}), m.FoundPlacement(PLACEMENT), PLACEMENT),
        (lambda w: w.peak_rss_bytes(), m.AskMemory(), m.Memory(9), 9),
        (lambda w: w.unload(), m.Unload(), m.Done(), None),
    ],
)
def test_a_method_sends_its_request_and_gives_its_answer(
    worker: Callable[[Answers], Worker],
    call: Callable[[Worker], object],
    request_: m.Request,
    answered: m.Answer,
    gives: object,
) -> None:
    heard: list[object] = []
    found = call(worker(lambda request: heard.append(request) or encode(answered)))
    assert repr(heard) == repr([request_])
    assert repr(found) == repr(gives)


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        ({"message": "Memory", "fields": {}}, "lacks the field 'peak_rss_bytes'"),
        ({"message": "Memory", "fields": {"peak_rss_bytes": "9"}}, "is '9' .str., but must be"),
        ({"message": "Memory", "fields": {"peak_rss_bytes": 9, "more": 1}}, "unknown field 'more'"),
        ({"message": "Done", "fields": {}}, "unknown message 'Done'; expected Memory or Failed"),
        ({"peak_rss_bytes": 9}, "a message needs a name and fields"),
        (None, "a message needs a name and fields"),
    ],
)
def test_an_answer_that_is_not_understood_fails_in_words_as_a_crash_does(
    worker: Callable[[Answers], Worker], answered: Any, words: str
) -> None:
    with pytest.raises(MessageError, match=words) as caught:
        worker(lambda request: (answered, [])).peak_rss_bytes()
    assert isinstance(caught.value, WorkerCrashed)
    assert caught.value.kind == "crashed"
    assert str(caught.value).startswith("acme: the answer to `ask-memory` is not understood: ")


@pytest.mark.parametrize(
    ("call", "answered", "words"),
    [
        (lambda w: w.block(calls=3, discard=1), m.TimedBlock(NS), r"\(2,\) latencies for 3 calls"),
        (lambda w: w.block(calls=2, discard=1), m.TimedBlock(-NS), "a call took -4 ns"),
        (lambda w: w.block(calls=2, discard=1), m.TimedBlock(NS, NS[:1]), r"\(1,\) first tokens"),
        (lambda w: w.warm_up(1.0), m.Warmup(9, True, 0), "a call took 0 ns"),
    ],
)
def test_an_answer_that_cannot_be_true_is_refused(
    worker: Callable[[Answers], Worker], call: Callable[[Worker], object], answered: Any, words: str
) -> None:
    with pytest.raises(MessageError, match=f"makes no sense: {words}"):
        call(worker(lambda request: encode(answered)))


def test_an_error_of_any_length_is_told_in_few_words(
    worker: Callable[[Answers], Worker],
) -> None:
    for failed in (m.Failed("crashed", "x" * 9000), m.Failed("unavailable", "", "y" * 9000)):
        with pytest.raises((WorkerCrashed, Unavailable)) as caught:
            worker(lambda request, failed=failed: encode(failed)).fetch()
        assert len(str(caught.value)) < 2100


def test_a_request_of_another_type_than_its_fields_is_not_sent(
    worker: Callable[[Answers], Worker],
) -> None:
    def never(request: object) -> Any:
        raise AssertionError("it was sent")

    with pytest.raises(MessageError, match=r"TimeBlock\.calls is '7'"):
        worker(never).block(calls="7", discard=1)  # type: ignore[arg-type]


def test_a_worker_that_takes_no_request_in_time_is_killed_and_did_not_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[Worker] = []
    monkeypatch.setattr(Worker, "kill", lambda self: killed.append(self))
    ours, theirs = socket.socketpair()
    server: Any = SimpleNamespace(name="acme", runtime=SimpleNamespace(interpreter=None))
    hanging = Worker(server, os.getpid(), Channel(ours), Path("/nowhere.log"), 0.05)
    with ours, theirs, pytest.raises(WorkerTimeout, match="`evaluate` did not finish"):
        hanging.evaluate({"x": np.zeros(20_000_000, np.uint8)})
    assert killed == [hanging]


@pytest.mark.parametrize(
    ("failed", "kind", "words"),
    [
        (m.Failed("unsupported", "no Gather."), Unsupported, "no Gather."),
        (m.Failed("unavailable", "x", "No.", "Get it."), Unavailable, "No. Get it."),
        (m.Failed("crashed", "KeyError: 3"), WorkerCrashed, "acme: KeyError: 3"),
        (
            m.Failed("crashed", "RuntimeError: CUDA out of memory"),
            OutOfMemory,
            "acme: RuntimeError: CUDA out of memory. Use a smaller batch.",
        ),
    ],
)
def test_an_error_of_the_worker_is_raised_here(
    worker: Callable[[Answers], Worker], failed: m.Failed, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        worker(lambda request: encode(failed)).fetch()
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        ({"message": "Hello", "fields": {"protocol": PROTOCOL - 1}}, "another version of bench"),
        ({"protocol": 2, "pid": 7, "python": "3.11"}, "Is its bench another version"),
    ],
)
def test_a_worker_that_speaks_another_protocol_is_refused(hello: Any, words: str) -> None:
    ours, theirs = (Channel(sock) for sock in socket.socketpair())
    theirs.send(hello)
    server = SimpleNamespace(name="acme", runtime=SimpleNamespace(interpreter=None))
    with pytest.raises(WorkerCrashed, match=words):
        Worker(server, os.getpid(), ours, Path("/nowhere.log"), 5).greet()  # type: ignore[arg-type]
    ours.close()
    theirs.close()
