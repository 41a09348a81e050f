"""A run whose parts were not measured alike says so wherever it is shown or published."""

from __future__ import annotations

from pathlib import Path

import pytest
from measured_runs import measured_run

from bench.__main__ import main
from bench.present.publication.check import check
from bench.present.publication.files import digests
from bench.present.publication.write import Manifest
from bench.record.resumption import Change, Resumption
from bench.store.write import resume_run

pytestmark = pytest.mark.usefixtures("few_resamples")

OTHER = Change(kind="machine", what="cpu_model", was="One CPU", now="Another CPU")
TOLD = "with another machine: cpu_model was One CPU and is Another CPU"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = measured_run(tmp_path_factory.mktemp("runs"))
    store, _ = resume_run(path)
    for changes in ((), (OTHER,)):
        store.append_resumption(
            Resumption(
                resumed_at="2026-11-23T13:00:00+00:00",
                command="bench run --resume",
                bench_version="1",
                changes=changes,
            )
        )
    store.close()
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "{run}"),
        ("compare", "{run}"),
        ("deal", "{run}"),
        ("gate", "{run}", "--worst-score", "0.1"),
        ("gate", "{run}", "--save", "{tmp}/baseline.json"),
        ("export-results", "{run}", "-o", "{tmp}/results.parquet"),
        ("report", "{run}", "-o", "{tmp}/report.html"),
        ("publish", "{run}", "-o", "{tmp}/p"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_was_not_alike_is_told_by_every_command_that_shows_the_run(
    arguments: tuple[str, ...], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([part.format(run=run, tmp=tmp_path) for part in arguments])
    said = capsys.readouterr()
    written = [said.out, said.err]
    written += [path.read_text() for path in tmp_path.glob("*.html")]
    assert TOLD in " ".join(" ".join(written).split())


def test_a_published_run_that_was_gone_on_with_says_so_and_its_raw_line_is_checked(
    run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "p"
    assert main(["publish", str(run), "-o", str(folder)]) == 0
    assert not check(folder).problems
    for page in ("README.md", "index.html"):
        assert TOLD in (folder / page).read_text()
    (records,) = folder.glob("runs/*/records.jsonl")
    assert '"name":"own-cpu"' in records.read_text()
    (path,) = folder.glob("runs/*/resumes.jsonl")
    text = path.read_text()
    for other in (text.replace("One CPU", "Another CPU"), text.splitlines(True)[0], None):
        if other is None:
            path.unlink()
        else:
            path.write_text(other)
        assert any("resumes.jsonl" in str(problem) for problem in check(folder).problems)
        manifest = folder / "published.json"
        sealed = Manifest.model_validate_json(manifest.read_text())
        kept = manifest.read_text()
        manifest.write_text(sealed.model_copy(update={"files": digests(folder)}).text)
        assert any("README.md" in str(problem) for problem in check(folder).problems)
        manifest.write_text(kept)
