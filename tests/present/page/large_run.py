"""A run as large as anybody's: for what a page costs against reading what it is made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from compared_runs import a_header
from fake_records import a_cell, a_record, an_accuracy

from bench.cell import ModelIdentity
from bench.record.result import Record
from bench.store.write import RunStore

EXAMPLES = 2_000


def write_large_run(folder: Path, records: int = 100_000, samples: int = 10_000_000) -> Path:
    """A run directory below ``folder`` with so many records and latencies in all.

    A hundred models (an original, the others distilled from it) on as many targets as it takes,
    single-stream and offline.
    """
    models = [_model(number) for number in range(min(100, max(1, records // 10)))]
    targets = -(-records // (2 * len(models)))
    cells = [
        a_cell(model, f"runtime{target}:cpu", scenario, batch)
        for model in models
        for target in range(targets)
        for scenario, batch in (("single-stream", 1), ("offline", 32))
    ][:records]
    store = RunStore.create(folder, a_header(cells))
    _write_predictions(store, models)
    lines = (_record(number, cell).model_dump_json() for number, cell in enumerate(cells))
    # One write: `append_record` forces each to the disk, which is not what is measured here.
    (store.path / "records.jsonl").write_text("\n".join(lines) + "\n")
    _write_samples(store, [cell.id for cell in cells], samples)
    store.close()
    return store.path


def _model(number: int) -> ModelIdentity:
    return ModelIdentity(
        name=f"model-{number:03}",
        sha256=f"{number:064x}",
        task="classification",
        distilled_from="model-000" if number else None,
        file_bytes=1_000_000 // (number + 1),
    )


def _record(number: int, cell: object) -> Record:
    rng = np.random.default_rng(number)
    found = a_record(cell, float(rng.uniform(1e5, 1e7)), None)  # type: ignore[arg-type]
    if found.cell.scenario == "offline":
        return found
    name = found.cell.model.name
    accuracy = an_accuracy(0.9 - int(name[-3:]) / 1000, EXAMPLES)
    file = f"predictions/{name}.parquet"
    return found.model_copy(update={"accuracy": accuracy.model_copy(update={"predictions": file})})


def _write_predictions(store: RunStore, models: list[ModelIdentity]) -> None:
    labels = np.arange(EXAMPLES) % 10
    for number, model in enumerate(models):
        right = np.random.default_rng(number).random(EXAMPLES) < 0.9 - number / 1000
        store.write_predictions(
            model.name, {"label": labels, "predicted": np.where(right, labels, labels + 1)}
        )


def _write_samples(store: RunStore, cells: list[str], samples: int) -> None:
    """Files as `RunStore.write_samples` makes them, without a block object for each cell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(1)
    each = max(1, samples // (5 * len(cells)))
    count = each * len(cells)
    place = np.repeat(np.arange(len(cells), dtype=np.int32), each)
    for generation in range(5):
        table = pa.table(
            {
                "cell_id": pa.DictionaryArray.from_arrays(place, cells),
                "invocation": np.full(count, generation, np.int32),
                "round": np.zeros(count, np.int32),
                "position": place,
                "disturbed": np.zeros(count, np.bool_),
                "latency_ns": rng.lognormal(12, 0.1, count).astype(np.int64),
            }
        )
        pq.write_table(table, store.path / f"samples/{generation:05}.parquet", compression="zstd")
