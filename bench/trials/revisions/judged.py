"""What one run says of two revisions: each cell of the head held against that of the base."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import __version__
from bench.cell import Cell
from bench.judge.certified import Held, certified
from bench.judge.compare import Report, compare
from bench.judge.differences import differences, refuse
from bench.judge.finding import Limits
from bench.judge.gate import Judgement, judge
from bench.judge.matching import Matched, match_within
from bench.measure.measuring import now
from bench.record.header import RunHeader
from bench.record.result import Record
from bench.spec import Suite
from bench.store.run import StoredRun
from bench.trials.revisions.repository import Revision


def check_comparable(
    header: RunHeader, base: Revision, head: Revision, allowed: Collection[str]
) -> None:
    """Raise `SpecError` before anything is measured where the two take other inputs."""
    planned = StoredRun(Path(), header, [], [], [])
    names = base.name, head.name
    matched = match_within(planned, _of(planned, base), _of(planned, head), names)
    refuse(differences(matched), allowed, matched.names)


@dataclass(frozen=True)
class Judged:
    """The comparison (None where nothing has two sides), and what the limits make of it."""

    report: Report | None
    judgement: Judgement
    unchanged: tuple[str, ...]  #: models with the same content in both


def judged(
    run: StoredRun,
    base: Revision,
    head: Revision,
    limits: Limits,
    allowed: Collection[str],
    margin: float,
    confidence: float,
    certificates: Sequence[Held] = (),
) -> Judged:
    """Compare the two revisions that ``run`` measured in turn, and hold the head to ``limits`` and
    to ``certificates``.

    Raises `SpecError` where cells of the two are not comparable, or a limit names no model.
    """
    before, now = _of(run, base), _of(run, head)
    matched = match_within(run, before, now, (base.name, head.name))
    report = compare(matched, allowed, margin, confidence) if before.header.cells else None
    if report is not None:
        refuse(report.differences, allowed, matched.names)
    covered = certified(now, certificates, allowed)
    judgement = judge(now, limits, report, confidence, covered)
    if not matched.matches:  # what only one side has is judged, and there is nothing to show
        report = None
    baseline = before if before.records else None
    judgement = replace(judgement, run=now, baseline=baseline, report=report)
    return Judged(report, judgement, _unchanged(matched))


def nothing_to_compare(limits: Limits, confidence: float, why: str) -> Judged:
    """The judgement of revisions of which nothing was measured."""
    return Judged(None, Judgement(None, None, limits, (), confidence, warnings=(why,)), ())


def nothing_measured(suite: Suite) -> StoredRun:
    """A run without cells, for files of CI services that have to say so."""
    header = RunHeader(
        bench_version=__version__,
        created_at=now(),
        command="bench compare --base",
        suite=suite,
        targets=suite.targets,
        models=suite.models,
        facts={},
        cells=(),
    )
    return StoredRun(Path(), header, [], [], [])


def _of(run: StoredRun, revision: Revision) -> StoredRun:
    """The part of a run that is of one revision, with the models' own names."""
    ending = f"@{revision.name}"
    records = [_renamed(r, ending) for r in run.records if r.cell.model.name.endswith(ending)]
    cells = [_plain(c, ending) for c in run.header.cells if c.model.name.endswith(ending)]
    changes = {"cells": tuple(cells), "label": revision.words}
    return replace(run, header=run.header.model_copy(update=changes), records=records)


def _renamed(record: Record, ending: str) -> Record:
    cell = _plain(record.cell, ending)
    return record.model_copy(update={"cell": cell, "cell_id": cell.id})


def _plain(cell: Cell, ending: str) -> Cell:
    name = cell.model.name.removesuffix(ending)
    return cell.model_copy(update={"model": cell.model.model_copy(update={"name": name})})


def _unchanged(matched: Matched) -> tuple[str, ...]:
    same = {
        m.b.cell.model.name: m.a.cell.model.sha256 == m.b.cell.model.sha256 for m in matched.matches
    }
    return tuple(name for name, is_same in same.items() if is_same)
