"""What several targets agree on is said once."""

from __future__ import annotations

from bench.cards.tasks.base import Change, MetricRow
from bench.judge.pairs import Pair, Ratio
from bench.present.once import once
from bench.present.pairs import sentence
from bench.stats.interval import Interval

TOP1 = MetricRow("top-1", share=True)


def pair(target: str, speed: float, spread: float = 0.1, gain: float = -0.05) -> Pair:
    difference = Interval(gain, gain - 0.01, gain + 0.01, 0.95)
    return Pair(
        model="small",
        other="large",
        relation="original",
        variant="fp32",
        other_variant="fp32",
        target=target,
        size_ratio=2.0,
        file_bytes=1,
        other_file_bytes=2,
        speedup=Ratio(speed, speed - spread, speed + spread, 0.95, True, 8),
        floor_speedup=None,
        throughput=None,
        accuracy=Change(TOP1, 0.9 + gain, 0.9, difference, 1e-6, "McNemar", 1000),
        missing="",
    )


def test_targets_that_agree_share_a_sentence_with_the_span_of_their_speeds() -> None:
    (said,) = once([pair("a:cpu", 9.0), pair("b:cpu", 35.0), pair("c:cpu", 20.0)])
    assert said.startswith("On all 3 targets small is 9.00x to 35.0x as fast as large and 5.0 ")
    assert "less accurate" in said


def test_a_target_that_differs_is_an_exception_in_its_own_sentence() -> None:
    slow = pair("c:cpu", 0.5)
    found = once([pair("a:cpu", 9.0), slow, pair("b:cpu", 35.0)])
    assert found[0].startswith("On a:cpu, b:cpu small is 9.00x to 35.0x as fast as large")
    assert found[1:] == [sentence(slow)]
    other = pair("c:cpu", 20.0, gain=0.05)
    assert once([pair("a:cpu", 9.0), other, pair("b:cpu", 35.0)])[1:] == [sentence(other)]


def test_no_difference_is_said_once_too() -> None:
    (said,) = once([pair("a:cpu", 1.0), pair("b:cpu", 1.01)])
    assert said.startswith(
        "On a:cpu, b:cpu no speed difference was established between small and large (1.00x to "
    )


def test_one_target_has_the_sentence_of_the_terminal() -> None:
    one = pair("a:cpu", 9.0)
    assert once([one]) == [sentence(one)]
