"""Variants: made by the runtimes' own tools, kept by content, and computed as they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.backend import ModelFile, TorchSource
from bench.cards import variants
from bench.cards.calibration import load_calibration, shared_samples
from bench.cards.card import load_card
from bench.cards.datasets import load_dataset
from bench.cards.export import run_onnx
from bench.cards.variants import Calibration, Form, make_form
from bench.discover import card_paths
from bench.errors import ExportFailed, SpecError
from bench.record.precision import precision_check

RNG = np.random.default_rng(0)
SAMPLES = {"x": RNG.normal(size=(64, 16)).astype(np.float32)}


def save_mlp(path: Path, external: bool = False) -> Path:
    """Two matrix products with a Relu between them."""
    weights = [RNG.normal(0, 0.3, shape).astype(np.float32) for shape in ((16, 32), (32, 4))]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w1"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(
        model,
        str(path),
        save_as_external_data=external,
        location=f"{path.stem}.bin",
        size_threshold=0,
    )
    return path


def calibration() -> Calibration:
    return Calibration("64 samples of made (train)", [SAMPLES], 64, "c" * 64, ("one was cut",))


def nothing() -> Calibration:
    raise SpecError("there is nothing to calibrate with.")


def form_of(tmp_path: Path, variant: str, path: Path | None = None) -> Form:
    path = path or save_mlp(tmp_path / "mlp.onnx")
    file = ModelFile("mlp", onnx=path)
    return make_form(file, variant, tmp_path / "cache", calibration)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["fp16", "int8-dynamic", "int8-static"])
def test_a_variant_computes_nearly_the_same_and_says_how_it_was_made(
    tmp_path: Path, variant: str
) -> None:
    original = save_mlp(tmp_path / "mlp.onnx")
    form = form_of(tmp_path, variant, original)
    assert form.refused is None
    assert form.file.variant == variant
    assert form.file.onnx is not None
    assert form.method.startswith("onnxruntime ")
    (want,), (got,) = run_onnx(original, SAMPLES), run_onnx(form.file.onnx, SAMPLES)
    assert got.dtype == np.float32
    assert np.corrcoef(want.ravel(), got.ravel())[0, 1] > 0.99
    assert not np.array_equal(want, got)


def types_in(path: Path) -> set[int]:
    return {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}


def test_the_weights_have_the_type_of_the_variant(tmp_path: Path) -> None:
    for variant, kind in (
        ("fp16", TensorProto.FLOAT16),
        ("int8-dynamic", TensorProto.INT8),
        ("int8-static", TensorProto.INT8),
    ):
        form = form_of(tmp_path, variant)
        assert form.file.onnx is not None
        assert kind in types_in(form.file.onnx), variant


@pytest.mark.parametrize("variant", ["int8-dynamic", "int8-static"])
@pytest.mark.parametrize(("vnni", "bits"), [(True, 8), (False, 7)])
def test_weights_have_as_many_bits_as_the_cpu_multiplies_without_overflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, vnni: bool, bits: int
) -> None:
    monkeypatch.setattr(variants, "_has_vnni", lambda: vnni)
    form = form_of(tmp_path, variant)
    assert f"int{bits} weights" in form.method
    assert form.file.onnx is not None
    weights = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(str(form.file.onnx)).graph.initializer
        if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 2
    ]
    assert max(np.abs(each.astype(int)).max() for each in weights) == (127 if vnni else 64)


def test_the_method_names_the_calibration_and_its_count(tmp_path: Path) -> None:
    method = form_of(tmp_path, "int8-static").method
    assert "QDQ" in method
    assert "MinMax over 64 samples of made (train)" in method
    assert "per channel" in method


def test_what_is_to_know_of_the_calibration_goes_with_the_form(tmp_path: Path) -> None:
    assert form_of(tmp_path, "int8-static").notes == ("one was cut",)
    assert form_of(tmp_path, "int8-dynamic").notes == ()


def test_a_variant_is_reused_by_content_alone(tmp_path: Path) -> None:
    first = form_of(tmp_path, "int8-dynamic").file.onnx
    assert first is not None
    made = first.stat().st_mtime_ns
    same = tmp_path / "elsewhere.onnx"
    same.write_bytes((tmp_path / "mlp.onnx").read_bytes())
    assert form_of(tmp_path, "int8-dynamic", same).file.onnx == first
    assert first.stat().st_mtime_ns == made
    other = form_of(tmp_path, "int8-dynamic", save_mlp(tmp_path / "other.onnx")).file.onnx
    assert other != first
    assert list(first.parent.glob("tmp*")) == []


def test_weights_beside_the_file_belong_to_the_content(tmp_path: Path) -> None:
    path = save_mlp(tmp_path / "large.onnx", external=True)
    assert (tmp_path / "large.bin").is_file()
    first = form_of(tmp_path, "int8-dynamic", path).file.onnx
    data = bytearray((tmp_path / "large.bin").read_bytes())
    data[3] ^= 1
    (tmp_path / "large.bin").write_bytes(data)
    second = form_of(tmp_path, "int8-dynamic", path).file.onnx
    assert first != second
    (tmp_path / "large.bin").unlink()
    refused = form_of(tmp_path, "int8-dynamic", path).refused
    assert isinstance(refused, SpecError)
    assert "large.bin, which is missing" in str(refused)


def test_without_calibration_data_the_form_says_so(tmp_path: Path) -> None:
    file = ModelFile("mlp", onnx=save_mlp(tmp_path / "mlp.onnx"))
    form = make_form(file, "int8-static", tmp_path, nothing)
    assert "nothing to calibrate with" in str(form.refused)
    assert form.file.onnx is None


def test_a_file_that_the_tools_refuse_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    form = form_of(tmp_path, "fp16", tmp_path / "broken.onnx")
    assert isinstance(form.refused, ExportFailed)
    assert "\n" not in str(form.refused)
    assert "fp16 form can't be created" in str(form.refused)


def test_bf16_is_the_runtimes_affair_and_torch_has_no_int8(tmp_path: Path) -> None:
    path = save_mlp(tmp_path / "mlp.onnx")
    file = ModelFile("mlp", onnx=path, torch=TorchSource(tmp_path / "n.py", "f"))
    bf16 = make_form(file, "bf16", tmp_path, nothing)
    assert bf16.file.onnx == path
    assert bf16.file.torch is not None
    assert make_form(file, "fp16", tmp_path / "c", nothing).file.torch is not None
    assert make_form(file, "int8-dynamic", tmp_path / "c", nothing).file.torch is None


@pytest.mark.parametrize(
    ("variant", "found", "ok"),
    [
        ("int8-static", "fp32+int8", True),
        ("int8-dynamic", "fp32", False),
        ("fp16", "fp32", False),
        ("bf16", "bf16", True),
        ("fp32", "fp32", True),
        ("fp32", "bf16", False),
        ("fp32", "fp32+int8", True),
    ],
)
def test_another_precision_than_asked_for_fails_a_check(variant: str, found: str, ok: bool) -> None:
    check = precision_check(variant, found)
    assert check is not None
    assert check.ok is ok
    assert precision_check(variant, "") is None


# -- calibration ----------------------------------------------------------------------------------


def test_the_shipped_calibration_images_are_no_test_images() -> None:
    card = load_card(card_paths()["fashion-teacher"])
    dataset = load_dataset(card)
    found = load_calibration(card, dataset, "int8-static")
    assert found.samples == 512
    assert sum(len(batch["image"]) for batch in found.batches) == 512
    assert all(shared_samples(dict(batch), dataset.inputs) == 0 for batch in found.batches)


def test_calibrating_on_the_test_set_is_refused(tmp_path: Path) -> None:
    card = load_card(card_paths()["fashion-student"])
    assert card.dataset is not None
    assert card.calibration is not None
    cheating = card.calibration.model_copy(update={"path": card.dataset.path})
    card = card.model_copy(update={"calibration": cheating})
    with pytest.raises(SpecError, match="512 of 512 calibration samples are also in the test set"):
        load_calibration(card, load_dataset(card), "int8-static")


def test_a_card_without_calibration_data_says_what_to_add() -> None:
    card = load_card(card_paths()["fashion-student"]).model_copy(update={"calibration": None})
    with pytest.raises(SpecError, match=r"\[calibration\] table") as caught:
        load_calibration(card, None, "int8-static")
    assert "int8-dynamic" in str(caught.value)


@pytest.mark.parametrize("stack", [(4,), (2, 3)])
@pytest.mark.parametrize("variant", ["fp16", "int8-dynamic", "int8-static"])
def test_stacked_matrices_as_experts_have_them_are_multiplied_too(
    tmp_path: Path, variant: str, stack: tuple[int, ...]
) -> None:
    weights = RNG.normal(0, 0.3, (*stack, 16, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "experts"], ["y"])],
        "experts",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "experts")],
    )
    original = tmp_path / "experts.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), str(original))
    form = form_of(tmp_path, variant, original)
    assert form.file.onnx is not None, form.refused
    (want,), (got,) = run_onnx(original, SAMPLES), run_onnx(form.file.onnx, SAMPLES)
    assert np.corrcoef(want.ravel(), got.ravel())[0, 1] > 0.99
    if variant == "int8-dynamic":
        shapes = {i.name: tuple(i.dims) for i in onnx.load(str(form.file.onnx)).graph.initializer}
        assert shapes["experts_zero_point"] == (*stack, 1, 8)
