"""A cell whose measuring an interrupt ended: it has a record, which decides nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compared_runs import a_header
from fake_records import a_cell, a_record, an_invocation

from bench.judge.compare import why_no_effect
from bench.judge.finding import Limits, Outcome
from bench.judge.matching import Match, Side
from bench.judge.presence import not_judged
from bench.measure.run import carry_out
from bench.present.results import result_table
from bench.record.assemble import Evidence, assemble
from bench.record.facts import CellFacts
from bench.record.result import Record
from bench.store.files import TUNE
from bench.store.merge import merge
from bench.store.rows import result_rows
from bench.store.run import StoredRun, read_run
from bench.store.write import RunStore

CELL = a_cell()


def partial(count: int, least: int = 3) -> Record:
    """As a run leaves it that was interrupted."""
    facts = CellFacts(cell_id=CELL.id, stop="interrupted")
    taken = [an_invocation(index, 1e5, CELL) for index in range(count)]
    return assemble(Evidence(CELL, facts, taken, least=least), 0.95)


def run_of(folder: Path, record: Record) -> StoredRun:
    store = RunStore.create(folder, a_header([CELL]))
    store.append_record(record)
    store.close()
    return read_run(store.path)


def side(run: Any, record: Record) -> Side:
    return Side(run=run, cell=record.cell, record=record)


@pytest.mark.parametrize(
    ("count", "least", "words"),
    [(1, 3, "1 of at least 3 invocations"), (2, 3, "2 of at least 3"), (4, 3, "4 invocations")],
)
def test_a_partial_record_says_how_far_it_got(count: int, least: int, words: str) -> None:
    record = partial(count, least)
    assert (record.status, record.standing) == ("ok", "partial")
    (check,) = [check for check in record.checks if check.name == "complete"]
    assert f"stopped early by Ctrl-C or SIGTERM after {words}" in check.detail
    text = " ".join(result_table([record], 80).plain.split())
    assert "onnxruntime:cpu, partial" in text
    assert check.detail in text
    assert result_rows([record])[0]["status"] == "partial"


def test_one_invocation_has_no_interval() -> None:
    assert partial(1).latency is None


@pytest.mark.parametrize("turned", [False, True])
def test_a_partial_record_on_either_side_is_not_compared_and_leaves_a_gate_open(
    turned: bool,
) -> None:
    whole, part = a_record(CELL), partial(2)
    run = SimpleNamespace(path=Path("runs/a"))
    both = [side(run, whole), side(run, part)]
    match = Match(*(both[::-1] if turned else both))
    assert why_no_effect(match) == f"{'AB'[not turned]} was stopped early, after 2 invocations"
    found = not_judged(match, Limits())
    assert found is not None
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.words.startswith("the baseline" if turned else "the run")
    assert "bench run --resume runs/a" in found.advice


def test_a_tuning_run_is_resumed_by_its_own_command(tmp_path: Path) -> None:
    (tmp_path / TUNE).touch()
    part, run = partial(2), SimpleNamespace(path=tmp_path)
    found = not_judged(Match(side(run, a_record(CELL)), side(run, part)), Limits())
    assert found is not None
    assert f"bench tune --resume {tmp_path}" in found.advice


def test_a_cell_measured_to_its_end_wins_a_merge_over_a_later_partial_one(tmp_path: Path) -> None:
    whole = a_record(CELL, finished_at="2026-01-01T00:00:00+00:00")
    part = partial(2).model_copy(update={"finished_at": "2026-02-01T00:00:00+00:00"})
    runs = [run_of(tmp_path / name, record) for name, record in (("a", whole), ("b", part))]
    made = merge([run.path for run in runs], tmp_path / "out")
    assert any("it was stopped early there" in note for note in made.notes)
    (stop,) = {
        r.stop for p in (tmp_path / "out").rglob("run.json") for r in read_run(p.parent).records
    }
    assert stop == whole.stop


class Interrupted:
    """Measures nothing until it is interrupted."""

    def __init__(self, run: Any, *, again: bool = False) -> None:
        self.records = list(run.outcome.records)
        self.again, self.kept = again, 0
        self.cpus: Any = RunsNowhere()

    def run(self) -> None:
        raise KeyboardInterrupt

    def keep_partial(self) -> None:
        self.kept += 1
        if self.again:
            raise KeyboardInterrupt


class RunsNowhere:
    def __enter__(self) -> None: ...

    def __exit__(self, *problem: object) -> None: ...


def carried_out(folder: Path, stored: StoredRun | None = None, **how: Any) -> Interrupted:
    made: list[Interrupted] = []
    again = how.pop("again", False)

    def measurer(run: Any) -> Any:
        made.append(Interrupted(run, again=again))
        return made[0]

    store = RunStore.create(folder, a_header([CELL]))
    prepared: Any = SimpleNamespace(account=None, launcher=SimpleNamespace(logs=None))
    listener: Any = SimpleNamespace(close=lambda: None, run_interrupted=lambda path: None)
    assert carry_out(prepared, store, stored, listener, measurer, **how).interrupted
    return made[0]


def test_an_interrupt_keeps_partial_records_but_not_in_a_part_of_a_fleet(tmp_path: Path) -> None:
    assert carried_out(tmp_path).kept == 1
    assert carried_out(tmp_path, keeps_partial=False).kept == 0


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carried_out(tmp_path, again=True)


def test_a_resumed_run_measures_partial_cells_on(tmp_path: Path) -> None:
    assert carried_out(tmp_path, run_of(tmp_path / "a", partial(2))).records == []
    whole = run_of(tmp_path / "b", a_record(CELL))
    assert carried_out(tmp_path, whole).records == whole.records
