"""What the two sides of a comparison are called: the labels or folders of their runs, their
machines, or what tells two cells of one run apart."""

from __future__ import annotations

from bench.cell import Cell
from bench.judge.alike import Alike
from bench.judge.matching import Match, Matched
from bench.numbers import NAME_LIMIT, printable
from bench.store.run import StoredRun
from bench.variants import suffix

Names = tuple[str, str]
#: Where several pairs share a table and each has names of its own.
SEVERAL: Names = ("the first", "the second")


def run_name(run: StoredRun) -> str:
    """The label of a run, else the name of its folder or file."""
    return printable(run.header.label or run.path.resolve().name or run.shown, limit=NAME_LIMIT)


def names_of(match: Match, matched: Matched) -> Names:
    """What the baseline and the other side of one pair are called."""
    if matched.names != ("", ""):
        return _shown(*matched.names)
    if match.a.machine or match.b.machine:
        return _shown(match.a.machine, match.b.machine)
    if match.same_run:
        return _shown(*_cells(match.a.cell, match.b.cell))
    a, b = match.a.run, match.b.run
    names = run_name(a), run_name(b)
    return names if names[0] != names[1] else _folders(a, b)


def common_names(matched: Matched) -> Names:
    """What the sides of all pairs are called; `SEVERAL` where that differs from pair to pair."""
    found = {names_of(match, matched) for match in matched.matches}
    return found.pop() if len(found) == 1 else SEVERAL


def named(words: str, names: Names) -> str:
    """``A failed`` as `bench.judge.compare` says it, with a name for the letter."""
    for letter, name in zip(("A", "B"), names, strict=True):
        if words.startswith(f"{letter} "):
            return f"{name}{words[1:]}"
    return words


def _folders(a: StoredRun, b: StoredRun) -> Names:
    """The nearest folders of two runs that are called differently."""
    parts = (reversed(run.path.resolve().parts) for run in (a, b))
    found = next(((x, y) for x, y in zip(*parts, strict=False) if x != y), (a.shown, b.shown))
    return _shown(*found)


def _cells(a: Cell, b: Cell) -> Names:
    """What tells two cells of one run apart, in as few words as do."""
    if _model(a) == _model(b) and a.target != b.target:
        return a.target, b.target
    if a.target == b.target and _model(a) != _model(b):
        return _model(a), _model(b)
    found = f"{_model(a)} {a.target}", f"{_model(b)} {b.target}"
    alike = Alike((a, b))
    return found if found[0] != found[1] else (alike.label(a), alike.label(b))


def _model(cell: Cell) -> str:
    return f"{cell.model.name}{suffix(cell.variant)}"


def _shown(a: str, b: str) -> Names:
    return printable(a, limit=NAME_LIMIT), printable(b, limit=NAME_LIMIT)
