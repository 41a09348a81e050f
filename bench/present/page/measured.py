"""How it was measured: the machine, the suite, the checks, and what else the machine did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.judge.alike import Alike
from bench.numbers import TIME_UNITS, column_unit, duration, in_unit, printable, significant, size
from bench.present.page.draw import DASHES, checked, layout, plain_axis
from bench.present.page.names import NEUTRAL, in_picture, lane_label, shown
from bench.present.page.parts import Column, Entry, Picture, Section, Table, number_entry
from bench.present.told import told
from bench.record.result import Record
from bench.store.run import StoredRun

_NOISE_HEIGHT = 300
_MOST_POINTS = 400
_MOST_GROUPS = 6
_NO_GROUP = "all cells"
_MOST_CELLS = 6
_FACT_LIMIT = 300
#: What a check asks, in a reader's words (docs/method.md, "Marks").
_ASKS = {
    "complete": "was the cell measured to its end?",
    "steady-state": "did every invocation settle in its warm-up?",
    "undisturbed": "were at most a quarter of the blocks disturbed by other load?",
    "own-cpu": "did workers have the CPUs that they were timed on for themselves?",
    "placement": "did every node run on the device that the row names?",
    "parity": "do the timed session's outputs agree with the reference's?",
    "accuracy": "could the labelled data be scored?",
    "sanity": "does the score look like that of the right model on the right data?",
    "precision": "does it compute in the precision that the variant names?",
}


def section(
    run: StoredRun, records: Sequence[Record], warnings: Sequence[str], prefix: str
) -> Section:
    """Environment, validity and noise of one run."""
    noise = _noise(records, f"{prefix}noise")
    checks = _checks(records, f"{prefix}checks")
    return Section(
        f"{prefix}measured",
        "How it was measured",
        paragraphs=(*_words(records), *told(records)),
        pictures=(noise,) if noise else (),
        tables=(
            *((checks,) if checks.rows else ()),
            _environment(run, f"{prefix}environment"),
        ),
        remarks=tuple(f"Not read: {printable(text, limit=300)}" for text in warnings),
    )


def _words(records: Sequence[Record]) -> tuple[str, ...]:
    counts = [len(r.invocations) for r in records if r.invocations]
    blocks = sum(i.blocks for r in records for i in r.invocations)
    disturbed = sum(i.disturbed_blocks for r in records for i in r.invocations)
    if not counts or not blocks:
        return ()
    each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return (
        f"Each cell was measured by {each} processes (invocations), in short blocks that cells of "
        f"a group took in random turn. Other load disturbed {disturbed:,} of {blocks:,} blocks "
        f"({disturbed / blocks:.1%}); figures come from the others.",
    )


# -- noise ----------------------------------------------------------------------------------------


def canary_by_group(records: Sequence[Record]) -> dict[str, dict[int, tuple[float, float]]]:
    """By group and generation: the canary's median in ns, and the share of disturbed blocks."""
    found: dict[str, dict[int, tuple[float, int, int]]] = {}
    for record in records:
        group = found.setdefault(record.group, {})
        for invocation in record.invocations:
            if invocation.canary_ns:
                _, hit, all_ = group.get(invocation.index, (0.0, 0, 0))
                hit, all_ = hit + invocation.disturbed_blocks, all_ + invocation.blocks
                group[invocation.index] = (invocation.canary_ns, hit, all_)
    return {
        name: {index: (ns, hit / max(1, all_)) for index, (ns, hit, all_) in sorted(group.items())}
        for name, group in found.items()
        if group
    }


_Canary = Mapping[str, Mapping[int, tuple[float, float]]]


def _noise(records: Sequence[Record], name: str) -> Picture | None:
    found = canary_by_group(records)
    if not found:
        return None
    drawn = {
        group: dict(list(points.items())[:_MOST_POINTS])
        for group, points in list(found.items())[:_MOST_GROUPS]
    }
    every = [ns for points in found.values() for ns, _ in points.values()]
    low, high = min(every), max(every)
    more = f" Drawn are {len(drawn)} of {len(found)} groups." if len(found) > len(drawn) else ""
    return Picture(
        name=name,
        title="Machine drift during the run",
        words="The same small piece of work (the canary), timed in every round: level means that "
        "the machine stayed the same. Larger marks: other load disturbed more blocks. It took "
        f"{duration(low)} to {duration(high)}, {significant(100 * (high / low - 1), 2)}% apart."
        f"{more}",
        spec=checked(_noise_spec(drawn, every)),
        table=_noise_table(drawn, f"{name}-data"),
        height=_NOISE_HEIGHT,
        wide=True,
    )


def _noise_spec(drawn: _Canary, every: Sequence[float]) -> dict[str, Any]:
    typical = float(np.median(every))
    # A machine that stays within 5% is to look level.
    edge = max(0.05, 1.15 * max(abs(ns / typical - 1) for ns in every))
    several = len(drawn) > 1
    return {
        "data": [
            _noise_trace(group, points, typical, DASHES[number % len(DASHES)])
            for number, (group, points) in enumerate(drawn.items())
        ],
        "layout": layout(
            _NOISE_HEIGHT,
            xaxis=plain_axis("Round", nticks=8, tickformat="d"),
            yaxis=plain_axis(
                "Drift from the median", tickformat="+.0%", range=[-edge, edge], nticks=6
            ),
            showlegend=several,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 11}},
            margin={"l": 8, "r": 14, "t": 30 if several else 8, "b": 46},
        ),
    }


