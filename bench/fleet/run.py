"""A fleet run from its beginning, or from where an earlier driver of it stopped."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench import __version__
from bench.cards.catalog import wherever
from bench.cards.ready import Loaded
from bench.errors import SpecError
from bench.files import make_folder
from bench.fleet.board import Board
from bench.fleet.disk import JOURNAL, Disk, read_journal, recorded_cells
from bench.fleet.driver import Asked, Driver, Outcome, Past, Surroundings
from bench.fleet.file import refuse_unknown
from bench.fleet.files import Packed, pack
from bench.fleet.happened import Came, from_line, to_line
from bench.fleet.nodes import NodeFacts
from bench.fleet.plan import Planner, anywhere, refuse_absent
from bench.measure.models import find_models
from bench.measure.prepare import load_models, needed_forms, static_forms
from bench.runtimes.targets import Choice
from bench.spec import Suite
from bench.validation import first_problem

_STOPPED = "the driver stopped"


class Models:
    """A suite's models, made ready for the targets of nodes: once for each set of forms."""

    def __init__(self, suite: Suite, cache: Path, say: Callable[[str], None]) -> None:
        """Raises `SpecError` for a model that isn't there."""
        self._suite, self._cache, self._say = suite, cache, say
        self._named = find_models(suite.models, suite.inputs)
        self._known: dict[frozenset[str], list[Loaded]] = {}

    def load(self, choices: Sequence[Choice]) -> list[Loaded]:
        """Those that ``choices`` are measured with."""
        forms = frozenset(needed_forms(choices) | static_forms(self._suite, choices))
        if forms not in self._known:
            made = load_models(self._suite, self._named, choices, self._cache, self._say)
            self._known[forms] = made
        return self._known[forms]

    def packed(self) -> Packed:
        """The files that nodes need of them, with what was exported here."""
        widest = max(self._known, key=len, default=frozenset())
        made = zip(self._suite.models, self._known.get(widest, ()), strict=False)
        return pack(self._suite.models, dict(made))


def asked_for(suite: Suite, **further: Any) -> Asked:
    """What a new run is asked for, so that it can be resumed from any folder."""
    found = suite.model_copy(update={"models": tuple(wherever(text) for text in suite.models)})
    return Asked(
        suite=found,
        command=shlex.join(["bench", *sys.argv[1:]]),
        bench_version=__version__,
        created_at=_now(),
        **further,
    )


def start(asked: Asked, out: Path, around: Surroundings) -> Outcome:
    """Begin a fleet run in the folder ``out``, which is new or empty.

    Raises `SpecError`, before anything is measured or written, for what can't be had."""
    nodes = around.transport.nodes()
    planner = _planner(asked, around, nodes)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        hint = f" Resume it with --resume {out}." if (out / JOURNAL).is_file() else ""
        raise SpecError(f"{out}: it already exists. Name a new folder with -o.{hint}")
    make_folder(out)
    disk = Disk(out)
    try:
        disk.note([{"event": "began", "asked": asked.model_dump(mode="json", exclude_unset=True)}])
        return Driver(asked, around, planner, disk).run(nodes)
    finally:
        disk.close()


def asked_before(out: Path, allow: Sequence[str] = ()) -> Asked:
    """What a stopped fleet run was asked for, with what is allowed now besides. Raises
    `SpecError` where it is none."""
    lines = read_journal(out)
    first = lines[0] if lines else {}
    try:
        asked = Asked.model_validate(first.get("asked"))
    except ValidationError as error:
        problem = first_problem(error, Asked.model_fields)
        raise SpecError(f"{out / JOURNAL}: can't be resumed: {problem}") from error
    return asked.model_copy(update={"allow": tuple(dict.fromkeys([*asked.allow, *allow]))})


def resume(out: Path, around: Surroundings, asked: Asked) -> Outcome:
    """Go on with a fleet run: what has a record is not measured again. ``asked`` is what
    `asked_before` says of it.

    Raises `SpecError` where another driver has it, or it would no longer be the same run."""
    if not (out / JOURNAL).is_file():
        raise SpecError(f"{out}: not a fleet's run (it has no {JOURNAL}).")
    disk = Disk(out)  # before it is read: another driver may be adding to it until then
    try:
        lines = read_journal(out)
        past = past_of(lines, disk)
        nodes = around.transport.nodes()
        planner = _planner(asked, around, nodes, past.runs.values())
        disk.note(
            [
                {
                    "event": "resumed",
                    "at": _now(),
                    "bench_version": __version__,
                    "allow": list(asked.allow),
                }
            ]
            + [to_line(one) for one in past.found]
        )
        return Driver(asked, around, planner, disk, past).run(nodes)
    finally:
        disk.close()


def _planner(
    asked: Asked,
    around: Surroundings,
    nodes: Sequence[NodeFacts],
    absent: Iterable[NodeFacts] = (),
) -> Planner:
    """What plans, once it is known that there is something to plan; its plans of ``nodes`` are
    made."""
    if not nodes:
        raise SpecError("the fleet has no node: start one with `ray start --head`.")
    there = {node.name: node for node in absent} | {node.name: node for node in nodes}
    refuse_unknown(asked.file, list(there), asked.where)
    refuse_absent(asked.suite.targets, list(there.values()), asked.file, asked.where)
    planner = Planner(asked.suite, asked.file, around.load, asked.where)
    for node in nodes:
        planner.plan(node)
    return planner


def past_of(lines: Sequence[Mapping[str, Any]], disk: Disk) -> Past:
    """The board as it is now that the driver, and all leases with it, are gone."""
    past = Past(Board())
    for line in lines:
        if line["event"] == "remark":
            past.remarks.setdefault(line["node"], []).append(line["words"])
        happened = from_line(line)
        if happened is None:
            continue
        past.board.apply(happened)
        if isinstance(happened, Came):
            past.runs[happened.run] = NodeFacts.from_json(happened.facts)
    latest = {facts.name: run for run, facts in past.runs.items()}
    for run in past.runs:
        disk.close_run(run)
    for node, run in latest.items():
        share = past.board.nodes[node].share
        cells = recorded_cells(disk.folder(run))
        tasks = [anywhere(cell) for cell in cells]
        past.found += past.board.finished(node, [t for t in tasks if _is_open(past, share, t)])
    for node, known in past.board.nodes.items():
        if known.state in ("idle", "leased"):
            past.found += past.board.lost(node, _STOPPED, blameless=True)
    return past


def _is_open(past: Past, share: str, task: str) -> bool:
    return past.board.knows(share, task) and past.board.state_of(share, task) in (
        "waiting",
        "leased",
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
