"""`bench run` with variants, then `bench show --deal` and `bench debug lineage` on what it stored;
every figure computed again by other people's code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.special import log_softmax
from scipy.stats import binomtest, entropy
from sklearn.metrics import accuracy_score, cohen_kappa_score
from warm_bench import WarmBench

from bench.defaults import MARGIN

# One worker of pytest-xdist, so that the run that all look at is measured once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deal")]

FAMILY = ("fashion-teacher", "fashion-student", "fashion-student-ce")
QUICKLY = (
    "--scenario",
    "single-stream",
    "--precision",
    "30%",
    "--max-time",
    "0.6",
    "--min-invocations",
    "2",
)


@pytest.fixture(scope="module")
def stored(warm_bench: WarmBench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the three models in two precisions on ONNX Runtime."""
    folder = tmp_path_factory.mktemp("deal")
    models = [word for name in FAMILY for word in ("-m", name)]
    variants = ["--variant", "fp32", "--variant", "int8-static"]
    where = ["-t", "onnxruntime:cpu", "--threads", "1", "--results", str(folder / "r")]
    given = {**os.environ, "BENCH_CACHE": str(folder / "cache"), "COLUMNS": "80"}
    command = ("run", *models, *variants, *where, *QUICKLY)
    done = warm_bench.run(command, folder, given, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (folder / "r").iterdir()
    return run


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]


def predictions(run: Path) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """By model and variant, read without any code of bench's."""
    found = {}
    for record in records(run):
        table = pq.read_table(run / record["accuracy"]["predictions"])
        columns = {name: table[name].to_numpy() for name in ("label", "predicted")}
        columns["logits"] = np.stack(table["logits"].to_numpy())
        found[record["cell"]["model"]["name"], record["cell"]["variant"]] = columns
    return found


def test_what_ran_is_what_was_asked_for(stored: Path) -> None:
    for record in records(stored):
        variant = record["cell"]["variant"]
        precision = record["placement"]["precision"].split("+")
        assert ("int8" in precision) == (variant == "int8-static")
        assert ("quantize_static" in record["variant_method"]) == (variant == "int8-static")
        load = ("undisturbed", "own-cpu")  # other tests run meanwhile
        failed = [c for c in record["checks"] if not c["ok"] and c["name"] not in load]
        assert [c["name"] for c in failed if c["name"] not in ("steady-state",)] == []


def test_accuracies_are_scikit_learns(stored: Path) -> None:
    by_model = predictions(stored)
    for record in records(stored):
        columns = by_model[record["cell"]["model"]["name"], record["cell"]["variant"]]
        assert len(columns["label"]) == 10_000
        expected = accuracy_score(columns["label"], columns["predicted"])
        assert record["accuracy"]["value"]["value"] == expected
        assert record["accuracy"]["correct"] == round(expected * 10_000)
        assert (columns["logits"].argmax(axis=1) == columns["predicted"]).all()


def test_the_deal_is_computed_again(bench: Any, stored: Path) -> None:
    done = bench("show", "--deal", str(stored), "--json")
    assert done.returncode == 0, done.stderr
    deal = json.loads(done.stdout)
    assert len(deal["points"]) == 6
    assert deal["points"] == sorted(deal["points"], key=lambda point: point["cost"])
    by_id = {point["cell_id"]: point for point in deal["points"]}
    for point in deal["points"]:
        assert (point["standing"] == "dominated") == (point["dominated_by"] is not None)
        if point["dominated_by"] is not None:
            better = by_id[point["dominated_by"]]
            # Costs that differ by less than the margin count as equal.
            assert better["cost"] < point["cost"] * (1 + MARGIN)
            assert better["accuracy"] >= point["accuracy"] - deal["loss"]

    by_model = predictions(stored)
    teacher, student, control = (by_model[name, "fp32"] for name in FAMILY)
    (found,) = [f for f in deal["fidelity"] if f["variant"] == "fp32"]
    measures = found["measures"]
    for side, columns in (("value", student), ("control", control)):
        labels = columns["label"]
        same = np.mean(columns["predicted"] == teacher["predicted"])
        assert measures["agreement"][side]["value"] == pytest.approx(same)
        kappa = cohen_kappa_score(columns["predicted"] == labels, teacher["predicted"] == labels)
        assert measures["error_consistency"][side]["value"] == pytest.approx(kappa)
        p, q = (np.exp(log_softmax(c["logits"].astype(float), axis=1)) for c in (teacher, columns))
        divergence = np.mean(entropy(p, q, axis=1))
        assert measures["divergence"][side]["value"] == pytest.approx(divergence, rel=1e-6)
    assert measures["agreement"]["distillation"] == "more"
    assert measures["error_consistency"]["distillation"] == "more"


def test_the_test_of_a_pair_is_scipys(bench: Any, stored: Path) -> None:
    done = bench("show", str(stored), "--json")
    pairs = {(p["model"], p["variant"], p["relation"]): p for p in json.loads(done.stdout)["pairs"]}
    by_model = predictions(stored)
    teacher, student, control = (by_model[name, "fp32"] for name in FAMILY)
    for other, pair in (
        (teacher, pairs["fashion-student", "fp32", "original"]),
        (control, pairs["fashion-student", "fp32", "control"]),
    ):
        mine = student["predicted"] == student["label"]
        theirs = other["predicted"] == other["label"]
        gained, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        assert pair["accuracy"]["p"] == pytest.approx(
            binomtest(gained, gained + lost).pvalue, rel=1e-6
        )
        assert pair["accuracy"]["difference"] == pytest.approx((gained - lost) / 10_000)
    quantised = pairs["fashion-teacher", "int8-static", "variant"]
    assert quantised["other_variant"] == "fp32"
    assert quantised["size_ratio"] > 3


def test_the_deal_is_told_in_words_at_80_columns(bench: Any, stored: Path) -> None:
    done = bench("show", "--deal", str(stored))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    text = " ".join(done.stdout.split())
    assert "the distilled fashion-student is" in text
    assert "fashion-teacher in int8-static is" in text
    assert "Is fashion-student still fashion-teacher?" in text
    for cost, code in (("throughput", 2), ("memory", 0), ("size", 0)):
        other = bench("show", "--deal", str(stored), "--by", cost)
        assert other.returncode == code, other.stderr


def test_lineage_of_stored_predictions(bench: Any, stored: Path) -> None:
    teacher, student, control = FAMILY
    done = bench(
        "debug", "lineage", teacher, student, "--control", control, "--run", str(stored), "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # One control that is of another accuracy: the figures are there, and no verdict.
    assert found["finding"] == "withheld"
    assert list(found["passed_over"]) == [control]
    assert found["controls_missing"] == 5
    assert found["examples"] == 10_000
    files = {
        r["cell"]["model"]["name"]: str(stored / r["accuracy"]["predictions"])
        for r in records(stored)
        if r["cell"]["variant"] == "fp32"
    }
    done = bench(
        "debug", "lineage", files[teacher], files[student], "--control", files[control], "--json"
    )
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["finding"] == found["finding"]
    for key, likeness in found["likenesses"].items():
        assert again["likenesses"][key]["value"] == likeness["value"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "--deal", "{run}", "--loss", "much"), "is not a number of points"),
        (("debug", "lineage", "a.parquet", "b.parquet"), "can't be read"),
        (("debug", "lineage", "fashion-teacher", "fashion-teacher"), "named twice"),
        (("debug", "lineage", "fashion-teacher", "nobody", "--run", "{run}"), "'nobody'"),
    ],
)
def test_mistakes_are_one_sentence(
    bench: Any, stored: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = bench(*(word.format(run=stored) for word in arguments))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
