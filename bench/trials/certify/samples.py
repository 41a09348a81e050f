"""Examining a model that answers samples: a classifier, an embedding, or any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.arrays import Array
from bench.cards.datasets import Dataset
from bench.cards.inputs import input_digest
from bench.cards.tasks import find_task
from bench.errors import AccuracyFailed, Unsupported
from bench.measure.member import told_placement
from bench.measure.plan import PlannedCell, for_batch
from bench.measure.scoring import EVALUATION_BATCH, padded, scored_output
from bench.numbers import counted
from bench.record.certificate import Condition, Examined
from bench.record.rows import distribution_rows, output_rows
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.trials.certify.examiner import Answer
from bench.variants import Tolerance

#: The reference is asked again for so many of the samples: one alone at a time takes long.
FLOOR_ROWS = 256
#: By how many places a sample moves within the data, and so within its query.
_SHIFT = 37


@dataclass(frozen=True)
class _Way:
    """How the samples are asked for."""

    rows: int
    batch: int
    threads: int
    shift: int = 0


class Samples:
    """See `bench.trials.certify.examiner.Examiner`."""

    def __init__(
        self,
        planned: PlannedCell,
        launcher: Launcher,
        tolerance: Tolerance,
        most: int | None = None,
    ) -> None:
        self._launcher = launcher
        self._tolerance = tolerance
        self._task = find_task(planned.model.card.task)
        self._dataset = _first(planned.model.dataset, most)
        self._inputs = _inputs(planned, self._dataset)
        self.examined = self._examined(planned)

    def conditions(self, planned: PlannedCell) -> dict[Condition, str]:
        ways: dict[Condition, str] = {"again": "in a fresh process"}
        other = other_threads(planned.options.threads)
        ways["threads"] = f"{counted(other, 'thread')} instead of {planned.options.threads}"
        batch = self._batch(planned)
        if batch > 1 and planned.batch_axis.fixed is None and self._by_rows(planned):
            ways["batch"] = f"one sample per query instead of {batch}"
            ways["position"] = f"each sample {_SHIFT} places further"
        return ways

    def answer(self, planned: PlannedCell, condition: Condition) -> Answer:
        way = self._way(planned, condition)
        asked = {
            name: array
            if way.rows == self.examined.examples and not way.shift
            else np.roll(array[: way.rows], way.shift, axis=0)
            for name, array in self._inputs.items()
        }
        options = replace(for_batch(planned, way.batch), threads=way.threads)
        choice = planned.choice
        with loaded_worker(
            self._launcher, choice.runtime, choice.device, planned.file, options
        ) as (worker, loaded):
            scored = scored_output(planned, [spec.name for spec in loaded.outputs])
            chunks = [worker.evaluate(chunk) for chunk in _chunks(asked, way.batch)]
            placement = worker.placement(next(_chunks(asked, way.batch)))
        split = [_by_sample(chunk, way.batch) for chunk in chunks]
        outputs = [
            np.roll(np.concatenate(parts)[: way.rows], -way.shift, axis=0)
            for parts in zip(*split, strict=True)
        ]
        # The scored one first: its rows have distributions.
        outputs.insert(0, outputs.pop(scored))
        return Answer(outputs, told_placement(placement), self._predictions(outputs[0], planned))

    def rows(self, mine: Answer, theirs: Answer) -> dict[str, Array]:
        if len(mine.outputs) != len(theirs.outputs):
            raise Unsupported(
                f"it has {counted(len(mine.outputs), 'output')} and the reference "
                f"{len(theirs.outputs)}, so they can't be compared. Certify a model with the same "
                "outputs."
            )
        count = min(len(mine.outputs[0]), len(theirs.outputs[0]))
        a, b = ([array[:count] for array in each.outputs] for each in (mine, theirs))
        found = output_rows(a, b, self._tolerance)
        if self._task.one_class and a[0].ndim == 2 and a[0].shape[1] > 1:
            labels = self._dataset.labels if self._dataset is not None else None
            found |= distribution_rows(a[0], b[0], None if labels is None else labels[:count])
        return found

    def _way(self, planned: PlannedCell, condition: Condition) -> _Way:
        total = self.examined.examples
        batch, threads = self._batch(planned), planned.options.threads
        if condition == "plain":
            return _Way(total, batch, threads)
        some = min(total, FLOOR_ROWS) if self._by_rows(planned) else total
        return {
            "again": _Way(some, batch, threads),
            "threads": _Way(some, batch, other_threads(threads)),
            "batch": _Way(some, 1, threads),
            "position": _Way(some, batch, threads, _SHIFT),
        }[condition]

    def _batch(self, planned: PlannedCell) -> int:
        most = EVALUATION_BATCH if self._dataset is not None else planned.cell.batch
        return planned.batch_axis.samples(most)

    def _by_rows(self, planned: PlannedCell) -> bool:
        """Whether a part of the samples can be asked for: labelled data always, drawn inputs where
        their first axis counts samples."""
        axes = planned.batch_axis.axes
        return self._dataset is not None or set(axes.values()) == {0}

    def _predictions(self, output: Array, planned: PlannedCell) -> dict[str, Array]:
        if self._dataset is None or len(output) < self._dataset.examples:
            return {}
        try:
            columns = self._task.columns(output, self._dataset, planned.model.card)
        except AccuracyFailed:
            if np.isfinite(output).all():
                raise
            return {}  # which rows aren't numbers is seen by comparing them
        found = {n: v for n, v in columns.items() if n not in self._task.bulky}
        if self._task.one_class:
            found["group"] = columns["label"]
        return found

    def _examined(self, planned: PlannedCell) -> Examined:
        data, card = self._dataset, planned.model.card
        count = self._batch(planned) if data is None else data.examples
        groups: tuple[str, ...] = ()
        if data is not None and data.labels is not None and self._task.one_class:
            named = card.dataset.classes if card.dataset else ()
            numbers = range(int(data.labels.max()) + 1)
            groups = tuple(named[n] if n < len(named) else f"class {n}" for n in numbers)
        return Examined(
            dataset="" if data is None else data.name,
            dataset_sha256="" if data is None else data.sha256,
            inputs_sha256=input_digest(self._inputs),
            examples=count,
            clusters=count,
            groups=groups,
            notes=() if data is None else data.notes,
        )


def _first(dataset: Dataset | None, most: int | None) -> Dataset | None:
    """The first so many examples, where they are labelled one by one."""
    if dataset is None or most is None or dataset.labels is None:
        return dataset
    return replace(
        dataset,
        inputs={name: array[:most] for name, array in dataset.inputs.items()},
        labels=dataset.labels[:most],
    )


def _inputs(planned: PlannedCell, dataset: Dataset | None) -> dict[str, Array]:
    if dataset is not None:
        return dataset.inputs
    return dict(planned.feeds)


def _chunks(inputs: dict[str, Array], batch: int) -> Iterator[dict[str, Array]]:
    total = len(next(iter(inputs.values())))
    for start in range(0, total, batch):
        yield {n: padded(array[start : start + batch], batch) for n, array in inputs.items()}


def _by_sample(outputs: Sequence[Array], batch: int) -> list[Array]:
    """Each output as (samples, ...); one that isn't by samples belongs to every sample."""
    return [
        array if array.shape[:1] == (batch,) else np.broadcast_to(array, (batch, *array.shape))
        for array in map(np.asarray, outputs)
    ]


def other_threads(threads: int) -> int:
    """Another number of threads than that."""
    return 1 if threads > 1 else 2
