"""The sections that the page has on each run, one row each, in the order of the page.

A distribution adds a row of its own through the entry-point group ``bench.report_sections``, which
maps its name to ``module:ROW``; they come after ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.discover import Catalogue
from bench.judge.sweeps import sweep_sentences
from bench.numbers import MISSING
from bench.present.devices import roofline_notes
from bench.present.page import (
    accuracy,
    energy,
    failures,
    footprint,
    latency,
    loadgen,
    start,
    throughput,
)
from bench.present.page.names import Palette
from bench.present.page.parts import Section
from bench.record.result import Record
from bench.store.run import StoredRun


@dataclass(frozen=True)
class About:
    """What a section is drawn from: a run, those of its records that the page shows, and those that
    failed. ``prefix`` begins the name of everything in the section, so that no two are alike."""

    run: StoredRun
    records: Sequence[Record]
    failed: Sequence[Record]
    palette: Palette
    prefix: str


@dataclass(frozen=True)
class SectionRow:
    """One section: ``draw`` makes pure data of it; the page leaves out one that is empty."""

    name: str
    draw: Callable[[About], Section]


def _throughput(about: About) -> Section:
    lines = (note.removeprefix(f"{MISSING} ") for note in roofline_notes(about.records))
    said = [*sweep_sentences(about.run), *lines]
    return throughput.section(about.records, about.palette, about.prefix, said)


SECTIONS = Catalogue(
    "report section",
    "bench.report_sections",
    (
        SectionRow("latency", lambda a: latency.section(a.run, a.records, a.palette, a.prefix)),
        SectionRow("throughput", _throughput),
        SectionRow("loadgen", lambda a: loadgen.section(a.records, a.prefix)),
        SectionRow("accuracy", lambda a: accuracy.section(a.records, a.palette, a.prefix)),
        SectionRow("footprint", lambda a: footprint.section(a.records, a.palette, a.prefix)),
        SectionRow("energy", lambda a: energy.section(a.records, a.prefix)),
        SectionRow("start", lambda a: start.section(a.records, a.palette, a.prefix)),
        SectionRow("failures", lambda a: failures.section(a.failed, a.prefix)),
    ),
)
