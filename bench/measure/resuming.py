"""Going on with a run: only where that would still be the same run, or where what changed is
allowed by name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bench.cell import Cell
from bench.errors import SpecError
from bench.machine.facts import MachineFacts
from bench.record.header import RunHeader
from bench.record.resumption import CHANGES, Change

_SHA_DIGITS = 12
_FEW = 3  #: so many changes of a kind are named, more are counted
_NOTHING = "none"


def changes(began: RunHeader, now: RunHeader) -> list[Change]:
    """What is no longer as it was when the run began, in the order of `CHANGES`."""
    return [
        *_machine(began.facts, now.facts),
        *_versions(began, now),
        *_models(began.cells, now.cells),
        *_plan(began.cells, now.cells),
    ]


def refuse(found: Collection[Change], allowed: Collection[str] | None, run: object) -> None:
    """Raises `SpecError` where something changed that isn't allowed; None is where nothing can
    be."""
    refused = [change for change in found if change.kind not in (allowed or ())]
    if not refused:
        return
    kinds = list(dict.fromkeys(change.kind for change in refused))
    told = [_told([c for c in refused if c.kind == kind]) for kind in kinds]
    remedy = "Start a new run."
    if allowed is not None:
        flags = " ".join(f"--allow {kind}" for kind in [*allowed, *kinds])
        remedy = f"Start a new run, or accept and record the change: {flags}."
    raise SpecError(
        f"{run}: not resumed, because its figures would come from different conditions. "
        f"{' '.join(told)} {remedy}"
    )


def _told(same_kind: list[Change]) -> str:
    """The changes of one kind as a sentence."""
    named = [f"{c.what} was {c.was} and is {c.now}" for c in same_kind[:_FEW]]
    more = f"; {len(same_kind) - _FEW} more" if len(same_kind) > _FEW else ""
    return f"The {CHANGES[same_kind[0].kind]} changed: {'; '.join(named)}{more}."


def _machine(began: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """The facts that decide whether latencies may be compared."""
    if began.get("machine_id") == now.get("machine_id"):
        return
    try:
        was = MachineFacts.from_json(began).comparable
    except (KeyError, TypeError):  # what an older bench of the same schema version read
        was = {}
    found = [
        Change(kind="machine", what=name, was=_text(was[name]), now=_text(value))
        for name, value in MachineFacts.from_json(now).comparable.items()
        if name in was and was[name] != value
    ]
    ids = _text(began.get("machine_id")), _text(now.get("machine_id"))
    yield from found or [Change(kind="machine", what="its id", was=ids[0], now=ids[1])]


def _versions(began: RunHeader, now: RunHeader) -> Iterator[Change]:
    was, is_now = _all_versions(began), _all_versions(now)
    for name in {**was, **is_now}:
        one, other = was.get(name), is_now.get(name)
        if one != other:
            yield Change(kind="versions", what=name, was=_text(one), now=_text(other))


def _all_versions(header: RunHeader) -> dict[str, str | None]:
    """Of bench, of Python, and of the distributions here and in the environments that took part."""
    found = {"bench": header.bench_version, "Python": header.facts.get("python")}
    found |= header.facts.get("packages") or {}
    for environment, packages in header.environments.items():
        found |= {f"{name} in {environment}": version for name, version in packages.items()}
    return found


def _models(began: Collection[Cell], now: Collection[Cell]) -> Iterator[Change]:
    was = {cell.model.name: cell.model.sha256 for cell in began}
    for name, sha256 in {cell.model.name: cell.model.sha256 for cell in now}.items():
        if was.get(name, sha256) != sha256:
            one, other = was[name][:_SHA_DIGITS], sha256[:_SHA_DIGITS]
            yield Change(kind="model", what=name, was=one, now=other)


def _plan(began: Collection[Cell], now: Collection[Cell]) -> Iterator[Change]:
    """Cells that were planned and are not, or the other way round, but for another model's."""
    other = {change.what for change in _models(began, now)}
    was = {cell.id: cell for cell in began if cell.model.name not in other}
    is_now = {cell.id: cell for cell in now if cell.model.name not in other}
    for cell_id in {**was, **is_now}:
        if (cell_id in was) != (cell_id in is_now):
            label = (was.get(cell_id) or is_now[cell_id]).label
            words = ("planned", "not") if cell_id in was else ("not planned", "so")
            yield Change(kind="plan", what=f"{label} ({cell_id})", was=words[0], now=words[1])


def _text(value: object) -> str:
    return _NOTHING if value is None else str(value)
