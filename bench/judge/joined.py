"""The records of several runs as those of one, for what weighs the records of a run.

A target is shown with its machine, where there are several; and invocations of different runs have
different numbers, so that nobody takes them for measured in turn. Of a cell that several runs of a
machine measured, the latest record counts, and of the contents of a model the latest one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.judge.changes import Changes
from bench.judge.deal import Cost, Deal, make_deal
from bench.judge.drafting import Drafting, draftings
from bench.numbers import printable
from bench.record.result import Energy, Record
from bench.store.machines import by_machine
from bench.store.run import StoredRun

_SHA_DIGITS = 6
#: Runs have far fewer invocations of a cell.
_APART = 1_000_000


@dataclass(frozen=True)
class Joined:
    """``places`` are the machine and the target by what is shown as target; ``notes`` what has to
    be told."""

    records: list[Record]
    runs: Mapping[int, StoredRun]  #: of each record, by its `id`
    places: Mapping[str, tuple[str, str]]
    draftings: tuple[Drafting, ...]
    notes: tuple[str, ...]

    def changes(self) -> Changes:
        """The comparisons of stored predictions, whichever runs they are in."""
        return Changes(lambda record: self.runs[id(record)])


def join(runs: Sequence[StoredRun]) -> Joined:
    """The records of all runs, the oldest first."""
    machines = by_machine(sorted(runs, key=lambda run: run.header.created_at))
    several = len(machines) > 1
    found: dict[tuple[str, str], tuple[Record, StoredRun]] = {}
    places: dict[str, tuple[str, str]] = {}
    drafts: list[Drafting] = []
    number = 0
    for machine, mine in machines.items():
        for run in mine:
            for record in run.records:
                target = record.cell.target
                shown = f"{target} on {machine.name}" if several else target
                places[shown] = (machine.name, target)
                moved = _moved(record, shown, number * _APART)
                found.pop((machine.name, record.cell_id), None)  # the latest comes last
                found[machine.name, record.cell_id] = (moved, run)
            drafts += (
                replace(d, target=f"{d.target} on {machine.name}" if several else d.target)
                for d in draftings(run)
            )
            number += 1
    latest = _latest_contents(found)
    notes = _replaced_contents([record for record, _ in found.values()], places, latest)
    found = {key: each for key, each in found.items() if _is_latest(key[0], each[0], latest)}
    records = [record for record, _ in found.values()]
    return Joined(
        records=records,
        runs={id(record): run for record, run in found.values()},
        places=places,
        draftings=tuple(drafts),
        notes=(*notes, *_other_contents(records, places)),
    )


def weigh(joined: Joined, cost: Cost, loss: float | None) -> tuple[Deal, list[str]]:
    """The deal of all records, and what could not be compared for it. ``loss`` is what counts as
    nothing of a fraction of 1, or None for the metric's own. Raises `SpecError` where nothing was
    both measured and scored."""
    changes = joined.changes()
    deal = make_deal(joined.records, changes.at, cost, loss)
    return replace(deal, draftings=joined.draftings), changes.problems


def _moved(record: Record, target: str, first: int) -> Record:
    """The record with its target as it is shown, and its numbers from ``first`` on; the one that
    it is where nothing of that is another."""
    if (target, first) == (record.cell.target, 0):
        return record
    cell = record.cell.model_copy(update={"target": target})
    here = target.removeprefix(record.cell.target)
    cell_id = f"{record.cell_id}{here}"  # unique among the records, as in a run
    invocations = tuple(
        one.model_copy(update={"index": first + one.index}) for one in record.invocations
    )
    update = {
        "cell": cell,
        "cell_id": cell_id,
        "invocations": invocations,
        "energy": _renumbered(record.energy, first),
        "energy_by_other_kind": _renumbered(record.energy_by_other_kind, first),
    }
    return record.model_copy(update=update)


def _renumbered(energies: Sequence[Energy], first: int) -> tuple[Energy, ...]:
    """Energies with the numbers of their rounds from ``first`` on."""
    return tuple(
        each.model_copy(
            update={
                "rounds": tuple(
                    one.model_copy(update={"index": first + one.index}) for one in each.rounds
                )
            }
        )
        for each in energies
    )


#: The content of a model that counts, by machine and name.
_Contents = Mapping[tuple[str, str], str]


def _latest_contents(found: Mapping[tuple[str, str], tuple[Record, StoredRun]]) -> _Contents:
    def when(key: tuple[str, str]) -> tuple[str, str]:
        record, run = found[key]
        return run.header.created_at, record.finished_at

    return {
        (key[0], found[key][0].cell.model.name): found[key][0].cell.model.sha256
        for key in sorted(found, key=when)
    }


def _is_latest(machine: str, record: Record, latest: _Contents) -> bool:
    model = record.cell.model
    return latest[machine, model.name] == model.sha256


def _replaced_contents(
    records: Sequence[Record], places: Mapping[str, tuple[str, str]], latest: _Contents
) -> list[str]:
    """A sentence about each model of which a machine measured several contents."""
    old: dict[tuple[str, str], dict[str, None]] = {}
    for record in records:
        machine, model = places[record.cell.target][0], record.cell.model
        if not _is_latest(machine, record, latest):
            old.setdefault((machine, model.name), {})[model.sha256[:_SHA_DIGITS]] = None
    return [
        f"{printable(name)} changed between runs on {printable(machine)}: figures of its earlier "
        f"content ({', '.join(contents)}) are left out, those of its latest "
        f"({latest[machine, name][:_SHA_DIGITS]}) count."
        for (machine, name), contents in old.items()
    ]


def _other_contents(records: Sequence[Record], places: Mapping[str, tuple[str, str]]) -> list[str]:
    """A sentence about each model whose content isn't the same on all machines."""
    contents: dict[str, dict[str, dict[str, None]]] = {}
    for record in records:
        model, machine = record.cell.model, places[record.cell.target][0]
        contents.setdefault(model.name, {}).setdefault(model.sha256, {})[machine] = None
    return [
        f"{printable(name)} is not the same model everywhere: its content is "
        + ", ".join(
            f"{sha[:_SHA_DIGITS]} on {' and '.join(map(printable, on))}"
            for sha, on in found.items()
        )
        + "."
        for name, found in contents.items()
        if len(found) > 1
    ]
