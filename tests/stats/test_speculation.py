"""bench/stats/speculation.py: the formulas against simulation, and walks against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.speculation import checks, improvement, shares, tokens_per_iteration, walk

LENGTHS = st.integers(1, 9)
AGREED = st.lists(st.booleans(), min_size=1, max_size=60)


def chain(stays: float, begins: float, count: int, seed: int) -> np.ndarray:
    """Whether each token is agreed on, a Markov chain: after one that was with probability
    ``stays``, after one that wasn't with ``begins``."""
    drawn = np.random.default_rng(seed).random(count)
    agreed = np.empty(count, bool)
    before = True
    for place in range(count):
        before = agreed[place] = drawn[place] < (stays if before else begins)
    return agreed


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 0.95), LENGTHS, st.integers(0, 99))
def test_independent_tokens_come_as_leviathans_formula_says(
    acceptance: float, length: int, seed: int
) -> None:
    found = walk(chain(acceptance, acceptance, 40_000, seed), length)
    mean = found.tokens / len(found.drafted)
    assert mean == pytest.approx(tokens_per_iteration(acceptance, length), rel=0.05)


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_tokens_that_depend_on_each_other_come_as_the_chain_says_and_not_as_the_formula(
    length: int,
) -> None:
    stays, begins = 0.9, 0.5
    share = begins / (begins + 1 - stays)
    found = walk(chain(stays, begins, 200_000, 7), length)
    # Each iteration ends on a token of the original's own. Its end decides how the next begins: by
    # the chain of iterations, whose ends are agreed on (after a whole draft) or not.
    first = {True: stays, False: begins}

    def whole(before: bool) -> float:
        return float(first[before] * stays ** (length - 1))

    def tokens(before: bool) -> float:
        return 1 + sum(first[before] * stays**k for k in range(length))

    # After a whole draft the original's own token follows, agreed on with probability `stays`.
    ends_agreed = {before: whole(before) * stays for before in (True, False)}
    agreed = ends_agreed[False] / (1 - ends_agreed[True] + ends_agreed[False])
    expected = agreed * tokens(True) + (1 - agreed) * tokens(False)
    assert found.tokens / len(found.drafted) == pytest.approx(expected, rel=0.01)
    if length == 8:
        assert tokens_per_iteration(share, length) > 1.05 * expected


@given(st.floats(0, 1), LENGTHS)
def test_the_sum_is_the_closed_form(acceptance: float, length: int) -> None:
    found = tokens_per_iteration(acceptance, length)
    assert 1 <= found <= length + 1
    if acceptance < 0.999:
        closed = (1 - acceptance ** (length + 1)) / (1 - acceptance)
        assert found == pytest.approx(closed)


@given(st.floats(0, 1), LENGTHS, st.floats(0.001, 2), st.floats(1, 9))
def test_drafting_pays_where_what_comes_out_is_more_than_what_it_takes(
    acceptance: float, length: int, draft: float, check: float
) -> None:
    found = improvement(acceptance, length, draft, check)
    tokens = tokens_per_iteration(acceptance, length)
    assert (found > 1) == (tokens > length * draft + check)
    assert found <= length + 1


@given(AGREED, LENGTHS)
def test_a_walk_is_a_plain_loop(agreed: list[bool], length: int) -> None:
    found, place = walk(np.array(agreed), length), 0
    for drafted, accepted in zip(found.drafted, found.accepted, strict=True):
        assert drafted == min(length, len(agreed) - place - 1)
        assert all(agreed[place : place + accepted])
        assert accepted == drafted or not agreed[place + accepted]
        place += accepted + 1
    assert place == len(agreed) == found.tokens


@given(AGREED, LENGTHS)
def test_a_state_that_can_be_cut_takes_one_check_an_iteration(
    agreed: list[bool], length: int
) -> None:
    walked = walk(np.array(agreed), length)
    assert (checks(walked, length, cuts=True) == walked.drafted + 1).all()


@given(AGREED, LENGTHS)
def test_a_state_that_is_put_back_takes_every_token_in_the_end(
    agreed: list[bool], length: int
) -> None:
    walked = walk(np.array(agreed), length)
    sizes = checks(walked, length, cuts=False)
    assert sizes.max() <= 2 * length + 1
    rejected = int((walked.accepted < walked.drafted).sum())
    assert len(walked.drafted) <= len(sizes) <= len(walked.drafted) + rejected
    assert sizes.sum() >= (walked.drafted + 1).sum()
    if not rejected:
        assert (sizes == walked.drafted + 1).all()


def test_tokens_that_wait_are_taken_with_the_next_draft_or_in_a_step_of_their_own() -> None:
    agreed = np.array([False, True, False, False, True, True, True])
    walked = walk(agreed, 2)
    assert walked.accepted.tolist() == [0, 1, 0, 2]
    # 1 + 2; 1 known waits beside the original's own: 2 + 2, of which 3 are known and taken in a
    # step of their own; 1 + 2; 2 + 2.
    assert checks(walked, 2, cuts=False).tolist() == [3, 4, 3, 3, 4]
    assert checks(walked, 2, cuts=True).tolist() == [3, 3, 3, 3]


@given(st.lists(st.integers(1, 16), min_size=1, max_size=30))
def test_times_between_two_known_sizes_lie_on_a_line(sizes: list[int]) -> None:
    known = [1, 2, 5, 16]
    found = shares(np.array(sizes), known)
    assert found is not None
    assert found.sum() == pytest.approx(len(sizes))
    assert found @ known == pytest.approx(sum(sizes))
    assert shares(np.array([*sizes, 17]), known) is None
    assert shares(np.array(sizes), []) is None


@pytest.mark.parametrize(("acceptance", "length"), [(1.1, 2), (-0.1, 2), (0.5, 0)])
def test_what_is_no_acceptance_or_length_is_refused(acceptance: float, length: int) -> None:
    with pytest.raises(ValueError, match="acceptance"):
        tokens_per_iteration(acceptance, length)