def _noise_trace(
    group: str, points: Mapping[int, tuple[float, float]], typical: float, dash: str
) -> dict[str, Any]:
    label = in_picture(group or _NO_GROUP)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label,
        "x": [index + 1 for index in points],
        "y": [ns / typical - 1 for ns, _ in points.values()],
        "line": {"color": NEUTRAL, "width": 1.3, "dash": dash},
        "marker": {"color": NEUTRAL, "size": [5 + 14 * share for _, share in points.values()]},
        "hoverinfo": "text",
        "hovertext": [
            f"<b>{label}</b><br>round {index + 1}: {duration(ns)}<br>"
            f"{share:.0%} of the blocks disturbed"
            for index, (ns, share) in points.items()
        ],
    }


def _noise_table(drawn: _Canary, name: str) -> Table:
    unit = column_unit([ns for p in drawn.values() for ns, _ in p.values()], TIME_UNITS)
    columns = (
        Column(("group",), "Group"),
        Column(("generation",), "Round", numeric=True),
        Column(("canary_ns",), "Time", unit.name, numeric=True),
        Column(("disturbed_share",), "Disturbed", "%", numeric=True),
    )
    rows = tuple(
        (
            Entry(shown(group or _NO_GROUP)),
            number_entry(index + 1),
            Entry(in_unit(ns, unit), values=(ns,)),
            Entry(f"{100 * share:.0f}", values=(share,)),
        )
        for group, points in drawn.items()
        for index, (ns, share) in points.items()
    )
    return Table(name, "Machine drift, round by round", columns, rows)


# -- checks and environment -----------------------------------------------------------------------


def _checks(records: Sequence[Record], name: str) -> Table:
    found: dict[str, list[tuple[Record, bool, str]]] = {}
    for record in records:
        for check in record.checks:
            found.setdefault(check.name, []).append((record, check.ok, check.detail))
    columns = (
        Column(("check",), "Check"),
        Column(("asks",), "What it asks"),
        Column(("ok",), "Passed", numeric=True),
        Column(("failed",), "Failed", numeric=True),
        Column(("which",), "Where it failed"),
    )
    alike = Alike(record.cell for record in records)
    rows = []
    for check_name, results in sorted(found.items()):
        bad = [(record, detail) for record, ok, detail in results if not ok]
        rows.append(
            (
                Entry(printable(check_name, limit=60)),
                Entry(_ASKS.get(check_name, "")),
                number_entry(len(results) - len(bad)),
                Entry(str(len(bad)), values=(len(bad),), tone="warn" if bad else "dim"),
                Entry(_where(bad, alike)),
            )
        )
    return Table(name, "Validity checks: what fails is marked, and kept", columns, tuple(rows))


def _where(bad: Sequence[tuple[Record, str]], alike: Alike) -> str:
    named = [
        f"{lane_label(cell, alike.apart(cell))} {cell.scenario} batch {cell.batch}: "
        f"{printable(detail, limit=200)}"
        for cell, detail in ((record.cell, detail) for record, detail in bad[:_MOST_CELLS])
    ]
    more = f"; and {len(bad) - _MOST_CELLS} more" if len(bad) > _MOST_CELLS else ""
    return "; ".join(named) + more


def _environment(run: StoredRun, name: str) -> Table:
    header = run.header
    facts = header.facts
    devices = dict.fromkeys(
        f"{record.cell.target}: {record.device_name}, {record.runtime_version}"
        for record in run.records
        if record.device_name
    )
    suite = header.suite
    pairs: list[tuple[str, object]] = [
        ("Run", run.path.name),
        ("Begun", header.created_at),
        ("Command", header.command),
        ("Processor", facts.get("cpu_model")),
        ("Cores", _cores(facts)),
        ("Memory", size(facts["memory_total_bytes"]) if facts.get("memory_total_bytes") else None),
        ("Governor", facts.get("governor")),
        ("Load at the start", facts.get("load_average")),
        ("System", " ".join(str(facts[k]) for k in ("os", "kernel") if facts.get(k))),
        ("Virtualisation", facts.get("virtualisation")),
        ("Container", facts.get("container")),
        ("GPUs", facts.get("gpus")),
        ("Python", facts.get("python")),
        ("Devices", "; ".join(list(devices)[:20])),
        ("Packages", _packages(facts.get("packages"))),
        ("bench", f"{header.bench_version} {facts.get('git_commit') or ''}".strip()),
        (
            "Asked for",
            f"intervals of ±{suite.precision:.1%} at {suite.confidence:.0%}, at most "
            f"{suite.max_time_s:g} s and {suite.max_invocations} invocations a cell, goal "
            f"{suite.goal}",
        ),
        ("Machine id", facts.get("machine_id")),
    ]
    rows = tuple(
        (Entry(what), Entry(_fact(value))) for what, value in pairs if value not in (None, "", [])
    )
    columns = (Column(("fact",), "What"), Column(("value",), "Value"))
    return Table(name, "Environment", columns, rows)


def _cores(facts: Mapping[str, Any]) -> str:
    physical, logical = facts.get("physical_cores"), facts.get("logical_cores")
    return f"{physical} physical, {logical} logical" if physical and logical else ""


def _packages(packages: object) -> str:
    if not isinstance(packages, dict):
        return ""
    return ", ".join(f"{name} {version}" for name, version in sorted(packages.items()))


def _fact(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return printable(text, limit=4 * _FACT_LIMIT)
