"""Energies compared, weighed and held to limits."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from compared_runs import in_memory
from energy_windows import rounds, trace
from fake_records import STUDENT, TEACHER, a_cell, a_record

from bench.cell import Cell
from bench.judge.compare import compare
from bench.judge.deal import cost_of, level_with, make_deal
from bench.judge.energy import main_energy
from bench.judge.finding import Limits, Outcome
from bench.judge.gate import judge
from bench.judge.joined import join
from bench.judge.matching import match_runs, match_targets
from bench.present.compare import report_json, report_text
from bench.present.deal import deal_text
from bench.present.energy import energy_table
from bench.present.gate import gate_json, gate_text
from bench.present.page.energy import section
from bench.record.energy import energies, energies_by_other_kind
from bench.record.result import Record
from bench.record.windows import IDLE, Kind, Trace, Window
from bench.store.rows import result_rows
from bench.store.run import StoredRun

ONE, OTHER = a_cell(TEACHER, "x:cpu"), a_cell(TEACHER, "y:cpu")
Power = Callable[[int], float]


def metered(record: Record, windows: list[Window]) -> Record:
    update = {
        "energy": energies(record.cell, windows, 0.95),
        "energy_by_other_kind": energies_by_other_kind(record.cell, windows, 0.95),
    }
    return record.model_copy(update=update)


def two(one: Power, other: Power, **changes: str) -> list[Record]:
    windows = rounds({ONE.id: one, OTHER.id: other}, **changes)
    return [metered(a_record(cell), windows) for cell in (ONE, OTHER)]


def test_two_cells_of_a_run_are_compared_round_by_round() -> None:
    warm = (0.0, 30.0, -20.0, 10.0, 5.0)  # of both alike
    records = two(lambda n: 100 + warm[n], lambda n: 0.8 * (100 + warm[n]))
    report = compare(match_targets(in_memory(records)))
    (effect,) = report.energies
    assert (effect.scope, effect.paired, effect.rounds) == ("package", True, (5, 5))
    assert effect.ratio.estimate == pytest.approx(0.8)
    assert effect.ratio.high == pytest.approx(0.8, rel=1e-3)
    assert effect.verdict == "less"
    assert effect.a == pytest.approx(1.05)
    text = report_text(report, 100).plain
    assert " takes less energy than " in text
    row = report_json(report)["energies"]
    assert isinstance(row, list)
    assert row[0]["verdict"] == "less"


def test_who_measured_no_energy_is_told_to_and_not_to_measure_more_of_it() -> None:
    whole, none = two(lambda n: 100 + n, lambda n: 80 + n)[0], a_record(ONE)
    limits = Limits(max_energy_j=1.0, max_energy_growth=0.1)
    report = compare(match_runs(in_memory([none], "a"), in_memory([whole], "b")))
    found = judge(in_memory([none]), Limits(max_energy_j=1.0)).findings
    assert [one.advice for one in found] == ["Measure it with --energy."]
    found = judge(in_memory([whole]), limits, report).findings
    (grown,) = (one for one in found if one.kind == "energy" and one.advice)
    assert grown.advice == "Measure both runs with --energy."


def test_energies_that_tell_nothing_are_a_sentence_too() -> None:
    records = two(lambda n: 100 + 60 * (n % 2), lambda n: 100 + 60 * (n % 3 == 1))
    said = report_text(compare(match_targets(in_memory(records))), 100).plain
    assert "Which takes less energy is inconclusive." in said
    assert "can't be compared" not in said


def test_a_cell_whose_windows_are_apart_is_compared_by_all_of_them() -> None:
    """Two rounds were shared, and in six each had one of its own."""
    windows = [
        *rounds({ONE.id: lambda n: 100 + n % 3, OTHER.id: lambda n: 80 + n % 2}, count=2),
        *rounds({ONE.id: lambda n: 100 + n % 3}, count=8)[2 * 3 :],
    ]
    later = rounds({OTHER.id: lambda n: 80 + n % 2}, count=14)[8 * 3 :]
    records = [metered(a_record(cell), [*windows, *later]) for cell in (ONE, OTHER)]
    (effect,) = compare(match_targets(in_memory(records))).energies
    assert (effect.paired, effect.rounds, effect.verdict) == (False, (8, 8), "less")


def test_energies_of_two_runs_are_not_paired() -> None:
    before, now = (two(lambda n: p + n, lambda n: p + n) for p in (100.0, 130.0))  # noqa: B023
    report = compare(match_runs(in_memory(before, "a"), in_memory(now, "b")))
    assert [(e.paired, e.verdict) for e in report.energies] == [(False, "more"), (False, "more")]


def test_a_board_is_not_compared_with_the_cpus_nor_a_counter_with_readings_of_power() -> None:
    package = two(lambda n: 100.0 + n, lambda n: 100.0 + n)
    for other in ({"scope": "wall", "meter": "m", "kind": "power"}, {"kind": "power"}):
        with_other = two(lambda n: 100.0 + n, lambda n: 100.0 + n, **other)
        records = [package[0], with_other[1]]
        report = compare(match_targets(in_memory(records)))
        assert report.energies == ()


def one_stuck() -> list[Record]:
    """Two cells whose board tells a counter and its power; of the second the counter is stuck. By
    its power the first takes 1.4 times what the second does; by its counter, twice."""
    watts = {ONE.id: (100.0, 70.0), OTHER.id: (0.0, 50.0)}

    def traces(cell_id: str, index: int) -> tuple[Trace, ...]:
        counter, power = (w and w + index for w in watts.get(cell_id, (40.0, 40.0)))
        return trace(counter), trace(power, kind="power")

    windows = [
        w.model_copy(update={"traces": traces(w.cell_id, w.index)})
        for w in rounds({ONE.id: lambda n: 1.0, OTHER.id: lambda n: 1.0})
    ]
    return [metered(a_record(cell, accuracy=0.9), windows) for cell in (ONE, OTHER)]


def test_cells_that_both_tell_their_power_are_compared_where_one_has_no_counter() -> None:
    records = one_stuck()
    assert [main_energy(r).kind for r in records] == ["counter", "power"]  # type: ignore[union-attr]
    report = compare(match_targets(in_memory(records)))
    (effect,) = report.energies
    assert effect.a == pytest.approx(0.72)
    assert effect.ratio.estimate == pytest.approx(50 / 70, rel=0.02)
    assert effect.verdict == "less"


def test_a_deal_and_a_gate_take_the_kind_of_readings_that_all_have() -> None:
    records = one_stuck()
    deal = make_deal(records, lambda confidence: lambda one, other: None, "energy")
    assert [cost_of(p.record, "energy") for p in deal.points] == pytest.approx([0.52, 0.72])
    assert level_with(deal, deal.points[0]) == ()
    text = deal_text(deal, 100).plain.replace("\n  ", " ")
    assert "energies are of package, integrated from power readings; cells" in text
    stuck = records[1].model_copy(update={"cell": ONE, "cell_id": ONE.id})
    assert outcomes([stuck], records[:1], max_energy_growth=0.1) == [Outcome.PASS]


@pytest.mark.parametrize("kind", ["counter", "power"])
def test_rounds_of_two_runs_are_not_taken_for_measured_in_turn_however_they_are_read(
    kind: str,
) -> None:
    """Two vary alike by chance; their counters count, unless a third has none."""
    wobble = (1.0, 1.3, 0.8, 1.1, 0.9)

    def a_run(cell: Cell, watts: float, name: str, *kinds: Kind) -> StoredRun:
        windows = [
            w.model_copy(update={"traces": tuple(trace(power, kind=kind) for kind in kinds)})
            for w in rounds({cell.id: lambda n: 1.0})
            for power in [40.0 if w.cell_id == IDLE else watts * wobble[w.index]]
        ]
        return in_memory([metered(a_record(cell, accuracy=0.9), windows)], name)

    both: tuple[Kind, ...] = ("counter", "power")
    runs = [
        a_run(ONE, 100, "a", *both),
        a_run(OTHER, 105, "b", *both),
        a_run(a_cell(TEACHER, "z:cpu"), 900, "c", *both if kind == "counter" else ("power",)),
    ]
    deal = make_deal(join(runs).records, lambda confidence: lambda one, other: None, "energy")
    assert [point.cell.target for point in deal.points] == ["x:cpu", "y:cpu", "z:cpu"]
    assert {energy.kind for p in deal.points for energy in p.record.energy} == {kind}
    assert level_with(deal, deal.points[0]) == (deal.points[1],)


def test_a_deal_by_energy_weighs_joules_a_sample_of_one_scope() -> None:
    student = a_cell(STUDENT, "x:cpu")
    board = a_cell(STUDENT, "z:cuda:0")
    windows = rounds({ONE.id: lambda n: 100.0 + n, student.id: lambda n: 50.0 + n})
    gpu = rounds({board.id: lambda n: 1.0 + n / 9}, scope="gpu-board", meter="G")
    records = [
        metered(a_record(ONE, accuracy=0.93), windows),
        metered(a_record(student, accuracy=0.90), windows),
        metered(a_record(board, accuracy=0.90), gpu),
    ]
    deal = make_deal(records, lambda confidence: lambda one, other: None, "energy")
    assert [point.cell.id for point in deal.points] == [student.id, ONE.id]
    text = deal_text(deal, 100).plain
    assert "energy per sample" in text
    assert "The thriftiest is" in text
    said = "energies are of package, read from counters; cells without such an energy are left out"
    assert said in text.replace("\n  ", " ")


def with_a_board(*boards: Trace, cell: Cell) -> Record:
    """A cell on a board whose host's CPUs are metered too, and take little beside it."""

    def traces(cell_id: str, index: int) -> tuple[Trace, ...]:
        return trace(12.0 + index if cell_id == cell.id else 10.0), *boards

    windows = rounds({cell.id: lambda n: 1.0})
    windows = [w.model_copy(update={"traces": traces(w.cell_id, w.index)}) for w in windows]
    return metered(a_record(cell, accuracy=0.93), windows)


