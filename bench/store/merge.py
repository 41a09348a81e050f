"""Merging: the runs of several machines put together in one folder, a merged run.

A run directory is taken as it is, byte for byte: nothing that was measured is written anew, pairs
that were measured in turn stay in their run, and an older run goes on being read through the
migrations. So a machine with several runs keeps several run directories. Only where a cell was
measured twice on one machine, and it was said which counts, the other one is taken out of a copy.

What is made follows from the runs alone, not from the order or the way in which they were given:
merging A and B and then C makes the same files as merging A, B and C.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.errors import SpecError
from bench.files import irregular, regular_files, unfinished
from bench.numbers import NAME_LIMIT, printable
from bench.record.result import Record
from bench.store.find import HEADER, RECORDS, find_runs, without_copies
from bench.store.leave_out import leave_out
from bench.store.machines import by_machine, told_apart
from bench.store.merged import (
    LeftOut,
    MergedMachine,
    MergedRun,
    machine_folder,
    read_merged,
    write_merged,
)
from bench.store.run import StoredRun, no_collection, read_results

Keep = Literal["newest"]
_FEW = 3  #: so many cells are named, more are counted
_DIGITS = 8


@dataclass(frozen=True)
class Merge:
    """What was merged, and what is to be said of it."""

    merged: MergedRun
    notes: tuple[str, ...]
    written: bool  #: False where the folder held the same already


@dataclass
class _Source:
    """A run that is merged, and the cells that are taken out of its copy."""

    run: StoredRun
    without: set[str] = field(default_factory=set)

    @property
    def empty(self) -> bool:
        """Whether nothing is left that was measured, after something was taken out."""
        return bool(self.without) and all(r.cell_id in self.without for r in self.run.records)


def merge(
    paths: Sequence[Path], out: Path, label: str | None = None, keep: Keep | None = None
) -> Merge:
    """Put the runs at or below ``paths`` together in the folder ``out``, whole or not at all.

    ``label`` None is that of the merged runs among them, where they have one only. Raises
    `SpecError` where there is no run, where a cell was measured twice on one machine and ``keep``
    doesn't say which counts, and where ``out`` holds something that isn't among them.
    """
    notes: list[str] = []
    sources = [_Source(run) for run in _read(paths, notes)]
    before = _merged_before(source.run.path for source in sources)
    earlier = list(before.values())
    left_out = {one for merged in earlier for one in merged.left_out}
    groups = by_machine([source.run for source in sources])
    notes += told_apart(groups)
    machines = {
        machine.name: [source for source in sources if any(source.run is r for r in runs)]
        for machine, runs in groups.items()
    }
    for name, mine in machines.items():
        left_out |= set(_take_out_twins(name, mine, keep, notes))
        machines[name] = [source for source in mine if not source.empty]
    partial = unfinished(out)
    try:
        # Sorted by what the copies are: what was taken out of a run changes its digest.
        found = {n: tuple(sorted(_copy_all(partial, n, s, notes))) for n, s in machines.items()}
        merged = MergedRun(
            made_by="merge",
            label=_label(earlier) if label is None else label,
            # Of those that are left: whoever merges the result again sees no others.
            created_at=min(s.run.header.created_at for mine in machines.values() for s in mine),
            machines=tuple(_machine(n, found[n], machines[n], before) for n in sorted(found)),
            left_out=tuple(sorted(left_out, key=lambda one: (one.cell_id, one.finished_at))),
        )
        write_merged(partial, merged)
        return Merge(merged, tuple(notes), _put(partial, out))
    except OSError as error:
        where = error.filename or out
        raise SpecError(
            f"{out}: the runs can't be merged into it ({where}: {error.strerror or error}). "
            "Nothing was left there."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# -- reading --------------------------------------------------------------------------------------


def _read(paths: Sequence[Path], notes: list[str]) -> list[StoredRun]:
    """All runs that can be read, each once, in an order that follows from what they are."""
    runs, copies = without_copies(find_runs(paths))
    notes += copies
    found: list[StoredRun] = []
    problems: list[SpecError] = []
    with no_collection():
        for path in runs:
            try:
                found.append(read_results(path))
            except SpecError as error:
                problems.append(error)
    if problems and not found:
        raise problems[0]
    notes += [f"left out: {problem}" for problem in problems]
    notes += [f"{run.path}: {remark}" for run in found for remark in run.skipped]
    return sorted(found, key=lambda run: (run.header.created_at, digest_of(run.path)))


def digest_of(path: Path) -> str:
    """What tells a run directory from another that began in the same second."""
    made = hashlib.sha256()
    for name in (HEADER, RECORDS):
        file = path / name
        made.update(file.read_bytes() if file.is_file() else b"")
        made.update(b"\0")
    return made.hexdigest()[:_DIGITS]


def _merged_before(runs: Iterable[Path]) -> dict[Path, MergedRun]:
    """The merged runs that the runs lie in, by their folders."""
    above = dict.fromkeys(folder for run in runs for folder in run.resolve().parents[1:3])
    found = {folder: read_merged(folder) for folder in above}
    return {folder: merged for folder, merged in found.items() if merged is not None}


def _machine(
    name: str, runs: tuple[str, ...], sources: Sequence[_Source], before: Mapping[Path, MergedRun]
) -> MergedMachine:
    """A machine of the merge, with what a fleet found out about its clock and its runs."""
    places = {source.run.path.resolve() for source in sources}
    known = [
        machine
        for folder, merged in before.items()
        for machine in merged.machines
        if places & {folder / run for run in machine.runs}
    ]
    offsets = {machine.clock_offset_s for machine in known}
    prices = {(machine.price_per_hour, machine.currency) for machine in known}
    price, currency = prices.pop() if len(prices) == 1 else (None, "")
    return MergedMachine(
        name=name,
        runs=runs,
        clock_offset_s=offsets.pop() if len(offsets) == 1 else None,
        remarks=tuple(sorted({remark for machine in known for remark in machine.remarks})),
        price_per_hour=price,
        currency=currency,
    )


def _label(earlier: Iterable[MergedRun]) -> str:
    labels = {merged.label for merged in earlier if merged.label}
    return labels.pop() if len(labels) == 1 else ""


# -- cells that were measured twice ---------------------------------------------------------------


def _take_out_twins(
    machine: str, sources: Sequence[_Source], keep: Keep | None, notes: list[str]
) -> Iterator[LeftOut]:
    """Of each cell with several records on one machine all but one are taken out of their runs: a
    failure where there is a measurement, and of equal records all but one."""
    by_cell: dict[str, list[tuple[_Source, Record]]] = {}
    for source in sources:
        for record in source.run.records:
            by_cell.setdefault(record.cell_id, []).append((source, record))
    twins = {cell: found for cell, found in by_cell.items() if len(found) > 1}
    rivals = [found for found in twins.values() if _rivals(found)]
    if rivals and keep is None:
        raise _twice(machine, rivals)
    for cell_id, found in twins.items():
        kept = max(found, key=lambda one: _rank(*one))
        for source, record in found:
            if source is kept[0]:
                continue
            source.without.add(cell_id)
            if record == kept[1]:
                continue
            yield LeftOut(cell_id=cell_id, cell=record.cell.label, finished_at=record.finished_at)
            why = _why_left_out(record)
            cell = printable(record.cell.label, limit=2 * NAME_LIMIT)
            notes.append(f"{source.run.path}: left out {cell}: {why}")


def _why_left_out(record: Record) -> str:
    if record.status == "failed":
        return "it failed there"
    return "it was stopped early there" if record.partial else "it was measured again later"


def _measured(record: Record) -> bool:
    """Whether the cell was measured to its end."""
    return record.status == "ok" and not record.partial


def _rivals(found: Sequence[tuple[_Source, Record]]) -> bool:
    """Whether more than one of them measured the cell, and not the same."""
    ok = [record for _, record in found if _measured(record)]
    return any(record != ok[0] for record in ok[1:])


def _rank(source: _Source, record: Record) -> tuple[object, ...]:
    """The record that counts has the highest; of equal ones that of the larger run, which may have
    measured others in turn with it."""
    size = len(source.run.records)
    ran = record.status == "ok"
    return _measured(record), ran, record.finished_at, size, digest_of(source.run.path)


def _twice(machine: str, rivals: Sequence[Sequence[tuple[_Source, Record]]]) -> SpecError:
    """The refusal, which names a few of the cells and where the first one is."""
    cells = [printable(found[0][1].cell.label, limit=2 * NAME_LIMIT) for found in rivals]
    more = f" and {len(cells) - _FEW} more" if len(cells) > _FEW else ""
    places = " and ".join(str(source.run.path) for source, _ in rivals[0][:2])
    verb = "was" if len(cells) == 1 else "were"
    return SpecError(
        f"{', '.join(cells[:_FEW])}{more} {verb} measured twice on {printable(machine)} (in "
        f"{places}), but a merged run has each cell once. --keep newest keeps the later "
        "measurement."
    )


# -- writing --------------------------------------------------------------------------------------


def _copy_all(
    partial: Path, machine: str, sources: Sequence[_Source], notes: list[str]
) -> Iterator[str]:
    """Copy the runs of one machine; yields their folders within the merged run."""
    folder = machine_folder(partial, machine)
    for source in sources:
        # Named when it is whole: what was taken out changes what it is.
        made = folder.with_name(f"{folder.name}.partial")
        _copy(source, made, notes)
        place = folder if len(sources) == 1 else folder / _name(source.run, made)
        place.parent.mkdir(parents=True, exist_ok=True)
        made.rename(place)
        yield place.relative_to(partial).as_posix()


def _name(run: StoredRun, copy: Path) -> str:
    """A folder's name that says when the run began."""
    stamp = re.sub(r"[^0-9T]", "", run.header.created_at[:19])
    return f"{stamp or 'run'}-{digest_of(copy)}"


