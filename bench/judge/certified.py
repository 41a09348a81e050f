"""What a gate says of certificates: is each target that was measured still certified?

A certificate is judged whole, whether or not the run has all that it is about; and all that the run
has needs one. What a certificate says of another content of the model it doesn't say of this one.
With another version of the runtime, or on another device, it is open whether it still holds.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.cards.tasks import find_metric
from bench.cell import Cell
from bench.errors import SpecError
from bench.judge.certify.check import certificates, check
from bench.judge.differences import ALL
from bench.judge.finding import Finding, Outcome
from bench.numbers import NAME_LIMIT, printable
from bench.record.certificate import Certificate, Party
from bench.record.certificate import Finding as Verdict
from bench.record.header import RunHeader
from bench.record.result import Record
from bench.spec import Suite
from bench.stats.interval import Interval
from bench.store.run import StoredRun
from bench.variants import DEFAULT

_OUTCOMES = {
    "same": Outcome.PASS,
    "equivalent": Outcome.PASS,
    "degraded": Outcome.FAIL,
    "inconclusive": Outcome.INCONCLUSIVE,
    "impossible": Outcome.SKIPPED,
}
_SHA_DIGITS = 12
_DEVICE = "device"  #: the kind of `bench.judge.differences` that --allow takes


@dataclass(frozen=True)
class Held:
    """A certificate that a gate was given, and what of it is no longer what was certified."""

    path: Path
    certificate: Certificate
    problems: tuple[str, ...] = ()


def held(path: Path) -> list[Held]:
    """The certificates at or below ``path``, each derived again. Raises `SpecError` for none."""
    found = certificates(path)
    if not found:
        raise SpecError(
            f"{path}: no certificate at or below it (no certificate.json). Make one with "
            "`bench certify`."
        )
    accounts = [(folder, check(folder)) for folder in found]
    return [
        Held(folder, account.certificate, tuple(map(str, account.problems)))
        for folder, account in accounts
    ]


def certified(
    run: StoredRun | None, given: Sequence[Held], allowed: Collection[str] = ()
) -> list[Finding]:
    """One finding for each verdict, and one for each of the run that no certificate is of."""
    found = [
        _of_verdict(run, one, verdict, allowed)
        for one in given
        for verdict in one.certificate.findings
    ]
    # A certificate without verdicts is a broken one, and lets nothing pass.
    found += [
        Finding("certificate", _cell(one, one.certificate.parties[0]), *_not_it(one))
        for one in given
        if one.problems and not one.certificate.findings and one.certificate.parties
    ]
    if run is not None and given:
        found += _uncovered(run, given)
    return found


def as_run(one: Held) -> StoredRun:
    """A run in which nothing was measured, for files of CI services about a certificate alone."""
    told = one.certificate
    header = RunHeader(
        bench_version=told.bench_version,
        created_at=told.created_at,
        command=told.command,
        suite=Suite(),
        targets=told.asked.on,
        models=(told.asked.model,),
        facts=told.facts,
        cells=(),
    )
    return StoredRun(one.path, header, [], [], [])


# -- verdicts -------------------------------------------------------------------------------------


def _of_verdict(
    run: StoredRun | None, one: Held, verdict: Verdict, allowed: Collection[str]
) -> Finding:
    parties = one.certificate.parties
    if one.problems or verdict.party >= len(parties):
        party = parties[min(verdict.party, len(parties) - 1)]
        return Finding("certificate", _cell(one, party), *_not_it(one))
    party = parties[verdict.party]
    told = _told(one, party, verdict)
    if run is None:
        return told
    mine = [r for r in _measured(run) if _name(r.cell) == _name_of(party)]
    same = [r for r in mine if r.cell.model.sha256 == party.model.sha256]
    if mine and not same:
        return _other_content(one, mine[0])
    if not same:
        words = f"not in the run; {told.words}"
        outcome = told.outcome if told.outcome is Outcome.FAIL else Outcome.SKIPPED
        return replace(told, outcome=outcome, words=words)
    found = replace(told, cell=same[0].cell)
    changed = [text for record in same for text in _changed(party, record, allowed)]
    if not changed or told.outcome is Outcome.FAIL:
        return found
    return Finding(
        "certificate",
        same[0].cell,
        Outcome.INCONCLUSIVE,
        f"{changed[0]}, so the certificate may no longer hold.",
        f"Certify it again: {_command(one.certificate, same[0].cell)}.",
        short="the certificate may no longer hold",
    )


def _told(one: Held, party: Party, verdict: Verdict) -> Finding:
    """A verdict as it is, with the figures of its metric where these decide."""
    reasons = " ".join(verdict.reasons)
    found = Finding(
        "certificate",
        _cell(one, party),
        _OUTCOMES[verdict.verdict],
        f"{verdict.verdict}: {reasons}",
        short=verdict.verdict,
    )
    decided = verdict.decisions
    if decided is None or verdict.verdict == "same" or any(g.degraded for g in decided.groups):
        return found
    gain = decided.gain
    metric = find_metric(party.model.task, decided.metric)
    return replace(
        found,
        found=metric.gain(Interval(gain.value, gain.low, gain.high, gain.confidence)),
        limit=-decided.margin * metric.sign,
        before=decided.reference,
        now=decided.candidate,
        metric=metric,
    )


def _not_it(one: Held) -> tuple[Outcome, str, str]:
    first, more = one.problems[0], len(one.problems) - 1
    words = f"the certificate was changed: {first}" + (f", and {more} more" if more else "")
    return Outcome.FAIL, f"{words}.", f"See `bench publish --check {shlex.quote(str(one.path))}`."


def _other_content(one: Held, record: Record) -> Finding:
    return Finding(
        "certificate",
        record.cell,
        Outcome.FAIL,
        "the certificate is for another content of the model than the run measured.",
        f"Certify it again: {_command(one.certificate, record.cell)}.",
    )


def _changed(party: Party, record: Record, allowed: Collection[str]) -> Iterator[str]:
    """What is no longer as it was certified, in words."""
    pairs = [("the runtime", party.runtime_version, record.runtime_version)]
    if _DEVICE not in allowed and ALL not in allowed:
        pairs.append(("the device", party.device_name, record.device_name))
    for what, before, now in pairs:
        if before and now and before != now:
            yield (
                f"certified with {what} {printable(before, NAME_LIMIT)}, and the run's is "
                f"{printable(now, NAME_LIMIT)}"
            )


# -- what no certificate is of --------------------------------------------------------------------


def _uncovered(run: StoredRun, given: Sequence[Held]) -> Iterator[Finding]:
    """Each model, variant and target of the run once."""
    covered = {_name_of(party) for one in given for party in _certified_parties(one.certificate)}
    first = [one.certificate.parties[0] for one in given if one.certificate.parties]
    references = {(_name_of(party), party.model.sha256) for party in first}
    seen: set[tuple[str, str, str]] = set()
    for record in _measured(run):
        cell, name = record.cell, _name(record.cell)
        if name in seen or name in covered:
            continue
        seen.add(name)
        if (name, cell.model.sha256) in references:
            words = "the reference that others are certified against."
            yield Finding("certificate", cell, Outcome.SKIPPED, words)
            continue
        yield Finding(
            "certificate",
            cell,
            Outcome.FAIL,
            "it has no certificate.",
            f"Certify it: {_command(_nearest(given, cell), cell)}.",
        )


def _certified_parties(certificate: Certificate) -> list[Party]:
    """All but the reference and those that could not be run when the certificate was made."""
    absent = {each.party for each in certificate.findings if each.verdict == "impossible"}
    return [p for place, p in enumerate(certificate.parties) if place and place not in absent]


def _nearest(given: Sequence[Held], cell: Cell) -> Certificate:
    """One of the same model, else the first: its reference is most likely the right one."""
    every = [one.certificate for one in given]
    mine = [c for c in every if any(p.model.name == cell.model.name for p in c.parties)]
    return (mine or every)[0]


def _command(certificate: Certificate, cell: Cell) -> str:
    """What to run for a certificate of a cell's model, variant and target."""
    asked = certificate.asked
    same = any(party.model.name == cell.model.name for party in certificate.parties)
    model = asked.model if same else cell.model.name
    parts = ["bench", "certify", model, "--reference", asked.reference, "--on", cell.target]
    parts += ["--against", asked.against] if asked.against and same else []
    parts += ["--variant", cell.variant] if cell.variant != DEFAULT else []
    return shlex.join(parts)


def _measured(run: StoredRun) -> list[Record]:
    return [record for record in run.records if record.status == "ok"]


def _name(cell: Cell) -> tuple[str, str, str]:
    return cell.model.name, cell.variant, cell.target


def _name_of(party: Party) -> tuple[str, str, str]:
    return party.model.name, party.variant, party.target


def _cell(one: Held, party: Party) -> Cell:
    """A party as a cell: a certificate is of no load, so none of this one is told."""
    return Cell(
        model=party.model,
        variant=party.variant,
        target=party.target,
        scenario="offline",
        batch=1,
        shapes={},
        threads=party.threads,
        input_sha256=one.certificate.examined.inputs_sha256,
    )
