"""`bench portability`, through the real command and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from warm_bench import WarmBench

from bench.record.portability import PortabilityReport
from bench.trials.portability.cases import NodeTests

FRAGILE = ("-t", "fragile:npu:0", "--timeout", "2", "--workers", "1")
REFERENCE = ("-t", "onnx-reference:cpu", "--workers", "1")

Portability = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def portability(
    warm_bench: WarmBench, onnx_tests: NodeTests, environment: dict[str, str], tmp_path: Path
) -> Portability:
    """Run the command; ONNX's tests lie in its cache already."""
    folder = Path(environment["BENCH_CACHE"], "portability")
    folder.mkdir(parents=True)
    (folder / onnx_tests.folder.name).symlink_to(onnx_tests.folder)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        given = environment | {"FRAGILE_LOG": str(tmp_path / "loaded")} | variables
        return warm_bench.run(["portability", *arguments], tmp_path, given, timeout=120)

    return run


def loaded(folder: Path) -> list[str]:
    """The models that the fragile backend was given since the last call."""
    path = folder / "loaded"
    names = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return names


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    data = PortabilityReport.model_validate_json(done.stdout)
    return {row.operator: row.outcome for row in data.operators}


def save(path: Path, *operators: str) -> str:
    """A chain of operators on float32 (batch, 4), with named nodes."""
    names = ["x", *(f"t{n}" for n in range(len(operators) - 1)), "y"]
    nodes = [
        helper.make_node(op, [names[n]], [names[n + 1]], name=f"{op.lower()}_{n}")
        for n, op in enumerate(operators)
    ]
    value = helper.make_tensor_value_info
    x, y = (value(name, TensorProto.FLOAT, ["batch", 4]) for name in ("x", "y"))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, str(path))
    return str(path)


def test_crashes_and_hangs_cost_their_operators_and_the_rest_is_tested(
    portability: Portability,
) -> None:
    operators = ["Abs", "Acos", "Acosh", "Asinh", "Atanh"]
    chosen = [word for name in operators for word in ("--operator", name)]
    done = portability(*FRAGILE, *chosen, "--json", "-", "--quiet")
    assert done.returncode == 0, done.stderr
    assert outcomes(done) == {
        "Abs": "pass",
        "Acos": "crash",
        "Acosh": "timeout",
        "Asinh": "unsupported",
        "Atanh": "wrong",
    }


def test_what_is_known_is_not_asked_again_unless_refreshed(
    portability: Portability, tmp_path: Path
) -> None:
    command = (*FRAGILE, "--operator", "Abs", "--operator", "Acos", "--json", "-")
    first = portability(*command)
    assert set(loaded(tmp_path)) == {"test_abs", "test_acos", "test_acos_example"}
    again = portability(*command)
    assert loaded(tmp_path) == []
    assert outcomes(again) == outcomes(first)
    portability(*command, "--refresh")
    assert "test_abs" in loaded(tmp_path)
    portability(*FRAGILE, "--operator", "Abs", "--operator", "Neg", "--json", "-")
    assert set(loaded(tmp_path)) == {"test_neg", "test_neg_example"}


