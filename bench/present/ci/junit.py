"""JUnit XML as Jenkins, GitLab and GitHub's test reporters read it.

A regression is a ``failure``, as is what a run lacks of its baseline, a crash an ``error``; what
could not be judged (an inconclusive interval, a simulated device) is ``skipped`` with its reason.
What passed says with which figure, as its output.
There is a failure or error just where the exit code is that of one. Only those elements and
attributes are used that Jenkins' schema has (jenkinsci/xunit-plugin, ``junit-10.xsd``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bench.errors import Unavailable
from bench.files import write_text
from bench.judge.alike import settings_in_words
from bench.judge.finding import Decision, Finding, Outcome
from bench.judge.gate import Judgement
from bench.numbers import printable
from bench.present.ci.base import Subject, name, names
from bench.present.gate import limit_text, measured_text, summary
from bench.record.result import Record
from bench.store.run import StoredRun

_TAGS = {
    Outcome.ERROR: "error",
    Outcome.FAIL: "failure",
    Outcome.MISSING: "failure",
    Outcome.INCONCLUSIVE: "skipped",
    Outcome.SKIPPED: "skipped",
    Outcome.NEW: "skipped",
}
_TEXT_LIMIT = 4000


@dataclass(frozen=True)
class Case:
    """One test case; ``tag`` is empty where it passed."""

    suite: str
    name: str
    tag: str = ""
    type: str = ""
    message: str = ""
    text: str = ""
    seconds: float = 0.0
    cell_id: str = ""  #: of which cell the seconds are


class JUnit:
    def write(self, subject: Subject, path: Path) -> None:
        write_text(path, junit_text(subject))


def junit_text(subject: Subject) -> str:
    """The document: the gate's findings where there are some, else one case a cell."""
    cases = list(_of_gate(subject.judgement) if subject.judgement else _of_run(subject))
    root = ElementTree.Element("testsuites", {"name": "bench", **_counts(cases)})
    for suite in dict.fromkeys(case.suite for case in cases):
        mine = [case for case in cases if case.suite == suite]
        facts = {
            "name": _text(suite),
            "skipped": str(sum(case.tag == "skipped" for case in mine)),
            "timestamp": _text(subject.run.header.created_at[:19]),
            "time": _seconds(sum({case.cell_id: case.seconds for case in mine}.values())),
        }
        element = ElementTree.SubElement(root, "testsuite", {**facts, **_counts(mine)})
        for case in mine:
            _add(element, case)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _of_gate(judgement: Judgement) -> Iterator[Case]:
    tags = dict(_TAGS)
    if judgement.counts_as is Decision.FAIL and judgement.decision is Decision.INCONCLUSIVE:
        tags[Outcome.INCONCLUSIVE] = "failure"
        if not judgement.of(Outcome.INCONCLUSIVE):
            words = " ".join((summary(judgement), *judgement.warnings))
            yield Case("bench gate", "anything could be judged", "failure", "inconclusive", words)
    elif not judgement.findings:  # a file without a case is taken for tests that got lost
        words = " ".join((summary(judgement), *judgement.warnings))
        yield Case("bench gate", "anything could be judged", "skipped", "inconclusive", words)
    measured = _measured_s(judgement.run)
    for finding in judgement.findings:
        outcome = finding.outcome
        shown = f"{measured_text(finding)}, {limit_text(finding)} is allowed"
        words = " ".join(filter(None, (finding.words, finding.advice)))
        yield Case(
            suite=finding.cell.model.name,
            name=f"{_case_name(finding)}: {finding.kind}",
            tag=tags.get(outcome, ""),
            type=outcome.value,
            message=f"{outcome.value}: {words}" if words else outcome.value,
            text=shown if finding.found is not None else "",
            seconds=measured.get(finding.cell.id, 0.0),
            cell_id=finding.cell.id,
        )


def _measured_s(run: StoredRun | None) -> dict[str, float]:
    """The seconds in which each cell was timed; none where certificates alone were judged."""
    return {r.cell_id: _busy_s(r) for r in run.records} if run is not None else {}


def _busy_s(record: Record) -> float:
    return sum(i.busy_ns for i in record.invocations) / 1e9


def _case_name(finding: Finding) -> str:
    """The cell; a certificate is of no load."""
    if finding.kind == "certificate":
        return finding.subject
    return ", ".join(filter(None, (name(finding.cell), settings_in_words(finding.apart))))


def _of_run(subject: Subject) -> Iterator[Case]:
    called = names(subject.run.records)
    for record in subject.run.records:
        tag, kind, message = _state(record)
        yield Case(
            suite=record.cell.model.name,
            name=called[record.cell_id],
            tag=tag,
            type=kind,
            message=message,
            text=record.failure.log_tail if record.failure else "",
            seconds=_busy_s(record),
            cell_id=record.cell_id,
        )


def _state(record: Record) -> tuple[str, str, str]:
    """Tag, type and message of a record: an output that is wrong is a failure too."""
    if record.failure is not None:
        tag = "skipped" if record.failure.kind == Unavailable.kind else "error"
        return tag, record.failure.kind, record.failure.message
    if record.status == "failed":
        return "error", "failed", "the cell failed"
    if record.partial:
        return "skipped", "partial", "measuring was stopped early"
    # Outputs that can't be compared are not known to be wrong.
    failing = (*record.wrong, "accuracy")
    wrong = [c for c in record.checks if not c.ok and c.name in failing]
    if wrong:
        return "failure", wrong[0].name, "; ".join(f"{c.name}: {c.detail}" for c in wrong)
    return "", "", ""


def _add(suite: ElementTree.Element, case: Case) -> None:
    element = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"bench.{_text(case.suite)}",
        name=_text(case.name),
        time=_seconds(case.seconds),
    )
    if case.tag:
        child = ElementTree.SubElement(
            element, case.tag, type=_text(case.type), message=_text(case.message)
        )
    elif case.text:
        child = ElementTree.SubElement(element, "system-out")
    else:
        return
    lines = case.text.splitlines()
    child.text = "\n".join(printable(line, limit=500) for line in lines)[:_TEXT_LIMIT] or None


def _counts(cases: list[Case]) -> dict[str, str]:
    tags = [case.tag for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(tags.count("failure")),
        "errors": str(tags.count("error")),
    }


def _seconds(value: float) -> str:
    return f"{value:.3f}"


def _text(text: str) -> str:
    """No control characters: XML 1.0 has no way to write them, escaped or not."""
    return printable(text, limit=_TEXT_LIMIT)
