"""The pages of a trend site: an index of all cells, one page a cell, one page a run.

Every page is written anew from what the site keeps (`bench.present.trend.kept`), so pages of an
older bench don't stay. They link to each other by relative paths and need no network and no script.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.defaults import CONFIDENCE, MARGIN
from bench.errors import SpecError
from bench.files import write_text
from bench.judge.alike import UNUSUAL, Alike, settings_in_words, settings_of
from bench.judge.history import Break, Change, Selection, Series, history, joined
from bench.numbers import (
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    half_width,
    printable,
    with_unit,
)
from bench.present.ci.tables import for_page, results_table
from bench.present.history import Kind, kind_of, mark_words
from bench.present.page.template import rendered, style
from bench.present.trend.curve import Curve, curve
from bench.present.trend.kept import RUNS, keep
from bench.store.frames import Finished, read_finished_runs
from bench.store.run import StoredRun
from bench.variants import suffix

PAGE = "index.html"
CELLS = "cells"
_STYLE = "trend.css"  #: a folder with it is a site (`_refuse_other`)
_SMALL, _LARGE = (280.0, 70.0), (600.0, 200.0)
_LARGE_LEFT = 80.0  #: room for a figure with its unit
_COMMIT_DIGITS = 8
_MINUTE = 16  #: characters of a time up to its minutes
#: So many steps are listed on the index, the newest.
_MOST_STEPS = 20


@dataclass(frozen=True)
class Row:
    """One run of a cell."""

    link: str
    when: str
    value: str
    width: str
    commit: str
    runtime: str
    bench: str
    kind: str  #: of the mark that begins here; empty for none
    change: str  #: the same in words


@dataclass(frozen=True)
class Mark:
    """Where something changed: a step of the figure, or the content of the model."""

    words: str
    kind: Kind
    when: str


@dataclass(frozen=True)
class Shown:
    """One cell, ready to be drawn."""

    key: str
    model: str
    name: str
    machine: str
    unit_words: str
    now: str
    small: Curve
    large: Curve
    ticks: tuple[tuple[float, str], ...]
    rows: tuple[Row, ...]
    steps: tuple[Mark, ...]
    none: str


@dataclass(frozen=True)
class Written:
    """What a site holds after it was written, and what has to be told."""

    runs: int
    added: int
    cells: int
    steps: int
    skipped: tuple[str, ...]


def write_site(runs: Sequence[StoredRun], site: Path, title: str) -> Written:
    """Add ``runs`` to a site and write its pages. Raises `SpecError` where it has no cell to show,
    or the folder holds something else."""
    _refuse_other(site)
    added = keep(runs, site)
    if not (site / RUNS).is_dir():
        raise SpecError(f"{site}: there are no runs to show. Name some.")
    kept, skipped = read_finished_runs([site / RUNS])
    found, _ = history([site / RUNS], Selection(), CONFIDENCE, MARGIN)
    lines = joined([series for series in found if series.points])
    alike = Alike(series.cell for series in lines)
    shown = [_shown(series, alike) for series in lines]
    if not shown:
        raise SpecError(f"{site}: none of its {len(kept)} runs has a cell with a figure.")
    shutil.rmtree(site / CELLS, ignore_errors=True)  # some may be of runs that were taken out
    write_text(site / _STYLE, style())
    _write_index(site, title, kept, shown, skipped)
    for one in shown:
        page = _rendered("cell.html.jinja", title=title, cell=one, left=_LARGE_LEFT, top="../")
        write_text(site / CELLS / f"{one.key}.html", page)
    for run in kept:
        write_text(run.path / PAGE, _run_page(title, run))
    steps = sum(len(series.changes) for series in lines)
    return Written(len(kept), len(added), len(shown), steps, tuple(skipped))


def _refuse_other(site: Path) -> None:
    """A folder with other things in it is somebody's, and not a site that grows."""
    if site.is_dir() and any(site.iterdir()) and not (site / _STYLE).is_file():
        known = {RUNS, ".git", ".nojekyll", "README.md", "CNAME"}
        others = sorted(p.name for p in site.iterdir() if p.name not in known)
        if others:
            raise SpecError(
                f"{site}: it is not a trend site, and holds {', '.join(others[:3])}. Name an empty "
                "folder with -o."
            )


