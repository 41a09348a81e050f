"""Lineage for people: the table, the evidence in plain words; and as a raw row."""

from __future__ import annotations

from rich.text import Text

from bench.judge.lineage import Likeness, Lineage, sentences
from bench.numbers import NAME_LIMIT, printable
from bench.present.columns import LINEAGE_COLUMNS
from bench.present.deal import interval_row
from bench.present.layout import Figure, Line, lay_out, wrap
from bench.stats.interval import Interval


def lineage_text(found: Lineage, width: int = 80) -> Text:
    """Accuracies, likenesses and sentences, no line wider than ``width``."""
    quality = found.kind.quality_name
    text = Text(f"{quality[0].upper()}{quality[1:]} on the same {found.extent}\n")
    for name, accuracy in found.accuracies.items():
        value = f"{100 * accuracy.estimate:.1f} ±{100 * accuracy.half_width:.1f}%"
        said = f"  {value}  {printable(name, limit=NAME_LIMIT)} {_role(found, name)}"
        text.append(wrap(said, width, 4) + "\n")
    text.append(f"\n{printable(found.a, limit=40)} and {printable(found.b, limit=40)}\n")
    lines: list[Line] = []
    for likeness in found.likenesses:
        if likeness.value is not None:
            lines.extend(_lines(likeness))
    text.append_text(lay_out(LINEAGE_COLUMNS, {}, lines, width))
    for said in sentences(found):
        text.append("\n" + wrap(printable(said), width, indent=2) + "\n")
    return text


def _role(found: Lineage, name: str) -> str:
    if name in found.passed_over:
        return "not counted"
    return "control" if name in found.controls else ""


def _lines(likeness: Likeness) -> list[Line]:
    figures = {
        "value": _figure(likeness.value),
        "expected": _figure(likeness.expected),
        "excess": _figure(likeness.excess, signed=True),
    }
    found = [Line(likeness.name, " ", figures)]
    for name, value in likeness.controls.items():
        found.append(
            Line(f"  of A and {printable(name, limit=40)}", " ", {"value": _figure(value)})
        )
    return found


def _figure(found: Interval | None, *, signed: bool = False) -> Figure:
    if found is None:
        return Figure("–")
    value = f"{found.estimate:+.3f}" if signed else f"{found.estimate:.3f}"
    return Figure(value, f"±{found.half_width:.3f}")


def lineage_row(found: Lineage) -> dict[str, object]:
    """A lineage as JSON-ready data."""
    return {
        "compared": found.kind.key,
        "a": found.a,
        "b": found.b,
        "controls": list(found.controls),
        "passed_over": dict(found.passed_over),
        "controls_missing": found.missing,
        "examples": found.examples,
        "confidence": found.confidence,
        "accuracies": {name: interval_row(each) for name, each in found.accuracies.items()},
        "likenesses": {
            each.key: {
                "value": interval_row(each.value),
                "controls": {name: interval_row(c) for name, c in each.controls.items()},
                "b_with_controls": {name: interval_row(c) for name, c in each.beside.items()},
                "expected": interval_row(each.expected),
                "excess": interval_row(each.excess),
            }
            for each in found.likenesses
        },
        "p_beyond_controls": dict(found.beyond),
        "finding": found.finding,
        "withheld": found.withheld,
        "sentences": sentences(found),
    }
