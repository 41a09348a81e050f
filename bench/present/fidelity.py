"""Fidelity for people: one table for each distilled model, and what it says."""

from __future__ import annotations

import math

from rich.text import Text

from bench.judge.fidelity import Measure, Titled
from bench.numbers import NAME_LIMIT, enumerated, printable
from bench.present.columns import FIDELITY_COLUMNS
from bench.present.deal import interval_row
from bench.present.layout import Figure, Line, lay_out, wrap
from bench.stats.interval import Interval
from bench.variants import in_words


def fidelity_text(titled: Titled, width: int = 80) -> Text:
    """The table and one sentence, no line wider than ``width``."""
    found = titled.found
    student, original = _name(titled.student), _name(titled.original)
    variant = in_words(titled.variant)
    against = f", and {_name(titled.control)} trained without it" if titled.control else ""
    heading = (
        f"Is {student}{variant} still {original}? Likeness{against}; {found.examples} examples on "
        f"{_name(titled.target)}"
    )
    text = Text(wrap(heading, width, indent=2) + "\n")
    lines = [Line(m.name, " ", _figures(m)) for m in found.measures if m.value is not None]
    text.append_text(lay_out(FIDELITY_COLUMNS, {}, lines, width))
    for said in [sentence(titled), *limits(titled)]:
        text.append(wrap(said, width, indent=2) + "\n")
    return text


def _figures(measure: Measure) -> dict[str, Figure]:
    style = {"more": "green", "less": "red"}.get(measure.gained, "")
    return {
        "student": _figure(measure.value),
        "control": _figure(measure.control),
        "effect": _figure(measure.effect, signed=True, style=style),
    }


def _figure(found: Interval | None, *, signed: bool = False, style: str = "") -> Figure:
    if found is None:
        return Figure("–")
    side = found.half_width
    # Divergences of a model from its own precision forms are far below a thousandth.
    decimals = max(3, min(7, -math.floor(math.log10(side)))) if side > 0 else 3
    value = f"{found.estimate:{'+' if signed else ''}.{decimals}f}"
    return Figure(value, f"±{side:.{decimals}f}", style)


def sentence(titled: Titled) -> str:
    """What was measured on these examples, in plain words: with one control it tells nothing of
    where a model comes from (that is `bench.judge.lineage`'s question)."""
    begin = f"{_name(titled.student)} {_likeness_words(titled)}"
    if titled.control is None:
        return f"{begin}; there is no control to compare that with."
    return f"{begin}; {_effect_words(titled)}."


def limits(titled: Titled) -> list[str]:
    """Why distributions aren't among the measures, in words."""
    return [f"Their distributions are not compared: {why}." for why in titled.found.limits]


def _likeness_words(titled: Titled) -> str:
    original = _name(titled.original)
    for measure in titled.found.measures:
        if measure.says and measure.value is not None:
            return measure.says.format(original=original, value=measure.value.estimate)
    return f"was compared with {original}"


def _effect_words(titled: Titled) -> str:
    measures = [m for m in titled.found.measures if m.respect]
    more = [m.respect for m in measures if m.gained == "more"]
    less = [m.respect for m in measures if m.gained == "less"]
    control = _name(titled.control)
    if not more and not less:
        return f"no difference in similarity from {control} was established on these examples"
    words = "more" if more else "less"
    said = f"on these examples it is {words} like the original than {control} is in "
    said += enumerated(more or less)
    if more and less:
        said += f" and less so in {enumerated(less)}"
    return f"{said} (one control doesn't tell how much independent models differ)"


def _name(text: str | None) -> str:
    return printable(text or "", limit=NAME_LIMIT)


def fidelity_row(titled: Titled) -> dict[str, object]:
    """A fidelity as JSON-ready data."""
    found = titled.found
    return {
        "model": titled.student,
        "original": titled.original,
        "control": titled.control,
        "target": titled.target,
        "original_target": titled.against or titled.target,
        "variant": titled.variant,
        "examples": found.examples,
        "temperature": found.temperature,
        "measures": {
            m.key: {
                "value": interval_row(m.value),
                "control": interval_row(m.control),
                "effect": interval_row(m.effect),
                "distillation": m.gained,
            }
            for m in found.measures
        },
        "original_calibration_error": interval_row(found.original_calibration),
        "sentence": sentence(titled),
        "limits": limits(titled),
    }
