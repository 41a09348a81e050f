"""`bench report` as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Bench
from hostile_run import PORTABILITY, write_hostile_run


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hostile_run(tmp_path_factory.mktemp("runs"))


def test_it_writes_one_file_and_says_which(bench: Bench, run_path: Path, tmp_path: Path) -> None:
    matrix = tmp_path / "p.json"
    matrix.write_text(json.dumps(PORTABILITY))
    done = bench(
        "report", str(run_path), "--portability", str(matrix), "--title", "Ours & <theirs>"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("wrote report.html (")
    text = (tmp_path / "report.html").read_text()
    assert "<title>Ours &amp; &lt;theirs&gt;</title>" in text
    assert 'id="portability"' in text
    assert len(text.encode()) < 10_000_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "nowhere: not a run directory"),
        (("RUN", "RUN"), "is named twice"),
        (("RUN", "-o", "no/such/folder.html"), "the page can't be written"),
        (("RUN", "--portability", "absent.json"), "there is no such file"),
        (("RUN", "--allow", "machines"), "Did you mean machine"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    bench: Bench, run_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = bench("report", *(a.replace("RUN", str(run_path)) for a in arguments))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_pictures_without_kaleido_say_how_to_get_it(
    bench: Bench, run_path: Path, plugin_path: Path, tmp_path: Path
) -> None:
    # A module of this name in the user's path that can't be imported is as good as none.
    broken = plugin_path / "kaleido.py"
    broken.write_text("raise ImportError('absent')\n")
    try:
        done = bench("report", str(run_path), "--png", str(tmp_path / "png"))
    finally:
        broken.unlink()
    assert done.returncode == 1, done.stderr
    assert "report-png" in done.stderr
    assert (tmp_path / "report.html").exists()


def test_a_browser_that_does_not_start_is_one_sentence(
    bench: Bench, run_path: Path, environment: dict[str, str]
) -> None:
    pytest.importorskip("kaleido")
    environment["BROWSER_PATH"] = "/bin/false"
    done = bench("report", str(run_path), "--png", "png")
    assert done.returncode == 1, done.stderr
    assert "could not draw the pictures: " in done.stderr
    assert "Traceback" not in done.stderr
