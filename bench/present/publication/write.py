"""Published tables: Markdown, CSV and one HTML page from runs, with the raw data behind them.

Everything that is written follows from the runs alone (no clock, no path of this machine), so that
publishing the same runs again gives the same bytes. A publication holds a compact copy of each run,
which is a run directory itself: `bench show` reads it, and `bench publish --check` derives every
published number from it again.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from bench import __version__
from bench.cell import Frozen
from bench.errors import SpecError
from bench.judge.changes import Changes
from bench.judge.pairs import Pair, compare
from bench.numbers import NAME_LIMIT, printable
from bench.present.ci.markdown import code, table_lines, text
from bench.present.ci.tables import Table, pairs_table, results_table
from bench.present.layout import TIED
from bench.present.pair_fields import PAIR_FIELDS, flat_pair_rows
from bench.present.pairs import sentence
from bench.present.publication.files import MANIFEST, RUNS, digests
from bench.present.publication.page import page
from bench.present.told import told
from bench.record.header import RunHeader
from bench.store.compact import copy_run, refuse_links
from bench.store.fields import RESULT_FIELDS
from bench.store.machines import given_name
from bench.store.rows import result_rows
from bench.store.run import StoredRun, remarks_of

README = "README.md"
PAGE = "index.html"
RESULTS = "results.csv"
PAIRS = "pairs.csv"
SCHEMA_VERSION = 1


class Manifest(Frozen):
    """`published.json`: what makes a folder a publication, and what it was made from."""

    schema_version: int = SCHEMA_VERSION
    title: str
    runs: tuple[str, ...]  #: folders below `runs/`
    bench_version: str = ""  #: which wrote it: another one may word or lay out the tables otherwise
    #: the SHA-256 of every other file, by its name within the publication
    files: dict[str, str] = Field(default_factory=dict)
    #: runs that were handed in without predictions, so that their accuracies are taken as they are
    without_predictions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file. Where all have predictions it is as an older bench writes it."""
        unasked = set() if self.without_predictions else {"without_predictions"}
        return self.model_dump_json(indent=1, exclude=unasked) + "\n"


@dataclass(frozen=True)
class Section:
    """One run with its pairs, ready to be drawn."""

    name: str
    run: StoredRun
    pairs: tuple[Pair, ...]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """How and where it was measured, in words."""
        header = self.run.header
        known = header.facts
        cpu = printable(str(known.get("cpu_model", "unknown")), limit=NAME_LIMIT)
        versions = known.get("packages")
        packages = versions if isinstance(versions, Mapping) else {}
        shown = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
        cores = known.get("physical_cores")
        hardware = f"{cpu}, {cores} cores" if cores else cpu
        return [
            ("Command", printable(header.command, limit=1000)),
            ("Measured", printable(header.created_at, limit=40)),
            ("Machine", self._named(hardware)),
            ("Versions", printable(shown, limit=1000) or "unknown"),
            ("Intervals", f"{100 * header.suite.confidence:g}%"),
            *[("Note", words) for words in told(self.run.records)],
            *self._changed,
            *self._unfinished,
            *self._not_derived,
        ]

    def _named(self, hardware: str) -> str:
        """The hardware with the machine's name before it, where one was given, and its GPUs."""
        name = given_name(self.run.header)
        if not name:
            return hardware
        gpus = self.run.header.facts.get("gpus")
        devices = [str(gpu.get("name")) for gpu in gpus or () if isinstance(gpu, Mapping)]
        return f"{name}: {printable(', '.join([*devices, hardware]), limit=NAME_LIMIT)}"

    @property
    def _not_derived(self) -> list[tuple[str, str]]:
        """What whoever handed the run in kept to themselves, so that it can't be made again."""
        if not self.run.without_predictions:
            return []
        words = "accuracies, because there are no predictions"
        if not self.run.header.keeps_raw:
            words += (
                "; load times, memory, copies, parity and placement, whose raw data an earlier "
                "build of bench did not keep"
            )
        return [("Not derived again", f"{words}: taken as they were written")]

    @property
    def _changed(self) -> list[tuple[str, str]]:
        """What was no longer the same when it was gone on with."""
        told = "; ".join(self.run.changed)
        return [("Not all alike", printable(told, limit=1000))] if told else []

    @property
    def _unfinished(self) -> list[tuple[str, str]]:
        """The planned cells that have no record, where the run was stopped before its end."""
        finished = {record.cell_id for record in self.run.records}
        missing = [cell.label for cell in self.run.header.cells if cell.id not in finished]
        if not missing:
            return []
        count = f"{len(missing)} of {len(self.run.header.cells)} planned cells"
        return [("Not measured", printable(f"{count}: {', '.join(missing)}", limit=1000))]


def section(name: str, run: StoredRun) -> tuple[Section, list[str]]:
    """A run with its pairs compared, and what of them could not be."""
    changes = Changes(run)
    pairs = compare(run.records, changes)
    return Section(name, run, tuple(pairs)), changes.problems


