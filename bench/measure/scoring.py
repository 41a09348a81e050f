"""Scoring a model on its labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.cards.datasets.examples import Document, Examples, Prompt, Question
from bench.cards.tasks import bulky_columns, find_task
from bench.cards.tasks.base import Judged, judged
from bench.errors import AccuracyFailed
from bench.files import file_stem
from bench.measure.language.questions import answer_columns, question_columns
from bench.measure.language.texts import document_columns
from bench.measure.loadgen.scoring import accuracy_columns
from bench.measure.member import Context
from bench.measure.plan import PlannedCell, for_batch
from bench.record.facts import Scored
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.store.predictions import read_predictions
from bench.store.run import StoredRun

#: Examples in one query while scoring; divides the data sets that ship.
EVALUATION_BATCH = 100


def outputs_on(
    planned: PlannedCell,
    inputs: dict[str, Array],
    batch: int,
    launcher: Launcher,
    cpus: Sequence[int],
) -> Array:
    """The scored output for all ``inputs``, in chunks of ``batch``, in a worker.

    Scored is the output that the card names in ``dataset.output``, else the first.
    """
    options, choice = for_batch(planned, batch), planned.choice
    with loaded_worker(
        launcher, choice.runtime, choice.device, planned.file, options, cpus=cpus
    ) as (worker, loaded):
        place = scored_output(planned, [spec.name for spec in loaded.outputs])
        total = len(next(iter(inputs.values())))
        chunks = []
        for start in range(0, total, batch):
            chunk = {n: padded(array[start : start + batch], batch) for n, array in inputs.items()}
            chunks.append(worker.evaluate(chunk)[place][: total - start])
        return np.concatenate(chunks)


def scored_output(planned: PlannedCell, names: Sequence[str]) -> int:
    """Which of the session's outputs is scored."""
    card = planned.model.card
    wanted = card.dataset.output if card.dataset else None
    if wanted is None or len(names) == 1:
        return 0
    if wanted not in names:
        # PyTorch's outputs have no names: the card's order is theirs.
        names = [tensor.name for tensor in card.outputs]
    if wanted not in names:
        raise AccuracyFailed(
            f"{card.name}: there is no output {wanted!r} (`dataset.output`); it has "
            f"{', '.join(names)}."
        )
    return list(names).index(wanted)


def padded(array: Array, batch: int) -> Array:
    """The last chunk at full size, by repeating its last row: a session may be static."""
    missing = batch - len(array)
    return array if not missing else np.concatenate([array, array[-1:].repeat(missing, axis=0)])


def predictions(
    planned: PlannedCell, launcher: Launcher, cpus: Sequence[int] = ()
) -> dict[str, Array]:
    """What the model's task keeps of its outputs for the whole data set (`Task.columns`).

    Raises `AccuracyFailed` when outputs and labels don't fit.
    """
    dataset, card = planned.model.dataset, planned.model.card
    assert dataset is not None
    if dataset.language:
        return _language_columns(planned, dataset.language, launcher, cpus)
    batch = planned.batch_axis.samples(EVALUATION_BATCH)
    outputs = outputs_on(planned, dataset.inputs, batch, launcher, cpus)
    return find_task(card.task).columns(outputs, dataset, card)


def _language_columns(
    planned: PlannedCell, examples: Examples, launcher: Launcher, cpus: Sequence[int]
) -> dict[str, Array]:
    """By the shape of the examples, which is that of the first."""
    texts = [one for one in examples if isinstance(one, Document)]
    if texts:
        return document_columns(planned, texts, launcher, cpus)
    questions = [one for one in examples if isinstance(one, Question)]
    if questions:
        return question_columns(planned, questions, launcher, cpus)
    prompts = [one for one in examples if isinstance(one, Prompt)]
    return answer_columns(planned, prompts, launcher, cpus)


@dataclass(frozen=True)
class Score:
    """What was scored, and what the task says of it."""

    scored: Scored
    judged: Judged


@dataclass(frozen=True)
class Turn:
    """Cells that are scored one after the other, ``at_once`` of them beside each other."""

    cells: list[PlannedCell]
    at_once: int

    @property
    def beside(self) -> bool:
        """Whether any of them is scored beside another."""
        return min(self.at_once, len(self.cells)) > 1


def in_turns(cells: Sequence[PlannedCell], cores: int) -> list[Turn]:
    """All of the cells, as many at once as have a core for each thread. What takes a device's or
    much memory is scored alone."""
    turns: list[Turn] = []
    for planned in cells:
        at_once = max(1, cores // planned.cell.threads) if _scored_beside(planned) else 1
        if turns and 1 < at_once == turns[-1].at_once:
            turns[-1].cells.append(planned)
        else:
            turns.append(Turn([planned], at_once))
    return turns


def _scored_beside(planned: PlannedCell) -> bool:
    dataset = planned.model.dataset
    heavy = dataset is not None and bool(dataset.language)
    return not (planned.on_accelerator or heavy or planned.cell.loadgen is not None)


def score(planned: PlannedCell, context: Context, cpus: Sequence[int]) -> Score:
    """The task's metrics on the whole data set; what they are made of is stored, item by item.

    Raises `AccuracyFailed` when outputs and labels don't fit.
    """
    dataset, card = planned.model.dataset, planned.model.card
    assert dataset is not None
    if planned.cell.loadgen is not None and not dataset.language:
        columns = accuracy_columns(planned, context, scored_output)
    else:
        columns = predictions(planned, context.launcher, cpus)
    found = judged(find_task(card.task), columns, context.suite.confidence)
    file = context.store.write_predictions(prediction_name(planned), columns)
    return Score(_scored(planned, file), found)


def stored_score(run: StoredRun, planned: PlannedCell) -> Score:
    """The score of a model that an earlier part of the run made predictions with, whether or not a
    record tells of them. Raises `SpecError` without them."""
    card = planned.model.card
    file = f"predictions/{prediction_name(planned)}.parquet"
    columns = read_predictions(run.path / file, without=bulky_columns(card.task))
    found = judged(find_task(card.task), columns, run.header.suite.confidence)
    return Score(_scored(planned, file), found)


def _scored(planned: PlannedCell, file: str) -> Scored:
    dataset = planned.model.dataset
    assert dataset is not None
    return Scored(
        dataset=dataset.name,
        dataset_sha256=dataset.sha256,
        predictions=file,
        notes=dataset.notes,
    )


def prediction_name(planned: PlannedCell) -> str:
    """A file name for the predictions of one model, data set, variant and target."""
    cell, dataset = planned.cell, planned.model.dataset
    parts = (
        file_stem(cell.model.name),
        cell.model.sha256[:12],
        dataset.sha256[:12] if dataset is not None else "",
        file_stem(cell.variant),
        file_stem(cell.target),
        f"loadgen-{file_stem(cell.scenario)}" if cell.loadgen is not None else "",
    )
    return "-".join(filter(None, parts))
