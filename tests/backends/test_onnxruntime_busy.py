"""How long a GPU works on a call of ONNX Runtime: in a session of its own, in a stream of ours, on
stand-ins of ONNX Runtime's CUDA build and of CUDA's library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bench.backends.onnxruntime import adapter, busy, providers
from bench.backends.onnxruntime.adapter import OnnxRuntime
from bench.backends.shared import busy as shared_busy
from bench.backends.shared.cudart import Cudart, CudaStream

from bench.backend import Device, Options
from bench.capabilities import DeviceTime, TimesDevice
from bench.errors import BenchError

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from standin_cudart import Gpu, Library  # noqa: E402
from standin_ort import Session, StandIn  # noqa: E402

from bench.contract.subject import Subject  # noqa: E402
from bench.contract.suite import CHECKS  # noqa: E402

CUDA = Device("cuda:1", "NVIDIA", "A card")


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """The stand-in in the runtime's place. What is timed here goes by its GPU's host."""
    made = StandIn()
    clock = SimpleNamespace(perf_counter=lambda: made.gpu.clock_s())
    monkeypatch.setattr(adapter, "_import", lambda: made)
    monkeypatch.setattr(adapter, "known_providers", lambda: providers.PROVIDERS)
    monkeypatch.setattr(busy, "loaded_cudart", lambda: Cudart(Library(made.gpu)))
    monkeypatch.setattr(busy, "time", clock)
    monkeypatch.setattr(shared_busy, "time", clock)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(OnnxRuntime(), CUDA, tmp_path_factory.mktemp("models"))


def bound(subject: Subject, device: Device = CUDA, **extra: str) -> Any:
    """A session with inputs bound and called, as before its device's time is asked for."""
    options = Options(shapes=subject.conv.shapes(3), extra=extra)
    session = OnnxRuntime().compile(subject.conv.file, device, options)
    session.bind(subject.conv.feeds(3, 0))()
    return session


def timed(subject: Subject, calls: int = 20, **extra: str) -> DeviceTime:
    found = bound(subject, **extra).device_time(calls)
    assert isinstance(found, DeviceTime)
    return found


def test_a_gpus_own_time_is_told_although_its_host_is_slower(
    ort: StandIn, subject: Subject
) -> None:
    """200 us of the host for 10 kernels of 2 us."""
    found = timed(subject)
    assert (found.ns, found.gaps) == (pytest.approx(20_000), False)


def test_a_gpu_that_its_host_is_ahead_of_anyway_is_told_as_well(
    ort: StandIn, subject: Subject
) -> None:
    ort.gpu.launch_us, ort.kernel_us = 2, 50
    found = timed(subject)
    assert (found.ns, found.gaps) == (pytest.approx(500_000), False)


def test_fewer_calls_are_launched_at_once_where_the_queue_holds_no_more(
    ort: StandIn, subject: Subject
) -> None:
    ort.kernels = 400
    found = timed(subject)
    assert (found.ns, found.gaps) == (pytest.approx(800_000), False)


def test_the_session_that_is_timed_keeps_its_own_stream_and_a_further_one_gets_ours(
    ort: StandIn, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = bound(subject, tf32="1")
    (first,) = ort.sessions
    launched_before = ort.gpu.launched
    closed: list[Any] = []
    monkeypatch.setattr(busy.OnDeviceSession, "close", lambda self: closed.append(self))
    session.device_time(4)
    assert [one._recipe.stream for one in closed] == list(ort.gpu.streams)
    again: Session = ort.sessions[-1]
    assert len(ort.sessions) == 2
    address = again.settings["user_compute_stream"]
    assert int(address) > 2**32
    assert list(ort.gpu.streams) == [int(address)]
    assert first.settings == {
        key: value for key, value in again.settings.items() if key != "user_compute_stream"
    }
    assert again.settings["use_tf32"] == "1"
    assert first.options.entries == again.options.entries
    assert first.options.sizes == again.options.sizes == {"batch": 3}
    assert ort.gpu.index == 1
    assert ort.gpu.launched > launched_before


def test_the_bound_call_and_its_outputs_are_left_as_they_were(
    ort: StandIn, subject: Subject
) -> None:
    session, feeds = bound(subject), subject.conv.feeds(3, 0)
    right = subject.conv.right(feeds)[0]
    session.device_time(4)
    np.testing.assert_allclose(session.fetch()[0], right, atol=1e-4)
    call = session.bind(feeds)
    call()
    np.testing.assert_allclose(session.fetch()[0], right, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "extra", "span_us"),
    [
        ("waits", {}, 10 * 20 + 2 + 20),  # launches, the last kernel, the event's own
        ("replay_waits", {"cuda_graph": "1"}, 20 + 10 * 2 + 20),
    ],
)
def test_where_a_run_waits_all_the_same_the_span_is_the_most_that_it_can_be(
    ort: StandIn, subject: Subject, change: str, extra: dict[str, str], span_us: float
) -> None:
    """For a copy to the host, or a node there; or a graph, in an older release."""
    setattr(ort, change, True)
    found = timed(subject, **extra)
    assert (found.ns, found.gaps) == (pytest.approx(span_us * 1e3), True)


def test_more_kernels_than_the_driver_queues_are_the_most_that_it_can_be(
    ort: StandIn, subject: Subject
) -> None:
    ort.kernels = 1100
    found = timed(subject, calls=3)
    assert found.gaps
    assert found.ns == pytest.approx((1100 * 20 + 20) * 1e3, rel=0.1)


