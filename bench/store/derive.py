"""The records of a stored run derived again from its raw data.

Raw are the samples, the predictions, the outputs, and what the workers and the run told
(`bench.record.facts`). All else follows from them by the functions that the run itself used
(`bench.record.assemble`), and is derived here. A run that an older bench began kept no facts: what
follows from those alone is then taken as it was published, and told (`Derived.taken_as_it_is`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.cards.tasks.base import Judged, judged
from bench.cell import Cell
from bench.errors import SpecError
from bench.record.assemble import DOUBT, TIMED, Evidence, assemble, canary_median, invocation, timed
from bench.record.block import CANARY, Block, trusted_samples, trusted_ttft
from bench.record.facts import CellFacts, Scored, ToldPlacement
from bench.record.header import RunHeader
from bench.record.parity import Reference
from bench.record.result import Invocation, Record
from bench.record.steps import steps_checked
from bench.record.windows import IDLE
from bench.scenarios import DEFAULT, LANGUAGE_DEFAULT, find_scenario
from bench.spec import Suite
from bench.store.columnar import Unreadable, column_names
from bench.store.outputs import read_outputs
from bench.store.predictions import read_predictions
from bench.store.raw import RawFacts, read_raw
from bench.store.run import StoredRun
from bench.store.samples import TTFT, read_rows, sample_files

#: By cell and invocation.
Measured = dict[tuple[str, int], list[Block]]


@dataclass(frozen=True)
class Derived:
    """A run with all that follows from its raw data derived again."""

    run: StoredRun
    problems: list[str]  #: what could not be derived although it should, and what contradicts
    without_outputs: frozenset[str] = frozenset()  #: cells whose outputs were too large to keep
    without_predictions: bool = False  #: whether the run was handed on without them

    def taken_as_it_is(self, value: Invocation | Record) -> set[str]:
        """The fields (dotted) of a record or an invocation for which there is no raw data."""
        if isinstance(value, Record) and value.foreign is not None:
            return set(Record.model_fields)
        keeps_raw = self.run.header.keeps_raw
        if isinstance(value, Record):
            scores = {"accuracy"} if self.without_predictions else set[str]()
            if keeps_raw:
                return scores | ({"parity"} if value.cell_id in self.without_outputs else set())
            return {*scores, *_KEPT_IN_RECORDS, *(f"invocations.{name}" for name in _UNTIMED)}
        return set() if keeps_raw else set(_UNTIMED)


def derived(run: StoredRun, *, without_predictions: bool = False) -> Derived:
    """Accuracies are taken as they are from a run that is known to be ``without_predictions``.
    Raises `SpecError` where the samples can't be read."""
    again = _Derivation(run, without_predictions=without_predictions)
    invocations = [again.invocation(one) for one in run.invocations]
    records = steps_checked([again.record(record, invocations) for record in run.records])
    again.look_for_strays()
    header = _header(run.header, records)
    return Derived(
        run=replace(run, header=header, records=records, invocations=invocations),
        problems=list(dict.fromkeys(again.problems)),
        without_outputs=frozenset(f.cell_id for f in again.raw.cells.values() if f.parity),
        without_predictions=without_predictions,
    )


def invocations_used(run: StoredRun) -> set[tuple[str, int | None]]:
    """Whose samples the records follow from, by cell and index; None is any index, where another
    tool measured the cell."""
    finished = {record.cell_id for record in run.records}
    used: set[tuple[str, int | None]] = {
        (one.cell_id, one.index) for one in run.invocations if one.cell_id in finished
    }
    return used | {(r.cell_id, None) for r in run.records if r.foreign is not None}


#: What only the worker of an invocation tells of it.
_UNTIMED = set(Invocation.model_fields) - set(TIMED) - {"cell_id", "index"}
#: What invocations of an older bench lack, although it follows from their samples.
_LATER_FIELDS = ("typical_block_ns", "round_ns")
#: What only a record tells of a cell whose facts were not kept.
_KEPT_IN_RECORDS = ("parity", "placement.nodes", "placement.time_share")


