"""What CI services read: each format is valid, says the same as the run, and takes any name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xmlschema
from compared_runs import in_memory, measured, on_disk
from fake_records import STUDENT, TEACHER, a_cell, a_failed_check, a_failure, a_run
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.__main__ import main
from bench.discover import load_object
from bench.judge.compare import compare
from bench.judge.finding import Limits, Outcome
from bench.judge.gate import Judgement, judge
from bench.judge.matching import match_runs
from bench.present.ci.base import Subject, names
from bench.present.ci.bencher import bencher_text
from bench.present.ci.formats import CI_FORMATS
from bench.present.ci.github_action import BIGGER, SMALLER, github_action_rows
from bench.present.ci.junit import junit_text
from bench.present.ci.markdown import cell_text, code, markdown_text, text
from bench.present.gate import found_text, gate_json, gate_text, limit_text
from bench.record.result import Record

SCHEMA = xmlschema.XMLSchema(str(Path(__file__).with_name("junit.xsd")))
HOSTILE = (
    "<script>alert(1)</script>",
    "a|b`c` **d** _e_ [f](javascript:g) ![h](http://i)",
    '"><img src=x onerror=y>',
    "]]> &amp; <!-- -->",
    "@everyone #1 http://evil.example www.evil.example",
    "bell\x07 null\x00 escape\x1b[31m\nline\r\ttab \ufffe \ud800",
    "``` \\` \\| ~~s~~ $m$ <details>",
    "",
    " ",
    "| - | - |",
    "m" * 5000,
)


def records_of(name: str) -> list[Record]:
    model = TEACHER.model_copy(update={"name": name})
    bad = a_failed_check("parity", f"largest difference of {name}")
    return [
        measured([1e5, 1.01e5, 0.99e5], a_cell(model, "x:cpu")),
        measured([1e5, 1.01e5, 0.99e5], a_cell(model, name), checks=(bad,)),
        a_failure(a_cell(model, "z:cpu"), "crashed", name),
    ]


def gated(now: Sequence[Record], before: Sequence[Record]) -> Judgement:
    matched = match_runs(in_memory(before), in_memory(now, "b"))
    return judge(matched.matches[0].b.run, Limits(max_slowdown=0.05), compare(matched))


def every_outcome() -> Subject:
    cells = [a_cell(m, t) for m in (TEACHER, STUDENT) for t in ("x:cpu", "y:cpu", "z:cpu")]
    steady, slow = [1e5, 1.001e5, 0.999e5], [1.5e5, 1.501e5, 1.499e5]
    before = [measured(steady, cell) for cell in cells[:5]]
    now = [
        measured(steady, cells[0]),
        measured(slow, cells[1]),
        measured([0.5e5, 1e5, 2e5], cells[2]),
        a_failure(cells[3], "crashed", "SIGSEGV"),
        a_failure(cells[4], "unavailable", "no device"),
        measured(steady, cells[5]),
    ]
    judgement = gated(now, before)
    return Subject(judgement.run, judgement)


# -- JUnit ----------------------------------------------------------------------------------------


def test_junit_has_a_failure_for_a_regression_an_error_for_a_crash_and_skips_the_rest() -> None:
    document = junit_text(every_outcome())
    SCHEMA.validate(document)
    root = ElementTree.fromstring(document)
    found = {
        (case.get("name") or "").removesuffix(": latency"): [child.tag for child in case]
        for case in root.iter("testcase")
    }
    tags = {name.split(" single")[0]: tag for name, tag in found.items()}
    assert tags == {
        "fashion-teacher x:cpu": ["system-out"],
        "fashion-teacher y:cpu": ["failure"],
        "fashion-teacher z:cpu": ["skipped"],
        "fashion-student x:cpu": ["error"],
        "fashion-student y:cpu": ["failure"],
        "fashion-student z:cpu": ["skipped"],
    }
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("6", "2", "1")
    slower = root.find(".//failure[@type='fail']")
    assert slower is not None
    assert "takes 1.50x (1.49–1.51) as long as the baseline; 1.05x is allowed." in str(
        slower.get("message")
    )
    assert slower.text == "1.50x (1.49–1.51) the baseline's time, ≤ 1.05x is allowed"
    inconclusive = root.find(".//skipped[@type='inconclusive']")
    assert inconclusive is not None
    assert "invocations" in (inconclusive.get("message") or "")


def test_junit_of_a_run_alone_tells_crashes_absent_devices_and_wrong_outputs_apart() -> None:
    wrong = measured(
        [1e5] * 3, a_cell(target="w:cpu"), checks=(a_failed_check("precision", "bf16"),)
    )
    busy = measured([1e5] * 3, a_cell(target="b:cpu"), checks=(a_failed_check("undisturbed", ""),))
    absent = a_failure(a_cell(target="n:npu"), "unavailable", "none")
    run = in_memory([wrong, busy, absent, a_failure(a_cell(target="c:cpu"), "crashed", "dead")])
    document = junit_text(Subject(run))
    SCHEMA.validate(document)
    cases = ElementTree.fromstring(document).iter("testcase")
    assert [[c.tag for c in case] for case in cases] == [["failure"], [], ["skipped"], ["error"]]


# -- Bencher and github-action-benchmark ----------------------------------------------------------


def test_bencher_has_the_figures_of_the_run_with_their_bounds() -> None:
    run = in_memory(a_run())
    found = json.loads(bencher_text(Subject(run)))
    for record in run.records:
        measures = found.get(names(run.records)[record.cell_id], {})
        if record.status == "failed":
            assert measures == {}
            continue
        if record.simulated:
            assert set(measures) <= {"accuracy"}
            continue
        expected = record.throughput if record.cell.is_rate else None
        if record.latency and not record.cell.is_rate:
            expected = record.latency.median_ns
        assert expected is not None
        measure = measures["throughput" if record.cell.is_rate else "latency"]
        assert measure["value"] == expected.value
        assert measure["lower_value"] <= measure["value"] <= measure["upper_value"]


def test_github_action_benchmark_keeps_smaller_and_bigger_is_better_apart() -> None:
    rows = github_action_rows(Subject(in_memory(a_run())))
    assert {row["unit"] for row in rows[SMALLER]} == {"ns", "bytes"}
    assert {row["unit"] for row in rows[BIGGER]} == {"samples/s", "%"}
    for group in rows.values():
        listed = [row["name"] for row in group]
        assert len(listed) == len(set(listed))
        for row in group:
            assert isinstance(row["value"], float | int)


def test_every_cell_has_a_name_of_its_own() -> None:
    cells = [
        a_cell(threads=threads, lane=lane) for threads in (1, 2) for lane in ("prepared", "api")
    ]
    cells += [a_cell(input_sha256="f" * 64)]
    found = names([measured([1e5] * 3, cell) for cell in cells])
    assert len(set(found.values())) == len(cells)
    (alone,) = names([measured([1e5] * 3, cells[0])]).values()
    assert alone == cells[0].label


ALIKE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "threads": ({"threads": 1}, {"threads": 2}),
    "lane": ({}, {"lane": "api"}),
    "bounds": ({"latency_bound_ns": 10**6}, {"latency_bound_ns": 10**7}),
    "input": ({}, {"input_sha256": "f" * 64}),
}


@pytest.mark.parametrize("what", ALIKE)
def test_two_cells_that_are_called_the_same_are_told_apart_wherever_a_gate_names_them(
    what: str,
) -> None:
    cells = [a_cell(**changes) for changes in ALIKE[what]]
    slower = [measured([t * 1e5 for t in (1, 1.001, 0.999)], cell) for cell in cells]
    before = [measured([t * 5e4 for t in (1, 1.001, 0.999)], cell) for cell in cells]
    run = in_memory(slower, "b")
    judgement = judge(run, Limits(0.05), compare(match_runs(in_memory(before), run)))
    assert len({finding.label for finding in judgement.findings}) == 2
    subject = Subject(run, judgement)
    cases = list(ElementTree.fromstring(junit_text(subject)).iter("testcase"))
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases) == 2
    for shown in (markdown_text(subject), markdown_text(Subject(run)), gate_text(judgement, 200)):
        rows = [line for line in str(shown).splitlines() if "onnxruntime:cpu" in line]
        assert len(rows) == len({re.sub(r"[\d.]+ µs", "", row) for row in rows})


def test_cells_that_nothing_else_is_called_have_no_more_than_their_name() -> None:
    run = in_memory([measured([1e5, 1.01e5, 0.99e5], a_cell(threads=4))])
    judgement = judge(run, Limits(0.05), compare(match_runs(in_memory(run.records, "b"), run)))
    assert [finding.apart for finding in judgement.findings] == [()]
    assert "thread" not in markdown_text(Subject(run, judgement))


# -- Markdown -------------------------------------------------------------------------------------


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


_ALLOWED = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "ul", "li", "a"}


def rendered(markdown: str) -> list[str]:
    """The tags of the HTML that GitHub-flavoured Markdown makes of it."""
    parser = _Tags()
    parser.feed(
        MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(markdown)
    )
    return parser.tags


def write(name: str, subject: Subject, path: Path) -> None:
    writer: Any = load_object("CI format", name, CI_FORMATS.find(name).writer)
    writer().write(subject, path)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_stay_text_in_every_format(name: str, tmp_path: Path) -> None:
    records = records_of(name)
    judgement = gated(records, records_of(name)[:2])
    for subject in (Subject(in_memory(records)), Subject(judgement.run, judgement)):
        SCHEMA.validate(junit_text(subject))
        assert json.loads(bencher_text(subject))
        tags = rendered(markdown_text(subject))
        assert set(tags) <= _ALLOWED
        rows = len(subject.judgement.findings) if subject.judgement else len(records)
        assert tags.count("tr") == rows + 1
        assert tags.count("td") == rows * 9
        for form, target in (("markdown", "m"), ("junit", "j"), ("bencher", "b")):
            write(form, subject, tmp_path / target)
        write("github-action", subject, tmp_path / "g")
        assert json.loads((tmp_path / "g" / SMALLER).read_text()) is not None


@given(st.text(max_size=40))
def test_any_text_is_one_cell_without_markup(words: str) -> None:
    for shown in (text(words), cell_text(words), code(words)):
        tags = rendered(f"| a | b |\n| --- | --- |\n| {shown} | x |\n")
        assert set(tags) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}
        assert tags.count("td") == 2


def test_nobody_is_mentioned_and_nothing_is_linked_from_plain_words() -> None:
    from html import unescape

    shown = unescape(text("@everyone fixes #12, http://evil.example, www.evil.example"))
    assert not re.search(r"@\w|#\d|://\w|www\.\w", shown)


@pytest.mark.parametrize("limit", [3_000, 20_000, 1_000_000])
def test_markdown_keeps_to_its_limit_and_tells_how_many_rows_it_left_out(limit: int) -> None:
    cells = [a_cell(target=f"x:{number}") for number in range(9_000)]
    run = in_memory([measured([1e5, 1.01e5], cell) for cell in cells])
    link = "https://ci.example/run/1"
    found = markdown_text(Subject(run, link=link, markdown_limit=limit))
    assert len(found.encode()) <= limit
    left_out = int(re.search(r"(\d+) of 9000 rows are left out", found)[1])  # type: ignore[index]
    assert left_out + found.count("| `x:") == 9_000
    assert f"[All of them]({link})" in found


def test_markdown_of_a_gate_shows_what_failed_first_even_where_rows_are_cut() -> None:
    subject = every_outcome()
    judgement = subject.judgement
    assert judgement is not None
    limit = len(markdown_text(subject).encode()) - 1
    short = markdown_text(Subject(judgement.run, judgement, markdown_limit=limit))
    assert len(short.encode()) <= limit
    assert "### ❌ FAIL" in short
    assert "❌ error" in short
    assert "🆕 new" not in short
    whole = markdown_text(subject)
    assert whole.index("⚠️ inconclusive") < whole.index("✅ pass")


# -- why ------------------------------------------------------------------------------------------


def test_every_form_of_a_judgement_says_why(tmp_path: Path) -> None:
    """Of what failed and what decides nothing: the words and the advice. Of what passed: the figure
    and its limit."""
    from html import unescape

    subject = every_outcome()
    judgement = subject.judgement
    assert judgement is not None
    judgement = replace(judgement, warnings=("the clock is slow",))
    subject = replace(subject, judgement=judgement)
    printed = " ".join(gate_text(judgement, 10_000).plain.split())
    drawn = " ".join(unescape(markdown_text(subject)).split())
    junit = " ".join(unescape(junit_text(subject)).split())
    stored = json.dumps(gate_json(judgement), ensure_ascii=False)
    (unsure,) = judgement.of(Outcome.INCONCLUSIVE)
    assert "too uncertain to check against 1.05x" in unsure.words
    for finding in judgement.findings:
        wanted = [finding.words.rstrip("."), finding.advice]
        if finding.outcome is Outcome.PASS:
            wanted = [found_text(finding), limit_text(finding)]
        for words in filter(None, wanted):
            assert words in drawn, words
            assert words in junit, words
            if finding.outcome is not Outcome.PASS:
                assert words in stored, words
                assert words in printed, words
    assert "the clock is slow" in drawn
    assert "the clock is slow" in stored


# -- the commands ---------------------------------------------------------------------------------


def test_show_writes_every_format_beside_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = on_disk(tmp_path, a_run())
    out = tmp_path / "out"
    flags = ["--markdown", out / "m.md", "--junit", out / "j.xml", "--bencher", out / "b.json"]
    assert main(["show", *map(str, [run.path, *flags, "--github-action", out / "gha"])]) == 0
    assert "fashion-teacher" in capsys.readouterr().out
    SCHEMA.validate((out / "j.xml").read_text())
    assert (out / "m.md").read_text().startswith("### Benchmark of `bench`")
    assert json.loads((out / "b.json").read_text())
    assert json.loads((out / "gha" / BIGGER).read_text())
    assert not list(out.glob("*.partial"))


def test_a_file_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = on_disk(tmp_path, a_run())
    (tmp_path / "file").write_text("")
    assert main(["show", str(run.path), "--junit", str(tmp_path / "file" / "j.xml")]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "can't be written" in x]
    assert "Traceback" not in line


@pytest.mark.slow
def test_a_run_writes_them_when_it_ends_whatever_failed(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    targets = ("-t", "stand-in:ok?us=20", "-t", "stand-in:segfaults", "-t", "missing:npu")
    short = ("--threads", "1", "--precision", "50%", "--min-invocations", "2", "--max-time", "1")
    flags = ("--scenario", "single-stream", "--junit", "j.xml", "--markdown", "m.md")
    result = bench("run", "-m", str(doubling_model), *targets, *short, *flags)
    assert result.returncode == 1, result.stderr
    document = (tmp_path / "j.xml").read_text()
    SCHEMA.validate(document)
    cases = ElementTree.fromstring(document).iter("testcase")
    assert [[child.tag for child in case] for case in cases] == [[], ["error"], ["skipped"]]
    assert "❌ crashed" in (tmp_path / "m.md").read_text()
