"""Files that a user names to be written: whole or not at all, and errors in one sentence; what a
folder holds; and names of files that are made of other names."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.errors import SpecError

#: How names of folders begin in which something is made.
_MAKING = ".making-"
_UNFINISHED = re.compile(rf".+\.[0-9]+\.partial|{re.escape(_MAKING)}.+")
#: What nobody has written to for so long is not being made any more. Our choice: no step of an
#: export computes for a day without writing.
_LEFT_S = 24 * 3600.0


def write_text(path: Path, text: str) -> None:
    """Write UTF-8. A file that was there is replaced only when all of the new one is on the disk.

    Raises `SpecError` where that can't be done.
    """
    write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: Path, data: bytes) -> None:
    """See `write_text`."""
    partial = unfinished(path)
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


def unfinished(path: Path) -> Path:
    """Where something is made, beside ``path`` and by this process alone, until it is whole."""
    return path.with_name(f"{path.name}.{os.getpid()}.partial")


@contextlib.contextmanager
def being_made(path: Path) -> Iterator[Path]:
    """A file beside a cache's ``path`` to write to, which becomes it at the end of the block."""
    clear_unfinished(path.parent)
    partial = unfinished(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def making_in(folder: Path) -> Iterator[Path]:
    """A folder in a cache's ``folder`` to make something in, and move it from there."""
    clear_unfinished(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_MAKING) as made:
        yield Path(made)


def clear_unfinished(folder: Path) -> None:
    """Remove what `being_made` and `making_in` left in a cache's folder because they were killed.

    Which process that was doesn't count: its number may be another's by now, and a cache may be
    shared with other machines. Whatever is still being made is written to now and then.
    """
    now_s = time.time()
    for path in folder.iterdir():
        if not _UNFINISHED.fullmatch(path.name) or path.is_symlink():
            continue
        with contextlib.suppress(OSError):  # another process may remove it, too
            if now_s - max(each.lstat().st_mtime for each in (path, *path.rglob("*"))) < _LEFT_S:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def make_folder(path: Path) -> None:
    """Make a folder that a user names, where it isn't there. Raises `SpecError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"{path}: can't be created: {error.strerror}.") from error


def regular_files(folder: Path) -> list[str]:
    """The plain files below a folder, by their names within it, with ``/`` between the parts."""
    return [name for name, mode in _entries(folder) if stat.S_ISREG(mode)]


def irregular(folder: Path) -> list[str]:
    """What is neither a plain file nor a folder: links, pipes, devices. They are not followed."""
    return [name for name, mode in _entries(folder) if not stat.S_ISREG(mode)]


def _entries(folder: Path) -> Iterator[tuple[str, int]]:
    """All below a folder but for folders, in order, each with its mode; no link is followed."""
    for top, below, names in os.walk(folder):
        below.sort()
        links = [name for name in below if os.path.islink(os.path.join(top, name))]
        for name in sorted([*names, *links]):
            path = Path(top, name)
            yield path.relative_to(folder).as_posix(), path.lstat().st_mode


#: Characters that mean nothing to any file system.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
#: Characters kept of a name. A file's name has 255 bytes at most (Linux, `NAME_MAX`), and what
#: stands before and after it takes its share.
_LONGEST = 48


def file_stem(name: str) -> str:
    """A name from outside as part of a file's name: it leads nowhere else, and two names that
    differ in anything give two. A plain one stays as it is."""
    if _PLAIN.fullmatch(name) and len(name) <= _LONGEST:
        return name
    shown = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:_LONGEST]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{shown}-{digest}" if shown else digest