# -- samples --------------------------------------------------------------------------------------


def read_blocks(path: Path) -> tuple[Measured, dict[tuple[str, int], float]]:
    """All blocks of a run, and for each invocation the canary's median in its generation, which is
    a file. Raises `SpecError` where a file is broken."""
    measured: Measured = {}
    canaries: dict[tuple[str, int], float] = {}
    for file in sample_files(path):
        try:
            table = _read_rows(file)
        except Unreadable as error:
            raise SpecError(f"{file}: the samples can't be read: {error}.") from error
        found: Measured = {}
        for block in _blocks(table):
            found.setdefault((block.cell_id, block.invocation), []).append(block)
        beats = [block for (cell, _), blocks in found.items() if cell == CANARY for block in blocks]
        canary_ns = canary_median(beats)
        for key, blocks in found.items():
            if key[0] == CANARY:
                continue
            measured[key] = blocks
            if canary_ns is not None:
                canaries[key] = canary_ns
    return measured, canaries


def _read_rows(file: Path) -> dict[str, Any]:
    there = TTFT in column_names(file)
    names = ("round", "position", "latency_ns", *((TTFT,) if there else ()))
    table = read_rows(file, **dict.fromkeys(names, np.ndarray))
    if any(np.ma.is_masked(table[name]) for name in names if name != TTFT):
        raise Unreadable("some of its rows have gaps")
    return table


