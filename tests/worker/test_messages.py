"""Messages: each arrives as it was sent, and what was not agreed on is an error on both sides."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from bench.backend import Device, ModelFile, Options, Placement, TensorSpec, TorchSource
from bench.capabilities import DeviceTime
from bench.errors import OutOfMemory, Unavailable, Unsupported, WorkerCrashed
from bench.worker import messages as m
from bench.worker.codec import MOST_TEXT, MessageError, decode, encode
from bench.worker.work import Work, answer

DEVICE = Device("npu:1", "Acme", "A card", "7.1", 2**34, simulated=True)
MODEL = ModelFile(
    "net",
    Path("/a/net.onnx"),
    TorchSource(Path("nets.py"), "net", Path("net.safetensors"), Path("folder")),
    "fp16",
)
OPTIONS = Options(3, True, {"x": (2, 4), "y": ()}, {"streams": "2"})
PLACEMENT = Placement({"npu:1": 3, "cpu": 1}, "a log", ("odd (cpu)",), "fp16", {"npu:1": 0.75})
SPECS = (TensorSpec("x", "float32", (-1, 4)),)
FEEDS = {"x": np.arange(8, dtype=np.float32).reshape(2, 4), "ids": np.array(7)}
TIMES_NS = np.array([5, 6], np.int64)
LOADGEN_TEST = m.LoadGenTest(
    scenario="Server",
    samples_per_query=1,
    expected_per_s=200.5,
    target_latency_ns=5_000_000,
    target_latency_percentile=0.99,
    min_duration_ms=100,
    min_query_count=10,
    max_query_count=0,
    qsl_rng_seed="2085463073848966840",
    sample_index_rng_seed="2747215439041700203",
    schedule_rng_seed="16159082839903944936",
    logs="/runs/a/loadgen/b/run_1",
    traced=True,
)
EXAMPLES = (
    m.Hello(3),
    m.AskVersion(),
    m.Version("1.2"),
    m.AskDevices(),
    m.Devices((DEVICE,), {"cuda": m.Absence("no driver", "get one", not_in_build=True)}),
    m.AskPackages(),
    m.Packages({"numpy": "1.24.4"}),
    m.Load(MODEL, DEVICE, OPTIONS, (1, 3)),
    m.Load(ModelFile("bare"), Device("cpu", "", ""), Options(), ()),
    m.LoadedInfo(5, None, SPECS, SPECS * 2),
    m.Bind(FEEDS, "native", streams=2),
    m.BindQueries("{}", np.ones((8, 1, 3), np.int64), new_tokens=4),
    m.Bound(
        1, 2, 8, 150, PLACEMENT, True, times_copies=False, times_device=True, tells_of_device=False
    ),
    m.WarmUp(1.5),
    m.Warmup(10, settled=True, latency_ns=7),
    m.TimeBlock(calls=9, discard=5),
    m.TimedBlock(TIMES_NS),
    m.TimedBlock(TIMES_NS, TIMES_NS),
    m.ServeQueries(9.5, 3, seed=1, bounds=m.Bounds(5.0), allowed_above=2, discard=4),
    m.ServeQueries(9.5, 3, 1, m.Bounds(ttft_ns=2e9, tpot_ns=float("inf")), 2, discard=4),
    m.ServedQueries(TIMES_NS, 2.5),
    m.ServedQueries(TIMES_NS, 2.5, TIMES_NS),
    m.DriveLoadGen(LOADGEN_TEST),
    m.DriveLoadGen(LOADGEN_TEST, FEEDS),
    m.Driven(TIMES_NS, TIMES_NS[:1]),
    m.ScoreThroughLoadGen(LOADGEN_TEST, FEEDS, output=0, batch=2),
    m.ScoredThroughLoadGen("<f4", (10,)),
    m.WatchEnergy(DEVICE, 0.2, 0.02),
    m.EnergyWatched("gpu-board", "0000:c1:00.0", TIMES_NS, TIMES_NS, TIMES_NS),
    m.Fetch(),
    m.Evaluate(FEEDS),
    m.Outputs((np.ones((2, 0)), np.array(True))),
    m.ScoreTokens(FEEDS, output=1, targets=np.array([[3, -1]]), top=2),
    m.TokenScores(*(np.ones(n, np.float32) for n in (1, 2, 2, 1))),
    m.GoOn("{}", np.array([3, 4]), ends=np.array([0]), most=5),
    m.WentOn(np.array([1, 0])),
    m.LoadDraft(MODEL, DEVICE, OPTIONS),
    m.Speculate("{}", "{}", np.array([3, 4]), most=5, length=2),
    m.Speculated(np.array([1, 0]), 5, 6, np.array([2]), np.array([1]), np.array([0.5]), True),
    m.ReadText("{}", of_draft=True, prompt=np.array([3]), text=np.array([4, 5]), at_once=2),
    m.TextRead(np.array([1, 0]), TIMES_NS),
    m.TimeCopies(7.5),
    m.CopyTimes({"h2d_ns": (1, 2), "d2h_ns": ()}),
    m.TimeDevice(7.5),
    m.DeviceTimed(DeviceTime(8.5, gaps=True)),
    m.DeviceTimed(None),
    m.AskDeviceMemory(DEVICE),
    m.DeviceMemory(1, None),
    m.AskReadings(),
    m.Readings(({"power_w": 7.0, "throttled": ["heat"]}, {})),
    m.Readings(({},), ({"clock_hz": 1e9},), (3,)),
    m.FindPlacement(FEEDS),
    m.FoundPlacement(PLACEMENT),
    m.AskMemory(),
    m.Memory(None),
    m.Unload(),
    m.Close(),
    m.Done(),
    m.Failed("unavailable", "It is gone.", "It is", "gone."),
)
KINDS = (m.Hello, *get_args(m.Request), *get_args(m.Answer))


def over_the_wire(message: object) -> tuple[Any, list[np.ndarray]]:
    data, arrays = encode(message)
    return json.loads(json.dumps(data)), arrays


def plain(message: object) -> str:
    """All that a message holds, arrays as their types and values."""
    return repr(message)


def test_every_message_has_an_example_here() -> None:
    assert {type(example) for example in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: object) -> None:
    data, arrays = over_the_wire(message)
    arrived = decode(data, arrays, KINDS)
    assert type(arrived) is type(message)
    assert plain(arrived) == plain(message)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_field_counts(message: object) -> None:
    """Each left out in turn, and one too many."""
    data, arrays = over_the_wire(message)
    for field in dataclasses.fields(message):  # type: ignore[arg-type]
        rest = {name: value for name, value in data["fields"].items() if name != field.name}
        with pytest.raises(MessageError, match=f"lacks the field '{field.name}'"):
            decode({**data, "fields": rest}, arrays, KINDS)
    with pytest.raises(MessageError, match="has an unknown field 'colour'"):
        decode({**data, "fields": {**data["fields"], "colour": 1}}, arrays, KINDS)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_value_of_another_type_than_its_fields_is_named(message: object) -> None:
    """`object()` and a JSON object of no field fit nothing."""
    data, arrays = over_the_wire(message)
    for name in data["fields"]:
        where = rf"{type(message).__name__}\.{name}"
        for wrong in (object(), {"colour": object()}):
            with pytest.raises(MessageError, match=where):
                decode({**data, "fields": {**data["fields"], name: wrong}}, arrays, KINDS)


def load(**changes: Any) -> dict[str, Any]:
    data, _ = over_the_wire(m.Load(MODEL, DEVICE, OPTIONS, (1,)))
    for path, value in changes.items():
        *parents, last = path.split("__")
        inner = data["fields"]
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (load(cpus=["1"]), r"Load.cpus\[0\] is '1' \(str\), but must be int"),
        (load(cpus=[True]), r"Load.cpus\[0\] is True \(bool\), but must be int"),
        (load(cpus=3), "Load.cpus is 3"),
        (load(options__threads=2.0), "Load.options.threads is 2.0"),
        (load(options__shapes={"x": [1, None]}), r"Load.options.shapes.x\[1\] is None"),
        (load(device__memory_bytes="8 GB"), "Load.device.memory_bytes is '8 GB'"),
        (load(model__torch={"file": "a.py"}), "Load.model.torch lacks the field 'factory'"),
        (load(device__colour="red"), "Load.device has an unknown field 'colour'"),
        ({"message": "Dance", "fields": {}}, "unknown message 'Dance'"),
        ({"op": "load"}, "a message needs a name and fields"),
        (None, "a message needs a name and fields"),
        ({"message": "Warmup", "fields": {}}, "unknown message 'Warmup'"),
    ],
)
def test_a_request_that_is_not_understood_is_told_and_the_worker_lives_on(
    data: object, words: str
) -> None:
    work = Work(object())  # type: ignore[arg-type]
    told, _ = answer(work, data, [])
    failed = decode(told, [], (m.Failed,))
    assert isinstance(failed, m.Failed)
    assert failed.kind == WorkerCrashed.kind
    with pytest.raises(MessageError, match=words):
        decode(data, [], get_args(m.Request))
    assert not work.closed


def test_a_lane_that_there_is_not_is_refused() -> None:
    data, arrays = over_the_wire(m.Bind(FEEDS, "native", streams=1))
    data["fields"]["lane"] = "fast"
    with pytest.raises(MessageError, match=r"Bind\.lane is 'fast'.*'prepared' or 'api' or"):
        decode(data, arrays, KINDS)


def test_latencies_are_whole_nanoseconds() -> None:
    with pytest.raises(MessageError, match=r"latency_ns is an array of float64.*of int64"):
        encode(m.TimedBlock(TIMES_NS.astype(np.float64)))


def test_an_array_that_did_not_come_is_missed() -> None:
    data, arrays = over_the_wire(m.Evaluate(FEEDS))
    with pytest.raises(MessageError, match=r"Evaluate.feeds.ids is 1 .*must be an array"):
        decode(data, arrays[:1], KINDS)


class Adapter:
    """Whose answers are whatever the test says."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def version(self) -> Any:
        found = self.answers["version"]
        if isinstance(found, Exception):
            raise found
        return found

    def devices(self) -> Any:
        return self.answers["devices"]


