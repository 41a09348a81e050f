"""Files of models: what an ONNX file consists of, how large it is, and a hash of all of it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from bench.errors import SpecError


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """Hash of an ONNX file together with the files that hold its external data.

    For a file without external data it is the file's own SHA-256.
    """
    external = external_data(path)
    if not external:
        return file_sha256(path)
    parts = [file_sha256(part) for part in (path, *external)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def stored_bytes(path: Path) -> int:
    """Size of an ONNX file with its external data."""
    return sum(part.stat().st_size for part in (path, *external_data(path)))


def external_data(path: Path) -> tuple[Path, ...]:
    """The files beside ``path`` that hold weights of it, in a fixed order.

    Raises `SpecError` for one that is missing.
    """
    status = path.stat()
    found = tuple(
        path.parent / name for name in _locations(path, status.st_mtime_ns, status.st_size)
    )
    for part in found:
        if not part.is_file():
            raise SpecError(
                f"{path}: its weights lie in {part.name}, which is missing beside it. Copy that "
                "file too."
            )
    return found


@lru_cache
def _locations(path: Path, changed_ns: int, size: int) -> tuple[str, ...]:
    """What the graph names as locations of weights, sorted."""
    # Importing onnx takes longer than this look, which rules nearly every file out.
    if b"location" not in path.read_bytes():
        return ()
    import onnx  # onnx: start-up
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:
        return ()  # not an ONNX file: who loads it will say so
    names = {
        entry.value
        for tensor in _get_all_tensors(model)
        if uses_external_data(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return tuple(sorted(names))
