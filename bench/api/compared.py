"""A comparison in Python: two runs, or the cells of one, with a verdict for each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from bench.api.html import notebook_html
from bench.api.tables import flat_frame
from bench.api.wording import all_in_python, says_python
from bench.judge.alike import Alike
from bench.judge.between import between_machines
from bench.judge.compare import Comparison as Compared
from bench.judge.compare import Report, compare
from bench.judge.differences import check_allowed_kinds, refuse
from bench.judge.matching import Matched, match_cells, match_runs, match_targets
from bench.numbers import MISSING, RATE_UNITS, TIME_UNITS, ratio, with_unit
from bench.present.ci.tables import Table
from bench.present.compare import cautions, report_json, report_text, sentences
from bench.present.sides import named, names_of
from bench.store.machines import by_machine
from bench.store.run import StoredRun, remarks_of

if TYPE_CHECKING:
    import pandas

_WIDTH = 80


class Comparison:
    """Cells compared with a baseline: an effect with its interval, and a verdict.

    ``print(comparison)`` prints what ``bench compare`` does; a notebook shows it as HTML. In
    ``rows`` and ``table`` the baseline is ``a``, and what is compared with it is ``b``.
    """

    def __init__(self, report: Report, remarks: Sequence[str] = ()) -> None:
        if not isinstance(report, Report):
            raise TypeError("bench.Run.compare() makes a bench.Comparison; nothing else does")
        self._report = report
        self._remarks = tuple(remarks)

    @property
    def rows(self) -> list[dict[str, object]]:
        """A dictionary per pair of cells, as in ``bench compare --json``."""
        found = report_json(self._report)["comparisons"]
        assert isinstance(found, list)
        return found

    @property
    @says_python
    def table(self) -> pandas.DataFrame:
        """A row per pair of cells: ``a_model``, ``b_target``, ``verdict``, ``ratio_value``, ...

        ``ratio_value`` is of times, ``b`` over ``a``: of a query, or of a sample where throughput
        is compared; below 1 ``b`` is faster.
        """
        return flat_frame(self.rows)

    @property
    def verdicts(self) -> dict[str, int]:
        """How many pairs got each verdict: ``faster``, ``slower``, ``same``, ``inconclusive``,
        ``contention-dependent``. ``faster``: what is compared is faster than the baseline."""
        counts: dict[str, int] = {}
        for effect in self._report.effects:
            counts[effect.verdict.value] = counts.get(effect.verdict.value, 0) + 1
        return counts

    @property
    def sentences(self) -> list[str]:
        """What was found, in words."""
        return sentences(self._report)

    @property
    def warnings(self) -> list[str]:
        """What could not be read or compared, and caveats for the verdicts."""
        return all_in_python([*self._remarks, *cautions(self._report)])

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items())
        return f"<bench.Comparison: {counts or 'no speed was compared'}>"

    def __str__(self) -> str:
        return report_text(self._report, _WIDTH).plain.rstrip("\n")

    def _repr_html_(self) -> str:
        matches = [one.match for one in self._report.comparisons]
        alike = Alike(m.a.cell for m in matches), Alike(m.b.cell for m in matches)
        rows = [_row(one, self._report.matched, alike) for one in self._report.comparisons]
        header = (
            "Compared",
            "Baseline",
            "Baseline figure",
            "Compared figure",
            "Time ratio",
            "Verdict",
        )
        table = Table(header, rows, numbers=frozenset({2, 3, 4}), names=frozenset({0, 1}))
        return notebook_html("Comparison", [table], self.sentences, self.warnings)


def _row(found: Compared, matched: Matched, alike: tuple[Alike, Alike]) -> tuple[str, ...]:
    sides = zip((found.match.a, found.match.b), alike, strict=True)
    a, b = (_called(cells.label(side.cell), side.machine) for side, cells in sides)
    a = "" if a == b else a  # two runs of one cell
    effect = found.effect
    if effect is None:
        why = named(found.missing, names_of(found.match, matched))
        return (b, a, MISSING, MISSING, MISSING, why)
    units = TIME_UNITS if effect.measure == "latency" else RATE_UNITS
    values = (with_unit(value, units) for value in (effect.a, effect.b))
    times = ratio(effect.ratio.estimate, effect.ratio.low, effect.ratio.high)
    return (b, a, *values, times, effect.verdict.value)


def _called(label: str, machine: str) -> str:
    return f"{label} on {machine}" if machine else label


def compare_runs(
    run: StoredRun,
    baseline: StoredRun | None,
    *,
    cells: Sequence[str],
    allow: Collection[str],
    margin: float,
    confidence: float,
) -> Comparison:
    """A run against a baseline, or its own cells or targets against each other.

    Raises `SpecError` where nothing can be matched, or where something differs that is not allowed.
    """
    check_allowed_kinds(tuple(allow))
    matched, told = _matched(run, baseline, cells, allow)
    report = compare(matched, allow, margin, confidence)
    refuse(report.differences, allow)
    runs = [run] if baseline is None else [baseline, run]
    return Comparison(report, [*remarks_of(runs), *told])


def _matched(
    run: StoredRun, baseline: StoredRun | None, cells: Sequence[str], allow: Collection[str]
) -> tuple[Matched, list[str]]:
    """What is compared with what, and what has to be told."""
    if baseline is None:
        return (match_cells(run, cells) if cells else match_targets(run)), []
    machines = by_machine([baseline, run])
    if len(machines) > 1:
        return between_machines(machines, None, cells, allow)
    return match_runs(baseline, run, cells), []
