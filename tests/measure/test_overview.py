"""An overview: a settled cell is content with a coarse interval, and the run with its seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_records import a_cell
from test_batch_sweep import a_plan

from bench.errors import SpecError
from bench.measure.pace.budget import KEPT_SHARE, Budget
from bench.measure.pace.stops import stops
from bench.measure.scoring import in_turns
from bench.measure.sweep import to_share
from bench.spec import QUICK, THOROUGH, Suite, asked_suite, make_suite, with_flags

OVERVIEW: dict[str, Any] = {"goal": "overview", "min_invocations": 3, "budget_s": 85.0}
#: Processes that differ by a few percent: an interval of about 4%.
WANDER = np.array([0.99, 1.02, 1.0, 0.97, 1.01, 1.0, 0.98, 1.03])


def a_state(
    target: str, level: float, *, calls: int = 200, count: int = 8, spread: float = 1.0
) -> Any:
    """A cell whose processes wander alike with those of its rivals, by much for its interval and
    by little for a ratio."""
    ripple = 1 + 1e-4 * np.arange(count) * (1 if target.endswith("a") else -1)
    figures = level * WANDER[:count] ** spread * ripple
    taken = [
        SimpleNamespace(index=i, paced_ns=value, round_ns=None, median_ns=value, calls=calls)
        for i, value in enumerate(figures.tolist())
    ]
    return SimpleNamespace(
        cell=a_cell(target=target),
        invocations=taken,
        figures=lambda: figures,
        spent_s=1.0,
        starting_s=1.0,
        failure=None,
        stop=None,
    )


def stopped(*states: Any, late: bool = False, blocks: float = 0.0, **suite: Any) -> dict[str, str]:
    """``blocks``: the half-width that the blocks alone make of the first cell."""
    least = {states[0].cell.id: blocks}
    found = stops(states, states, Suite(**{**OVERVIEW, **suite}), late=late, least=least)
    return {state.cell.target: reason for state, reason in found}


def test_a_settled_cell_stops_at_a_coarse_interval() -> None:
    far = a_state("x:a", 1e5), a_state("x:b", 2e5)
    assert stopped(*far) == {"x:a": "ranked", "x:b": "ranked"}
    assert stopped(*far, goal="precision") == {}, "a precise one has to be at 2%"


def test_an_interval_narrower_than_blocks_alone_make_it_is_no_answer_yet() -> None:
    """Its processes agree by luck: blocks that wander so much leave them further apart."""
    far = a_state("x:a", 1e5), a_state("x:b", 2e5)
    both = {"x:a": "ranked", "x:b": "ranked"}
    assert stopped(*far, blocks=0.049) == both
    assert stopped(*far, blocks=0.051) == {"x:b": "ranked"}
    alone = a_state("x:a", 1e5)
    assert stopped(alone, goal="precision", precision=0.05, blocks=0.049) == {"x:a": "precision"}
    assert stopped(alone, goal="precision", precision=0.05, blocks=0.051) == {}
    assert stopped(alone, blocks=0.051, late=True) == {"x:a": "max-time"}


def test_what_is_clearly_narrow_at_its_first_look_was_no_luck() -> None:
    """Processes that differ by about 0.2%, at a precision of 2%."""
    calm = {"spread": 0.05, "count": 3}
    assert stopped(a_state("x:a", 1e5, **calm)) == {"x:a": "first-look"}
    assert stopped(a_state("x:a", 1e5, **calm), goal="precision") == {"x:a": "first-look"}
    assert stopped(a_state("x:a", 1e5, **calm), precision=0.005) == {"x:a": "precision"}
    later = a_state("x:a", 1e5, spread=0.05, count=4)
    assert stopped(later) == {"x:a": "precision"}, "it was looked at before"
    assert stopped(a_state("x:a", 1e5, **calm), blocks=0.021) == {}, "it may be luck all the same"
    both = a_state("x:a", 1e5, **calm), a_state("x:b", 2e5, **calm)
    assert set(stopped(*both, goal="rank").values()) == {"ranked"}


def test_an_order_that_is_settled_early_waits_for_the_fewest_invocations() -> None:
    far = a_state("x:a", 1e5, count=4), a_state("x:b", 2e5, count=5)
    ranked = {"x:a": "ranked", "x:b": "ranked"}
    assert stopped(*far, goal="rank", min_invocations=3) == ranked
    assert stopped(*far, goal="rank", min_invocations=5) == {"x:b": "ranked"}
    assert stopped(*far, goal="rank", min_invocations=6) == {}


def test_where_the_order_is_open_measuring_goes_on() -> None:
    near = a_state("x:a", 1e5), a_state("x:b", 1e5)
    states = [*near, a_state("x:c", 3e5)]
    for state in near:  # of which now one and now the other is faster, by more than the margin
        sign = 1 if state is near[0] else -1
        for one in state.invocations:
            one.paced_ns *= 1 + 0.05 * sign * (-1) ** one.index
    assert stopped(*states) == {"x:c": "ranked"}


def test_a_settled_cell_waits_for_the_samples_of_its_p99_where_they_are_cheap() -> None:
    assert stopped(a_state("x:a", 1e5, calls=20), a_state("x:b", 2e5)) == {"x:b": "ranked"}
    slow = a_state("x:a", 1e8, calls=20), a_state("x:b", 2e8, calls=20)
    assert set(stopped(*slow)) == {"x:a", "x:b"}, "662 calls of 0.1 s are a minute"


def test_a_cell_without_a_rival_has_no_order_to_settle_and_needs_the_whole_precision() -> None:
    assert stopped(a_state("x:a", 1e5)) == {}
    assert stopped(a_state("x:a", 1e5), a_state("x:b", 2e5)) == {"x:a": "ranked", "x:b": "ranked"}


def test_what_is_late_stops_with_what_it_has_once_it_has_the_fewest() -> None:
    near = a_state("x:a", 1e5, count=3), a_state("x:b", 1.001e5, count=3)
    assert stopped(*near) == {}
    assert stopped(*near, late=True) == {"x:a": "max-time", "x:b": "max-time"}
    few = a_state("x:a", 1e5, count=2), a_state("x:b", 1.001e5, count=2)
    assert stopped(*few, late=True) == {}


def test_groups_share_a_budget_by_their_cells_and_scoring_and_energy_count_apart() -> None:
    now = [5.0]
    budget = Budget(100.0, 30, lambda: now[0])
    first = budget.allowance(10, apart_s=10.0)
    whole = 100.0 * (1 - KEPT_SHARE)
    assert first.left_s() == pytest.approx((whole - 5 - 10) / 3)
    assert first.cell_s == pytest.approx(first.left_s() / 10)
    now[0] = 12.0
    assert first.left_s() == pytest.approx((whole - 15) / 3 - 7)
    second = budget.allowance(20, apart_s=10.0)  # what the first left over is the second's
    assert second.left_s() == pytest.approx(whole - 12 - 10)


def test_without_a_budget_no_group_is_ever_late() -> None:
    assert math.isinf(Budget(None, 3, lambda: 1e9).allowance(3, 0.0).left_s())


def test_a_budget_is_spent_when_nothing_is_left_beside_scoring_and_energy() -> None:
    now = [60.0]
    budget = Budget(100.0, 3, lambda: now[0])
    assert not budget.is_spent(apart_s=30.0)
    assert budget.is_spent(apart_s=36.0), "a twentieth is kept for the end"
    assert not Budget(None, 3, lambda: 1e9).is_spent(0.0)


def test_a_sweep_has_a_share_of_the_budget_for_each_of_its_usual_batches(tmp_path: Path) -> None:
    plan = a_plan(tmp_path, scenarios=("single-stream", "offline"))
    assert to_share(plan.cells) == 1 + 8
    assert to_share([replace(planned, refused=SpecError("no")) for planned in plan.cells]) == 0


def test_who_says_how_sure_to_be_gets_no_overview(tmp_path: Path) -> None:
    suite = make_suite({**OVERVIEW}, "the test")
    for flags in ({"precision": 0.01}, {"goal": "rank"}, {"max_time_s": 60.0}, THOROUGH):
        found = with_flags(suite, flags)
        assert (found.goal, found.budget_s) == (flags.get("goal", "precision"), None)
    assert with_flags(suite, {"precision": 0.01}).min_invocations == 5
    file = make_suite({}, "the test")
    for flags, fewest in (({}, 3), ({"min_invocations": 10}, 10), (THOROUGH, 10)):
        ranks = [with_flags(one, {"goal": "rank", **flags}) for one in (suite, file)]
        assert [one.min_invocations for one in ranks] == [fewest, fewest]
    for text, flags, fewest in (
        ("", {}, 3),
        ("min_invocations = 4", {}, 4),
        ("", {"goal": "precision"}, 5),
        ("", {"min_invocations": 6}, 6),
    ):
        path = tmp_path / "suite.toml"
        path.write_text(f'models = ["a"]\ntargets = ["x:cpu"]\ngoal = "rank"\n{text}\n')
        assert asked_suite(path, None, flags).min_invocations == fewest
    quick = with_flags(suite, QUICK)
    assert (quick.goal, quick.budget_s, quick.precision) == ("precision", 85.0, 0.05)
    kept = with_flags(suite, {"targets": ("x:cpu",), "budget_s": 30.0})
    assert (kept.goal, kept.budget_s) == ("overview", 30.0)
    with pytest.raises(SpecError, match="--budget"):
        with_flags(suite, {"budget_s": 0.0})


def test_the_plan_says_when_an_overview_ends() -> None:
    assert Suite(**OVERVIEW).ending.endswith(
        "or ±5% where the order of its model's targets is settled, at least 3 invocations, "
        "at most 20 s; about 85 s for the whole run."
    )


def a_planned(name: str, *, threads: int = 1, language: Any = (), accelerator: bool = False) -> Any:
    return SimpleNamespace(
        name=name,
        cell=SimpleNamespace(threads=threads, loadgen=None),
        model=SimpleNamespace(dataset=SimpleNamespace(language=language)),
        on_accelerator=accelerator,
    )


def test_as_many_are_scored_at_once_as_have_a_core_for_each_thread() -> None:
    cells = [
        *(a_planned(name) for name in "abc"),
        a_planned("gpu", accelerator=True),
        a_planned("texts", language=("a text",)),
        *(a_planned(name, threads=2) for name in "de"),
    ]
    turns = [(" ".join(one.name for one in t.cells), t.at_once) for t in in_turns(cells, 2)]  # type: ignore[attr-defined]
    assert turns == [("a b c", 2), ("gpu", 1), ("texts", 1), ("d", 1), ("e", 1)]
    # Those alone take turns where they may use the cores of their cell.
    assert [len(turn.cells) for turn in in_turns(cells[:3], 1)] == [1, 1, 1]


def test_an_order_is_settled_by_the_rounds_that_both_cells_had() -> None:
    """Alone the processes wander by a third; round by round one cell takes 10% more."""
    cells = a_state("x:a", 1e5, count=4), a_state("x:b", 1e5, count=4)
    for place, state in enumerate(cells):
        for one in state.invocations:
            one.paced_ns *= 1 + 0.3 * ((one.index + 2 * place) % 3)
            one.round_ns = {n: (1 + 0.1 * place) * 1e5 * (1 + n) for n in range(8)}
    assert stopped(*cells, goal="rank") == {"x:a": "ranked", "x:b": "ranked"}
    for one in (*cells[0].invocations, *cells[1].invocations):
        one.round_ns = None
    assert stopped(*cells, goal="rank") == {}
