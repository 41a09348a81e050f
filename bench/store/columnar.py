"""Columns of equal length as Parquet files, read and written: the one place that knows DuckDB.

A column is an array of numbers or truth values, `Names`, or `Lists`. DuckDB works on one thread:
rows keep their order, the same columns give the same bytes, and no thread is missing after a fork.
It loads no extension, and writes no other file.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError, first_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "async_threads": 0,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    # Fixed, because what is buffered before it is written follows from it, not from the machine.
    "memory_limit": "4GiB",
    "temp_directory": "",  # by default a folder beside the user's files
}
#: As DuckDB has it in 2.0; named because it decides the bytes.
_ROWS_A_GROUP = 122_880
_LEVEL = 3
_NUMBERS = re.compile(r"U?(TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|BOOLEAN")
#: DuckDB's names of the kinds of numbers in lists, by numpy's, with their bytes behind.
_KINDS = {"i": "INT", "f": "FLOAT"}
#: Kinds of texts, and what counts their bytes.
_TEXTS = {"VARCHAR": "strlen", "BLOB": "octet_length"}


class Unreadable(SpecError):
    """A file that is lost, broken, or holds something else. Its text is a reason without a full
    stop and without the path."""


@dataclass(frozen=True)
class Names:
    """Texts that repeat: ``names`` in order, and for each row which one; -1 where it has none."""

    names: Sequence[str]
    codes: Array

    def __len__(self) -> int:
        return len(self.codes)

    def texts(self) -> Array:
        """A text each row, or None: an array of objects."""
        return np.array([*self.names, None], dtype=object)[self.codes]


@dataclass(frozen=True)
class Lists:
    """A list of numbers (signed, or with fractions) each row: the values of all one after the
    other, and how many each row has; -1 where it has no list."""

    values: Array
    lengths: Array

    @classmethod
    def of_rows(cls, rows: Array) -> Lists:
        """Those of an array of shape (rows, n)."""
        return cls(rows.ravel(), np.full(len(rows), rows.shape[1]))

    def __len__(self) -> int:
        return len(self.lengths)

    def of(self, places: Array) -> Lists:
        """Those of some rows."""
        sizes = np.maximum(self.lengths, 0)
        starts, mine = np.cumsum(sizes) - sizes, sizes[places]
        # For each value kept: where its list begins, and its place in the list.
        within = np.arange(mine.sum()) - np.repeat(np.cumsum(mine) - mine, mine)
        return Lists(self.values[np.repeat(starts[places], mine) + within], self.lengths[places])

    def rows(self) -> Array:
        """As an array of shape (rows, n). Raises `Unreadable` where their lengths differ."""
        width = int(self.lengths[0]) if len(self) else 0
        if width < 0 or (self.lengths != width).any():
            raise Unreadable("it has lists of different lengths")
        return self.values.reshape(len(self), width)


#: Numbers are a masked array where, and only where, a row has none.
Column = Array | Names | Lists


@dataclass(frozen=True)
class Claims:
    """What a file says that it holds, before any of it is read."""

    columns: int
    values: int


def make_ready() -> None:
    """Import what reads and writes, which takes a moment."""
    _database(os.getpid())


# -- reading --------------------------------------------------------------------------------------


def column_names(path: Path) -> list[str]:
    """Raises `Unreadable`."""
    with _cursor(path) as cursor:
        return list(_types(cursor, path))


def read(path: Path, columns: Sequence[str] | None = None) -> dict[str, Column]:
    """The columns of a file that are named, by default all, with the rows in their order.

    Raises `Unreadable`, also where one of them is not there.
    """
    with _cursor(path) as cursor:
        types = _types(cursor, path)
        wanted = list(types) if columns is None else list(columns)
        for name in wanted:
            if name not in types:
                raise Unreadable(f"it has no column {name}")
        return _read(cursor, path, {name: types[name] for name in wanted})


def read_texts(path: Path) -> dict[str, Names]:
    """The columns of texts. Raises `Unreadable`."""
    with _cursor(path) as cursor:
        types = _types(cursor, path).items()
        found = _read(cursor, path, {name: kind for name, kind in types if kind == "VARCHAR"})
        return {name: texts for name, texts in found.items() if isinstance(texts, Names)}


def claims(path: Path) -> Claims:
    """Raises `Unreadable`."""
    with _cursor(path) as cursor:
        columns, values = _fetched(
            cursor,
            "SELECT count(DISTINCT path_in_schema), coalesce(sum(num_values), 0) FROM "
            f"parquet_metadata({_literal(path)})",
        )[0]
        return Claims(int(columns), int(values))


def text_bytes(path: Path) -> dict[str, int]:
    """For each column of texts the bytes that it needs if each row has its longest: one that is
    stored once may stand in a million rows. Raises `Unreadable`."""
    found: dict[str, int] = {}
    with _cursor(path) as cursor:
        for name, kind in _types(cursor, path).items():
            if kind in _TEXTS:
                size = f"{_TEXTS[kind]}({_quoted(name)})"
                query = f"SELECT coalesce(max({size}), 0) * count(*) FROM {_rows_of(path)}"
                found[name] = int(_fetched(cursor, query)[0][0])
            elif any(text in kind for text in _TEXTS):
                raise Unreadable(f"its texts ({name[:80]}) are in lists")
    return found


def _types(cursor: DuckDBPyConnection, path: Path) -> dict[str, str]:
    """What the columns hold, in DuckDB's words."""
    rows = _fetched(cursor, f"DESCRIBE SELECT * FROM {_rows_of(path)}")
    if any("\0" in str(row[0]) for row in rows):  # which DuckDB takes for the end of a name
        raise Unreadable("a column's name is damaged")
    return {str(row[0]): str(row[1]) for row in rows}


