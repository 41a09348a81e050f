"""What another tool measured, as a run: one record a result, marked foreign.

A foreign record has no interval (one process can't support it), no validity check and no variant
that we know of; its target is named after the tool, so it is never taken for one of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from bench import __version__
from bench.arrays import Array
from bench.cell import Cell, ModelIdentity
from bench.errors import SpecError
from bench.numbers import printable
from bench.record.block import Block
from bench.record.header import RunHeader
from bench.record.result import Foreign, Record
from bench.scenarios import SINGLE_STREAM
from bench.spec import Suite
from bench.store.write import RunStore


@dataclass(frozen=True)
class Result:
    """One result: what was measured, what the tool says of it, and the timings it kept.

    ``samples_ns`` is int64 of shape (invocations, any) as a list of arrays; ``threads`` is 0 where
    the tool doesn't tell.
    """

    foreign: Foreign
    model: str
    device: str = "unknown"
    scenario: str = SINGLE_STREAM.name
    batch: int = 1
    threads: int = 0
    file_bytes: int = 0
    parameters: int | None = None
    samples_ns: Sequence[Array] = ()


@dataclass(frozen=True)
class ForeignRun:
    """All results of one file. ``facts`` are those of the machine that the file tells, by the
    names of `bench.machine.facts.MachineFacts`; ``measured_at`` is ISO 8601, or empty."""

    tool: str
    results: tuple[Result, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    measured_at: str = ""


class Reader(Protocol):
    """A format that can be read; a module of this package is one."""

    NAME: str

    def recognises(self, text: str) -> bool:
        """Whether a file's text is of this format. Never raises."""

    def read(self, text: str, source: str) -> ForeignRun:
        """Raises `KeyError`, `TypeError` or `ValueError` for what lacks a part of the format."""


@dataclass(frozen=True)
class Timings:
    """What samples of shape (any,) in ns say, for the fields of `Foreign`."""

    FIELDS: ClassVar = ("median_ns", "mean_ns", "stddev_ns", "min_ns", "max_ns")

    @staticmethod
    def of(samples_ns: Array) -> dict[str, float | None]:
        if not samples_ns.size:
            return dict.fromkeys(Timings.FIELDS)
        spread = float(samples_ns.std(ddof=1)) if samples_ns.size > 1 else None
        values = (np.median(samples_ns), samples_ns.mean(), samples_ns.min(), samples_ns.max())
        median, mean, least, most = (float(value) for value in values)
        return dict(zip(Timings.FIELDS, (median, mean, spread, least, most), strict=True))


def nanoseconds(values: Iterable[Any], unit_ns: float) -> Array:
    """Timings in some unit as int64 ns. Raises `ValueError` for what is no time."""
    array = np.array([float(value) for value in values], dtype=np.float64) * unit_ns
    if array.size and not (np.isfinite(array).all() and (array >= 0).all() and array.max() < 2**62):
        raise ValueError("a timing is negative or not finite")
    return np.rint(array).astype(np.int64)


def time_ns(value: Any, unit_ns: float) -> float | None:
    """One time in ns; None where there is none."""
    if value in (None, ""):
        return None
    return float(value) * unit_ns


def store(found: ForeignRun, results: Path, command: str) -> Path:
    """Write the results as a new run below ``results``; the run's directory."""
    records = [_record(result, found.measured_at) for result in found.results]
    records = list({record.cell_id: record for record in records}.values())
    header = RunHeader(
        bench_version=__version__,
        created_at=found.measured_at or datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        suite=Suite(name=found.tool),
        targets=tuple(dict.fromkeys(record.cell.target for record in records)),
        models=tuple(dict.fromkeys(record.cell.model.name for record in records)),
        facts=dict(found.facts),
        cells=tuple(record.cell for record in records),
    )
    run = RunStore.create(results, header)
    run.remedy = "convert the file again"
    try:
        blocks = [
            Block(_cell(result).id, index, 0, 0, samples_ns)
            for result in found.results
            for index, samples_ns in enumerate(result.samples_ns)
            if len(samples_ns)
        ]
        if blocks:
            run.write_samples("imported", blocks)
        for record in records:
            run.append_record(record)
    finally:
        run.close()
    return run.path


def read_foreign(path: Path, readers: Sequence[Reader], name: str | None) -> ForeignRun:
    """Read a file in the format called ``name``, or in the one that it is recognised as.

    Raises `SpecError` where it is of none, or lacks what its format has.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: can't be read as text: {error}.") from error
    chosen = [r for r in readers if name == r.NAME] if name else []
    chosen = chosen or [reader for reader in readers if reader.recognises(text)]
    if not chosen or (name and name != chosen[0].NAME):
        known = ", ".join(reader.NAME for reader in readers)
        raise SpecError(f"{path}: not a result file in a format that bench knows ({known}).")
    try:
        found = chosen[0].read(text, path.name)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        what = f"{type(error).__name__}: {printable(str(error), limit=120)}"
        raise SpecError(f"{path}: incomplete as a file of {chosen[0].NAME} ({what}).") from error
    if not found.results:
        raise SpecError(f"{path}: a file of {chosen[0].NAME} without results.")
    return found


def _cell(result: Result) -> Cell:
    model = ModelIdentity(
        name=result.model,
        sha256="",
        task="raw",
        file_bytes=result.file_bytes,
        parameters=result.parameters,
    )
    device = "".join(c if c.isprintable() and not c.isspace() else "-" for c in result.device)
    return Cell(
        model=model,
        target=f"{result.foreign.tool}:{device or 'unknown'}",
        scenario=result.scenario,
        batch=result.batch,
        shapes={},
        threads=result.threads,
        input_sha256="",
    )


def _record(result: Result, measured_at: str) -> Record:
    cell = _cell(result)
    return Record(
        cell_id=cell.id,
        cell=cell,
        status="ok",
        stop="foreign",
        device_name="" if result.device == "unknown" else result.device,
        runtime_version=result.foreign.version,
        foreign=result.foreign,
        finished_at=measured_at,
    )
