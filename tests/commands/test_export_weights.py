"""`bench model export` of a model whose weights lie beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from bench.cards.export import run_onnx
from bench.commands.model.export import command
from bench.errors import SpecError

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def write(path: Path, weights: str) -> Path:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(W, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (path.parent / weights).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path), save_as_external_data=True, location=weights, size_threshold=0)
    return path


@pytest.mark.parametrize("weights", ["w.bin", "parts/w.bin"])
def test_weights_beside_the_file_are_copied_with_it(tmp_path: Path, weights: str) -> None:
    source = write(tmp_path / "m.onnx", weights)
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "copy.onnx"
    arguments = [str(source), "-o", str(output)]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    (tmp_path / weights).unlink()
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(run_onnx(output, {"x": x})[0], x @ W)


def test_weights_that_are_there_already_are_not_replaced_unasked(tmp_path: Path) -> None:
    source = write(tmp_path / "m.onnx", "w.bin")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "w.bin").write_bytes(b"another model's")
    arguments = [str(source), "-o", str(tmp_path / "out" / "copy.onnx")]
    with pytest.raises(SpecError, match=r"w\.bin already exists"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert (tmp_path / "out" / "w.bin").read_bytes() == b"another model's"
    assert not (tmp_path / "out" / "copy.onnx").exists()
    done = CliRunner().invoke(command, [*arguments, "--force"], catch_exceptions=False)
    assert done.exit_code == 0
    assert (tmp_path / "out" / "w.bin").read_bytes() == W.tobytes()


def test_a_model_written_over_itself_keeps_its_weights(tmp_path: Path) -> None:
    source = write(tmp_path / "m.onnx", "w.bin")
    arguments = [str(source), "-o", str(source), "--force"]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    x = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(run_onnx(source, {"x": x})[0], x @ W)