def _read(cursor: DuckDBPyConnection, path: Path, types: Mapping[str, str]) -> dict[str, Column]:
    """All columns in one go, but for what texts there are and what is in lists."""
    names: dict[str, list[str]] = {}
    numbers: dict[str, str] = {}
    for name, kind in types.items():
        numbers[name] = _quoted(name)
        if kind == "VARCHAR":
            names[name] = _distinct(cursor, path, name)
            numbers[name] = _code(_quoted(name), names[name])
        elif _is_list(kind):
            numbers[name] = f"len({_quoted(name)})::INTEGER"
        elif not _NUMBERS.fullmatch(kind):
            raise Unreadable(f"its column {name[:80]} holds {kind[:80]}")
    found: dict[str, Column] = {}
    for name, values in _numbers(cursor, path, numbers).items():
        if name in names:
            found[name] = Names(names[name], np.ma.filled(values, -1))
        elif _is_list(types[name]):
            found[name] = Lists(_in_lists(cursor, path, name), np.ma.filled(values, -1))
        else:
            found[name] = values
    return found


def _is_list(kind: str) -> bool:
    return kind.endswith("[]") and _NUMBERS.fullmatch(kind[:-2]) is not None


def _numbers(
    cursor: DuckDBPyConnection, path: Path, expressions: Mapping[str, str]
) -> dict[str, Array]:
    if not expressions:
        return {}
    selected = ", ".join(f"{text} AS {_quoted(name)}" for name, text in expressions.items())
    with _interruptible():
        found = cursor.execute(f"SELECT {selected} FROM {_rows_of(path)}").fetchnumpy()
    return {name: found[name] for name in expressions}


def _distinct(cursor: DuckDBPyConnection, path: Path, name: str) -> list[str]:
    """The texts of a column, each once and in order."""
    query = f"SELECT DISTINCT {_quoted(name)} AS text FROM {_rows_of(path)}"
    return sorted(text for (text,) in _fetched(cursor, query) if text is not None)


def _code(column: str, names: Sequence[str]) -> str:
    """Which of the names each row has."""
    if not names:
        return "NULL::INTEGER"
    return f"enum_code({column}::ENUM({', '.join(map(_text, names))}))::INTEGER"


def _in_lists(cursor: DuckDBPyConnection, path: Path, name: str) -> Array:
    values = _numbers(cursor, path, {name: f"unnest({_quoted(name)})"})[name]
    if np.ma.isMaskedArray(values):
        raise Unreadable(f"its lists ({name[:80]}) have gaps")
    return values


# -- writing --------------------------------------------------------------------------------------


def packed(columns: Mapping[str, Column], level: int = _LEVEL) -> bytes:
    """A file of the columns; arrays of texts become `Names`, those of shape (rows, n) `Lists`.

    Raises `OSError` where there is no room for it.
    """
    sources: dict[str, Array] = {}
    selected = []
    for number, (name, column) in enumerate(columns.items()):
        own, expression = _as_sources(number, column)
        sources |= own
        selected.append(f"{expression} AS {_quoted(name)}")
    with _database(os.getpid()).cursor() as cursor:
        cursor.register("given", sources)
        return _copied(cursor, f"SELECT {', '.join(selected)} FROM given", level)


def repacked(
    path: Path,
    kept: Array | None = None,
    columns: Sequence[str] | None = None,
    level: int = _LEVEL,
) -> bytes:
    """A file with the rows of another that a mask keeps, and of it the columns that are named;
    nothing else that may be in such a file.

    Raises `Unreadable`, and `OSError` where there is no room for it.
    """
    with _cursor(path) as cursor:
        names = _types(cursor, path) if columns is None else columns
        query = f"SELECT {', '.join(map(_quoted, names))} FROM {_rows_of(path)}"
        # Not in one go with writing: where that fails, it must be known which of the two did.
        _fetched(cursor, f"CREATE TEMP TABLE given AS {query}")
        if kept is None:
            return _copied(cursor, "FROM given", level)
        cursor.register("mask", {"kept": np.asarray(kept, dtype=bool)})
        return _copied(
            cursor, "SELECT given.* FROM given POSITIONAL JOIN mask WHERE mask.kept", level
        )