def test_a_graph_that_is_replayed_without_waiting_is_told_like_any_call(
    ort: StandIn, subject: Subject
) -> None:
    found = timed(subject, cuda_graph="1")
    assert (found.ns, found.gaps) == (pytest.approx(20_000), False)
    again: Session = ort.sessions[-1]
    assert set(again.graphs) == {"1"}, "all calls replay what was captured"


def test_work_that_is_not_in_the_stream_is_not_taken_for_none(
    ort: StandIn, subject: Subject
) -> None:
    """The time between events in an empty stream would say that the GPU is idle."""
    ort.keeps_its_stream = True
    with pytest.raises(BenchError, match=r"doesn't compute in the stream that it was given\.$"):
        timed(subject)


@pytest.mark.parametrize("slow_us", [2.0, 20_000.0])
def test_a_call_of_any_length_shows_in_which_stream_it_is(
    ort: StandIn, subject: Subject, slow_us: float
) -> None:
    ort.kernel_us = slow_us
    assert timed(subject, calls=2).ns == pytest.approx(slow_us * 10 * 1e3, rel=0.01)
    ort.keeps_its_stream = True
    with pytest.raises(BenchError, match="in the stream"):
        timed(subject, calls=2)


def test_no_sleep_is_longer_than_usleep_takes(ort: StandIn, subject: Subject) -> None:
    ort.gpu.launch_us = 200_000.0  # a host that takes 2 s for a call
    timed(subject, calls=2)
    (stream,) = ort.gpu.streams.values()
    assert sum(stream.sleeps_us) > 2_000_000
    assert max(stream.sleeps_us) <= 500_000


def test_no_sleep_is_as_long_as_a_first_run(ort: StandIn, subject: Subject) -> None:
    """Which chooses kernels for seconds."""
    ort.first_us = 5e6
    found = timed(subject)
    assert (found.ns, found.gaps) == (pytest.approx(20_000), False)
    (stream,) = ort.gpu.streams.values()
    assert sum(stream.sleeps_us) < 100_000


def test_calls_in_several_streams_and_none_at_all_cannot_be_told(
    ort: StandIn, subject: Subject
) -> None:
    session = bound(subject)
    session.bind_streams(subject.conv.feeds(3, 0), 2)()
    with pytest.raises(BenchError, match="in several streams has no common start and end"):
        session.device_time(2)
    session.bind(subject.conv.feeds(3, 0))()
    assert session.device_time(2).ns > 0
    unbound = OnnxRuntime().compile(subject.conv.file, CUDA, Options(shapes=subject.conv.shapes(3)))
    with pytest.raises(BenchError, match="no inputs are bound"):
        unbound.device_time(2)
    assert ort.sessions[-1].settings.get("user_compute_stream") is None


def broken(**functions: Callable[..., int]) -> Any:
    """A library of which some functions fail, or are missing."""
    library = Library(Gpu())
    for name, function in functions.items():
        if function is None:
            delattr(library, name)
        else:
            getattr(library, name).function = function
    return library


@pytest.mark.parametrize(
    ("library", "told"),
    [
        (lambda: broken(cudaSetDevice=lambda index: 100), "cudaSetDevice failed: no CUDA-capable"),
        (
            lambda: broken(cudaStreamCreateWithFlags=lambda found, flags: 1),
            r"failed: invalid argument \(CUDA error 1\)",
        ),
        (lambda: broken(cudaLaunchHostFunc=None), "has no attribute 'cudaLaunchHostFunc'"),
    ],
)
def test_whatever_fails_is_one_sentence_and_no_figure(
    ort: StandIn,
    subject: Subject,
    monkeypatch: pytest.MonkeyPatch,
    library: Callable[[], Any],
    told: str,
) -> None:
    session = bound(subject)
    monkeypatch.setattr(busy, "loaded_cudart", lambda: Cudart(library()))
    with pytest.raises(BenchError, match=told) as caught:
        session.device_time(2)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_fit_twice_is_one_sentence(ort: StandIn, subject: Subject) -> None:
    session = bound(subject)
    ort.memory_bytes = 500
    with pytest.raises(BenchError, match=r"^conv on onnxruntime:cuda:1: .*Failed to allocate"):
        session.device_time(2)


def test_without_cudas_library_that_is_said(subject: Subject, ort: StandIn) -> None:
    session = bound(subject)
    with pytest.MonkeyPatch.context() as patch:
        from bench.backends.shared.cudart import loaded_cudart

        patch.setattr(busy, "loaded_cudart", loaded_cudart)
        with pytest.raises(BenchError, match=r"runtime library \(libcudart\) is not loaded"):
            session.device_time(2)


@pytest.mark.parametrize("device", ["tensorrt:0", "cann:0", "cpu"])
def test_others_have_no_stream_to_be_given(ort: StandIn, subject: Subject, device: str) -> None:
    options = Options(shapes=subject.conv.shapes(3))
    session = OnnxRuntime().compile(subject.conv.file, Device(device, "", ""), options)
    assert not isinstance(session, TimesDevice)


@pytest.mark.parametrize("check", [name for name in CHECKS if "own_time" in name])
def test_it_keeps_the_contract(ort: StandIn, tmp_path: Path, check: str) -> None:
    CHECKS[check](Subject(OnnxRuntime(), CUDA, tmp_path))


def test_an_event_that_is_not_reached_is_not_left_as_the_last_error() -> None:
    gpu = Gpu()
    stream = CudaStream(Cudart(Library(gpu)), 0)
    event = stream.api.event()
    stream.sleep(0.1)
    event.record()
    assert not event.query()
    assert gpu.last_error == 0
    event.synchronize()
    assert event.query()
