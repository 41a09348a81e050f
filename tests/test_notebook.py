"""The notebook in docs runs from its first cell to its last, and its stored output is of that."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "first-look.ipynb"
Cells = list[dict[str, Any]]
#: A column that is left out where a busy machine gave too few samples.
MAY_LACK = "p99"
VERDICT = re.compile(r"\b(faster|slower|same|inconclusive|contention-dependent)\b")


def shape(cells: Cells) -> list[list[dict[str, Any]]]:
    """What the outputs of each cell are made of: no figure, no verdict, and of pictures only that
    they are there."""
    return [
        [_shape(output) for output in cell["outputs"]]
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def _shape(output: dict[str, Any]) -> dict[str, Any]:
    data = dict(output.get("data", {}))
    data.pop("image/png", None)  # drawn where a browser is installed
    found: dict[str, Any] = dict.fromkeys(data)
    if "text/html" in data:
        found["text/html"] = _tables(_text(data["text/html"]))
    if "text/plain" in data:
        found["text/plain"] = _first_line(_text(data["text/plain"]))
    return {"type": output["output_type"], **found}


def _text(stored: str | list[str]) -> str:
    return stored if isinstance(stored, str) else "".join(stored)


def _tables(html: str) -> list[tuple[list[str], int]]:
    """The heads of each table, and how many rows it has."""
    return [
        (
            [head for head in re.findall(r"<th[^>]*>(.*?)</th>", table) if head != MAY_LACK],
            table.count("<tr"),
        )
        for table in re.findall(r"<table.*?</table>", html, re.DOTALL)
    ]


def _first_line(text: str) -> str:
    """Without figures; what follows are notes about the machine."""
    line = " ".join((text.splitlines() or [""])[0].split())
    return VERDICT.sub("VERDICT", re.sub(r"[\d.:]*\d", "0", line))


@pytest.mark.alone
@pytest.mark.slow
def test_the_notebook_runs_and_its_stored_outputs_are_of_this_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")  # needs no browser
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(NOTEBOOK, docs)
    before = files_of_the_repository()
    found = nbformat.read(docs / NOTEBOOK.name, as_version=4)
    place = {"metadata": {"path": str(docs)}}
    # Raises what a cell does.
    nbclient.NotebookClient(found, timeout=300, resources=place).execute()
    assert shape(found.cells) == shape(json.loads(NOTEBOOK.read_text("utf-8"))["cells"])
    assert len(list((docs / "results" / "runs").glob("*/run.json"))) == 2
    assert files_of_the_repository() == before


def files_of_the_repository() -> set[str]:
    """Names of all files of the folders that a notebook could write to by mistake."""
    places = (ROOT, ROOT / "docs", ROOT / "results", ROOT / "results" / "runs")
    return {str(path) for place in places if place.is_dir() for path in place.iterdir()}


@pytest.mark.parametrize(
    ("stored", "other", "alike"),
    [
        (
            "<bench.Run 'runs/20261128T1Z-b': 2 cells>",
            "<bench.Run 'runs/20270101T2Z-b': 2 cells>",
            True,
        ),
        ("<bench.Comparison: 1 inconclusive>", "<bench.Comparison: 1 slower>", True),
        (
            "2 of 2 cells, finished after 1:43; x\nnote: busy",
            "2 of 2 cells, finished after 0:09; x",
            True,
        ),
        ("<bench.Comparison: 1 slower>", "<bench.Comparison: no speed was compared>", False),
        ("", "NameError", False),
    ],
)
def test_figures_and_verdicts_may_differ_and_words_may_not(
    stored: str, other: str, alike: bool
) -> None:
    assert (_first_line(stored) == _first_line(other)) == alike


def test_a_table_that_lost_a_row_or_a_column_has_another_shape() -> None:
    table = "<table><tr><th>Model</th>{}</tr>{}</table>"
    row = "<tr><td>1</td></tr>"
    shapes = [
        _tables(table.format(heads, rows))
        for heads, rows in (("<th>p99</th>", row), ("", row), ("<th>p</th>", row), ("", ""))
    ]
    assert shapes[0] == shapes[1]
    assert shapes[2] != shapes[1] != shapes[3]


def test_the_stored_notebook_is_small_and_has_no_traceback() -> None:
    text = NOTEBOOK.read_text("utf-8")
    assert len(text) < 300_000
    outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
    assert {o["output_type"] for o in outputs} <= {"display_data", "execute_result"}
