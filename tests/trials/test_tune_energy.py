"""`bench tune --for energy`: joules of windows as costs, the meters that it takes, and its time."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from energy_landscapes import trial
from energy_windows import rounds, trace, window
from fake_records import a_cell
from made_up_field import MadeUp
from raced_tunes import Raced

from bench.commands.tune import command
from bench.errors import SpecError
from bench.machine.powercap import Found, Zone
from bench.measure.energy import found as finding
from bench.measure.energy import passes
from bench.measure.energy.passes import EnergyPass
from bench.measure.starting import Room
from bench.record.windows import IDLE, Window
from bench.spec import Suite
from bench.stats.racing import RacingRule
from bench.trials.tune import measuring
from bench.trials.tune.joules import RaceWindows, check_meters, joules_of, no_energy
from bench.trials.tune.objective import find_objective
from bench.trials.tune.race import CONFIRMATIONS, FIRST, LAST, Budget, Pace, confirm, race

BUSY = "other processes used 40% of a CPU"
ONE, TWO = a_cell(scenario="offline", batch=4), a_cell(scenario="offline", batch=4, threads=2)


def test_costs_are_net_joules_a_sample_by_round() -> None:
    # 300 queries of 4 samples in 3 s; 40 W is what idling takes.
    taken = rounds({ONE.id: lambda i: 100.0 + i, TWO.id: lambda i: 70.0}, count=3)
    costs = find_objective("energy", None).costs([(ONE, []), (TWO, [])], taken)
    assert costs[ONE.id] == pytest.approx({i: (60.0 + i) * 3 / 1200 for i in range(3)}, rel=1e-3)
    assert costs[TWO.id] == pytest.approx(dict.fromkeys(range(3), 30 * 3 / 1200), rel=1e-3)
    found = joules_of([ONE, TWO], taken)
    assert found.words == "net joules per sample, of package, by its counter"
    assert (found.windows, found.invalid) == (6, {})


def test_one_that_is_not_above_idle_makes_all_of_the_race_gross() -> None:
    taken = rounds({ONE.id: lambda i: 100.0, TWO.id: lambda i: 41.0 - 2 * (i == 2)}, count=3)
    found = joules_of([ONE, TWO], taken)
    assert found.words.startswith("gross")
    assert found.by_cell[ONE.id][0] == pytest.approx(100 * 3 / 1200, rel=1e-3)


@pytest.mark.parametrize(("watts", "which"), [(46.0, "net"), (40.001, "gross"), (43.0, "gross")])
def test_one_that_is_hardly_above_idle_makes_all_of_the_race_gross(
    watts: float, which: str
) -> None:
    """The logarithm of nearly nothing would be the leader's, whatever the others of its windows
    say: 40 W is what idling takes."""
    taken = rounds({ONE.id: lambda i: 100.0, TWO.id: lambda i: watts if i == 2 else 60.0}, count=5)
    assert joules_of([ONE, TWO], taken).words.startswith(which)


def test_a_device_is_tuned_by_its_own_meter_or_the_wall_but_not_by_the_cpus() -> None:
    gpu = a_cell(target="x:cuda:0")
    package, wall = trace(90.0), trace(300.0, "wall", "m", "power")
    board = trace(200.0, "gpu-board", "GPU-1")
    for traces, words in (
        ([package, wall], "wall, by its power"),
        ([package, board, wall], "gpu-board, by its counter"),
    ):
        found = joules_of([gpu], [window(gpu.id, 0, 1, traces)])
        assert found.words == f"gross joules per sample, of {words}"
    assert joules_of([gpu], [window(gpu.id, 0, 1, [package])]).by_cell == {gpu.id: {}}


def test_all_are_read_in_one_way() -> None:
    """A counter that is stuck in one configuration's windows is no reason to read that one alone by
    its power."""
    ways = [trace(100.0), trace(100.0, kind="power")]
    stuck = [trace(0.0), trace(100.0, kind="power")]
    some = [window(ONE.id, i, 1, ways) for i in range(3)]
    some += [window(TWO.id, i, 2, stuck) for i in range(3)]
    found = joules_of([ONE, TWO], some)
    assert found.words.endswith("by its counter")
    assert (len(found.by_cell[ONE.id]), len(found.by_cell[TWO.id])) == (3, 0)
    assert "did not move" in no_energy([ONE, TWO], some)[TWO.id]
    assert ONE.id not in no_energy([ONE, TWO], some)
    most = [*some, *(window(ONE.id, i, 1, stuck) for i in range(3, 9))]
    assert joules_of([ONE, TWO], most).words.endswith("by its power")


def test_a_window_that_does_not_count_is_measured_again_and_many_are_too_many() -> None:
    def failing(count: int) -> list[Window]:
        bad = [window(ONE.id, i, 1, [trace(90.0)], disturbed=(BUSY,)) for i in range(count)]
        return [*bad, window(ONE.id, count, 1, [trace(90.0)])]

    assert no_energy([ONE], failing(2)) == {}
    assert "other programs used the CPUs" in no_energy([ONE], failing(3))[ONE.id]
    found = joules_of([ONE], failing(3))
    assert (found.windows, found.invalid) == (4, {"other programs used the CPUs": 3})


def test_a_window_is_lost_with_the_idle_one_beside_it_and_that_is_why() -> None:
    taken = rounds({ONE.id: lambda i: 100.0, TWO.id: lambda i: 70.0}, count=6)
    spoilt = [
        w.model_copy(update={"disturbed": (BUSY,)}) if w.cell_id == IDLE and w.index < 3 else w
        for w in taken
    ]
    found = joules_of([ONE, TWO], spoilt)
    assert found.words.startswith("net")
    assert [[*found.by_cell[cell.id]] for cell in (ONE, TWO)] == [[3, 4, 5]] * 2
    reason = "its idle window: other programs used the CPUs"
    assert (found.windows, found.invalid) == (12, {reason: 6})
    assert no_energy([ONE, TWO], spoilt)[ONE.id] == f"3 of 6 windows are invalid ({reason})"
    none = [w for w in taken if w.cell_id != IDLE or w.index >= 3]
    assert joules_of([ONE, TWO], none).invalid == {
        "its idle window: there is none before or after it": 6
    }


def test_without_any_valid_idle_window_energies_are_gross_and_nothing_is_lost() -> None:
    taken = [
        w.model_copy(update={"disturbed": (BUSY,)}) if w.cell_id == IDLE else w
        for w in rounds({ONE.id: lambda i: 100.0}, count=3)
    ]
    found = joules_of([ONE], taken)
    assert found.words.startswith("gross")
    assert (len(found.by_cell[ONE.id]), found.invalid) == (3, {})


def test_who_has_no_energy_is_judged_as_all_of_the_race_are_read() -> None:
    """By their power: the counter was stuck for most. The one that is measured this time has a
    counter that moves, and too few readings of its power."""
    ways = [trace(100.0), trace(100.0, kind="power")]
    stuck = [trace(0.0), trace(100.0, kind="power")]
    tuning = Raced(lambda n, again: 1e6, 3)
    one, two, three = tuning.states
    tuning._windows = [window(name, i, 1, stuck) for name in (one, two) for i in range(4)]
    tuning._windows += [window(three, i, 1, ways[:1]) for i in range(2)]
    pass_: Any = SimpleNamespace(
        windows=lambda cells: [window(three, 2, 1, ways[:1])], failed={}, next=3
    )
    tuning._pass = pass_
    for state in tuning.states.values():
        state.planned = SimpleNamespace(cell=state.cell)  # type: ignore[assignment]
    tuning._take_windows([three])
    assert [*tuning.tune.thrown_out] == [three]
    assert "3 of 3 windows are invalid" in tuning.tune.thrown_out[three]


def test_idle_windows_at_a_low_clock_make_no_race_gross_and_throw_nobody_out() -> None:
    slow = ("the CPU ran at 23% of its highest frequency",)
    taken = [
        w.model_copy(update={"disturbed": slow})
        for w in rounds({ONE.id: lambda i: 100.0, TWO.id: lambda i: 70.0})
    ]
    assert joules_of([ONE, TWO], taken).words.startswith("net")
    assert no_energy([ONE, TWO], taken) == {}


# -- rounds ---------------------------------------------------------------------------------------


def test_those_that_memory_does_not_hold_follow_in_a_round_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[list[Window]] = []
    opened: list[int] = []

    def one_round(self: RaceWindows, cells: Any, meters: Any) -> list[Window]:
        for planned in cells[2:]:
            self.waiting.append(planned)
        return [window(p.cell.id, self.next, n, []) for n, p in enumerate(cells[:2])]

    monkeypatch.setattr(EnergyPass, "meters", lambda self, held: opened.append(1))
    monkeypatch.setattr(EnergyPass, "_round", one_round)
    monkeypatch.setattr(passes, "has_energy", lambda planned: True)
    context: Any = SimpleNamespace(suite=None, store=SimpleNamespace(append_energy=written.append))
    cells: Any = [SimpleNamespace(cell=a_cell(threads=n)) for n in (1, 2, 3)]
    with ExitStack() as held:
        room = Room()
        found = RaceWindows(cells, context, 5, room, held)
        taken = [*found.windows(cells), *found.windows(cells[:1])]
    assert [(w.cell_id, w.index) for w in taken] == [
        (cells[0].cell.id, 5),
        (cells[1].cell.id, 5),
        (cells[2].cell.id, 6),
        (cells[0].cell.id, 7),
    ]
    assert [len(each) for each in written] == [2, 1, 1]
    assert found.room is room, "who is measured apart there is here, too"
    assert opened == [1], "a device's meter takes seconds to open"
    assert found.failed == {}


# -- what is refused ------------------------------------------------------------------------------


def prepared(target: str, scope: str = "", missing: str = "", **suite: Any) -> tuple[Any, Any]:
    class Worker:
        def watch_energy(self, *asked: Any) -> SimpleNamespace:
            return SimpleNamespace(scope=scope, meter="GPU-1", missing=missing)

        def end(self) -> None:
            pass

    made = SimpleNamespace(
        plan=SimpleNamespace(suite=Suite(energy=True, **suite)),
        launcher=SimpleNamespace(worker=lambda runtime, threads: Worker()),
    )
    device = SimpleNamespace(id=target.partition(":")[2])
    choice = SimpleNamespace(runtime="a runtime", device=device)
    return made, SimpleNamespace(cell=a_cell(target=target), choice=choice)


def test_a_machine_without_a_meter_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(finding, "find_zones", lambda: Found(trouble="no RAPL; chmod it"))
    with pytest.raises(SpecError, match=r"no RAPL; chmod it; --wall-command reads") as refused:
        check_meters(*prepared("x:cpu"), 900)
    assert str(refused.value).count(". ") == 0, "one sentence"
    with pytest.raises(SpecError, match="the device doesn't report it; --wall-command"):
        check_meters(*prepared("x:cuda:0"), 900)
    why = "no pynvml; install it"
    with pytest.raises(SpecError, match=f"energy of x:cuda:0: {why}; --wall-command"):
        check_meters(*prepared("x:cuda:0", missing=why), 900)
    closed = Found(closed="energy of package: package-1 is closed")
    monkeypatch.setattr(finding, "find_zones", lambda: closed)
    with pytest.raises(SpecError, match="tune by: energy of package: package-1 is closed; --wall"):
        check_meters(*prepared("x:cpu"), 900)
    check_meters(*prepared("x:cpu", wall_command="echo 40"), 900)
    check_meters(*prepared("x:cuda:0", "gpu-board"), 900)
    zone = Zone("package-0", "package", tmp_path / "energy_uj", None)
    monkeypatch.setattr(finding, "find_zones", lambda: Found((zone,)))
    check_meters(*prepared("x:cpu"), 900)
    with pytest.raises(SpecError, match="the device doesn't report it"):
        check_meters(*prepared("x:cuda:0"), 900)


def test_time_that_holds_no_first_look_is_refused() -> None:
    # 3 rounds of two configurations and two idle windows, 4.25 s each, with a fifth to spare.
    with pytest.raises(SpecError, match=r"at least 61 s.*--max-time"):
        check_meters(*prepared("x:cpu", wall_command="echo 40"), 60)


def test_flags_of_meters_are_refused_where_none_is_read() -> None:
    flags = ["-m", "m.onnx", "-t", "onnxruntime:cpu", "--for", "latency", "--energy-window", "5"]
    done = CliRunner().invoke(command, [*flags, "--wall-csv", "m.csv"])
    assert str(done.exception) == "--energy-window, --wall-csv: only --for energy reads meters."


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["-m", "a.onnx", "-m", "b.onnx", "-t", "x:cpu"], "a.onnx, b.onnx."),
        (["-m", "a.onnx", "-t", "x:cpu,y:cpu?n=1,2"], "x:cpu, y:cpu?n=1,2."),
    ],
)
def test_a_second_model_or_target_is_refused_and_not_left_out(flags: list[str], words: str) -> None:
    done = CliRunner().invoke(command, [*flags, "--for", "latency"])
    assert done.exit_code == 2
    assert f"one at a time, and these are {words}" in " ".join(done.output.split())


# -- time -----------------------------------------------------------------------------------------


class Windows(MadeUp):
    """A field whose rounds have two windows of the idle machine."""

    def measure(self, names: Any) -> None:
        super().measure(names)
        self.clock.now += 2 * self.seconds


@pytest.mark.parametrize(("total_s", "fewest", "most"), [(70, 2, 2), (300, 4, 8), (1800, 25, 45)])
def test_as_many_configurations_are_tried_as_their_windows_fit(
    total_s: float, fewest: int, most: int
) -> None:
    rng = np.random.default_rng(3)
    truth = {str(i): float(np.exp(rng.uniform(0.1, 1))) for i in range(60)}
    field = Windows({**truth, "1": 1.0}, rng, seconds=5.0)
    pace = Pace(Budget(total_s, clock=field.clock), 2, 4.25)

    def rule() -> RacingRule:
        return RacingRule(len(truth) - len(field.left_out), 0.95, 0.02, FIRST, LAST)

    standing = race(rule, field, pace, np.random.default_rng(7), {"0"}, pace.reserve(2))
    tried = sum(bool(values) for values in field.measured.values())
    assert fewest <= tried <= most
    assert standing.look >= FIRST
    assert standing.pick == "1"
    confirm(field, lambda: ["1", "0"], lambda names: counted(field), pace, 12)
    assert field.clock.now <= total_s


def counted(field: MadeUp) -> int:
    return min(len(field.measured[name]) for name in ("0", "1"))


def test_the_idle_windows_of_the_confirmation_are_kept_time_for() -> None:
    assert Pace(Budget(1), 2).reserve(2) == 4 * CONFIRMATIONS
    assert Pace(Budget(1)).reserve(2) == 2 * CONFIRMATIONS


def test_a_disturbed_window_does_not_end_the_confirmation_but_several_in_a_row_do() -> None:
    field = MadeUp({"0": 2.0, "1": 1.0}, np.random.default_rng(1))
    pace = Pace(Budget(1e9, clock=field.clock))
    both = ["1", "0"]
    confirm(field, lambda: both, lambda names: len(field.generations) // 2, pace, 4, futile=2)
    assert len(field.generations) == 8
    confirm(field, lambda: both, lambda names: 0, pace, 4, futile=3)
    assert len(field.generations) == 8 + 3


# -- landscapes -----------------------------------------------------------------------------------


def check_landscapes(seeds: range) -> None:
    trials = [trial(seed) for seed in seeds]
    assert sum(one.returned for one in trials) >= 0.95 * len(trials)
    assert all(one.loss <= 0.05 for one in trials)
    assert {one.processes for one in trials} <= {None, CONFIRMATIONS}
    held = [one.covered for one in trials if one.covered is not None]
    # `python tests/proofs tune-energy` tells the share of many; three standard errors.
    assert sum(held) >= len(held) * 0.95 - 3 * (len(held) * 0.95 * 0.05) ** 0.5


def test_the_configuration_of_the_fewest_joules_is_returned_and_its_gain_is_true() -> None:
    check_landscapes(range(1))


@pytest.mark.long
def test_the_configuration_of_the_fewest_joules_is_returned_on_many_landscapes() -> None:
    check_landscapes(range(1000, 1120))


@dataclass(frozen=True)
class Measured:
    """As much of a context as a tune passes on."""

    suite: Suite
    launcher: None = None


def test_windows_know_what_room_the_blocks_of_the_race_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What doesn't fit beside others is not started beside them again."""
    tuning, room, passed = Raced(lambda n, again: 1e6, 2), object(), []
    tuning.objective = find_objective("energy", None)
    group = SimpleNamespace(room=room)
    monkeypatch.setattr(measuring, "RaceGroup", lambda *told, **named: group)
    monkeypatch.setattr(measuring, "RaceWindows", lambda *told: passed.append(told[3]))
    monkeypatch.setattr(measuring, "Canary", lambda launcher: nullcontext())
    monkeypatch.setattr(tuning, "_context", lambda planned: Measured(Suite()))
    monkeypatch.setattr(tuning, "_first_energy_round", lambda: 0)
    for name in ("_decide", "_finish_all"):
        monkeypatch.setattr(tuning, name, lambda: None)
    tuning.tunables = {}
    tuning._measure(list(tuning.states.values()))
    assert passed == [room]
