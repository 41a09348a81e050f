"""A whole fleet run over stand-in nodes: what ends on the disk, whatever happens meanwhile."""

from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measured_runs import measured_run
from standin_fleets import Fleet, cells, facts, node

from bench.commands.matrix import known_prices
from bench.errors import BenchError, SpecError
from bench.fleet.disk import JOURNAL, Disk, read_journal
from bench.fleet.file import FleetFile
from bench.fleet.given_up import narrow
from bench.fleet.plan import anywhere
from bench.fleet.run import past_of
from bench.fleet.simulated import Fate, Simulated
from bench.fleet.transport import Event, Grew, Joined, Lost
from bench.judge.matrix.cells import Price
from bench.store.check import check_copy
from bench.store.merged import read_merged
from bench.store.run import read_run


class Killed(Exception):
    """The driver's process ends here, as if by kill -9."""


class KillingTransport(Simulated):
    """Kills the driver after so many events."""

    left = 0

    def events(self, timeout_s: float) -> Any:
        found = super().events(timeout_s)
        self.left -= len(found)
        if self.left < 0:
            raise Killed
        return found

    def close(self) -> None:
        if self.left >= 0:
            super().close()


def resumed(fleet: Fleet, transport: Simulated) -> Any:
    """Another driver goes on with the run."""
    disk = Disk(fleet.folder)
    past = past_of(read_journal(fleet.folder), disk)
    disk.close()
    return fleet.drive(transport, past)


def each_once(fleet: Fleet, planned: list[Any]) -> None:
    assert fleet.standings() == {anywhere(cell): ["ok"] for cell in planned}


def test_nodes_of_a_kind_share_the_work_in_a_run_directory_each(tmp_path: Path) -> None:
    planned = cells(10, "x:cpu", "y:gpu")
    prices = FleetFile.model_validate({"nodes": {"b": {"price_per_hour": 2.5, "currency": "EUR"}}})
    fleet = Fleet(tmp_path / "out", planned, label="march", file=prices)
    outcome = fleet.drive(
        Simulated([node(facts("a", "x:cpu", "y:gpu")), node(facts("b", "x:cpu"))])
    )
    assert (outcome.measured, outcome.unmeasured, outcome.left) == (20, 0, 0)
    each_once(fleet, planned)
    runs = {run.path.name: run for run in fleet.runs()}
    assert set(runs) == {"a", "b"}
    for name, run in runs.items():
        assert (run.header.machine_name, run.header.label) == (name, "march")
        assert {c.id for c in run.header.cells} == {r.cell_id for r in run.records}
        assert len(run.records) > 4
    merged = read_merged(fleet.folder)
    assert merged is not None
    assert [(m.name, m.runs) for m in merged.machines] == [
        ("a", ("machines/a",)),
        ("b", ("machines/b",)),
    ]
    assert merged.label == "march"
    assert len(merged.plan) == 20
    assert known_prices([fleet.folder]) == {"b": Price(2.5, "EUR")}


def test_a_run_that_measured_a_part_says_so_and_is_what_can_be_derived_of_it(
    tmp_path: Path,
) -> None:
    path = measured_run(tmp_path)
    file = path / "records.jsonl"
    lines = file.read_text().splitlines(True)
    kept = [text for text in lines if json.loads(text)["cell"]["scenario"] == "single-stream"]
    file.write_text("".join(kept))
    narrow(path)
    header = read_run(path).header
    assert (header.shared, len(header.cells)) == (True, len(kept))
    assert not [p for p in check_copy(read_run(path), path.name).problems if p.file == "run.json"]


@pytest.mark.parametrize("ending_s", [0.1, 30.0])
def test_a_node_that_takes_a_while_to_end_a_lease_is_waited_for(
    tmp_path: Path, ending_s: float
) -> None:
    """Nothing is leased behind the last record of a lease, and the node is not idle yet."""
    planned = cells(3, "x:cpu", "y:gpu")
    fleet = Fleet(tmp_path / "out", planned)
    outcome = fleet.drive(Simulated([node(facts("a", "x:cpu", "y:gpu"), ending_s=ending_s)]))
    assert (outcome.measured, outcome.unmeasured) == (6, 0)
    each_once(fleet, planned)