WALL = trace(700.0, scope="wall", meter="m", kind="power")
BOARD = trace(500.0, scope="gpu-board", meter="G")
STUCK = trace(0.0, scope="gpu-board", meter="G")


@pytest.mark.parametrize("board", [BOARD, STUCK])
def test_what_the_cpus_take_beside_a_board_is_not_what_its_cell_takes(board: Trace) -> None:
    cpus = [
        record.model_copy(update={"accuracy": a_record(ONE, accuracy=0.93).accuracy})
        for record in two(lambda n: 100.0 + n, lambda n: 90.0 + n)
    ]
    gpu = with_a_board(board, cell=a_cell(TEACHER, "z:cuda:0"))
    assert {e.scope for e in gpu.energy} == {"gpu-board", "package"}
    report = compare(match_targets(in_memory([cpus[0], gpu])))
    assert report.energies == ()
    said = " ".join(report_text(report, 100).plain.split())
    apart = (
        "The energies of 1 pair can't be compared: package, read from counters against "
        "gpu-board, read from counters."
    )
    assert (apart in said) == (board is BOARD), "of a stuck board there is no energy"
    deal = make_deal([*cpus, gpu], lambda confidence: lambda one, other: None, "energy")
    assert [point.cell.target for point in deal.points] == ["y:cpu", "x:cpu"]
    limit = judge(in_memory([gpu]), Limits(max_energy_j=0.5))
    (row,) = result_rows([gpu])
    if board is STUCK:
        assert main_energy(gpu) is None
        assert [finding.outcome for finding in limit.findings] == [Outcome.INCONCLUSIVE]
        assert (row["energy_scope"], row["energy_gross_j"]) == ("gpu-board", None)
    else:
        assert [finding.outcome for finding in limit.findings] == [Outcome.FAIL]
        assert (row["energy_scope"], row["energy_gross_j"]) == ("gpu-board", pytest.approx(5.0))


