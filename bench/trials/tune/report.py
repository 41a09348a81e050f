"""What a tuning run found, for people and as raw rows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from bench.cell import Cell
from bench.errors import as_sentence
from bench.numbers import counted, duration, printable, ratio
from bench.present.columns import TUNE_COLUMNS
from bench.present.layout import MARKED, OK, Figure, Line, lay_out, wrap
from bench.record import estimate
from bench.record.result import Amount
from bench.scenarios import find_scenario
from bench.spec import Suite, flag_of
from bench.stats.stopping import Stated
from bench.store.raw import read_raw
from bench.store.run import StoredRun
from bench.trials.tune.joules import joules_of
from bench.trials.tune.kept import Entrant, Found, Gain, Tune
from bench.trials.tune.objective import Tried, find_objective
from bench.variants import DEFAULT

#: So many of those that can't be told apart are listed.
_LISTED = 12
_LIMIT = 300
#: Settings of a suite that say how energy is measured.
_METERING = ("energy_window_s", "wall_command", "wall_csv", "wall_zone", "wall_offset_s")


def tune_text(tune: Tune, run: StoredRun, width: int = 80) -> Text:
    """The set with the pick first, what it gains, and what was thrown out."""
    text = Text()
    found = tune.found
    if found is not None and found.pick:
        text.append_text(lay_out(TUNE_COLUMNS, {}, _lines(tune, run, found), width))
        text.append("\n")
    for said in sentences(tune, run):
        text.append(wrap(f"- {said}", width, indent=2) + "\n")
    line = suite_line(tune, run)
    if line:
        # Whole, however wide the terminal is: it is there to be pasted.
        text.append(f"\n{line}\n")
    return text


def _lines(tune: Tune, run: StoredRun, found: Found) -> list[Line]:
    cells = {cell.id: cell for cell in run.header.cells}
    head = cells[tune.default]
    figures_of = _figures(tune, run)
    lines = [Line(f"{printable(head.model.name)} on {printable(tune.asked.target)}")]
    for placed in found.best[:_LISTED]:
        figures = {
            "figure": Figure(figures_of.get(placed.cell_id, "")),
            "ratio": Figure(_times(placed.ratio) if placed.ratio is not None else "best so far"),
            "processes": Figure(str(placed.processes)),
        }
        mark = OK if placed.cell_id == found.pick else MARKED if placed.doubt else "·"
        lines.append(Line(tune.words(placed.cell_id), mark, figures))
    return lines


def _figures(tune: Tune, run: StoredRun) -> dict[str, str]:
    """What is measured of each configuration, over all its processes."""
    objective = find_objective(tune.asked.objective, tune.asked.latency_bound_ns)
    windows = read_raw(run).energy if objective.metered else []
    costs = objective.costs(_tried(run), windows)
    stated = Stated(0.95)
    found = {name: estimate.estimate(list(each.values()), stated) for name, each in costs.items()}
    return {name: objective.shown(one.value) for name, one in found.items() if one is not None}


def _tried(run: StoredRun) -> list[Tried]:
    """The configurations that were measured; of two records the last counts."""
    records = {r.cell_id: r for r in run.records}.values()
    return [(r.cell, r.invocations) for r in records if r.invocations and r.failure is None]


def _metered(tune: Tune, run: StoredRun) -> list[str]:
    """Which joules a race by energy compared, and how many of its windows didn't count."""
    if not _is_metered(tune):
        return []
    found = joules_of([cell for cell, _ in _tried(run)], read_raw(run).energy)
    said = [f"energies are {found.words}."] if found.words else []
    if found.invalid:
        why = "; ".join(f"{reason} ({count})" for reason, count in found.invalid.items())
        said.append(
            f"{sum(found.invalid.values())} of {counted(found.windows, 'window')} are invalid and "
            f"ignored: {printable(why, limit=_LIMIT)}."
        )
    return said


def _is_metered(tune: Tune) -> bool:
    return find_objective(tune.asked.objective, tune.asked.latency_bound_ns).metered


def _measured(tune: Tune) -> str:
    """What the costs are of."""
    return "valid windows" if _is_metered(tune) else "processes"


