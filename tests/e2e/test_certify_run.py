"""The real command certifies a small classifier, and the other commands read what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.__main__ import main

Bench = Callable[..., CompletedProcess[str]]
CARD = """
name = "sign"
task = "classification"
[source]
onnx = "m.onnx"
[[inputs]]
name = "x"
shape = ["batch", 2]
[dataset]
name = "signs"
path = "d.npz"
"""
PAIR = ("-r", "onnxruntime:cpu", "--on", "onnx-reference:cpu")


def a_classifier(folder: Path, examples: int = 40, scale: float = 1.0) -> Path:
    """Which of two numbers is larger; a ``scale`` of infinity makes NaN of 0."""
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.full(1, scale, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ("batch", 2))],
        [value("y", TensorProto.FLOAT, ("batch", 2))],
        [weight],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opset), folder / "m.onnx")
    labels = np.arange(examples) % 2
    x = np.eye(2, dtype=np.float32)[labels] + np.float32(0.25)
    np.savez(folder / "d.npz", x=x, labels=labels)
    (folder / "sign.toml").write_text(CARD)
    return folder / "sign.toml"


@pytest.mark.slow
def test_a_certificate_is_written_derived_again_and_held_to(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = a_classifier(tmp_path)
    done = bench("certify", str(card), *PAIR, "-o", "c", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [finding["verdict"] for finding in told["findings"]] == ["same"]
    assert told["examined"]["examples"] == 40
    folder = str(tmp_path / "c")
    assert main(["check-results", folder]) == 0
    assert "all agree" in capsys.readouterr().out
    assert main(["gate", "--certificate", folder]) == 0
    assert main(["certify", str(card), *PAIR, "-o", folder]) == 2
    assert "Name another" in capsys.readouterr().err