def test_an_interrupted_run_leaves_no_process_and_the_next_goes_on(
    portability: Portability, environment: dict[str, str], tmp_path: Path
) -> None:
    command = (*FRAGILE, "--operator", "Reduce*", "--json", "-")
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "portability", *command],
        cwd=tmp_path,
        env=environment | {"FRAGILE_LOG": str(tmp_path / "loaded"), "FRAGILE_SLEEP": "0.2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a script starts in the background ignores SIGINT, and so would what this starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "loaded").exists() or len((tmp_path / "loaded").read_text()) < 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished tests are kept" in error
    assert psutil.wait_procs(children, timeout=20)[1] == []
    before = loaded(tmp_path)
    done = portability(*command)
    assert done.returncode == 0
    # Only the test that was under way is asked twice.
    assert len(set(before) & set(loaded(tmp_path))) <= 1


def test_a_model_is_foretold_to_fail_then_tried_and_its_node_named(
    portability: Portability, tmp_path: Path
) -> None:
    model = save(tmp_path / "net.onnx", "Relu", "Atan")
    done = portability("-m", model, *FRAGILE, "--json", "-")
    assert done.returncode == 1
    (row,) = json.loads(done.stdout)["models"]
    assert (row["outcome"], row["predicted"], row["prediction_held"]) == (
        "unsupported",
        "fails",
        True,
    )
    assert row["nodes"] == ["Atan 'atan_1'"]
    assert "Atan 'atan_1' (FLOAT): 0 of 2 tests pass" in row["predicted_detail"]


def test_models_are_only_foretold_where_trying_is_not_wanted(
    portability: Portability, tmp_path: Path
) -> None:
    good = save(tmp_path / "good.onnx", "Relu", "Abs")
    bad = save(tmp_path / "bad.onnx", "Relu", "Acosh")
    done = portability("-m", good, "-m", bad, *FRAGILE, "--no-try", "--json", "-")
    rows = {row["model"]: row for row in json.loads(done.stdout)["models"]}
    assert {name: row["outcome"] for name, row in rows.items()} == dict.fromkeys(
        ("good", "bad"), "not-tried"
    )
    assert (rows["good"]["predicted"], rows["bad"]["predicted"]) == ("runs", "fails")
    assert done.returncode == 1
    assert "good" not in loaded(tmp_path)


def test_what_comes_of_a_model_is_typed(portability: Portability, tmp_path: Path) -> None:
    expected = {"Acos": "crash", "Acosh": "timeout", "Asin": "crash", "Cos": "fallback"}
    command = [*FRAGILE, "--model-timeout", "4", "--json", "-"]
    for operator in expected:
        command += ["-m", save(tmp_path / f"{operator}.onnx", "Relu", operator)]
    rows = json.loads(portability(*command).stdout)["models"]
    assert {row["model"]: row["outcome"] for row in rows} == expected
    assert all(row["prediction_held"] and row["nodes"] for row in rows)


def test_a_target_without_onnx_is_left_out_with_its_reason(portability: Portability) -> None:
    pytest.importorskip("torch")
    done = portability("-t", "torch:cpu", *REFERENCE, "--operator", "Abs")
    assert done.returncode == 0
    assert "torch:cpu: it takes no ONNX" in " ".join(done.stdout.split())


def test_an_absent_target_is_shown_and_fails_the_command(portability: Portability) -> None:
    done = portability("-t", "missing:cpu", *REFERENCE, "--operator", "Abs")
    assert done.returncode == 1
    assert "libmissing.so was not found" in done.stdout
    assert "onnx-reference:cpu" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--operator", "Convv"), "Did you mean"),
        (("--operator", "Conv", "--opset", "7"), "opset 7"),
        (("-t", "onnxruntimes:cpu"), "onnxruntime"),
        (("-t", "onnx-reference:cpu?speed=9", "--operator", "Abs"), "no option 'speed'"),
        (("-m", "nothing.onnx"), "no such file"),
        (("-m", "net", "--variant", "int3"), "int3"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_sentence(
    portability: Portability, arguments: tuple[str, ...], words: str
) -> None:
    targets = () if "-t" in arguments else REFERENCE
    done = portability(*targets, *arguments, "--quiet")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_files_are_written_whole_or_refused_in_a_sentence(
    portability: Portability, tmp_path: Path
) -> None:
    files = ("--markdown", "m.md", "--html", "h.html", "--json", "j.json")
    done = portability(*REFERENCE, "--operator", "Abs", *files)
    assert done.returncode == 0, done.stderr
    assert "Abs-13" in (tmp_path / "m.md").read_text()
    assert (tmp_path / "h.html").read_text().startswith("<!doctype html>")
    report: dict[str, Any] = json.loads((tmp_path / "j.json").read_text())
    assert report["operators"][0]["operator"] == "Abs"
    refused = portability(*REFERENCE, "--operator", "Abs", "--html", "no/folder/h.html")
    assert refused.returncode == 2
    assert "no/folder/h.html: can't be written" in refused.stderr


def test_a_broken_cache_of_outcomes_is_asked_anew(
    portability: Portability, tmp_path: Path, environment: dict[str, str]
) -> None:
    command = (*FRAGILE, "--operator", "Abs", "--json", "-")
    portability(*command)
    (kept,) = Path(environment["BENCH_CACHE"], "portability").glob("fragile*.jsonl")
    kept.write_bytes(b"\x00\xffgarbage\n{}")
    loaded(tmp_path)
    done = portability(*command)
    assert outcomes(done) == {"Abs": "pass"}
    assert loaded(tmp_path) == ["test_abs"]


SOME = "Conv Gemm Relu Erf Concat GlobalAveragePool Where ReduceMean"
MORE = (
    "MatMul Sigmoid Tanh Softmax Gelu Add Sub Mul Div Sqrt Exp Log Neg MaxPool AveragePool Split "
    "Slice Gather Reshape Transpose Squeeze Flatten Expand Equal Less Greater And Or Not ReduceSum "
    "BatchNormalization LayerNormalization"
)


@pytest.mark.parametrize("operators", [SOME, pytest.param(MORE, marks=pytest.mark.long)])
def test_common_operators_on_two_targets_agree_with_onnx(
    portability: Portability, operators: str
) -> None:
    pytest.importorskip("onnxruntime")
    chosen = [word for name in operators.split() for word in ("--operator", name)]
    done = portability(*REFERENCE, "-t", "onnxruntime:cpu", *chosen, "--json", "-")
    report = PortabilityReport.model_validate_json(done.stdout)
    assert {row.operator for row in report.operators} == set(operators.split())
    assert {row.outcome for row in report.operators} == {"pass"}


@pytest.mark.long
def test_the_whole_suite_runs_on_every_cpu_target(portability: Portability) -> None:
    targets = ["onnx-reference:cpu"]
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
        targets.append(f"{name}:cpu")
    chosen = [word for target in targets for word in ("-t", target)]
    done = portability(*chosen, "--no-models", "--json", "-")
    report = PortabilityReport.model_validate_json(done.stdout)
    assert report.suite is not None
    for row in report.targets:
        assert sum(row.counts.values()) == report.suite.tests
        assert not row.counts.get("timeout")
        # ONNX's own evaluator makes the expected outputs, nearly; no runtime lacks most operators.
        least = 0.99 if row.target == "onnx-reference:cpu" else 0.75
        assert row.counts["pass"] / report.suite.tests > least, row
