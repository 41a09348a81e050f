"""What agrees although it isn't equal to the last digit, and what doesn't."""

from __future__ import annotations

import pytest

from bench.record.differing import Problem, same


@pytest.mark.parametrize(
    ("published", "derived"),
    [
        (1.5880423, 1.5880423 * (1 + 5e-10)),
        # The difference of two numbers of size 1.6, on a processor with and one without FMA.
        (2.5127204210468196e-09, 2.5127202777265412e-09),
        (0.0, 3e-16),
        (float("inf"), float("inf")),
        (3, 3.0),
    ],
)
def test_the_last_digits_of_another_machine_agree(published: float, derived: float) -> None:
    assert same(published, derived)
    assert same(derived, published)


@pytest.mark.parametrize(
    ("published", "derived"),
    [
        (1.5880423, 1.5880423 * (1 + 2e-9)),
        (2.5e-9, 2.5e-9 + 2e-14),
        (0.0, 1e-13),
        (float("inf"), 1e308),
        (float("nan"), 1.0),
        (True, 1),
        ("1.0", 1.0),
        (None, 0.0),
    ],
)
def test_whatever_anybody_could_mean_by_it_differs(published: object, derived: object) -> None:
    assert not same(published, derived)
    assert not same(derived, published)


def test_a_problem_names_the_place_and_both_values() -> None:
    problem = Problem("results.csv", "row 3", "median_ns", "1", "")
    assert str(problem) == "results.csv, row 3, median_ns: published 1, derived nothing"
