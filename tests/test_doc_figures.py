"""Figures in the documents are those of the data they are said to come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.cards.catalog import find_model
from bench.present.publication.check import check

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
#: Publication -> the original that its tables begin with.
ORIGINALS = {"default": "fashion-teacher", "language": "verse-moe"}
RUNS = {
    original: run
    for name, original in ORIGINALS.items()
    for run in (ROOT / "results" / name / "runs").glob("*")
}
TEXT = "\n".join(document.read_text("utf-8") for document in DOCUMENTS)


def blocks(document: Path, language: str) -> list[str]:
    text = document.read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def quoted(block: str) -> list[str]:
    """What a block quotes, without the lines that say that something is left out."""
    return [line.rstrip() for line in block.splitlines() if line.strip() not in ("", "...")]


@pytest.mark.parametrize("original", RUNS)
def test_the_tables_in_the_documents_are_those_of_the_published_runs(
    original: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["show", str(RUNS[original])]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    shown = [
        (document, body)
        for document in DOCUMENTS
        for body in blocks(document, "text")
        if f"{original}  original" in body
    ]
    assert shown
    for document, body in shown:
        for line in quoted(body):
            assert line in printed, f"{document.name}: {line!r} is not what `bench show` prints"


def test_the_matrix_in_the_readme_is_that_of_the_published_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(ROOT)
    assert main(["matrix", "results/default", "results/h200"]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    (shown,) = [body for body in blocks(ROOT / "README.md", "text") if "gpu-server" in body]
    for line in quoted(shown):
        assert line in printed, f"README.md: {line!r} is not what `bench matrix` prints"


def test_the_scores_of_language_models_are_those_of_their_cards() -> None:
    for name in ("verse-moe", "verse-student", "verse-student-ce"):
        figures = find_model(name).provenance.figures
        bits = [figures[f"bits_per_byte{end}"] for end in ("", "_low", "_high")]
        right = [100 * figures[f"next_token_accuracy{end}"] for end in ("", "_low", "_high")]
        row = (
            f"| `{name}` | {figures['parameters']:,} "
            f"| {bits[0]:.3f} ({bits[1]:.3f} to {bits[2]:.3f}) "
            f"| {right[0]:.1f}% ({right[1]:.1f} to {right[2]:.1f}) |"
        )
        assert row in TEXT.splitlines()
    figures = find_model("verse-student").provenance.figures
    less, low, high = (
        figures[f"fewer_bits_per_byte_than_control{e}"] for e in ("", "_low", "_high")
    )
    assert f"needs {less:.3f} ({low:.3f} to {high:.3f}) bits a byte less" in TEXT


def test_the_figures_of_the_student_of_an_hour_are_those_that_were_published() -> None:
    published = (ROOT / "results" / "smollm2" / "README.md").read_text("utf-8")
    manual = (ROOT / "docs" / "language-models.md").read_text("utf-8")
    rows = [line for line in manual.splitlines() if line.startswith("| `smollm2-135m")]
    figures = re.findall(r"[\d.]+ ms (?:±\d+%|unstable)|1\.\d\d \([\d.–]+\)", "".join(rows[:2]))
    assert len(figures) == 8
    said = re.search(r"([\d.]+x \([\d.–]+\)) as fast a token", TEXT)
    assert said is not None
    for figure in (*figures, said[1]):
        assert figure in published, figure


def test_the_figures_of_the_h200_are_those_that_were_published_and_that_follow() -> None:
    published = (ROOT / "results" / "h200" / "README.md").read_text("utf-8")
    said = (ROOT / "results" / "README.md").read_text("utf-8").partition("## The H200")[2]
    figures = re.findall(r"[\d.]+ µs ±[\d.]+%|±\d+%|[\d.]+x \([\d.–]+\)", said)
    assert len(figures) == 5
    for figure in figures:
        assert figure in published, figure
    account = check(ROOT / "results" / "h200")
    assert not account.problems
    assert account.taken["accuracies"]


def test_the_figures_of_portability_are_those_of_the_matrix() -> None:
    matrix = json.loads((ROOT / "results" / "portability" / "cpu.json").read_text("utf-8"))
    said = re.search(
        r"Of ([\d,]+) tests ONNX Runtime [\d.]+ passes ([\d.]+)% and OpenVINO [\d.]+ ([\d.]+)%",
        " ".join(TEXT.split()),
    )
    assert said is not None
    tests = matrix["suite"]["tests"]
    assert int(said[1].replace(",", "")) == tests
    counts = {target["target"]: target["counts"] for target in matrix["targets"]}
    for target, share in (("onnxruntime:cpu", said[2]), ("openvino:cpu", said[3])):
        assert f"{100 * counts[target]['pass'] / tests:.1f}" == share, target
