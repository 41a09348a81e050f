"""What a matrix is made of: rows (models), columns (machine and target), and a figure in each cell.

A figure that doesn't count (wrong outputs, another place, a failure) is a word instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.bounds import in_words
from bench.defaults import CONFIDENCE, MARGIN
from bench.judge.alike import Size
from bench.judge.energy import Way
from bench.judge.matching import Side
from bench.record.result import Estimate, Kept, Record
from bench.store.machines import Machine

By = Literal["latency", "throughput", "energy", "price", "accuracy"]

#: Words in place of a figure, and what each means.
WORDS: dict[str, str] = {
    "-": "not measured",
    "WRONG": "its outputs, placement or precision are not what was requested",
    "fallback": "ran elsewhere, in part or entirely, as allowed",
    "simulated": "the device is simulated, so its speed is meaningless",
    "other tool": "measured by another tool, without an interval",
    "absent": "the runtime or the device is not available",
    "unsupported": "not supported by the runtime",
    "no export": "the model could not be exported",
    "no score": "outputs could not be scored",
    "changed": "the model's files changed during the run",
    "crash": "the worker died",
    "timeout": "the worker did not answer in time",
    "memory": "too little memory",
    "failed": "failed for another reason",
    "too few": "fewer than two invocations",
    "partial": "measuring was stopped early",
    "not scored": "no labelled data, or scoring was left out",
    "no energy": "no energy of the scope and the kind of reading that most cells have",
    "no price": "no hourly price is known for the machine (--price NAME=PRICE)",
}
#: Kinds of failure (`bench.errors`) and the words for them.
FAILURES = {
    "unavailable": "absent",
    "unsupported": "unsupported",
    "export-failed": "no export",
    "accuracy-failed": "no score",
    "model-changed": "changed",
    "crashed": "crash",
    "timeout": "timeout",
    "out-of-memory": "memory",
}


@dataclass(frozen=True)
class Price:
    """What an hour of a machine costs."""

    per_hour: float
    currency: str = ""


def in_several(currencies: Collection[str]) -> str:
    """``EUR and USD``; a price without a currency is in one of its own."""
    return " and ".join(sorted(name or "no currency" for name in currencies))


@dataclass(frozen=True)
class Asked:
    """What a matrix is asked for.

    ``within`` is the loss of accuracy that counts as nothing, of a fraction of 1 (0.005: half a
    point). ``prices`` are by the names of machines.
    """

    by: By = "latency"
    scenarios: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    bound_ns: int | None = None
    within: float | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)
    margin: float = MARGIN
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class Column:
    """A target of a machine; ``detail`` tells it from the same target used in another way, which
    has another ``use``."""

    machine: Machine
    target: str
    kind: str  #: CPU, GPU, NPU, ...
    detail: str = ""
    use: tuple[object, ...] = ()


@dataclass(frozen=True)
class Row:
    """One model in one variant under one load.

    ``apart`` tells it from another row of the same name that is another model, has inputs of
    another shape (``sizes``), or other labelled ``data``. ``batch`` is None where each cell has its
    own.
    """

    model: str
    sha256: str
    variant: str
    scenario: str
    batch: int | None = None
    apart: str = ""
    sizes: tuple[Size, ...] = ()
    data: str = ""

    @property
    def named(self) -> tuple[object, ...]:
        """What rows of one name have in common."""
        return self.model, self.variant, self.scenario, self.batch


@dataclass(frozen=True)
class Entry:
    """One cell of the matrix: a figure, or a ``word`` (of `WORDS`) in its place."""

    row: Row
    column: Column
    word: str
    side: Side | None = None
    scored: Side | None = None  #: whose predictions tell how accurate it is
    value: Estimate | None = None  #: ns, samples/s, J or money a sample, fraction
    rate: Estimate | None = None  #: samples/s of this load, one query after another
    kept: Kept | None = None  #: whether the bound holds; None where none was asked for
    best: bool = False  #: the best of its row, or not told apart from it
    leader: bool = False  #: has the best figure of its row

    @property
    def usable(self) -> bool:
        """Whether it has a figure, and keeps the bound that was asked for."""
        return not self.word and self.kept in (None, "met")

    @property
    def record(self) -> Record:
        assert self.side is not None
        assert self.side.record is not None
        return self.side.record

    @property
    def why(self) -> str:
        """The message of a failure; empty for others."""
        record = self.side.record if self.side is not None else None
        return record.failure.message if record is not None and record.failure else ""

    @property
    def bound_words(self) -> str:
        return in_words(self.side.cell) if self.side is not None else ""


@dataclass(frozen=True)
class Matrix:
    """The table: ``entries`` by row and column, and what has to be said of it as a whole."""

    asked: Asked
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    entries: Mapping[tuple[Row, Column], Entry]
    #: every cell that was found, of all runs: what ratios within a machine are made of
    found: Mapping[tuple[Row, Column], tuple[Side, ...]]
    notes: tuple[str, ...] = ()
    energy_way: Way | None = None  #: what energies are of, and how they were read

    def of_row(self, row: Row) -> list[Entry]:
        return [self.entries[row, column] for column in self.columns]

    @property
    def machines(self) -> list[Machine]:
        return list(dict.fromkeys(column.machine for column in self.columns))

    def __iter__(self) -> Iterator[Entry]:
        return (self.entries[row, column] for row in self.rows for column in self.columns)

    @property
    def currencies(self) -> set[str]:
        """Of the machines that have a price."""
        names = {machine.name for machine in self.machines}
        return {p.currency for name, p in self.asked.prices.items() if name in names}

    @property
    def currency(self) -> str:
        return next(iter(self.currencies), "")