def _blocks(table: dict[str, Any]) -> Iterator[Block]:
    """Consecutive rows of one cell, invocation, round and position are a block."""
    names, codes = table["cell_id"].names, table["cell_id"].codes
    if not len(codes):
        return
    ttft_ns = np.ma.filled(table[TTFT], -1) if TTFT in table else None
    changes = np.zeros(len(codes) - 1, dtype=bool)
    for key in (codes, table["invocation"], table["round"], table["position"]):
        changes |= np.diff(key) != 0
    ends = [*(np.flatnonzero(changes) + 1), len(codes)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield Block(
            cell_id=str(names[codes[start]]),
            invocation=int(table["invocation"][start]),
            round=int(table["round"][start]),
            position=int(table["position"][start]),
            latency_ns=table["latency_ns"][start:end],
            disturbed=bool(table["disturbed"][start]),
            ttft_ns=None
            if ttft_ns is None or (ttft_ns[start:end] < 0).any()
            else ttft_ns[start:end],
        )


# -- records --------------------------------------------------------------------------------------


@dataclass
class _Derivation:
    """One run on its way to being derived, and what is wrong with it."""

    run: StoredRun
    without_predictions: bool = False
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.measured, self.canaries = read_blocks(self.run.path)
        self.raw: RawFacts = read_raw(self.run)
        self.problems += self.raw.skipped
        self._first = {name: self._first_with(name) for name in _LATER_FIELDS}
        self._by_both_kinds = self._first_by_both_kinds()
        self._judged: dict[tuple[str, str], Judged] = {}

    def invocation(self, one: Invocation) -> Invocation:
        """From the samples, and from what the worker told where that was kept."""
        key = one.cell_id, one.index
        blocks, told = self.measured.get(key), self.raw.workers.get(key)
        if not blocks:
            self.problems.append(f"cell {one.cell_id}: invocation {one.index} has no samples")
            return one
        if told is None and self.run.header.keeps_raw:
            self._lacks(one.cell_id, f"facts from the worker of invocation {one.index}")
        canary_ns = self.canaries.get(key)
        if told is None:
            again = one.model_copy(update=timed(blocks, canary_ns))
        else:
            again = invocation(told, blocks, canary_ns)
        # An older bench kept no such field, and a newer one that resumed the run left it so.
        # From the first generation that has the field, all have it.
        lacks = [
            name
            for name, first in self._first.items()
            if getattr(one, name) is None and one.index < first
        ]
        return again.model_copy(update=dict.fromkeys(lacks))

    def _first_with(self, name: str) -> float:
        """The first generation of which an invocation has a field; infinite where none has."""
        having = [one.index for one in self.run.invocations if getattr(one, name) is not None]
        return min(having, default=math.inf)

    def _first_by_both_kinds(self) -> float:
        """The first round of windows of which a record has energies by both kinds of readings;
        infinite where none has."""
        having = [e for record in self.run.records for e in record.energy_by_other_kind]
        return min((one.index for energy in having for one in energy.rounds), default=math.inf)

    def _is_by_one_kind(self, record: Record) -> bool:
        """Whether an older bench kept a record's energies, by one kind of readings alone. From the
        first round of which a record has both, all have them."""
        if not record.energy or record.energy_by_other_kind:
            return False
        rounds = [w.index for w in self.raw.energy if w.cell_id == record.cell_id]
        return max(rounds, default=0) < self._by_both_kinds

    def record(self, record: Record, invocations: Sequence[Invocation]) -> Record:
        if record.foreign is not None:  # another tool's figures; it says how it came by them
            return record.model_copy(update={"cell_id": record.cell.id})
        facts = self.raw.cells.get(record.cell_id)
        if facts is None:
            if self.run.header.keeps_raw:
                self._lacks(record.cell_id, "its facts")
            facts = facts_of(record)
        taken = [one for one in invocations if one.cell_id == record.cell_id]
        outputs, reference, witnesses = self._outputs(facts)
        found = self._scores(record, facts.scored)
        evidence = Evidence(
            cell=record.cell,
            facts=facts,
            invocations=taken,
            samples=self._samples(taken),
            ttft=self._ttft(taken),
            gaps=self.run.gap_samples(record.cell_id),
            outputs=outputs,
            reference=reference,
            witnesses=witnesses,
            scores=found.scores if found else (),
            doubts=found.doubts if found else (),
            energy=self.raw.energy_of(record.cell_id),
            least=self.run.header.suite.min_invocations,
        )
        again = assemble(evidence, self.run.header.suite.confidence)
        if self._is_by_one_kind(record):
            again = again.model_copy(update={"energy_by_other_kind": ()})
        return _with_its_scores(again, record) if self.without_predictions else again

    def look_for_strays(self) -> None:
        """Raw data that no record or invocation of the run stands for: those were taken out."""
        told, shown = set(self.raw.workers), {(i.cell_id, i.index) for i in self.run.invocations}
        for cell_id, index in sorted(told - shown):
            self.problems.append(
                f"cell {cell_id}: invocation {index} is missing, but its worker's facts exist"
            )
        for cell_id in sorted(set(self.raw.cells) - {r.cell_id for r in self.run.records}):
            self.problems.append(f"cell {cell_id}: its record is missing, but its facts exist")
        metered = {window.cell_id for window in self.raw.energy} - {IDLE}
        for cell_id in sorted(metered - {r.cell_id for r in self.run.records}):
            self.problems.append(f"cell {cell_id}: no record uses its energy")
        used = invocations_used(self.run)
        for cell_id, index in sorted(set(self.measured) - used):
            if (cell_id, None) not in used:
                self.problems.append(
                    f"cell {cell_id}: no record uses the samples of invocation {index}"
                )
        for cell_id, index in sorted(shown - used):
            self.problems.append(f"cell {cell_id}: no record uses invocation {index}")
        if (told or self.raw.cells) and not self.run.header.keeps_raw:
            self.problems.append("run.json says that no facts are kept, but they exist")

    def _samples(self, taken: Sequence[Invocation]) -> Mapping[int, Array]:
        blocks = {i.index: self.measured.get((i.cell_id, i.index)) for i in taken}
        return {index: trusted_samples(mine) for index, mine in blocks.items() if mine}

    def _ttft(self, taken: Sequence[Invocation]) -> Mapping[int, Array]:
        found = {i.index: trusted_ttft(self.measured.get((i.cell_id, i.index), ())) for i in taken}
        return {index: mine for index, mine in found.items() if mine is not None}

    def _outputs(
        self, facts: CellFacts
    ) -> tuple[list[Array] | None, Reference | None, list[Reference]]:
        """What was timed, what it ought to be, and what others make of it."""
        if not facts.outputs:
            return None, None, []
        path = self.run.path
        try:
            theirs = read_outputs(path, facts.reference_outputs)
            mine = read_outputs(path, facts.outputs)
            witnesses = [
                Reference(each.name, tuple(read_outputs(path, each.outputs)))
                for each in facts.witnesses
            ]
        except SpecError as error:
            self.problems.append(str(error))
            return None, None, []
        return mine, Reference(facts.reference, tuple(theirs)), witnesses

    def _scores(self, record: Record, scored: Scored | None) -> Judged | None:
        """The task's scores of the predictions; of each file once."""
        if scored is None or self.without_predictions:
            return None
        task, confidence = record.cell.model.task, self.run.header.suite.confidence
        key = task, scored.predictions
        if key not in self._judged:
            try:
                found = find_task(task)
                columns = read_predictions(self.run.path / scored.predictions, found.bulky)
                self._judged[key] = judged(found, columns, confidence)
            except SpecError as error:
                self.problems.append(str(error))
                return None
        return self._judged[key]

    def _lacks(self, cell_id: str, what: str) -> None:
        self.problems.append(f"cell {cell_id}: {what} missing")


def _with_its_scores(again: Record, record: Record) -> Record:
    """The same with the accuracy of ``record``, and what makes that doubtful, in their places."""
    doubts = [check for check in record.checks if check.name == DOUBT]
    names = [check.name for check in record.checks]
    checks = list(again.checks)
    place = names.index(DOUBT) if doubts else 0
    checks[place:place] = doubts
    return again.model_copy(update={"accuracy": record.accuracy, "checks": tuple(checks)})


def facts_of(record: Record) -> CellFacts:
    """What a record says of itself that a run of today keeps as facts."""
    details = {check.name: check.detail for check in record.checks if not check.ok}
    placed, accuracy = record.placement, record.accuracy
    return CellFacts(
        cell_id=record.cell_id,
        stop=record.stop,
        failure=record.failure,
        simulated=record.simulated,
        device_name=record.device_name,
        runtime_version=record.runtime_version,
        environment=record.environment,
        variant_method=record.variant_method,
        footprint=record.footprint,
        roofline=record.roofline,
        no_roofline=record.no_roofline,
        sweep_end=record.sweep_end,
        group=record.group,
        sizes=record.sizes,
        assumed=record.assumed,
        finished_at=record.finished_at,
        placement=None
        if placed is None
        else ToldPlacement(
            nodes=placed.nodes,
            source=placed.source,
            off_device=placed.off_device,
            precision=placed.precision,
            time_share=placed.time_share or {},
        ),
        parity=record.parity,
        not_compared=""
        if record.parity is not None
        else details.get("parity", "").removeprefix("not compared: "),
        scored=None
        if accuracy is None
        else Scored(
            dataset=accuracy.dataset,
            dataset_sha256=accuracy.dataset_sha256,
            notes=accuracy.notes,
            predictions=accuracy.predictions,
        ),
        not_scored=details.get("accuracy", ""),
        tokenizing_ns=_tokenizing(record),
        templated=record.queries is not None and record.queries.templated,
    )


def _tokenizing(record: Record) -> tuple[int, ...]:
    """What making token ids took, of which the record has the median alone."""
    if record.queries is None or record.queries.tokenizing_ns is None:
        return ()
    return (round(record.queries.tokenizing_ns),)


# -- run.json -------------------------------------------------------------------------------------


def _header(header: RunHeader, records: Sequence[Record]) -> RunHeader:
    """What the cells that were measured say of the plan, of the suite, and of what it meant."""
    measured = {record.cell_id: record.cell for record in records}
    cells = tuple(measured.pop(cell.id, cell) for cell in header.cells)
    # The larger batches of a sweep follow from what the smaller ones gave.
    beyond = (c for c in measured.values() if not header.suite.sweeps(find_scenario(c.scenario)))
    cells = (*cells, *beyond)
    targets = dict.fromkeys([*header.targets, *(cell.target for cell in cells)])
    update: dict[str, Any] = {"cells": cells, "targets": tuple(targets)}
    if header.keeps_raw and cells:
        suite = _suite(header.suite, records, cells)
        if header.shared and set(suite.scenarios) < set(header.suite.scenarios):
            suite = suite.model_copy(update={"scenarios": header.suite.scenarios})
        update["suite"] = suite
        update["models"] = _models(header)
    return header.model_copy(update=update)


def _suite(suite: Suite, records: Sequence[Record], cells: Sequence[Cell]) -> Suite:
    """As much of what was asked for as can be seen in its cells."""
    first = cells[0]
    bound_ns = next((c.latency_bound_ns for c in cells if c.latency_bound_ns is not None), None)
    update: dict[str, Any] = {
        "scenarios": _scenarios(suite, cells),
        "variants": tuple(dict.fromkeys([*suite.variants, *(cell.variant for cell in cells)])),
        "lane": first.lane,
        "allow_fallback": first.allow_fallback,
        "roofline": suite.roofline or any(r.roofline or r.no_roofline for r in records),
        "accuracy": suite.accuracy or any(record.accuracy is not None for record in records),
    }
    if suite.threads is not None:
        update["threads"] = first.threads
    if bound_ns is not None and suite.latency_bound_ns != bound_ns:
        update["latency_bound"] = f"{bound_ns / 1000:g}us"
    return suite.model_copy(update=update | _token_bounds(suite, cells))


def _scenarios(suite: Suite, cells: Sequence[Cell]) -> tuple[str, ...]:
    """Those of the cells, in the suite's words where these mean the same: a language model's have
    the lengths in their names, nobody has to ask for those of its default, and one that is named
    twice is measured once."""
    asked = set(suite.scenarios)
    names = dict.fromkeys(
        cell.scenario if cell.scenario in asked else find_scenario(cell.scenario).plain_name
        for cell in cells
    )
    unasked = set(LANGUAGE_DEFAULT) if suite.scenarios == DEFAULT else set()
    found = tuple(name for name in names if name not in unasked)
    return suite.scenarios if not found or set(found) == asked else found


def _token_bounds(suite: Suite, cells: Sequence[Cell]) -> dict[str, Any]:
    """What the cells say of the bounds on TTFT and TPOT, where the suite says something else."""
    pairs = ((cell.ttft_bound_ns, cell.tpot_bound_ns) for cell in cells)
    found = next((pair for pair in pairs if pair[0] is not None and pair[1] is not None), None)
    if found is None or found == (suite.ttft_bound_ns, suite.tpot_bound_ns):
        return {}
    ttft, tpot = (f"{ns / 1000:g}us" for ns in found if ns is not None)
    return {"bounds": None, "ttft_bound": ttft, "tpot_bound": tpot}


def _models(header: RunHeader) -> tuple[str, ...]:
    """The models that the suite asks for, as the header may write them: a path is absolute."""
    asked, shown = header.suite.models, header.models
    if len(asked) != len(shown):
        return asked
    return tuple(
        mine if mine == text or (Path(mine).is_absolute() and _same_file(mine, text)) else text
        for text, mine in zip(asked, shown, strict=True)
    )


def _same_file(mine: str, asked: str) -> bool:
    return Path(mine).name == Path(asked).name
