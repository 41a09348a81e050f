"""How large what a bundle holds may become when it is read: files that swell are refused."""

from __future__ import annotations

from pathlib import Path

from bench.errors import SpecError
from bench.store.outputs import check_size

#: A line of 150 bytes for each of 65,535 members, and as much again.
_MOST_MANIFEST_BYTES = 1 << 24
#: A GiB of numbers of 8 bytes: 1,000 cells with 100,000 calls each are three quarters of that.
_MOST_VALUES = 1 << 27
#: Bytes of all texts of a column, each of them written out.
_MOST_TEXT_BYTES = 1 << 30
_MOST_COLUMNS = 64
_TEXT_TYPES = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")


def refuse_large_manifest(path: Path, size: int) -> None:
    """Raises `SpecError`."""
    if size > _MOST_MANIFEST_BYTES:
        raise SpecError(f"{path}: its list of files has {size} bytes, which no bundle needs.")


def refuse_swollen(bundle: Path, name: str, file: Path) -> None:
    """Raises `SpecError` for a compressed file that says it holds more than any run does, or that
    can't be read."""
    try:
        if name.endswith(".parquet"):
            _check_parquet(file)
        elif name.endswith(".npz"):
            check_size(file)
    except SpecError as error:
        raise SpecError(f"{bundle}: {name}: {error}") from error


def _check_parquet(file: Path) -> None:
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.parquet as pq  # pyarrow: start-up

    try:
        found = pq.read_metadata(file)
        groups = [found.row_group(number) for number in range(found.num_row_groups)]
        columns = [group.column(n) for group in groups for n in range(group.num_columns)]
    except (OSError, ValueError, pa.ArrowException) as error:
        why = (str(error).splitlines() or ["it is broken"])[0]
        raise SpecError(f"it can't be read as Parquet ({why[:200]}).") from error
    if found.num_columns > _MOST_COLUMNS or sum(c.num_values for c in columns) > _MOST_VALUES:
        raise SpecError("it holds more values than any run can.")
    texts = {c.path_in_schema for c in columns if c.physical_type in _TEXT_TYPES}
    for name in sorted(texts):
        _check_text(file, name)


def _check_text(file: Path, name: str) -> None:
    """A text that a dictionary has once may stand in a million rows."""
    import pyarrow as pa  # pyarrow: start-up
    import pyarrow.compute as pc  # pyarrow: start-up
    import pyarrow.parquet as pq  # pyarrow: start-up

    try:
        column = pq.read_table(file, columns=[name], read_dictionary=[name])[name]
        values = [chunk.dictionary for chunk in column.chunks]
        longest = max((pc.max(pc.binary_length(one)).as_py() or 0 for one in values), default=0)
    except (OSError, ValueError, AttributeError, KeyError, pa.ArrowException) as error:
        raise SpecError(f"its texts ({name[:80]}) can't be read.") from error
    if longest * len(column) > _MOST_TEXT_BYTES:
        raise SpecError("its texts need more memory than those of any run.")
