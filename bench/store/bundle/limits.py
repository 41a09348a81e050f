"""How large what a bundle holds may become when it is read: files that swell are refused."""

from __future__ import annotations

from pathlib import Path

from bench.errors import SpecError
from bench.store import columnar
from bench.store.columnar import Unreadable
from bench.store.outputs import check_size

#: A line of 150 bytes for each of 65,535 members, and as much again.
_MOST_MANIFEST_BYTES = 1 << 24
#: A GiB of numbers of 8 bytes: 1,000 cells with 100,000 calls each are three quarters of that.
_MOST_VALUES = 1 << 27
#: Bytes of all texts of a column, each of them written out.
_MOST_TEXT_BYTES = 1 << 30
_MOST_COLUMNS = 64


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
    try:
        claims = columnar.claims(file)
    except Unreadable as error:
        raise SpecError(f"it can't be read as Parquet ({error}).") from error
    if claims.columns > _MOST_COLUMNS or claims.values > _MOST_VALUES:
        raise SpecError("it holds more values than any run can.")
    try:
        texts = columnar.text_bytes(file)
    except Unreadable as error:
        raise SpecError(f"its texts can't be read ({error}).") from error
    if max(texts.values(), default=0) > _MOST_TEXT_BYTES:
        raise SpecError("its texts need more memory than those of any run.")
