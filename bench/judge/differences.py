"""What differs between matched cells besides their figures, and what of it forbids a comparison.

A `Difference` is of a kind that is refused unless it is allowed by name, or of one that is told
only, because its effect is usually what a comparison is made for (another runtime version).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench.backend import is_cpu
from bench.bounds import in_words
from bench.cell import Cell
from bench.discover import nearest
from bench.errors import SpecError
from bench.judge.alike import Alike, loadgen_words, shape_words
from bench.judge.matching import Match, Matched
from bench.machine.facts import COMPARABLE, MachineFacts
from bench.numbers import printable
from bench.record.result import Record
from bench.store.run import StoredRun

#: kinds of difference that make figures incomparable -> what they are, in words
REFUSED: dict[str, str] = {
    "machine": "hardware",  #: of one machine, before and after (`bench.store.machines`)
    "device": "device",
    "model": "model content",
    "scenario": "scenario",
    "batch": "batch",
    "shape": "input shape",
    "input": "input data",
    "threads": "thread count",
    "lane": "lane",
    "bound": "latency bound",
    "fallback": "fallback allowed",
    "tool": "the tool that measured",
}


#: kinds that are told and never refused
TOLD: dict[str, str] = {
    "name": "model",
    "variant": "variant",
    "target": "target",
    "runtime": "runtime version",
    "dataset": "labelled data",
    "settings": "LoadGen's settings",
    "bench": "bench version",
    "host": "host",
    "kernel": "kernel",
    "python": "Python",
    "package": "package",
}


#: kinds that two machines are compared for, and so are told where it is known that there are two
OF_MACHINES = ("machine", "device", "threads")

#: kinds whose values are hashes
_HASHED = ("machine", "model", "input", "dataset", "host")
ALL = "all"
_SHA_DIGITS = 12


_FACT_LIMIT = 60
_NOT_RECORDED = "not recorded"


@dataclass(frozen=True)
class Difference:
    """``a`` and ``b`` are the two values in words, ``subjects`` what has them (none: the runs)."""

    kind: str
    a: str
    b: str
    subjects: tuple[str, ...] = ()
    detail: str = ""
    between_machines: bool = False

    @property
    def refused(self) -> bool:
        """Whether it is refused unless allowed."""
        told = self.between_machines and self.kind in OF_MACHINES
        return self.kind in REFUSED and not told

    @property
    def words(self) -> str:
        if self.kind == "machine" and self.between_machines:
            return "machine"
        return REFUSED.get(self.kind) or TOLD[self.kind]

    @property
    def values(self) -> str:
        """Both values for people, who can't read a hash."""
        if self.kind in _HASHED and not self.between_machines:
            unknown = _NOT_RECORDED in (self.a, self.b)
            return self.detail or (_NOT_RECORDED if unknown else "not the same")
        return f"{self.a} / {self.b}" + (f" ({self.detail})" if self.detail else "")


def differences(matched: Matched) -> list[Difference]:
    """What differs in the runs and in their matched cells, each once with all that it is of."""
    found: dict[tuple[str, str, str], Difference] = {}
    alike = Alike(match.a.cell for match in matched.matches)
    for match in matched.matches:
        between = match.between_machines
        of_runs = _of_two_machines(match) if between else _of_runs(match.a.run, match.b.run)
        for new in (*of_runs, *_of_cells(match, alike)):
            key = (new.kind, new.a, new.b)
            old = found.setdefault(key, new)
            subjects = tuple(dict.fromkeys((*old.subjects, *new.subjects)))
            found[key] = replace(new, subjects=subjects, between_machines=between)
    order = [*REFUSED, *TOLD]
    told = [d for d in found.values() if d.kind not in matched.asked]
    return sorted(told, key=lambda difference: order.index(difference.kind))


def check_allowed_kinds(allowed: Collection[str]) -> None:
    """Raise `SpecError` for a kind that doesn't exist or needs no permission."""
    for kind in allowed:
        if kind in TOLD:
            raise SpecError(f"--allow {kind}: that difference is reported, never refused.")
        if kind not in REFUSED and kind != ALL:
            close = nearest(kind, [*REFUSED, ALL])
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            kinds = ", ".join([*REFUSED, ALL])
            raise SpecError(f"--allow {kind}: no such kind. {hint}Available: {kinds}.")


