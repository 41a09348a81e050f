"""Files that run code and lie where anybody may have put them: trusted by owner and by content.

A ``bench.toml`` in the current folder names interpreters, variables and scripts, which run when
bench looks for targets. So one that another user wrote is refused, and any other is asked about
once for each content of it and of the scripts that it names.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from bench.errors import SpecError
from bench.folders import config_file

_ROOT = 0


class Untrusted(SpecError):
    """A file that nobody has said is to be trusted; `grant` says so."""

    def __init__(self, path: Path, scripts: Sequence[Path], digest: str) -> None:
        runs = "".join(f" and {script}" for script in scripts)
        super().__init__(
            f"{path} in the current folder decides what runs here, and you have not trusted it "
            f"yet. Read it{runs}; then `bench env trust`, or set BENCH_CONFIG={path}."
        )
        self.path = path
        self.digest = digest

    def grant(self) -> None:
        """Trust this content from now on, wherever it lies."""
        _trust(self.digest, self.path)


def check_trusted(path: Path, scripts: Sequence[Path]) -> None:
    """Raises `Untrusted`, or `SpecError` for files of another user."""
    for file in (path, *scripts):
        refuse_foreign(file)
    digest = _digest(path, scripts)
    if digest not in _trusted():
        raise Untrusted(path, scripts, digest)


def refuse_foreign(path: Path) -> None:
    """Raises `SpecError` for a file that is another user's, or that every user may write; one of
    root is nobody's trap. What isn't there is nobody's."""
    try:
        found = path.stat()
    except OSError:
        return
    if found.st_uid not in (os.geteuid(), _ROOT):
        raise SpecError(
            f"{path} belongs to another user (uid {found.st_uid}) and would run code as you. Copy "
            "it where only you can write, if you trust it."
        )
    if stat.S_IMODE(found.st_mode) & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise SpecError(
            f"{path} can be written by every user and would run code as you. Remove that "
            f"permission: chmod o-w {path}"
        )


def _digest(path: Path, scripts: Sequence[Path]) -> str:
    digest = hashlib.sha256(path.read_bytes())
    for script in scripts:
        content = script.read_bytes() if script.is_file() else b""
        digest.update(f"\0{script}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _file() -> Path:
    return config_file("trusted")


def _trusted() -> set[str]:
    try:
        lines = _file().read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {line.partition(" ")[0] for line in lines}


def _trust(digest: str, path: Path) -> None:
    try:
        _file().parent.mkdir(parents=True, exist_ok=True)
        with _file().open("a", encoding="utf-8") as file:
            file.write(f"{digest} {path.absolute()}\n")
    except OSError as error:
        raise SpecError(f"{_file()} can't be written: {error.strerror}.") from error
