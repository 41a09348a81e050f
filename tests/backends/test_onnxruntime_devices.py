"""The providers for hardware that isn't here, against a stand-in for the builds that have them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.backends.onnxruntime import adapter, providers
from bench.backends.onnxruntime.adapter import OnnxRuntime
from bench.backends.shared import host

from bench.backend import Device, ModelFile, Options
from bench.capabilities import TimesCopies
from bench.errors import BenchError, NotInBuild, OutOfMemory, SpecError, Unavailable, Unsupported

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from standin_ort import MISSING, StandIn  # noqa: E402

from bench.contract.subject import Subject  # noqa: E402
from bench.contract.suite import CHECKS  # noqa: E402

KINDS = ("cuda", "tensorrt", "cann")


@pytest.fixture
def ort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """The stand-in in the runtime's place, two GPUs in the driver's list, no plugins."""
    made = StandIn()
    gpus = [
        Device(f"cuda:{index}", "NVIDIA", "A card", pci=f"0000:0{index}:00.0") for index in range(2)
    ]
    monkeypatch.setattr(adapter, "_import", lambda: made)
    monkeypatch.setattr(providers, "nvidia_devices", lambda: gpus)
    monkeypatch.setattr(adapter, "known_providers", lambda: providers.PROVIDERS)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "as it was")
    return made


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """Its models; the backend asks the stand-in of each test."""
    device = Device("cuda:0", "NVIDIA", "A card")
    return Subject(OnnxRuntime(), device, tmp_path_factory.mktemp("models"))


def compiled(subject: Subject, device: str, **options: Any) -> Any:
    options.setdefault("shapes", subject.conv.shapes(3))
    return OnnxRuntime().compile(subject.conv.file, Device(device, "", ""), Options(**options))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("device", ["cuda:1", "tensorrt:0", "cann:1"])
def test_each_provider_keeps_the_contract(
    ort: StandIn, device: str, check: str, tmp_path: Path
) -> None:
    backend = OnnxRuntime()
    (found,) = [one for one in backend.devices() if one.id == device]
    with contextlib.closing(Subject(backend, found, tmp_path)) as subject:
        CHECKS[check](subject)


def test_a_device_is_listed_when_it_computes(ort: StandIn) -> None:
    backend = OnnxRuntime()
    ids = [device.id for device in backend.devices()]
    assert ids == ["cpu", *(f"{kind}:{index}" for kind in KINDS for index in (0, 1))]
    assert set(backend.absent_devices()) == set(providers.PROVIDERS) - {"cpu", *KINDS}


@pytest.mark.parametrize(("full", "answering"), [("0", "1"), ("1", "0")])
def test_a_device_that_does_not_answer_hides_no_other_and_is_absent_for_its_own_reason(
    ort: StandIn, full: str, answering: str
) -> None:
    ort.full = (full,)
    backend = OnnxRuntime()
    found = [device.id for device in backend.devices()]
    assert {f"cuda:{answering}", f"tensorrt:{answering}"} < set(found)
    assert not {f"cuda:{full}", f"tensorrt:{full}"} & set(found)
    absent = backend.absent_devices()
    assert str(absent[f"cuda:{full}"]).startswith(
        f"onnxruntime:cuda:{full} is not available: CUDA failure 2: out of memory"
    )
    assert not {"cuda", "tensorrt", f"cuda:{answering}"} & set(absent)


@pytest.mark.parametrize(
    ("ep", "kind", "cause"),
    [
        ("CANNExecutionProvider", "cann", "libascendcl.so: cannot open shared object file"),
        ("CUDAExecutionProvider", "cuda", "libcublasLt.so.13: cannot open shared object file"),
        ("TensorrtExecutionProvider", "tensorrt", "libnvinfer.so.10: cannot open shared object"),
    ],
)
def test_a_provider_whose_library_is_missing_is_absent_for_that_reason(
    ort: StandIn, subject: Subject, ep: str, kind: str, cause: str, capfd: pytest.CaptureFixture
) -> None:
    ort.missing = (ep,)
    backend = OnnxRuntime()
    assert not [device for device in backend.devices() if device.id.startswith(kind)]
    assert cause in str(backend.absent_devices()[kind])
    for allow_fallback in (False, True):
        with pytest.raises(Unavailable) as caught:
            compiled(subject, f"{kind}:0", allow_fallback=allow_fallback)
        assert cause in str(caught.value)
        assert "\n" not in str(caught.value)
    # What was captured goes on into the worker's log.
    assert cause in capfd.readouterr().err


def test_a_build_without_the_provider_says_which_has_it(ort: StandIn, subject: Subject) -> None:
    ort.providers = ()
    with pytest.raises(Unavailable, match=r"no CUDAExecutionProvider. .*create onnxruntime-gpu"):
        compiled(subject, "cuda:0")


class NvidiaSmi:
    """A stand-in for the driver's tool, which notes that it was asked."""

    def __init__(self, folder: Path) -> None:
        self.path, self.notes = folder / "nvidia-smi", folder / "asked"

    def put(self, *lines: str) -> None:
        note = f"echo asked >> {self.notes}"
        self.path.write_text("\n".join(["#!/bin/sh", note, *lines, ""]))
        self.path.chmod(0o755)

    def asked(self) -> int:
        return self.notes.read_text().count("asked") if self.notes.exists() else 0


