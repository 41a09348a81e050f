"""`bench debug lineage` on files of predictions: what it says, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from bench.commands.debug.lineage import _chosen, command
from bench.errors import SpecError

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
    assert "The verdict is withheld: 4 of the controls are valid" in text(done)
    assert "1 more is needed" in text(done)
    assert "more than a new model" not in text(done)


def test_controls_of_which_nothing_is_known_do_not_count(files: dict[str, str]) -> None:
    done = run(files, "a", "copy", 5)
    assert done.exit_code == 0
    assert "unknown whether it has the architecture and recipe" in text(done)
    assert "say so with --same-recipe" in text(done)
    assert "no control is valid" in text(done)


def test_a_copy_is_more_alike_than_a_new_model_would_be(files: dict[str, str]) -> None:
    done = run(files, "a", "copy", 5, "--same-recipe")
    assert done.exit_code == 0
    assert "more than a new model trained independently, like the controls, would" in text(done)
    assert "outputs alone can't tell which" in text(done)


def test_an_independent_model_is_told_to_be_no_evidence(files: dict[str, str]) -> None:
    done = run(files, "a", "b", 5, "--same-recipe")
    assert done.exit_code == 0
    assert "That is not evidence that one of" in text(done)


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


# -- language models ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What independent language models put first in ten documents, and one that follows the first;
    and one of another tokenizer."""
    folder = tmp_path_factory.mktemp("said")
    rng = np.random.default_rng(1)
    document, token = np.repeat(np.arange(10), 200), rng.integers(0, 50, 2000)
    found, original = {}, np.zeros(0)
    for name in (*NAMES, "coarse"):
        predicted = np.where(
            rng.permutation(2000) < 800, token, (token + rng.integers(1, 50, 2000)) % 50
        )
        if name == "a":
            original = predicted
        if name == "copy":
            predicted = np.where(rng.random(2000) < 0.7, original, predicted)
        columns = {"document": document, "bytes": token * 0 + 3, "token": token}
        table = pa.table(columns | {"predicted": predicted})
        if name == "coarse":
            table = pa.table({"document": document, "bytes": token * 0 + 3, "token": token[::-1]})
            table = table.append_column("predicted", pa.array(predicted))
        found[name] = str(folder / f"{name}.parquet")
        pq.write_table(table, found[name])
    return found


def test_language_models_are_told_by_the_tokens_that_they_put_first(said: dict[str, str]) -> None:
    done = run(said, "a", "copy", 5, "--same-recipe")
    assert done.exit_code == 0
    assert text(done).startswith("Next-token top-1 on the same 2000 tokens of 10 documents")
    assert "puts the same token first as" in text(done)
    assert "more than with any of the 5 controls" in text(done)
    found = json.loads(run(said, "a", "copy", 5, "--same-recipe", "--json").stdout)
    assert (found["compared"], found["finding"]) == ("next tokens", "more alike")
    assert max(found["p_beyond_controls"].values()) <= 0.05
    assert json.loads(run(said, "a", "b", 5, "--same-recipe", "--json").stdout)["finding"] != (
        "more alike"
    )


def test_another_tokenizer_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(SpecError, match="have different tokenizers"):
        run(said, "a", "coarse", 5)


def test_stored_models_are_compared_where_all_ran_and_not_by_the_alphabet() -> None:
    ran = [("iree:cpu", "a"), *((t, m) for t in ("mnn:cpu", "onnxruntime:cpu") for m in "ab")]
    assert _chosen(ran) == "onnxruntime:cpu"
    assert _chosen(ran[:3]) == "mnn:cpu"
    assert _chosen([]) is None


def test_a_file_that_tells_neither_classes_nor_tokens_says_what_it_takes(
    tmp_path: Path, said: dict[str, str]
) -> None:
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table({"token": np.arange(3), "predicted": np.arange(3)}), path)
    with pytest.raises(SpecError, match=r"label and predicted.*document, token and predicted"):
        run(said | {"odd": str(path)}, "a", "odd", 0)
