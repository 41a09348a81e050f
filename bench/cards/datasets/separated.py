"""CSV and TSV files: which character separates, what a quote means, and which cells are numbers.

`pyarrow` reads the rows. It mends broken quoting in silence, so that is looked for first.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cards.card import Card, ColumnsCard
from bench.errors import SpecError, as_sentence, first_line

if TYPE_CHECKING:
    import pyarrow as pa

#: What separates the cells: commas in ``.csv``, else tabs, unless the names of the columns only
#: come apart by another (Excel writes semicolons where the comma is the decimal sign).
_DELIMITERS = (",", "\t", ";", "|")
#: A cell that is in quotes as a whole, and doubles those inside (RFC 4180, section 2).
_IN_QUOTES = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class _Layout:
    """How a file is to be read: the names of its columns, and the text of the rows."""

    names: list[str]
    delimiter: str
    rows: str


def read(path: Path, card: Card) -> pa.Table:
    """The table in ``path``. Raises `SpecError` naming the line of what is wrong.

    Lines that begin with ``#`` before the first row are comments, the last of which may name the
    columns.
    """
    layout = _layout(_text(path), path, card)
    quoted = _quotes_are_marks(layout, path)
    table = _parsed(layout, quoted, path)
    kept = _kept_as_text(card)
    for place, name in enumerate(layout.names):
        if name not in kept:
            table = table.set_column(place, name, _typed(table.column(place)))
    return table


def _text(path: Path) -> str:
    data = path.read_bytes()
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # Excel's "Unicode text"
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"{path}: not a readable {path.suffix[1:]} file: line {line} is not UTF-8; save the "
            "file as UTF-8."
        ) from error
    if not text.strip():
        raise SpecError(f"{path}: not a readable {path.suffix[1:]} file: it is empty.")
    return text


# -- the header -----------------------------------------------------------------------------------


def _layout(text: str, path: Path, card: Card) -> _Layout:
    """The first way to read the beginning that gives the columns that the card names."""
    usual = "," if path.suffix.lower() == ".csv" else "\t"
    needed = _needed(card)
    ways = [
        way
        for delimiter in (usual, *(d for d in _DELIMITERS if d != usual))
        for way in _headers(text, delimiter)
    ]
    for way in ways:
        if needed <= set(way.names):
            return way
    missing = sorted(needed - set(ways[0].names)) if ways else sorted(needed)
    names = ", ".join(map(repr, ways[0].names[:8])) if ways else "nothing"
    raise SpecError(
        f"{path}: there is no column {missing[0]!r}; its first line names {names}. Map the "
        "columns in `dataset.columns` of the card, or put the names in the first line."
    )


def _headers(text: str, delimiter: str) -> Iterator[_Layout]:
    """The names may stand in the first row, in the last comment, or behind a ``#`` of their own."""
    stream = io.StringIO(text, newline="")
    comments: list[str] = []
    start = 0
    for line in stream:
        if not line.startswith("#"):
            break
        comments.append(line)
        start += len(line)
    for skipped in dict.fromkeys((start, 0)):
        first = _first_record(text[skipped:], delimiter)
        if first is not None:
            yield _Layout(first[0], delimiter, first[1])
    for comment in comments[-1:]:
        named = _first_record(comment.lstrip("# "), delimiter)
        if named is not None:
            yield _Layout(named[0], delimiter, text[start:])


def _first_record(text: str, delimiter: str) -> tuple[list[str], str] | None:
    """The cells of the first record that holds something, and the text after it."""
    stream = io.StringIO(text, newline="")
    try:
        names = next((row for row in csv.reader(stream, delimiter=delimiter) if row), None)
    except csv.Error:  # a quote that isn't closed swallows the file
        return None
    return None if names is None else (names, stream.read())


def _needed(card: Card) -> set[str]:
    """The columns without which the card can't be followed."""
    assert card.dataset is not None
    columns = card.dataset.columns or ColumnsCard()
    needed = {name for name in (columns.label, columns.score, *columns.text) if name}
    if not columns.text:
        for tensor in card.inputs:
            named = columns.inputs.get(tensor.name, tensor.name)
            needed |= {named} if isinstance(named, str) else set(named)
    return needed


