"""What a comparison may say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.interval import Interval, ratio_interval
from bench.stats.verdict import Verdict, decide


def ratio(low, high):
    return Interval(math.sqrt(low * high), low, high, 0.95)


QUIET_SAME = ratio(0.999, 1.001)

CASES = [
    ("b is certainly faster", ratio(0.90, 0.95), None, Verdict.FASTER),
    ("b is certainly slower", ratio(1.05, 1.10), None, Verdict.SLOWER),
    ("anything is possible", ratio(0.95, 1.10), None, Verdict.INCONCLUSIVE),
    ("equivalent", ratio(0.995, 1.005), None, Verdict.SAME),
    ("tiny, certain, within the margin", ratio(1.002, 1.006), None, Verdict.SAME),
    ("small, certain, beyond the margin", ratio(1.005, 1.02), None, Verdict.SLOWER),
    ("touches 1", ratio(1.0, 1.05), None, Verdict.INCONCLUSIVE),
    ("both agree", ratio(0.90, 0.95), ratio(0.92, 0.93), Verdict.FASTER),
    ("busy slower, quiet faster", ratio(1.22, 1.27), ratio(0.935, 0.96), "contention-dependent"),
    ("busy faster, quiet slower", ratio(0.8, 0.9), ratio(1.02, 1.03), "contention-dependent"),
    ("the floor is open", ratio(1.22, 1.27), ratio(0.9, 1.01), Verdict.SLOWER),
    ("the median is open", ratio(0.9, 1.1), ratio(0.9, 0.95), Verdict.INCONCLUSIVE),
    ("opposed, both tiny", ratio(1.001, 1.003), ratio(0.996, 0.998), Verdict.SAME),
    ("opposed, the floor is not", ratio(1.001, 1.003), ratio(0.90, 0.92), "contention-dependent"),
    ("the same when busy", QUIET_SAME, ratio(0.90, 0.92), Verdict.SAME),
]


@pytest.mark.parametrize(
    ("p50", "floor", "verdict"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_the_verdict(p50, floor, verdict):
    assert decide(p50, floor, margin=0.01) == verdict


def test_without_a_margin_nothing_is_the_same():
    assert decide(ratio(1.0, 1.0), None, margin=0.0) == Verdict.INCONCLUSIVE
    with pytest.raises(ValueError, match="negative"):
        decide(QUIET_SAME, None, margin=-0.01)


def test_an_interval_that_reaches_the_end_of_the_margin_is_not_the_same():
    assert decide(Interval(1.0, 0.9, 1.25, 0.95), None, margin=0.25) == Verdict.INCONCLUSIVE
    assert decide(Interval(1.0, 0.8, 1.1, 0.95), None, margin=0.25) == Verdict.INCONCLUSIVE
    assert decide(Interval(1.0, 0.81, 1.24, 0.95), None, margin=0.25) == Verdict.SAME


ratios = st.tuples(st.floats(0.5, 2), st.floats(1, 1.5)).map(lambda t: ratio(t[0], t[0] * t[1]))
MIRROR = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}


@given(ratios, st.none() | ratios, st.sampled_from([0.0, 0.01, 0.05, 0.5]))
def test_exchanging_a_and_b_mirrors_the_verdict(p50, floor, margin):
    verdict = decide(p50, floor, margin)
    mirrored = decide(p50.inverse(), floor and floor.inverse(), margin)
    assert mirrored == MIRROR.get(verdict, verdict)


def test_a_target_against_itself_is_seldom_called_different():
    generator = np.random.default_rng(18)
    a, b = np.exp(generator.normal(0, 0.04, (2, 1500, 8)))
    verdicts = [decide(ratio_interval(x, y), None, margin=0.01) for x, y in zip(a, b, strict=True)]
    alarms = sum(v not in (Verdict.SAME, Verdict.INCONCLUSIVE) for v in verdicts) / 1500
    assert alarms <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 1500)


def test_a_real_difference_is_seldom_called_the_same():
    # At the margin itself "same" is a false equivalence: TOST bounds it by (1 - confidence) / 2.
    generator = np.random.default_rng(19)
    a, b = np.exp(generator.normal(0, 0.004, (2, 2000, 8)))
    verdicts = [
        decide(ratio_interval(x, 1.01 * y), None, margin=0.01) for x, y in zip(a, b, strict=True)
    ]
    false_equivalence = np.mean([v == Verdict.SAME for v in verdicts])
    assert false_equivalence <= 0.025 + 2.5 * math.sqrt(0.025 * 0.975 / 2000)


def test_a_verdict_is_written_as_its_word():
    assert f"{Verdict.CONTENTION_DEPENDENT}" == "contention-dependent"
