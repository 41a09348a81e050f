"""bench/cards/variants.py: precision forms of language models, and of models over 2 GiB."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_decoder import save_decoder

onnxruntime = pytest.importorskip("onnxruntime")

from bench.backends.onnxruntime.adapter import OnnxRuntime  # noqa: E402
from bench.backends.openvino import OpenVino  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from bench.arrays import Array  # noqa: E402
from bench.backend import ModelFile, Options  # noqa: E402
from bench.cards import large  # noqa: E402
from bench.cards.catalog import find_model  # noqa: E402
from bench.cards.files import external_data  # noqa: E402
from bench.cards.language.found import decoder_in  # noqa: E402
from bench.cards.language.prompts import first_past, step_feeds  # noqa: E402
from bench.cards.numeric import computes_in  # noqa: E402
from bench.cards.ready import load  # noqa: E402
from bench.cards.variants import make_form  # noqa: E402
from bench.errors import ExportFailed, Unsupported  # noqa: E402
from bench.record.precision import precision_check  # noqa: E402
from bench.variants import find_variant, held_to  # noqa: E402

VARIANTS = ("fp16", "int8-dynamic", "int4")


def never() -> None:
    raise AssertionError("these forms need no calibration")


def form_of(path: Path, variant: str, cache: Path) -> Path:
    form = make_form(ModelFile("small", onnx=path), variant, cache, never)  # type: ignore[arg-type]
    assert form.refused is None, form.refused
    assert form.file.onnx is not None
    return form.file.onnx


def run(path: Path, feeds: dict[str, Array]) -> list[Array]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def cosine(one: Array, other: Array) -> float:
    return float(one.ravel() @ other.ravel() / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_decoder_stays_one_in_every_precision(tmp_path: Path, variant: str) -> None:
    """Its state keeps names, types and meaning: what one form leaves another can take up."""
    path = save_decoder(tmp_path / "small.onnx")
    made = form_of(path, variant, tmp_path / "cache")
    decoder = decoder_in(path)
    assert decoder is not None
    assert decoder_in(made) == decoder
    kept = {e.key: e.value for e in onnx.load(str(made)).metadata_props}
    assert kept["bench.checked"] == "{}"
    ids = np.arange(12).reshape(2, 6)
    feeds = step_feeds(decoder, ids, first_past(decoder, 2), 0)
    want = run(path, feeds)
    got = run(made, feeds)
    limit = find_variant(variant).tolerance.cosine or 0.999
    assert [a.dtype for a in got] == [a.dtype for a in want]
    assert min(cosine(a, b) for a, b in zip(want, got, strict=True)) > limit
    past = dict(zip([tensor.input for tensor in decoder.state], want[1:], strict=True))
    step = step_feeds(decoder, ids[:, :1], past, 6)
    (logits, *_), (wanted, *_) = run(made, step), run(path, step)
    assert cosine(wanted, logits) > limit
    assert not np.array_equal(wanted, logits)


def test_int4_stores_products_in_4_bits_and_leaves_the_embedding(tmp_path: Path) -> None:
    """The head's too, though it is the embedding's transpose."""
    path = save_decoder(tmp_path / "small.onnx")
    made = onnx.load(str(form_of(path, "int4", tmp_path / "cache")))
    nodes = [node for node in made.graph.node if node.op_type == "MatMulNBits"]
    values = [{a.name: helper.get_attribute_value(a) for a in node.attribute} for node in nodes]
    assert sorted((v["K"], v["N"], v["bits"]) for v in values) == [(32, 32, 4)] * 3 + [(32, 64, 4)]
    assert {v["block_size"] for v in values} == {32}
    stored = {tensor.name: tensor for tensor in made.graph.initializer}
    assert stored["embed"].data_type == TensorProto.FLOAT
    gather = next(node for node in made.graph.node if node.op_type == "Gather")
    assert gather.input[0] == "embed"


def test_int4_is_read_back_from_the_file_and_from_both_runtimes(tmp_path: Path) -> None:
    made = form_of(save_decoder(tmp_path / "small.onnx"), "int4", tmp_path / "cache")
    assert computes_in(made) == "int4"
    decoder = decoder_in(made)
    assert decoder is not None
    feeds = step_feeds(decoder, np.array([[1, 2]]), first_past(decoder, 1), 0)
    options = Options(shapes={name: array.shape for name, array in feeds.items()})
    for backend in (OnnxRuntime(), OpenVino()):
        assert "int4" in backend.variants
        file = ModelFile("small", onnx=made, variant="int4")
        cpu = next(device for device in backend.devices() if device.id == "cpu")
        session = backend.compile(file, cpu, options)
        session.bind(feeds)()
        profiled = getattr(session, "profiled_placement", session.placement)
        found = profiled(feeds) if profiled != session.placement else session.placement()
        session.close()
        assert "int4" in found.precision.split("+"), backend.name
        check = precision_check("int4", found.precision)
        assert check is not None
        assert check.ok
    check = precision_check("int4", "fp32")
    assert check is not None
    assert not check.ok


def test_a_file_that_others_made_in_int4_is_held_to_its_limit() -> None:
    assert held_to("fp32", "fp32+int4").name == "int4"
    assert held_to("fp32", "int8").name == "int8-static"


def test_what_has_no_constant_matrix_has_no_int4_form(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(tmp_path / "relu.onnx"))
    file = ModelFile("relu", onnx=tmp_path / "relu.onnx")
    form = make_form(file, "int4", tmp_path / "cache", never)  # type: ignore[arg-type]
    assert isinstance(form.refused, ExportFailed)
    assert "no node multiplies by a constant matrix" in str(form.refused)


def test_a_cache_has_no_samples_to_calibrate_on(tmp_path: Path) -> None:
    card = find_model(str(save_decoder(tmp_path / "small.onnx")))
    model = load(card, tmp_path / "cache", lambda words: None, ("int8-static",))
    refused = model.form("int8-static").refused
    assert isinstance(refused, Unsupported)
    assert "Use int8-dynamic or int4" in str(refused)


@pytest.mark.parametrize(
    ("variant", "beside"), [*((name, True) for name in (*VARIANTS, "fp32")), ("int4", False)]
)
def test_weights_that_are_too_many_for_one_file_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, beside: bool
) -> None:
    """With the limit lowered; the real one is in the test below."""
    monkeypatch.setattr(large, "SINGLE_FILE_BYTES", 3000)
    path = save_decoder(tmp_path / "small.onnx", vocabulary=256)
    if beside:
        model = onnx.load(str(path))
        large.save(model, tmp_path / "beside.onnx")
        path = tmp_path / "beside.onnx"
        assert [part.name for part in external_data(path)] == ["beside.onnx.data"]
    made = form_of(path, variant, tmp_path / "cache") if variant != "fp32" else path
    if variant != "fp32":
        assert [part.name for part in external_data(made)] == [f"{made.name}.data"]
        assert sorted(made.parent.iterdir()) == sorted([made, *external_data(made)])
    decoder = decoder_in(made)
    assert decoder is not None
    feeds = step_feeds(decoder, np.array([[1, 2, 3]]), first_past(decoder, 1), 0)
    monkeypatch.undo()
    whole = save_decoder(tmp_path / "whole.onnx", vocabulary=256)
    for want, got in zip(run(whole, feeds), run(made, feeds), strict=True):
        assert cosine(want, got) > 0.97


#: Three matrices of such a width in float32 are 2.3 GiB.
HUGE = 14336


def save_huge(path: Path, width: int = HUGE, layers: int = 3) -> Path:
    """Products with matrices of the same values, the data in one file beside it."""
    values = np.random.default_rng(0).standard_normal((width, width), np.float32) / width**0.5
    names = [f"w{number}" for number in range(layers)]
    data = path.with_name(f"{path.name}.data")
    with data.open("wb") as file:
        for _ in names:
            file.write(values.tobytes())
    tensors = []
    for number, name in enumerate(names):
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[width, width])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", data.name),
            ("offset", number * values.nbytes),
            ("length", values.nbytes),
        ):
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    inner = ["x", *(f"h{number}" for number in range(1, layers)), "y"]
    nodes = [
        helper.make_node("MatMul", [inner[n], names[n]], [inner[n + 1]], name=f"m{n}")
        for n in range(layers)
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", width]) for n in "xy")
    graph = helper.make_graph(nodes, "huge", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"kept": json.dumps(layers)})
    onnx.save(model, str(path))
    return path


@pytest.mark.faults
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_model_over_2_gib_has_every_form(tmp_path: Path, variant: str) -> None:
    """More than a protobuf holds; takes 7 GiB of disk and of memory."""
    path = save_huge(tmp_path / "huge.onnx")
    assert sum(part.stat().st_size for part in external_data(path)) > 2**31
    made = form_of(path, variant, tmp_path / "cache")
    assert {e.key: e.value for e in onnx.load(str(made), load_external_data=False).metadata_props}[
        "kept"
    ] == "3"
    x = np.random.default_rng(1).standard_normal((2, HUGE), np.float32)
    weights = np.memmap(f"{path}.data", np.float32, "r", 0, (HUGE, HUGE))
    want = x
    for _ in range(3):
        want = want @ weights
    (got,) = run(made, {"x": x})
    shutil.rmtree(tmp_path)
    assert cosine(want, got) > (find_variant(variant).tolerance.cosine or 0.999)


def test_the_huge_test_model_is_what_it_says(tmp_path: Path) -> None:
    """Small, so that the long test above need not be run to know that it would find something."""
    path = save_huge(tmp_path / "huge.onnx", width=32)
    x = np.ones((1, 32), np.float32)
    weights = np.fromfile(f"{path}.data", np.float32)[: 32 * 32].reshape(32, 32)
    (got,) = run(path, {"x": x})
    np.testing.assert_allclose(got, x @ weights @ weights @ weights, rtol=1e-3, atol=1e-5)
    assert numpy_helper.to_array(onnx.load(str(path)).graph.initializer[2]).shape == (32, 32)