def test_each_kind_measures_all_that_it_can_and_a_node_with_spread_node(tmp_path: Path) -> None:
    planned = cells(3)
    nodes = [facts("a"), facts("b"), facts("c", machine="kind-c", threads=8)]
    for spread, records in (("kind", 6), ("node", 9), ("target", 3)):
        fleet = Fleet(tmp_path / spread, planned, spread=spread)
        fleet.drive(Simulated([node(one) for one in nodes]))
        assert sum(len(run.records) for run in fleet.runs()) == records, spread


def test_two_hundred_cells_on_four_nodes_take_about_a_quarter_of_the_time(tmp_path: Path) -> None:
    planned = cells(200)

    def seconds(cell: Any) -> float:
        return 2.0 + 30.0 * cell.model.file_bytes / 200e6

    def took(count: int) -> float:
        transport = Simulated([node(facts(f"n{n}"), seconds) for n in range(count)])
        assert Fleet(tmp_path / str(count), planned).drive(transport).measured == 200
        return transport.now_s

    assert took(4) / took(1) < 0.25 * 1.05


def test_a_lost_node_loses_what_it_was_measuring_and_another_measures_it(tmp_path: Path) -> None:
    planned = cells(12)
    fleet = Fleet(tmp_path / "out", planned)
    outcome = fleet.drive(Simulated([node(facts("a"), lost=[25]), node(facts("b"))]))
    assert outcome.measured == 12
    each_once(fleet, planned)
    assert Counter(r.path.name for r in fleet.runs() for _ in r.records) == {"a": 2, "b": 10}


def test_a_node_that_comes_again_goes_on_in_a_run_directory_of_its_own(tmp_path: Path) -> None:
    planned = cells(6)
    fleet = Fleet(tmp_path / "out", planned)
    outcome = fleet.drive(Simulated([node(facts("a"), lost=[25], back=[40])]))
    assert outcome.measured == 6
    each_once(fleet, planned)
    assert [run.path.name for run in fleet.runs()] == ["a", "a-2"]
    merged = read_merged(fleet.folder)
    assert merged is not None
    assert merged.machines[0].runs == ("machines/a", "machines/a-2")


def test_cells_of_a_node_that_never_comes_again_fail_typed_and_are_shown(tmp_path: Path) -> None:
    planned = cells(4)
    fleet = Fleet(tmp_path / "out", planned)
    outcome = fleet.drive(Simulated([node(facts("a"), lost=[25])]))
    assert (outcome.measured, outcome.unmeasured) == (2, 2)
    (run,) = fleet.runs()
    failures = [record.failure for record in run.records if record.status == "failed"]
    assert [failure.kind for failure in failures if failure] == ["node-lost"] * 2
    assert failures[0] is not None
    assert "did not reconnect" in failures[0].message
    assert "a is lost: it was killed" in fleet.shown.getvalue()


def test_a_node_that_was_lost_before_it_began_has_a_run_of_failures(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "out", cells(2))
    transport = Simulated([node(facts("a"), lost=[0.0])])
    begin = transport.begin
    transport.begin = lambda *order: None  # type: ignore[method-assign]
    assert begin is not None
    assert fleet.drive(transport).unmeasured == 2
    (run,) = fleet.runs()
    assert run.header.machine_name == "a"
    assert [record.status for record in run.records] == ["failed", "failed"]


class Late(Simulated):
    """A node that was thought lost, and sends what it measured meanwhile."""

    def _befall(self, node_: Any, event: Event) -> None:
        if isinstance(event, Lost):
            return  # it goes on
        super()._befall(node_, event)


def test_of_a_node_that_was_given_up_nothing_is_taken_any_more(tmp_path: Path) -> None:
    planned = cells(8)
    fleet = Fleet(tmp_path / "out", planned)
    fleet.drive(Late([node(facts("a"), lost=[15]), node(facts("b"))]))
    each_once(fleet, planned)


