"""What independent pairs have in common, on simulated likenesses whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import t

from bench.arrays import Array
from bench.stats.kinship import Kinship, kinship, spread

SPREAD_OF_MODELS, SPREAD_OF_PAIRS = 0.02, 0.03


def independent(rng: np.random.Generator, models: int) -> Array:
    """Likenesses as of a diallel cross: a general part of each model, a specific one of each
    pair."""
    general = rng.normal(0, SPREAD_OF_MODELS, models)
    specific = np.triu(rng.normal(0, SPREAD_OF_PAIRS, (models, models)), 1)
    found: Array = 0.6 + general[:, None] + general + specific + specific.T
    np.fill_diagonal(found, np.nan)
    return found


def judged(likeness: Array, spread_of_examples: float = 0.0) -> Kinship:
    rng = np.random.default_rng(1)
    noise = np.triu(rng.normal(0, spread_of_examples, (400, *likeness.shape)), 1)
    found = kinship(likeness, likeness + noise + noise.transpose(0, 2, 1))
    assert found is not None
    return found


def accused(likeness: Array) -> bool:
    return judged(likeness).excess.low > 0


def test_what_is_expected_is_the_prediction_of_one_further_control() -> None:
    likeness = independent(np.random.default_rng(3), 7)
    with_a, with_b = likeness[0, 2:], likeness[1, 2:]
    of_controls = np.nanmean(likeness[2:, 2:])
    expected = with_a.mean() + abs(with_b.mean() - of_controls)
    variances = [np.nanvar(row[2:], ddof=1) for row in likeness[1:]]
    deviation = np.sqrt(max(with_a.var(ddof=1), np.mean(variances)) * (1 + 1 / 5))
    found = judged(likeness)
    assert found.expected.estimate == pytest.approx(expected)
    assert found.expected.high - expected == pytest.approx(t.ppf(0.975, 4) * deviation)
    assert found.excess.estimate == pytest.approx(likeness[0, 1] - expected)
    assert found.excess.high - found.excess.estimate == pytest.approx(
        t.ppf(0.975, 4) * deviation, rel=1e-6
    )


def test_the_choice_of_examples_widens_the_excess_and_not_the_prediction() -> None:
    likeness = independent(np.random.default_rng(3), 7)
    sure, unsure = judged(likeness), judged(likeness, 0.05)
    assert unsure.expected == sure.expected
    width = unsure.excess.high - unsure.excess.low
    assert width > 1.2 * (sure.excess.high - sure.excess.low)


@pytest.mark.parametrize("controls", [3, 5, 8])
def test_independent_pairs_are_accused_in_fewer_than_one_of_forty(controls: int) -> None:
    rng = np.random.default_rng(controls)
    count = sum(accused(independent(rng, controls + 2)) for _ in range(2000))
    assert count <= 50


@pytest.mark.long
def test_few_pairs_are_accused_by_some_choice_of_five_of_eight_controls() -> None:
    rng = np.random.default_rng(5)
    count = 0
    for _ in range(300):
        likeness = independent(rng, 10)
        chosen = (np.array([0, 1, *five]) for five in itertools.combinations(range(2, 10), 5))
        count += any(accused(likeness[np.ix_(which, which)]) for which in chosen)
    assert count <= 15


def test_controls_that_are_equally_unlike_the_original_do_not_narrow_the_interval() -> None:
    likeness = independent(np.random.default_rng(7), 7)
    likeness[0, 2:] = likeness[2:, 0] = 0.6
    others = np.mean([np.nanvar(row[2:], ddof=1) for row in likeness[1:]])
    assert spread(likeness) == pytest.approx(others)
    assert others > 0


def grouped(near: float, far: float, first: int, models: int = 7) -> Array:
    """The first models are of one kind, the rest of another."""
    rng = np.random.default_rng(11)
    group = np.arange(models) < first
    same = group[:, None] == group
    noise = np.triu(rng.normal(0, 0.01, (models, models)), 1)
    found: Array = np.where(same, near, far) + noise + noise.T
    np.fill_diagonal(found, np.nan)
    return found


def test_two_of_a_kind_that_no_control_is_of_are_not_accused() -> None:
    found = judged(grouped(near=0.7, far=0.4, first=2))
    assert found.excess.low < 0
    assert found.excess.estimate == pytest.approx(0, abs=0.03)


def test_controls_that_are_kin_of_each_other_accuse_nobody() -> None:
    likeness = grouped(near=0.95, far=0.5, first=2)
    likeness[0, 1] = likeness[1, 0] = 0.6
    assert not accused(likeness)


def test_a_copy_is_found() -> None:
    likeness = independent(np.random.default_rng(13), 7)
    likeness[1, 2:] = likeness[2:, 1] = likeness[0, 2:]
    likeness[0, 1] = likeness[1, 0] = 1.0
    assert accused(likeness)


def test_what_does_not_exist_is_none() -> None:
    likeness = independent(np.random.default_rng(17), 7)
    replicas = np.stack([likeness] * 5)
    assert kinship(likeness[:3, :3], replicas[:, :3, :3]) is None  # one control has no spread
    assert kinship(likeness[:4, :4], replicas[:, :4, :4]) is not None
    lost = replicas.copy()
    lost[1:, 0, 1] = np.nan
    assert kinship(likeness, lost) is None  # a single replica has no variance
    likeness[2, 3] = np.nan
    assert kinship(likeness, replicas) is None