def _times(found: Amount) -> str:
    return ratio(found.value, found.low, found.high)


def sentences(tune: Tune, run: StoredRun) -> list[str]:
    """What was found, in plain words."""
    found = tune.found
    said: list[str] = []
    if found is None:
        said.append("no result yet: it was interrupted.")
    elif not found.pick:
        said.append(_nothing(tune, found, run))
    else:
        said += _chosen(tune, found, run)
    said += _metered(tune, run)
    said += _failures(tune, run)
    said += _thrown_out(tune)
    if tune.not_tried:
        count = counted(len(tune.not_tried), "configuration")
        said.append(f"{count} not tried: {as_sentence(next(iter(tune.not_tried.values())))}")
    if tune.beyond:
        said.append(f"{counted(tune.beyond, 'configuration')} more not planned at all.")
    return said


def _nothing(tune: Tune, found: Found, run: StoredRun) -> str:
    if not found.processes:
        return _none_left(tune, run) or (
            "no result: the time ran out before each configuration had three "
            f"{_measured(tune)}. Give a larger --max-time."
        )
    bound_ns = tune.asked.latency_bound_ns
    said = "no configuration can be returned."
    if bound_ns is not None:
        said = f"no configuration is shown to keep its p99 within {duration(bound_ns)}."
    if found.nearest is None:
        return said
    doubt = as_sentence(found.nearest.doubt)
    said += f" The best by its costs, {tune.words(found.nearest.cell_id)}: {doubt}"
    return said if found.over else f"{said} Give a longer --max-time."


def _none_left(tune: Tune, run: StoredRun) -> str:
    """What became of all that raced; empty where any of these is left."""
    raced = {one.cell_id for one in tune.racing}
    eliminated = raced & tune.thrown_out.keys()
    failed = raced & {r.cell_id for r in run.records if r.failure is not None} - eliminated
    if not raced or raced != eliminated | failed:
        return ""
    counts = (len(eliminated), "eliminated"), (len(failed), "failed")
    told = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"no result: no configuration is left ({told})."


def _chosen(tune: Tune, found: Found, run: StoredRun) -> list[str]:
    best = found.best
    pick = tune.words(best[0].cell_id)
    others = sum(not one.doubt for one in best) - 1
    apart = (
        f"{counted(others, 'other')} can't be distinguished from the best by more than the "
        "margin; among those with similar cost this is the simplest."
        if others
        else f"{counted(len(found.fallen), 'other')} that worked cost more by at least the margin."
    )
    said = [f"best for {tune.asked.objective}: {pick}. {apart}"]
    if len(best) > _LISTED:
        said.append(f"{len(best) - _LISTED} more are in tune.json.")
    if best[0].cell_id == tune.default:
        said.append("so nothing is gained over the default.")
    elif found.gain is not None:
        said.append(
            f"{_gained(tune, found.gain)} the default: measured again, {_proof(found.gain)}"
        )
    else:
        said.append(
            f"its gain over the default is unknown: {_not_compared(tune, run, tune.default)}"
        )
    said += _against(tune, found, run)
    doubts = dict.fromkeys(one.doubt for one in best if one.doubt)
    said += [
        f"marked {MARKED} in the table: {as_sentence(printable(doubt, limit=_LIMIT))}"
        for doubt in doubts
    ]
    if not found.over:
        said.append(
            "the race was not decided when the time ran out: a longer --max-time may leave fewer."
        )
    return said


def _against(tune: Tune, found: Found, run: StoredRun) -> list[str]:
    """The pick beside the configurations of ``--against``."""
    said = [
        f"{_gained(tune, gain)} {tune.words(gain.over)}: {_proof(gain)}" for gain in found.against
    ]
    compared = {found.pick, *(gain.over for gain in found.against)}
    for one in tune.against:
        if one.cell_id == found.pick:
            said.append(f"{one.words} is the configuration given with --against.")
        elif one.cell_id not in compared:
            why = _not_compared(tune, run, one.cell_id)
            said.append(f"it is not compared with {one.words}: {why}")
    return said


