"""Energy: what a sample takes, with idling and without."""

from __future__ import annotations

from collections.abc import Sequence

from bench.judge.alike import Alike, Setting
from bench.numbers import ENERGY_UNITS, POWER_UNITS, Unit, column_unit, half_width, in_unit
from bench.present.energy import AT_IDLE, energies_of, notes
from bench.present.page.names import model_and_variant, target_words
from bench.present.page.parts import Column, Entry, Section, Table, number_entry
from bench.record.result import Energy, Estimate, Record


def section(records: Sequence[Record], prefix: str) -> Section:
    """A table of all energies; empty where none were measured."""
    found = energies_of(records)
    if not found:
        return Section(f"{prefix}energy", "Energy")
    return Section(
        f"{prefix}energy",
        "Energy",
        tables=(_table(found, f"{prefix}energy-data"),),
        remarks=tuple(notes(found)),
    )


def _table(found: Sequence[tuple[Record, Energy]], name: str) -> Table:
    values = [e.gross_j.value / e.samples for _, e in found if e.gross_j]
    joules = column_unit(values, ENERGY_UNITS)
    tokens = any(e.tokens for _, e in found)
    watts = column_unit([e.power_w.value for _, e in found if e.power_w], POWER_UNITS)
    columns = (
        Column(("model",), "Model"),
        Column(("target",), "Target"),
        Column(("scenario",), "Scenario"),
        Column(("batch",), "Batch", numeric=True),
        Column(("scope",), "Energy of"),
        Column(("gross_j", "gross_low_j", "gross_high_j"), "Gross", joules.name, numeric=True),
        Column(("net_j", "net_low_j", "net_high_j"), "Net", joules.name, numeric=True),
        *(_token_columns(joules.name) if tokens else ()),
        Column(("power_w", "power_low_w", "power_high_w"), "Power", watts.name, numeric=True),
        Column(("idle_w", "idle_low_w", "idle_high_w"), "Idle", watts.name, numeric=True),
        Column(("valid_windows",), "Windows", numeric=True),
        Column(("missing",), "Why none"),
    )
    alike = Alike(record.cell for record, _ in found)
    rows = tuple(
        _row(record, alike.apart(record.cell), energy, joules, watts, tokens=tokens)
        for record, energy in found
    )
    return Table(name, "Energy of a sample", columns, rows)


def _token_columns(unit: str) -> tuple[Column, ...]:
    keys = (("token_j", "Per token"), ("net_token_j", "Net per token"))
    return tuple(
        Column((key, f"{key[:-2]}_low_j", f"{key[:-2]}_high_j"), title, unit, numeric=True)
        for key, title in keys
    )


def _row(
    record: Record,
    apart: Sequence[Setting],
    energy: Energy,
    joules: Unit,
    watts: Unit,
    *,
    tokens: bool,
) -> tuple[Entry, ...]:
    of_a_token = (
        _entry(energy.gross_j if energy.tokens else None, joules, energy.tokens or 1),
        _net(energy, joules, energy.tokens),
    )
    return (
        Entry(model_and_variant(record.cell)),
        Entry(target_words(record.cell, apart)),
        Entry(record.cell.scenario),
        number_entry(record.cell.batch),
        Entry(energy.scope),
        _entry(energy.gross_j, joules, energy.samples),
        _net(energy, joules, energy.samples),
        *(of_a_token if tokens else ()),
        _entry(energy.power_w, watts, 1),
        _entry(energy.idle_w, watts, 1),
        number_entry(len(energy.rounds)),
        Entry(energy.missing),
    )


def _net(energy: Energy, unit: Unit, per: int | None) -> Entry:
    """Above idle, as far as that is measurable; of so many, or of none."""
    net = _entry(energy.net_j if per else None, unit, per or 1)
    at_idle = per and energy.net_j is not None and not energy.above_idle
    return Entry(AT_IDLE, values=net.values, tone="warn") if at_idle else net


def _entry(found: Estimate | None, unit: Unit, per: int) -> Entry:
    if found is None:
        return Entry("-", values=(None, None, None), tone="dim")
    value, low, high = (x / per for x in (found.value, found.low, found.high))
    width = half_width(found.value, found.low, found.high)
    return Entry(in_unit(value, unit), width, (value, low, high))