def test_the_wall_is_of_a_board_and_of_cpus_alike() -> None:
    cpu = metered(
        a_record(ONE, accuracy=0.93),
        [
            w.model_copy(
                update={"traces": (*w.traces, trace(150.0 + w.index, "wall", "m", "power"))}
            )
            for w in rounds({ONE.id: lambda n: 100.0 + n})
        ],
    )
    gpu = with_a_board(STUCK, WALL, cell=a_cell(TEACHER, "z:cuda:0"))
    (effect,) = compare(match_targets(in_memory([cpu, gpu]))).energies
    assert (effect.scope, effect.verdict) == ("wall", "more")
    deal = make_deal([cpu, gpu], lambda confidence: lambda one, other: None, "energy")
    assert [point.cell.target for point in deal.points] == ["x:cpu", "z:cuda:0"]


def test_a_device_in_the_package_has_the_energy_of_that() -> None:
    """As a CPU's GPU: it has no meter of its own."""
    cell = a_cell(TEACHER, "z:gpu")
    assert main_energy(with_a_board(cell=cell)).scope == "package"  # type: ignore[union-attr]


def told(text: str) -> list[str]:
    """The label of each row with an energy, under its heading."""
    rows, heading = [], ""
    for line in text.splitlines():
        label, scope, _ = line.partition(", package")
        heading = heading if scope else line
        rows += [f"{heading}: {label.strip(' ✓')}"] * bool(scope)
    return rows