@pytest.fixture
def tool(ort: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NvidiaSmi]:
    """The first on the path, in a process that has not asked it yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(providers, "nvidia_devices", host.nvidia_devices)
    host._asked_once.cache_clear()
    yield NvidiaSmi(folder)
    host._asked_once.cache_clear()


ON_NVIDIA = {"cuda", "tensorrt"}


def test_a_drivers_tool_that_hangs_costs_the_devices_of_its_vendor_and_no_other(
    ort: StandIn, tool: NvidiaSmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the driver touched: a session would wait for it for ever."""
    tool.put("exec sleep 60")
    monkeypatch.setattr(host, "_TOOL_S", 0.5)
    backend = OnnxRuntime()
    assert [device.id for device in backend.devices()] == ["cpu", "cann:0", "cann:1"]
    for kind in ON_NVIDIA:
        assert str(backend.absent_devices()[kind]) == (
            f"onnxruntime:{kind} is not available: nvidia-smi did not answer within 0.5 s: its "
            "driver seems to hang. A restart often helps."
        )
    touched = {session.name for session in ort.sessions}
    assert touched == {"CPUExecutionProvider", "CANNExecutionProvider"}
    assert tool.asked() == 1


@pytest.mark.parametrize("tool_is_there", [False, True])
def test_devices_are_tried_one_after_another_where_the_drivers_tool_cannot_be_run(
    tool: NvidiaSmi, tool_is_there: bool
) -> None:
    """It is missing in containers that were given a driver for computing alone."""
    if tool_is_there:
        tool.path.write_bytes(b"\0")
        tool.path.chmod(0o755)
    found = {device.id for device in OnnxRuntime().devices()}
    assert found >= {"cuda:0", "cuda:1", "tensorrt:0", "tensorrt:1"}


def test_the_drivers_tool_is_asked_once_for_all_providers(tool: NvidiaSmi) -> None:
    tool.put("echo 'NVIDIA H200, 143771, 580.159.04, 00000000:C1:00.0, GPU-8f5c, Disabled'")
    devices = {device.id: device for device in OnnxRuntime().devices()}
    assert {devices[f"{kind}:0"].pci for kind in ON_NVIDIA} == {"0000:c1:00.0"}
    assert tool.asked() == 1


def test_a_build_for_the_cpu_asks_no_driver(ort: StandIn, tool: NvidiaSmi) -> None:
    tool.put("exec sleep 60")
    ort.providers = ()
    backend = OnnxRuntime()
    assert [device.id for device in backend.devices()] == ["cpu"]
    assert tool.asked() == 0
    assert {type(backend.absent_devices()[kind]) for kind in ON_NVIDIA} == {NotInBuild}


@pytest.mark.parametrize("device", ["cuda:7", "tensorrt:7", "cann:7"])
def test_an_index_that_is_not_there_is_one_sentence(
    ort: StandIn, subject: Subject, device: str
) -> None:
    with pytest.raises(Unavailable, match="CUDA failure 101: invalid device ordinal") as caught:
        compiled(subject, device)
    assert str(caught.value).startswith(f"onnxruntime:{device} is not available: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cuda", "cuda:x", "cuda:", "tpu:0", "CPU", ""])
def test_a_device_that_does_not_exist_is_refused_with_those_that_do(
    ort: StandIn, subject: Subject, device: str
) -> None:
    with pytest.raises(Unavailable, match=r"no such device\. Devices are cpu, cuda:0"):
        compiled(subject, device)


def settings(ort: StandIn) -> dict[str, str]:
    return ort.sessions[-1].settings


