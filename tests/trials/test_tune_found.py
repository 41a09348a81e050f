"""What a tune says it found: the set in its order, and the gain from the confirmation alone."""

from __future__ import annotations

import numpy as np
import pytest
from fake_records import a_cell

from bench.errors import SpecError
from bench.measure.pace.spending import ROUNDS
from bench.measure.state import CellState
from bench.record.result import Invocation
from bench.stats.percentile import minimum_samples
from bench.stats.racing import RacingRule
from bench.trials.tune.found import Costs, found_in, gain_over, refuted
from bench.trials.tune.kept import Asked, Confirmation, Entrant, Tune
from bench.trials.tune.measuring import calls_for_a_percentile
from bench.trials.tune.objective import Latency, Throughput, find_objective
from bench.trials.tune.race import LAST

RULE = RacingRule(4, 0.95, 0.02, 3, 20)
NAMES = ("default", "a", "b", "c")


def a_tune(**more: object) -> Tune:
    asked = Asked(objective="latency", target="tunable:cpu")
    entrants = [Entrant(cell_id=name, departures=(f"name={name}",)) for name in NAMES[1:]]
    default = Entrant(cell_id=NAMES[0])
    return Tune(asked=asked, entrants=(default, *entrants), **more)  # type: ignore[arg-type]


def measured(
    truth: dict[str, float], indices: range, spread: float = 0.002
) -> dict[str, dict[int, float]]:
    rng = np.random.default_rng(1)
    return {
        name: {i: cost * float(np.exp(rng.normal(0, 0.002))) for i in indices}
        for name, cost in truth.items()
    }


def test_the_gain_is_of_processes_that_took_no_part_in_the_choice() -> None:
    """In the race the pick was lucky: it seemed twice as good as it is."""
    raced = measured({"default": 2.0, "a": 0.5, "b": 3.0, "c": 3.0}, range(20))
    confirmed = measured({"default": 2.0, "a": 1.0}, range(20, 32))
    costs = Costs({name: raced[name] | confirmed.get(name, {}) for name in raced})
    tune = a_tune(confirmations=(Confirmation(cell_id="a", first=20),))
    found = found_in(tune, RULE.standing(costs.raced(tune)), costs, {}, RULE)
    assert found.pick == "a"
    assert found.gain is not None
    assert found.gain.processes == 12
    assert found.gain.ratio.value == pytest.approx(2.0, rel=0.01)
    assert found.gain.ratio.low > 1.95


def test_without_a_confirmation_there_is_no_gain() -> None:
    costs = Costs(measured({"default": 2.0, "a": 1.0, "b": 3.0, "c": 3.0}, range(20)))
    tune = a_tune()
    found = found_in(tune, RULE.standing(costs.raced(tune)), costs, {}, RULE)
    assert (found.pick, found.gain) == ("a", None)


def test_only_generations_that_both_took_part_in_are_compared() -> None:
    raced = measured({"default": 2.0, "a": 1.0, "b": 3.0, "c": 3.0}, range(20))
    more = measured({"default": 2.0, "a": 1.0}, range(20, 32))
    del more["a"][25]
    costs = Costs({name: raced[name] | more.get(name, {}) for name in raced})
    tune = a_tune(confirmations=(Confirmation(cell_id="a", first=20),))
    found = found_in(tune, RULE.standing(costs.raced(tune)), costs, {}, RULE)
    assert found.gain is not None
    assert found.gain.processes == 11


@pytest.mark.parametrize(("common", "processes"), [(0, 12), (2, 12), (6, 6)])
def test_two_that_memory_does_not_hold_beside_each_other_are_confirmed_apart(
    common: int, processes: int
) -> None:
    """From some round on each has a generation of its own."""
    raced = measured({"default": 2.0, "a": 1.0, "b": 3.0, "c": 3.0}, range(20))
    more = measured({"default": 2.0, "a": 1.0}, range(20, 32))
    more["a"] = {i if i < 20 + common else i + 50: cost for i, cost in more["a"].items()}
    costs = Costs({name: raced[name] | more.get(name, {}) for name in raced})
    tune = a_tune(confirmations=(Confirmation(cell_id="a", first=20),))
    assert costs.times_again(tune, ["a", "default"]) == processes
    found = found_in(tune, RULE.standing(costs.raced(tune)), costs, {}, RULE)
    assert found.gain is not None
    assert found.gain.processes == processes
    assert 1.95 < found.gain.ratio.low < found.gain.ratio.high < 2.05


