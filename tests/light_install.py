"""What the light install has: its distributions, and a Python that can import no other."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: `pip install 'infer-bench[onnxruntime]'`
LIGHT = Requirement("infer-bench[onnxruntime]")

#: Read by Python as it starts, also in workers. A name that starts with these is not installed.
_BLOCKER = """
import sys

class Absent:
    names = {names!r}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def closure(wanted: Iterable[Requirement]) -> set[str]:
    """The distributions that pip brings for what is wanted, by their normalised names."""
    found: set[tuple[str, frozenset[str]]] = set()
    left = [(canonicalize_name(one.name), frozenset(one.extras)) for one in wanted]
    while left:
        name, extras = left.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for line in _requires(name):
            needed = Requirement(line)
            asked = needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)
            )
            if asked:
                left.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return {name for name, _ in found}


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # of another platform
        return []


def absent_modules() -> set[str]:
    """Top-level modules that are installed here and would not be by the light install."""
    light = closure([LIGHT])
    return {
        module
        for module, names in packages_distributions().items()
        if not light & {canonicalize_name(name) for name in names}
    }


def write_blocker(folder: Path, but: Iterable[str] = ()) -> None:
    """A folder for the front of PYTHONPATH; what is in ``but`` can be imported all the same."""
    folder.mkdir()
    names = absent_modules() - set(but)
    (folder / "sitecustomize.py").write_text(_BLOCKER.format(names=names), encoding="utf-8")
