"""The Python in the documents is run, and every value that it shows is compared.

A ```pycon block is a session: its output is what the code prints. The sessions of a page are one
after the other, in the repository's folder. A ```python block that computes something is run too,
by one of the tests in `RUN_BY`.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from bench.api.reference import page

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What runs the blocks that hold one of these, which measure or are files of a package.
RUN_BY = {
    "bench.run(": "test_api_measure.py, and the notebook",
    "def test_": "tests/fixture/test_plugin.py",
    "# bench_": "the walk-throughs of test_docs.py",
    "# make.py": "the walk-throughs of test_docs.py",
    "# nets.py": "the walk-throughs of test_docs.py",
    "requirements = {": "nothing: it is a declaration",
}


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for found, body in FENCE.findall(document.read_text("utf-8")) if found == language]


def failures(session: str, name: str) -> str:
    """What `doctest` says of a session; empty where every value is as shown."""
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(session, {}, name, name, 0)
    assert test.examples, f"{name}: no example begins with >>>"
    said: list[str] = []
    doctest.DocTestRunner(optionflags=flags, verbose=False).run(test, out=said.append)
    return "".join(said)


SESSIONS = {d.name: "\n".join(found) for d in DOCUMENTS if (found := blocks(d, "pycon"))}


def test_there_are_sessions_on_the_pages_about_python_and_results() -> None:
    assert {"python.md", "results.md", "results-format.md"} <= set(SESSIONS)


@pytest.mark.parametrize("name", SESSIONS)
def test_every_value_that_a_document_shows_is_computed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert not failures(SESSIONS[name], name)


def test_a_value_that_is_not_computed_is_found() -> None:
    session = ">>> 12461 + 1\n{}\n"
    assert not failures(session.format(12462), "right")
    assert "Got:\n    12462" in failures(session.format(135441), "wrong")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_python_is_left_that_nothing_runs(document: Path) -> None:
    for body in blocks(document, "python"):
        assert any(mark in body for mark in RUN_BY), f"make it a pycon block:\n{body}"


def test_the_page_about_the_api_is_what_its_docstrings_say() -> None:
    found = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert found == page(), "run `python -m bench.api.reference docs/api.md`"