def test_what_fails_is_not_confirmed() -> None:
    costs = Costs(measured({"default": 2.0, "b": 3.0}, range(20, 32)))
    confirmed = [Confirmation(cell_id=name, first=20) for name in ("a", "b")]
    assert costs.times_again(a_tune(confirmations=confirmed[:1]), ["a", "default"]) == 0
    assert costs.times_again(a_tune(confirmations=confirmed[1:]), ["b", "default"]) == 12
    assert costs.times_again(a_tune(), ["b", "default"]) == 0


def test_equals_come_in_the_order_of_their_simplicity_and_the_fallen_say_against_whom() -> None:
    costs = Costs(measured({"default": 1.01, "a": 1.0, "b": 1.005, "c": 2.0}, range(20)))
    tune = a_tune()
    found = found_in(tune, RULE.standing(costs.raced(tune)), costs, {}, RULE)
    assert [one.cell_id for one in found.best] == ["default", "a", "b"]
    (fallen,) = found.fallen
    assert (fallen.cell_id, fallen.processes) == ("c", 3)
    assert fallen.ratio.low > 1.02


def test_those_that_are_left_say_by_how_many_processes_each_is_compared() -> None:
    """Where memory doesn't hold all beside each other, some of each are of rounds that the other
    took no part in."""
    rule = RacingRule(4, 0.95, 0.02, 8, 20)
    costs = measured({"default": 1.003, "a": 1.0, "b": 1.002, "c": 2.0}, range(8))
    costs["b"] = {i if i < 6 else i + 50: cost for i, cost in costs["b"].items()}
    costs["c"] = {i if i < 5 else i + 70: cost for i, cost in costs["c"].items()}
    tune = a_tune()
    found = found_in(tune, rule.standing(costs), Costs(costs), {}, rule)
    told = {one.cell_id: one.processes for one in (*found.best, *found.fallen)}
    assert told == {"default": 8, "a": 8, "b": 6, "c": 5}


def test_who_is_thrown_out_or_in_doubt_is_not_picked() -> None:
    costs = Costs(measured({"default": 2.0, "a": 1.0, "b": 1.5, "c": 2.5}, range(20)))
    tune = a_tune(thrown_out={"a": "it is WRONG"})
    standing = RULE.standing(costs.raced(tune))
    assert found_in(tune, standing, costs, {}, RULE).pick == "b"
    nobody = dict.fromkeys(standing.left, "its p99 may be more")
    found = found_in(tune, standing, costs, nobody, RULE)
    assert found.best == ()
    assert found.nearest is not None
    assert (found.nearest.cell_id, found.nearest.doubt) == ("b", "its p99 may be more")


# -- objectives -----------------------------------------------------------------------------------


def a_state(latencies_ns: np.ndarray) -> CellState:  # type: ignore[type-arg]
    state = CellState(planned=None)  # type: ignore[arg-type]
    for index, samples in enumerate(np.array_split(latencies_ns, 8)):
        state.samples[index] = samples
        state.invocations.append(Invocation.model_construct(index=index))
    return state


def test_a_bound_is_kept_only_where_the_whole_interval_is_below_it() -> None:
    objective = Throughput(bound_ns=5_000_000)
    rng = np.random.default_rng(3)
    calm = a_state(rng.normal(3e6, 1e5, 2000).astype(np.int64))
    assert objective.not_shown_kept(calm, 0.95) == ""
    near = a_state(rng.normal(4.78e6, 1e5, 2000).astype(np.int64))
    assert "may be" in objective.not_shown_kept(near, 0.95)
    assert objective.surely_broken(near, 0.95) == ""
    few = a_state(rng.normal(3e6, 1e5, 100).astype(np.int64))
    assert "too few queries for a p99: 100 of the 662" in objective.not_shown_kept(few, 0.95)


def test_a_bound_is_broken_only_where_that_is_certain() -> None:
    objective = Throughput(bound_ns=5_000_000)
    fast, slow = np.full(780, 3_000_000), np.full(20, 9_000_000)
    assert objective.surely_broken(a_state(fast), 0.95) == ""
    broken = objective.surely_broken(a_state(np.concatenate([fast[:180], slow])), 0.95)
    assert "20 of 200 queries took longer than 5" in broken
    assert objective.surely_broken(a_state(np.full(24, 9_000_000)), 0.95) != ""
    rare = np.concatenate([fast, slow[:10]])  # 1.3%, which chance explains
    assert objective.surely_broken(a_state(rare), 0.95) == ""


def test_a_bounded_configuration_makes_the_calls_that_a_percentile_takes() -> None:
    assert calls_for_a_percentile(1e5) == 28  # 3 x 8 blocks of them are 662 or more
    assert calls_for_a_percentile(1e7) == 12


