"""A compact copy of a run: what every number of it comes from, and nothing else.

It is a run directory itself, so whatever reads runs reads it, and all that follows from its raw
data is derived from it again (`bench.store.check`).
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.tasks import bulky_columns
from bench.errors import SpecError
from bench.files import irregular
from bench.record.block import CANARY
from bench.record.facts import CellFacts
from bench.record.header import RunHeader
from bench.record.windows import IDLE
from bench.store import outputs
from bench.store.derive import invocations_used
from bench.store.find import ENERGY, FACTS, HEADER, INVOCATIONS, RECORDS, RESUMES, WORKERS
from bench.store.raw import read_raw
from bench.store.run import StoredRun
from bench.store.samples import sample_files


def refuse_links(run: Path) -> None:
    """Raise `SpecError` where part of a run, but for its logs, is a link or no plain file: what it
    leads to would be copied, whatever it is."""
    for name in irregular(run):
        if not name.startswith("logs/"):
            raise SpecError(
                f"{run / name}: it is a link or a special file, and its target is not part of the "
                "run. Replace it with the file itself."
            )


def run_files(run: StoredRun, facts: Iterable[CellFacts]) -> set[str]:
    """What the folder of a copied run may hold besides samples."""
    found = {HEADER, RECORDS, INVOCATIONS}
    if run.resumptions:
        found.add(RESUMES)
    if run.header.keeps_raw:
        found |= {WORKERS, FACTS}
    if any(record.energy for record in run.records):
        found.add(ENERGY)
    found |= {r.accuracy.predictions for r in run.records if r.accuracy is not None}
    return found | output_files(facts)


def output_files(facts: Iterable[CellFacts]) -> set[str]:
    """The files of outputs that the facts name."""
    named = ((one.outputs, one.reference_outputs, *_of_witnesses(one)) for one in facts)
    return {name for names in named for name in names} - {""}


def _of_witnesses(facts: CellFacts) -> Iterator[str]:
    return (witness.outputs for witness in facts.witnesses)


def copy_run(run: StoredRun, folder: Path, header: RunHeader) -> None:
    """Write into ``folder`` what every number of a run comes from, under ``header``: no logs and no
    bulky columns, the rest as it is.

    What belongs to no record or invocation (of a run that was killed in between) stays behind.
    """
    finished = {record.cell_id for record in run.records}
    run = replace(run, invocations=[i for i in run.invocations if i.cell_id in finished])
    (folder / "samples").mkdir(parents=True)
    (folder / "predictions").mkdir()
    _write_lines(folder / RECORDS, [r.model_dump_json() for r in run.records])
    _write_lines(folder / INVOCATIONS, [i.model_dump_json() for i in run.invocations])
    if run.resumptions:
        _write_lines(folder / RESUMES, [r.model_dump_json() for r in run.resumptions])
    raw = read_raw(run)
    if run.header.keeps_raw:
        told = [raw.workers.get((i.cell_id, i.index)) for i in run.invocations]
        facts = [raw.cells.get(record.cell_id) for record in run.records]
        _write_lines(folder / WORKERS, [one.model_dump_json() for one in told if one])
        _write_lines(folder / FACTS, [one.model_dump_json() for one in facts if one])
        kept = [one for one in raw.energy if one.cell_id in {*finished, IDLE}]
        if kept:
            _write_lines(folder / ENERGY, [one.model_dump_json() for one in kept])
        _copy_outputs(run, [one for one in facts if one], folder)
    text = header.model_dump_json(indent=1)
    (folder / HEADER).write_text(text, encoding="utf-8", newline="\n")
    for file in sample_files(run.path):
        _copy_samples(file, folder / "samples" / file.name, run)
    _copy_predictions(run, folder)


def _copy_samples(source: Path, target: Path, run: StoredRun) -> None:
    """The file as it is where records use all of it, else without the rows that none uses."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq  # pyarrow: start-up

    try:
        table = pq.read_table(source, read_dictionary=["cell_id"])
    except (OSError, pa.ArrowException) as error:
        raise SpecError(f"{source}: the samples can't be read: {error}.") from error
    used = _used_rows(table, invocations_used(run))
    if used.all():
        shutil.copyfile(source, target)
    elif used.any():
        pq.write_table(table.filter(pa.array(used)), target, compression="zstd")


def _used_rows(table: Any, used: Collection[tuple[str, int | None]]) -> Array:
    """A mask of the rows that some record uses; the canary's are used where others are."""
    cells, invocations = table["cell_id"].combine_chunks(), table["invocation"].to_numpy()
    names, codes = cells.dictionary.to_pylist(), cells.indices.to_numpy(zero_copy_only=False)
    keys, places = np.unique(np.stack([codes, invocations], axis=1), axis=0, return_inverse=True)
    pairs = [(names[code], int(index)) for code, index in keys]
    known = np.array([key in used or (key[0], None) in used for key in pairs], dtype=bool)
    beats = np.array([name == CANARY for name, _ in pairs], dtype=bool)
    return ((known | beats) if known.any() else known)[places.ravel()]


def _copy_predictions(run: StoredRun, folder: Path) -> None:
    import pyarrow.parquet as pq  # pyarrow: start-up

    wanted = {r.accuracy.predictions: r for r in run.records if r.accuracy is not None}
    for name, record in sorted(wanted.items()):
        source = run.path / name
        if source.is_file():
            bulky = bulky_columns(record.cell.model.task)
            columns = [c for c in pq.read_schema(source).names if c not in bulky]
            table = pq.read_table(source, columns=columns)
            pq.write_table(table, folder / name, compression="zstd", compression_level=19)


def _copy_outputs(run: StoredRun, facts: Sequence[CellFacts], folder: Path) -> None:
    (folder / outputs.FOLDER).mkdir()
    for name in sorted(output_files(facts)):
        source = run.path / name
        if source.is_file():
            shutil.copyfile(source, folder / outputs.FOLDER / source.name)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
