"""bench/cards/language/fixed.py and static.py: a decoder's graph for one step of fixed sizes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from bench.cards.language.fixed import Fixed, fixed
from bench.cards.language.found import decoder_in
from bench.cards.language.prompts import first_past, step_feeds
from bench.cards.language.static import static_form
from bench.contract.made_decoders import (
    DECODER,
    VOCABULARY,
    WIDTH,
    right,
    write_dynamic,
    write_static,
)
from bench.errors import Unsupported

Arrays = dict[str, np.ndarray[Any, Any]]
#: What tells sizes, or follows from them: compilers for fixed shapes have no kernels for it.
OF_SIZES = {"Shape", "Range", "Size", "LessOrEqual", "Where"}


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    return write_dynamic(tmp_path / "decoder.onnx")


def tokens(count: int, batch: int = 2) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).integers(0, VOCABULARY, (batch, count))


def after(path: Path, prompt: np.ndarray[Any, Any]) -> Arrays:
    """The state that a prompt leaves."""
    feeds = step_feeds(DECODER, prompt, first_past(DECODER, len(prompt)), 0)
    _, *state = ReferenceEvaluator(str(path)).run(None, feeds)
    return {tensor.input: array for tensor, array in zip(DECODER.state, state, strict=True)}


def shapes(feeds: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in feeds.items()}


def run(found: Fixed, feeds: Arrays) -> Arrays:
    onnx.checker.check_model(found.model, full_check=True)
    names = [value.name for value in found.model.graph.output]
    given = ReferenceEvaluator(found.model).run(None, {name: feeds[name] for name in found.inputs})
    return dict(zip(names, given, strict=True))


def test_a_prompt_has_no_past_at_all(dynamic: Path) -> None:
    text = tokens(7)
    feeds = step_feeds(DECODER, text, first_past(DECODER, 2), 0)
    found = fixed(onnx.load(dynamic), shapes(feeds), "it")
    assert found.inputs == ("input_ids",)
    np.testing.assert_allclose(run(found, feeds)["logits"], right(text), rtol=1e-5, atol=1e-5)
    assert not OF_SIZES & {node.op_type for node in found.model.graph.node}
    assert [out.shape for out in found.outputs] == [(2, 7, 11), (2, 1, 7, 4), (2, 1, 7, 4)]


def test_a_token_takes_a_past_of_one_length(dynamic: Path) -> None:
    text = tokens(9)
    feeds = step_feeds(DECODER, text[:, 8:], after(dynamic, text[:, :8]), 8)
    found = fixed(onnx.load(dynamic), shapes(feeds), "it")
    assert found.inputs == ("input_ids", "past_key", "past_value")
    given = run(found, feeds)
    np.testing.assert_allclose(given["logits"], right(text)[:, 8:], rtol=1e-5, atol=1e-5)
    for name, array in after(dynamic, text).items():
        np.testing.assert_allclose(given[name.replace("past", "present")], array, rtol=1e-6)
    assert not OF_SIZES & {node.op_type for node in found.model.graph.node}
    dims = [d for v in found.model.graph.input for d in v.type.tensor_type.shape.dim]
    assert all(dim.HasField("dim_value") for dim in dims)


def test_a_static_cache_keeps_its_position_as_an_input(tmp_path: Path) -> None:
    model = onnx.load(write_static(tmp_path / "static.onnx"))
    text = tokens(6, batch=1)
    sizes = {"input_ids": (1, 2), "position": (1,)}
    sizes |= {tensor.input: DECODER.buffer(tensor, 1, 16) for tensor in DECODER.state}
    found = fixed(model, sizes, "it")
    feeds = {name: np.zeros(shape, np.float32) for name, shape in sizes.items()}
    for place in (0, 2, 4):
        feeds["input_ids"] = text[:, place : place + 2]
        feeds["position"] = np.array([place])
        given = run(found, feeds)
        want = right(text)[:, place : place + 2]
        np.testing.assert_allclose(given["logits"], want, rtol=1e-5, atol=1e-5)
        feeds |= {t.input: given[t.output] for t in DECODER.state}


def write_odd(path: Path, *nodes: onnx.NodeProto, inputs: Mapping[str, Any]) -> Path:
    """A graph of ``nodes`` from ``inputs`` to ``y``."""
    kinds = {name: helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()}
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "odd", list(kinds.values()), [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_a_size_that_depends_on_values_has_no_static_form(tmp_path: Path) -> None:
    path = write_odd(
        tmp_path / "m.onnx",
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["y"], to=TensorProto.FLOAT),
        inputs={"x": (TensorProto.FLOAT, ["n"])},
    )
    with pytest.raises(Unsupported, match="size of its output 'y' doesn't follow"):
        fixed(onnx.load(path), {"x": (4,)}, "it")


def test_weights_in_few_bits_stay_so(tmp_path: Path) -> None:
    path = write_odd(
        tmp_path / "m.onnx",
        helper.make_node("DequantizeLinear", ["w", "scale"], ["plain"]),
        helper.make_node("Mul", ["x", "plain"], ["y"]),
        inputs={"x": (TensorProto.FLOAT, ["n"])},
    )
    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.INT8, [1], [3]))
    model.graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5]))
    found = fixed(model, {"x": (4,)}, "it")
    assert [node.op_type for node in found.model.graph.node] == ["DequantizeLinear", "Mul"]


def test_an_output_without_an_element_is_put_back_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be grouped by four after eight tokens: nothing, and the graph gives no such."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    model = onnx.load(write_dynamic(tmp_path / "decoder.onnx"))
    rest = helper.make_tensor_value_info("rest", TensorProto.FLOAT, ("batch", "rest", WIDTH))
    model.graph.output.insert(1, rest)
    model.graph.initializer.append(helper.make_tensor("end", TensorProto.INT64, [1], [2**31]))
    model.graph.initializer.append(helper.make_tensor("eight", TensorProto.INT64, [1], [8]))
    model.graph.node.append(helper.make_node("Slice", ["x", "eight", "end", "one"], ["rest"]))
    onnx.save(model, tmp_path / "rest.onnx")
    feeds = step_feeds(DECODER, tokens(8), first_past(DECODER, 2), 0)
    form = static_form(tmp_path / "rest.onnx", shapes(feeds), "it")
    names = [v.name for v in onnx.load(form.path).graph.output]
    assert names == ["logits", "present_key", "present_value"]
    given = ReferenceEvaluator(str(form.path)).run(None, {n: feeds[n] for n in form.inputs})
    whole = form.whole(given)
    assert [array.shape for array in whole] == [(2, 8, 11), (2, 0, 4), (2, 1, 8, 4), (2, 1, 8, 4)]
    assert whole[1].dtype == np.float32
    np.testing.assert_allclose(whole[0], right(tokens(8)), rtol=1e-5, atol=1e-5)


def test_a_static_form_is_made_once_and_is_no_decoder(
    dynamic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    feeds = step_feeds(DECODER, tokens(5), first_past(DECODER, 2), 0)
    form = static_form(dynamic, shapes(feeds), "it")
    assert decoder_in(form.path) is None, "it has no past that could grow"
    assert [file.path for file in form.files] == [form.path]
    written = form.path.stat().st_mtime_ns
    assert static_form(dynamic, shapes(feeds), "it") == form
    assert form.path.stat().st_mtime_ns == written
    longer = step_feeds(DECODER, tokens(6), first_past(DECODER, 2), 0)
    assert static_form(dynamic, shapes(longer), "it").path != form.path


def test_weights_in_a_file_of_their_own_lie_beside_every_form_once(
    dynamic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    apart = tmp_path / "apart" / "decoder.onnx"
    apart.parent.mkdir()
    onnx.save(
        onnx.load(dynamic), apart, save_as_external_data=True, location="w.bin", size_threshold=64
    )
    for count in (5, 6):
        feeds = step_feeds(DECODER, tokens(count), first_past(DECODER, 2), 0)
        form = static_form(apart, shapes(feeds), "it")
        (logits, *_) = ReferenceEvaluator(str(form.path)).run(
            None, {n: feeds[n] for n in form.inputs}
        )
        np.testing.assert_allclose(logits, right(tokens(count)), rtol=1e-5, atol=1e-5)
    names = sorted(part.name.partition("-")[0] for part in form.path.parent.iterdir())
    assert names == ["decoder", "decoder", "w.bin"]
    told = {e.key: json.loads(e.value) for e in onnx.load(form.path).metadata_props}
    assert list(told) == ["bench.static"]