def test_cuda_computes_in_fp32_unless_told_otherwise(ort: StandIn, subject: Subject) -> None:
    compiled(subject, "cuda:1")
    assert settings(ort) == {"device_id": "1", "use_tf32": "0", "enable_cuda_graph": "0"}
    compiled(subject, "cuda:0", extra={"tf32": "1", "gpu_mem_limit": "1000000"})
    assert settings(ort)["use_tf32"] == "1"
    assert settings(ort)["gpu_mem_limit"] == "1000000"
    assert ort.preloaded


def test_tensorrt_gets_float16_and_int8_only_for_models_that_are(
    ort: StandIn, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def flags(variant: str) -> set[str]:
        file = ModelFile("conv", subject.conv.file.onnx, variant=variant)
        OnnxRuntime().compile(file, Device("tensorrt:0", "", ""), Options())
        return {key for key in settings(ort) if key.endswith(("fp16_enable", "int8_enable"))}

    assert flags("fp32") == set()
    assert flags("fp16") == {"trt_fp16_enable"}
    assert flags("int8-static") == {"trt_int8_enable"}
    assert settings(ort)["trt_engine_cache_enable"] == "1"
    assert settings(ort)["trt_engine_cache_path"] == str(tmp_path / "cache" / "tensorrt")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


def test_tensorrt_leaves_nodes_to_cuda_only_where_fallback_is_allowed(
    ort: StandIn, subject: Subject
) -> None:
    compiled(subject, "tensorrt:1")
    assert ort.sessions[-1].asked == ["TensorrtExecutionProvider"]
    compiled(subject, "tensorrt:1", allow_fallback=True)
    assert ort.sessions[-1].asked == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


def test_an_fp16_engine_of_an_fp32_model_is_said_to_be_one(ort: StandIn, subject: Subject) -> None:
    session = compiled(subject, "tensorrt:0", extra={"fp16": "1"})
    assert session.placement().precision == "fp16+fp32"
    assert session.profiled_placement(subject.conv.feeds(3, 0)).precision == "fp16+fp32"
    assert compiled(subject, "tensorrt:0").placement().precision == ""


def test_cann_keeps_the_models_precision_which_its_own_default_would_not(
    ort: StandIn, subject: Subject
) -> None:
    session = compiled(subject, "cann:0")
    assert settings(ort)["precision_mode"] == "must_keep_origin_dtype"
    assert settings(ort)["dump_om_model"] == "0"
    assert session.placement().precision == ""
    session = compiled(subject, "cann:0", extra={"precision_mode": "force_fp16"})
    assert session.placement().precision == "fp16"


def test_canns_two_precision_options_exclude_each_other(ort: StandIn, subject: Subject) -> None:
    session = compiled(subject, "cann:0", extra={"precision_mode_v2": "origin"})
    assert "precision_mode" not in settings(ort)
    assert settings(ort)["precision_mode_v2"] == "origin"
    assert session.placement().precision == ""


def test_canns_options_are_passed_through(ort: StandIn, subject: Subject) -> None:
    asked = {
        "op_select_impl_mode": "high_precision",
        "optypelist_for_implmode": "Gelu",
        "enable_cann_graph": "0",
        "npu_mem_limit": "4096",
        "arena_extend_strategy": "kSameAsRequested",
        "dump_om_model": "1",
    }
    compiled(subject, "cann:1", extra=asked)
    assert settings(ort).items() >= {**asked, "device_id": "1"}.items()


@pytest.mark.parametrize(
    ("device", "extra"),
    [
        ("cann:0", {"tf32": "1"}),
        ("cuda:0", {"precision_mode": "force_fp16"}),
        ("cpu", {"cuda_graph": "1"}),
        ("cann:0", {"precision_mode": "fp8"}),
        ("cann:0", {"precision_mode": ""}),
        ("cuda:0", {"gpu_mem_limit": "much"}),
        ("cuda:0", {"prefer_nhwc": ""}),
        ("cann:0", {"optypelist_for_implmode": ""}),
    ],
)
def test_an_option_that_a_device_does_not_know_is_refused_by_name(
    ort: StandIn, subject: Subject, device: str, extra: dict[str, str]
) -> None:
    with pytest.raises(SpecError) as caught:
        compiled(subject, device, extra=extra)
    assert next(iter(extra)) in str(caught.value)
    assert ort.sessions == [], "nothing may be compiled before"


def test_shapes_are_fixed_for_devices_that_compile_and_left_open_on_the_cpu(
    ort: StandIn, subject: Subject
) -> None:
    compiled(subject, "cann:0")
    assert ort.sessions[-1].options.sizes == {"batch": 3}
    compiled(subject, "cpu")
    assert ort.sessions[-1].options.sizes == {}


def test_a_node_on_the_cpu_is_refused_and_named(ort: StandIn, subject: Subject) -> None:
    ort.on_cpu = ("Gemm",)
    with pytest.raises(Unsupported, match=r"some nodes can only run on the CPU: .*Gemm.*on cpu"):
        compiled(subject, "cuda:0")


def test_a_node_on_the_cpu_is_counted_where_fallback_is_allowed(
    ort: StandIn, subject: Subject
) -> None:
    ort.on_cpu = ("Gemm",)
    session = compiled(subject, "cuda:0", allow_fallback=True)
    placement = session.placement()
    assert placement.nodes["cpu"] == 1
    assert placement.nodes["cuda:0"] >= 2
    assert len(placement.off_device) == 1


def test_a_model_that_is_wholly_elsewhere_is_refused_even_then(
    ort: StandIn, subject: Subject
) -> None:
    ort.on_cpu = ("Conv", "FusedConv", "Relu", "ReduceMean", "Gemm")
    with pytest.raises(Unsupported, match="every node would run on cpu"):
        compiled(subject, "cuda:0", allow_fallback=True)


def test_too_little_memory_on_the_device_is_out_of_memory(ort: StandIn, subject: Subject) -> None:
    ort.memory_bytes = 500
    with pytest.raises(OutOfMemory, match="conv on onnxruntime:cuda:0: no memory to load it"):
        compiled(subject, "cuda:0")


@pytest.mark.parametrize("device", ["cuda:0", "tensorrt:1"])
def test_a_cuda_graph_is_captured_once_for_each_binding_and_replayed(
    ort: StandIn, subject: Subject, device: str
) -> None:
    session = compiled(subject, device, extra={"cuda_graph": "1"})
    first, second = subject.conv.feeds(3, 0), subject.conv.feeds(3, 1)
    call_first, call_second = session.bind(first), session.bind(second)
    for call in (call_first, call_second, call_first, call_second):
        call()
    np.testing.assert_allclose(session.fetch()[0], subject.conv.right(second)[0], atol=1e-4)
    assert set(ort.sessions[-1].graphs) == {"1", "2"}
    np.testing.assert_allclose(session.run(first)[0], subject.conv.right(first)[0], atol=1e-4)
    assert set(ort.sessions[-1].graphs) == {"1", "2"}


def test_the_usual_call_is_not_timed_as_one_that_replays_a_graph(
    ort: StandIn, subject: Subject
) -> None:
    session = compiled(subject, "cuda:0", extra={"cuda_graph": "1"})
    with pytest.raises(Unsupported, match="Leave out cuda_graph=1 or --lane api"):
        session.api_call(subject.conv.feeds(3, 0))


def test_streams_do_not_replay_one_graph(ort: StandIn, subject: Subject) -> None:
    session = compiled(subject, "cuda:0", extra={"cuda_graph": "1"})
    with pytest.raises(Unsupported, match="several streams"):
        session.bind_streams(subject.conv.feeds(3, 0), 2)


def test_copies_to_and_from_the_device_are_timed_apart(ort: StandIn, subject: Subject) -> None:
    session = compiled(subject, "cann:0")
    feeds = subject.conv.feeds(3, 0)
    session.bind(feeds)()
    times = session.copy_times(subject.conv.feeds(3, 1), 4)
    np.testing.assert_allclose(session.fetch()[0], subject.conv.right(feeds)[0], atol=1e-4)
    assert {key: len(values) for key, values in times.items()} == {"h2d_ns": 4, "d2h_ns": 4}
    assert all(value > 0 for values in times.values() for value in values)


def test_on_the_host_there_are_no_copies_to_time(ort: StandIn, subject: Subject) -> None:
    assert not isinstance(compiled(subject, "cpu"), TimesCopies)


def test_every_refusal_is_a_bench_error(ort: StandIn, subject: Subject) -> None:
    ort.missing = tuple(MISSING)
    for device in ("cuda:0", "cann:0", "tensorrt:0", "dml:0", "openvino-gpu", "migraphx:0"):
        with pytest.raises(BenchError):
            compiled(subject, device)
