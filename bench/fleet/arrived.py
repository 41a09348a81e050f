"""Files that came to a node by their content, laid out again as the models' cards name them.

A store holds each content once, by its SHA-256. The models' files lie in a tree with the paths that
they have on the driver, so that what one file says of another's place holds here, and models are
told apart by the same folders.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import SpecError
from bench.folders import cache_folder

_KEY_DIGITS = 16
_SHA_DIGITS = 12


def places(trees: Mapping[str, Mapping[str, Any]], store: Path) -> dict[str, str]:
    """What calls each model here, once all their files are laid out.

    Raises `SpecError` for a content that hasn't come, or a path that leads out of its folder.
    """
    if not trees:
        return {}
    whole = {name: sha256 for tree in trees.values() for name, sha256 in tree["files"].items()}
    key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:_KEY_DIGITS]
    root = store / "trees" / key
    with _alone(store):
        for name, sha256 in whole.items():
            _lay(store, sha256, root / _inside(name))
        for tree in trees.values():
            for name, sha256 in tree.get("cache", {}).items():
                _lay(store, sha256, cache_folder() / _inside(name))
    return {
        text: f"{root / _inside(tree['root'])}{tree.get('behind', '')}"
        for text, tree in trees.items()
    }


def _inside(name: str) -> Path:
    """A path below its folder. Raises `SpecError` for one that leads out of it."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise SpecError(f"{name!r}: not a path inside the folder of received files.")
    return path


@contextlib.contextmanager
def _alone(store: Path) -> Iterator[None]:
    """Two nodes of a fleet may be one machine with one store."""
    store.mkdir(parents=True, exist_ok=True)
    with (store / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lay(store: Path, sha256: str, target: Path) -> None:
    """Make one content a plain file at ``target``: onnx follows neither links nor hard links.

    The first file takes the content itself, and the store keeps a link to it; others are copies.
    """
    content = store / _inside(sha256)
    if target.exists():
        return
    if not content.is_file():
        raise SpecError(
            f"{target.name}: its content {sha256[:_SHA_DIGITS]} has not arrived on this machine. "
            "Was its store emptied during the run? Run again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if content.is_symlink():
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        shutil.copyfile(content, partial)
        partial.replace(target)
        return
    shutil.move(content, target)
    content.symlink_to(target.absolute())
