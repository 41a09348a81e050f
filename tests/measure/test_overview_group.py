"""How a group of an overview goes: figures first, then scores, and an end when its time is up."""

from __future__ import annotations

from dataclasses import replace

from test_group import THREE, Bench, suite

from bench.cell import Cell
from bench.measure.listener import QuietProgress
from bench.measure.pace.budget import Allowance


def test_figures_are_told_before_anything_is_scored_and_scoring_before_further_processes() -> None:
    told: list[str] = []

    class Listener(QuietProgress):
        def cell_progress(
            self,
            cell: Cell,
            invocations: int,
            median_ns: float | None,
            relative_half_width: float | None,
        ) -> None:
            told.append(f"{cell.target} {invocations}")
            assert median_ns is not None
            assert 0.8e5 < median_ns < 1e7

    bench = Bench(THREE, suite(goal="overview", min_invocations=3, max_invocations=4))
    bench.context = replace(
        bench.context,
        listener=Listener(),
        first_seen=lambda states: told.append(f"score {len(states)}"),
    )
    bench.run()
    scored = told.index("score 3")
    assert told.count("score 3") == 1
    glimpses, first = ({f"{name}:cpu {count}" for name in THREE} for count in (0, 1))
    assert set(told[:3]) == glimpses, "as soon as each worker has started"
    assert set(told[3:6]) == first, "after the first rounds, not after all of the process"
    assert set(told[3:scored]) == first
    assert all(line.endswith((" 2", " 3", " 4")) for line in told[scored + 1 :])


def test_a_group_whose_time_is_up_ends_with_the_fewest_invocations() -> None:
    rules = suite(goal="overview", min_invocations=3, max_invocations=20, precision=0.001)
    bench = Bench({"near": 1e5, "nearer": 1.001e5}, rules, spread=0.3)
    bench.context = replace(bench.context, allowance=Allowance(lambda: 0.0, 0.5))
    bench.run()
    assert [(s.stop, len(s.invocations)) for s in bench.states] == [("max-time", 3)] * 2


def test_each_generation_tells_who_is_still_measured_and_what_it_took() -> None:
    told: list[tuple[int, int, float]] = []
    bench = Bench(THREE, suite(max_invocations=6))
    bench.context = replace(
        bench.context,
        measured=lambda taken, waiting, seconds: told.append((len(taken), len(waiting), seconds)),
    )
    bench.run()
    assert told[0][0] == 3
    assert told[-1][1] == 0
    assert all(seconds > 0 for *_, seconds in told)
