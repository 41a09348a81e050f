"""The portability heat map: which operators and models each target computes, and how.

Reads what `bench portability --json` writes; keys that are not known are ignored, so that a newer
file of the same schema version can be read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from bench.errors import SpecError
from bench.numbers import printable
from bench.present.page.names import shown
from bench.record.portability import (
    SCHEMA_VERSION,
    ModelOutcome,
    OperatorOutcome,
    OperatorRow,
    PortabilityReport,
)
from bench.validation import first_problem, refuse_newer
from bench.variants import suffix

#: Of an operator or a model.
MapOutcome = OperatorOutcome | ModelOutcome

MOST_ROWS = 400
_DETAIL_LIMIT = 300
_FEWEST_MERGED = 3


@dataclass(frozen=True)
class Square:
    """One field of the map."""

    outcome: MapOutcome
    sign: str
    count: str
    detail: str


@dataclass(frozen=True)
class GridRow:
    """One operator or model, or all ``names`` that are alike, against the targets; a square is
    None where nothing was tried."""

    label: str
    squares: tuple[Square | None, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Rows against targets."""

    name: str
    caption: str
    what: str
    targets: tuple[str, ...]
    rows: tuple[GridRow, ...]
    left_out: str = ""


@dataclass(frozen=True)
class Portability:
    """Both maps and what they say in words."""

    words: tuple[str, ...]
    grids: tuple[Grid, ...]
    legend: tuple[tuple[str, str, str], ...]  #: outcome, sign, meaning


#: outcome -> sign and meaning; the sign makes the map readable without its colours
OUTCOMES: dict[MapOutcome, tuple[str, str]] = {
    "pass": ("✓", "every test agrees with the reference"),
    "runs": ("✓", "the model runs and agrees with the reference"),
    "partial": ("~", "some tests pass, none is wrong"),
    "fallback": ("~", "the model runs, some nodes off the device"),
    "wrong": ("≠", "it runs, with wrong results"),
    "unsupported": ("✗", "refused with an error that says so"),
    "crash": ("!", "the process died or raised"),
    "timeout": ("…", "no answer in time"),
    "unavailable": ("?", "the target was not available"),
    "not-expressible": ("·", "the tests are of types that can't be passed to a worker"),
    "not-tried": ("·", "not tried"),
}
_GOOD = ("pass", "runs")
WORST_FIRST: tuple[MapOutcome, ...] = (
    "crash",
    "wrong",
    "timeout",
    "unsupported",
    "partial",
    "fallback",
    "unavailable",
    "pass",
    "runs",
    "not-expressible",
    "not-tried",
)


def read_portability(path: Path) -> PortabilityReport:
    """Raises `SpecError` with one sentence where the file is absent, foreign or newer."""
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise SpecError(
            f"{path}: there is no such file. `bench portability --json` makes one."
        ) from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: can't be read as JSON: {error}.") from error
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind != "portability":
        raise SpecError(f"{path}: not a portability file; `bench portability --json` makes one.")
    refuse_newer(path, data.get("schema_version"), SCHEMA_VERSION)
    try:
        return PortabilityReport.model_validate(data, extra="ignore")
    except ValidationError as error:
        raise SpecError(
            f"{path}: {first_problem(error, PortabilityReport.model_fields)}"
        ) from error


def portability(report: PortabilityReport, most: int | None = MOST_ROWS) -> Portability:
    """The maps: operators by name, models in their order; at most so many rows of each."""
    targets = tuple(dict.fromkeys(line.target for line in report.targets))
    operators: dict[str, dict[str, Square]] = {}
    for line in sorted(report.operators, key=lambda o: (o.domain, o.operator, o.opset)):
        domain = f"{line.domain}." if line.domain not in ("", "ai.onnx") else ""
        label = f"{domain}{line.operator}-{line.opset}"
        operators.setdefault(label, {})[line.target] = _operator(line)
    models: dict[str, dict[str, Square]] = {}
    for model in report.models:
        variant = suffix(model.variant)
        square = _square(model.outcome, "", model.detail)
        models.setdefault(f"{model.model}{variant}", {})[model.target] = square
    grids = [
        _grid(f"portability-{what.lower()}s", what, targets, found, most)
        for what, found in (("Model", models), ("Operator", operators))
    ]
    used = {
        square.outcome
        for found in (operators, models)
        for row in found.values()
        for square in row.values()
    }
    return Portability(
        words=tuple(_words(target, operators) for target in targets) if operators else (),
        grids=tuple(grid for grid in grids if grid.rows),
        legend=tuple(
            (outcome, *meaning) for outcome, meaning in OUTCOMES.items() if outcome in used
        ),
    )


def _operator(line: OperatorRow) -> Square:
    error = "" if line.worst_error is None else f", largest error {line.worst_error:.0e}"
    words = f"{line.passed} of {line.tests} tests passed{error}"
    detail = f"{words}. {line.detail}" if line.detail else f"{words}."
    count = f"{line.passed}/{line.tests}" if line.outcome != "pass" and line.tests else ""
    return _square(line.worst, count, detail)


def _square(outcome: MapOutcome, count: str, detail: str) -> Square:
    sign, _ = OUTCOMES[outcome]
    return Square(outcome, sign, count, printable(detail, limit=_DETAIL_LIMIT))


def _grid(
    name: str,
    what: str,
    targets: Sequence[str],
    found: dict[str, dict[str, Square]],
    most: int | None,
) -> Grid:
    targets = [target for target in targets if any(target in row for row in found.values())]
    rows = _merged(
        [
            GridRow(shown(row), tuple(squares.get(target) for target in targets))
            for row, squares in found.items()
        ],
        what,
    )
    left_out = ""
    if most is not None and len(rows) > most:
        rows.sort(key=lambda row: min(map(_badness, row.squares), default=len(WORST_FIRST)))
        left_out = f"The {most} with the worst outcomes of {len(rows):,}; the file has all."
        rows = rows[:most]
    return Grid(
        name, f"{what}s on targets", what, tuple(map(shown, targets)), tuple(rows), left_out
    )


def _merged(rows: Sequence[GridRow], what: str) -> list[GridRow]:
    """Rows of which nothing but the outcomes is to be told as one row, where there are several
    alike; those first that say more."""
    alike: dict[tuple[MapOutcome, ...], list[GridRow]] = {}
    apart = []
    for row in rows:
        known = [square for square in row.squares if square is not None]
        plain = len(known) == len(row.squares) and not any(square.count for square in known)
        if plain:
            alike.setdefault(tuple(square.outcome for square in known), []).append(row)
        else:
            apart.append(row)
    for found in alike.values():
        if len(found) < _FEWEST_MERGED:
            apart += found
            continue
        names = tuple(row.label for row in found)
        squares = tuple(replace(q, detail="") if q else None for q in found[0].squares)
        apart.append(GridRow(f"{len(names)} {what.lower()}s", squares, names))
    return apart


def _badness(square: Square | None) -> int:
    if square is None:
        return len(WORST_FIRST)
    return WORST_FIRST.index(square.outcome)


def _words(target: str, operators: dict[str, dict[str, Square]]) -> str:
    counts = Counter(row[target].outcome for row in operators.values() if target in row)
    total = sum(counts.values())
    if not total:
        return f"{shown(target)}: no operator was tried."
    others = [f"{counts[o]} {o}" for o in WORST_FIRST if counts[o] and o not in _GOOD]
    rest = f"; {', '.join(others)}" if others else ""
    return f"{shown(target)} computes {counts['pass']} of {total} operators{rest}."
