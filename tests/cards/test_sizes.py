"""Sizes: honoured where they are given, computed where they follow, else guessed and told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper
from test_batch_axis import floats, saved, times

from bench.cards.card import card_for_onnx, checker_words
from bench.cards.query import (
    Query,
    batch_axis_of,
    make_query,
    not_compared,
    refuse_unknown_names,
)
from bench.cards.ready import Loaded
from bench.errors import SpecError

INT = TensorProto.INT64


def loaded(path: Path) -> Loaded:
    card = card_for_onnx(path)
    return Loaded(card, card.model_file(), None)


def query(path: Path, **sizes: int) -> Query:
    """Two samples."""
    model = loaded(path)
    refuse_unknown_names([model], sizes, None, (2,))
    return make_query(model, batch_axis_of(model, None, (2,)), 2, sizes, seed=1)


def shapes(found: Query) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in found.feeds.items()}


def passed(folder: Path, name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Path:
    """A model that hands its input on."""
    node = helper.make_node("Identity", [name], ["y"])
    return saved(folder / "m.onnx", [node], [(name, shape, kind)], [("y", shape, kind)])


def test_each_size_that_is_named_is_honoured(tmp_path: Path) -> None:
    path = passed(tmp_path, "x", ["batch", "rows", None, "past"])
    found = query(path, rows=7, past=0, x_dim2=5)
    assert shapes(found) == {"x": (2, 7, 5, 0)}
    assert found.sizes == {"rows": 7, "past": 0, "x_dim2": 5}
    assert found.assumed == ()


def test_a_question_mark_is_every_axis_without_a_name_but_the_batch(tmp_path: Path) -> None:
    path = passed(tmp_path, "x", ["?", "?", None, 4])
    assert shapes(query(path, **{"?": 9})) == {"x": (2, 9, 9, 4)}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"sqe": 3}, "has batch (the batch: --batch), seq"),
        ({"batch": 8}, "--batch sets"),
        ({"?": 8}, "no model of the run"),
        ({"x_dim2": 8}, "no model of the run"),  # which is fixed
    ],
)
def test_a_size_that_cannot_be_given_is_refused(
    tmp_path: Path, sizes: dict[str, int], words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        query(passed(tmp_path, "x", ["batch", "seq", 4]), **sizes)
    assert words in str(caught.value)


def test_one_name_may_be_the_batch_of_one_model_and_a_size_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    batched = loaded(passed(tmp_path / "a", "x", ["N", 4]))
    pooled = [times("x", "w", "f"), helper.make_node("ReduceMax", ["f", "z"], ["y"], keepdims=0)]
    cloud = saved(
        tmp_path / "c.onnx", pooled, [("x", ["N", 3])], [("y", [8])], w=floats(3, 8), z=[0]
    )
    refuse_unknown_names([batched, loaded(cloud)], {"N": 500}, None, (32,))
    assert shapes(query(cloud, N=500)) == {"x": (500, 3)}


@pytest.mark.parametrize(
    ("name", "shape", "kind", "expected"),
    [
        ("ids", ["batch", "seq_len"], INT, (2, 128)),
        ("x", [None, None], INT, (2, 128)),
        ("image", ["batch", 3, "height", "width"], TensorProto.FLOAT, (2, 3, 224, 224)),
        ("x", [None, None, None, 3], TensorProto.FLOAT, (2, 224, 224, 3)),
        ("audio", ["batch", "samples"], TensorProto.FLOAT, (2, 16_000)),
        ("mel", ["batch", 80, "n_frames"], TensorProto.FLOAT, (2, 80, 100)),
        ("waveform", [1, None], TensorProto.FLOAT, (1, 16_000)),
    ],
)
def test_a_size_is_guessed_by_name_or_rank_and_told(
    tmp_path: Path, name: str, shape: Sequence[Any], kind: int, expected: tuple[int, ...]
) -> None:
    found = query(passed(tmp_path, name, shape, kind))
    assert shapes(found) == {name: expected}
    assert any("guessed sizes" in words for words in found.assumed)


def test_where_nothing_suggests_a_size_it_is_asked_for(tmp_path: Path) -> None:
    refused = query(passed(tmp_path, "x", ["batch", "foo"])).refused
    assert isinstance(refused, SpecError)
    assert "Give it: --shape foo=128" in str(refused)


def test_what_the_weights_take_is_no_guess(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "m.onnx",
        [helper.make_node("Relu", ["x"], ["r"]), times("r", "w", "y")],
        [("x", ["batch", "features"])],
        [("y", ["batch", 4])],
        w=floats(16, 4),
    )
    found = query(path)
    assert shapes(found) == {"x": (2, 16)}
    assert found.assumed == ()


def decoder(folder: Path, total: str) -> Path:
    inputs = [
        ("ids", ["batch", "seq_len"], INT),
        ("attention_mask", ["batch", total], INT),
        ("past", ["batch", "past_len", 8]),
    ]
    nodes = [helper.make_node("Identity", [name], [f"{name}_y"]) for name, *_ in inputs]
    outputs: Any = [(f"{name}_y", *rest) for name, *rest in inputs]
    return saved(folder / "m.onnx", nodes, inputs, outputs)


@pytest.mark.parametrize("total", ["total_sequence_length", "past_len + seq_len"])
def test_a_mask_covers_the_cache_and_what_comes(tmp_path: Path, total: str) -> None:
    found = query(decoder(tmp_path, total), past_len=0, seq_len=3)
    assert shapes(found) == {"ids": (2, 3), "attention_mask": (2, 3), "past": (2, 0, 8)}


def test_indices_stay_inside_a_table_that_is_another_input(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["edges", "one"], ["sources"]),
        helper.make_node("Gather", ["x", "sources"], ["y"]),
    ]
    inputs = [("x", ["num_nodes", 16]), ("edges", [2, "num_edges"], INT)]
    path = saved(tmp_path / "m.onnx", nodes, inputs, [("y", ["num_edges", 16])], one=1)
    edges = query(path, num_nodes=5, num_edges=1000).feeds["edges"]
    assert (edges.min(), edges.max()) == (0, 4)


def test_ids_of_a_quantised_embedding_stay_inside_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["table", "scale"], ["rows"]),
        helper.make_node("Gather", ["rows", "ids"], ["y"]),
    ]
    weights = {"table": floats(37, 4).astype("int8"), "scale": floats()}
    inputs = [("ids", ["batch", "seq"], INT)]
    path = saved(tmp_path / "m.onnx", nodes, inputs, [("y", ["batch", "seq", 4])], **weights)
    assert query(path).feeds["ids"].max() == 36


def test_indices_are_followed_through_what_keeps_them_also_out_of_order(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "wide"], ["y"]),
        helper.make_node("Cast", ["flat"], ["wide"], to=INT),
        helper.make_node("Reshape", ["ids", "all"], ["flat"]),
        helper.make_node("Identity", ["mask"], ["kept"]),
    ]
    inputs = [("ids", ["batch", "seq"], TensorProto.INT32), ("mask", ["batch", "seq"], INT)]
    outputs = [("y", ["n", 4]), ("kept", ["batch", "seq"], INT)]
    weights = {"table": floats(37, 4), "all": [-1]}
    found = query(saved(tmp_path / "m.onnx", nodes, inputs, outputs, **weights)).feeds
    assert found["ids"].max() == 36
    assert found["mask"].max() == 1


def test_lengths_and_rates_have_values_that_fit_and_are_told(tmp_path: Path) -> None:
    inputs = [("audio", ["batch", "samples"]), ("lengths", ["batch"], INT), ("sr", [], INT)]
    nodes = [helper.make_node("Identity", [name], [f"{name}_y"]) for name, *_ in inputs]
    outputs: Any = [(f"{name}_y", *rest) for name, *rest in inputs]
    found = query(saved(tmp_path / "m.onnx", nodes, inputs, outputs), samples=400)
    assert found.feeds["lengths"].tolist() == [400, 400]
    assert found.feeds["sr"] == 16_000
    assert any("the value of sr as 16000" in words for words in found.assumed)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.BFLOAT16])
def test_an_input_that_cannot_be_fed_is_named_with_what_to_do(tmp_path: Path, kind: int) -> None:
    found = query(passed(tmp_path, "s", ["batch", 1], kind))
    assert found.refused is not None
    assert "its input 's'" in str(found.refused)
    assert "card" not in str(found.refused)


def test_a_model_without_inputs_has_an_empty_query(tmp_path: Path) -> None:
    node = helper.make_node("RandomNormal", [], ["y"], shape=[2, 3])
    path = saved(tmp_path / "m.onnx", [node], [], [("y", [2, 3])])
    assert query(path).feeds == {}
    assert batch_axis_of(loaded(path), None, ()).samples(32) == 1


def test_a_size_of_zero_in_the_file_is_a_size(tmp_path: Path) -> None:
    assert shapes(query(passed(tmp_path, "past", ["batch", 0, 8]))) == {"past": (2, 0, 8)}


def test_what_the_checker_refuses_is_a_model_with_a_note(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["m"], ["y"]), times("x", "w", "m")]  # out of order
    inputs = [("x", ["batch", 16])]
    path = saved(tmp_path / "m.onnx", nodes, inputs, [("y", ["batch", 4])], w=floats(16, 4))
    words = checker_words(card_for_onnx(path))
    assert words is not None
    assert "topologically sorted" in words
    assert "not output of any previous nodes" in words  # the whole sentence


def test_a_model_that_the_checker_likes_has_no_note(tmp_path: Path) -> None:
    assert checker_words(card_for_onnx(passed(tmp_path, "x", ["batch", 4]))) is None


def test_a_model_that_was_folded_into_a_constant_is_a_model(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", [], [], [("y", [2, 3])], y=floats(2, 3))
    assert query(path).feeds == {}


def test_an_output_that_is_no_tensor_of_numbers_is_said(tmp_path: Path) -> None:
    path = passed(tmp_path, "s", ["batch", 1], TensorProto.STRING)
    assert "'y' is not a tensor of numbers" in not_compared(card_for_onnx(path))[0]
