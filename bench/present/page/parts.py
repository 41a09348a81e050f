"""What a page is made of: tables, pictures with their data, and sections. Pure data, no HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.numbers import MISSING, Unit, common_scale, half_width, in_unit, significant
from bench.present.devices import busy_of
from bench.record.result import Estimate, Record
from bench.store.scores import metric_of

#: Rows of a figure's table: more belong into a file.
MOST_DATA_ROWS = 500


@dataclass(frozen=True)
class Column:
    """A column of a table.

    ``keys`` name the raw values of its entries in CSV (a value and its bounds are three); they
    carry their unit (``median_ns``). ``unit`` is the one that people read.
    """

    keys: tuple[str, ...]
    title: str
    unit: str = ""
    numeric: bool = False
    meaning: str = ""
    csv_only: bool = False  #: what nobody reads on a page


@dataclass(frozen=True)
class Entry:
    """One cell of a table: what people read, and the raw ``values`` for the column's keys (none:
    the text itself). ``tone`` is ``good``, ``bad``, ``warn`` or ``dim``."""

    text: str
    interval: str = ""
    values: tuple[float | int | None, ...] = ()
    tone: str = ""
    detail: str = ""  #: more words, shown when asked for
    detail_title: str = "log"


@dataclass(frozen=True)
class Table:
    """Rows of entries under columns; ``left_out`` says what is not in it, and where that is."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    left_out: str = ""
    filters: tuple[int, ...] = ()  #: columns that get a menu of their values

    @property
    def shown(self) -> tuple[Column, ...]:
        """The columns that say something in some row; the others are in CSV alone."""
        return tuple(
            column
            for place, column in enumerate(self.columns)
            if not column.csv_only
            and (not self.rows or any(r[place].text not in (MISSING, "") for r in self.rows))
        )


@dataclass(frozen=True)
class Picture:
    """A plotly figure as JSON-ready data, what it shows in words, and its data as a table."""

    name: str
    title: str
    words: str  #: the text equivalent: what a reader sees in it
    spec: dict[str, Any]
    table: Table | None
    height: int
    wide: bool = False
    data_of: str = ""  #: name of the table that has the data, where it is not its own

    @property
    def data(self) -> Table | None:
        """The table, cut where it is too long for a page."""
        if self.table is None:
            return None
        rows, left_out = first_rows(self.table.rows, MOST_DATA_ROWS, "`bench show RUN --json`")
        return replace(self.table, rows=rows, left_out=left_out or self.table.left_out)


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, pictures and tables under it."""

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    remarks: tuple[str, ...] = ()  #: small print

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.paragraphs or self.pictures or self.tables)


@dataclass(frozen=True)
class Card:
    """One answer: a large number, and how many ``times`` as good it is as what ``than`` names."""

    why: str
    number: str
    unit: str = ""
    interval: str = ""
    times: str = ""
    than: str = ""
    what: str = ""
    figures: tuple[str, ...] = ()
    colour: str = ""


@dataclass(frozen=True)
class Banner:
    """What a reader has to know before any figure; each line with the place that tells more."""

    words: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """The first screen of a run: which to choose, how sure, and one picture."""

    headline: str = ""
    cards: tuple[Card, ...] = ()
    said: tuple[str, ...] = ()
    sure: tuple[str, ...] = ()
    picture: Picture | None = None


@dataclass(frozen=True)
class RunPart:
    """Everything on one run."""

    letter: str
    title: str
    subtitle: str
    answers: tuple[Answer, ...]
    sections: tuple[Section, ...]
    sure: tuple[str, ...] = ()  #: what the checks say about all of it
    banner: Banner | None = None


def estimate_entry(found: Estimate | None, unit: Unit) -> Entry:
    """An estimate with its half-width; three raw values."""
    if found is None:
        return Entry(MISSING, values=(None, None, None), tone="dim")
    width = half_width(found.value, found.low, found.high)
    return Entry(in_unit(found.value, unit), width, (found.value, found.low, found.high))


def figure_entry(found: Estimate | None, lone: float | None, unit: Unit) -> Entry:
    """An estimate, or the ``lone`` figure of one invocation, which has no bounds."""
    if found is None and lone is not None:
        return Entry(in_unit(lone, unit), values=(lone, None, None))
    return estimate_entry(found, unit)


def number_entry(value: float | None, unit: Unit | None = None) -> Entry:
    """A bare number; a count as it is."""
    if value is None:
        return Entry(MISSING, values=(None,), tone="dim")
    count = str(value) if isinstance(value, int) else significant(value)
    return Entry(in_unit(value, unit) if unit else count, values=(value,))


#: The keys of `busy_entry`, and the unit that people read.
BUSY = Column(
    ("busy_share", "busy_low", "busy_high", "busy_at_most"),
    "Device busy",
    "%",
    numeric=True,
    meaning="share of a call's time in which the device worked; ≤ where it may be less",
)


def busy_entry(record: Record) -> Entry:
    """How much of a call's time the device worked, with the bounds; four raw values."""
    busy = busy_of(record)
    if busy is None:
        return Entry(MISSING, values=(None, None, None, None), tone="dim")
    found = busy.share
    value, low, high = (f"{100 * x:.0f}" for x in (found.value, found.low, found.high))
    values = (found.value, found.low, found.high, busy.at_most)
    return Entry(f"{'≤' if busy.at_most else ''}{value}", f"({low}–{high})", values)


def score_entry(record: Record | None) -> Entry:
    """The score of a record on its metric's scale, with its half-width; three raw values."""
    if record is None or record.accuracy is None:
        return Entry(MISSING, values=(None, None, None), tone="dim")
    found, scale = record.accuracy.value, metric_of(record).scale
    shown = (found.value, found.low, found.high)
    return Entry(scale.bare(found.value), scale.side(found.half_width), shown)


def score_unit(records: Iterable[Record]) -> str:
    """The unit that a column of scores names; none where their scales differ."""
    scored = [record for record in records if record.accuracy is not None]
    scale = common_scale(metric_of(record).scale for record in scored)
    return scale.unit if scale else ""


def bounds(stem: str, unit: str = "") -> tuple[str, str, str]:
    """The keys of an estimate: ``median_ns``, ``median_low_ns``, ``median_high_ns``."""
    tail = f"_{unit}" if unit else ""
    return f"{stem}{tail}", f"{stem}_low{tail}", f"{stem}_high{tail}"


def first_rows(
    rows: Sequence[tuple[Entry, ...]], most: int, where: str
) -> tuple[tuple[tuple[Entry, ...], ...], str]:
    """At most so many rows, and the sentence that says what is left out."""
    if len(rows) <= most:
        return tuple(rows), ""
    return tuple(rows[:most]), f"The first {most:,} of {len(rows):,} rows; {where} has all of them."
