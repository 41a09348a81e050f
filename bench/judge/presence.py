"""Whether a run has what its baseline has: a target, model or device that is gone is no pass.

A driver that broke, a model that was renamed or a wildcard that found less leaves fewer cells to be
judged, and all that are left may pass. So a cell that the baseline has figures of and the run has
none of is *missing*, which fails unless the limits allow it.
"""

from __future__ import annotations

import shlex

from bench.cell import Cell
from bench.errors import Unavailable
from bench.judge.alike import READABLE, values_of
from bench.judge.finding import Finding, Limits, Outcome
from bench.judge.matching import Match, Matched, Side, sides
from bench.judge.sweeps import sweep_end
from bench.numbers import NAME_LIMIT, counted, printable
from bench.record.result import Record
from bench.record.sweeps import Swept
from bench.spec import AUTO
from bench.store.files import resuming
from bench.store.run import StoredRun

MESSAGE_LIMIT = 300
#: Of a cell that is broken where it has no figures now.
_WORKED = ("ok", "partial")
_WITHOUT_IT = "Measure it again, write the baseline without it, or use"
_ALLOW = "--allow-missing if that is intended"


def not_judged(match: Match, limits: Limits) -> Finding | None:
    """What there is to say of a cell of both sides that has no figures now, or had none before."""
    cell, before, now = match.b.cell, match.a.record, match.b.record
    if now is None:
        return _unfinished(cell, match.b, "run")
    worked = before is not None and before.standing in _WORKED
    if now.status == "failed":
        return _failed(now, limits, match.b.run) if worked else _failed_too(now)
    if now.wrong and before is not None and before.wrong:
        words = f"wrong outputs ({', '.join(now.wrong)}), as in the baseline."
        return Finding("ran", cell, Outcome.SKIPPED, words)
    if not worked:
        return Finding("ran", cell, Outcome.NEW, "works now; the baseline has no figures for it.")
    unfinished = _unfinished(cell, match.b, "run") or _unfinished(cell, match.a, "baseline")
    if unfinished is not None:
        return unfinished
    if now.simulated and before is not None and not before.simulated:
        words = "its device is simulated now and was real in the baseline."
        return _missing(cell, limits, words, "Measure on the device, or use")
    return None


def _unfinished(cell: Cell, side: Side, called: str) -> Finding | None:
    """Of what was planned and not measured, or not to its end; None where it was."""
    record = side.record
    if record is not None and not record.partial:
        return None
    words, short = "not measured.", ""
    if record is not None:
        so_far = counted(len(record.invocations), "invocation")
        short = f"the {called} was stopped early"
        words = f"{short}, after {so_far}."
    # The folder may be gone where this is read: in CI.
    advice = f"Measure it again, or resume it: {resuming(side.run.path)}."
    return Finding("ran", cell, Outcome.INCONCLUSIVE, words, advice, short=short)


def without_baseline(run: StoredRun, limits: Limits) -> list[Finding]:
    """What failed, or was not finished, in a run that is judged for itself."""
    found = (_alone(side, limits) for side in sides(run))
    return [finding for finding in found if finding is not None]


def _alone(side: Side, limits: Limits) -> Finding | None:
    record = side.record
    if record is None or record.status != "failed":
        return _unfinished(side.cell, side, "run")
    if _kind(record) == Unavailable.kind:
        return Finding("ran", record.cell, Outcome.SKIPPED, _failure_words(record))
    return _failed(record, limits, side.run)


def unmatched(matched: Matched, limits: Limits) -> list[Finding]:
    """Cells that only one side has."""
    return [
        *[_only_before(side, matched, limits) for side in matched.only_a],
        *[_only_now(side) for side in matched.only_b],
    ]


