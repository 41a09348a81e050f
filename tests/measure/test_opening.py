"""The opening of blocks: found where there is one, and no bias where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from bench.measure.opening import FEWEST_BLOCKS, opening_calls

MOST = 10


def blocks(
    rng: np.random.Generator, opening: list[float], number: int = 8, calls: int = 40
) -> list[np.ndarray]:
    """Calls of 500 us with 5% of noise, one in twenty thrice as long; the first are slow."""
    shape = np.ones(calls)
    shape[: len(opening)] += opening
    noise = np.exp(rng.normal(0, 0.05, (number, calls)))
    spikes = np.where(rng.random((number, calls)) < 0.05, 3.0, 1.0)
    wandering = np.exp(rng.normal(0, 0.2, (number, 1)))
    return list((5e5 * shape * noise * spikes * wandering).astype(np.int64))


@pytest.mark.parametrize(("opening", "slow"), [([0.5], 1), ([0.6, 0.3, 0.2], 3), ([0.4] * 8, 8)])
def test_slow_first_calls_are_found_although_blocks_wander(opening: list[float], slow: int) -> None:
    rng = np.random.default_rng(1)
    found = [opening_calls(blocks(rng, opening), MOST) for _ in range(50)]
    assert all(slow <= left_out <= MOST for left_out in found if left_out is not None)
    assert np.median([f for f in found if f is not None]) <= slow + 1


def test_without_an_opening_little_is_left_out_and_never_more_than_was_allowed() -> None:
    rng = np.random.default_rng(2)
    found = [opening_calls(blocks(rng, []), MOST) for _ in range(100)]
    assert None not in found
    assert np.mean([f or 0 for f in found]) < MOST / 3
    assert max(f or 0 for f in found) <= MOST


def test_too_few_blocks_or_calls_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    assert opening_calls(blocks(rng, [], number=FEWEST_BLOCKS - 1), MOST) is None
    assert opening_calls(blocks(rng, [], calls=12), 5) is None


@pytest.mark.parametrize("opening", [[], [0.3, 0.15]])
def test_finding_the_opening_biases_the_median_by_less_than_its_noise(opening: list[float]) -> None:
    """Against blocks of which it is known how many calls are slow."""
    rng = np.random.default_rng(4)
    shifts, noise = [], []
    for _ in range(300):
        made = blocks(rng, opening)
        left_out = opening_calls(made, MOST) or 0
        found = np.mean([np.log(np.median(block[left_out:])) for block in made])
        known = np.mean([np.log(np.median(block[len(opening) :])) for block in made])
        shifts.append(found - known)
        within = [np.log(np.median(b[len(opening) :])) - np.log(np.median(b[20:])) for b in made]
        noise.append(np.mean(within))
    assert abs(np.mean(shifts)) < 0.1 * np.std(noise)