def _not_compared(tune: Tune, run: StoredRun, cell_id: str) -> str:
    """Why the confirmation doesn't compare the pick with a configuration."""
    if cell_id in tune.thrown_out:
        return f"{tune.words(cell_id)} was eliminated."
    failure = next((r.failure for r in run.records if r.cell_id == cell_id and r.failure), None)
    if failure is not None:
        return f"{tune.words(cell_id)} failed ({failure.kind})."
    return (
        f"fewer than two {_measured(tune)} of each were measured again, and what was measured "
        "during selection favours the pick."
    )


def _gained(tune: Tune, gain: Gain) -> str:
    """``1.23x (1.20–1.26) of``: how many times less the pick costs."""
    words = _times(gain.ratio)
    if gain.ratio.low > 1:
        return f"{words} better than"
    return f"{words} better or worse than" if gain.ratio.high >= 1 else f"{words}, worse than"


def _proof(gain: Gain) -> str:
    plural = "es" if gain.processes != 1 else ""
    return f"in {gain.processes:,} process{plural} of each that were not used for the choice."


def _failures(tune: Tune, run: StoredRun) -> list[str]:
    failed = [r for r in run.records if r.failure is not None]
    return [
        f"{tune.words(r.cell_id)} failed ({r.failure.kind}): "
        f"{as_sentence(printable(r.failure.message, limit=_LIMIT))}"
        for r in failed
        if r.failure is not None
    ]


def _thrown_out(tune: Tune) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for cell_id, why in tune.thrown_out.items():
        reasons.setdefault(why, []).append(tune.words(cell_id))
    return [
        f"eliminated: {names[0]}"
        + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        + f": {as_sentence(printable(why, limit=_LIMIT))}"
        for why, names in reasons.items()
    ]


def suite_line(tune: Tune, run: StoredRun) -> str:
    """What measures the pick again; empty where there is none."""
    if tune.found is None or not tune.found.pick:
        return ""
    cell = next(c for c in run.header.cells if c.id == tune.found.pick)
    return command_line(cell, run)


def command_line(cell: Cell, run: StoredRun) -> str:
    """``bench run ...`` for one cell: the same cell, measured by the same meters."""
    suite = run.header.suite
    words = ["bench", "run", "-m", run.header.models[0], "-t", cell.target]
    words += ["--scenario", cell.scenario, "--threads", str(cell.threads)]
    if not find_scenario(cell.scenario).one_sample:
        words += ["--batch", str(cell.batch)]
    if cell.variant != DEFAULT:
        words += ["--variant", cell.variant]
    for name, size in suite.shapes.items():
        words += ["--shape", f"{name}={size}"]
    if suite.batch_axis is not None:
        words += ["--batch-axis", suite.batch_axis]
    if suite.seed != _default("seed"):
        words += ["--seed", str(suite.seed)]
    if suite.cell_timeout_s > _default("cell_timeout_s"):
        words += ["--cell-timeout", _as_flag(suite.cell_timeout_s)]
    return shlex.join([*words, *_metering(suite)])


def _metering(suite: Suite) -> list[str]:
    """The flags of a run that measures energy as the suite does."""
    if not suite.energy:
        return []
    given = [name for name in _METERING if getattr(suite, name) != _default(name)]
    # Each is one word: a negative time would be taken for a flag.
    return ["--energy", *(f"{flag_of(name)}={_as_flag(getattr(suite, name))}" for name in given)]


def _as_flag(value: Any) -> str:
    """A setting as the terminal takes it: seconds without an exponent."""
    return f"{value:.12g}s" if isinstance(value, float) else str(value)


def _default(name: str) -> Any:
    return Suite.model_fields[name].default


def tune_rows(tune: Tune, run: StoredRun) -> dict[str, object]:
    """The same as raw values."""
    return {
        "run": str(run.path),
        "tune": tune.model_dump(mode="json"),
        "configurations": _named(tune.entrants),
        "command": suite_line(tune, run),
    }


def _named(entrants: Sequence[Entrant]) -> dict[str, str]:
    return {one.cell_id: one.words for one in entrants}
