"""Throughput over batches: when to stop doubling, and where the knee is."""

from __future__ import annotations

import numpy as np
import pytest

from bench.stats.sweep import PATIENCE, find_knee, has_levelled_off

MARGIN, CONFIDENCE = 0.02, 0.95


def rates(*typical: float, spread: float = 0.01, seed: int = 0) -> dict[int, list[float]]:
    """Ten invocations of batches 1, 2, 4, ... whose rates differ by ``spread``."""
    rng = np.random.default_rng(seed)
    return {
        2**place: (rate * np.exp(spread * rng.standard_normal(10))).tolist()
        for place, rate in enumerate(typical)
    }


def swept(curve: tuple[float, ...], spread: float, seed: int = 0) -> dict[int, list[float]]:
    """What is measured of a curve until the rule stops."""
    every = rates(*curve, spread=spread, seed=seed)
    for count in range(1, len(every) + 1):
        seen = dict(list(every.items())[:count])
        if has_levelled_off(seen, MARGIN, CONFIDENCE):
            return seen
    return every


def test_one_batch_has_not_levelled_off() -> None:
    assert not has_levelled_off(rates(100.0), MARGIN, CONFIDENCE)


def test_doubling_goes_on_while_throughput_surely_rises() -> None:
    assert not has_levelled_off(rates(100, 150), MARGIN, CONFIDENCE)
    assert not has_levelled_off(rates(100, 150, 160), MARGIN, CONFIDENCE)


def test_doubling_ends_where_more_surely_brings_no_more_than_the_margin() -> None:
    assert has_levelled_off(rates(100, 150, 150.5, spread=0.002), MARGIN, CONFIDENCE)
    assert has_levelled_off(rates(100, 150, 120), MARGIN, CONFIDENCE)


def test_one_step_that_noise_hides_does_not_end_it_and_two_do() -> None:
    """Processes that differ by 30%: nothing is sure."""
    hidden = rates(100, 104, spread=0.3, seed=2)
    assert not has_levelled_off(hidden, MARGIN, CONFIDENCE)
    assert PATIENCE == 2
    assert has_levelled_off(rates(100, 104, 108, spread=0.3, seed=2), MARGIN, CONFIDENCE)


def test_a_dent_is_held_against_the_best_of_the_smaller_batches() -> None:
    """Back up to where it was before is no rise."""
    dented = rates(100, 200, 195, 201, spread=0.03, seed=1)
    assert has_levelled_off(dented, MARGIN, CONFIDENCE)


def test_the_knee_is_the_smallest_batch_that_is_not_surely_worse_than_the_margin_allows() -> None:
    found = find_knee(rates(100, 190, 300, 349, 350, 340, spread=0.003), MARGIN, CONFIDENCE)
    assert (found.batch, found.best) == (8, 16)
    assert found.ratio.low < 349 / 350 < found.ratio.high
    assert find_knee(rates(100, 200), MARGIN, CONFIDENCE).batch == 2
    assert find_knee({1: [5.0, 6.0]}, MARGIN, CONFIDENCE).batch == 1


@pytest.mark.parametrize("spread", [0.005, 0.03])
def test_on_saturating_curves_the_sweep_reaches_the_plateau_and_the_knee_is_on_it(
    spread: float,
) -> None:
    """Throughput of batch b is b / (b + c): overhead that is shared out. 200 sweeps."""
    far = 0
    for seed in range(200):
        half = 2 ** (seed % 6)
        curve = tuple(2**k / (2**k + half) for k in range(16))
        seen = swept(curve, spread, seed)
        knee = find_knee(seen, MARGIN, CONFIDENCE)
        true = dict(zip(rates(*curve), curve, strict=True))
        # The best of what was measured, less the margin and what the intervals can't tell apart.
        far += true[knee.batch] < true[max(seen)] * (1 - MARGIN - 3 * spread)
        assert true[max(seen)] > 1 - MARGIN - 4 * spread
    assert far <= 0.05 * 200