@pytest.mark.parametrize("latency_ns", [1e5, 6e6, 2e7, 1e9])
def test_the_last_look_tells_a_percentile_though_a_quarter_of_the_blocks_was_disturbed(
    latency_ns: float,
) -> None:
    undisturbed = 0.75 * ROUNDS * calls_for_a_percentile(latency_ns)
    assert LAST * undisturbed >= minimum_samples(0.99)


def test_costs_are_lower_where_it_is_better() -> None:
    cell = a_cell(scenario="offline", batch=8)
    slow, fast = (
        Invocation.model_construct(
            index=index,
            calls=1,
            busy_ns=busy,
            queries_per_call=1,
            capacity_per_s=None,
            median_ns=float(busy),
        )
        for index, busy in enumerate((8_000_000, 4_000_000), 7)
    )
    assert Throughput().costs([(cell, [slow, fast])], []) == {cell.id: {7: 1e6, 8: 5e5}}
    assert Throughput().shown(5e5).startswith("2")
    one = a_cell()
    assert Latency().costs([(one, [slow, fast])], []) == {one.id: {7: 8e6, 8: 4e6}}


def test_a_bound_is_refused_where_no_queries_wait_for_others() -> None:
    with pytest.raises(SpecError, match="--latency-bound is for --for throughput"):
        find_objective("latency", 5_000_000)


def test_the_race_is_decided_on_what_no_confirmation_measured() -> None:
    tune = a_tune(
        raced_from=2,
        confirmations=(
            Confirmation(cell_id="a", first=4, end=6),
            Confirmation(cell_id="b", first=8),
        ),
    )
    costs = Costs({name: {index: float(index) for index in range(10)} for name in NAMES})
    assert costs.raced(tune) == {name: {n: float(n) for n in (2, 3, 6, 7)} for name in NAMES}
    assert costs.again(tune, "a", "default") == ([4.0, 5.0], [4.0, 5.0], True)
    assert costs.again(tune, "b", "default") == ([8.0, 9.0], [8.0, 9.0], True)
    assert costs.times_again(tune, ["c", "default"]) == 0


def test_a_tune_of_an_older_bench_keeps_what_it_found() -> None:
    costs = Costs({name: {index: float(index + 1) for index in range(30)} for name in NAMES})
    new = a_tune(
        confirmations=(
            Confirmation(cell_id="", first=10, end=15),
            Confirmation(cell_id="b", first=15),
        )
    )
    older = {
        **a_tune().model_dump(mode="json", exclude={"confirmations", "raced_from", "score_s"}),
        "tune_version": 1,
        "raced_until": 10,
        "confirmed_from": 15,
        "confirming": "b",
    }
    assert Tune.model_validate(older) == new
    assert gain_over(new, costs, "b", "default") is not None
    racing = {**older, "raced_until": None, "confirmed_from": None, "confirming": ""}
    assert Tune.model_validate(racing) == a_tune()
    ended = {**racing, "raced_until": 10}
    assert Tune.model_validate(ended) == a_tune()


# -- refuted --------------------------------------------------------------------------------------


def refuted_by(truth: dict[str, float], possible: tuple[str, ...], against: tuple[str, ...]) -> str:
    """Why the pick ``a`` is refuted by what was measured of it and the others again."""
    costs = Costs(measured(truth, range(12)))
    named = tuple(one for one in a_tune().entrants if one.cell_id in against)
    tune = a_tune(confirmations=(Confirmation(cell_id="a", first=0),), against=named)
    found = refuted(tune, costs, "a", possible, 0.02)
    return found.why if found is not None else ""


def test_a_pick_that_costs_more_than_what_it_is_compared_with_is_refuted() -> None:
    worse = refuted_by({"default": 1.0, "a": 1.005, "b": 9.0, "c": 9.0}, NAMES, ())
    assert "worse than the default" in worse
    assert "12 processes" in worse
    assert refuted_by({"default": 1.0, "a": 0.99, "b": 9.0, "c": 9.0}, NAMES, ()) == ""
    # The simplest of those within the margin is picked, so another may be that much better.
    near = {"default": 9.0, "a": 1.005, "b": 1.0, "c": 9.0}
    assert refuted_by(near, NAMES, ("b",)) == ""
    assert "worse than name=b" in refuted_by({**near, "a": 1.05}, NAMES, ("b",))
    assert refuted_by({**near, "a": 1.05}, NAMES, ()) == ""


def test_nobody_is_refuted_by_what_can_not_be_returned() -> None:
    """A default that breaks the bound on latencies may well cost less."""
    assert refuted_by({"default": 0.5, "a": 1.0, "b": 9.0, "c": 9.0}, ("a", "b", "c"), ()) == ""
