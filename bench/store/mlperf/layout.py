"""A pack: the folder that MLPerf Inference's submission checker reads (mlcommons/inference,
tools/submission/submission_checker/constants.py, v6.0 and v6.1), from the tests of a run.

It is not a submission: MLCommons takes those from its members and test partners alone, and reviews
them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import SpecError
from bench.files import file_stem, write_text
from bench.record.loadgen import LoadGenSaid
from bench.record.result import Record
from bench.store.mlperf.system import describe_implementation, describe_system
from bench.store.run import StoredRun
from bench.variants import suffix

DIVISION = "open"
SUMMARY, DETAIL = "mlperf_log_summary.txt", "mlperf_log_detail.txt"
ACCURACY = "mlperf_log_accuracy.json"
#: What is kept of an accuracy log at either end (tools/submission/truncate_accuracy_log.py).
_VIEWABLE = 4096
NOTICE = (
    "Laid out by bench from its own run. This is neither a submission to MLPerf nor an MLPerf "
    "result. Unverified: result not verified by MLCommons Association.\n"
)


@dataclass(frozen=True)
class Asked:
    """What a user has to say of a pack."""

    submitter: str
    status: str  #: available, preview or rdi
    system_type: str  #: edge, datacenter, or both
    system_name: str
    benchmark: str = ""  #: the official benchmark by whose rules it is checked
    system: Mapping[str, Any] = field(default_factory=dict)  #: fields of the system's description


@dataclass(frozen=True)
class Packed:
    """One test in a pack."""

    folder: str  #: relative to the pack
    said: LoadGenSaid
    accuracy: bool  #: whether there is an accuracy test beside it


def pack(run: StoredRun, cells: Sequence[str], asked: Asked, folder: Path) -> list[Packed]:
    """Write a pack into ``folder``, which is empty or not there.

    Raises `SpecError` where the run has no test of LoadGen, its logs are gone, or two cells would
    be one result.
    """
    chosen = _chosen(run, cells)
    _refuse_used(folder)
    top = folder / DIVISION / file_stem(asked.submitter)
    packed: list[Packed] = []
    for (system, benchmark, scenario), (record, said) in chosen.items():
        at = top / "results" / system / benchmark / scenario
        _copy_test(run, record, said, at)
        write_text(at / "README.md", _readme(run, record, said))
        write_text(at / "user.conf", _user_conf(record, said))
        write_text(at / "measurements.json", _json(describe_implementation(record)))
        told = {
            "division": DIVISION,
            "submitter": file_stem(asked.submitter),
            "status": asked.status,
            "system_type": asked.system_type,
            "system_name": asked.system_name,
        }
        described = describe_system(run, record, told, asked.system)
        _write(top / "systems" / f"{system}.json", _json(described))
        _write(top / "src" / benchmark / "README.md", f"{NOTICE}\n    {run.header.command}\n")
        packed.append(Packed(str(at.relative_to(folder)), said, (at / "accuracy").is_dir()))
    if asked.benchmark:
        names = dict.fromkeys((benchmark for _, benchmark, _ in chosen), asked.benchmark)
        _write(top / "model_mapping.json", _json(names))
    _write(folder / "NOTICE.txt", NOTICE)
    return packed


#: System, benchmark and scenario, as their folders are called.
_Place = tuple[str, str, str]


def _chosen(run: StoredRun, cells: Sequence[str]) -> dict[_Place, tuple[Record, LoadGenSaid]]:
    """The records that are packed, by their places, each with the test that stands for it."""
    found: dict[_Place, tuple[Record, LoadGenSaid]] = {}
    latest = {record.cell_id: record for record in run.records}.values()
    for record in latest:
        told = [one.loadgen for one in record.invocations if one.loadgen is not None]
        if not told or (cells and not any(record.cell_id.startswith(text) for text in cells)):
            continue
        cell = record.cell
        benchmark = file_stem(f"{cell.model.name}{suffix(cell.variant)}")
        place = file_stem(cell.target), benchmark, told[0].scenario
        if place in found:
            raise SpecError(
                f"two cells would be one result, {'/'.join(place)}: {found[place][0].cell_id} "
                f"(batch {found[place][0].cell.batch}) and {record.cell_id} (batch {cell.batch}). "
                "Name one of them with --cell."
            )
        # The first that is valid, as a submitter would run again until one is.
        found[place] = record, next((one for one in told if one.valid), told[0])
    if not found:
        which = "such cell" if cells else "cell"
        raise SpecError(
            f"{run.path} has no {which} driven by LoadGen, so there is nothing to pack. Measure "
            "with: bench run --driver loadgen."
        )
    return found


def _refuse_used(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{folder} already exists. Name an empty or new folder.")


def _copy_test(run: StoredRun, record: Record, said: LoadGenSaid, at: Path) -> None:
    performance = at / "performance" / "run_1"
    _copy(run.path / said.logs, performance, (SUMMARY, DETAIL))
    logs = run.path / "loadgen" / record.cell_id / "accuracy"
    if not logs.is_dir():
        return
    _copy(logs, at / "accuracy", (SUMMARY, DETAIL))
    data = _read(logs / ACCURACY)
    # Cut like MLPerf's own tool does it, with the digest of the whole beside it.
    short = data if len(data) < _VIEWABLE else data[:_VIEWABLE] + b"\n\n...\n\n" + data[-_VIEWABLE:]
    (at / "accuracy" / ACCURACY).write_bytes(short)
    digest = hashlib.sha256(data).hexdigest()
    write_text(at / "accuracy" / "accuracy.txt", f"{_score(record)}\nhash={digest}\n")


def _score(record: Record) -> str:
    """The accuracy in the words of MLPerf's image classification."""
    found = record.accuracy
    if found is None:
        return "accuracy was not scored"
    if found.correct is None:
        return f"{found.metric}={found.value.value}"
    share = 100 * found.correct / found.examples
    return f"accuracy={share:.3f}%, good={found.correct}, total={found.examples}"


def _user_conf(record: Record, said: LoadGenSaid) -> str:
    """The settings that were asked for; times in ms."""
    asked = record.cell.loadgen
    assert asked is not None
    given = asked.model_dump(exclude_none=True)
    if record.cell.latency_bound_ns is not None:
        given["target_latency"] = record.cell.latency_bound_ns / 1e6
    return "".join(f"*.{said.scenario}.{name} = {value}\n" for name, value in given.items())


def _readme(run: StoredRun, record: Record, said: LoadGenSaid) -> str:
    cell = record.cell
    verdict = "VALID" if said.valid else f"INVALID ({'; '.join(said.why)})"
    return (
        f"{NOTICE}\n"
        f"{cell.label}, {said.queries} queries, LoadGen {said.version}: {verdict}.\n\n"
        "In performance mode LoadGen's library of samples is the query that bench binds before "
        f"anything is timed ({cell.batch} sample{'s' * (cell.batch != 1)}), so no sample is copied "
        "to the device while it is timed. In accuracy mode it is the labelled data.\n\n"
        f"    {run.header.command}\n"
    )


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=4) + "\n"


def _copy(source: Path, target: Path, names: Sequence[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            shutil.copyfile(source / name, target / name)
        except OSError as error:
            raise SpecError(
                f"{source / name}: {error.strerror}: it is missing from the run."
            ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}: it is missing from the run.") from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
