"""What a suite's models consist of on the driver's disk, by content: what has to travel to a node.

An installed model is there by its name on every node that has its distribution. A model that is
named by a path travels: the file itself, whatever its card names, and, of what `bench` made of it,
exports and variants in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cards.card import Card, load_card
from bench.cards.files import external_data
from bench.cards.packages import PREFIX
from bench.cards.ready import Loaded
from bench.cards.unpacked import SUFFIX as GGUF
from bench.discover import card_paths
from bench.errors import SpecError
from bench.folders import cache_folder
from bench.unchanged import file_sha256

#: A folder that holds a model's code may be somebody's home.
_MOST_FILES = 2000
#: What of a folder of code is not the model's.
_FOREIGN = ("site-packages", "node_modules", "__pycache__")


@dataclass(frozen=True)
class Packed:
    """Contents by SHA-256, and for each model that is a path its tree, JSON-ready.

    A tree's ``root`` is what calls the model, ``behind`` what follows it (``:factory``), ``files``
    every file (path -> SHA-256), ``cache`` those of the cache folder.
    """

    contents: dict[str, Path] = field(default_factory=dict)
    trees: dict[str, dict[str, Any]] = field(default_factory=dict)


def pack(models: Sequence[str], made: Mapping[str, Loaded] | None = None) -> Packed:
    """The files of a suite's models; ``made`` are those that are ready here, by the same texts,
    whose exports and variants travel too.

    Raises `SpecError` for a file that isn't there.
    """
    packed = Packed()
    installed = card_paths()
    for text in models:
        is_path = text.endswith((".onnx", ".toml", GGUF)) or ".py:" in text
        if text in installed and not is_path:
            continue
        file, colon, factory = text.rpartition(":") if ".py:" in text else (text, "", "")
        root = Path(file).absolute()
        if not root.exists():
            continue  # a name: what is wrong with it is told where it is looked up
        packed.trees[text] = {
            "root": _name(root),
            "behind": f"{colon}{factory}",
            "files": _hashed(_files_of(root), packed),
            "cache": _cached((made or {}).get(text), packed),
        }
    return packed


def _name(path: Path) -> str:
    """A path below a tree's root, with the folders that it has here."""
    return os.path.normpath(path.absolute()).lstrip("/")


def _hashed(files: Iterable[Path], packed: Packed) -> dict[str, str]:
    """Path within the tree -> SHA-256, each content noted with a place to read it from."""
    found = {}
    for path in files:
        try:
            sha256 = file_sha256(path)
        except OSError as error:
            raise SpecError(f"{path}: can't be read: {error.strerror}.") from error
        packed.contents.setdefault(sha256, path)
        found[_name(path)] = sha256
    return found


def _files_of(path: Path) -> Iterator[Path]:
    """Every file that a model at ``path`` needs."""
    if path.is_dir():
        yield from _top_files(path)
    elif path.suffix == ".py":
        yield from _code(path)
    elif path.suffix == ".toml":
        yield from _of_card(load_card(path), path)
    elif path.suffix == ".onnx":
        yield from (path, *external_data(path))
    else:
        yield path


def _of_card(card: Card, path: Path) -> Iterator[Path]:
    """The card, and what it names but for files that packages bring."""
    yield path
    tokenizer = card.dataset.tokenizer if card.dataset is not None else None
    for name in (*card.named_files(), *filter(None, [tokenizer])):
        if name.startswith(PREFIX):
            continue
        file = card.file(name)
        if file.is_dir():
            yield from _below(file)
        elif file.suffix == ".py":
            yield from _code(file)
        elif name == card.source.onnx:
            yield from (file, *external_data(file))
        else:
            yield file


def _top_files(folder: Path) -> Iterator[Path]:
    """Of a checkpoint folder: its files, of code and templates too, and no folder below."""
    yield from (p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith("."))


def _below(folder: Path) -> Iterator[Path]:
    """All files of a data set that is a folder."""
    for top, below, names in os.walk(folder, followlinks=True):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(top, name) for name in sorted(names) if not name.startswith("."))


def _code(file: Path) -> Iterator[Path]:
    """A Python file and those that it may import from its folder. Raises `SpecError` where that
    holds too many to be a model's."""
    yield file
    count = 0
    for top, below, names in os.walk(file.parent):
        below[:] = sorted(n for n in below if not n.startswith(".") and n not in _FOREIGN)
        for name in sorted(names):
            if name.endswith(".py") and Path(top, name) != file:
                count += 1
                if count > _MOST_FILES:
                    raise SpecError(
                        f"{file}: more than {_MOST_FILES} Python files are beside it, and any may "
                        "belong to the model. Put the model's code in its own folder."
                    )
                yield Path(top, name)


def _cached(model: Loaded | None, packed: Packed) -> dict[str, str]:
    """What of the cache a model that is ready uses: path within the cache folder -> SHA-256."""
    if model is None:
        return {}
    cache = cache_folder().absolute()
    forms = [model.file, *(form.file for form in model.variants.values())]
    graphs = {form.onnx for form in forms if form.onnx is not None}
    graphs |= {model.buffered} if model.buffered is not None else set()
    found = {}
    for graph in sorted(graph.absolute() for graph in graphs):
        if graph.is_relative_to(cache):
            for part in (*external_data(graph), graph):
                sha256 = file_sha256(part)
                packed.contents.setdefault(sha256, part)
                found[part.relative_to(cache).as_posix()] = sha256
    return found
