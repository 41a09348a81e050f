"""Energies for people: a table of their own, with what each is the energy of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.text import Text

from bench.judge.alike import UNUSUAL, Alike, Setting, settings_in_words, settings_of
from bench.judge.energy import EnergyEffect, Way
from bench.judge.matching import Side
from bench.numbers import (
    ENERGY_UNITS,
    NAME_LIMIT,
    POWER_UNITS,
    Unit,
    column_unit,
    half_width,
    in_unit,
    percent,
    printable,
    ratio_parts,
)
from bench.present.columns import COMPARED_ENERGY_COLUMNS, ENERGY_COLUMNS
from bench.present.compared_rows import by_heading, labels, target_label
from bench.present.layout import MARKED, NOTHING, OK, Figure, Line, lay_out, wrap
from bench.record.result import Energy, Estimate, Record
from bench.variants import suffix

#: Net energies that may be nothing: above idle, and not surely.
AT_IDLE = "at idle"
SCOPES = {
    "gpu-board": "gpu-board: the GPU's board as NVML reports it, without the host",
    "npu": "npu: the NPU as npu-smi reports it",
    "package": "package: the CPUs as RAPL reports them, without their memory",
    "wall": "wall: everything behind the wall meter",
    "dram": "dram: the memory as RAPL reports it",
    "platform": "platform: RAPL's psys, the packages included",
}
#: How an energy was read, by the kind of the readings.
_READ = {"counter": "read from counters", "power": "integrated from power readings"}
_LONGEST_REASON = 120


def way_words(way: Way) -> str:
    """``package, read from counters``: what energies are of, and how they were read."""
    scope, kind = way
    return f"{scope}, {_READ[kind]}"


def energies_of(records: Sequence[Record]) -> list[tuple[Record, Energy]]:
    """The latest record of each cell with each of its energies."""
    latest = {record.cell_id: record for record in records}.values()
    return [(record, energy) for record in latest for energy in record.energy]


def energy_table(records: Sequence[Record], width: int = 80) -> Text:
    """A line a cell and scope; energies of a sample, since a query's depend on its batch."""
    found = energies_of(records)
    units = {
        "gross": column_unit([_a_sample(e, e.gross_j) for _, e in found], ENERGY_UNITS),
        "power": column_unit([_value(e.power_w) for _, e in found], POWER_UNITS),
    }
    alike = Alike(record.cell for record, _ in found)
    lines: list[Line] = []
    heading = ""
    for record, energy in found:
        name = printable(record.cell.model.name, limit=NAME_LIMIT) + suffix(record.cell.variant)
        if name != heading:
            lines.append(Line(name))
            heading = name
        lines.append(_line(record, energy, units, alike.apart(record.cell)))
    titles = {
        "gross": units["gross"].name,
        "net": units["gross"].name,
        "token": units["gross"].name,
        "net_token": units["gross"].name,
        "power": units["power"].name,
        "idle": units["power"].name,
    }
    text = Text("Energy per sample\n")
    text.append_text(lay_out(ENERGY_COLUMNS, titles, lines, width))
    text.append("\n")
    for note in notes(found):
        text.append(wrap(note, width, indent=2) + "\n", style="dim")
    return text


def _line(record: Record, energy: Energy, units: dict[str, Unit], apart: Sequence[Setting]) -> Line:
    cell = record.cell
    parts = [printable(cell.target, limit=NAME_LIMIT), energy.scope]
    if cell.scenario != "single-stream":
        parts.append(cell.scenario)
    if cell.batch != 1:
        parts.append(f"batch {cell.batch}")
    parts.append(settings_in_words(settings_of(cell, UNUSUAL), apart))
    label = ", ".join(filter(None, parts))
    if energy.gross_j is None:
        return Line(label, MARKED, message=printable(energy.missing, limit=_LONGEST_REASON))
    figures = {
        "gross": _figure(energy.gross_j, units["gross"], energy.samples),
        "net": _net(energy, units["gross"], energy.samples),
        "power": _figure(energy.power_w, units["power"], 1),
        "idle": _figure(energy.idle_w, units["power"], 1),
        "windows": Figure(f"{len(energy.rounds)}/{energy.windows}"),
    }
    if energy.tokens:
        figures["token"] = _figure(energy.gross_j, units["gross"], energy.tokens)
        figures["net_token"] = _net(energy, units["gross"], energy.tokens)
    return Line(label, OK if not energy.invalid else MARKED, figures)


