"""Whether a certificate says what its evidence says: all that follows is derived again.

What was told (who the parties are, what was read) follows from nothing: it is held to the evidence
as far as that knows it, and its form to that in which bench writes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.arrays import Array
from bench.cards.tasks import find_task
from bench.errors import BenchError, SpecError
from bench.files import irregular, regular_files
from bench.judge.certify.finding import Seen, findings
from bench.record.certificate import Certificate, Pass
from bench.record.differing import Problem, compare, is_number, leaves
from bench.store.certificates import EVIDENCE, FILE, PAGE, StoredEvidence, read_certificate

#: What an earlier bench wrote in reasons, and what this one writes there.
EARLIER_WORDS: tuple[tuple[str, str], ...] = (
    (", which neither keeps to the margin of ", ", which neither stays within the margin of "),
    (" nor surely exceeds it.", " nor clearly exceeds it."),
    (", so it is no reference.", ", so it can't be the reference."),
    (" is not what was certified alone: ", " did not run all of the model itself: "),
)
_NUMERIC = ("difference", "excess", "roundings", "nonfinite")


@dataclass(frozen=True)
class Account:
    """What was checked, and what was found."""

    certificate: Certificate
    numbers: int  #: derived again
    problems: tuple[Problem, ...]


def certificates(path: Path) -> list[Path]:
    """The folders of certificates at or below ``path``."""
    if path.is_dir():
        return sorted(file.parent for file in path.rglob(FILE))
    return [path.parent] if path.name == FILE and path.is_file() else []


def check(folder: Path) -> Account:
    """Derive everything in one certificate again. Raises `SpecError` where it is none."""
    if (folder / FILE).is_symlink():
        raise SpecError(f"{folder / FILE}: it is a link. A certificate must be a plain file.")
    certificate = read_certificate(folder)
    evidence = StoredEvidence(folder, certificate)
    problems = [*_form(folder, certificate), *_files(folder, certificate, evidence)]
    problems += _told(certificate)
    if problems:  # of files that are not those nothing follows
        return Account(certificate, 0, tuple(problems))
    numbers = 0
    try:
        problems += _evidence(certificate, evidence)
        if not problems:
            numbers = _derived(certificate, evidence, problems)
    except BenchError as error:
        problems.append(Problem(FILE, "", "", "a verdict", f"nothing: {error}"))
    return Account(certificate, numbers, tuple(problems))


# -- files ----------------------------------------------------------------------------------------


def _form(folder: Path, certificate: Certificate) -> Iterator[Problem]:
    """A file that bench would write otherwise, as one in which a key is there twice."""
    text = (folder / FILE).read_bytes().decode("utf-8", errors="replace")
    if text != certificate.model_dump_json(indent=1, exclude_unset=True) + "\n":
        yield Problem(FILE, "", "", "JSON of others", "JSON as bench writes it")


def _files(folder: Path, certificate: Certificate, evidence: StoredEvidence) -> Iterator[Problem]:
    """Links, files that nothing refers to, and evidence that is lost or changed."""
    for name in irregular(folder):
        yield Problem(name, "", "", "a link", "a plain file")
    known = {FILE, PAGE, *certificate.files}
    for name in regular_files(folder):
        if name not in known:
            yield Problem(name, "", "", "a file", "none")
    for name, problem in evidence.changed().items():
        yield Problem(name, "", f"SHA-256 in {FILE}", problem, "the file that was certified")
    used = {*_used(certificate)}
    for name in sorted(used ^ set(certificate.files)):
        told = ("used", "not listed") if name in used else ("listed", "not used")
        yield Problem(FILE, "files", name, *told)
    for name, digest in certificate.files.items():
        if name != f"{EVIDENCE}/{digest[:16]}.parquet":
            yield Problem(FILE, "files", name, "the name", "one made of its SHA-256")


def _used(certificate: Certificate) -> Iterator[str]:
    for each in certificate.passes:
        yield from filter(None, (each.rows, each.predictions))
    yield from (each.rows for each in certificate.answers if each.rows)


# -- what was told --------------------------------------------------------------------------------


def _told(certificate: Certificate) -> Iterator[Problem]:
    """What is told twice, told of nobody, or told otherwise elsewhere."""
    asked, parties = certificate.asked, certificate.parties
    if not parties:
        yield Problem(FILE, "parties", "", "none", "the reference and who is held against it")
        return
    of_others = parties[1:]
    pairs = (
        ("asked.reference", asked.reference, parties[0].target),
        ("asked.on", asked.on, tuple(dict.fromkeys(p.target for p in of_others))),
        ("asked.variants", asked.variants, tuple(dict.fromkeys(p.variant for p in of_others))),
    )
    for column, told, there in pairs:
        if told != there:
            yield Problem(FILE, "", column, _listed(told), _listed(there))
    places = {*range(len(parties))}
    named = {
        *(one.party for one in certificate.passes),
        *(one.party for one in certificate.answers),
        *(one.party for one in certificate.places),
    }
    for party in sorted(named - places):
        yield Problem(FILE, "", "party", str(party), f"one of {len(parties)} parties")
    twice = Counter((p.party, p.condition) for p in certificate.passes)
    for (party, condition), count in twice.items():
        if count > 1:
            yield Problem(FILE, f"party {party}", condition, f"{count} passes", "one")
    for party in sorted(places - {p.party for p in certificate.passes if p.condition == "plain"}):
        yield Problem(FILE, f"party {party}", "passes", "no plain one", "one")
    for one in certificate.passes:
        if bool(one.failure) == bool(one.rows or one.predictions or _is_first(one)):
            yield Problem(
                FILE, f"party {one.party}", one.condition, "files and a failure", "one of both"
            )


def _is_first(one: Pass) -> bool:
    """Whether it is the pass that all others are compared with, which has no rows of its own."""
    return (one.party, one.condition) == (0, "plain")


def _listed(told: str | tuple[str, ...]) -> str:
    return told if isinstance(told, str) else ", ".join(told)


# -- what follows ---------------------------------------------------------------------------------


def _evidence(certificate: Certificate, evidence: StoredEvidence) -> Iterator[Problem]:
    """Whether the files are of what is told: so many rows, of those columns, of the same items."""
    examples, first = certificate.examined.examples, _first(certificate, evidence)
    task = find_task(certificate.parties[0].model.task)
    for one in certificate.passes:
        if one.rows:
            rows = evidence.read(one.rows)
            lacking = [name for name in _NUMERIC if name not in rows]
            if lacking:
                yield Problem(one.rows, "", "columns", f"no {', '.join(lacking)}", "all of them")
                continue
            count = len(rows["difference"])
            if count > examples or (one.condition == "plain" and count != examples):
                yield Problem(one.rows, "", "rows", str(count), f"{examples} (examined.examples)")
            yield from _contradicted(one, rows, first, evidence)
        if one.predictions and first:
            mine = evidence.read(one.predictions)
            length = len(next(iter(mine.values())))
            theirs = {name: values[:length] for name, values in first.items()}
            if not task.same(mine, theirs):
                yield Problem(one.predictions, "", "items", "other items", "those of the reference")


def _first(certificate: Certificate, evidence: StoredEvidence) -> Mapping[str, Array]:
    """The reference's predictions; none where nothing is scored."""
    named = next((one.predictions for one in certificate.passes if _is_first(one)), "")
    return evidence.read(named) if named else {}


