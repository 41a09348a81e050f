"""A certificate from stored runs: what was scored there is compared, and nothing is run.

Only what a run keeps can be read: a classifier's scores, of a language model the likeliest tokens
and the one that came, of all others what was decided. The reference is seen beside itself where
another run has it, too; free running and where a target differs are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from bench import __version__
from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.cards.tasks.base import Columns
from bench.errors import SpecError
from bench.judge.certify.decisions import default_margin
from bench.judge.certify.finding import Seen, findings
from bench.record.certificate import Asked, Certificate, Examined, Party, Pass
from bench.record.result import Record
from bench.record.rows import distribution_rows, output_rows
from bench.stats.divergence import coarse_divergence
from bench.store.certificates import Evidence, write_certificate
from bench.store.run import StoredRun, read_results
from bench.trials.certify.make import MARGIN, Request
from bench.variants import DEFAULT, FP32

_LIKELIEST = (
    "only the likeliest tokens and the actual one were compared, because runs keep no others"
)
_DECIDED = "the runs keep no outputs of it, so only its decisions were compared"


@dataclass(frozen=True)
class _Scored:
    """A scored record and the run that it is of."""

    run: StoredRun
    record: Record

    @property
    def key(self) -> tuple[str, str, str]:
        cell = self.record.cell
        return cell.model.sha256, cell.variant, cell.target

    def columns(self) -> Columns:
        return self.run.predictions(self.record)


def make_of_runs(request: Request, runs: Sequence[Path], folder: Path, command: str) -> Certificate:
    """Write a certificate of what was stored into ``folder``.

    Raises `SpecError` where the runs lack the reference or all targets, or are of other examples.
    """
    stored = [read_results(path) for path in runs]
    every = [
        _Scored(run, record)
        for run in stored
        for record in run.records
        if record.status == "ok" and record.accuracy is not None
    ]
    reference, candidates = _cast(request, every)
    evidence = Evidence(folder)
    try:
        certificate = _made(request, stored, every, reference, candidates, evidence, command)
        write_certificate(folder, certificate)
    except BaseException:
        evidence.discard()
        raise
    return certificate


def _made(
    request: Request,
    stored: Sequence[StoredRun],
    every: Sequence[_Scored],
    reference: _Scored,
    candidates: Sequence[_Scored],
    evidence: Evidence,
    command: str,
) -> Certificate:
    passes = list(_passes(every, reference, candidates, evidence))
    plain = [one for one in passes if one.party and one.condition == "plain"]
    if all(one.failure for one in plain):
        raise SpecError(plain[0].failure)
    columns = evidence.read(passes[0].predictions)
    task = find_task(reference.record.cell.model.task)
    margin = request.margin or default_margin(task, columns, request.confidence) or MARGIN
    asked = Asked(
        model=request.model,
        against=request.against,
        reference=reference.record.cell.target,
        on=tuple(dict.fromkeys(one.record.cell.target for one in candidates)),
        variants=tuple(dict.fromkeys(one.record.cell.variant for one in candidates)),
        margin=margin,
        confidence=request.confidence,
        seed=request.seed,
        runs=tuple(run.path.name for run in stored),
    )
    rows = [evidence.read(one.rows) for one in passes if one.rows]
    parties = tuple(_party(one.record) for one in (reference, *candidates))
    seen = Seen(asked, _examined(reference, columns, rows), parties, tuple(passes), ())
    floor, judged = findings(seen, evidence.read)
    return Certificate(
        bench_version=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        facts=stored[0].header.facts,
        asked=seen.asked,
        examined=seen.examined,
        limit=FP32.tolerance.source,
        parties=seen.parties,
        passes=seen.passes,
        files=evidence.files,
        floor=floor,
        findings=judged,
    )


# -- who takes part -------------------------------------------------------------------------------


def _cast(request: Request, every: Sequence[_Scored]) -> tuple[_Scored, list[_Scored]]:
    """The reference, and each model, variant and target that is held against it once."""
    right = request.against or request.model
    references = [
        one for one in _of(every, right, (request.reference,)) if one.record.cell.variant == DEFAULT
    ]
    targets = list(dict.fromkeys(one.record.cell.target for one in references))
    if len(targets) != 1:
        named = f"names {len(targets)} ({', '.join(targets)})" if targets else "is not there"
        raise SpecError(
            f"{right} on {request.reference}: the reference must be one target that the runs have "
            f"scored, but this {named}. They have {_listed(every)}."
        )
    wanted = request.variants or (DEFAULT,)
    found: dict[tuple[str, str, str], _Scored] = {}
    for one in _of(every, request.model, request.on):
        if one.record.cell.variant in wanted and one.key != references[0].key:
            found.setdefault(one.key, one)
    if not found:
        raise SpecError(
            f"{request.model} on {', '.join(request.on)}: the runs have scored nothing of it "
            f"except the reference. They have {_listed(every)}."
        )
    return references[0], list(found.values())


def _of(every: Sequence[_Scored], model: str, targets: Sequence[str]) -> Iterator[_Scored]:
    """Of one model, by its name or its card's file, on targets by name or pattern."""
    names = {model, Path(model).stem}
    for one in every:
        target = one.record.cell.target
        patterns = [name for text in targets for name in (text, f"{text}:*")]
        if one.record.cell.model.name in names and any(fnmatchcase(target, p) for p in patterns):
            yield one