def not_allowed(found: Iterable[Difference], allowed: Collection[str]) -> list[Difference]:
    """The differences because of which nothing is compared."""
    return [d for d in found if d.refused and d.kind not in allowed and ALL not in allowed]


def refuse(
    found: Iterable[Difference],
    allowed: Collection[str],
    names: tuple[str, str] = ("the first", "the second"),
) -> None:
    """Raise `SpecError` where a difference is neither harmless nor allowed."""
    kinds = list(dict.fromkeys(d.kind for d in not_allowed(found, allowed)))
    if kinds:
        words = ", ".join(REFUSED[kind] for kind in kinds)
        flags = " ".join(f"--allow {kind}" for kind in kinds)
        a, b = (printable(name, limit=_FACT_LIMIT) for name in names)
        raise SpecError(
            f"{a} and {b} are not comparable: they differ in {words}. To compare anyway: {flags}."
        )


def comparable_ones(matched: Matched, allowed: Collection[str]) -> tuple[Matched, str]:
    """The matches between machines that may be compared, and one sentence about the others; empty
    where there are none. Raises `SpecError` with it where nothing is left.

    Machines and devices may differ: that is what they are compared for. What they computed may not.
    """
    kept: list[Match] = []
    found: dict[str, dict[str, None]] = {}
    alike = Alike(match.a.cell for match in matched.matches)
    for match in matched.matches:
        told = (replace(d, between_machines=True) for d in _of_cells(match, alike))
        refused = not_allowed(told, allowed) if match.between_machines else []
        for difference in refused:
            found.setdefault(difference.kind, {}).update(dict.fromkeys(difference.subjects))
        if not refused:
            kept.append(match)
    if not found:
        return matched, ""
    words = ", ".join(f"{REFUSED[kind]}{_of_what(names)}" for kind, names in found.items())
    flags = " ".join(f"--allow {kind}" for kind in found)
    left = len(matched.matches) - len(kept)
    which = f"{left} of {len(matched.matches)} cells aren't" if kept else "No cell is"
    said = (
        f"{which} compared between the machines: their results differ in {words}. To compare "
        f"anyway: {flags}."
    )
    if not kept:
        raise SpecError(said)
    return replace(matched, matches=tuple(kept)), said


def _of_what(subjects: Collection[str]) -> str:
    """What differs, where that is one or two."""
    names = [printable(name, limit=_FACT_LIMIT) for name in subjects]
    return f" ({', '.join(names)})" if 0 < len(names) < 3 else ""


def _of_two_machines(match: Match) -> Iterator[Difference]:
    """What else differs between two machines follows from their being two, or says little."""
    a, b = match.a, match.b
    details = [_hardware(one.run.header.facts) for one in (a, b)]
    detail = " / ".join(details) if details[0] != details[1] else details[0]
    yield Difference("machine", _fact(a.machine), _fact(b.machine), detail=detail)
    yield from _unequal("bench", a.run.header.bench_version, b.run.header.bench_version)


def _hardware(facts: dict[str, Any]) -> str:
    """What a machine computes with: its GPU, else its CPU."""
    gpus = facts.get("gpus")
    gpu = gpus[0].get("name") if isinstance(gpus, list) and gpus else None
    return _fact(gpu or facts.get("cpu_model"))


def _of_runs(a: StoredRun, b: StoredRun) -> Iterator[Difference]:
    if a is b:
        return
    one, other = a.header.facts, b.header.facts
    yield from _of_machines(one, other)
    yield from _unequal("bench", a.header.bench_version, b.header.bench_version)
    if one.get("machine_id") == other.get("machine_id"):
        yield from _unequal("host", one.get("hostname_hash"), other.get("hostname_hash"))
    yield from _unequal("kernel", one.get("kernel"), other.get("kernel"))
    yield from _unequal("python", one.get("python"), other.get("python"))
    ours, theirs = _mapping(one.get("packages")), _mapping(other.get("packages"))
    for name in sorted({*ours, *theirs} - {"infer-bench"}):
        if ours.get(name) != theirs.get(name):
            a_version, b_version = ours.get(name) or "none", theirs.get(name) or "none"
            yield Difference("package", f"{name} {a_version}", f"{name} {b_version}")


