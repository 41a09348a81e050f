"""A vendor's NPU stack, executed by its emulator: `bench run -t onnxruntime:qnn`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.record.result import Record
from bench.store.run import read_run

pytest.importorskip("onnxruntime_qnn", reason="the extra `qnn` is not installed")

CARD = """\
name = "small"
task = "classification"
[source]
onnx = "small.onnx"
[[inputs]]
name = "x"
dtype = "float32"
shape = ["batch", 3, 8, 8]
[dataset]
name = "blobs"
path = "blobs.npz"
[calibration]
name = "more blobs"
path = "more.npz"
samples = 16
"""


def write_classifier(folder: Path) -> None:
    """Three channels; the class is the brightest: a convolution and a mean tell it exactly."""
    for seed, name in enumerate(("blobs.npz", "more.npz")):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, 40)
        x = rng.standard_normal((40, 3, 8, 8)).astype(np.float32) / 4
        x[np.arange(40), labels] += 1
        np.savez(folder / name, x=x, labels=labels)
    weight = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    save(folder / "small.onnx", nodes, ["batch", 3, 8, 8], ["batch", 3], "logits", {"w": weight})
    (folder / "small.toml").write_text(CARD)


def save(
    path: Path, nodes: list[Any], takes: list[Any], gives: list[Any], output: str, weights: Any
) -> None:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def records(folder: Path) -> dict[str, Record]:
    (path,) = (folder / "results" / "runs").iterdir()
    return {record.cell.variant: record for record in read_run(path).records}


def test_accuracy_parity_and_placement_count_and_latency_does_not(
    bench: Any, tmp_path: Path
) -> None:
    write_classifier(tmp_path)
    variants = ("--variant", "fp32", "--variant", "int8-static")
    result = bench(
        "run", "-m", "small.toml", "-t", "onnxruntime:qnn", *variants, "--scenario", "single-stream"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = records(tmp_path)
    assert set(found) == {"fp32", "int8-static"}
    for record in found.values():
        assert record.simulated
        assert record.latency is None
        assert record.accuracy is not None
        assert record.accuracy.value.value == 1.0
        assert record.parity is not None
        assert record.parity.ok
        assert record.placement is not None
        assert set(record.placement.nodes) == {"qnn"}
        assert record.placement.time_share is None, "a simulator's time says nothing"
        assert not record.placement.precision, "QNN doesn't tell what it compiled the graph to"
        assert all(check.ok for check in record.checks)
    assert "simulated" in result.stdout


def test_a_node_that_the_npu_lacks_is_refused_or_counted(bench: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("Shrink", ["a"], ["b"], name="odd"),
        helper.make_node("Relu", ["b"], ["y"], name="last"),
    ]
    save(tmp_path / "partly.onnx", nodes, ["batch", 8], ["batch", 8], "y", {})
    command = ("run", "-m", "partly.onnx", "-t", "onnxruntime:qnn", "--scenario", "single-stream")
    refused = bench(*command)
    assert refused.returncode == 1
    assert "odd (Shrink, on cpu)" in " ".join(refused.stdout.split())
    counted = bench(*command, "--allow-fallback")
    assert counted.returncode == 0, counted.stdout + counted.stderr
    words = " ".join(counted.stdout.split())
    assert "2 of 3 nodes ran on onnxruntime:qnn; elsewhere: odd (Shrink, on cpu)" in words
    assert "66.7%" in words
    assert "fallback allowed" in words


def test_a_dimension_without_a_name_is_said_to_be_in_the_way(bench: Any, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    save(tmp_path / "nameless.onnx", nodes, [None, 8], [None, 8], "y", {})
    result = bench(
        "run", "-m", "nameless.onnx", "-t", "onnxruntime:qnn", "--scenario", "single-stream"
    )
    assert result.returncode == 1
    words = " ".join(result.stdout.split())
    assert "dimension 0 of the input 'x' is dynamic and has no name" in words
