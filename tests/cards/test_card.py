"""Model cards: what is accepted, and how each mistake is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from small_card import GOOD, save_model

from bench.cards.card import card_for_onnx, load_card
from bench.errors import SpecError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "m.onnx")
    return tmp_path


def card(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_card_names_its_files_relative_to_itself(folder: Path) -> None:
    found = load_card(card(folder, GOOD))
    assert found.model_file().onnx == folder / "m.onnx"
    assert found.inputs[0].dtype == "float32"
    assert found.inputs[0].shape == ("batch", 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("task =", "tsk ="), ["mine.toml"]),
        (GOOD + '\ndtpye = "int8"', ["mine.toml", "dtpye", "Did you mean `dtype`?"]),
        (GOOD.replace('name = "mine"', ""), ["mine.toml", "`name` is missing"]),
        (GOOD.replace('"raw"', '"magic"'), ["task", "'magic'", "one of classification, "]),
        (GOOD.replace("m.onnx", "absent.onnx"), ["mine.toml", "absent.onnx", "missing"]),
        (GOOD.replace('onnx = "m.onnx"', ""), ["source", "onnx = "]),
        (GOOD.replace('onnx = "m.onnx"', 'torch = "nets"'), ["source.torch", "'nets'"]),
        (GOOD + 'dtype = "floaty"', ["inputs.0.dtype", "'floaty'", "numpy type name"]),
        (GOOD.replace("4]", "-4]"), ["inputs.0.shape.1"]),
        (GOOD + '[provenance.sha256]\n"m.onnx" = "00"', ["m.onnx", "sha256", "the card says 00"]),
        (GOOD + '[provenance.sha256]\n"no" = "00"', ["provenance.sha256", "missing"]),
        ("name = ", ["mine.toml", "not valid TOML"]),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_is_expected(
    folder: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        load_card(card(folder, text))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_matching_digest_is_accepted(folder: Path) -> None:
    digest = hashlib.sha256((folder / "m.onnx").read_bytes()).hexdigest()
    load_card(card(folder, f'{GOOD}[provenance.sha256]\n"m.onnx" = "{digest.upper()}"'))


def test_the_content_hash_sees_the_weights_and_not_the_words(folder: Path) -> None:
    first = load_card(card(folder, GOOD)).content_sha256()
    told = load_card(card(folder, 'description = "other words"\n' + GOOD)).content_sha256()
    assert told == first
    save_model(folder / "m.onnx", ("batch", 5))
    assert load_card(card(folder, GOOD)).content_sha256() != first


def test_a_bare_onnx_file_gets_a_card(folder: Path) -> None:
    found = card_for_onnx(folder / "m.onnx")
    assert (found.name, found.task) == ("m", "raw")
    assert found.inputs[0].shape == ("batch", 4)


def test_dimensions_without_a_name_get_one(folder: Path) -> None:
    save_model(folder / "n.onnx", (None, 4))
    assert card_for_onnx(folder / "n.onnx").inputs[0].shape == ("x_dim0", 4)


@pytest.mark.parametrize("cut", [0, 1, 20, -1, -10])
def test_a_truncated_file_is_one_sentence(folder: Path, cut: int) -> None:
    data = (folder / "m.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(data[:cut])
    with pytest.raises(SpecError) as caught:
        card_for_onnx(folder / "cut.onnx")
    assert "cut.onnx" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_that_computes_nothing_is_refused(folder: Path) -> None:
    save_model(folder / "empty.onnx", nodes=False)
    with pytest.raises(SpecError, match=r"no node|not a valid"):
        card_for_onnx(folder / "empty.onnx")


def test_an_input_that_is_no_tensor_is_refused(folder: Path) -> None:
    value = helper.make_tensor_value_info
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("SequenceLength", ["s"], ["n"])],
        "g",
        [sequence],
        [value("n", TensorProto.INT64, [])],
    )
    onnx.save(helper.make_model(graph, ir_version=10), str(folder / "s.onnx"))
    with pytest.raises(SpecError, match="not a tensor"):
        card_for_onnx(folder / "s.onnx")
