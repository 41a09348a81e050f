"""How numbers (and names) are written for people: 3 significant digits, one unit a column.

Values come in as they are stored (nanoseconds, bytes, a rate a second, a fraction); a missing or
not finite value is written ``-``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

MISSING = "-"
#: In place of an interval whose half-width is this share of its value, or more: it may reach down
#: to zero, so not even the order of magnitude is known, and no bounds help.
UNSTABLE, UNSTABLE_FROM = "unstable", 1.0
#: In place of an unstable ratio of which it is certain on which side of 1 it is.
_AT_LEAST, _AT_MOST = "≥", "≤"
_DOWN, _UP = "ROUND_FLOOR", "ROUND_CEILING"  #: as `decimal` calls them
DIGITS = 3


class Unit(NamedTuple):
    """A unit and how much of the stored unit it is."""

    name: str
    scale: float


TIME_UNITS = (Unit("ns", 1.0), Unit("µs", 1e3), Unit("ms", 1e6), Unit("s", 1e9))
BYTE_UNITS = (
    Unit("B", 1.0),
    Unit("KiB", 2.0**10),
    Unit("MiB", 2.0**20),
    Unit("GiB", 2.0**30),
    Unit("TiB", 2.0**40),
)
RATE_UNITS = (Unit("/s", 1.0), Unit("k/s", 1e3), Unit("M/s", 1e6), Unit("G/s", 1e9))

ENERGY_UNITS = (
    Unit("nJ", 1e-9),
    Unit("µJ", 1e-6),
    Unit("mJ", 1e-3),
    Unit("J", 1.0),
    Unit("kJ", 1e3),
)
POWER_UNITS = (Unit("mW", 1e-3), Unit("W", 1.0), Unit("kW", 1e3))

#: Names of models and targets are cut at so many characters.
NAME_LIMIT = 120
#: What users call machines and runs goes into the head of a column.
LABEL_LIMIT = 60


def finite(value: float | None) -> bool:
    """Whether there is a number to write."""
    return value is not None and math.isfinite(value)


def significant(value: float | None, digits: int = DIGITS) -> str:
    """``value`` to so many significant digits, without exponent from 1e-6 up to 1e15."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    if size >= 1e15 or size < 1e-6:
        return f"{value:.{digits - 1}e}".replace("e+", "e")
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{rounded:.{decimals}f}"


