"""How a matrix calls its rows, columns and figures, wherever it is drawn."""

from __future__ import annotations

from collections.abc import Iterable

from bench.judge.matrix.cells import WORDS, By, Column, Entry, Matrix, Row, in_several
from bench.judge.matrix.front import score_metric
from bench.judge.matrix.machines import Beside
from bench.numbers import (
    ENERGY_UNITS,
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    Scale,
    Unit,
    column_unit,
    duration,
    half_width,
    in_unit,
    interval_words,
    printable,
    significant,
)
from bench.present.energy import way_words
from bench.record.result import Estimate
from bench.variants import suffix

#: Money is told for so many samples.
MILLION = 1e6
TITLES: dict[By, str] = {
    "latency": "Latency of a query, median",
    "throughput": "Throughput, samples per second",
    "energy": "Energy per sample, gross",
    "price": "Price of a million samples",
    "accuracy": "Accuracy",
}
SUPERLATIVES: dict[By, str] = {
    "latency": "fastest",
    "throughput": "fastest",
    "energy": "thriftiest",
    "price": "cheapest",
    "accuracy": "most accurate",
}
BEST, MISSED, UNSURE = "*", "!", "?"


def row_name(row: Row) -> str:
    """The model, its variant, and what tells the row from others of that name."""
    load = [row.apart, "" if row.batch is None else f"batch {row.batch}"]
    words = ", ".join(filter(None, load))
    return _shown(f"{row.model}{suffix(row.variant)}" + (f" ({words})" if words else ""))


def target_name(column: Column) -> str:
    """The target, and how it is used where that differs."""
    return _shown(", ".join(filter(None, (column.target, column.detail))))


def machine_name(column: Column) -> str:
    return _shown(column.machine.name)


def place_name(column: Column) -> str:
    """``gpu-box torch:cuda:0``."""
    return f"{machine_name(column)} {target_name(column)}"


def _shown(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)


class Figures:
    """How the figures of a matrix are written: one unit for all of them."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self._by = matrix.asked.by
        found = [e for e in matrix if e.value is not None]
        units = {"latency": TIME_UNITS, "throughput": RATE_UNITS, "energy": ENERGY_UNITS}
        known = units.get(self._by)
        values = [e.value.value for e in found if e.value is not None]
        self.unit: Unit | None = column_unit(values, known) if known else None
        self.scales = {score_metric(e).scale for e in found} if self._by == "accuracy" else set()

    @property
    def unit_name(self) -> str:
        if self.unit is not None:
            return self.unit.name
        if self._by == "price":
            return self.matrix.currency
        scale: Scale | None = next(iter(self.scales)) if len(self.scales) == 1 else None
        return scale.unit if scale else ""

    def figure(self, entry: Entry) -> tuple[str, str]:
        """The number and its half-width; of a word the word alone."""
        value = entry.value
        if entry.word or value is None:
            return entry.word, ""
        if self._by == "accuracy":
            scale = score_metric(entry).scale
            return scale.bare(value.value), scale.side(value.half_width)
        width = half_width(value.value, value.low, value.high)
        if self.unit is not None:
            return in_unit(value.value, self.unit), width
        return significant(value.value * MILLION), width

    def mark(self, entry: Entry) -> str:
        """What is said of a figure by a sign behind it."""
        if entry.word:
            return ""
        if entry.kept == "missed":
            return MISSED
        if entry.kept == "inconclusive":
            return UNSURE
        return BEST if entry.best else ""

    def words(self, entry: Entry) -> str:
        """``153 µs ±0.4%`` in a sentence."""
        number, width = self.figure(entry)
        unit = self.unit_name
        if self._by == "price":
            return f"{money(entry.value, unit)}"
        joined = number + (unit if unit in ("%", "/s") else f" {unit}".rstrip())
        return f"{joined} {width}".strip()


def money(price: Estimate | None, currency: str) -> str:
    """``0.0121 EUR for a million samples (0.0118 to 0.0124)``."""
    if price is None:
        return "at an unknown price"
    value, low, high = (x * MILLION for x in (price.value, price.low, price.high))
    within = interval_words(value, low, high, significant)
    return f"{significant(value)} {currency}".rstrip() + f" for a million samples {within}"


def legend(matrix: Matrix) -> list[str]:
    """The words that stand in place of figures, and the signs behind them."""
    entries = list(matrix)
    confidence = 100 * matrix.asked.confidence
    found = [f"± is the {confidence:g}% interval of a figure taken alone."]
    if any(entry.best for entry in entries):
        found.append(
            f"{BEST} is the best for its model, or not distinguishable from it; with "
            f"{confidence:g}% confidence the best is among those marked."
        )
    if any(entry.kept == "missed" for entry in entries):
        found.append(f"{MISSED} misses the bound.")
    if any(entry.kept == "inconclusive" for entry in entries):
        found.append(f"{UNSURE} has too few samples, or too wide an interval, to tell.")
    words = [word for word in WORDS if any(entry.word == word for entry in entries)]
    if words:
        found.append("; ".join(f"{word}: {WORDS[word]}" for word in words) + ".")
    return found


def machine_words(one: Beside) -> str:
    """``gpu-box: canary 121 µs, wandered by 24% ...``."""
    said = ["no canary" if one.canary_ns is None else f"canary {duration(one.canary_ns)}"]
    if one.wandered and one.spread is not None:
        said[0] += f", drifted by {100 * (one.spread - 1):.0f}%: its figures may be off by as much"
    if one.disturbed:
        said.append(f"other programs disturbed {one.disturbed} of {one.cells} cells")
    if one.price is not None:
        said.append(f"{one.price.per_hour:g} {one.price.currency}".rstrip() + " an hour")
    return f"{_shown(one.machine.name)}: {'; '.join(said)}."


def notes(matrix: Matrix, machines: Iterable[Beside], problems: Iterable[str]) -> list[str]:
    """All small print: signs, machines, what was left out and what could not be read."""
    return [
        *legend(matrix),
        *_batches(matrix),
        *([f"energies are of {way_words(matrix.energy_way)}."] if matrix.energy_way else []),
        *_prices(matrix),
        *matrix.notes,
        *(machine_words(one) for one in machines),
        "the canary is bench's reference workload, the same loop on one core of each machine.",
        *_unread(list(problems)),
    ]


def _prices(matrix: Matrix) -> list[str]:
    """Why no cheapest is named where there are prices."""
    if len(matrix.currencies) < 2:
        return []
    return [f"prices are in {in_several(matrix.currencies)}, so no cheapest is named."]


def _batches(matrix: Matrix) -> list[str]:
    """Where the cells of one row have several batches: the largest that was measured counts."""
    used = sorted({e.side.cell.batch for e in matrix if e.side is not None and not e.word})
    if matrix.asked.by in ("throughput", "price") and len(used) > 1:
        batches = ", ".join(map(str, used))
        return [f"each target has the largest batch that was measured on it ({batches})."]
    return []


def _unread(problems: list[str]) -> list[str]:
    if len(problems) < 2:
        return [f"not compared: {printable(text, limit=200)}" for text in problems]
    return [
        f"accuracies of {len(problems)} files are not compared; the first: "
        f"{printable(problems[0], limit=200)}"
    ]