def test_energies_of_cells_that_differ_in_threads_alone_are_told_apart() -> None:
    cells = [a_cell(TEACHER, "x:cpu", threads=n) for n in (1, 4)]
    windows = rounds({cell.id: lambda n: 100.0 + n for cell in cells})
    records = [metered(a_record(cell), windows) for cell in cells]
    shown = energy_table(records, 200).plain
    assert re.findall(r"x:cpu, package, (\d threads?)", shown) == ["1 thread", "4 threads"]
    report = compare(match_runs(in_memory(records), in_memory(records, "b")))
    assert told(report_text(report, 200).plain) == [
        "fashion-teacher: x:cpu, single-stream batch 1, 1 thread",
        "fashion-teacher: x:cpu, single-stream batch 1, 4 threads",
    ]


def test_energies_of_three_targets_are_told_by_both_and_their_loads() -> None:
    targets, loads = ("x:cpu", "y:cpu", "z:cpu"), ("single-stream", "offline")
    cells = [a_cell(TEACHER, target, load) for target in targets for load in loads]
    windows = rounds({cell.id: lambda n: 100.0 + n for cell in cells})
    run = in_memory([metered(a_record(cell), windows) for cell in cells])
    found = told(report_text(compare(match_targets(run)), 200).plain)
    assert len(set(found)) == len(found) == 3 * 2
    assert "fashion-teacher, against y:cpu: z:cpu, offline batch 1" in found


def outcomes(run: list[Record], before: list[Record] | None, **limits: float) -> list[Outcome]:
    report = None
    if before is not None:
        report = compare(match_runs(in_memory(before, "a"), in_memory(run, "b")))
    judgement = judge(in_memory(run, "b"), Limits(**limits), report)  # type: ignore[arg-type]
    assert gate_text(judgement, 100).plain
    assert gate_json(judgement)["findings"]
    return [f.outcome for f in judgement.findings if f.kind == "energy"]


