"""bench/cards/language/found.py: decoders that others exported are known by their names."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from bench.cards.catalog import find_model
from bench.cards.language.found import decoder_in
from bench.errors import SpecError

PAST = ("past_key_values.0.key", "past_key_values.0.value")
PRESENT = ("present.0.key", "present.0.value")


def write(
    path: Path,
    inputs: tuple[str, ...] = ("attention_mask", "position_ids"),
    past: tuple[str, ...] = PAST,
    present: tuple[str, ...] = PRESENT,
    state: tuple[int | str, ...] = ("batch", 2, "past", 4),
) -> Path:
    """A graph with the inputs and outputs of a decoder; what it computes is of no interest."""

    def value(name: str, kind: int, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    ids = [value("input_ids", TensorProto.INT64, ("batch", "seq"))]
    ids += [value(name, TensorProto.INT64, ("batch", "total")) for name in inputs]
    nodes = [helper.make_node("Cast", ["input_ids"], ["flat"], to=TensorProto.FLOAT)]
    nodes += [helper.make_node("Expand", ["flat", "shape"], ["logits"])]
    nodes += [helper.make_node("Identity", [a], [b]) for a, b in zip(past, present, strict=False)]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [*ids, *(value(name, TensorProto.FLOAT16, state) for name in past)],
        [
            value("logits", TensorProto.FLOAT, ("batch", "seq", 128)),
            *(value(name, TensorProto.FLOAT16, state) for name in present),
        ],
        [helper.make_tensor("shape", TensorProto.INT64, [3], [1, 1, 128])],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))
    return path


@pytest.mark.parametrize(
    ("inputs", "mask", "positions"),
    [
        (("attention_mask", "position_ids"), "attention_mask", "position_ids"),
        (("attention_mask",), "attention_mask", ""),
        ((), "", ""),
    ],
)
def test_a_decoder_of_optimums_is_known_by_its_names(
    tmp_path: Path, inputs: tuple[str, ...], mask: str, positions: str
) -> None:
    path = write(tmp_path / "model.onnx", inputs)
    decoder = decoder_in(path)
    assert decoder is not None
    assert (decoder.mask, decoder.positions) == (mask, positions)
    assert [tensor.input for tensor in decoder.state] == list(PAST)
    assert [tensor.output for tensor in decoder.state] == list(PRESENT)
    assert decoder.shape(decoder.state[0], 3, 7) == (3, 2, 7, 4)
    assert decoder.state[0].dtype == "float16"
    assert decoder.vocabulary == 128
    assert find_model(str(path)).task == "text-generation"


def test_a_description_for_genai_beside_it_names_its_tensors(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", ("mask",), ("past_0_k", "past_0_v"), ("new_0_k", "new_0_v"))
    taken = {"attention_mask": "mask"}
    taken |= {"past_key_names": "past_%d_k", "past_value_names": "past_%d_v"}
    given = {"present_key_names": "new_%d_k", "present_value_names": "new_%d_v"}
    model = {"context_length": 2048, "decoder": {"inputs": taken, "outputs": given}}
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": model}))
    decoder = decoder_in(path)
    assert decoder is not None
    assert decoder.mask == "mask"
    assert decoder.state[1].output == "new_0_v"
    assert decoder.context == 2048


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": ("attention_mask", "past_seed")}, "'past_seed' is unknown"),
        ({"present": ("present.0.key",)}, "'present.0.value' is missing"),
        ({"state": ("batch", "heads", "past", 4)}, "batch, heads, past tokens, width"),
    ],
    ids=["an input", "an output", "a shape"],
)
def test_a_cache_that_is_not_understood_is_refused(
    tmp_path: Path, change: dict[str, tuple[str, ...]], words: str
) -> None:
    path = write(tmp_path / "model.onnx", **change)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=words):
        decoder_in(path)


def test_a_broken_description_for_genai_is_refused_by_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx")
    (tmp_path / "genai_config.json").write_text("{}")
    with pytest.raises(SpecError, match=r"genai_config\.json"):
        decoder_in(path)


def test_any_other_model_is_no_decoder(doubling_model: Path) -> None:
    assert decoder_in(doubling_model) is None
    assert find_model(str(doubling_model)).task == "raw"
