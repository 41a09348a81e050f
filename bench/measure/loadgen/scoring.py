"""LoadGen's accuracy mode: what a target computes of the labelled data, by way of LoadGen's own
log."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.errors import AccuracyFailed
from bench.measure.loadgen.asked import accuracy_test, scenario_of
from bench.measure.member import Context
from bench.measure.plan import PlannedCell, for_batch
from bench.runtimes.loaded import loaded_worker
from bench.worker.messages import ScoredThroughLoadGen, ScoreThroughLoadGen

LOG = "mlperf_log_accuracy.json"
#: LoadGen issues all of an offline test at once; so many go into one inference then.
OFFLINE_BATCH = 100
#: A data set through slow inferences: what LoadGen may take beside the usual patience.
_LONGEST_S = 3600.0


#: Which of a session's outputs is scored, by their names.
OutputPlace = Callable[[PlannedCell, Sequence[str]], int]


def accuracy_columns(
    planned: PlannedCell, context: Context, output: OutputPlace
) -> dict[str, Array]:
    """What the model's task keeps of its outputs, taken from LoadGen's accuracy log.

    Raises `AccuracyFailed` when outputs and labels don't fit, or the log isn't whole.
    """
    dataset, card, cell = planned.model.dataset, planned.model.card, planned.cell
    assert dataset is not None
    logs = context.store.folder(f"loadgen/{cell.id}/accuracy")
    wanted = OFFLINE_BATCH if scenario_of(cell) == "Offline" else cell.batch
    batch = planned.batch_axis.samples(wanted)
    with loaded_worker(
        context.launcher,
        planned.choice.runtime,
        planned.choice.device,
        planned.file,
        for_batch(planned, batch),
        cpus=context.cpus[planned.cores],
    ) as (worker, loaded):
        asked = ScoreThroughLoadGen(
            test=accuracy_test(cell, logs),
            feeds=dataset.inputs,
            output=output(planned, [spec.name for spec in loaded.outputs]),
            batch=batch,
        )
        kind = worker.score_through_loadgen(asked, _LONGEST_S)
    outputs = logged_outputs(logs / LOG, kind, len(next(iter(dataset.inputs.values()))))
    return find_task(card.task).columns(outputs, dataset, card)


def logged_outputs(log: Path, kind: ScoredThroughLoadGen, total: int) -> Array:
    """The output of each sample of the library in its order, from LoadGen's accuracy log.

    A sample may be logged more than once, where the last query was filled up. Raises
    `AccuracyFailed` where one is missing or has other bytes than were announced.
    """
    dtype = np.dtype(kind.dtype)
    size = dtype.itemsize * int(np.prod(kind.shape, dtype=np.int64))
    rows: dict[int, bytes] = {}
    try:
        for entry in json.loads(log.read_text("utf-8")):
            rows[int(entry["qsl_idx"])] = bytes.fromhex(entry["data"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AccuracyFailed(f"{log}: LoadGen's accuracy log can't be read: {error}.") from error
    wrong = [index for index in range(total) if len(rows.get(index, b"")) != size]
    if wrong or len(rows) != total:
        raise AccuracyFailed(
            f"{log}: LoadGen's accuracy log has {len(rows)} of {total} samples, and {len(wrong)} "
            f"without the {size} bytes of an output."
        )
    joined = b"".join(rows[index] for index in range(total))
    return np.frombuffer(joined, dtype).reshape(total, *kind.shape)
