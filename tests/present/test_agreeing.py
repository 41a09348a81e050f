"""The end of what `bench run` prints: sentences once where targets agree, orders, the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_records import a_run

from bench.judge.pairs import Pair, Ratio, compare
from bench.present.agreeing import pair_sentences
from bench.present.reading import MOST_ORDERS, Reading, conclusion, conclusion_text


def times(value: float, low: float, high: float) -> Ratio:
    return Ratio(value, low, high, 0.95, paired=True, invocations=8)


def a_pair(target: str, speedup: Ratio | None, **changes: object) -> Pair:
    pair = Pair("small", "large", "original", "fp32", "fp32", target, 4.0, 25, 100, speedup)
    return replace(pair, **changes)  # type: ignore[arg-type]


FAST = times(9.1, 8.5, 9.9)
FASTER = times(35.0, 34.2, 35.8)
OPEN = times(1.01, 0.97, 1.05)


def test_targets_with_the_same_outcome_share_a_sentence() -> None:
    (said,) = pair_sentences([a_pair("a:cpu", FAST), a_pair("b:cpu", FASTER)])
    assert said.replace("\u00a0", " ") == (
        "On both targets small is 9.1x to 35.0x as fast as large; accuracy was not compared."
    )


def test_targets_whose_ratios_are_unstable_are_counted() -> None:
    wild = times(20.0, 1.1, 360.0)
    (said,) = pair_sentences([a_pair("a:cpu", FAST), a_pair("b:cpu", wild)])
    assert said.replace("\u00a0", " ").startswith(
        "On both targets small is 9.1x (at least 1.1x on 1 target) as fast as large;"
    )
    (said,) = pair_sentences([a_pair("a:cpu", times(9.0, 2.2, 37.0)), a_pair("b:cpu", wild)])
    assert said.startswith("On both targets small is at least 1.1x as fast as large;")
    slow = [a_pair("a:cpu", times(0.05, 0.003, 0.84)), a_pair("b:cpu", times(0.1, 0.02, 0.5))]
    (said,) = pair_sentences(slow)
    assert said.startswith("On both targets small is at most 0.84x as fast as large;")
    (said,) = pair_sentences([a_pair("a:cpu", wild)])
    assert said == "On a:cpu small is at least 1.1x as fast as large; accuracy was not compared."
    unknown = times(2.0, 0.1, 40.0)
    (said,) = pair_sentences([a_pair(t, unknown) for t in ("a:cpu", "b:cpu")])
    assert "between small and large (2.00x, unstable);" in said.replace("\u00a0", " ")


def test_targets_that_disagree_are_told_apart() -> None:
    found = pair_sentences([a_pair("a:cpu", FAST), a_pair("b:cpu", OPEN), a_pair("c:cpu", FASTER)])
    assert len(found) == 2
    assert found[0].startswith("On a:cpu and c:cpu small is 9.1x")
    assert found[1].startswith("On b:cpu no speed difference was established")


def test_one_target_is_told_with_its_interval() -> None:
    (said,) = pair_sentences([a_pair("a:cpu", FAST)])
    assert "9.1x (8.5–9.9) as fast as large" in said


def test_what_was_not_compared_is_said_once_for_each_reason() -> None:
    missing = [a_pair(t, None, missing="large failed") for t in ("a:cpu", "b:cpu")]
    found = pair_sentences([*missing, a_pair("c:cpu", None, missing="simulated")])
    assert [each.partition(";")[0] for each in found] == [
        "On a:cpu and b:cpu no speed is compared (large failed)",
        "On c:cpu no speed is compared (simulated)",
    ]


def test_targets_whose_throughputs_alone_are_known_share_a_sentence_of_their_own() -> None:
    by_rate = [a_pair(t, None, throughput=FASTER) for t in ("a:cpu", "b:cpu")]
    found = [said.replace("\u00a0", " ") for said in pair_sentences([*by_rate, a_pair("c", FAST)])]
    assert [each.partition(";")[0] for each in found] == [
        "On a:cpu and b:cpu small is 35.0x as fast as large in throughput",
        "On c small is 9.1x (8.5–9.9) as fast as large",
    ]


def test_a_target_whose_best_case_disagrees_is_told_on_its_own() -> None:
    contended = a_pair("b:cpu", FAST, floor_speedup=times(0.5, 0.4, 0.6))
    found = pair_sentences([a_pair("a:cpu", FAST), contended, a_pair("c:cpu", FAST)])
    assert found[0].startswith("On a:cpu and c:cpu ")
    assert "depends on the machine's load" in found[1]


def test_a_control_is_not_compared_with_the_original_in_words() -> None:
    pairs = compare(a_run(), lambda record, other: None)
    said = pair_sentences(pairs)
    assert {pair.relation for pair in pairs} == {"original", "control"}
    assert all("fashion-student-ce" not in one.split(" as fast as ")[0] for one in said)


def a_reading(orders: int = 0, pairs: tuple[Pair, ...] = (), answer: str = "") -> Reading:
    return Reading(pairs, (), tuple(f"order {i}." for i in range(orders)), (), answer, ())


def test_the_conclusion_is_orders_then_pairs_then_what_to_take() -> None:
    reading = a_reading(2, (a_pair("a:cpu", FAST),), "Take small.")
    text = conclusion_text(reading).plain
    first, second, third = text.split("\n\n")
    assert first == "order 0.\norder 1."
    assert second.startswith("On a:cpu small is")
    assert third == "Take small.\n"


def test_more_orders_than_a_screen_holds_are_counted() -> None:
    reading = replace(a_reading(MOST_ORDERS + 3), knees=("The knee is at 8.",))
    orders, *_ = conclusion(reading)
    assert orders[MOST_ORDERS:] == [
        "3 more orders: `bench compare RUN` shows every two targets.",
        "The knee is at 8.",
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    text = conclusion_text(a_reading(3, tuple(compare(a_run(), lambda *_: None))), width).plain
    assert max(map(len, text.splitlines())) <= width


def test_nothing_to_conclude_is_nothing_said() -> None:
    assert not any(conclusion(a_reading()))
