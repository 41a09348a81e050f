"""The reader of free dimensions, against the package onnx."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from bench.backends.shared.onnx_inputs import free_dimensions
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bench.errors import SpecError, Unsupported

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
DIMENSIONS = st.lists(st.integers(0, 1 << 40) | NAMES, max_size=4)


def write(path: Path, inputs: dict[str, list[int | str | None]], weights: int = 8) -> Path:
    """A model with these inputs, and weights that a reader has to skip."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["w"], ["y"])],
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n, dims in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [weights])],
        [helper.make_tensor("w", TensorProto.FLOAT, [weights], [1.0] * weights)],
    )
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAMES, DIMENSIONS, min_size=1, max_size=3))
def test_it_reads_what_onnx_wrote(
    tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, list[int | str]]
) -> None:
    path = write(tmp_path_factory.mktemp("m") / "m.onnx", inputs)
    symbols = {dim for dims in inputs.values() for dim in dims if isinstance(dim, str)}
    shapes = {n: [7 if isinstance(d, str) else d for d in dims] for n, dims in inputs.items()}
    assert free_dimensions(path, shapes, "m") == dict.fromkeys(symbols, 7)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_model_give_none(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    path.write_bytes(data)
    assert free_dimensions(path, {"x": (1,)}, "m") in ({}, {"": 1})


def test_a_truncated_model_gives_none(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", {"x": ["batch", 3]}, weights=1000)
    path.write_bytes(path.read_bytes()[:-40])
    assert free_dimensions(path, {"x": (1, 3)}, "m") == {}


def test_every_model_that_ships_has_its_batch_by_name() -> None:
    for path in (Path(__file__).parents[2] / "models").glob("*.onnx"):
        (batch,) = (
            onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[:1]
        )
        assert free_dimensions(path, {"image": (5, 1, 28, 28)}, "m") == {batch.dim_param: 5}


def test_one_name_with_two_sizes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", {"a": ["n"], "b": ["n"]})
    with pytest.raises(SpecError, match="'n' would have to be both 2 and 3"):
        free_dimensions(path, {"a": (2,), "b": (3,)}, "m on t")


def test_a_dynamic_dimension_without_a_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", {"a": [4, None]})
    with pytest.raises(
        Unsupported, match="dimension 1 of the input 'a' is dynamic and has no name"
    ):
        free_dimensions(path, {"a": (4, 2)}, "m on t")


def test_a_missing_file_gives_none(tmp_path: Path) -> None:
    assert free_dimensions(tmp_path / "none.onnx", {"a": (1,)}, "m") == {}