def _listed(every: Sequence[_Scored]) -> str:
    told = [f"{one.record.cell.model.name} on {one.record.cell.target}" for one in every]
    return ", ".join(dict.fromkeys(told)) or "scored nothing"


def _party(record: Record) -> Party:
    return Party(
        model=record.cell.model,
        variant=record.cell.variant,
        target=record.cell.target,
        threads=record.cell.threads,
        device_name=record.device_name,
        runtime_version=record.runtime_version,
        simulated=record.simulated,
        placement=record.placement,
    )


# -- what they answered ---------------------------------------------------------------------------


def _passes(
    every: Sequence[_Scored],
    reference: _Scored,
    candidates: Sequence[_Scored],
    evidence: Evidence,
) -> Iterator[Pass]:
    theirs = reference.columns()
    again = list(_again(0, every, reference, theirs, evidence))
    alone = "" if again else ", and in no other, so how far it differs from itself is unknown"
    yield Pass(
        party=0,
        condition="plain",
        detail=f"in the run {reference.run.path.name}{alone}",
        predictions=evidence.keep(_kept(reference, theirs)),
    )
    yield from again
    for place, one in enumerate(candidates, start=1):
        mine = one.columns()
        failure = _not_comparable(one, mine, reference, theirs)
        if failure:
            yield Pass(party=place, condition="plain", failure=failure)
            continue
        rows = _rows(mine, theirs)
        yield Pass(
            party=place,
            condition="plain",
            detail=f"in the run {one.run.path.name}",
            rows=evidence.keep(rows) if rows else "",
            predictions=evidence.keep(_kept(one, mine)),
        )
        yield from _again(place, every, one, mine, evidence)


def _again(
    place: int, every: Sequence[_Scored], one: _Scored, plain: Columns, evidence: Evidence
) -> Iterator[Pass]:
    """A party beside itself, where another run has it of the same examples."""
    for other in every:
        if other.key != one.key or other.run.path == one.run.path:
            continue
        again = other.columns()
        rows = None if _not_comparable(other, again, one, plain) else _rows(again, plain)
        if rows:
            yield Pass(
                party=place,
                condition="again",
                detail=f"in the run {other.run.path.name}",
                rows=evidence.keep(rows),
                predictions=evidence.keep(_kept(other, again)),
            )
            return


def _not_comparable(one: _Scored, mine: Columns, other: _Scored, theirs: Columns) -> str:
    """Why two parties can't be compared; empty where they can."""
    task = find_task(other.record.cell.model.task)
    told, there = one.record.accuracy, other.record.accuracy
    assert told is not None
    assert there is not None
    if one.record.cell.model.task != other.record.cell.model.task or not task.same(mine, theirs):
        return (
            f"{one.record.cell.label} of the run {one.run.path.name} was scored on other examples "
            f"({told.dataset}, {told.examples:,}) than the reference ({there.dataset}, "
            f"{there.examples:,}). Run both on the same data."
        )
    a, b = (columns.get("logits") for columns in (mine, theirs))
    if a is not None and b is not None and a.shape != b.shape:
        return (
            f"it has {a.shape[1]} outputs and the reference {b.shape[1]}, so they can't be "
            "compared. Certify a model with the same outputs."
        )
    return ""