def _kept_as_text(card: Card) -> tuple[str, ...]:
    """Columns whose cells are text even where they look like something else: "007" is not 7, and
    the class called "true" is no truth value."""
    assert card.dataset is not None
    columns = card.dataset.columns or ColumnsCard()
    label = (columns.label or "label",) if card.dataset.classes else ()
    return (*columns.text, *label)


# -- the rows -------------------------------------------------------------------------------------


def _quotes_are_marks(layout: _Layout, path: Path) -> bool:
    """Whether quotes enclose cells, as in any CSV file, or are characters like others.

    In tab-separated text they are others (IANA, text/tab-separated-values): the sentences of GLUE
    begin with quotes that never close. Programs that write CSV with tabs enclose cells all the
    same, so there the cells decide.
    """
    if '"' not in layout.rows:
        return True
    problem = _problem(layout, csv.QUOTE_MINIMAL)
    if layout.delimiter == "\t" and not _problem(layout, csv.QUOTE_NONE):
        literal = _rows(layout, csv.QUOTE_NONE)
        cells = (cell for _, row in literal for cell in row if '"' in cell)
        return not problem and all(map(_IN_QUOTES.fullmatch, cells))
    if problem:
        raise SpecError(f"{path}: {problem}")
    return True


def _rows(layout: _Layout, quoting: int) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold something, each with the number of the line, counted from the first row,
    that it ends on. Raises `csv.Error` for broken quoting."""
    usual = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(
            io.StringIO(layout.rows, newline=""),
            delimiter=layout.delimiter,
            quoting=quoting,  # type: ignore[arg-type]
            strict=True,
        )
        for row in reader:
            if row:
                yield reader.line_num, row
    finally:
        csv.field_size_limit(usual)


def _problem(layout: _Layout, quoting: int) -> str:
    """What is wrong with the rows, as a sentence; empty where nothing is."""
    number, line, width = -1, 1, len(layout.names)
    try:
        for number, (line, row) in enumerate(_rows(layout, quoting)):
            if len(row) != width:
                return (
                    f"row {number} (it ends on line {line} below the names) has {len(row)} cells, "
                    f"but there are {width} columns; fix the row, or quote cells that contain "
                    "separators."
                )
    except csv.Error as error:
        return (
            f"the quotes of row {number + 1} (below line {line} below the names) are broken: "
            f'{error}; write a quote inside the text twice ("").'
        )
    return ""


def _parsed(layout: _Layout, quoted: bool, path: Path) -> pa.Table:
    import pyarrow as pa  # pyarrow: start-up
    from pyarrow import csv as arrow_csv  # pyarrow: start-up

    data = layout.rows.encode()
    text = dict.fromkeys(layout.names, pa.string())
    if not layout.rows.strip("\r\n"):
        return pa.table([pa.array([], pa.string())] * len(layout.names), layout.names)
    try:
        return arrow_csv.read_csv(
            io.BytesIO(data),
            # A row has to fit into a block, so the file is one.
            arrow_csv.ReadOptions(
                column_names=layout.names, block_size=min(len(data) + 1, 2**31 - 1)
            ),
            arrow_csv.ParseOptions(
                delimiter=layout.delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
            ),
            arrow_csv.ConvertOptions(column_types=text),
        )
    except pa.ArrowException as error:
        quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        reason = _problem(layout, quoting) or as_sentence(first_line(error))
        raise SpecError(f"{path}: not a readable {path.suffix[1:]} file: {reason}") from error


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers, numbers or truth values where all cells are such or missing; else the text."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.compute as pc  # pyarrow: start-up
    from pyarrow import csv as arrow_csv  # pyarrow: start-up

    cells = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(cells, value_set=pa.array(arrow_csv.ConvertOptions().null_values))
    cells = pc.if_else(missing, pa.scalar(None, pa.string()), cells)
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return cells.cast(kind)
        except pa.ArrowInvalid:
            continue
    return column
