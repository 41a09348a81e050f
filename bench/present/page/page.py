"""The page: what it holds, from stored runs; and its HTML, one file that needs no network.

Everything that came from outside (names, messages, paths) passes the template's autoescaping as
text (`bench.present.page.template`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from bench.judge.matrix.cells import Price
from bench.numbers import counted, printable
from bench.present.page import (
    between,
    distilled,
    measured,
    results,
)
from bench.present.page.first import front
from bench.present.page.first.banner import banner
from bench.present.page.machines import sections as machine_sections
from bench.present.page.names import Palette
from bench.present.page.parts import Picture, RunPart, Section, Table
from bench.present.page.portability import Portability
from bench.present.page.sections import SECTIONS, About
from bench.present.page.selection import Selection, select
from bench.present.page.template import rendered
from bench.store.machines import by_machine
from bench.store.run import StoredRun, marks_of

_TITLE_LIMIT = 160
_MARK_LIMIT = 600


@dataclass(frozen=True)
class Page:
    """All that is said and shown."""

    title: str
    runs: tuple[RunPart, ...]
    between: Section | None
    portability: Portability | None
    results: Table
    machines: tuple[Section, ...] = ()  #: of several machines: which hardware for which model

    def filter_values(self, place: int) -> list[str]:
        """What can be chosen in the menu of a column of the results."""
        return sorted({row[place].text for row in self.results.rows})

    @property
    def pictures(self) -> list[Picture]:
        """In the order of the page."""
        found = [picture for section in self.machines for picture in section.pictures]
        for run in self.runs:
            found += [a.picture for a in run.answers if a.picture is not None]
            found += [picture for section in run.sections for picture in section.pictures]
        return found + (list(self.between.pictures) if self.between else [])


def make_page(
    runs: Sequence[StoredRun],
    portability: Portability | None = None,
    allowed: Collection[str] = (),
    title: str = "",
    prices: Mapping[str, Price] | None = None,
) -> Page:
    """Everything about ``runs``, the first being the baseline of the others."""
    lettered = [(_letter(number), run) for number, run in enumerate(runs)]
    chosen = {letter: select(run.records) for letter, run in lettered}
    palette = Palette.of([r for run in runs for r in chosen[_letter_of(lettered, run)].records])
    machines = _machines(runs)
    parts = [
        _run_part(letter, run, chosen[letter], palette, machine, mark, several=len(runs) > 1)
        for (letter, run), machine, mark in zip(lettered, machines, _marks(runs), strict=True)
    ]
    compared = [(letter, _only(run, chosen[letter])) for letter, run in lettered]
    return Page(
        title=printable(title, limit=_TITLE_LIMIT) or _title(runs),
        runs=tuple(parts),
        between=between.section(compared, runs, machines, allowed, palette)
        if len(runs) > 1
        else None,
        portability=portability,
        results=_results(lettered, machines, chosen),
        machines=machine_sections(runs, palette, prices) if any(machines) else (),
    )


def _machines(runs: Sequence[StoredRun]) -> list[str]:
    """The name of each run's machine; empty ones where all are of one."""
    found = by_machine(runs)
    if len(found) < 2:
        return [""] * len(runs)
    return [
        next(m.name for m, mine in found.items() if any(run is o for o in mine)) for run in runs
    ]


def _marks(runs: Sequence[StoredRun]) -> list[str]:
    """What is to be said of each run's bundle: with the first of its runs, and with each where
    nobody can vouch for the numbers."""
    told = [(run.mark, marks_of([run])) for run in runs]
    return [
        "" if mark and not run.unchecked and (mark, marks) in told[:place] else mark
        for place, (run, (mark, marks)) in enumerate(zip(runs, told, strict=True))
    ]


def _letter(number: int) -> str:
    """A to Z, then A1, B1, ..."""
    turn, place = divmod(number, 26)
    return chr(ord("A") + place) + (str(turn) if turn else "")


def _letter_of(lettered: Sequence[tuple[str, StoredRun]], wanted: StoredRun) -> str:
    return next(letter for letter, run in lettered if run is wanted)


def _title(runs: Sequence[StoredRun]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} benchmark runs"
    models = dict.fromkeys(record.cell.model.name for record in runs[0].records)
    names = ", ".join(list(models)[:3]) + (", …" if len(models) > 3 else "")
    return printable(f"{names or runs[0].path.name}: benchmark report", limit=_TITLE_LIMIT)


