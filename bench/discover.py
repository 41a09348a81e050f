"""Finds what is installed: backends and model cards, ours and anybody's, without importing them.

Entry-point groups are read. ``bench.backends`` maps a backend's name to ``module:Class``;
``bench.models`` maps any name to a package whose folder holds model cards (``*.toml``; suites
are ``*.suite.toml``). ``bench.tasks`` maps names to classes, ``bench.scenarios`` and
``bench.variants`` to rows (`Catalogue`).

`importlib.metadata` costs more start-up time than the whole ``bench model list`` may take, so the
``entry_points.txt`` files on `sys.path` are read here, by the same rules (the first distribution
of a name on the path wins). Where something on the path is not a plain folder (a zip file, a finder
with distributions of its own), `importlib.metadata` answers instead.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

from bench.errors import BenchError, SpecError, Unavailable, with_trace

BACKENDS_GROUP = "bench.backends"
MODELS_GROUP = "bench.models"
TASKS_GROUP = "bench.tasks"
SUITE_SUFFIX = ".suite.toml"


def backend_entry_points() -> dict[str, str]:
    """The installed backends: name -> ``module:attr``, sorted by name."""
    return entry_points(BACKENDS_GROUP)


def load_backend(name: str) -> type:
    """Import the class of the backend called ``name``."""
    known = backend_entry_points()
    if name not in known:
        raise unknown("backend", name, known)
    return load_object("backend", name, known[name])


def task_names() -> list[str]:
    """The names of the installed tasks, without importing them."""
    return list(entry_points(TASKS_GROUP))


def card_paths() -> dict[str, Path]:
    """The installed model cards: model name (the file's stem) -> path, sorted by name."""
    cards: dict[str, Path] = {}
    for package in entry_points(MODELS_GROUP).values():
        for folder in _package_folders(package):
            for path in sorted(folder.glob("*.toml")):
                if not path.name.endswith(SUITE_SUFFIX):
                    cards.setdefault(path.stem, path)
    return dict(sorted(cards.items()))


def suite_paths() -> dict[str, Path]:
    """The installed suites: name (the file name without ``.suite.toml``) -> path."""
    suites: dict[str, Path] = {}
    for package in entry_points(MODELS_GROUP).values():
        for folder in _package_folders(package):
            for path in sorted(folder.glob(f"*{SUITE_SUFFIX}")):
                suites.setdefault(path.name.removesuffix(SUITE_SUFFIX), path)
    return dict(sorted(suites.items()))


class Named(Protocol):
    """What can be asked for by its name."""

    @property
    def name(self) -> str: ...


Row = TypeVar("Row", bound=Named)


@dataclass(frozen=True)
class Catalogue(Generic[Row]):
    """The rows of one kind by name: those that bench brings, and those of other distributions.

    The entry-point group ``group`` maps a name to ``module:ROW``. What bench brings is found
    without reading an entry point, and can't be replaced by one.
    """

    noun: str
    group: str
    built_in: tuple[Row, ...]
    _known: dict[str, Row] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._known.update({row.name: row for row in self.built_in})

    def names(self) -> list[str]:
        """Ours first, in their order, then the others by name."""
        ours = [row.name for row in self.built_in]
        return [*ours, *(name for name in entry_points(self.group) if name not in ours)]

    def find(self, name: str) -> Row:
        """The row called ``name``. Raises `SpecError` for a name that isn't there."""
        if name not in self._known:
            known = entry_points(self.group)
            if name not in known:
                raise unknown(self.noun, name, self.names())
            self._known[name] = self._load(name, known[name])
        return self._known[name]

    def _load(self, name: str, value: str) -> Row:
        found = cast("Row", load_object(self.noun, name, value))
        if not isinstance(found, type(self.built_in[0])) or found.name != name:
            raise SpecError(
                f"the {self.noun} {name} ({value}) is not a {type(self.built_in[0]).__name__} "
                f"with that name. Correct the entry point in the group {self.group}."
            )
        return found


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known names that look like ``name``, the likest first."""
    import difflib  # start-up

    by_lower = {item.lower(): item for item in known}
    # difflib is quadratic in the length of a name, and no real name is this long.
    lower = name.lower()[:100]
    close = difflib.get_close_matches(lower, by_lower, n=3, cutoff=0.5)
    return [by_lower[item] for item in close]


def beside(path: Path) -> list[str]:
    """Paths beside where ``path`` would be that look like it, the likest first."""
    try:
        names = [name for name in os.listdir(path.parent) if not name.startswith(".")]
    except OSError:
        return []
    return [str(path.parent / name) for name in nearest(path.name, names)]


def no_such(noun: str, path: Path) -> SpecError:
    """The error for a file that isn't there, with those beside it that may have been meant."""
    close = beside(path)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return SpecError(f"{path}: no such {noun}.{hint}")


def unknown(noun: str, name: str, known: Iterable[str]) -> SpecError:
    """The error for a name that doesn't exist, with the nearest names that do."""
    names = list(known)
    close = nearest(name, names)
    if close:
        hint = f"Did you mean {' or '.join(close)}?"
    elif names:
        hint = f"Available: {', '.join(names)}."
    else:
        hint = f"No {noun} is installed."
    return SpecError(f"there is no {noun} called {name!r}. {hint}")


def entry_points(group: str) -> dict[str, str]:
    """Entry points of one group, name -> value, sorted by name."""
    found = _scan_path(group) if _path_is_plain() else _ask_importlib(group)
    return dict(sorted(found.items()))


def _path_is_plain() -> bool:
    """Whether every distribution on `sys.path` is visible as a folder."""
    if any(
        hasattr(finder, "find_distributions")
        and getattr(finder, "__name__", "") not in ("PathFinder", "FrozenImporter")
        for finder in sys.meta_path
    ):
        return False
    return not any(os.path.isfile(entry) for entry in sys.path if entry)


def _ask_importlib(group: str) -> dict[str, str]:
    from importlib import metadata  # start-up

    found: dict[str, str] = {}
    for point in metadata.entry_points(group=group):
        found.setdefault(point.name, point.value)
    return found


def _scan_path(group: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for folder in _distribution_folders():
        for name, value in _read_entry_points(os.path.join(folder, "entry_points.txt"), group):
            found.setdefault(name, value)
    return found


def _distribution_folders() -> Iterator[str]:
    """The ``*.dist-info`` and ``*.egg-info`` folders on the path, one for each distribution."""
    seen: set[str] = set()
    for entry in dict.fromkeys(sys.path):
        try:
            children = sorted(os.listdir(entry or os.curdir))
        except OSError:  # a path entry that isn't there, or that we may not read
            continue
        for child in children:
            if not child.endswith((".dist-info", ".egg-info")):
                continue
            distribution = _distribution_name(child)
            if distribution not in seen:
                seen.add(distribution)
                yield os.path.join(entry or os.curdir, child)


def _distribution_name(folder: str) -> str:
    """``Infer_Bench-0.1.0.dist-info`` -> ``infer-bench`` (the normal form of PEP 503)."""
    name = folder.rpartition(".")[0].partition("-")[0]
    return name.lower().replace("_", "-").replace(".", "-")


def _read_entry_points(path: str, group: str) -> Iterator[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:  # most distributions have no entry points
        return
    section = ""
    for line in map(str.strip, lines):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            # what may follow in brackets are extras, which the object itself doesn't need
            yield name.strip(), value.partition("[")[0].strip()


def load_object(noun: str, name: str, value: str) -> type:
    """Import what ``module:attr`` names. Raises `Unavailable` where that fails."""
    import importlib  # start-up

    module, _, attribute = value.partition(":")
    try:
        with _as_guest(module, f"the {noun} {name} ({value})"):
            found: type = getattr(importlib.import_module(module), attribute)
    except Unavailable:
        raise
    except BenchError as error:  # it ended the program, or read address zero
        raise Unavailable(
            str(error), "Reinstall the distribution that provides it, or remove it."
        ) from error
    except Exception as error:
        kind = "" if isinstance(error, (ImportError, AttributeError)) else type(error).__name__
        words = ": ".join(filter(None, [kind, str(error)]))
        unloadable = Unavailable(
            f"the {noun} {name} ({value}) can't be loaded: {words}.",
            "Reinstall the distribution that provides it.",
        )
        raise with_trace(unloadable, error) from error
    return found


@contextlib.contextmanager
def _as_guest(module: str, where: str) -> Iterator[None]:
    """While a module is imported that is not one of ours: nothing that it does steers bench.

    It is imported in a process of its own first, which shows whether one survives that. Raises
    `BenchError` where it doesn't.
    """
    if module in sys.modules or module.partition(".")[0] == "bench":
        yield
        return
    from bench.apart import apart  # numpy: start-up
    from bench.guest import guest

    def survives() -> None:
        with contextlib.suppress(BaseException), guest(where):
            __import__(module)

    apart(where, survives)
    with guest(where):
        yield


def _package_folders(package: str) -> list[Path]:
    """Where a package's files lie, without running the package (its parents do run); nowhere for
    one that can't be found."""
    from importlib.util import find_spec  # start-up

    name = package.partition(":")[0]
    parent = name.rpartition(".")[0]
    try:
        with _as_guest(parent, f"the package {parent}") if parent else contextlib.nullcontext():
            spec = find_spec(name)
    except Exception:
        return []
    return [Path(place) for place in (spec and spec.submodule_search_locations) or []]