def tiny(value: float | None) -> str:
    """A number that may lie far below 1, to two digits: ``0.0012``, ``1.2e-5``."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0 or abs(value) >= 1e-3:
        return significant(value, 2)
    return f"{value:.1e}".replace("e-0", "e-")


def counted(number: int, noun: str) -> str:
    """``1 thread``, ``10,000 examples``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def enumerated(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def column_unit(values: Iterable[float | None], units: tuple[Unit, ...]) -> Unit:
    """The unit for a whole column: the smallest value is at least 1 in it, unless that would
    write the largest with more than five digits before the point."""
    sizes = [abs(v) for v in values if v is not None and math.isfinite(v) and v != 0]
    if not sizes:
        return units[0]
    least = float(significant(min(sizes)))
    fitting = [u for u in units if u.scale <= least] or [units[0]]
    larger = [u for u in units if u.scale >= fitting[-1].scale]
    return next((u for u in larger if max(sizes) / u.scale < 1e5), larger[-1])


def in_unit(value: float | None, unit: Unit) -> str:
    """The bare number in a unit that the column's header names."""
    return significant(None if value is None else value / unit.scale)


def with_unit(value: float | None, units: tuple[Unit, ...]) -> str:
    """One number with the unit that suits it: ``271 µs``, ``3.14 MiB``, ``12.1 k/s``."""
    text = in_unit(value, unit := column_unit([value], units))
    return text if text == MISSING else _join(text, unit)


def _join(number: str, unit: Unit) -> str:
    return f"{number}{unit.name}" if unit.name == "/s" else f"{number} {unit.name}"


def duration(value_ns: float | None) -> str:
    """``271 µs``."""
    return with_unit(value_ns, TIME_UNITS)


def size(value_bytes: float | None) -> str:
    """``3.14 MiB``."""
    return with_unit(value_bytes, BYTE_UNITS)


def energy(value_j: float | None) -> str:
    """J with the unit that fits."""
    return with_unit(value_j, ENERGY_UNITS)


def rate(per_second: float | None) -> str:
    """``12.1 k/s``."""
    return with_unit(per_second, RATE_UNITS)


def half_width(value: float | None, low: float | None, high: float | None) -> str:
    """An interval as a share of its value: ``±1.2%``; the wider side where it is lopsided."""
    if value is None or low is None or high is None or value == 0:
        return MISSING
    return relative_half_width(_share(value, low, high))


def wider_side(value: float, low: float, high: float) -> float:
    """The half-width of an interval: that of its wider side, where it is lopsided."""
    return max(high - value, value - low)


def _share(value: float, low: float, high: float) -> float:
    """An interval's wider side as a share of its value, which is not 0."""
    return wider_side(value, low, high) / abs(value)


def relative_half_width(share: float | None) -> str:
    """``±1.2%`` from 0.012: two digits are as much as an interval is worth; `UNSTABLE` from
    `UNSTABLE_FROM` on."""
    if share is None or math.isnan(share):
        return MISSING
    return UNSTABLE if abs(share) >= UNSTABLE_FROM else half_width_percent(share)


def is_unstable(value: float, low: float, high: float) -> bool:
    """Whether an interval is so wide that `UNSTABLE` stands in its place: of a figure, and of a
    ratio just so. A ratio's reaches as many times up as down, so it is whichever way it is formed.
    """
    return value != 0 and _share(value, low, high) >= UNSTABLE_FROM


def interval_words(
    value: float, low: float, high: float, form: Callable[[float | None], str]
) -> str:
    """``(118 µs to 124 µs)`` behind a figure that ``form`` writes, or ``(unstable)``."""
    if is_unstable(value, low, high):
        return f"({UNSTABLE})"
    return f"({form(low)} to {form(high)})"


def with_interval(
    value: float, low: float, high: float, form: Callable[[float | None], str]
) -> str:
    """``121 µs (118 µs to 124 µs)``, or ``121 µs (unstable)``."""
    return f"{form(value)} {interval_words(value, low, high, form)}"


def half_width_percent(share: float) -> str:
    """``±1.2%`` from 0.012, however wide it is."""
    percent = abs(share) * 100
    if percent >= 9.95:
        return f"±{percent:.0f}%"
    return "±<0.1%" if 0 < percent < 0.05 else f"±{percent:.1f}%"


def ratio(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """``9.8x (9.5–10.1)``, with as many decimals as the interval has something to say about. Where
    it is unstable ``at least 2.1x`` or ``at most 0.48x`` if it excludes 1, else ``9.8x
    (unstable)``."""
    figure, interval = ratio_parts(value, low, high)
    words = figure.replace(_AT_LEAST, "at least ").replace(_AT_MOST, "at most ")
    return f"{words} {interval}".rstrip()


def ratio_parts(
    value: float | None, low: float | None = None, high: float | None = None
) -> tuple[str, str]:
    """The same for a table, figure and interval apart: ``9.8x`` and ``(9.5–10.1)``; ``≥2.1x``."""
    if value is None or not math.isfinite(value):
        return MISSING, ""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return f"{significant(value)}x", ""
    if is_unstable_ratio(value, low, high):
        bound = certain_bound(value, low, high)
        return (bound, "") if bound else (f"{significant(value)}x", f"({UNSTABLE})")
    decimals = _interval_decimals(value, low, high)
    return f"{_fixed(value, decimals)}x", f"({_fixed(low, decimals)}–{_fixed(high, decimals)})"


def is_unstable_ratio(value: float, low: float, high: float) -> bool:
    """Whether a ratio's interval is no help in telling its size."""
    return is_unstable(value, low, high) or not (math.isfinite(low) and math.isfinite(high))


def certain_bound(value: float, low: float, high: float) -> str:
    """``≥2.1x`` or ``≤0.48x`` of an unstable ratio whose interval excludes 1: the bound nearest 1,
    rounded towards it so that it is as sure as the interval; empty for others."""
    if not is_unstable_ratio(value, low, high):
        return ""
    if low > 1:
        return f"{_AT_LEAST}{_towards_1(low, _DOWN)}x"
    return f"{_AT_MOST}{_towards_1(high, _UP)}x" if high < 1 else ""


def _towards_1(bound: float, rounding: str) -> str:
    """Two digits, or as many more as it takes to tell it from 1."""
    from decimal import Decimal  # start-up: few ratios need it

    exact = Decimal(repr(bound))
    for digits in range(2, 17):
        place = Decimal(1).scaleb(exact.adjusted() - digits + 1)
        found = exact.quantize(place, rounding) if exact else exact
        if found != 1:
            break
    return significant(float(found), digits)


def _interval_decimals(value: float, low: float, high: float) -> int:
    """Decimals for two digits of the value, and a third where the interval is narrow enough."""
    if value == 0:
        return 2
    by_value = DIGITS - 2 - math.floor(math.log10(abs(value)))
    width = abs(high - low)
    by_width = -math.floor(math.log10(width)) if 0 < width < math.inf else by_value
    near_one = 2 if abs(value - 1) < 0.1 else 0
    # An interval of one unit in the last place says too little: 28x (28–29).
    by_width += 1 if 0 < width < 2 * 10.0**-by_width else 0
    return min(6, max(0, near_one, by_value, min(by_width, by_value + 1)))


def _fixed(value: float, decimals: int) -> str:
    if abs(value) >= 1e9 or 0 < abs(value) < 10**-decimals / 2:
        return significant(value)
    return f"{value:.{decimals}f}"


def percent(fraction: float | None, low: float | None = None, high: float | None = None) -> str:
    """``92.7%`` or ``92.7% (92.2–93.2)`` from fractions."""
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    text = f"{100 * fraction:.1f}%"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} ({100 * low:.1f}–{100 * high:.1f})"


def points(difference: float | None) -> str:
    """A difference of two fractions in percentage points: ``-5.1``."""
    if difference is None or not math.isfinite(difference):
        return MISSING
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


@dataclass(frozen=True)
class Scale:
    """How the values of a metric are written: in percent and points, or as bare numbers.

    ``factor`` of what is stored is what is shown; ``unit`` follows a value, ``steps`` a difference.
    """

    factor: float
    unit: str
    steps: str

    @property
    def is_fraction(self) -> bool:
        return self.factor == 100

    def value(
        self, value: float | None, low: float | None = None, high: float | None = None
    ) -> str:
        """``92.7% (92.2–93.2)``, ``12.3 (12.1–12.5)``."""
        if self.is_fraction:
            return percent(value, low, high)
        text = significant(value)
        if text == MISSING or not finite(low) or not finite(high):
            return text
        return f"{text} ({significant(low)}–{significant(high)})"

    def bare(self, value: float | None) -> str:
        """A value in a column whose header names the unit: ``92.7``."""
        return self.value(value).removesuffix(self.unit) if self.unit else self.value(value)

    def side(self, value: float) -> str:
        """The half-width of an interval: ``±0.5``."""
        return f"±{self.amount(value)}"

    def difference(self, value: float | None) -> str:
        """``-5.1`` points, or ``+0.31``."""
        if self.is_fraction:
            return points(value)
        text = significant(value)
        return f"+{text}" if value is not None and value > 0 and text != MISSING else text

    def amount(self, value: float) -> str:
        """The size of a difference: ``5.1``, ``0.31``."""
        if self.is_fraction:
            return points(value).removeprefix("+")
        return significant(value, 2)

    def held_to(self, difference: float | None, margin: float) -> str:
        """A signed difference to one digit more than the first of the ``margin`` that it is held
        to: ``+0.08`` beside 0.5 points."""
        if difference is None or not math.isfinite(difference):
            return MISSING
        text = f"{difference * self.factor:+.{self._places(margin)}f}"
        return text if float(text) else text[1:]

    def margin(self, margin: float) -> str:
        """The margin itself, as exactly and in words: ``0.50 points``."""
        return self.steps_of(f"{margin * self.factor:.{self._places(margin)}f}")

    def _places(self, margin: float) -> int:
        shown = margin * self.factor
        return max(1, 1 - math.floor(math.log10(shown))) if shown > 0 else 1

    def chosen(self, value: float) -> str:
        """A difference that a person chose, as they wrote it: ``0.5``, ``0.1``."""
        return self.amount(value) if self.is_fraction else f"{value:g}"

    def steps_of(self, amount: str) -> str:
        """An amount in words: ``5.1 points``."""
        return f"{amount} {self.steps}".rstrip()

    def from_points(self, shown: float) -> float:
        """What is stored of a difference that a person wrote: 0.005 of 0.5 points."""
        return shown / self.factor


FRACTION = Scale(100, "%", "points")
PLAIN = Scale(1, "", "")


def common_scale(scales: Iterable[Scale]) -> Scale | None:
    """The scale that a column's header can name; None where rows have several."""
    found = set(scales)
    return found.pop() if len(found) == 1 else None


def p_value(p: float | None) -> str:
    """``p = 0.18``, ``p = 0.0012``, ``p < 1e-9``."""
    if p is None or not math.isfinite(p):
        return MISSING
    if p < 1e-9:
        return "p < 1e-9"
    if p < 1e-3:
        return f"p = {p:.0e}".replace("e-0", "e-")
    return f"p = {significant(min(p, 1.0), 2)}"


def fraction_of(text: str) -> float:
    """0.02 of ``2%`` and of ``0.02``. Raises `ValueError` for what is no number."""
    number = text.strip()
    return float(number[:-1]) / 100 if number.endswith("%") else float(number)


def as_name(text: str) -> str:
    """The name of a machine or a run without blanks around it. Raises `ValueError` for one that
    isn't a short line of printable characters."""
    name = text.strip()
    if not name.isprintable() or len(name) > LABEL_LIMIT:
        raise ValueError(
            f"{name[:LABEL_LIMIT]!r} can't be a name: "
            f"use one line of at most {LABEL_LIMIT} characters"
        )
    return name


def printable(text: str, limit: int | None = None) -> str:
    """Text from outside as one line: control characters escaped, cut to ``limit`` characters."""
    one_line = " ".join(text.split("\n")) if "\n" in text else text
    shown = one_line
    if not one_line.isprintable():
        shown = "".join(c if c.isprintable() else _escaped(c) for c in one_line)
    if limit is not None and len(shown) > limit:
        return shown[: max(0, limit - 1)] + "…"
    return shown


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
