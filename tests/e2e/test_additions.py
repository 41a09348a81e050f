"""What another distribution adds (a scenario, a variant, a task whose metric is better lower) is
measured, shown, compared, gated, weighed and reported like what bench brings."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import PLUGINS, Bench
from onnx import TensorProto, helper, numpy_helper

CARD = """
name = "{name}"
task = "perplexity"
{relation}
[source]
onnx = "{name}.onnx"
[[inputs]]
name = "x"
shape = ["batch", 4]
[dataset]
name = "four"
path = "four.npz"
"""
ENTRY_POINTS = """
[bench.scenarios]
rested = additions:RESTED
[bench.variants]
rounded = additions:ROUNDED
[bench.tasks]
perplexity = additions:Perplexity
"""
QUICK = ("--max-time", "0.5", "--min-invocations", "2", "--precision", "50%", "--threads", "1")


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The additions as a distribution that is on the path."""
    folder = tmp_path / "installed"
    info = folder / "additions-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "additions.py").write_bytes((PLUGINS / "additions.py").read_bytes())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: additions\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return {**environment, "PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{folder}"}


def save_model(folder: Path, name: str, sharpness: float, relation: str = "") -> None:
    """``sharpness`` times the input, whose largest value is at the label."""
    weight = numpy_helper.from_array(sharpness * np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weight],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.save(model, str(folder / f"{name}.onnx"))
    (folder / f"{name}.toml").write_text(CARD.format(name=name, relation=relation))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An original that is right for sure, and what was distilled from it, which is less sure."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    x = np.eye(4)[labels] + rng.normal(0, 0.3, (400, 4))
    np.savez(tmp_path / "four.npz", x=x.astype(np.float32), labels=labels)
    save_model(tmp_path, "sure", 3.0)
    save_model(tmp_path, "unsure", 1.2, 'distilled_from = "sure"')
    return tmp_path


def measure(bench: Bench, folder: Path, name: str, *more: str) -> None:
    """Run it, and call the directory of the run ``name``."""
    arguments = ("-m", "sure.toml", "-m", "unsure.toml", "-t", "onnxruntime:cpu", *QUICK)
    done = bench("run", *arguments, "--scenario", "rested", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    (header,) = folder.glob("results/runs/*/run.json")
    header.parent.rename(folder / name)


def out(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.slow
def test_what_another_distribution_adds_goes_all_the_way(
    bench: Bench, models: Path, environment: dict[str, str]
) -> None:
    measure(bench, models, "before", "--variant", "fp32", "--variant", "rounded")

    shown = out(bench("show", "before"))
    assert "rested" in shown
    assert "rounded" in shown
    assert "accuracy is perplexity, lower is better" in shown
    assert "%" not in shown.split("Accuracy")[1].split("sure")[0], "perplexity is no percentage"
    assert "higher (worse) in perplexity" in shown, "of the distilled against its original"

    rows = json.loads(out(bench("show", "before", "--json")))["results"]
    assert {row["scenario"] for row in rows} == {"rested"}
    assert {row["variant"] for row in rows} == {"fp32", "rounded"}
    values = {(row["model"], row["variant"]): row["accuracy"] for row in rows}
    assert values["sure", "fp32"] < values["unsure", "fp32"]
    assert values["unsure", "rounded"] > values["unsure", "fp32"], "1.2 is rounded to 1"

    deal = json.loads(out(bench("show", "--deal", "before", "--json", "--by", "size")))
    standing = {(p["model"], p["variant"]): p["standing"] for p in deal["points"]}
    assert standing["unsure", "fp32"] == "dominated", "as large, and of a higher perplexity"
    assert standing["sure", "fp32"] != "dominated"
    (likeness, *_) = deal["fidelity"]
    assert "as surprised as sure" in likeness["sentence"]
    assert "0.05 of perplexity" in out(bench("show", "--deal", "before"))

    page = models / "page.html"
    out(bench("report", "before", "-o", str(page)))
    html = page.read_text()
    assert "perplexity on four" in html
    assert "The lowest is sure" in html
    assert "further left is better" in html

    history = out(bench("show", "--history", ".", "--scenario", "rested", "--variant", "rounded"))
    assert "rested" in history

    # Where a task and a variant are not installed, a run that used them can be read.
    for name in ("records.jsonl", "run.json"):
        text = (models / "before" / name).read_text()
        (models / "before" / name).write_text(text.replace('"rested"', '"single-stream"'))
    environment["PYTHONPATH"] = environment["PYTHONPATH"].partition(os.pathsep)[0]
    shown = out(bench("show", "before"))
    assert "rounded" in shown
    assert "perplexity" in shown


@pytest.mark.long
def test_a_higher_perplexity_is_a_loss_in_compare_and_at_the_gate(
    bench: Bench, models: Path
) -> None:
    measure(bench, models, "before")
    save_model(models, "sure", 1.0)  # as unsure as it gets
    measure(bench, models, "after")

    compared = out(bench("compare", "before", "after", "--allow", "model"))
    assert " is less accurate than " in compared
    back = out(bench("compare", "after", "before", "--allow", "model"))
    assert " is more accurate than " in back

    relative = ("--baseline", "before", "--allow", "model", "--max-slowdown", "10000%")
    lost = out(bench("gate", "after", *relative, "--max-accuracy-loss", "0.1"), code=1)
    assert "sure onnxruntime:cpu: accuracy loss: it changed by +" in lost
    assert "0.1 may be lost" in lost
    turned = ("--baseline", "after", *relative[2:])
    assert "PASS" in out(bench("gate", "before", *turned, "--max-accuracy-loss", "0.1"))

    assert "PASS" in out(bench("gate", "before", "--worst-score", "sure=1.5"))
    beyond = out(bench("gate", "after", "--worst-score", "sure=1.5"), code=1)
    assert "at most 1.5" in beyond
    wrong = bench("gate", "after", "--min-accuracy", "sure=90%")
    assert wrong.returncode == 2
    assert "--worst-score sure=LIMIT" in " ".join(wrong.stderr.split())


def test_a_name_that_nobody_brings_is_told_with_what_it_looks_like(
    bench: Bench, models: Path
) -> None:
    for flag, name, meant in (
        ("--scenario", "restd", "rested"),
        ("--variant", "roundd", "rounded"),
    ):
        done = bench("run", "-m", "sure.toml", flag, name, "--dry-run")
        assert done.returncode == 2
        assert f"Did you mean {meant}?" in " ".join(done.stderr.split())
