"""The notebook in docs runs from its first cell to its last, and its stored output is of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first-look.ipynb"
Cells = list[dict[str, Any]]


def kinds(cells: Cells) -> list[list[str]]:
    """For each cell of code the kinds of its outputs; pictures may be there or not."""
    return [
        sorted({kind for o in cell["outputs"] for kind in o.get("data", {})} - {"image/png"})
        for cell in cells
        if cell["cell_type"] == "code"
    ]


@pytest.mark.long
def test_the_notebook_runs_and_its_stored_outputs_are_of_these_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")  # needs no browser
    found = nbformat.read(NOTEBOOK, as_version=4)
    stored = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        found, timeout=300, resources=place
    ).execute()  # raises what a cell does
    assert kinds(found.cells) == kinds(stored)
    progress, run, *_ = (cell["outputs"] for cell in found.cells if cell["cell_type"] == "code")
    assert "2 of 2 cells, finished after" in progress[0]["data"]["text/plain"]
    assert run[0]["data"]["text/html"].count("<tr>") >= 3
    assert list((tmp_path / "results" / "runs").glob("*/run.json"))


def test_the_stored_notebook_is_small_and_has_no_traceback() -> None:
    text = NOTEBOOK.read_text("utf-8")
    assert len(text) < 300_000
    outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
    assert {o["output_type"] for o in outputs} <= {"display_data", "execute_result"}
