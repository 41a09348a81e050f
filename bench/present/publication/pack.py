"""Runs and certificates as one file that checks itself (`bench.store.bundle`).

The same content gives the same bytes: nothing is in a bundle but compact copies of what was
measured, no time of packing and no place. Every number is derived again before the file is written,
so that nobody is handed a bundle that no reader would take.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.errors import SpecError
from bench.files import file_stem, irregular, regular_files
from bench.judge.certify.check import check as check_certificate
from bench.present.publication.neutral import (
    COMMAND,
    Neutral,
    refuse_left,
    rewrite_lines,
    settled,
    strip_tables,
)
from bench.record.certificate import Certificate
from bench.record.facts import CellFacts, WorkerFacts
from bench.record.header import RunHeader
from bench.record.result import Invocation, Record
from bench.record.resumption import Resumption
from bench.record.windows import Window
from bench.store import outputs
from bench.store.bundle import archive
from bench.store.bundle.manifest import (
    BUNDLE_VERSION,
    CERTIFICATES,
    LOGS,
    MANIFEST,
    NAMES,
    RUNS,
    Manifest,
    Member,
)
from bench.store.certificates import FILE, read_certificate
from bench.store.check import check_copy
from bench.store.compact import copy_run, refuse_links
from bench.store.derive import derived
from bench.store.files import BUNDLE, ENERGY, FACTS, INVOCATIONS, RECORDS, RESUMES, WORKERS
from bench.store.machines import by_machine, machine_of
from bench.store.run import StoredRun, read_run

_LINES = (
    (RECORDS, Record),
    (INVOCATIONS, Invocation),
    (WORKERS, WorkerFacts),
    (FACTS, CellFacts),
    (ENERGY, Window),
    (RESUMES, Resumption),
)


@dataclass(frozen=True)
class Choices:
    """What goes into a bundle beside what was measured."""

    names: bool = False  #: of hosts, users and places
    logs: bool = False  #: what the workers printed
    machine: str = ""  #: what the machine of runs without a given name is called


def pack(
    runs: Sequence[StoredRun], certificates: Sequence[Path], output: Path, choices: Choices
) -> Path:
    """Write a bundle; ``output`` is its file, or a folder in which it gets a name of its own.
    Returns the file. Raises `SpecError` for what can't be packed."""
    if not runs and not certificates:
        raise SpecError("there is neither a run nor a certificate to pack.")
    with tempfile.TemporaryDirectory(prefix="bench-pack-") as top:
        content = Path(top)
        names = [_copy(run, content / RUNS, choices) for run in _in_order(runs)]
        kept = [_copy_certificate(path, content / CERTIFICATES, choices) for path in certificates]
        packed = [read_run(content / RUNS / name) for name in names]
        manifest = _manifest(content, packed, kept, choices)
        for run in packed:
            _refuse_underived(run, manifest)
        (content / MANIFEST).write_bytes(manifest.text)
        file = _file(output, manifest, packed)
        _write(file, {n: content / n for n in regular_files(content)}, manifest.bundle_id)
    return file