def test_a_record_that_was_not_its_to_measure_puts_a_node_out(tmp_path: Path) -> None:
    planned = cells(6)
    fleet = Fleet(tmp_path / "out", planned)
    transport = Simulated([node(facts("a")), node(facts("b"))])
    record = transport._record
    transport._record = lambda cell: record(
        planned[0].model_copy(update={"threads": 2}) if transport.now_s < 5 else cell
    )
    fleet.drive(transport)
    assert "takes no further part: it sent a record of" in fleet.shown.getvalue()
    assert all(len(found) == 1 for found in fleet.standings().values())


def test_a_file_that_leads_elsewhere_is_not_written(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "out", cells(1))
    evil = Grew("a", "a", "../../../evil", 0, b"x")
    transport = Simulated([node(facts("a"), fates=[Fate(1.0, evil)]), node(facts("b"))])  # type: ignore[arg-type]
    fleet.drive(transport)
    assert "is not a file of a run directory" in fleet.shown.getvalue()
    assert not (tmp_path / "evil").exists()


def test_a_node_that_changes_in_mid_run_is_found_when_it_comes_again(tmp_path: Path) -> None:
    planned = cells(4)
    other = facts("a", machine="new-cpu")
    fates = [Fate(12, Lost("a", "it was killed")), Fate(20, Joined(other))]
    fleet = Fleet(tmp_path / "out", planned)
    outcome = fleet.drive(Simulated([node(facts("a"), fates=fates)]))
    assert outcome.measured == 1
    shown = fleet.shown.getvalue()
    assert "a is not the same machine any more: cpu_model was kind-a and is new-cpu" in shown
    allowed = Fleet(tmp_path / "allowed", planned, allow=("machine",))
    assert allowed.drive(Simulated([node(facts("a"), fates=fates)])).measured == 4
    merged = read_merged(allowed.folder)
    assert merged is not None
    assert any("cpu_model was kind-a" in words for words in merged.machines[0].remarks)


def test_a_node_that_finds_itself_changed_is_put_out_and_its_lease_goes_back(
    tmp_path: Path,
) -> None:
    planned = cells(4)
    fleet = Fleet(tmp_path / "out", planned)
    bad = node(facts("a"), error="node-changed: the driver of x:cpu was 1 and is 2")
    assert fleet.drive(Simulated([bad, node(facts("b"))])).measured == 4
    assert len(bad.leases) == 1
    assert "a: takes no further part: node-changed" in fleet.shown.getvalue()


def test_another_version_of_bench_is_refused_or_recorded(tmp_path: Path) -> None:
    old = facts("b", bench_version="0.0.1")
    fleet = Fleet(tmp_path / "out", cells(4))
    with pytest.raises(SpecError, match=r"b has bench 0\.0\.1, but the driver has .*--allow"):
        fleet.drive(Simulated([node(facts("a")), node(old)]))
    assert fleet.runs_or_none() == []
    allowed = Fleet(tmp_path / "allowed", cells(4), allow=("versions",))
    assert allowed.drive(Simulated([node(facts("a")), node(old)])).measured == 4
    merged = read_merged(allowed.folder)
    assert merged is not None
    assert "b has bench 0.0.1" in merged.machines[1].remarks[0]


def test_clocks_that_disagree_by_minutes_are_told_and_corrected_by_nobody(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "out", cells(1))
    fleet.drive(Simulated([node(facts("a", clock_offset_s=-180.0))]))
    assert "the clock of a is 3.00 min behind the driver's" in fleet.shown.getvalue()
    merged = read_merged(fleet.folder)
    assert merged is not None
    assert merged.machines[0].clock_offset_s == -180.0


def test_two_drivers_on_one_run_are_one_too_many(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with pytest.raises(SpecError, match="another bench process is writing this run"):
        Disk(tmp_path)
    disk.close()
    Disk(tmp_path).close()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 10), max_size=2), st.booleans())
