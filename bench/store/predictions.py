"""Predictions on disk: columns with one row an example."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError


def _stored_column(values: Array) -> Any:
    import pyarrow as pa  # pyarrow: start-up

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def packed(columns: Mapping[str, Array]) -> bytes:
    """A Parquet file of columns with one row an item; one of shape (items, n) becomes lists of
    n."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq  # pyarrow: start-up

    out = io.BytesIO()
    table = pa.table({name: _stored_column(values) for name, values in columns.items()})
    # Measured figures repeat no value: their bytes compress by place, and a dictionary only costs.
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    rest = [field.name for field in table.schema if field.name not in floats]
    pq.write_table(
        table, out, compression="zstd", use_byte_stream_split=floats, use_dictionary=rest
    )
    return out.getvalue()


def read_predictions(path: Path, without: Collection[str] = ()) -> dict[str, Array]:
    """The columns that were `packed`. Raises `SpecError` when the file is lost or
    broken."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq  # pyarrow: start-up

    try:
        names = [name for name in pq.read_schema(path).names if name not in without]
        table = pq.read_table(path, columns=names)
        return {name: array_of(table[name].combine_chunks()) for name in table.column_names}
    except (OSError, pa.ArrowException) as error:
        raise SpecError(f"{path}: the predictions can't be read: {error}.") from error


def array_of(column: Any) -> Array:
    import pyarrow as pa  # pyarrow: start-up

    if pa.types.is_fixed_size_list(column.type):
        flat: Array = column.flatten().to_numpy(zero_copy_only=False)
        return flat.reshape(-1, column.type.list_size)
    values: Array = column.to_numpy(zero_copy_only=False)
    return values.astype(np.int64) if values.dtype.kind in "iu" else values
