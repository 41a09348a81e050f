"""``bench distill CARD --data TRAIN -o DIR``: a small student of an original."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from bench.cache import cache_folder


@click.command(name="distill")
@click.argument("card")
@click.option("--data", required=True, help="Training examples, in a format that cards name.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the student's card, network and weights.",
)
@click.option("--name", help="Of the student; default: the original's with -student.")
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="Softens both models' distributions.",
)
@click.option("--width", type=click.IntRange(min=2), default=16, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@click.option(
    "--control-of", metavar="STUDENT", help="Train its control: the same network on labels alone."
)
def command(
    card: str,
    data: str,
    out: Path,
    name: str | None,
    epochs: int,
    temperature: float,
    width: int,
    seed: int,
    control_of: str | None,
) -> None:
    """Train a small student of CARD by matching its logits on training examples.

    CARD is a classifier with labelled data. A training that was interrupted goes on.
    """
    from bench.cards.catalog import find_model  # numpy: start-up
    from bench.cards.distilling.classifiers import Recipe, distill
    from bench.cards.ready import load
    from bench.present.progress import choose_listener

    found = find_model(card)
    suffix = "control" if control_of else "student"
    recipe = Recipe(
        name=name or f"{found.name}-{suffix}",
        epochs=epochs,
        temperature=temperature,
        width=width,
        seed=seed,
        control_of=control_of,
    )
    with closing(choose_listener(quiet=False)) as listener:
        original = load(found, cache_folder(), listener.phase)
        if original.refused is not None:
            raise original.refused
        path = distill(original, data, recipe, out, lambda text: click.echo(text, err=True))
    click.echo(f"wrote {path}; try it: bench run -m {card} -m {path}")
