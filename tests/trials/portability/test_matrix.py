"""The matrix in its three forms."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from rich.cells import cell_len

from bench.record.portability import (
    ModelRow,
    OperatorRow,
    PortabilityReport,
    SuiteFacts,
    TargetRow,
)
from bench.trials.portability.matrix import matrix_of
from bench.trials.portability.matrix_html import report_html
from bench.trials.portability.matrix_markdown import report_markdown
from bench.trials.portability.matrix_text import report_text

NASTY = "<script>alert(1)</script>|`x`\x1b[31m"


def operator(name: str, target: str, outcome: str, passed: int, tests: int = 4) -> OperatorRow:
    detail = "" if passed == tests else f"test_{name.lower()}: it said {NASTY}"
    return OperatorRow(
        operator=name,
        domain="",
        opset=13,
        target=target,
        outcome=outcome,  # type: ignore[arg-type]
        tests=tests,
        passed=passed,
        detail=detail,
    )


def report(targets: tuple[str, ...] = ("a:cpu", "b:npu:0")) -> PortabilityReport:
    return PortabilityReport(
        bench_version="1",
        created_at="2026-11-24T00:00:00+00:00",
        command=f"bench portability {NASTY}",
        suite=SuiteFacts(onnx_version="1.23", tests=8, random=1, not_expressible=2),
        facts={"cpu_model": NASTY},
        targets=(
            *(TargetRow(target=t, version="1", counts={"pass": 6, "crash": 2}) for t in targets),
            TargetRow(target="torch:cpu", unavailable=f"takes no ONNX {NASTY}"),
        ),
        operators=tuple(
            row
            for t in targets
            for row in (
                operator("Abs", t, "pass", 4),
                operator("Conv", t, "crash", 2),
                operator("Str", t, "not-expressible", 0, 0),
            )
        ),
        models=(
            ModelRow(
                model=f"net{NASTY}",
                variant="fp32",
                target="a:cpu",
                outcome="unsupported",
                detail="no kernel for Conv",
                nodes=("Conv 'conv1'",),
                predicted="runs",
                predicted_detail="no test is like Foo",
                prediction_held=False,
            ),
        ),
        notes=(f"a note {NASTY}",),
    )


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize(
    "targets", [("a:cpu",), tuple(f"a-long-backend:npu:{n}" for n in range(6))]
)
def test_no_line_is_wider_than_the_terminal(targets: tuple[str, ...], everything: bool) -> None:
    text = report_text(report(targets), 80, everything=everything).plain
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_counts_come_first_and_what_fails_is_told_with_its_reason() -> None:
    text = report_text(report(), 80).plain
    assert text.index("1.23's node tests: 8 on each target") < text.index("75.0%")
    assert text.index("75.0%") < text.index("Conv-13") < text.index("! Conv-13: test_conv")
    assert (
        "Left out: 2 of types that can't be passed to a worker, 1 with random numbers"
        in " ".join(text.split())
    )
    assert "2 of 3 operators pass on every target" in text
    assert "Abs-13" not in text
    assert "Abs-13" in report_text(report(), 80, everything=True).plain


def test_a_wrong_prediction_is_called_so_and_nodes_are_named() -> None:
    text = " ".join(report_text(report(), 80).plain.split())
    assert "unsupported runs, wrong" in text
    assert "Nodes: Conv 'conv1'" in text


class Tags(HTMLParser):
    """Collects elements, and that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_loads_nothing() -> None:
    page = report_html(report())
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "<script" not in page
    assert [a["href"] for _, a in tags.seen if "href" in a] == ["data:,"]
    assert not [a for _, a in tags.seen if "src" in a]
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page


def test_every_cell_of_the_heat_map_says_in_words_what_its_colour_shows() -> None:
    page = report_html(report())
    assert '<span aria-hidden="true">!</span> crash 2/4</td>' in page
    assert '<span aria-hidden="true">✓</span> pass</td>' in page
    tags = Tags()
    tags.feed(page)
    heads = [attributes for tag, attributes in tags.seen if tag == "th"]
    assert heads
    assert all(attributes.get("scope") in ("col", "row") for attributes in heads)


def test_a_wrong_result_is_shown_in_a_cell_whose_other_tests_pass() -> None:
    hidden = operator("Conv", "a:cpu", "partial", 3).model_copy(update={"counts": {"wrong": 1}})
    refused = operator("Abs", "a:cpu", "partial", 3).model_copy(
        update={"counts": {"unsupported": 1}}
    )
    found = report(("a:cpu",)).model_copy(update={"operators": (hidden, refused)})
    page = report_html(found)
    assert 'class="o-wrong" data-h="a:cpu"' in page
    assert "≠</span> wrong 3/4" in page
    assert "~</span> partial 3/4" in page
    assert "| Conv-13 | ≠ 3/4 |" in report_markdown(found)
    assert "≠ 3/4" in report_text(found, 80).plain
    assert "1 wrong, 1 partial" in page


def test_what_is_alike_on_every_target_is_one_row_with_its_names() -> None:
    rows = tuple(
        operator(name, target, "pass", 4)
        for target in ("a:cpu", "b:npu:0")
        for name in ("Abs", "Add", "And")
    )
    page = report_html(report().model_copy(update={"operators": rows}))
    assert "3 operators<details><summary>names</summary>Abs-13, Add-13, And-13</details>" in page


def test_markdown_keeps_its_tables_whole_whatever_stands_in_them() -> None:
    text = report_markdown(report())
    outside_of_code = text.replace("\\<", "").split("\n\n", 2)[2]
    assert "<script" not in outside_of_code
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for line in rows:
        assert line.replace("\\|", "").count("|") in (4, 7, 10)
    assert "| Conv-13 | ! 2/4 | ! 2/4 |" in rows


def test_a_report_survives_json() -> None:
    made = report()
    assert PortabilityReport.model_validate_json(made.model_dump_json()) == made
    assert [row.label for row in matrix_of(made).rows] == ["Abs-13", "Conv-13", "Str-13"]


def test_the_json_has_what_other_reports_read() -> None:
    data = report().model_dump(mode="json")
    assert (data["schema_version"], data["kind"]) == (1, "portability")
    assert {"bench_version", "created_at", "facts"} <= set(data)
    assert {"target", "version", "device_name", "simulated"} <= set(data["targets"][0])
    operators = "operator domain opset target outcome tests passed worst_error detail"
    assert set(operators.split()) <= set(data["operators"][0])
    assert {"model", "variant", "target", "outcome", "detail", "nodes"} <= set(data["models"][0])


def test_what_a_runtime_said_keeps_its_dots() -> None:
    row = ModelRow(
        model="m",
        variant="fp32",
        target="a:cpu",
        outcome="unsupported",
        detail="see ../m.onnx ... it",
        nodes=("n",),
        predicted="runs",
        predicted_detail="Relu is missing.",
        prediction_held=False,
    )
    found = report().model_copy(update={"models": (row,)})
    text = " ".join(report_text(found, 80, everything=True).plain.split())
    assert "- m on a:cpu: see ../m.onnx ... it. Nodes: n." in text
    assert "- predicted for m on a:cpu: Relu is missing." in text
    assert "missing.." not in text
    ends = row.model_copy(update={"detail": "nothing in ../..", "nodes": ()})
    found = report().model_copy(update={"models": (ends,)})
    assert "nothing in ../.." in report_text(found, 80, everything=True).plain