def _net(energy: Energy, unit: Unit, per: int) -> Figure:
    if energy.net_j is not None and not energy.above_idle:
        return Figure(AT_IDLE, style="yellow")
    return _figure(energy.net_j, unit, per)


def _figure(found: Estimate | None, unit: Unit, per: int) -> Figure:
    if found is None:
        return NOTHING
    width = half_width(found.value, found.low, found.high)
    return Figure(in_unit(found.value / per, unit), width)


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value


def _a_sample(energy: Energy, found: Estimate | None) -> float | None:
    return None if found is None else found.value / energy.samples


def notes(found: Sequence[tuple[Record, Energy]]) -> list[str]:
    """What the scopes are, how they were read, and what was left out."""
    said = [f"{SCOPES[scope]}." for scope in dict.fromkeys(e.scope for _, e in found)]
    said.append(
        "Net is gross minus the energy of idling, measured before and after in the same way; "
        f"{AT_IDLE}: not measurably above zero."
    )
    by_power = [e for _, e in found if e.kind == "power" and e.gross_j]
    if by_power:
        said.append(
            "Power readings are integrated by the trapezoidal rule; all else comes from counters."
        )
    unsure = [e.resolution for _, e in found if e.resolution]
    if unsure:
        said.append(
            f"The time of a counter's update is uncertain by up to {percent(max(unsure))} of a "
            "window."
        )
    reasons: dict[str, int] = {}
    for _, energy in found:
        for why in energy.invalid:
            reasons[why] = max(reasons.get(why, 0), energy.invalid[why])
    said += [
        f"Windows left out, up to {count} per cell: {printable(why, limit=_LONGEST_REASON)}."
        for why, count in reasons.items()
    ]
    return said


def compared_energy_table(
    effects: Sequence[EnergyEffect],
    width: int = 80,
    name: str = "the second",
    *,
    several_machines: bool = False,
) -> Text:
    """How two sides' energies compare; ``name`` is what the second is called."""
    unit = column_unit([x for e in effects for x in (e.a, e.b)], ENERGY_UNITS)
    lines: list[Line] = []
    called = partial(_compared_label, several_machines=several_machines)
    for heading, group in by_heading(effects).items():
        lines.append(Line(heading))
        for label, effect in zip(labels(group, called), group, strict=True):
            value, interval = ratio_parts(
                effect.ratio.estimate, effect.ratio.low, effect.ratio.high
            )
            style = {"less": "green", "more": "red"}.get(effect.verdict, "")
            figures = {
                "change": Figure(f"{in_unit(effect.a, unit)} → {in_unit(effect.b, unit)}"),
                "ratio": Figure(value, interval, style),
                "verdict": Figure(effect.verdict, style=style),
            }
            lines.append(Line(f"{label}, {effect.scope}", " ", figures))
    title = f"Energy per sample, gross (ratio below 1: {name} takes less)"
    text = Text(wrap(title, width, indent=2) + "\n")
    return text.append_text(lay_out(COMPARED_ENERGY_COLUMNS, {"change": unit.name}, lines, width))


def _compared_label(one: Side, *, several_machines: bool) -> str:
    """With the whole load: energies of a query and of a batch are in one table."""
    cell = one.cell
    target = target_label(one, several_machines=several_machines)
    settings = settings_in_words(settings_of(cell, UNUSUAL))
    return ", ".join(filter(None, (target, f"{cell.scenario} batch {cell.batch}", settings)))
