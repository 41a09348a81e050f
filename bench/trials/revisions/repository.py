"""The states of a git repository that are compared: their names, and the files of each in a folder.

A revision is checked out into a folder of its own with an index of its own, so the repository, its
index and its list of worktrees stay as they are, whatever stops the process.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.errors import SpecError
from bench.numbers import printable

#: What the files as they are now are called.
WORKING_TREE = "working-tree"
#: A commit is 40 digits (64 in a repository of SHA-256): nobody reads them.
_COMMIT = re.compile(r"[0-9a-f]{12,64}")
_SHOWN_DIGITS = 8
_MESSAGE_LIMIT = 300


@dataclass(frozen=True)
class Revision:
    """A state of the repository: its short name, its commit (empty: the working tree), and the
    folder that holds its files."""

    name: str
    commit: str
    root: Path

    @property
    def words(self) -> str:
        """Its name, and the beginning of its commit where the name doesn't tell."""
        digits = self.commit[:_SHOWN_DIGITS]
        return self.name if not digits or self.name == digits else f"{self.name} ({digits})"


def repository(folder: Path) -> Path:
    """The top folder of the repository around ``folder``. Raises `SpecError` where there is none,
    or no git."""
    top = top_of(folder)
    if top is None:
        raise SpecError(
            f"{folder}: not in a git repository, so there are no revisions to compare. Run "
            "`bench compare --base` inside one."
        )
    return top


def top_of(folder: Path) -> Path | None:
    """The same; None where there is none."""
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel"))
    except _Failed:
        return None


def checked_out(top: Path, text: str, folder: Path) -> Revision:
    """The revision that ``text`` names, its files written below ``folder``.

    Raises `SpecError` for one that the repository doesn't have.
    """
    commit = _commit(top, text)
    folder.mkdir(parents=True, exist_ok=True)
    index = {"GIT_INDEX_FILE": str(folder.with_suffix(".index"))}
    try:
        _git(top, "read-tree", commit, **index)
        _git(top, "checkout-index", "--all", "--force", f"--prefix={folder}/", **index)
    except _Failed as error:
        raise SpecError(f"{text}: git can't write its files: {error}.") from error
    return Revision(_short(text), commit, folder)


def working_tree(top: Path) -> Revision:
    """The files as they are now, committed or not."""
    return Revision(WORKING_TREE, "", top)


def told_apart(base: Revision, head: Revision) -> tuple[Revision, Revision]:
    """Both with names that differ, also where they are asked for in the same words."""
    if base.name != head.name:
        return base, head
    return (
        Revision(f"{base.name} (base)", base.commit, base.root),
        Revision(f"{head.name} (head)", head.commit, head.root),
    )


def tracked(top: Path, path: Path) -> bool:
    """Whether git tracks a file, or anything in a folder."""
    try:
        return bool(_git(top, "ls-files", "--", str(path)))
    except _Failed:
        return False


def _commit(top: Path, text: str) -> str:
    try:
        return _git(top, "rev-parse", "--verify", "--end-of-options", f"{text}^{{commit}}")
    except _Failed as error:
        raise SpecError(
            f"{printable(text)}: {top} has no such revision.{_shallow_words(top)}"
        ) from error


def _shallow_words(top: Path) -> str:
    """What to do where the clone has only the newest commits, as CI services make them."""
    try:
        shallow = _git(top, "rev-parse", "--is-shallow-repository") == "true"
    except _Failed:
        return ""
    words = " The clone is shallow: get the whole history (`git fetch --unshallow`; in a GitHub "
    words += "workflow `fetch-depth: 0`, in GitLab `GIT_DEPTH: 0`)."
    return words if shallow else " `git fetch` gets those of the remote."


def _short(text: str) -> str:
    return text[:_SHOWN_DIGITS] if _COMMIT.fullmatch(text) else text


class _Failed(Exception):
    """git said no, in its own words."""


def _git(folder: Path, *arguments: str, **variables: str) -> str:
    """What git prints. Raises `_Failed`, or `SpecError` where git can't be run. It may take its
    time: it writes whole trees, and the user waits for it."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise SpecError("git is not installed, and comparing revisions needs it.") from error
    except OSError as error:
        raise SpecError(f"git can't be started: {error.strerror}.") from error
    if done.returncode:
        raise _Failed(printable(done.stderr.strip(), limit=_MESSAGE_LIMIT))
    return done.stdout.strip()
