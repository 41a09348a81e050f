"""Columns of an Arrow table as arrays, texts and labels; what can't be read is named by its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError


def values_of(table: Any, name: str, path: Path) -> Any:
    """The values of a column: without gaps, and without a dictionary or an extension around them.

    Raises `SpecError` naming what is there, or the row of a gap.
    """
    if name not in table.column_names:
        raise SpecError(
            f"{path}: there is no column {name!r}; it has {', '.join(table.column_names)}. Map "
            "the columns in `dataset.columns` of the card."
        )
    if table.column_names.count(name) > 1:
        raise SpecError(f"{path}: several columns are called {name!r}; give each its own name.")
    column = _plain(table[name].combine_chunks())
    _refuse_gaps(column, name, path, 1)
    return column


def numbers_of(table: Any, name: str, path: Path) -> Array:
    """A column of numbers or truth values, one a row."""
    return _numbers(values_of(table, name, path), name, path)


def array_of(table: Any, name: str, path: Path) -> Array:
    """A column of numbers, or of equally long lists of such at any depth."""
    import pyarrow as pa  # pyarrow: start-up

    column = values_of(table, name, path)
    if isinstance(table.schema.field(name).type, pa.FixedShapeTensorType):
        return np.asarray(table[name].combine_chunks().to_numpy_ndarray())
    rows = len(column)
    shape: list[int] = []
    while _is_list(column.type):
        shape.append(_length_of_lists(column, name, path, outer=not shape))
        column = _plain(column.flatten())
        _refuse_gaps(column, name, path, max(1, len(column) // rows))
    return _numbers(column, name, path).reshape(rows, *shape)


def texts_of(table: Any, name: str, path: Path) -> list[str]:
    column = values_of(table, name, path)
    if not _is_text(column.type):
        raise SpecError(f"{path}: column {name!r} holds {column.type}, not text.")
    return [str(value) for value in column.to_pylist()]


def labels_of(table: Any, name: str, path: Path) -> Array:
    """Numbers, truth values or text, one a row."""
    column = values_of(table, name, path)
    if _is_text(column.type):
        return np.array(column.to_pylist(), dtype=np.str_)
    return _numbers(column, name, path)


def _plain(column: Any) -> Any:
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(column))
    return column


def _refuse_gaps(column: Any, name: str, path: Path, values_a_row: int) -> None:
    if column.null_count:
        row = column.is_null().to_pylist().index(True) // values_a_row
        raise SpecError(
            f"{path}: column {name!r} has no value in row {row} ({column.null_count} such "
            f"{'rows' if values_a_row == 1 else 'values'} in total); fill them or remove the rows."
        )


def _length_of_lists(column: Any, name: str, path: Path, *, outer: bool) -> int:
    import pyarrow.compute as pc  # pyarrow: start-up

    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    odd = np.flatnonzero(lengths != lengths[0]) if len(lengths) else lengths
    if len(odd) and outer:
        raise SpecError(
            f"{path}: column {name!r} has lists of different lengths ({lengths[0]} in row 0, "
            f"{lengths[odd[0]]} in row {odd[0]}); make their lengths equal."
        )
    if len(odd):
        raise SpecError(
            f"{path}: column {name!r} has inner lists of different lengths; make their lengths "
            "equal."
        )
    return int(lengths[0]) if len(lengths) else 0


def _numbers(column: Any, name: str, path: Path) -> Array:
    import pyarrow as pa  # pyarrow: start-up

    kind = column.type
    if pa.types.is_decimal(kind):
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise SpecError(f"{path}: column {name!r} holds {kind}, not numbers{_first_odd(column)}.")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _first_odd(column: Any) -> str:
    """Which text is no number, where there is one."""
    if not _is_text(column.type):
        return ""
    for row, text in enumerate(column.to_pylist()):
        try:
            float(text)
        except ValueError:
            return f": row {row} is {text[:40]!r}; correct it, or remove the row"
    return "; store them as such"


def _is_text(kind: Any) -> bool:
    import pyarrow as pa  # pyarrow: start-up

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa  # pyarrow: start-up

    tests = (
        *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
        *(pa.types.is_list_view, pa.types.is_large_list_view),
    )
    return any(test(kind) for test in tests)