def _write_index(
    site: Path, title: str, kept: Sequence[Finished], shown: Sequence[Shown], skipped: Sequence[str]
) -> None:
    models: dict[str, list[Shown]] = {}
    for one in shown:
        models.setdefault(one.model, []).append(one)
    steps = [(step, one) for one in shown for step in one.steps]
    steps.sort(key=lambda pair: pair[0].when, reverse=True)
    page = _rendered(
        "index.html.jinja",
        title=title,
        models=models,
        runs=[_run_row(run) for run in reversed(kept)],
        steps=steps[:_MOST_STEPS],
        more_steps=max(0, len(steps) - _MOST_STEPS),
        skipped=[printable(words.replace(f"{site}/", ""), limit=300) for words in skipped],
        top="",
    )
    write_text(site / PAGE, page)


def _run_row(run: Finished) -> dict[str, str]:
    facts = run.header.facts
    return {
        "link": f"{RUNS}/{run.path.name}/{PAGE}",
        "when": _minute(run.header.created_at),
        "label": printable(run.header.label, limit=NAME_LIMIT),
        "commit": printable(str(facts.get("git_commit") or ""))[:_COMMIT_DIGITS],
        "machine": printable(run.header.machine_name, limit=NAME_LIMIT),
    }


def _shown(series: Series, alike: Alike) -> Shown:
    # The place of the site says nothing to who reads it elsewhere.
    named = tuple(replace(point, run=Path(point.run).name) for point in series.points)
    series = replace(series, points=named)
    cell, last = series.cell, series.points[-1]
    units = RATE_UNITS if cell.is_rate else TIME_UNITS
    text = f"{series.first_id}{series.machine_id}{series.machine}"
    large = curve(series, *_LARGE, _LARGE_LEFT)
    batch = "" if cell.batch == 1 else f"batch {cell.batch}"
    settings = settings_in_words(settings_of(cell, UNUSUAL), alike.apart(cell))
    called = (cell.target, cell.scenario, batch, "" if series.foreign else settings)
    variant = "" if series.foreign else suffix(cell.variant)
    begins = {mark.index: mark for mark in series.marks}
    return Shown(
        key=hashlib.sha256(text.encode()).hexdigest()[:16],
        model=printable(f"{cell.model.name}{variant}", limit=NAME_LIMIT),
        name=printable(", ".join(filter(None, called)), limit=NAME_LIMIT),
        machine=" ".join(
            filter(None, (printable(series.machine, limit=80), _in_brackets(series.cpu_model)))
        ),
        unit_words="samples per second: higher is better"
        if cell.is_rate
        else "time of a query: less is better",
        now=f"{with_unit(last.value, units)} {_width(last.value, last.low, last.high)}".strip(),
        small=curve(series, *_SMALL),
        large=large,
        ticks=tuple((y, with_unit(value, units)) for y, value in large.ticks),
        rows=tuple(
            Row(
                link=f"{RUNS}/{point.run}/{PAGE}",
                when=_minute(point.created_at),
                value=with_unit(point.value, units),
                width=_width(point.value, point.low, point.high),
                commit=printable(point.git_commit or "")[:_COMMIT_DIGITS],
                runtime=printable(point.runtime_version, limit=20),
                bench=printable(point.bench_version, limit=20),
                kind=kind_of(begins[place]) if place in begins else "",
                change=_short(begins[place]) if place in begins else "",
            )
            for place, point in enumerate(series.points)
        ),
        steps=tuple(
            Mark(mark_words(series, m), kind_of(m), series.points[m.index].created_at)
            for m in series.marks
        ),
        none=series.why_none,
    )


def _short(mark: Change | Break) -> str:
    """For a cell of a table."""
    if isinstance(mark, Change):
        return kind_of(mark)
    return f"{' and '.join(mark.changed)} changed"


def _in_brackets(text: str | None) -> str:
    return f"({printable(text, limit=60)})" if text else ""


def _width(value: float, low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else half_width(value, low, high)


def _minute(when: str) -> str:
    return printable(when[:_MINUTE].replace("T", " "))


def _run_page(title: str, run: Finished) -> str:
    header, facts = run.header, run.header.facts
    told: Mapping[str, object] = {
        "Started": _minute(header.created_at),
        "Label": header.label,
        "Commit": facts.get("git_commit"),
        "Machine": header.machine_name,
        "CPU": facts.get("cpu_model"),
        "Command": header.command,
        "bench": header.bench_version,
    }
    return _rendered(
        "run.html.jinja",
        title=title,
        name=printable(run.path.name, limit=NAME_LIMIT),
        facts={key: printable(str(value), limit=400) for key, value in told.items() if value},
        table=for_page(results_table(run.records)),
        top="../../",
    )


def _rendered(template: str, **values: object) -> str:
    """One of the templates beside this file; whatever is put in is escaped."""
    return rendered(template, "bench.present.trend", style=_STYLE, index=PAGE, **values)
