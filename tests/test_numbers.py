"""Numbers for people: 3 significant digits, one unit a column, and never a crash."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import numbers

anything = st.floats() | st.none()
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (271, "271"),
        (48.04, "48.0"),
        (9.995, "9.99"),
        (9.996, "10.0"),
        (999.6, "1000"),
        (20342, "20300"),
        (0.00123456, "0.00123"),
        (0, "0"),
        (-5.123, "-5.12"),
        (1e-9, "1.00e-09"),
        (1e20, "1.00e20"),
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_three_significant_digits(value: float | None, text: str) -> None:
    assert numbers.significant(value) == text


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [
        (12, "12.0 ns"),
        (271_000, "271 µs"),
        (999.9, "1.00 µs"),
        (3.2e6, "3.20 ms"),
        (61e9, "61.0 s"),
        (None, "-"),
        (math.nan, "-"),
    ],
)
def test_durations(value_ns: float | None, text: str) -> None:
    assert numbers.duration(value_ns) == text


def test_sizes_and_rates() -> None:
    assert numbers.size(104_000) == "102 KiB"
    assert numbers.size(8 * 2**20) == "8.00 MiB"
    assert numbers.rate(4920) == "4.92 k/s"
    assert numbers.rate(12) == "12.0/s"


def test_a_column_has_one_unit_in_which_its_values_are_short() -> None:
    unit = numbers.column_unit([48e3, 271e3, 9e6, None, math.nan], numbers.TIME_UNITS)
    assert unit.name == "µs"
    assert [numbers.in_unit(v, unit) for v in (48e3, 271e3, 9e6, None)] == [
        "48.0",
        "271",
        "9000",
        "-",
    ]
    assert numbers.column_unit([24.6, 6150, 34_700], numbers.RATE_UNITS).name == "/s"
    assert numbers.column_unit([1, 3e9], numbers.TIME_UNITS).name == "ms"
    assert numbers.column_unit([], numbers.BYTE_UNITS).name == "B"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.012, "±1.2%"), (0.1, "±10%"), (0.0001, "±<0.1%"), (0, "±0.0%"), (0.996, "±100%")],
)
def test_relative_half_widths(share: float, text: str) -> None:
    assert numbers.relative_half_width(share) == text


@pytest.mark.parametrize("share", [1, 1.07, 99, math.inf])
def test_an_interval_that_may_reach_zero_is_called_unstable(share: float) -> None:
    assert numbers.relative_half_width(share) == "unstable"
    assert numbers.half_width(100, 100 - 100 * min(share, 9), 120) == "unstable"
    assert numbers.half_width(100, 90, 100 + 100 * min(share, 9)) == "unstable"


def test_a_share_for_other_programs_stays_a_number() -> None:
    assert numbers.half_width_percent(9.72) == "±972%"


def test_the_wider_side_of_an_interval_is_shown() -> None:
    assert numbers.half_width(100, 99, 103) == "±3.0%"
    assert numbers.half_width(100, None, 103) == "-"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((9.8, 9.5, 10.1), "9.8x (9.5–10.1)"),
        ((1.006, 0.972, 1.041), "1.01x (0.97–1.04)"),
        ((9.83, 9.81, 9.85), "9.83x (9.81–9.85)"),
        ((123.4, 118.2, 129.0), "123x (118–129)"),
        ((0.0512, 0.0484, 0.0541), "0.051x (0.048–0.054)"),
        ((9.8, None, None), "9.80x"),
        ((9.8, 9.5, math.inf), "at least 9.5x"),
        ((9.8, 0.5, math.inf), "9.80x (unstable)"),
        ((20.0, 1.19, 360.0), "at least 1.1x"),
        ((30.0, 1.0004, 900.0), "at least 1.0004x"),
        ((0.05, 0.0028, 0.841), "at most 0.85x"),
        ((0.05, 0.0, 0.99996), "at most 0.99996x"),
        ((400.0, 129.0, 1240.0), "at least 120x"),
        ((0.55, 9.26e-11, 3.31e9), "0.550x (unstable)"),
        ((2.0, 1.0, 4.0), "2.00x (unstable)"),
        ((0.5, 0.25, 1.0), "0.500x (unstable)"),
        ((2.0, 1.01, 3.96), "2.0x (1.0–4.0)"),
        ((math.nan, 1, 2), "-"),
    ],
)
def test_ratios(values: tuple[float, float | None, float | None], text: str) -> None:
    assert numbers.ratio(*values) == text


def test_a_ratio_in_a_table_is_its_figure_and_its_interval() -> None:
    assert numbers.ratio_parts(9.8, 9.5, 10.1) == ("9.8x", "(9.5–10.1)")
    assert numbers.ratio_parts(20.0, 1.19, 360.0) == ("≥1.1x", "")
    assert numbers.ratio_parts(0.05, 0.0028, 0.841) == ("≤0.85x", "")
    assert numbers.ratio_parts(2.0, 1.0, 4.0) == ("2.00x", "(unstable)")
    assert numbers.ratio_parts(None) == ("-", "")


@given(st.floats(1e-6, 1e6).filter(lambda x: x != 1), st.floats(2.5, 1e3), st.floats(1e-12, 1e-2))
def test_a_bound_is_as_sure_as_the_interval_and_excludes_1(
    bound: float, width: float, near: float
) -> None:
    for nearest in (bound, 1 + near, 1 - near):
        value = nearest * width if nearest > 1 else nearest / width
        low, high = sorted((nearest, value * value / nearest))
        told = numbers.certain_bound(value, low, high)
        sign, number = told[0], float(told[1:].removesuffix("x"))
        assert sign == ("≥" if nearest > 1 else "≤")
        assert (
            (1 < number <= low * (1 + 1e-9)) if sign == "≥" else (high * (1 - 1e-9) <= number < 1)
        )


def test_percentages_points_and_p_values() -> None:
    assert numbers.percent(0.927, 0.922, 0.932) == "92.7% (92.2–93.2)"
    assert numbers.percent(0.945) == "94.5%"
    assert numbers.points(-0.051) == "-5.1"
    assert numbers.points(0.0001) == "0.0"
    assert numbers.p_value(0.1834) == "p = 0.18"
    assert numbers.p_value(0.00000912) == "p = 9e-6"
    assert numbers.p_value(1e-30) == "p < 1e-9"
    assert numbers.p_value(1.0) == "p = 1.0"
    assert numbers.p_value(None) == "-"


@given(positive)
def test_no_positive_number_crashes_any_format(value: float) -> None:
    for write in (
        numbers.significant,
        numbers.duration,
        numbers.size,
        numbers.rate,
        numbers.ratio,
        numbers.percent,
        numbers.points,
        numbers.relative_half_width,
    ):
        text = write(value)
        assert text
        assert len(text) < 400


@given(anything, anything, anything)
def test_no_interval_crashes_any_format(
    value: float | None, low: float | None, high: float | None
) -> None:
    assert numbers.ratio(value, low, high)
    assert numbers.percent(value, low, high)
    assert numbers.half_width(value, low, high)
    unit = numbers.column_unit([value, low, high], numbers.TIME_UNITS)
    assert numbers.in_unit(value, unit)


@given(st.floats(min_value=1e-6, max_value=1e14))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    assert float(numbers.significant(value)) == pytest.approx(value, rel=0.0051)


@given(st.text())
def test_printable_text_is_one_line_without_control_characters(text: str) -> None:
    shown = numbers.printable(text, limit=50)
    assert shown.isprintable()
    assert len(shown) <= 50


def test_escapes_and_lone_surrogates_are_spelled_out() -> None:
    assert numbers.printable("a\x1b[31mb") == "a\\x1b[31mb"
    assert numbers.printable("\udcff") == "\\udcff"
    assert numbers.printable("[red]x[/red]") == "[red]x[/red]"
    assert numbers.printable("two\nlines") == "two lines"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "0.012"), (0.001, "0.0010"), (1.23e-5, "1.2e-5"), (9.9e-14, "9.9e-14"), (0, "0")],
)
def test_what_may_be_tiny_has_two_digits_and_an_exponent(value: float, text: str) -> None:
    assert numbers.tiny(value) == text


def test_one_is_told_apart_from_many() -> None:
    assert [numbers.counted(n, "thread") for n in (0, 1, 2000)] == [
        "0 threads",
        "1 thread",
        "2,000 threads",
    ]


@pytest.mark.parametrize(
    ("scale", "margin", "difference", "text", "words"),
    [
        (numbers.FRACTION, 0.005, 0.0008, "+0.08", "0.50 points"),
        (numbers.FRACTION, 0.005, -0.00001, "0.00", "0.50 points"),
        (numbers.FRACTION, 0.05, -0.0123, "-1.2", "5.0 points"),
        (numbers.PLAIN, 0.01, 0.0032, "+0.003", "0.010"),
    ],
)
def test_a_difference_is_told_to_the_place_behind_its_margins_first(
    scale: numbers.Scale, margin: float, difference: float, text: str, words: str
) -> None:
    assert scale.held_to(difference, margin) == text
    assert scale.margin(margin) == words


@pytest.mark.parametrize("text", ["2%", " 2 % ", "0.02"])
def test_a_fraction_may_be_written_as_a_percentage(text: str) -> None:
    assert numbers.fraction_of(text) == 0.02


@pytest.mark.parametrize("text", ["", "%", "two", "2%%"])
def test_what_is_no_number_is_no_fraction(text: str) -> None:
    with pytest.raises(ValueError, match="float"):
        numbers.fraction_of(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abc"), "a, b and c")],
)
def test_words_are_enumerated_as_people_do(words: list[str], said: str) -> None:
    assert numbers.enumerated(words) == said
