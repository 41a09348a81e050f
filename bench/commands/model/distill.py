"""``bench model distill MODEL -o DIR``: a small student of an original."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.completing import complete_models
from bench.commands.flags import DURATION, FiniteRange
from bench.errors import SpecError
from bench.folders import cache_folder

if TYPE_CHECKING:
    from bench.cards.card import Card


_FILE = click.Path(path_type=Path)
_ABOVE_0 = FiniteRange(min=0, min_open=True)
#: Flags of one kind of model: `Recipe` and `LanguageRecipe` have the defaults.
_OF_CLASSIFIERS = ("data", "epochs", "width")
_OF_LANGUAGE_MODELS = (
    "text",
    "layers",
    "steps",
    "max_time_s",
    "batch",
    "length",
    "rate",
    "bf16",
    "device",
    "keep_every_s",
    "sample",
)


@click.command(name="distill")
@click.argument("model", shell_complete=complete_models)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the student's card and weights.",
)
@click.option("--name", help="Name of the student; default: the original's with -student.")
@click.option(
    "--temperature",
    type=_ABOVE_0,
    help="Softens both distributions; default 2, 1 for a language model.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the training; default 1.")
@click.option(
    "--control-of", metavar="STUDENT", help="Train its control: the same on labels or text alone."
)
@click.option("--data", help="Classifier: training examples, in a format that cards name.")
@click.option(
    "--epochs", type=click.IntRange(min=1), help="Classifier: passes over the data; default 20."
)
@click.option(
    "--width",
    type=click.IntRange(min=2),
    help="Classifier: channels (or units) of the student's first layer; default 16.",
)
@click.option(
    "--text",
    type=_FILE,
    multiple=True,
    help="Language model: a .txt file, a folder of them, or documents as .jsonl.",
)
@click.option(
    "--layers",
    type=click.IntRange(min=1),
    help="Layers of the student; default: half of the original's.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Training steps; default 1000, or until --max-time.",
)
@click.option(
    "--max-time",
    "max_time_s",
    type=DURATION,
    help="Time limit of the training, e.g. 20m; default: none.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Rows per step; default 8.")
@click.option("--length", type=click.IntRange(min=2), help="Tokens per row; default 256.")
@click.option("--rate", type=_ABOVE_0, help="Peak learning rate; default 5e-4.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="Also learn this many texts written by MODEL; default: none.",
)
@click.option("--device", metavar="cpu|cuda[:N]", help="Where a language model trains.")
@click.option("--bf16", is_flag=True, default=None, help="Multiply in bfloat16.")
@click.option(
    "--keep-every",
    "keep_every_s",
    type=DURATION,
    help="How often to save the training state; default 5m.",
)
def command(model: str, out: Path, **given: Any) -> None:
    """Train a small student of MODEL to match its outputs.

    MODEL is a classifier with labelled data (--data: the student is a small network that learns its
    logits) or a language model with its weights (--text: the student has fewer of its layers and
    learns its next-token distributions). An interrupted training resumes.
    """
    from bench.cards.catalog import find_model  # numpy: start-up
    from bench.cards.language.cards import TASK

    # PyTorch's OpenMP reads it when it loads. Threads that spin while they wait for each other take
    # the time in which the other could run, wherever other programs use the cores too: there a step
    # of a student of SmolLM2-135M took 17 s of two cores, and 4 s of them so.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    found = find_model(model)
    # What wasn't given is left to the recipe's own defaults.
    given = {name: value for name, value in given.items() if value not in (None, ())}
    suffix = "control" if "control_of" in given else "student"
    given.setdefault("name", f"{found.name}-{suffix}")
    student = _language_model if found.task == TASK else _classifier
    path = student(found, out, given)
    click.echo(f"wrote {path}; try it: bench run -m {model} -m {path}")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _classifier(card: Card, out: Path, given: Mapping[str, Any]) -> Path:
    from bench.cards.distilling.classifiers import Recipe, distill  # numpy: start-up
    from bench.cards.ready import load
    from bench.present.progress import choose_listener

    settings = _settings(card, given, "data", others=_OF_LANGUAGE_MODELS)
    data = settings.pop("data")
    with closing(choose_listener(quiet=False)) as listener:
        original = load(card, cache_folder(), listener.phase)
        if original.refused is not None:
            raise original.refused
        return distill(original, data, Recipe(**settings), out, _say)


def _language_model(card: Card, out: Path, given: Mapping[str, Any]) -> Path:
    from bench.cards.distilling.language import (  # numpy: start-up
        LanguageRecipe,
        distill_language,
    )

    settings = _settings(card, given, "text", others=_OF_CLASSIFIERS)
    paths = settings.pop("text")
    how = {name: settings.pop(name) for name in ("device", "keep_every_s") if name in settings}
    if "max_time_s" in settings:
        settings.setdefault("steps", None)
    return distill_language(card, paths, LanguageRecipe(**settings), out, _say, **how)


def _settings(
    card: Card, given: Mapping[str, Any], needed: str, others: tuple[str, ...]
) -> dict[str, Any]:
    """What was given, without flags that mean nothing for the model. Raises `SpecError`."""
    wrong = [name for name in others if name in given]
    if wrong:
        flag = wrong[0].removesuffix("_s").replace("_", "-")
        raise SpecError(f"{card.name}: --{flag} doesn't apply to its task, {card.task}.")
    if needed not in given:
        raise SpecError(
            f"{card.name}: give what its student learns from (task {card.task}): --{needed}."
        )
    return dict(given)