def _kept(one: _Scored, columns: Columns) -> dict[str, Array]:
    task = find_task(one.record.cell.model.task)
    found = {name: values for name, values in columns.items() if name not in task.bulky}
    return found | {"group": columns["label"]} if task.one_class else found


def _rows(mine: Columns, theirs: Columns) -> dict[str, Array]:
    """See `bench.record.rows`; nothing where the runs keep no outputs."""
    if "logits" in mine and "logits" in theirs:
        a, b = mine["logits"], theirs["logits"]
        return output_rows([a], [b], FP32.tolerance) | distribution_rows(a, b, theirs["label"])
    if "top_ids" in mine and "top_ids" in theirs:
        return _token_rows(mine, theirs)
    return {}


def _token_rows(mine: Columns, theirs: Columns) -> dict[str, Array]:
    """Of each token with something before it: how far what is known of both is apart, and the least
    that the divergence can be."""
    there = (theirs["predicted"] >= 0) & (theirs["top_ids"] >= 0).all(axis=1)
    there &= (mine["top_ids"] >= 0).all(axis=1)
    if not there.any():
        return {}
    a, b = ({n: columns[n][there] for n in _OF_A_TOKEN} for columns in (mine, theirs))
    nats, _ = coarse_divergence(b, a, np.ones(len(a["token"]), bool))
    unknown = np.full(len(nats), np.nan)
    found = output_rows([_log_p(a, b["top_ids"])], [_log_p(b, b["top_ids"])], FP32.tolerance)
    return found | {
        "divergence": nats,
        "divergence_error": unknown,  # nothing bounds it
        "acceptance": unknown,
        "p_reference": np.exp(b["log_p"].astype(np.float64)),
        "p_candidate": np.exp(a["log_p"].astype(np.float64)),
        "same_first": (a["predicted"] == b["predicted"]).astype(np.float64),
        "document": b["document"],
    }


_OF_A_TOKEN = ("document", "token", "log_p", "predicted", "top_ids", "top_log_p")


def _log_p(columns: Columns, ids: Array) -> Array:
    """The logarithms of the probabilities of what came and of ``ids``, (rows, 1 + ids); of an id
    that isn't kept that of the least that is, which it can't be above."""
    same = ids[:, :, np.newaxis] == columns["top_ids"][:, np.newaxis, :]
    kept = np.take_along_axis(columns["top_log_p"], same.argmax(axis=2), axis=1)
    least = columns["top_log_p"].min(axis=1, keepdims=True)
    known = np.where(same.any(axis=2), kept, least)
    return np.concatenate([columns["log_p"][:, np.newaxis], known], axis=1)


def _examined(reference: _Scored, columns: Columns, rows: Sequence[Columns]) -> Examined:
    accuracy, task = reference.record.accuracy, find_task(reference.record.cell.model.task)
    assert accuracy is not None
    examples, clusters = len(next(iter(columns.values()))), accuracy.examples
    tokens = bool(rows) and "document" in rows[0]
    if rows:
        examples = len(rows[0]["difference"])
        clusters = len(np.unique(rows[0]["document"])) if tokens else examples
    groups: tuple[str, ...] = ()
    if task.one_class:
        groups = tuple(f"class {n}" for n in range(int(columns["label"].max()) + 1))
    notes = (*accuracy.notes, *([_LIKELIEST] if tokens else [] if rows else [_DECIDED]))
    return Examined(
        dataset=accuracy.dataset,
        dataset_sha256=accuracy.dataset_sha256,
        inputs_sha256=accuracy.dataset_sha256,
        examples=examples,
        clusters=clusters,
        unit="token" if tokens else "example",
        groups=groups,
        notes=notes,
    )