def _as_sources(number: int, column: Column) -> tuple[dict[str, Array], str]:
    """The arrays that a column is made of, by names of their own, and what makes it of them."""
    own = f"c{number}"
    if isinstance(column, Names):
        return {own: column.texts()}, f"{own}::VARCHAR"
    if isinstance(column, Lists):
        return _of_lists(own, column)
    if column.ndim == 2:
        return _of_lists(own, Lists.of_rows(column))
    if column.dtype.kind in "OU":
        return {own: column.astype(object)}, f"{own}::VARCHAR"
    values = _with_nan(own, np.ma.getdata(column))
    if not np.ma.isMaskedArray(column):
        return {own: column}, values
    absent = f"{own}_absent"
    sources = {own: np.ma.getdata(column), absent: np.ma.getmaskarray(column)}
    return sources, f"CASE WHEN NOT {absent} THEN {values} END"


def _of_lists(own: str, lists: Lists) -> tuple[dict[str, Array], str]:
    ends = np.cumsum(np.maximum(lists.lengths, 0))
    rows = np.empty(len(lists), dtype=object)
    for row, (end, length) in enumerate(zip(ends.tolist(), lists.lengths.tolist(), strict=True)):
        rows[row] = lists.values[end - length : end] if length >= 0 else None
    if lists.values.dtype.kind not in _KINDS:
        raise SpecError(f"a column of lists holds {lists.values.dtype}: make it int64 or float64.")
    kind = f"{_KINDS[lists.values.dtype.kind]}{max(lists.values.dtype.itemsize, 4)}"
    values = f"{own}::{kind}[]"  # by name: there may be no list to tell
    if _has_nan(lists.values):
        values = f"list_transform({values}, lambda one: coalesce(one, 'nan'))"
    return {own: rows}, values


def _with_nan(name: str, values: Array) -> str:
    """DuckDB takes a NaN in an array for a place without a value."""
    return f"coalesce({name}, 'nan')" if _has_nan(values) else name


def _has_nan(values: Array) -> bool:
    return values.dtype.kind == "f" and bool(np.isnan(values).any())


def _copied(cursor: DuckDBPyConnection, query: str, level: int) -> bytes:
    import duckdb  # duckdb: start-up

    with tempfile.TemporaryDirectory(prefix="bench-columns-") as folder:
        file = Path(folder, "columns.parquet")
        try:
            _fetched(
                cursor,
                f"COPY ({query}) TO {_text(str(file))} (FORMAT parquet, CODEC zstd, "
                f"COMPRESSION_LEVEL {level}, ROW_GROUP_SIZE {_ROWS_A_GROUP}, USE_TMP_FILE false)",
            )
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            _database.cache_clear()
            raise OSError(errno.EIO, _reason(error)) from error
        return file.read_bytes()


# -- DuckDB ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _database(process: int) -> DuckDBPyConnection:
    """One for all files, in memory and empty: to open one takes longer than to read a file."""
    import duckdb  # duckdb: start-up

    return duckdb.connect(":memory:", config=_SETTINGS)


@contextmanager
def _cursor(path: Path) -> Iterator[DuckDBPyConnection]:
    """A connection of its own, to read a file. Raises `Unreadable`."""
    import duckdb  # duckdb: start-up

    try:
        if not path.is_file():
            raise Unreadable("it is not a file" if path.exists() else "there is no such file")
        with _database(os.getpid()).cursor() as cursor:
            yield cursor
    except (duckdb.Error, UnicodeError) as error:
        # A broken file may have shaken what all share.
        _database.cache_clear()
        raise Unreadable(_reason(error)) from error


def _fetched(cursor: DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    with _interruptible():
        return cursor.execute(query).fetchall()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C as Python tells it: DuckDB makes another error of it."""
    try:
        yield
    except RuntimeError as error:
        if "interrupted" in str(error):
            raise KeyboardInterrupt from error
        raise


def _rows_of(path: Path) -> str:
    return f"read_parquet({_literal(path)}, hive_partitioning = false)"


def _literal(path: Path) -> str:
    """A path that stands for one file: not for a pattern, and not for an address."""
    return _text(re.sub(r"[*?[]", r"[\g<0>]", os.path.abspath(path)))


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _reason(error: Exception) -> str:
    """The first line of what DuckDB says, without the kind of error in front."""
    return re.sub(r"^[A-Z][\w ]* Error: ", "", first_line(error))[:200]
