"""The front: what surely dominates, what surely stands, and what the intervals leave open."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.stats.interval import Interval
from bench.stats.pareto import Standing, standings

POINTS = st.lists(
    st.tuples(st.floats(1, 100), st.floats(0, 1)), min_size=1, max_size=8, unique=True
)


def exact(points: list[tuple[float, float]], width: float = 0.0) -> tuple:
    """Comparisons of known costs and accuracies, with intervals of a relative width."""

    def cost(i: int, j: int) -> Interval:
        ratio = points[i][0] / points[j][0]
        return Interval(ratio, ratio / (1 + width), ratio * (1 + width), 0.95)

    def accuracy(i: int, j: int) -> Interval:
        difference = points[i][1] - points[j][1]
        return Interval(difference, difference - width, difference + width, 0.95)

    return cost, accuracy


@given(POINTS)
def test_known_points_are_on_the_front_or_dominated(points: list[tuple[float, float]]) -> None:
    found = standings(len(points), *exact(points), cost_margin=0, loss=0)
    for (cost, right), standing in zip(points, found, strict=True):
        dominated = any((c < cost and r >= right) or (c <= cost and r > right) for c, r in points)
        assert standing.state == ("dominated" if dominated else "front")


@given(POINTS, st.floats(0, 0.5))
def test_uncertainty_never_turns_a_standing_round(
    points: list[tuple[float, float]], width: float
) -> None:
    sure = standings(len(points), *exact(points), cost_margin=0, loss=0)
    unsure = standings(len(points), *exact(points, width), cost_margin=0, loss=0)
    for before, after in zip(sure, unsure, strict=True):
        assert after.state in (before.state, "open")


@given(POINTS)
def test_what_is_not_known_stays_open(points: list[tuple[float, float]]) -> None:
    cost, _ = exact(points)
    for standing in standings(len(points), cost, lambda i, j: None, 0.02, 0.005):
        assert standing.state in ("open", "front")
        assert standing.by is None


def test_a_difference_that_does_not_matter_is_none() -> None:
    points = [(1.0, 0.900), (2.0, 0.903), (2.0, 0.950)]
    found = standings(3, *exact(points), cost_margin=0.02, loss=0.005)
    assert found == [Standing("front"), Standing("dominated", by=0), Standing("front")]


def test_the_cheapest_of_those_that_dominate_is_named() -> None:
    points = [(3.0, 0.9), (2.0, 0.9), (1.0, 0.9)]
    found = standings(3, *exact(points), cost_margin=0, loss=0)
    assert [standing.by for standing in found] == [2, 2, None]
