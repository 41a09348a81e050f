"""A model that is replaced during a run: no figure mixes two models."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from bench.store.run import read_run


def a_chain(path: Path, nodes: int) -> None:
    """So many additions one after another: more are slower, and the answer is another one."""
    names = ["x", *(f"t{number}" for number in range(1, nodes)), "y"]
    graph = helper.make_graph(
        [helper.make_node("Add", [a, "x"], [b]) for a, b in itertools.pairwise(names)],
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), str(path))


def test_a_model_that_is_swapped_during_a_run_is_a_failed_cell(
    environment: dict[str, str], tmp_path: Path
) -> None:
    model, other = tmp_path / "model.onnx", tmp_path / "other.onnx"
    a_chain(model, 1)
    a_chain(other, 50)
    arguments = ("-m", str(model), "-t", "stand-in:ok?us=20", "--scenario", "single-stream")
    many = ("--threads", "1", "--min-invocations", "900", "--max-invocations", "1000")
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", *arguments, *many, "--max-time", "300"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while (
            process.poll() is None
            and time.monotonic() < deadline
            and not any(
                file.stat().st_size for file in tmp_path.glob("results/runs/*/invocations.jsonl")
            )
        ):
            time.sleep(0.02)
        other.replace(model)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    assert "was changed during the run" in " ".join(stdout.split())
    (record,) = read_run(tmp_path / "results").records
    assert record.status == "failed"
    assert record.failure is not None
    assert record.failure.kind == "model-changed"
