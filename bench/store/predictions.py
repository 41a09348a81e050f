"""Predictions on disk: columns with one row an example."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError


def stored_column(values: Array) -> Any:
    import pyarrow as pa  # pyarrow: start-up

    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def read_predictions(path: Path, without: Collection[str] = ()) -> dict[str, Array]:
    """The columns of `RunStore.write_predictions`. Raises `SpecError` when the file is lost or
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
