"""Files that a user names to be written: whole or not at all, and errors in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

from bench.errors import SpecError


def write_text(path: Path, text: str) -> None:
    """Write UTF-8. A file that was there is replaced only when all of the new one is on the disk.

    Raises `SpecError` where that can't be done.
    """
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: Path, data: bytes) -> None:
    """See `write_text`."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SpecError(f"{path}: can't be written: {error.strerror or error}.") from error
