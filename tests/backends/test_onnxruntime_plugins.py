"""Plugin providers by configuration alone, with the real libraries of two packages."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from bench.backends.onnxruntime.adapter import OnnxRuntime
from bench.backends.shared import tiny
from onnx import TensorProto, helper

from bench.backend import Device, ModelFile, Options
from bench.errors import SpecError, Unsupported

VARIABLE = "BENCH_ONNXRUNTIME_PLUGINS"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, for a test to write."""
    path = tmp_path / "plugins.toml"
    monkeypatch.setenv(VARIABLE, str(path))
    return path


@pytest.fixture
def relu(tmp_path: Path) -> ModelFile:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "relu.onnx")
    return ModelFile("relu", tmp_path / "relu.onnx")


def ids(backend: OnnxRuntime) -> list[str]:
    return [device.id for device in backend.devices()]


STUDENT = ModelFile("student", Path(__file__).parents[2] / "models" / "fashion-student.onnx")


@pytest.mark.parametrize(
    ("allow_fallback", "words"),
    [
        (False, "student on onnxruntime:nxrt: cpu_ep can run none of its 8 nodes."),
        (True, "student on onnxruntime:nxrt: every node would run on cpu"),
    ],
)
def test_a_provider_that_registers_and_takes_no_node_of_a_model_never_passes_for_one_that_does(
    table: Path, allow_fallback: bool, words: str
) -> None:
    pytest.importorskip("nxrt_ep_cpu")
    table.write_text(
        """
        [nxrt]
        library = "nxrt_ep_cpu:get_library_path"
        hardware = "cpu"
        """
    )
    backend = OnnxRuntime()
    (nxrt,) = [device for device in backend.devices() if device.id == "nxrt"]
    shapes = {"image": (2, 1, 28, 28)}
    with pytest.raises(Unsupported, match=re.escape(words)):
        backend.compile(STUDENT, nxrt, Options(shapes=shapes, allow_fallback=allow_fallback))


def test_a_provider_that_takes_not_even_a_relu_is_absent(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nxrt_ep_cpu")
    student = STUDENT.onnx
    assert student
    table.write_text("[nxrt]\nlibrary = 'nxrt_ep_cpu:get_library_path'")
    monkeypatch.setattr(tiny, "ONNX", student.read_bytes())  # of which it takes nothing
    backend = OnnxRuntime()
    assert "nxrt" not in ids(backend)
    assert "cpu_ep starts but can't even run a Relu" in str(backend.absent_devices()["nxrt"])


def test_a_table_makes_another_provider_a_device(table: Path, relu: ModelFile) -> None:
    pytest.importorskip("onnxruntime_qnn")
    table.write_text(
        """
        [my-htp]
        library = "onnxruntime_qnn:get_library_path"
        ep = "QNNExecutionProvider"
        hardware = "npu"
        vendor = "Qualcomm"
        [my-htp.options]
        backend_type = "htp"
        """
    )
    backend = OnnxRuntime()
    (mine,) = [device for device in backend.devices() if device.id == "my-htp"]
    assert mine.simulated, "the hardware here is a CPU, and the plugin is for an NPU"
    assert mine.vendor == "Qualcomm"
    assert mine.driver.startswith("onnxruntime-qnn 2.")
    session = backend.compile(relu, mine, Options(shapes={"x": (2, 4)}))
    assert session.placement().nodes == {"my-htp": 1}
    session.close()
    with pytest.raises(SpecError, match=r"no option 'cores'.* backend_type"):
        backend.compile(relu, mine, Options(shapes={"x": (2, 4)}, extra={"cores": "4"}))


def test_the_time_of_a_mixed_graph_is_shared_out_by_a_real_profile(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_qnn")
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Shrink", ["a"], ["y"], name="odd"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "mixed.onnx")
    session = OnnxRuntime().compile(
        ModelFile("mixed", tmp_path / "mixed.onnx"),
        Device("qnn", "", ""),
        Options(shapes={"x": (2, 4)}, allow_fallback=True),
    )
    assert session.placement().time_share == {}
    found = session.profiled_placement({"x": np.ones((2, 4), np.float32)})
    assert found.nodes == {"qnn": 1, "cpu": 1}
    assert found.off_device == ("odd (Shrink, on cpu)",)
    assert set(found.time_share) == {"qnn", "cpu"}
    assert all(share > 0 for share in found.time_share.values())
    assert sum(found.time_share.values()) == pytest.approx(1)
    session.close()


def test_options_that_a_provider_refuses_are_said_to_be(relu: ModelFile) -> None:
    pytest.importorskip("onnxruntime_qnn")
    extra = {"enable_htp_fp16_precision": "1"}  # which wants a soc_model too
    options = Options(shapes={"x": (2, 4)}, extra=extra)
    with pytest.raises(
        SpecError, match=r"onnxruntime:qnn refuses its options: FP16 precision mode"
    ):
        OnnxRuntime().compile(relu, Device("qnn", "", ""), options)


def test_simulated_is_what_the_user_says(table: Path) -> None:
    pytest.importorskip("onnxruntime_qnn")
    table.write_text(
        """
        [real]
        library = "onnxruntime_qnn:get_library_path"
        ep = "QNNExecutionProvider"
        simulated = false
        [real.options]
        backend_type = "htp"
        """
    )
    (mine,) = [device for device in OnnxRuntime().devices() if device.id == "real"]
    assert not mine.simulated


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1", "is not a table"),
        ("[cuda]\nlibrary = 'x'", "not be one of cpu, cuda"),
        ("[A]\nlibrary = 'x'", "lower-case letters"),
        ("[a]\nep = 'x'", "library must be a text"),
        ("[a]\nlibrary = 3", "library must be a text"),
        ("[a]\nlibrary = 'x'\nlibary = 'x'", "no key 'libary'"),
        ("[a]\nlibrary = 'x'\nhardware = 'tpu'", "one of cpu, gpu, npu"),
        ("[a]\nlibrary = 'x'\nsimulated = 'yes'", "true or false"),
        ("[a]\nlibrary = 'x'\noptions = { cores = 2 }", "a table of texts"),
        ("[a", "can't be read"),
    ],
)
def test_a_table_that_is_wrong_is_refused_in_one_sentence(
    table: Path, text: str, words: str
) -> None:
    table.write_text(text)
    with pytest.raises(SpecError) as caught:
        OnnxRuntime().devices()
    assert words in str(caught.value)
    assert str(table) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_named_and_missing_is_said_to_be(table: Path) -> None:
    with pytest.raises(SpecError, match=f"no such file, but {VARIABLE} names it"):
        OnnxRuntime().devices()


@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("/nowhere/libep.so", "there is no library /nowhere/libep.so"),
        ("no_such_module:path", "No module named 'no_such_module'"),
        ("os:no_such_function", "no_such_function"),
        ("{table}", "can't be registered"),
    ],
)
def test_a_library_that_is_not_there_leaves_the_other_devices(
    table: Path, library: str, words: str
) -> None:
    named = library.format(table=table)
    table.write_text(f"[mine]\nlibrary = '{named}'\ninstall = 'Get it.'")
    backend = OnnxRuntime()
    assert "cpu" in ids(backend)
    assert words in str(backend.absent_devices()["mine"])
    assert str(backend.absent_devices()["mine"]).endswith("Get it.")