def told(adapter: Adapter, request: m.Request) -> m.Failed:
    """How the worker words what an adapter did."""
    data, arrays = answer(Work(adapter), *encode(request))  # type: ignore[arg-type]
    failed = decode(data, arrays, (m.Failed,))
    assert isinstance(failed, m.Failed)
    return failed


def test_what_an_adapter_answers_in_another_type_is_told_in_words() -> None:
    failed = told(Adapter(version=(1, 2)), m.AskVersion())
    assert failed.kind == WorkerCrashed.kind
    assert failed.text.startswith("Version.version is [1, 2] (list), but must be str")
    odd = dataclasses.replace(DEVICE, memory_bytes=np.int64(8))
    assert "memory_bytes" in told(Adapter(devices=[odd]), m.AskDevices()).text


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (Unsupported("no."), m.Failed("unsupported", "no.")),
        (Unavailable("No.", "Get it."), m.Failed("unavailable", "No. Get it.", "No.", "Get it.")),
        (MemoryError(), m.Failed("out-of-memory", "the worker ran out of memory")),
        (RuntimeError("one\ntwo"), m.Failed("crashed", "RuntimeError: one")),
        (KeyError(), m.Failed("crashed", "KeyError: (no message)")),
    ],
)
def test_an_error_of_an_adapter_is_an_answer(error: Exception, failed: m.Failed) -> None:
    assert told(Adapter(version=error), m.AskVersion()) == failed
    assert OutOfMemory.kind == "out-of-memory"


def test_texts_of_an_answer_can_be_written_to_a_file_and_have_an_end() -> None:
    """Halves of a character come out of JSON's escapes, and out of names of files."""
    told = m.Packages({"a\udcff": "\ud800", "long": "x" * (MOST_TEXT + 1)})
    data, arrays = encode(told)
    found = decode(json.loads(json.dumps(data)), arrays, (m.Packages,))
    assert found.packages == {"a?": "?", "long": "x" * MOST_TEXT}
    with pytest.raises(MessageError, match="must be a number of 64 bits"):
        decode({"message": "Memory", "fields": {"peak_rss_bytes": 1 << 63}}, [], (m.Memory,))


def test_an_array_of_python_objects_is_refused_by_the_side_that_has_it() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("not even a name")

    for values in ([{}], [Odd()], ["text"]):
        with pytest.raises(MessageError, match="an array of Python objects"):
            encode(m.Outputs((np.array(values, dtype=object),)))
    assert encode(m.Outputs((np.array(["text"]),)))
