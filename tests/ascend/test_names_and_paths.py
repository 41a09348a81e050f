"""Names with colons, and paths that atc refuses; on the stand-in, which refuses what atc does."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench.backends.ascend import folder
from bench.backends.ascend.adapter import Ascend
from bench.backends.ascend.atc import Job, compile_om
from bench.backends.ascend.model import name_in_file
from bench.backends.shared.onnx_inputs import output_names
from onnx import TensorProto, helper, numpy_helper

from bench.backend import ModelFile, Options
from bench.errors import SpecError, Unsupported

SOC = "StandIn910B4"
X = np.arange(8, dtype=np.float32).reshape(2, 4)
WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def write_product(path: Path, x: str = "x", y: str = "y", weights: str = "") -> ModelFile:
    """``y = x @ w`` with a free batch; the weights in a file beside where ``weights`` names one."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [x, "w"], [y])],
        "product",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if weights:
        (path.parent / weights).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        model, str(path), save_as_external_data=bool(weights), location=weights, size_threshold=0
    )
    return ModelFile("product", path)


def outputs_of(file: ModelFile, name: str = "x") -> np.ndarray[Any, Any]:
    backend = Ascend()
    (device,) = backend.devices()
    session = backend.compile(file, device, Options(shapes={name: X.shape}))
    assert [spec.name for spec in session.inputs] == [name]
    (found,) = session.run({name: X})
    session.close()
    return found


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("input:0", "output:0"),
        ("onnx::Flatten_0", "42"),
        ("a:1:b:0", "0"),
        ("serving_default_x:0", "StatefulPartitionedCall:0"),
        ("/in put", "x:0:y:0"),
    ],
)
def test_names_with_colons_are_those_of_the_file(acl: Any, tmp_path: Path, x: str, y: str) -> None:
    file = write_product(tmp_path / "m.onnx", x, y)
    backend = Ascend()
    (device,) = backend.devices()
    session = backend.compile(file, device, Options(shapes={x: X.shape}))
    assert [spec.name for spec in session.inputs] == [x]
    assert [spec.name for spec in session.outputs] == [y]
    np.testing.assert_allclose(session.run({x: X})[0], X @ WEIGHTS)
    session.close()


def test_an_output_is_found_in_what_the_compiled_model_calls_it() -> None:
    assert name_in_file("MatMul_3:0:output:0", ["output:0", "0"]) == "output:0"
    assert name_in_file("onnx::n:1:2:0:0", ["output:0", "0"]) == "0"
    assert name_in_file("y", ["y"]) == "y"
    assert name_in_file("node:0:other:1", ["y"]) == "other:1"
    assert name_in_file("plain", []) == "plain"


def test_the_file_tells_its_outputs_without_any_runtime(tmp_path: Path) -> None:
    file = write_product(tmp_path / "m.onnx", y="out:0")
    assert file.onnx is not None
    assert output_names(file.onnx) == ("out:0",)
    (tmp_path / "half.onnx").write_bytes(file.onnx.read_bytes()[:50])
    assert output_names(tmp_path / "half.onnx") == ()


def test_an_input_at_whose_semicolon_atc_would_split_is_refused(acl: Any, tmp_path: Path) -> None:
    file = write_product(tmp_path / "m.onnx", "a;b")
    with pytest.raises(Unsupported, match="'a;b' holds a `;`"):
        outputs_of(file, "a;b")


@pytest.mark.parametrize("place", ["my models", "a+b", "größe", "v1 (copy)", "x=1,y@2"])
def test_a_model_whose_path_atc_refuses_is_compiled_and_left_as_it_was(
    acl: Any, tmp_path: Path, place: str
) -> None:
    file = write_product(tmp_path / place / "net work.onnx")
    assert file.onnx is not None
    before = file.onnx.read_bytes()
    np.testing.assert_allclose(outputs_of(file), X @ WEIGHTS)
    assert file.onnx.read_bytes() == before
    assert os.stat(file.onnx).st_nlink == 1  # nothing is left in the scratch folder


@pytest.mark.parametrize("weights", ["w.bin", "parts/w.bin"])
def test_external_weights_come_along_from_a_path_that_atc_refuses(
    acl: Any, tmp_path: Path, weights: str
) -> None:
    file = write_product(tmp_path / "my models" / "m.onnx", weights=weights)
    np.testing.assert_allclose(outputs_of(file), X @ WEIGHTS)


def test_weights_beside_a_link_come_along_though_atc_looks_beside_the_real_file(
    acl: Any, tmp_path: Path
) -> None:
    # As a cache of Hugging Face's lays its files out.
    write_product(tmp_path / "made" / "m.onnx", weights="w.bin")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    for name, blob in (("m.onnx", "1111"), ("w.bin", "2222")):
        shutil.move(tmp_path / "made" / name, tmp_path / "blobs" / blob)
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / blob)
    file = ModelFile("product", tmp_path / "snapshot" / "m.onnx")
    np.testing.assert_allclose(outputs_of(file), X @ WEIGHTS)


def test_without_hard_links_the_files_are_copied(
    acl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    file = write_product(tmp_path / "my models" / "m.onnx", weights="w.bin")
    np.testing.assert_allclose(outputs_of(file), X @ WEIGHTS)


def test_a_cache_whose_path_atc_refuses_still_keeps_what_is_compiled(
    acl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "my cache"))
    file = write_product(tmp_path / "m.onnx")
    assert file.onnx is not None
    made = compile_om(Job(file.onnx, "m", SOC, shapes={"x": X.shape}))
    assert made.parent == tmp_path / "my cache" / "ascend"
    assert list(made.parent.iterdir()) == [made]


def test_where_no_folder_is_left_the_message_names_what_to_set(
    acl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "my tmp"))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "my cache"))
    file = write_product(tmp_path / "m.onnx")
    assert file.onnx is not None
    with pytest.raises(SpecError, match="BENCH_CACHE or TMPDIR"):
        compile_om(Job(file.onnx, "m", SOC, shapes={"x": X.shape}))


def test_a_model_that_atc_takes_is_handed_over_as_it_is(tmp_path: Path) -> None:
    file = write_product(tmp_path / "m.onnx", weights="w.bin")
    assert file.onnx is not None
    assert folder.placed(file.onnx, tmp_path / "scratch") == file.onnx.resolve()
    assert not (tmp_path / "scratch").exists()


def test_weights_that_the_model_names_are_part_of_what_is_compiled(
    acl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_product(tmp_path / "m.onnx", weights="parts/w.bin")
    (tmp_path / "unrelated.bin").write_bytes(b"2")
    assert file.onnx is not None
    assert folder.external_data(file.onnx) == ["parts/w.bin"]
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    job = Job(file.onnx, "m", SOC, shapes={"x": X.shape})
    first = compile_om(job)
    (tmp_path / "parts" / "w.bin").write_bytes((2 * WEIGHTS).tobytes())
    assert compile_om(job) != first