def _copy(source: _Source, made: Path, notes: list[str]) -> None:
    """All that belongs to a run directory.

    Its records first: somebody may be measuring into it, and what a record follows from is written
    before it.
    """
    path = source.run.path
    names = [name for name in regular_files(path) if _belongs(name)]
    notes += [f"{path}: left out {name}: not a plain file" for name in irregular(path)]
    for name in sorted(names, key=lambda name: (name != RECORDS, name)):
        target = made / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path / name, target)
    if source.without:
        leave_out(made, source.without)


def _belongs(name: str) -> bool:
    return name != ".lock" and not name.endswith(".partial")


def _put(partial: Path, out: Path) -> bool:
    """Let ``partial`` be ``out``, which may be an earlier merge of some of the same runs; False
    where it is the same already."""
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        _force_to_disk(partial)
        partial.rename(out)
        return True
    if not out.is_dir():
        raise SpecError(f"{out} is a file. Name a folder with -o.")
    there, new = _contents(out), _contents(partial)
    if there == new:
        return False
    if there and read_merged(out) is None:
        raise SpecError(f"{out}: it is not empty. Name another folder with -o.")
    lost = _runs_of(out) - _runs_of(partial)
    if lost:
        raise SpecError(
            f"{out} is already a merged run, with {len(lost)} that you did not name. Name {out} "
            "as well to keep them, or another folder with -o."
        )
    _force_to_disk(partial)
    aside = out.with_name(f"{partial.name}.old")
    out.rename(aside)
    partial.rename(out)
    shutil.rmtree(aside, ignore_errors=True)
    return True


def _contents(folder: Path) -> Mapping[str, str]:
    """The digest of each plain file below a folder."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in regular_files(folder)
        if _belongs(name.rpartition("/")[2])
    }


def _runs_of(folder: Path) -> set[bytes]:
    """What tells the runs below a folder apart, whatever was added to them."""
    return {path.read_bytes() for path in folder.rglob(HEADER)}


def _force_to_disk(folder: Path) -> None:
    """Of files that are renamed as a folder nobody else sees to it that they are written."""
    for name in regular_files(folder):
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
