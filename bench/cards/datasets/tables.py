"""Tables: what a card's ``dataset.columns`` makes of CSV, TSV, Parquet and Arrow files, of Hugging
Face data sets, and of what a function of the user's own returns."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.apart import apart
from bench.arrays import Array
from bench.cards.card import Card, ColumnsCard
from bench.cards.datasets import columns, images, separated
from bench.cards.datasets.base import Stored
from bench.errors import BenchError, SpecError, Unavailable, first_line, kind_and_line
from bench.guest import guest
from bench.unchanged import file_sha256

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".arrow", ".feather", ".ipc")
#: How Hugging Face's libraries name the files of a data set in several.
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
_ARROW_MAGIC = b"ARROW1"


def require_pyarrow(path: Path) -> None:
    """Raises `Unavailable` where what reads the table in ``path`` is not installed."""
    try:
        import pyarrow  # noqa: F401  # the extra `data`
    except ImportError as error:
        raise Unavailable(
            f"{path}: reading a table needs pyarrow, which is not installed.",
            "pip install 'infer-bench[data]'",
        ) from error


def read_file(path: Path, card: Card) -> Stored:
    """A CSV, TSV, Parquet or Arrow file. Raises `SpecError`, and `Unavailable`."""
    require_pyarrow(path)
    import pyarrow as pa  # pyarrow: start-up

    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            table = parquet_table(path)
        elif suffix in (".arrow", ".feather", ".ipc"):
            table = arrow_table(path)
        else:
            table = separated.read(path, card)
    except (OSError, pa.ArrowException) as error:
        reason = first_line(error)
        raise SpecError(
            f"{path}: not a readable {suffix[1:]} file: {reason}. Write it again."
        ) from error
    return stored(table, {}, file_sha256(path), path, card, _shard_notes(path))


def parquet_table(path: Path) -> Any:
    # Not `read_table`, which takes parts of the path for columns ("label=1/data.parquet").
    import pyarrow.parquet as pq  # pyarrow: start-up

    with pq.ParquetFile(path) as file:
        return file.read()


def arrow_table(path: Path) -> Any:
    """The stream format (Hugging Face's), or the file format (Feather)."""
    import pyarrow as pa  # pyarrow: start-up

    with pa.memory_map(str(path)) as source:
        if source.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC:
            return pa.ipc.open_file(source).read_all()
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


def _shard_notes(path: Path) -> Iterable[str]:
    found = SHARD.search(path.stem)
    if found and int(found[2]) > 1:
        yield (
            f"it is file {int(found[1]) + 1} of {int(found[2])} of its data set; the others are "
            "ignored; name the folder to read all"
        )


def read_function(path: Path, function: str, card: Card) -> Stored:
    """The table that ``function()`` in the Python file ``path`` returns: lists by column.

    Raises `SpecError` for a function that isn't there, fails, or returns no table. The hash is of
    what it returned.
    """
    require_pyarrow(path)
    try:
        table = apart(f"{path}:{function}", lambda: _called(path, function))
    except SpecError:
        raise
    except BenchError as error:  # its process died
        raise SpecError(str(error)) from error
    content = json.dumps(table.to_pydict(), sort_keys=True, default=str)
    return stored(table, {}, hashlib.sha256(content.encode()).hexdigest(), path, card)


def _called(path: Path, function: str) -> Any:
    """The table that the function returns."""
    import pyarrow as pa  # pyarrow: start-up

    spec = importlib.util.spec_from_file_location("bench_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with guest(f"{path}:{function}", path):
            spec.loader.exec_module(module)
            return pa.table(getattr(module, function)())
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(
            f"{path}:{function}: gave no table of labelled data: {kind_and_line(error)}. It has to "
            "return a list for each column."
        ) from error


# -- what the columns mean ------------------------------------------------------------------------


def stored(
    table: Any,
    features: Mapping[str, Any],
    sha256: str,
    path: Path,
    card: Card,
    notes: Iterable[str] = (),
) -> Stored:
    """The columns of ``table`` that the card names. ``features`` are Hugging Face's, where a file
    beside the table tells them."""
    assert card.dataset is not None
    named = card.dataset.columns or ColumnsCard()
    if table.num_rows == 0:
        raise SpecError(f"{path}: the table has no rows.")
    label = named.label or ("label" if "label" in table.column_names else None)
    if label is None and card.task == "classification":
        others = ", ".join(map(repr, table.column_names[:8]))
        notes = (*notes, f"no column is called 'label' (it has {others}); name it in the card")
    scores = None
    if named.score is not None:
        scores = columns.numbers_of(table, named.score, path).astype(np.float64)
    arrays, remarks = ({}, ()) if named.text else _inputs(table, named, path, card)
    return Stored(
        sha256=sha256,
        arrays=arrays,
        labels=None if label is None else columns.labels_of(table, label, path),
        classes=_class_names(features or _features(table), label),
        texts=tuple(columns.texts_of(table, name, path) for name in named.text),
        scores=scores,
        notes=(*notes, *remarks),
    )


def _features(table: Any) -> Mapping[str, Any]:
    """What Hugging Face's libraries write into the files of a data set about its columns."""
    try:
        found = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _class_names(features: Mapping[str, Any], label: str | None) -> tuple[str, ...]:
    feature = features.get(label or "")
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return ()
    return tuple(feature.get("names") or ())


def _inputs(
    table: Any, named: ColumnsCard, path: Path, card: Card
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """An array for each of the model's inputs, from the columns that are named or called so; and
    what is to be said of images."""
    found: dict[str, Array] = {}
    notes: tuple[str, ...] = ()
    for tensor in card.inputs:
        column = named.inputs.get(tensor.name, tensor.name)
        if not isinstance(column, str):
            parts = [columns.numbers_of(table, name, path) for name in column]
            found[tensor.name] = np.stack(parts, axis=1)
        elif _holds_images(table, column, path):
            found[tensor.name], remarks = _images(table, column, path, card)
            notes += remarks
        else:
            found[tensor.name] = columns.array_of(table, column, path)
    return found, notes


def _holds_images(table: Any, name: str, path: Path) -> bool:
    """Whether a column is of encoded images: bytes, alone or as Hugging Face stores them."""
    import pyarrow as pa  # pyarrow: start-up

    kind = columns.values_of(table, name, path).type
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _images(table: Any, name: str, path: Path, card: Card) -> tuple[Array, tuple[str, ...]]:
    assert card.dataset is not None
    where, how = f"{path}, column {name}", card.dataset.preprocessing
    pictures = [
        images.decode(_image_bytes(row, f"{where}, row {number}"), how, f"{where}, row {number}")
        for number, row in enumerate(columns.values_of(table, name, path).to_pylist())
    ]
    rows = [f"row {number} of column {name}" for number in range(len(pictures))]
    return images.stack(pictures, where), tuple(images.picture_notes(pictures, rows))


def _image_bytes(row: bytes | dict[str, Any], where: str) -> bytes:
    data = row if isinstance(row, bytes) else row["bytes"]
    if data is None:
        assert isinstance(row, dict)
        raise SpecError(
            f"{where}: it holds the path of an image ({row.get('path')}), not its bytes; save "
            "the data set with the images in it, or name the folder of the images in "
            "`dataset.path`."
        )
    return data