def _in_order(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """So that the same runs are the same bundle in whatever order they are named."""
    return sorted(runs, key=lambda run: (run.header.created_at, machine_of(run).name, run.path))


def _manifest(
    content: Path, runs: Sequence[StoredRun], certificates: Sequence[str], choices: Choices
) -> Manifest:
    labels = {run.header.label for run in runs} - {""}
    left_out = (*([] if choices.names else [NAMES]), *([] if choices.logs else [LOGS]))
    return Manifest(
        bundle_version=BUNDLE_VERSION,
        label=labels.pop() if len(labels) == 1 else "",
        runs=tuple(sorted(run.path.name for run in runs)),
        certificates=tuple(sorted(certificates)),
        left_out=left_out,
        without_predictions=tuple(sorted(r.path.name for r in runs if r.without_predictions)),
        files={name: _member(content / name) for name in sorted(regular_files(content))},
    )


def _member(path: Path) -> Member:
    data = path.read_bytes()
    return Member(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def _file(output: Path, manifest: Manifest, runs: Sequence[StoredRun]) -> Path:
    """The file as it is named, or in the folder that is named: label, date, id."""
    if not output.is_dir():
        return output
    latest = max((run.header.created_at for run in runs), default="")[:10].replace("-", "")
    machines = [machine.name for machine in by_machine(runs)]
    machine = machines[0] if len(machines) == 1 else ""
    called = manifest.label or machine or "bundle"
    parts = [file_stem(part) for part in (called, latest) if part]
    return output / f"{'-'.join([*parts, manifest.bundle_id[:12]])}{BUNDLE}"


def _write(file: Path, members: dict[str, Path], bundle_id: str) -> None:
    partial = file.with_name(f"{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as out:
                archive.write(out, members, bundle_id)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SpecError(f"{file}: can't be written: {error.strerror or error}.") from error


# -- runs -----------------------------------------------------------------------------------------


def _copy(run: StoredRun, folder: Path, choices: Choices) -> str:
    """The copy of a run, in a folder that is named by its time and suite."""
    if not run.records:
        raise SpecError(f"{run.path}: it has no records yet, so there is nothing to pack.")
    refuse_links(run.path)
    name = _free(folder, _name(run.header))
    header = _called(run.header, choices.machine)
    copy_run(run, folder / name, header)
    if choices.logs:
        _copy_logs(run.path, folder / name)
    neutral = None if choices.names else Neutral.of(run.header)
    if neutral is not None:
        neutral.refuse_places_in(header)
        _neutralise(folder / name, header, neutral)
    try:
        strip_tables(folder / name, neutral)
        _repack_outputs(folder / name)
        if neutral is not None:
            _settle(folder / name)
            refuse_left(folder / name, neutral)
    except SpecError as error:
        raise SpecError(f"{run.path}: {error}") from error
    return name


def _called(header: RunHeader, machine: str) -> RunHeader:
    """The header with a name for its machine, where it has none that was given."""
    if not machine or (header.machine_name and header.machine_name != machine):
        return header
    return header.model_copy(update={"machine_name": machine})


def _name(header: RunHeader) -> str:
    try:
        stamp = datetime.fromisoformat(header.created_at).strftime("%Y%m%dT%H%M%SZ")
    except ValueError:
        stamp = "run"
    return f"{stamp}-{file_stem(header.suite.name)}"


def _free(folder: Path, name: str) -> str:
    number = 1
    while (folder / (free := name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return free


def _copy_logs(run: Path, folder: Path) -> None:
    """What the workers printed, but for what is no plain file."""
    strange = set(irregular(run))
    for source in sorted((run / "logs").glob("*")):
        if source.is_file() and f"logs/{source.name}" not in strange:
            (folder / "logs").mkdir(exist_ok=True)
            shutil.copyfile(source, folder / "logs" / _safe(source.name))


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@+=-]", "-", name).strip(".-") or "log"


def _neutralise(folder: Path, header: RunHeader, neutral: Neutral) -> None:
    text = neutral.header(header).model_dump_json(indent=1, exclude_unset=True)
    (folder / "run.json").write_text(text, encoding="utf-8", newline="\n")

    def clean(line: dict[str, Any]) -> Any:
        told = neutral.value(line)
        if told.get("failure"):
            told["failure"]["log_tail"] = ""
        return told | ({"command": COMMAND} if "command" in told else {})

    for file, kind in _LINES:
        rewrite_lines(folder / file, kind, clean)
    for log in (folder / "logs").glob("*"):
        text = log.read_bytes().decode("utf-8", errors="replace")
        log.write_text(neutral.text(text), encoding="utf-8", newline="\n")


def _repack_outputs(folder: Path) -> None:
    """Arrays alone: nothing else that a container may hold."""
    for path in sorted((folder / outputs.FOLDER).glob("*.npz")):
        name = f"{outputs.FOLDER}/{path.name}"
        path.write_bytes(outputs.packed(outputs.read_outputs(folder, name)))


def _settle(folder: Path) -> None:
    """Words of checks follow from raw data that has been cleaned, so they are made anew."""
    run = read_run(folder)
    again = derived(run, without_predictions=run.without_predictions).run
    by_id = {record.cell_id: record.model_dump(mode="json") for record in again.records}
    rewrite_lines(folder / RECORDS, Record, lambda line: settled(line, by_id[line["cell_id"]]))


def _refuse_underived(run: StoredRun, manifest: Manifest) -> None:
    name = run.path.name
    account = check_copy(
        run,
        name,
        without_predictions=name in manifest.without_predictions,
        with_logs=LOGS not in manifest.left_out,
    )
    if account.problems:
        raise SpecError(
            f"{name}: its numbers do not follow from its raw data, so it would be rejected: "
            f"{account.problems[0]}."
        )


# -- certificates ---------------------------------------------------------------------------------


def _copy_certificate(path: Path, folder: Path, choices: Choices) -> str:
    """A certificate with its evidence; its page can be drawn again."""
    source = path.parent if path.is_file() else path
    certificate = read_certificate(source)
    called = re.split(r"[/\\]", certificate.asked.model.rstrip("/\\"))[-1]
    name = _free(folder, file_stem(called))
    target = folder / name
    for file in certificate.files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, target / file, follow_symlinks=False)
    if not choices.names:
        certificate = _neutral_certificate(certificate)
    text = certificate.model_dump_json(indent=1, exclude_unset=True) + "\n"
    (target / FILE).write_text(text, encoding="utf-8", newline="\n")
    for problem in check_certificate(target).problems:
        raise SpecError(f"{path}: it does not follow from its evidence: {problem}")
    return name


def _neutral_certificate(certificate: Certificate) -> Certificate:
    told = certificate.model_dump(mode="json", exclude_unset=True)
    asked = certificate.asked
    neutral = Neutral.knowing((), str(told), (asked.model, asked.against))
    told = neutral.value(told) | {"command": COMMAND, "facts": neutral.facts(certificate.facts)}
    for key in ("model", "against"):
        if key in told["asked"]:
            told["asked"][key] = neutral.model(told["asked"][key])
    return Certificate.model_validate(told)