def _only(run: StoredRun, selection: Selection) -> StoredRun:
    """The run with the records that are shown, its failures, and no others."""
    header = run.header.model_copy(update={"cells": tuple(r.cell for r in selection.rows)})
    return StoredRun(run.path, header, selection.rows, [], run.skipped, resumptions=run.resumptions)


def _run_part(
    letter: str,
    run: StoredRun,
    selection: Selection,
    palette: Palette,
    machine: str,
    mark: str,
    *,
    several: bool,
) -> RunPart:
    prefix = f"{letter.lower()}-"
    records = selection.records
    shown = _only(run, selection)
    answers, unread = front.answers(shown, records, palette, prefix)
    pairs, unread_too = distilled.section(shown, records, palette, prefix)
    warnings = list(dict.fromkeys([*run.skipped, *run.changed, *unread, *unread_too]))
    about = About(run, records, selection.failed, palette, prefix)
    sections = (
        pairs,
        *(SECTIONS.find(name).draw(about) for name in SECTIONS.names()),
        measured.section(run, records, warnings, prefix),
    )
    created = printable(run.header.created_at, limit=40).replace("T", " ")
    created = created.replace("+00:00", " UTC")
    cpu = printable(str(run.header.facts.get("cpu_model") or "unknown processor"), limit=80)
    name = printable(run.path.resolve().name, limit=120)
    label = printable(run.header.label)
    called = ", ".join(
        filter(None, (printable(machine), label or (name if name != machine else "")))
    )
    return RunPart(
        letter=letter,
        title=f"Run {letter}: {called}" if several else called,
        subtitle=f"{created} · {cpu} · {_counts(run, selection)}",
        answers=tuple(answers),
        sections=tuple(section for section in sections if not section.empty),
        sure=tuple(_how_sure(selection, mark)),
        banner=banner(records, selection.failed, prefix),
    )


def _counts(run: StoredRun, selection: Selection) -> str:
    planned, done = len(run.header.cells), len(run.records)
    words = f"{done:,} cells" if done >= planned else f"{done:,} of {planned:,} planned cells"
    return words + (f", {len(selection.failed):,} failed" if selection.failed else "")


def _how_sure(selection: Selection, mark: str) -> list[str]:
    """What the checks say about all that is shown, and before it what a bundle's ``mark`` says."""
    records = selection.records
    found = [printable(f"{mark[:1].upper()}{mark[1:]}.", limit=_MARK_LIMIT)] if mark else []
    if records and all(check.ok for record in records for check in record.checks):
        found.append(f"{counted(len(records), 'cell')} passed every validity check.")
    simulated = sum(record.simulated for record in records)
    if simulated:
        found.append(
            f"{simulated:,} ran on a simulated device: their accuracy counts, they have no latency "
            "and are not ranked."
        )
    if selection.left_out:
        found.append(
            f"This page shows {len(records):,} of {selection.measured:,} cells that went well: the "
            "best of each model and load. `bench show RUN --json` has all of them."
        )
    return found


def _results(
    lettered: Sequence[tuple[str, StoredRun]],
    machines: Sequence[str],
    chosen: dict[str, Selection],
) -> Table:
    found = []
    left_out = 0
    for (letter, run), machine in zip(lettered, machines, strict=True):
        kept = {record.cell_id for record in chosen[letter].rows}
        found += [(letter, machine, record) for record in run.records if record.cell_id in kept]
        left_out += len(run.records) - len(kept)
    words = (
        f"{left_out:,} further cells are not in this table; `bench show RUN --json` has them all."
        if left_out
        else ""
    )
    return results.results_table(found, "results", words)


def render(page: Page) -> str:
    """The page as one HTML document without a link to anything outside of it."""
    from markupsafe import Markup  # jinja2: start-up

    # plotly.js-basic-dist-min 4.1.1: a quarter of what the Python package brings, and draws lines
    # and points, which is what all pictures of the page are made of.
    drawing = files("bench.present.page").joinpath("plotly-basic.min.js").read_text("utf-8")
    script = Markup(drawing.replace("</script", "<\\/script"))
    return rendered("page.html.jinja", page=page, plotly=script)
