"""Components of variance: what was put in is found, pooled where one cell has too few."""

from __future__ import annotations

import numpy as np
import pytest

from bench.stats.nested.components import (
    ASSUMED_FREEDOM,
    TYPICAL_PROCESS_SPREAD,
    against_others,
    calls_variance,
    error_by_blocks,
    estimate,
    intraclass_of,
)


def drawn(
    rng: np.random.Generator, processes: float, blocks: float, sizes: list[int]
) -> list[np.ndarray]:
    """Log medians of so many blocks in each process, standard deviations given."""
    return [rng.normal(0, processes) + rng.normal(0, blocks, size) for size in sizes]


def test_the_components_that_were_put_in_are_found_with_unequal_numbers_of_blocks() -> None:
    rng = np.random.default_rng(1)
    sizes = [8, 8, 30, 30, 12] * 4
    found = [estimate(drawn(rng, 0.05, 0.2, sizes)) for _ in range(600)]
    assert np.mean([f.blocks for f in found]) == pytest.approx(0.04, rel=0.05)
    drawn_in = (19 * 0.0025 + ASSUMED_FREEDOM * TYPICAL_PROCESS_SPREAD**2) / (19 + ASSUMED_FREEDOM)
    assert np.mean([f.processes for f in found]) == pytest.approx(drawn_in, rel=0.15)
    assert {f.freedom for f in found} == {19}


def test_a_variance_between_processes_is_never_negative() -> None:
    rng = np.random.default_rng(2)
    found = [estimate(drawn(rng, 0.0, 0.3, [8, 8, 8])).processes for _ in range(100)]
    assert min(found) == 0.0


def test_of_one_process_the_spread_between_processes_is_assumed_and_said_to_be() -> None:
    rng = np.random.default_rng(3)
    found = estimate(drawn(rng, 0.3, 0.1, [50]))
    assert (found.processes, found.freedom) == (TYPICAL_PROCESS_SPREAD**2, 0)
    assert found.blocks == pytest.approx(0.01, rel=0.5)


def test_with_few_processes_a_cell_borrows_from_the_others_relative_to_its_blocks() -> None:
    """Cells differ hundredfold in how they wander: variances are not pooled, their ratios are."""
    rng = np.random.default_rng(4)
    cells = [drawn(rng, 0.5 * sd, sd, [20, 20]) for sd in [0.2, 2.0, *[0.5] * 60]]
    pooled = intraclass_of(cells)
    assert pooled == pytest.approx(0.25, rel=0.5)
    alone = [estimate(cell).processes / estimate(cell).blocks for cell in cells]
    helped = [estimate(cell, 0.0, pooled).processes / estimate(cell).blocks for cell in cells]
    assert np.std(helped) < 0.8 * np.std(alone)


def test_nothing_is_pooled_where_no_cell_has_two_processes() -> None:
    rng = np.random.default_rng(5)
    assert intraclass_of([drawn(rng, 0.1, 0.1, [8])]) is None


@pytest.mark.parametrize("calls", [8, 15, 60])
def test_what_calls_do_to_a_median_is_told_from_its_halves(calls: int) -> None:
    rng = np.random.default_rng(6)
    blocks = [np.exp(rng.normal(12, 0.05, calls)).astype(np.int64) for _ in range(3000)]
    medians = np.log([np.median(block) for block in blocks])
    assert calls_variance(blocks) == pytest.approx(medians.var(), rel=0.25)


def test_too_few_calls_tell_nothing() -> None:
    assert calls_variance([np.array([5, 9, 7])]) == 0.0


def test_what_hits_all_cells_alike_is_not_in_what_they_differ_by() -> None:
    rng = np.random.default_rng(7)
    machine = [rng.normal(0, 0.3, 20) for _ in range(5)]
    cells = [[m + rng.normal(0, 0.01, 20) for m in machine] for _ in range(2)]
    alone = estimate(cells[0])
    by_round = [{i: dict(enumerate(blocks)) for i, blocks in enumerate(cell)} for cell in cells]
    against = estimate(against_others(by_round)[0])
    assert alone.blocks == pytest.approx(0.09, rel=0.4)
    assert against.blocks == pytest.approx(0.0002, rel=0.4)


def test_cells_with_fewer_rounds_are_compared_in_those_that_they_share() -> None:
    """Two of them, whatever place they have among the cell's own."""
    cells = [{3: {0: 1.0, 4: 2.0, 8: 3.0}}, {3: {1: 9.0, 4: 5.0, 8: 7.0, 9: 9.0}}]
    np.testing.assert_array_equal(against_others(cells)[0], [[-3.0, -4.0]])
    np.testing.assert_array_equal(against_others(cells)[1], [[3.0, 4.0]])


def test_cells_without_an_invocation_or_two_rounds_in_common_are_not_compared() -> None:
    assert against_others([{0: {0: 1.0, 1: 1.0}}, {1: {0: 1.0, 1: 1.0}}]) == [[], []]
    assert against_others([{0: {0: 1.0, 1: 1.0}}, {0: {1: 1.0, 2: 1.0}}]) == [[], []]
    assert against_others([{0: {0: 1.0, 1: 1.0}}]) == [[]]


def test_of_no_process_there_is_only_what_is_typical() -> None:
    found = estimate([])
    assert (found.processes, found.blocks) == (TYPICAL_PROCESS_SPREAD**2, 0.0)


# -- what blocks alone make of a process's figure -------------------------------------------------


def test_the_error_by_blocks_is_at_most_that_of_their_mean_and_near_it() -> None:
    rng = np.random.default_rng(11)
    for size, share in ((4, 0.7), (8, 0.85), (30, 0.95)):
        found = [error_by_blocks(drawn(rng, 0.05, 0.2, [size] * 6)) for _ in range(300)]
        assert share <= np.mean(found) / (0.2 / np.sqrt(size)) <= 1.0


def test_blocks_that_were_hit_hard_do_not_make_an_error_by_blocks() -> None:
    """One in eight takes twentyfold, which makes a standard deviation 50 times larger."""
    processes = drawn(np.random.default_rng(12), 0.05, 0.02, [8] * 6)
    hit = [np.append(blocks[:-1], blocks[-1] + 3.0) for blocks in processes]
    assert error_by_blocks(hit) < 2 * error_by_blocks(processes)


def test_single_blocks_say_nothing_of_an_error_and_more_blocks_make_it_smaller() -> None:
    assert error_by_blocks([np.array([1.0]), np.array([2.0])]) == 0.0
    four, alone = np.array([0.0, 1.0, 2.0, 3.0]), np.array([9.0])
    assert error_by_blocks([four]) == pytest.approx(1.4826 / 2)
    assert error_by_blocks([four, alone]) == error_by_blocks([four])
    assert error_by_blocks([np.tile(four, 4)]) == pytest.approx(1.4826 / 4)
