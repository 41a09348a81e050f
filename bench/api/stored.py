"""A run in Python: what was measured, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import given
from bench.api.compared import Comparison, compare_runs
from bench.api.figures import figures_of
from bench.api.html import notebook_html
from bench.api.tables import load
from bench.api.weighed import Deal, weigh_run
from bench.api.wording import all_in_python, says_python
from bench.defaults import CONFIDENCE, MARGIN
from bench.errors import SpecError
from bench.files import write_text
from bench.judge.deal import Cost
from bench.numbers import counted
from bench.present.ci.tables import pairs_table, results_table
from bench.present.page.first.banner import banner
from bench.present.page.selection import select
from bench.present.pairs import sentence
from bench.present.reading import Reading, read_out
from bench.present.shown import parts
from bench.store.latest import RESULTS, finished_runs, kept_runs
from bench.store.rows import result_rows
from bench.store.run import StoredRun, read_run

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure

_WIDTH = 80  #: columns of the text; a notebook and a script have no terminal of their own


class Run:
    """A stored run, as it was when it was read.

    ``print(run)`` prints the tables of ``bench show``; a notebook shows them as HTML.
    """

    def __init__(self, stored: StoredRun) -> None:
        if not isinstance(stored, StoredRun):
            raise TypeError("bench.run() and bench.open() make a bench.Run; nothing else does")
        self._stored = stored

    @property
    def path(self) -> Path:
        """The run directory, which every ``bench`` command accepts."""
        return self._stored.path

    @property
    def label(self) -> str:
        """What the run is called; empty where it has no label."""
        return self._stored.header.label

    @property
    def complete(self) -> bool:
        """Whether every planned cell was measured to its end; False for a run that was stopped."""
        finished = sum(not record.partial for record in self._stored.records)
        return finished >= len(self._stored.header.cells)

    @property
    def ok(self) -> bool:
        """Whether every record has figures that count: none failed, is wrong or partial. False
        where nothing was measured."""
        records = self._stored.records
        return bool(records) and all(record.standing == "ok" for record in records)

    @property
    @says_python
    def table(self) -> pandas.DataFrame:
        """A row per finished cell, as `bench.load` gives it: ``median_ns``, ``accuracy``, ..."""
        return load(self.path)

    @property
    @says_python
    def pairs(self) -> pandas.DataFrame:
        """A row per pair of models and target, as ``bench.load(path, "pairs")`` gives it."""
        return load(self.path, "pairs")

    @property
    @says_python
    def samples(self) -> pandas.DataFrame:
        """A row per timed call, as ``bench.load(path, "samples")`` gives it."""
        return load(self.path, "samples")

    @property
    def rows(self) -> list[dict[str, object]]:
        """The rows of ``table`` as dictionaries, without pandas."""
        return result_rows(self._stored.records)

    @property
    @says_python
    def sentences(self) -> list[str]:
        """What was found, in words: each pair, the order of targets, which to choose."""
        found = self._reading
        said = [sentence(pair) for pair in found.pairs]
        return [*said, *found.orders, *found.knees, *([found.answer] if found.answer else [])]

    @property
    @says_python
    def warnings(self) -> list[str]:
        """What failed, which validity checks did, and what could not be read or compared."""
        chosen = select(self._stored.records)
        found = banner(chosen.records, chosen.failed, "")
        failed = [f"{words}." for words, _ in found.lines] if found else []
        stopped = [] if self.complete else [f"Only {self._counts()}."]
        return all_in_python([*stopped, *failed, *self._reading.warnings])

    @says_python
    def compare(
        self,
        other: Run | Path | str | None = None,
        *,
        cells: str | Sequence[str] = (),
        allow: str | Collection[str] = (),
        margin: float | str = MARGIN,
        confidence: float = CONFIDENCE,
    ) -> Comparison:
        """This run against ``other``, the baseline, cell by cell: ``after.compare(before)``.

        ``other`` is a run, its directory or its label. Without it, the targets of this run are
        compared with each other; with two ``cells`` (an id, or ``model@target[/scenario]``) only
        these, the first being the baseline. Raises `bench.BenchError` where something differs that
        makes figures incomparable (the model's content, the input, the machine's threads, ...)
        unless ``allow`` names its kind.
        """
        baseline = _baseline(other)
        return compare_runs(
            self._stored,
            None if baseline is None else baseline._stored,
            cells=given.texts("cells", cells),
            allow=given.texts("allow", allow),
            margin=given.a_share("margin", margin, least=0.0),
            confidence=given.a_share("confidence", confidence, least=0.5),
        )

    @says_python
    def deal(self, by: Cost = "latency", *, loss: float | str | None = None) -> Deal:
        """Which model, precision and target is worth its cost: the Pareto front of accuracy
        against ``by`` (``latency``, ``throughput``, ``energy``, ``memory``, ``size``).

        A loss of accuracy of at most ``loss`` counts as nothing: 0.005 is half a point, the
        default. Raises `bench.BenchError` where nothing was both measured and scored.
        """
        return weigh_run(self._stored, by, loss)

    @says_python
    def report(self, path: Path | str = "report.html", *, title: str = "") -> Path:
        """Write the run as one HTML page that needs no network, and return its path."""
        from bench.present.page.page import make_page, render  # jinja2: start-up

        target = given.a_path("path", path)
        page = make_page([self._stored], title=given.a_text("title", title))
        write_text(target, render(page))
        return target

    @cached_property
    @says_python
    def figures(self) -> dict[str, Figure]:
        """The pictures of the report as plotly figures, by their names."""
        return figures_of(self._stored)

    @says_python
    def plot(self, name: str = "") -> Figure:
        """One of ``figures``; without a name the first: accuracy against latency where models were
        scored, else the latencies. Raises `bench.BenchError` for a name that it does not have."""
        if not self.figures:
            raise SpecError(f"{self.path}: there is nothing to draw.")
        if name == "":
            return next(iter(self.figures.values()))
        return self.figures[given.one_of("name", name, self.figures)]

    @cached_property
    def _reading(self) -> Reading:
        return read_out(self._stored)

    def __repr__(self) -> str:
        return f"<bench.Run {str(self.path)!r}: {self._counts()}>"

    def __str__(self) -> str:
        drawn = (part(_WIDTH).plain for part in parts(self._stored, self._reading))
        return "\n".join(drawn).rstrip("\n")

    def _repr_html_(self) -> str:
        tables = [results_table(self._stored.records), pairs_table(self._reading.pairs)]
        title = f"Run {self.label or self.path.resolve().name}: {self._counts()}"
        return notebook_html(title, tables, self.sentences, self.warnings)

    def _counts(self) -> str:
        records = self._stored.records
        planned = len(self._stored.header.cells)
        failed = sum(record.standing in ("failed", "wrong") for record in records)
        words = counted(len(records), "cell")
        words += "" if self.complete else f" of {planned}, stopped before its end"
        return words + (f", {failed} failed" if failed else "")


def _baseline(other: Run | Path | str | None) -> Run | None:
    if other is None or isinstance(other, Run):
        return other
    return open(other if isinstance(other, str) and other else given.a_path("other", other))


@says_python
def open(run: Path | str | None = None, *, results: Path | str = RESULTS) -> Run:
    """A stored run: by its directory, a folder or bundle that holds just one, or its label.

    Without a name, the latest run in ``results``. Raises `bench.BenchError` where there is none.
    """
    folder = given.a_path("results", results)
    if run is None:
        return Run(read_run(finished_runs(folder)[0].path))
    path = given.a_path("run", run)
    if path.exists() or isinstance(run, Path):
        return Run(read_run(path))
    found = [kept.path for kept in kept_runs(folder) if run in (kept.label, kept.path.name)]
    if not found:
        raise SpecError(f"{run}: neither a run directory nor the label of a run in {folder}.")
    return Run(read_run(found[0]))
