"""Files of models: what an ONNX file consists of, how large it is, and a hash of all of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import lru_cache
from pathlib import Path

from bench.errors import SpecError
from bench.files import making_in
from bench.folders import cache_folder
from bench.unchanged import file_sha256


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
        if part.is_symlink() and not part.exists():
            raise SpecError(
                f"{path}: its weights are in {part.name}, a symbolic link to {os.readlink(part)}, "
                "which does not exist. Copy that file too."
            )
        if not part.is_file():
            raise SpecError(
                f"{path}: its weights are in {part.name}, which is missing beside it. Copy that "
                "file too."
            )
    return found


def without_links(path: Path) -> Path:
    """A file with the same content as an ONNX file, whose external data are no symbolic links.

    onnx and OpenVINO refuse to follow these (and onnx hard links too), and a folder of Hugging
    Face's cache consists of nothing else. So such a file and its data are copied into the cache.
    Every other file is ``path`` itself.
    """
    parts = (path, *external_data(path))
    if not any(part.is_symlink() for part in parts[1:]):
        return path
    status = [(str(part.resolve()), part.stat().st_mtime_ns, part.stat().st_size) for part in parts]
    key = hashlib.sha256(repr(status).encode()).hexdigest()[:16]
    folder = cache_folder() / "followed" / key
    if not folder.is_dir():
        try:
            _follow(path.parent, parts, folder)
        except OSError as error:
            raise SpecError(
                f"{path}: its weights are symbolic links, which runtimes don't follow, and "
                f"{folder} can't hold what they lead to: {error.strerror}. Copy the model with "
                "its weights (cp -L), or set BENCH_CACHE to a folder with room."
            ) from error
    return folder / path.name


def _follow(beside: Path, parts: tuple[Path, ...], folder: Path) -> None:
    """Make ``folder`` with what ``parts`` lead to, under the names that they have."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with making_in(folder.parent) as making:
        whole = making / "whole"
        for part in parts:
            target = whole / part.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, target)
        if not folder.is_dir():
            whole.rename(folder)


def relative_to(path: Path, folder: Path) -> str:
    """How a file is called from ``folder``, links as they are given.

    `os.path.relpath` drops ``name/..`` even where ``name`` is a link to elsewhere.
    """
    if ".." in path.parts:
        path = path.parent.resolve() / path.name
    return os.path.relpath(path.absolute(), folder.resolve())


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