def tables(title: str, sections: Sequence[Section]) -> dict[str, str]:
    """The tables of a publication: file name -> text."""
    return {
        README: _readme(title, sections),
        PAGE: page(title, [(s.name, s.facts, *_both_tables(s), _sentences(s)) for s in sections]),
        RESULTS: _csv(("run", *RESULT_FIELDS), _result_rows(sections)),
        PAIRS: _csv(("run", *PAIR_FIELDS), _pair_rows(sections)),
    }


def publish(runs: Sequence[StoredRun], folder: Path, title: str) -> list[str]:
    """Write a publication into ``folder``, in the place of an older one; tell what was left out.

    Raises `SpecError` where the folder is something else, can't be written, or a run is empty.
    """
    names = _names(runs)
    problems = remarks_of(runs)
    sections = []
    for name, run in zip(names, runs, strict=True):
        if not run.records:
            raise SpecError(f"{run.path}: it has no records yet, so there is nothing to publish.")
        refuse_links(run.path)
        made, unread = section(name, run)
        problems += unread
        sections.append(made)
    _refuse_other_folders(folder)
    fresh = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name, run in zip(names, runs, strict=True):
            copy_run(run, fresh / RUNS / name, _as_asked(run.header))
        for file, content in tables(title, sections).items():
            (fresh / file).write_text(content, encoding="utf-8", newline="\n")
        scored_only = [n for n, run in zip(names, runs, strict=True) if run.without_predictions]
        manifest = Manifest(
            title=title,
            runs=tuple(names),
            bench_version=__version__,
            files=digests(fresh),
            without_predictions=tuple(scored_only),
        )
        (fresh / MANIFEST).write_text(manifest.text, encoding="utf-8", newline="\n")
        _replace(folder, fresh)
    except OSError as error:
        raise SpecError(f"{folder}: can't be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return problems


def _as_asked(header: RunHeader) -> RunHeader:
    """The header with models in the suite's words: which of a user's folders they lie in is nobody
    else's business, and where it is gone on from in another folder is the run's alone."""
    asked = header.suite.models
    if not header.keeps_raw or len(asked) != len(header.models):
        return header
    return header.model_copy(update={"models": asked})


def _replace(folder: Path, fresh: Path) -> None:
    """Put ``fresh`` in the place of ``folder``, which at any moment is whole or gone."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _refuse_other_folders(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / MANIFEST).is_file()):
        raise SpecError(
            f"{folder}: it is not a publication of bench (it has no {MANIFEST}), so it is not "
            "replaced. Name a new folder."
        )


def _names(runs: Sequence[StoredRun]) -> list[str]:
    """The runs' own folder names."""
    names = [run.path.resolve().name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(f"two runs are called {name}; rename one of their folders.")
    return names


# -- tables ---------------------------------------------------------------------------------------


def _both_tables(one: Section) -> tuple[Table, Table | None]:
    return results_table(one.run.records), pairs_table(one.pairs) if one.pairs else None


def _sentences(one: Section) -> list[str]:
    controls = {pair.other for pair in one.pairs if pair.relation == "control"}
    told = [p for p in one.pairs if not (p.model in controls and p.relation == "original")]
    return [sentence(pair).replace(TIED, " ") for pair in told]


def _readme(title: str, sections: Sequence[Section]) -> str:
    lines = [
        f"# {text(title)}",
        "",
        "Written by `bench publish`, never by hand; `bench publish --check` derives every number",
        f"again from the runs below [{RUNS}/]({RUNS}). Full precision: [{RESULTS}]({RESULTS}),",
        f"[{PAIRS}]({PAIRS}). As a page: [{PAGE}]({PAGE}).",
        "",
        "± is the interval; p99 is an upper bound at 99% confidence, and absent where the samples",
        "are too few for one. ⚠️ names the checks that failed: where `undisturbed` did, other",
        "programs used the CPU meanwhile; where `steady-state` did, a warm-up had not settled.",
    ]
    for one in sections:
        results, pairs = _both_tables(one)
        lines += ["", f"## {text(one.name)}", ""]
        lines += [f"- {name}: {code(value, 1000)}" for name, value in one.facts]
        lines += ["", *table_lines(results)]
        if pairs is not None:
            lines += ["", *table_lines(pairs), ""]
            lines += [f"- {text(words)}" for words in _sentences(one)]
    return "\n".join(lines) + "\n"


def _result_rows(sections: Sequence[Section]) -> list[dict[str, object]]:
    return [{"run": one.name, **row} for one in sections for row in result_rows(one.run.records)]


def _pair_rows(sections: Sequence[Section]) -> list[dict[str, object]]:
    return [{"run": one.name, **row} for one in sections for row in flat_pair_rows(list(one.pairs))]


def _csv(fields: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        writer.writerow([csv_value(row.get(field)) for field in fields])
    return out.getvalue()


def csv_value(value: object) -> str:
    """Floats with all their digits, absent values empty, lists joined, text in one line. A leading
    ``=``, ``@``, ``+`` or ``-`` of text gets a quote, or a spreadsheet would compute it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return ";".join(csv_value(item) for item in value)
    if isinstance(value, str):
        shown = printable(value)
        return f"'{shown}" if shown[:1] in ("=", "@", "+", "-") else shown
    return str(value)
