"""``bench debug lineage A B --control C``: are two models more alike than independent ones?"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cache import cache_folder
from bench.commands.chosen import run_option
from bench.commands.completing import complete_models, complete_targets
from bench.commands.flags import read_models
from bench.commands.output import print_drawing, print_json
from bench.discover import unknown
from bench.errors import SpecError

if TYPE_CHECKING:
    from bench.cards.card import Card
    from bench.cards.tasks.base import Columns
    from bench.cell import ModelIdentity
    from bench.judge.lineage import Known
    from bench.measure.plan import PlannedCell

    _Read = tuple[Columns, Known]


@click.command(name="lineage")
@click.argument("a")
@click.argument("b")
@click.option(
    "--control",
    "controls",
    multiple=True,
    metavar="C,...",
    callback=read_models,
    shell_complete=complete_models,
    help="A model of B's kind that was trained independently of both; give five or more.",
)
@click.option(
    "--same-recipe",
    is_flag=True,
    help="The controls have B's architecture and recipe; for models whose cards don't say so.",
)
@run_option("--run", "run", metavar="RUN", help="Use the predictions stored in RUN.")
@click.option(
    "-t",
    "--target",
    shell_complete=complete_targets,
    help="Target of the models; default: onnxruntime:cpu if it runs all, else the first that does.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON.")
def command(
    a: str,
    b: str,
    controls: tuple[str, ...],
    run: Path | None,
    target: str | None,
    *,
    same_recipe: bool,
    as_json: bool,
) -> None:
    """How much more alike A and B are than independently trained models.

    Each is a model (a name, card or .onnx with labelled data) or a file of stored predictions
    (.parquet with the columns label and predicted; of language models document, token and
    predicted). Classifiers are compared by their mistakes, language models with the same tokenizer
    by their most probable next tokens in the same texts. A conclusion needs five controls with B's
    accuracy, architecture and recipe. The result is evidence, with intervals; it can't tell copying
    from training on the same data.
    """
    from bench.judge.lineage import Known, lineage  # numpy: start-up
    from bench.present.lineage import lineage_row, lineage_text

    names = [a, b, *controls]
    if len(set(names)) < len(names):
        raise SpecError("lineage compares different models; one is named twice.")
    files = [name for name in names if name.endswith(".parquet")]
    models = [name for name in names if name not in files]
    read: dict[str, _Read] = {name: (_of_file(Path(name)), Known(name)) for name in files}
    if models and run is not None:
        read |= _of_run(run, models, target)
    elif models:
        read |= _scored_now(models, target)
    found = lineage(
        (a, read[a][0]),
        (b, read[b][0]),
        {name: read[name][0] for name in controls},
        known={name: known for name, (_, known) in read.items()},
        vouched_for=frozenset(controls if same_recipe else ()),
    )
    if as_json:
        print_json(lineage_row(found))
    else:
        print_drawing(lambda width: lineage_text(found, width))


#: The runtime that exports are checked with, and variants made.
_USUAL = "onnxruntime:cpu"
_NEEDED = ("label", "predicted"), ("document", "token", "predicted")


def _of_file(path: Path) -> Columns:
    from bench.store.predictions import read_predictions  # numpy: start-up

    columns = read_predictions(path)
    if any(all(name in columns for name in needed) for needed in _NEEDED):
        return columns
    raise SpecError(
        f"{path}: needs the columns label and predicted, one row per example, or for a language "
        f"model document, token and predicted, one row per token; it has {', '.join(columns)}."
    )


def _of_run(run: Path, models: list[str], target: str | None) -> dict[str, _Read]:
    """Stored predictions on one target; the default where there are several variants."""
    from bench.judge.lineage import Known  # numpy: start-up
    from bench.store.run import read_results  # numpy: start-up
    from bench.variants import DEFAULT  # pydantic: start-up

    stored = read_results(run)
    scored = [r for r in stored.records if r.accuracy and _has_kin(r.cell.model.task)]
    target = target or _chosen((r.cell.target, r.cell.model.name) for r in scored)
    found: dict[str, _Read] = {}
    for record in sorted(scored, key=lambda r: r.cell.variant != DEFAULT):
        model = record.cell.model
        name = model.name
        if name in models and name not in found and record.cell.target == target:
            known = Known(name, _made_of(model), file_bytes=model.file_bytes)
            found[name] = stored.predictions(record), known
    for name in models:
        if name not in found:
            there = {r.cell.model.name for r in scored if r.cell.target == target}
            raise unknown(f"model scored on {target} in {run}:", name, sorted(there))
    return found


def _chosen(ran: Iterable[tuple[str, str]]) -> str | None:
    """Of targets and the models that each runs, the one to compare on: by its runtime, and not by
    the alphabet."""
    models: dict[str, set[str]] = {}
    for target, model in ran:
        models.setdefault(target, set()).add(model)
    most = max(map(len, models.values()), default=0)
    fit = [target for target, names in models.items() if len(names) == most]
    return _USUAL if _USUAL in fit else next(iter(fit), None)


def _made_of(model: Card | ModelIdentity) -> frozenset[str]:
    return frozenset(filter(None, (model.distilled_from, model.variant_of)))


def _scored_now(models: list[str], target: str | None) -> dict[str, _Read]:
    """Score each model on its own labelled data; nothing is timed."""
    from bench.cards.architecture import architecture_of  # onnx: start-up
    from bench.judge.lineage import Known  # numpy: start-up
    from bench.measure.prepare import prepare  # numpy: start-up
    from bench.measure.scoring import predictions
    from bench.present.progress import choose_listener
    from bench.spec import Suite

    suite = Suite(models=tuple(models), targets=(target or "*",))
    found: dict[str, _Read] = {}
    with (
        closing(choose_listener(quiet=False)) as listener,
        prepare(suite, listener, cache_folder()) as prepared,
    ):
        cells = prepared.plan.cells
        chosen = target or _chosen(
            (p.cell.target, p.cell.model.name) for p in cells if p.refused is None
        )
        first: dict[str, PlannedCell] = {}
        for planned in sorted(cells, key=lambda p: p.cell.target != chosen):
            first.setdefault(planned.cell.model.name, planned)
        for given, planned in zip(models, first.values(), strict=True):
            _refuse_unscorable(planned)
            listener.phase(f"scoring {planned.cell.model.name} on {planned.cell.target}")
            card, onnx = planned.model.card, planned.model.file.onnx
            architecture = None if onnx is None else architecture_of(onnx)
            known = Known(card.name, _made_of(card), architecture)
            found[given] = predictions(planned, prepared.launcher), known
    return found


def _has_kin(name: str) -> bool:
    from bench.cards.tasks import installed_task  # numpy: start-up

    task = installed_task(name)
    return task is not None and (task.one_class or task.foretells)


def _refuse_unscorable(planned: PlannedCell) -> None:
    card = planned.model.card
    if planned.refused is not None:
        raise planned.refused
    if not _has_kin(card.task) or planned.model.dataset is None:
        raise SpecError(
            f"{card.name}: lineage needs a classifier with labelled data, or a language model with "
            "texts; give a card with the task `classification` or `text-generation` and a "
            "[dataset]."
        )