def test_a_gate_holds_energy_against_the_baseline() -> None:
    base = two(lambda n: 100 + n, lambda n: 100 + n)
    worse = two(lambda n: 130 + n, lambda n: 100 + n)
    unsure = two(lambda n: 104 + 20 * (n % 2), lambda n: 100 + n)
    wanted = {"max_energy_growth": 0.1}
    assert outcomes(worse, base, **wanted) == [Outcome.FAIL, Outcome.PASS]
    assert outcomes(unsure, base, **wanted) == [Outcome.INCONCLUSIVE, Outcome.PASS]
    assert outcomes([a_record(ONE)], base[:1], **wanted) == [Outcome.INCONCLUSIVE]


def test_a_gate_holds_energy_against_joules_without_a_baseline() -> None:
    run = two(lambda n: 100 + n, lambda n: 200 + n)
    assert outcomes(run, None, max_energy_j=1.5) == [Outcome.PASS, Outcome.FAIL]
    assert outcomes([a_record(ONE)], None, max_energy_j=1.5) == [Outcome.INCONCLUSIVE]


def test_the_table_tells_gross_net_and_the_scope() -> None:
    windows = rounds({ONE.id: lambda n: 100.0 + n, OTHER.id: lambda n: 40.0 + (-1) ** n})
    records = [metered(a_record(cell), windows) for cell in (ONE, OTHER)]
    text = energy_table(records, 110).plain
    assert "1020" in text
    assert "at idle" in text
    assert "package: the CPUs as RAPL reports them" in text
    few = [metered(a_record(ONE), rounds({ONE.id: lambda n: 100.0}, count=2))]
    assert "2 of 2 windows are valid, but 3 are needed" in energy_table(few, 110).plain


def test_a_token_has_its_gross_and_net_energy_in_the_table_and_on_the_page() -> None:
    text, other = (a_cell(TEACHER, t, "generate@8+4") for t in ("x:cpu", "y:cpu"))
    windows = rounds({text.id: lambda n: 100.0 + n, other.id: lambda n: 40.0 + (-1) ** n})
    records = [metered(a_record(cell), windows) for cell in (text, other)]
    shown = energy_table(records, 120).plain
    head, first, second = (line for line in shown.splitlines() if "oken" in line or "cpu" in line)
    assert head.split() == ["Gross", "Net", "Token", "Net", "token", "Power", "Idle", "valid"]
    assert first.split()[4::2][:4] == ["1020", "620", "255", "155"]
    assert second.count("at idle") == 2
    (table,) = section(records, "a-").tables
    titles = [column.title for column in table.columns]
    values = dict(zip(titles, table.rows[0], strict=True))
    assert values["Per token"].values == pytest.approx([x / 4 for x in values["Gross"].values])
    assert values["Net per token"].values == pytest.approx([x / 4 for x in values["Net"].values])
    assert dict(zip(titles, table.rows[1], strict=True))["Net per token"].text == "at idle"
    plain = two(lambda n: 100.0 + n, lambda n: 100.0 + n)
    both = section([*records, *plain], "a-").tables[0]
    assert both.rows[2][titles.index("Net per token")].text == "-"
    assert len(section(plain, "a-").tables[0].columns) == len(titles) - 2


def test_rows_and_the_page_have_what_the_table_has() -> None:
    records = two(lambda n: 100.0 + n, lambda n: 100.0 + n)
    row = result_rows(records)[0]
    assert row["energy_scope"] == "package"
    assert row["energy_gross_j"] == row["energy_sample_j"] == pytest.approx(1.02)
    assert row["energy_net_j"] == pytest.approx(0.62)
    assert (row["idle_w"], row["energy_token_j"]) == (pytest.approx(40.0), None)
    found = section(records, "a-")
    assert len(found.tables[0].rows) == 2
    assert section([a_record(ONE)], "a-").empty


def test_a_cell_that_is_wrong_has_no_energy_that_counts() -> None:
    (record, _) = two(lambda n: 100.0, lambda n: 100.0)
    assert main_energy(record) is not None
    assert main_energy(record.model_copy(update={"simulated": True})) is None
