"""The real command certifies a small classifier, and the other commands read what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.__main__ import main

Bench = Callable[..., CompletedProcess[str]]
CARD = """
name = "NAME"
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
ONCE = ("-q", "--no-where", "--threads", "1", "--json")
PAIR = ("-r", "onnxruntime:cpu", "--on", "onnx-reference:cpu")


def a_classifier(folder: Path, examples: int = 40, scale: float = 1.0, outputs: int = 2) -> Path:
    """Which of two numbers is larger; a ``scale`` of infinity makes NaN of 0."""
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.full(1, scale, np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "w"], ["scaled"]),
            helper.make_node("Concat", ["scaled"] * (outputs // 2), ["y"], axis=1),
        ],
        "g",
        [value("x", TensorProto.FLOAT, ("batch", 2))],
        [value("y", TensorProto.FLOAT, ("batch", outputs))],
        [weight],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opset), folder / "m.onnx")
    labels = np.arange(examples) % 2
    x = np.eye(2, dtype=np.float32)[labels] + np.float32(0.25)
    np.savez(folder / "d.npz", x=x, labels=labels)
    (folder / "sign.toml").write_text(CARD.replace("NAME", folder.name))
    return folder / "sign.toml"


def against_itself(folder: Path, data: bool = True, **changes: Any) -> tuple[str, ...]:
    """Arguments that hold a changed classifier against the unchanged one, on one runtime."""
    cards = []
    for name, given in (("port", changes), ("original", {})):
        (folder / name).mkdir()
        cards.append(a_classifier(folder / name, **{"examples": 40, **given}))
        if not data:
            cards[-1].write_text(cards[-1].read_text().partition("[dataset]")[0])
    return (
        *("certify", str(cards[0]), "--against", str(cards[1])),
        *("-r", "onnxruntime:cpu", "-t", "onnxruntime:cpu", "-o", str(folder / "c"), *ONCE),
    )


def finding_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert isinstance(finding, dict)
    return finding


@pytest.mark.slow
@pytest.mark.long
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
    assert main(["publish", "--check", folder]) == 0
    assert "all agree" in capsys.readouterr().out
    assert main(["gate", "--certificate", folder]) == 0
    assert main(["certify", str(card), *PAIR, "-o", folder]) == 2
    assert "Name another" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.xdist_group("certify")
def test_few_examples_of_a_port_that_differs_say_how_many_more_would_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(against_itself(tmp_path, examples=40, scale=1.01))) == 3
    found = finding_of(capsys)
    assert found["verdict"] == "inconclusive"
    assert found["numbers"]["beyond"] == 40
    assert found["decisions"]["lost"] == found["decisions"]["gained"] == 0
    assert found["decisions"]["needed"] > 40
    assert "more examples like these would decide" in found["reasons"][0]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("data", "changes", "status", "words"),
    [
        (True, {"scale": np.inf}, 1, "40 of 40 examples have NaN or Inf"),
        (True, {"outputs": 4}, 3, "can't be compared"),
        (False, {"scale": 1.01}, 3, "give the model a data set"),
    ],
    ids=["nan", "other-outputs", "no-data"],
)
def test_what_can_not_be_the_same_says_why(
    data: bool,
    changes: dict[str, Any],
    status: int,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(list(against_itself(tmp_path, data, **changes))) == status
    assert words in " ".join(finding_of(capsys)["reasons"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-r", "*", "-t", "onnxruntime:cpu"), "the reference must be one target, but this names"),
        (("-r", "onnxruntime:cpu", "-t", "onnxruntime:cpu"), "is the reference itself"),
        (("-r", "rknn:npu", "-t", "onnxruntime:cpu"), "rknn"),
    ],
    ids=["several-references", "itself", "absent-reference"],
)
@pytest.mark.slow
@pytest.mark.long
def test_what_is_asked_for_wrongly_is_one_sentence_and_writes_nothing(
    flags: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = a_classifier(tmp_path)
    assert main(["certify", str(card), *flags, "-o", str(tmp_path / "c"), *ONCE]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "c").exists()