def _contradicted(
    one: Pass, rows: Mapping[str, Array], first: Mapping[str, Array], evidence: StoredEvidence
) -> Iterator[Problem]:
    """Outputs that are equal decide equally: where they don't, one of the files is another's."""
    if one.condition != "plain" or not one.predictions or "predicted" not in first:
        return
    mine = evidence.read(one.predictions)
    count = len(rows["difference"])
    if "predicted" not in mine or not len(mine["predicted"]) == len(first["predicted"]) == count:
        return
    equal = (rows["difference"] == 0) & (rows["nonfinite"] == 0)
    others = int((equal & (mine["predicted"] != first["predicted"])).sum())
    if others:
        yield Problem(
            one.predictions, "", "predicted", f"{others} others", "the same where outputs are equal"
        )


def _worded_as_now(certificate: Certificate) -> Certificate:
    """The same, with its reasons in this bench's words: an earlier one worded some otherwise."""
    findings = []
    for finding in certificate.findings:
        reasons = finding.reasons
        for before, now in EARLIER_WORDS:
            reasons = tuple(reason.replace(before, now) for reason in reasons)
        findings.append(finding.model_copy(update={"reasons": reasons}))
    return certificate.model_copy(update={"findings": tuple(findings)})


def _derived(certificate: Certificate, evidence: StoredEvidence, problems: list[Problem]) -> int:
    """Compare all that follows; how many numbers there were."""
    seen = Seen(
        certificate.asked,
        certificate.examined,
        certificate.parties,
        certificate.passes,
        certificate.answers,
    )
    try:
        floor, again = findings(seen, evidence.read)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise SpecError(
            f"its files lack what is needed ({type(error).__name__}: {error})."
        ) from error
    expected = certificate.model_copy(update={"floor": floor, "findings": again})
    compare(FILE, "", _worded_as_now(certificate), expected, problems)
    dumped = certificate.model_dump(mode="json", include={"floor", "findings"})
    return sum(is_number(value) for _, value in leaves(dumped))
