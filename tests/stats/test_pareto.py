"""The front: what surely dominates, what surely stands, and what the intervals leave open."""

from __future__ import annotations

import pytest
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


CASES = [
    # cost of 0 over 1, accuracy of 0 minus 1, and how 0 and 1 stand; margin 2%, loss 0.5%
    ("cheaper, as right", (0.9, 0.99), (-0.005, 0.1), ("front", "dominated")),
    ("cheaper, perhaps less right", (0.9, 0.99), (-0.0051, 0.1), ("front", "open")),
    ("perhaps as dear, as right", (0.9, 1.0), (-0.005, 0.005), ("open", "open")),
    ("as dear, more right", (0.9, 1.02), (0.0051, 0.1), ("front", "dominated")),
    ("perhaps dearer, more right", (0.9, 1.021), (0.0051, 0.1), ("front", "open")),
    ("as dear, perhaps no more right", (1.0, 1.02), (0.005, 0.1), ("open", "open")),
    ("surely dearer, surely more right", (1.001, 1.1), (0.0051, 0.1), ("front", "front")),
    ("surely dearer, perhaps as right", (1.001, 1.1), (-0.1, 0.0051), ("open", "front")),
    ("surely cheaper, surely less right", (0.9, 0.999), (-0.1, -0.0051), ("front", "front")),
    ("surely cheaper, less right by the loss", (0.9, 0.999), (-0.1, -0.005), ("front", "open")),
]


@pytest.mark.parametrize(
    ("price", "right", "states"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_of_two_points_each_stands_as_the_intervals_say(
    price: tuple[float, float], right: tuple[float, float], states: tuple[str, str]
) -> None:
    def cost(i: int, j: int) -> Interval:
        low, high = price if (i, j) == (0, 1) else (1 / price[1], 1 / price[0])
        return Interval((low * high) ** 0.5, low, high, 0.95)

    def accuracy(i: int, j: int) -> Interval:
        low, high = right if (i, j) == (0, 1) else (-right[1], -right[0])
        return Interval((low + high) / 2, low, high, 0.95)

    found = standings(2, cost, accuracy, cost_margin=0.02, loss=0.005)
    assert tuple(one.state for one in found) == states
    assert [one.by for one in found] == [
        None if state != "dominated" else 1 - place for place, state in enumerate(states)
    ]


def test_a_sure_price_stands_where_the_accuracy_is_unknown() -> None:
    cost, _ = exact([(1.0, 0.5), (2.0, 0.5)])
    unknown = standings(2, cost, lambda i, j: None, 0.02, 0.005)
    assert [one.state for one in unknown] == ["front", "open"]
    unpriced = standings(2, lambda i, j: None, exact([(1, 0.9), (1, 0.5)])[1], 0.02, 0.005)
    assert [one.state for one in unpriced] == ["front", "open"]


def test_of_several_that_dominate_without_a_known_price_the_first_is_named() -> None:
    cost, accuracy = exact([(1.0, 0.9), (1.5, 0.9), (3.0, 0.9)])

    def unknown_between_two(i: int, j: int) -> Interval | None:
        return None if {i, j} == {0, 1} else cost(i, j)

    found = standings(3, unknown_between_two, accuracy, cost_margin=0, loss=0)
    assert found[2] == Standing("dominated", by=0)


def test_the_cheapest_of_those_that_dominate_is_named() -> None:
    points = [(3.0, 0.9), (2.0, 0.9), (1.0, 0.9)]
    found = standings(3, *exact(points), cost_margin=0, loss=0)
    assert [standing.by for standing in found] == [2, 2, None]
    points = [(1.0, 0.9), (1.5, 0.9), (3.0, 0.9)]
    found = standings(3, *exact(points), cost_margin=0, loss=0)
    assert [standing.by for standing in found] == [None, 0, 0]
    points = [(1.0, 0.9), (1.0, 0.9), (2.0, 0.9)]  # of equals the first
    found = standings(3, *exact(points), cost_margin=0, loss=0)
    assert [standing.by for standing in found] == [None, None, 0]