def _only_before(side: Side, matched: Matched, limits: Limits) -> Finding:
    cell = side.cell
    if side.record is None or side.record.standing not in _WORKED:
        words = "missing from this run; the baseline has no figures for it either."
        return Finding("ran", cell, Outcome.SKIPPED, words)
    swept_to, renamed = _swept_to(side, matched), _renamed(side, matched)
    if swept_to is not None and swept_to.sweep_end is None:
        # How far it goes is no promise: it ends where throughput stops rising, which noise moves.
        words = f"not measured: this run's sweep over the batch ended at {swept_to.cell.batch}."
        return Finding("ran", cell, Outcome.SKIPPED, words)
    if swept_to is not None and swept_to.sweep_end is not None:
        end = sweep_end(swept_to.sweep_end)
        words, advice = f"missing from this run, whose sweep over the batch {end}.", _WITHOUT_IT
    elif renamed:
        words = f"missing from this run, which has the same model as {renamed}."
        advice = "If it was renamed, write the baseline again, or use"
    else:
        words, advice = "missing from this run.", _WITHOUT_IT
    # Of two revisions that were measured in one run there is no baseline to write.
    return _missing(cell, limits, words, "Use" if any(matched.names) else advice)


def _swept_to(side: Side, matched: Matched) -> Record | None:
    """The largest batch of the run's sweep that ended before the batch of a cell; None where the
    run swept no such cells, or further."""
    sweep = Swept.key_of(side.cell)
    ours = [
        match.b.record
        for match in matched.matches
        if match.b.record is not None
        and match.b.run.header.suite.batch == AUTO
        and Swept.key_of(match.a.cell) == sweep
    ]
    largest = max(ours, key=lambda record: record.cell.batch, default=None)
    return largest if largest is not None and largest.cell.batch < side.cell.batch else None


def _renamed(side: Side, matched: Matched) -> str:
    """The name under which the run has what only the baseline has, where all but that is alike."""

    def but_for_its_name(cell: Cell) -> tuple[object, ...]:
        load = cell.variant, cell.target, cell.scenario, cell.batch
        return *load, *values_of(cell, (*READABLE, "model"))

    name, sought = side.cell.model.name, but_for_its_name(side.cell)
    others = (other.cell for other in matched.only_b if other.cell.model.name != name)
    alike = (cell for cell in others if but_for_its_name(cell) == sought)
    return next((printable(cell.model.name, NAME_LIMIT) for cell in alike), "")


def _only_now(side: Side) -> Finding:
    if side.record is not None and side.record.status == "failed":
        return Finding("ran", side.cell, Outcome.NEW, _failure_words(side.record))
    # Limits that need no baseline were not held against what isn't finished.
    new = Finding("ran", side.cell, Outcome.NEW, "not in the baseline.")
    return _unfinished(side.cell, side, "run") or new


def _missing(cell: Cell, limits: Limits, words: str, advice: str) -> Finding:
    if limits.allow_missing:
        return Finding("ran", cell, Outcome.SKIPPED, words)
    return Finding("ran", cell, Outcome.MISSING, words, f"{advice} {_ALLOW}.")


def _failed(record: Record, limits: Limits, run: StoredRun) -> Finding:
    """It worked before, or nothing is known of before: absent is another thing than broken."""
    words = _failure_words(record)
    if _kind(record) == Unavailable.kind:
        return _missing(record.cell, limits, words, "`bench doctor` shows what is present. Or use")
    advice = f"The page of `bench report {shlex.quote(str(run.path))}` has its log."
    return Finding("ran", record.cell, Outcome.ERROR, words, advice, short=printable(_kind(record)))


def _failed_too(record: Record) -> Finding:
    words = f"failed in the baseline too: {_failure_words(record)}"
    return Finding("ran", record.cell, Outcome.SKIPPED, words)


def _kind(record: Record) -> str:
    return record.failure.kind if record.failure else "failed"


def _failure_words(record: Record) -> str:
    kind = printable(_kind(record))
    message = printable(record.failure.message, limit=MESSAGE_LIMIT) if record.failure else ""
    return f"{kind}: {message}" if message else kind
