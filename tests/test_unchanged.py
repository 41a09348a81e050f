"""A model is what it was at every load, or the load is refused in one sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.backend import ModelFile
from bench.cards.catalog import find_model
from bench.cards.ready import load
from bench.errors import ModelChanged, WorkerCrashed
from bench.unchanged import check_unchanged, file_sha256, stored_files, unchanged


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old weights")
    return path


@pytest.fixture
def model(weights: Path) -> ModelFile:
    return ModelFile("m", onnx=weights, files=stored_files([weights]))


def keep_size_and_time(path: Path, content: bytes) -> None:
    """What a careless copy (`cp -p`, `rsync -t`) does, in place."""
    before = os.stat(path)
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_whole(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


@pytest.mark.parametrize("write", [Path.write_bytes, keep_size_and_time, replace_whole])
def test_a_file_with_other_content_is_refused_however_it_came_there(
    write: object, model: ModelFile, weights: Path
) -> None:
    write(weights, b"new weights")  # type: ignore[operator]
    with pytest.raises(ModelChanged) as caught, unchanged(model):
        raise AssertionError("it was loaded")
    said = str(caught.value)
    assert str(weights) in said
    assert said.count("SHA-256") == 1
    with pytest.raises(ModelChanged, match="two different models"):
        check_unchanged(model)


def test_a_file_that_went_away_is_refused(model: ModelFile, weights: Path) -> None:
    weights.unlink()
    with pytest.raises(ModelChanged, match="can't be read any more"), unchanged(model):
        raise AssertionError("it was loaded")


def test_the_same_content_anew_is_the_same_model(model: ModelFile, weights: Path) -> None:
    replace_whole(weights, b"old weights")
    os.utime(weights)
    with unchanged(model):
        pass
    check_unchanged(model)


def test_a_file_that_is_swapped_during_a_load_and_back_is_refused(
    model: ModelFile, weights: Path
) -> None:
    def swap() -> None:
        replace_whole(weights, b"new weights")
        replace_whole(weights, b"old weights")

    with pytest.raises(ModelChanged, match="written while it was loaded"), unchanged(model):
        swap()


def test_a_load_that_fails_on_a_half_written_file_says_that_it_was_written(
    model: ModelFile, weights: Path
) -> None:
    def fail() -> None:
        weights.write_bytes(b"new")
        raise WorkerCrashed("it can't be read as a model")

    with pytest.raises(ModelChanged), unchanged(model):
        fail()
    weights.write_bytes(b"old weights")
    with pytest.raises(WorkerCrashed), unchanged(model):
        raise WorkerCrashed("it can't be read as a model")


def test_a_hash_is_of_the_content_however_quickly_it_is_written(tmp_path: Path) -> None:
    path, hashes = tmp_path / "file", set()
    for number in range(50):
        path.write_bytes(b"%02d" % number)
        hashes.add(file_sha256(path))
    assert len(hashes) == 50


def test_writing_right_after_planning_shows(tmp_path: Path) -> None:
    """Both writings may lie in one tick of the clock that a file system has."""
    path = tmp_path / "file"
    for _ in range(20):
        path.write_bytes(b"old")
        model = ModelFile("m", files=stored_files([path]))
        path.write_bytes(b"new")
        with pytest.raises(ModelChanged):
            check_unchanged(model)


def test_weights_beside_the_graph_are_part_of_the_model(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [tensor],
    )
    opset = [helper.make_opsetid("", 18)]
    path = tmp_path / "m.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=10),
        str(path),
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
    )
    loaded = load(find_model(str(path)), tmp_path, lambda _: None)
    check_unchanged(loaded.file)
    check_unchanged(loaded.form("fp32").file)
    (tmp_path / "m.data").write_bytes(np.zeros((4, 4), np.float32).tobytes())
    for file in (loaded.file, loaded.form("fp32").file):
        with pytest.raises(ModelChanged, match=r"m\.data"):
            check_unchanged(file)


def test_the_code_that_a_module_imports_is_part_of_the_model(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "layers_of_net.py").write_text("WIDTH = 4\n")
    (tmp_path / "net.py").write_text(
        "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))\n"
        "import torch, layers_of_net\n"
        "def net():\n    torch.manual_seed(1)\n"
        "    return torch.nn.Linear(layers_of_net.WIDTH, 2)\n"
        "def example_inputs():\n    return torch.ones(2, layers_of_net.WIDTH)\n"
    )
    loaded = load(find_model(f"{tmp_path / 'net.py'}:net"), tmp_path / "cache", lambda _: None)
    assert {f.path.name for f in loaded.file.files} >= {"net.py", "layers_of_net.py"}
    (tmp_path / "layers_of_net.py").write_text("WIDTH = 8\n")
    with pytest.raises(ModelChanged, match=r"layers_of_net\.py"):
        check_unchanged(loaded.file)


def test_a_variant_that_was_made_is_watched_like_the_model(
    tmp_path: Path, doubling_model: Path
) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "doubling.onnx"
    shutil.copy(doubling_model, path)
    loaded = load(find_model(str(path)), tmp_path / "cache", lambda _: None, ("fp32", "fp16"))
    made = loaded.form("fp16").file
    assert made.onnx is not None
    assert made.onnx != path
    assert {f.path for f in made.files} == {path, made.onnx}
