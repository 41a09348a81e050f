"""`bench lineage` on files of predictions: what it says, and its exit codes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from bench.commands.lineage import command

NAMES = ("a", "b", "copy", "c1", "c2", "c3", "c4", "c5")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Independent models that err on hard examples, and a copy of the first."""
    folder = tmp_path_factory.mktemp("predictions")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 1000)
    hard = rng.random(1000) ** 3
    chance = (hard + 0.05) / (hard + 0.05).sum()
    found = {}
    for name in NAMES:
        predicted = labels.copy()
        wrong = rng.choice(1000, 200, replace=False, p=chance)
        predicted[wrong] = (labels[wrong] + rng.integers(1, 10, 200)) % 10
        if name == "a":
            original = predicted
        path = folder / f"{name}.parquet"
        columns = {"label": labels, "predicted": original if name == "copy" else predicted}
        pq.write_table(pa.table(columns), path)
        found[name] = str(path)
    return found


def run(files: dict[str, str], a: str, b: str, controls: int, *flags: str) -> Result:
    named = [word for n in range(1, controls + 1) for word in ("--control", files[f"c{n}"])]
    arguments = [files[a], files[b], *named, *flags]
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def text(done: Result) -> str:
    return " ".join(done.stdout.split())


def test_four_controls_of_the_same_recipe_are_one_too_few(files: dict[str, str]) -> None:
    done = run(files, "a", "copy", 4, "--same-recipe")
    assert done.exit_code == 0
    assert "The verdict is withheld: 4 of the controls count" in text(done)
    assert "1 more is needed" in text(done)
    assert "more than a new model" not in text(done)


def test_controls_of_which_nothing_is_known_do_not_count(files: dict[str, str]) -> None:
    done = run(files, "a", "copy", 5)
    assert done.exit_code == 0
    assert "nothing tells whether it is of the architecture and recipe" in text(done)
    assert "say so with --same-recipe" in text(done)
    assert "no control counts" in text(done)


def test_a_copy_is_more_alike_than_a_new_model_would_be(files: dict[str, str]) -> None:
    done = run(files, "a", "copy", 5, "--same-recipe")
    assert done.exit_code == 0
    assert "more than a new model trained independently, like the controls, would" in text(done)
    assert "outputs alone can't tell these apart" in text(done)


def test_an_independent_model_is_told_to_be_no_evidence(files: dict[str, str]) -> None:
    done = run(files, "a", "b", 5, "--same-recipe")
    assert done.exit_code == 0
    assert "That is no evidence that one of" in text(done)


def test_the_same_is_told_as_json(files: dict[str, str]) -> None:
    found = json.loads(run(files, "a", "copy", 5, "--same-recipe", "--json").stdout)
    assert found["finding"] == "more alike"
    assert found["controls"] == [files[f"c{n}"] for n in range(1, 6)]
    assert found["controls_missing"] == 0
    assert found["likenesses"]["error_consistency"]["excess"]["low"] > 0
    short = json.loads(run(files, "a", "copy", 3, "--same-recipe", "--json").stdout)
    assert short["finding"] == "withheld"
    assert short["controls_missing"] == 2
    assert short["likenesses"]["error_consistency"]["excess"] is None


def test_without_a_control_it_says_how_many_it_takes(files: dict[str, str]) -> None:
    done = run(files, "a", "b", 0)
    assert done.exit_code == 0
    assert "at least 5 independently trained models" in text(done)
