"""Tables: CSV, TSV and Parquet files, Hugging Face data sets saved to disk, and what a function of
the user's own returns.

A Hugging Face data set on disk is a folder of Arrow streams; `pyarrow` reads it, the package
``datasets`` is not needed. The card's ``dataset.columns`` says which column is what.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.card import Card, ColumnsCard
from bench.cards.datasets import images
from bench.cards.datasets.base import Stored, folder_sha256
from bench.cards.files import file_sha256
from bench.errors import SpecError
from bench.guest import guest

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")


def read_file(path: Path, card: Card) -> Stored:
    """A CSV, TSV or Parquet file. Raises `SpecError`."""
    import pyarrow as pa  # pyarrow: start-up

    try:
        if path.suffix.lower() == ".parquet":
            table = _parquet(path)
        else:
            table = _separated(path, _kept_as_text(card))
        _ = table.column_names  # names that are no text are only noticed here
    except (OSError, UnicodeError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise SpecError(f"{path}: not a readable {path.suffix[1:]} file: {reason}.") from error
    return _stored(table, {}, file_sha256(path), path, card)


def is_saved_to_disk(path: Path) -> bool:
    """Whether ``path`` is what Hugging Face's ``save_to_disk`` writes."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def read_saved_to_disk(path: Path, card: Card) -> Stored:
    """One split of a Hugging Face data set. Raises `SpecError`."""
    import pyarrow as pa  # pyarrow: start-up

    assert card.dataset is not None
    if (path / "dataset_dict.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits", [])
        if card.dataset.split not in splits:
            raise SpecError(
                f"{path}: it has the splits {', '.join(splits)}; name one of them in "
                f"`dataset.split` of {card.path.name}."
            )
        path = path / card.dataset.split
    entries = _json(path / "state.json").get("_data_files")
    if not entries:
        raise SpecError(f"{path / 'state.json'}: it lists no data file. Save the data set again.")
    files = [path / str(entry["filename"]) for entry in entries]
    try:
        table = pa.concat_tables([_stream(file) for file in files])
    except (OSError, pa.ArrowException) as error:
        raise SpecError(f"{path}: the data set can't be read: {error}.") from error
    features = _json(path / "dataset_info.json").get("features") or {}
    classes = {
        name: tuple(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    return _stored(table, classes, folder_sha256(path, files), path, card)


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: can't be read: {error}. Save the data set again.") from error
    return found


def _stream(path: Path) -> Any:
    import pyarrow as pa  # pyarrow: start-up

    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_stream(source).read_all()


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq  # pyarrow: start-up

    return pq.read_table(path)


def _kept_as_text(card: Card) -> tuple[str, ...]:
    """Columns whose cells are text even where they look like something else: "007" is not 7, and
    the class called "true" is no truth value."""
    assert card.dataset is not None
    columns = card.dataset.columns or ColumnsCard()
    label = (columns.label or "label",) if card.dataset.classes else ()
    return (*columns.text, *label)


def _separated(path: Path, texts: tuple[str, ...]) -> Any:
    """Commas in ``.csv``, else tabs. Lines that begin with ``#`` before the first row are comments,
    the last of which names the columns."""
    import pyarrow as pa  # pyarrow: start-up
    from pyarrow import csv

    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    with open(path, encoding="utf-8", errors="replace") as file:
        first = takewhile(lambda line: line.startswith("#"), file)
        comments = [line.lstrip("# ").rstrip("\n") for line in first]
    names = comments[-1].split(delimiter) if comments else None
    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(column_names=names, skip_rows=len(comments)),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
    )


def read_function(path: Path, function: str, card: Card) -> Stored:
    """The table that ``function()`` in the Python file ``path`` returns: lists by column.

    Raises `SpecError` for a function that isn't there, fails, or returns no table. The hash is of
    what it returned.
    """
    import pyarrow as pa  # pyarrow: start-up

    spec = importlib.util.spec_from_file_location("bench_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with guest(f"{path}:{function}", path):
            spec.loader.exec_module(module)
            table = pa.table(getattr(module, function)())
    except SpecError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise SpecError(
            f"{path}:{function}: gave no table of labelled data: {type(error).__name__}: "
            f"{reason[0]}. It has to return a list for each column."
        ) from error
    content = json.dumps(table.to_pydict(), sort_keys=True, default=str)
    return _stored(table, {}, hashlib.sha256(content.encode()).hexdigest(), path, card)


def _stored(
    table: Any, classes: dict[str, tuple[str, ...]], sha256: str, path: Path, card: Card
) -> Stored:
    assert card.dataset is not None
    columns = card.dataset.columns or ColumnsCard()
    if table.num_rows == 0:
        raise SpecError(f"{path}: the table has no row.")
    label = columns.label or ("label" if "label" in table.column_names else None)
    scores = None
    if columns.score is not None:
        scores = _numbers(table, columns.score, path).astype(np.float64)
    return Stored(
        sha256=sha256,
        arrays={} if columns.text else _inputs(table, columns, path, card),
        labels=None if label is None else _labels(table, label, path),
        classes=classes.get(label or "", ()),
        texts=tuple(_texts(table, name, path) for name in columns.text),
        scores=scores,
    )


def _inputs(table: Any, columns: ColumnsCard, path: Path, card: Card) -> dict[str, Array]:
    """An array for each of the model's inputs, from the columns that are named or called so."""
    found = {}
    for tensor in card.inputs:
        named = columns.inputs.get(tensor.name, tensor.name)
        if isinstance(named, str):
            found[tensor.name] = _one_column(table, named, path, card)
        else:
            parts = [_numbers(table, name, path) for name in named]
            found[tensor.name] = np.stack(parts, axis=1)
    return found


def _one_column(table: Any, name: str, path: Path, card: Card) -> Array:
    import pyarrow as pa  # pyarrow: start-up

    assert card.dataset is not None
    column = _column(table, name, path)
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        how = card.dataset.preprocessing
        rows = [
            images.decode(row["bytes"] or b"", how, f"{path}, column {name}, row {number}")
            for number, row in enumerate(column.to_pylist())
        ]
        return images.stack(rows, f"{path}, column {name}")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        rows = column.to_pylist()
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            odd = next(i for i, row in enumerate(rows) if len(row) != len(rows[0]))
            raise SpecError(
                f"{path}: column {name!r} has lists of different lengths ({len(rows[0])} in row 0, "
                f"{len(rows[odd])} in row {odd}); make them equally long."
            )
        return _as_numbers(rows, name, path)
    return _numbers(table, name, path)


def _as_numbers(rows: list[Any], name: str, path: Path) -> Array:
    try:
        values = np.asarray(rows)
    except ValueError as error:  # lists in lists, of which some are shorter
        raise SpecError(
            f"{path}: column {name!r} has inner lists of different lengths; make them equally long."
        ) from error
    if values.dtype.kind not in "biuf":
        raise SpecError(f"{path}: column {name!r} holds no numbers.")
    return values


def _numbers(table: Any, name: str, path: Path) -> Array:
    import pyarrow as pa  # pyarrow: start-up

    column = _column(table, name, path)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise SpecError(f"{path}: column {name!r} holds {kind}, not numbers.")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _texts(table: Any, name: str, path: Path) -> list[str]:
    column = _column(table, name, path)
    return [str(value) for value in column.to_pylist()]


def _labels(table: Any, name: str, path: Path) -> Array:
    values = _column(table, name, path).to_pylist()
    return np.asarray(values)


def _column(table: Any, name: str, path: Path) -> Any:
    """A column without gaps. Raises `SpecError` naming what is there, or the row of a gap."""
    if name not in table.column_names:
        raise SpecError(
            f"{path}: there is no column {name!r}; it has {', '.join(table.column_names)}. Say "
            "which is which in `dataset.columns` of the card."
        )
    if table.column_names.count(name) > 1:
        raise SpecError(f"{path}: several columns are called {name!r}; give each its own name.")
    column = table[name].combine_chunks()
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise SpecError(
            f"{path}: column {name!r} has no value in row {row} ({column.null_count} such rows in "
            "all); fill them or remove the rows."
        )
    return column
