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
from bench.record.windows import IDLE, Window
from bench.store import columnar, outputs
from bench.store.columnar import Unreadable
from bench.store.derive import invocations_used
from bench.store.find import ENERGY, FACTS, HEADER, INVOCATIONS, RECORDS, RESUMES, WORKERS
from bench.store.raw import RawFacts, read_raw
from bench.store.run import StoredRun
from bench.store.samples import by_invocation, read_rows, sample_files

#: As small as zstd makes it in a reasonable time: it is read often, and sent.
_LEVEL = 19


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
        if kept := _windows_used(run, raw):
            _write_lines(folder / ENERGY, [one.model_dump_json() for one in kept])
        _copy_outputs(run, [one for one in facts if one], folder)
    text = header.model_dump_json(indent=1)
    (folder / HEADER).write_text(text, encoding="utf-8", newline="\n")
    for file in sample_files(run.path):
        _copy_samples(file, folder / "samples" / file.name, run)
    _copy_predictions(run, folder)


def _windows_used(run: StoredRun, raw: RawFacts) -> list[Window]:
    """Those of records that have an energy, and the idle ones of their rounds. A record has none
    before the last round of its group."""
    metered = {record.cell_id for record in run.records if record.energy}
    rounds = {window.index for window in raw.energy if window.cell_id in metered}
    wanted = {*metered, IDLE}
    return [one for one in raw.energy if one.index in rounds and one.cell_id in wanted]


def _copy_samples(source: Path, target: Path, run: StoredRun) -> None:
    """The file as it is where records use all of it, else without the rows that none uses."""
    try:
        used = _used_rows(read_rows(source), invocations_used(run))
        if used.all():
            shutil.copyfile(source, target)
        elif used.any():
            target.write_bytes(columnar.repacked(source, used))
    except Unreadable as error:
        raise SpecError(f"{source}: the samples can't be read: {error}.") from error


def _used_rows(table: dict[str, Any], used: Collection[tuple[str, int | None]]) -> Array:
    """A mask of the rows that some record uses; the canary's are used where others are."""
    by_key = dict(by_invocation(table))
    known = [rows for key, rows in by_key.items() if key in used or (key[0], None) in used]
    mask = np.zeros(len(table["cell_id"]), dtype=bool)
    for rows in (*known, *(rows for key, rows in by_key.items() if known and key[0] == CANARY)):
        mask[rows] = True
    return mask


def _copy_predictions(run: StoredRun, folder: Path) -> None:
    wanted = {r.accuracy.predictions: r for r in run.records if r.accuracy is not None}
    for name, record in sorted(wanted.items()):
        source = run.path / name
        if source.is_file():
            bulky = bulky_columns(record.cell.model.task)
            try:
                kept = [c for c in columnar.column_names(source) if c not in bulky]
                (folder / name).write_bytes(columnar.repacked(source, columns=kept, level=_LEVEL))
            except Unreadable as error:
                raise SpecError(f"{source}: the predictions can't be read: {error}.") from error


def _copy_outputs(run: StoredRun, facts: Sequence[CellFacts], folder: Path) -> None:
    (folder / outputs.FOLDER).mkdir()
    for name in sorted(output_files(facts)):
        source = run.path / name
        if source.is_file():
            shutil.copyfile(source, folder / outputs.FOLDER / source.name)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