def test_a_driver_that_is_killed_resumes_and_measures_no_cell_twice(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int], torn: bool
) -> None:
    planned = cells(3, "x:cpu", "y:gpu")
    fleet = Fleet(tmp_path_factory.mktemp("killed") / "out", planned)

    def transport(after: int) -> Simulated:
        nodes = [node(facts("a", "x:cpu", "y:gpu"), 7.0), node(facts("b", "x:cpu"))]
        found = KillingTransport(nodes)
        found.left = after
        return found

    began = False
    for after in kills:
        try:
            resumed(fleet, transport(after)) if began else fleet.drive(transport(after))
        except Killed:
            if torn:
                for path in (fleet.folder / JOURNAL, *fleet.folder.glob("machines/*/*.jsonl")):
                    with path.open("ab") as file:
                        file.write(b'{"half a li')
        began = True
    last = transport(10**9)
    outcome = resumed(fleet, last) if began else fleet.drive(last)
    assert outcome.left == 0
    each_once(fleet, planned)
    assert not [words for run in fleet.runs() for words in run.skipped]


def test_a_record_whose_line_of_the_journal_was_lost_counts(tmp_path: Path) -> None:
    planned = cells(3)
    fleet = Fleet(tmp_path / "out", planned)
    transport = KillingTransport([node(facts("a"))])
    transport.left = 3
    with pytest.raises(Killed):
        fleet.drive(transport)
    journal = fleet.folder / JOURNAL
    kept = [line for line in journal.read_bytes().splitlines(True) if b'"measured"' not in line]
    journal.write_bytes(b"".join(kept))
    assert resumed(fleet, Simulated([node(facts("a"))])).measured == 3
    each_once(fleet, planned)


def test_a_resumed_run_refuses_another_plan(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "out", cells(3))
    transport = KillingTransport([node(facts("a"))])
    transport.left = 3
    with pytest.raises(Killed):
        fleet.drive(transport)
    other = Fleet(fleet.folder, cells(4))
    with pytest.raises(SpecError, match="its plan changed: m3 x:cpu"):
        resumed(other, Simulated([node(facts("a"))]))


def test_a_full_disk_stops_the_driver_in_a_sentence_and_all_before_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = cells(6)
    fleet = Fleet(tmp_path / "out", planned)
    transport = Simulated([node(facts("a"))])
    take = Disk.take

    def full(disk: Disk, grew: Grew) -> None:
        if grew.offset > 2000:
            with disk.errors(), (disk.folder(grew.run) / grew.path).open("ab") as file:
                file.write(grew.data[:100])
                raise OSError(errno.ENOSPC, "No space left on device")
        take(disk, grew)

    monkeypatch.setattr(Disk, "take", full)
    with pytest.raises(BenchError, match=r"No space left on device.*--resume"):
        fleet.drive(transport)
    assert transport.closed
    (run,) = fleet.runs()
    before = len(run.records)
    assert before >= 1
    monkeypatch.undo()
    assert resumed(fleet, Simulated([node(facts("a"))])).measured == 6
    each_once(fleet, planned)


def test_an_interrupted_run_says_what_is_left(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "out", cells(4))
    transport = Simulated([node(facts("a"))])
    events = transport.events

    def interrupted(timeout_s: float) -> Any:
        if transport.now_s > 20:
            raise KeyboardInterrupt
        return events(timeout_s)

    transport.events = interrupted  # type: ignore[method-assign]
    outcome = fleet.drive(transport)
    assert outcome.interrupted
    assert (outcome.measured, outcome.left) == (2, 2)
    assert len(read_run(fleet.folder / "machines" / "a").header.cells) == 2
    assert "2 of 4 cells measured, 2 left" in fleet.shown.getvalue()


def test_the_journal_says_what_happened_in_order(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "out", cells(1))
    fleet.drive(Simulated([node(facts("a"))]))
    lines = (fleet.folder / JOURNAL).read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events == ["began", "added", "came", "taken", "measured", "over"]
