"""Guessed sizes, and data that is left out of the accuracy, are told in every output."""

from __future__ import annotations

import pytest
from compared_runs import in_memory
from fake_records import STUDENT, a_cell, a_record, an_accuracy

from bench.present.ci.base import Subject
from bench.present.ci.markdown import markdown_text
from bench.present.page.page import make_page
from bench.present.publication.write import PAGE, README, section, tables
from bench.present.results import result_table
from bench.store.run import StoredRun

GUESSED, LEFT_OUT = "guessed sizes: past=128", "d: 2 files are left out"
SENTENCES = [
    "fashion-student: measured at seq=64.",
    f"fashion-student: {GUESSED}.",
    f"accuracy of fashion-student: {LEFT_OUT}.",
]


@pytest.fixture
def run() -> StoredRun:
    accuracy = an_accuracy(0.9).model_copy(update={"notes": (LEFT_OUT,)})
    changes = {"sizes": {"seq": 64}, "assumed": (GUESSED,), "accuracy": accuracy}
    targets = ("onnxruntime:cpu", "openvino:cpu")
    return in_memory([a_record(a_cell(STUDENT, t)).model_copy(update=changes) for t in targets])


def test_the_table_markdown_page_and_publication_tell_each_once(run: StoredRun) -> None:
    published = tables("title", [section("run", run)[0]])
    shown = {
        "table": result_table(run.records, 200).plain,
        "markdown": markdown_text(Subject(run)),
        "readme": published[README],
        "publication": published[PAGE],
    }
    plain = {name: text.replace("&#45;", "-") for name, text in shown.items()}
    for name, text in plain.items():
        for words in SENTENCES:
            assert text.count(words) == 1, (name, words, text)


def test_the_report_page_tells_each_once(run: StoredRun) -> None:
    (measured,) = [s for r in make_page([run]).runs for s in r.sections if "measured" in s.name]
    assert [p for p in measured.paragraphs if p in SENTENCES] == SENTENCES


def test_without_any_nothing_is_added() -> None:
    run = in_memory([a_record(a_cell(STUDENT, "onnxruntime:cpu"))])
    assert "guessed" not in markdown_text(Subject(run))
    assert "Note" not in tables("title", [section("run", run)[0]])[README]
