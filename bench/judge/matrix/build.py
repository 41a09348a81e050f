"""From runs to a matrix: which cells there are, which stands for each model on each target, and the
best of each row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.cell import Cell
from bench.errors import SpecError
from bench.judge.alike import (
    READABLE,
    UNUSUAL,
    Alike,
    sample_sizes,
    settings_in_words,
    settings_of,
    values_of,
)
from bench.judge.energy import Way, common_way, main_energy, measured, read_as
from bench.judge.matching import Side, sides
from bench.judge.matrix.cells import FAILURES, Asked, Column, Entry, Matrix, Row
from bench.judge.matrix.kinds import device_word
from bench.judge.matrix.scores import Scores, has_predictions
from bench.judge.matrix.weigh import best_of, price_of, rate_of
from bench.judge.pairs import same_data, score_for
from bench.numbers import NAME_LIMIT, printable
from bench.record.queries import kept
from bench.record.result import Estimate, Kept, Record
from bench.scenarios import find_scenario, weighing
from bench.stats.interval import FEWEST_INVOCATIONS
from bench.store.machines import Machine
from bench.store.run import StoredRun

#: The settings that a row has, and those of a column: how a target is used.
_OF_A_ROW = ("shape", "model")
_OF_A_COLUMN = tuple(kind for kind in READABLE if kind not in _OF_A_ROW)
_SHA_DIGITS = 6


@dataclass(frozen=True)
class _Found:
    """One cell of one run of a machine."""

    machine: Machine
    side: Side

    @property
    def cell(self) -> Cell:
        return self.side.cell

    @property
    def ok(self) -> bool:
        record = self.side.record
        return record is not None and record.standing == "ok"


def make_matrix(
    machines: Mapping[Machine, Sequence[StoredRun]], asked: Asked, scores: Scores
) -> Matrix:
    """The matrix of all runs, by machine. Raises `SpecError` where nothing is left to show."""
    everything = [
        _Found(machine, side)
        for machine, runs in machines.items()
        for run in sorted(runs, key=lambda run: run.header.created_at)
        for side in sides(run)
    ]
    notes: list[str] = []
    found, way = _chosen(everything, asked, notes), None
    if asked.by == "energy":
        found, way = _read_alike(found)
    data = _data_of(everything)
    rows = _rows(found, data, asked, notes)
    columns = _columns(found)
    grouped: dict[tuple[Row, Column], list[_Found]] = {}
    for each in found:
        key = rows[_of_a_row(each, data, asked)], columns[_use(each)]
        grouped.setdefault(key, []).append(each)
    scored = _scored(everything)
    made: dict[tuple[Row, Column], Entry] = {}
    all_rows, all_columns = _by_model(rows.values()), _by_machine(columns.values())
    for row in all_rows:
        of_row = [
            _entry(row, column, grouped.get((row, column), []), asked, scored)
            for column in all_columns
        ]
        made |= {(row, entry.column): entry for entry in _marked(of_row, asked, scores)}
    return Matrix(
        asked=asked,
        rows=tuple(all_rows),
        columns=tuple(all_columns),
        entries=made,
        found={key: tuple(f.side for f in some) for key, some in grouped.items()},
        notes=tuple(notes),
        energy_way=way,
    )


# -- which cells ----------------------------------------------------------------------------------


def _chosen(everything: Sequence[_Found], asked: Asked, notes: list[str]) -> list[_Found]:
    """The cells of the load that the figure is read from, or of those that were asked for."""
    found = [f for f in everything if f.cell.lane == "prepared"]
    if len(found) < len(everything):
        notes.append("cells of lanes other than the prepared call are left out.")
    by_model: dict[str, list[_Found]] = {}
    for each in found:
        by_model.setdefault(each.cell.model.name, []).append(each)
    kept_ones = [f for some in by_model.values() for f in _of_load(some, asked)]
    if kept_ones:
        order = {id(each): place for place, each in enumerate(found)}
        return sorted(kept_ones, key=lambda each: order[id(each)])
    if asked.by == "energy" and not any(measured(f.side.record) for f in everything):
        raise SpecError("no cell of these runs has an energy. Measure it with --energy.")
    loads = sorted({f"{f.cell.scenario} batch {f.cell.batch}" for f in everything})
    given = [f"--by {asked.by}", *(f"--scenario {name}" for name in asked.scenarios)]
    given += [f"--batch {batch}" for batch in asked.batches]
    raise SpecError(
        f"no cell of these runs has the requested figure ({', '.join(given)}). "
        f"Available: {', '.join(loads[:8]) or 'no cells'}. "
        "Choose with --by, --scenario and --batch."
    )


def _read_alike(found: Sequence[_Found]) -> tuple[list[_Found], Way | None]:
    """The same with energies of one scope and kind of readings alone, those that most have; and
    which."""
    way = common_way([f.side.record for f in found if f.side.record is not None])
    if way is None:
        return list(found), None
    return [
        replace(f, side=replace(f.side, record=read_as(f.side.record, way)))
        if f.side.record is not None
        else f
        for f in found
    ], way


def _of_load(found: Sequence[_Found], asked: Asked) -> list[_Found]:
    present = list(dict.fromkeys(f.cell.scenario for f in found))
    if asked.scenarios:
        wanted = {n for n in present if {n, find_scenario(n).plain_name} & {*asked.scenarios}}
    else:
        wanted = _usual(found, present, asked)
    rate = {"throughput": True, "price": True, "latency": False}.get(asked.by)
    return [
        f
        for f in found
        if f.cell.scenario in wanted
        and (not asked.batches or f.cell.batch in asked.batches)
        and (rate is None or f.cell.is_rate is rate or (asked.by == "price" and asked.scenarios))
    ]


def _usual(found: Sequence[_Found], present: Sequence[str], asked: Asked) -> set[str]:
    """The scenario that a cost is read from, as `bench show --deal` does."""
    if asked.by == "energy":
        present = list(dict.fromkeys(f.cell.scenario for f in found if measured(f.side.record)))
    if asked.by in ("throughput", "price"):
        scenario = weighing("throughput", present)
    else:
        scenario = weighing("latency", present)
    if scenario is None and asked.by in ("energy", "accuracy"):
        scenario = weighing("throughput", present)
    return set() if scenario is None else {scenario}


# -- rows and columns -----------------------------------------------------------------------------


def _data_of(everything: Sequence[_Found]) -> dict[tuple[str, str, str], str]:
    """The labelled data that a model was scored on, by machine, name and content."""
    found: dict[tuple[str, str, str], str] = {}
    for each in everything:
        record, model = each.side.record, each.cell.model
        if record is not None and record.accuracy is not None:
            key = (each.machine.name, model.name, model.sha256)
            found[key] = record.accuracy.dataset_sha256
    return found


def _of_a_row(each: _Found, data: Mapping[tuple[str, str, str], str], asked: Asked) -> Row:
    """The row of a cell, before anything tells it from others of its name."""
    cell = each.cell
    return Row(
        cell.model.name,
        cell.model.sha256,
        cell.variant,
        cell.scenario,
        cell.batch if asked.batches else None,
        sizes=sample_sizes(cell),
        data=_one_data(each, data),
    )


def _one_data(each: _Found, data: Mapping[tuple[str, str, str], str]) -> str:
    """A machine that scored nothing belongs to whatever the others scored on."""
    model = each.cell.model
    own = data.get((each.machine.name, model.name, model.sha256))
    others = [sha for (_, *named), sha in data.items() if named == [model.name, model.sha256]]
    return own or next(iter(others), "")


def _rows(
    found: Sequence[_Found],
    data: Mapping[tuple[str, str, str], str],
    asked: Asked,
    notes: list[str],
) -> dict[Row, Row]:
    """Each row of a cell with what tells it from others of its name, of which a note says once that
    there are some."""
    cells: dict[Row, Cell] = {}
    for each in found:
        cells.setdefault(_of_a_row(each, data, asked), each.cell)
    rivals: dict[tuple[object, ...], list[Row]] = {}
    for row in cells:
        rivals.setdefault(row.named, []).append(row)
    rows = {}
    for some in rivals.values():
        alike = Alike((cells[row] for row in some), lambda _: "", _OF_A_ROW)
        # One that was never scored is of other weights than those that were: that is told.
        several = len({row.data for row in some if row.data}) > 1
        for row in some:
            told = f"data {row.data[:_SHA_DIGITS]}" if several and row.data else ""
            settings = settings_in_words(alike.apart(cells[row]))
            rows[row] = replace(row, apart=", ".join(filter(None, (settings, told))))
    apart = dict.fromkeys(row.model for row in rows.values() if row.apart)
    if apart:
        names = ", ".join(printable(name, limit=NAME_LIMIT) for name in apart)
        notes.append(
            f"the same name stands for different things in these runs: {names} (weights, input "
            "shapes or labelled data differ). They get separate rows and are not compared."
        )
    return {row: rows[row] for row in cells}


def _columns(found: Sequence[_Found]) -> dict[tuple[object, ...], Column]:
    """A column for each use of a target of a machine; what differs between uses of one is said."""
    cells: dict[Machine, list[Cell]] = {}
    for each in found:
        cells.setdefault(each.machine, []).append(each.cell)
    alike = {
        machine: Alike(some, lambda cell: cell.target, _OF_A_COLUMN)
        for machine, some in cells.items()
    }
    columns = {}
    for each in found:
        cell, apart = each.cell, alike[each.machine].apart(each.cell)
        columns[_use(each)] = Column(
            each.machine,
            cell.target,
            device_word(cell),
            settings_in_words(settings_of(cell, (*UNUSUAL, "bound")), apart),
            values_of(cell, _OF_A_COLUMN),
        )
    return columns


def _use(each: _Found) -> tuple[object, ...]:
    return each.machine, each.cell.target, *values_of(each.cell, _OF_A_COLUMN)


def _by_model(rows: Iterable[Row]) -> list[Row]:
    """The variants of a model together, otherwise in the order of the runs."""
    found = list(dict.fromkeys(rows))
    order = {name: place for place, name in enumerate(dict.fromkeys(r.model for r in found))}
    return sorted(found, key=lambda row: order[row.model])


def _by_machine(columns: Iterable[Column]) -> list[Column]:
    found = list(dict.fromkeys(columns))
    order = {m: place for place, m in enumerate(dict.fromkeys(c.machine for c in found))}
    return sorted(found, key=lambda column: order[column.machine])


# -- entries --------------------------------------------------------------------------------------

#: The cells that were scored, by machine, model, variant and target.
_Scored = Mapping[tuple[Machine, str, str, str, str], Sequence[Side]]


def _scored(everything: Sequence[_Found]) -> _Scored:
    found: dict[tuple[Machine, str, str, str, str], list[Side]] = {}
    for each in everything:
        if each.ok and each.side.record is not None and each.side.record.accuracy is not None:
            found.setdefault(_scored_key(each.machine, each.cell), []).append(each.side)
    return found


def _scored_key(machine: Machine, cell: Cell) -> tuple[Machine, str, str, str, str]:
    return machine, cell.model.name, cell.model.sha256, cell.variant, cell.target


def _score_of(record: Record, scored: Sequence[Side]) -> Side | None:
    """The cell that an entry's accuracy is read from: of those on the same data the last whose
    predictions are there, or without any the last."""
    found = score_for(record, [side.record for side in scored if side.record is not None])
    if found is None:
        return None
    alike = [side for side in scored if side.record and same_data(side.record, found)]
    return max(reversed(alike), key=has_predictions, default=None)


def _entry(
    row: Row,
    column: Column,
    found: Sequence[_Found],
    asked: Asked,
    scored: _Scored,
) -> Entry:
    """What stands for a model on a target: of several runs the last that went well."""
    if not found:
        return Entry(row, column, "-")
    largest = asked.by in ("throughput", "price")
    _, chosen = max(
        enumerate(found),
        key=lambda item: (
            item[1].ok,
            item[1].cell.batch if largest else -item[1].cell.batch,
            item[0],
        ),
    )
    side, record = chosen.side, chosen.side.record
    if record is None:
        return Entry(row, column, "-", side)
    of_scores = _score_of(record, scored.get(_scored_key(column.machine, side.cell), ()))
    word = _word(record, asked)
    entry = Entry(
        row,
        column,
        word,
        side,
        of_scores,
        rate=None if word else rate_of(record, asked.confidence),
        kept=None if word else _kept(record, asked.bound_ns),
    )
    if word:
        return entry
    value, missing = _figure(entry, asked)
    return replace(entry, value=value, word="" if value is not None else missing)


def _word(record: Record, asked: Asked) -> str:
    """Why a record's figure doesn't count; empty where it does."""
    if record.status == "failed":
        kind = record.failure.kind if record.failure else ""
        return FAILURES.get(kind, "failed")
    if record.standing == "wrong":
        return "WRONG"
    if record.foreign is not None:
        return "other tool"
    placed = {check.name: check.ok for check in record.checks}.get("placement", True)
    if record.cell.allow_fallback and not placed:
        return "fallback"
    if asked.by == "accuracy":
        return ""
    if record.simulated:
        return "simulated"
    if record.partial:
        return "partial"
    return "too few" if len(record.invocations) < FEWEST_INVOCATIONS else ""


def _kept(record: Record, bound_ns: int | None) -> Kept | None:
    """Whether a query's 99th percentile keeps to a bound, as far as the samples tell; for a rate
    that was searched under a bound of its own, whether that one is as strict."""
    if bound_ns is None:
        return None
    own = record.cell.latency_bound_ns
    if own is not None:
        return "met" if own <= bound_ns else "inconclusive"
    return kept(record.latency.p99, bound_ns) if record.latency is not None else "inconclusive"


def _figure(entry: Entry, asked: Asked) -> tuple[Estimate | None, str]:
    """The figure that is shown, and the word where there is none."""
    record = entry.record
    if asked.by == "latency":
        return (record.latency.median_ns if record.latency else None), "failed"
    if asked.by == "throughput":
        return entry.rate, "failed"
    if asked.by == "price":
        return price_of(entry, asked), "no price"
    if asked.by == "energy":
        found = main_energy(record)
        if found is None or found.gross_j is None:
            return None, "no energy"
        return _scaled(found.gross_j, 1 / found.samples), "no energy"
    scored = entry.scored.record if entry.scored is not None else None
    return (scored.accuracy.value if scored and scored.accuracy else None), "not scored"


def _scaled(found: Estimate, factor: float) -> Estimate:
    return Estimate(
        value=found.value * factor,
        low=found.low * factor,
        high=found.high * factor,
        confidence=found.confidence,
    )


def _marked(entries: Sequence[Entry], asked: Asked, scores: Scores) -> list[Entry]:
    """The best of a row and what isn't told apart from it; nothing where only one has a figure."""
    usable = [entry for entry in entries if entry.usable]
    if len(usable) < 2:
        return list(entries)
    leader, tied = best_of(usable, asked.by, asked, scores)
    best = {id(entry) for entry in (leader, *tied) if entry is not None}
    return [replace(entry, best=id(entry) in best, leader=entry is leader) for entry in entries]