def _of_machines(one: dict[str, Any], other: dict[str, Any]) -> Iterator[Difference]:
    """Ids that are not recorded can't be shown to be equal."""
    ids = one.get("machine_id"), other.get("machine_id")
    if ids[0] == ids[1] and ids[0] is not None:
        return
    ours, theirs = _comparable(one), _comparable(other)
    details = [
        f"{name.replace('_', ' ')} {_fact(ours[name])} / {_fact(theirs[name])}"
        for name in COMPARABLE
        if ours[name] != theirs[name]
    ]
    yield Difference("machine", _fact(ids[0]), _fact(ids[1]), detail="; ".join(details))


def _comparable(facts: dict[str, Any]) -> dict[str, Any]:
    try:
        return MachineFacts.from_json(facts).comparable
    except (TypeError, KeyError, ValueError, AttributeError):  # of another version of bench
        return {name: facts.get(name) for name in COMPARABLE}


def _of_cells(match: Match, alike: Alike) -> Iterator[Difference]:
    a, b = match.a.cell, match.b.cell
    subject = (alike.label(a),)
    if a.model.name == b.model.name:
        yield from _unequal_sha("model", a.model.sha256, b.model.sha256, (a.model.name,))
    yield from _unequal("name", a.model.name, b.model.name)
    yield from _unequal("variant", a.variant, b.variant, subject)
    yield from _unequal("target", a.target, b.target)
    yield from _unequal("scenario", a.scenario, b.scenario, subject)
    yield from _unequal("batch", a.batch, b.batch, subject)
    yield from _unequal("shape", shape_words(a.shapes), shape_words(b.shapes), subject)
    yield from _unequal_sha("input", a.input_sha256, b.input_sha256, subject)
    if is_cpu(a.device_kind) == is_cpu(b.device_kind):
        # Threads that launch on an accelerator are not those that compute on a CPU.
        yield from _unequal("threads", a.threads, b.threads, subject)
    yield from _unequal("lane", a.lane, b.lane, subject)
    yield from _unequal("bound", _bound(a), _bound(b), subject)
    yield from _unequal("fallback", a.allow_fallback, b.allow_fallback, subject)
    yield from _of_records(match)


def _tool(record: Record) -> str:
    """What issued the queries and timed them."""
    return record.foreign.tool if record.foreign else record.cell.driver


def _settings(cell: Cell) -> str:
    """What was asked of LoadGen, which is the driver."""
    return loadgen_words(cell) or "its own"


def _of_records(match: Match) -> Iterator[Difference]:
    a, b = match.a.record, match.b.record
    if a is None or b is None:
        return
    yield from _unequal("tool", _tool(a), _tool(b))
    if a.cell.loadgen is not None and b.cell.loadgen is not None:
        yield from _unequal("settings", _settings(a.cell), _settings(b.cell))
    if a.cell.target == b.cell.target:
        target = (a.cell.target,)
        if a.device_name and b.device_name:
            yield from _unequal("device", a.device_name, b.device_name, target)
        if a.runtime_version and b.runtime_version:
            yield from _unequal("runtime", a.runtime_version, b.runtime_version, target)
    if a.accuracy is not None and b.accuracy is not None:
        data = a.accuracy.dataset_sha256, b.accuracy.dataset_sha256
        yield from _unequal_sha("dataset", *data, (a.accuracy.dataset,))


def _unequal(
    kind: str, a: object, b: object, subjects: tuple[str, ...] = ()
) -> Iterator[Difference]:
    if a != b:
        yield Difference(kind, _fact(a), _fact(b), subjects)


def _unequal_sha(kind: str, a: str, b: str, subjects: tuple[str, ...]) -> Iterator[Difference]:
    """All digits are compared, as many are shown as people can take in."""
    if a != b:
        yield Difference(kind, _fact(a[:_SHA_DIGITS]), _fact(b[:_SHA_DIGITS]), subjects)


def _bound(cell: Cell) -> str:
    return in_words(cell) or "none"


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _fact(value: object) -> str:
    """A fact in words, as one short line."""
    if value is None:
        return _NOT_RECORDED
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return printable(text, limit=_FACT_LIMIT)
