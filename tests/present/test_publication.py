"""`bench publish` and `bench publish --check`: what is published is what was measured."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from measured_runs import measured_run

from bench.__main__ import main
from bench.present.publication.check import check
from bench.store.derive import derived
from bench.store.run import read_run

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "results").glob("*/published.json"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return measured_run(tmp_path)


@pytest.fixture
def published(run: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    assert main(["publish", str(run), "-o", str(folder), "--title", "A title"]) == 0
    return folder


def test_deriving_again_gives_what_the_run_wrote(run: Path) -> None:
    stored = read_run(run)
    again = derived(stored)
    assert again.problems == []
    assert again.run == stored


def test_publishing_again_gives_the_same_bytes_and_so_does_publishing_the_copy(
    run: Path, published: Path, tmp_path: Path
) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    first = contents(published)
    assert main(["publish", str(run), "-o", str(published), "--title", "A title"]) == 0
    assert contents(published) == first
    copy = published / "runs" / run.name
    assert main(["publish", str(copy), "-o", str(tmp_path / "c"), "--title", "A title"]) == 0
    assert contents(tmp_path / "c") == first
    assert {"README.md", "index.html", "results.csv", "pairs.csv", "published.json"} <= set(first)
    assert str(tmp_path) not in "".join(
        data.decode() for name, data in first.items() if not name.endswith((".parquet", ".npz"))
    )


def test_a_publication_agrees_with_its_raw_data(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "--check", str(published.parent)]) == 0
    out = capsys.readouterr().out
    assert " numbers of 1 run derived again; all agree." in out
    assert check(published).numbers > 300


def _change_csv(published: Path, file: str, column: str) -> None:
    path = published / file
    rows = list(csv.reader(path.read_text().splitlines()))
    place = rows[0].index(column)
    row = next(row for row in rows[1:] if row[place])
    row[place] = repr(float(row[place]) * 1.001)
    with path.open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("results.csv", "median_ns"),
        ("results.csv", "median_low_ns"),
        ("results.csv", "floor_ns"),
        ("results.csv", "p90_ns"),
        ("results.csv", "p99_ns"),
        ("results.csv", "throughput_high_per_s"),
        ("results.csv", "accuracy"),
        ("results.csv", "accuracy_low"),
        ("results.csv", "load_ns"),
        ("results.csv", "peak_rss_bytes"),
        ("pairs.csv", "speedup_value"),
        ("pairs.csv", "speedup_low"),
        ("pairs.csv", "accuracy_difference"),
        ("pairs.csv", "accuracy_p"),
        ("pairs.csv", "accuracy_retained"),
        ("pairs.csv", "size_ratio"),
    ],
)
def test_any_number_that_was_changed_is_named(
    published: Path, file: str, column: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _change_csv(published, file, column)
    assert main(["publish", "--check", str(published)]) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert f"{file}, " in line
    assert f", {column}: published " in line
    assert "fashion-" in line
    assert "derived " in line


@pytest.mark.parametrize("file", ["README.md", "index.html"])
def test_a_number_changed_in_a_table_for_people_is_named_with_its_row_and_column(
    published: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published / file
    text = path.read_text()
    found = re.search(r"\d+\.\d+ µs", text)
    assert found
    path.write_text(text[: found.start()] + "9" + text[found.start() :])
    assert main(["publish", "--check", str(published)]) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert file in line
    assert "Latency, median: published" in line
    assert "x:cpu" in line


@pytest.mark.parametrize("file", ["README.md", "index.html"])
def test_a_sentence_that_was_changed_is_named(
    published: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published / file
    lines = path.read_text().splitlines()
    place = next(n for n, line in enumerate(lines) if re.match(r"(- |<li>)On x:cpu fash", line))
    lines[place] = lines[place].replace("as fast", "as slow", 1)
    path.write_text("\n".join(lines) + "\n")
    assert main(["publish", "--check", str(published)]) == 1
    assert f"{file}, line {place + 1}: published" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "key"), [("records.jsonl", "median_ns"), ("invocations.jsonl", "busy_ns")]
)
def test_a_record_that_its_samples_do_not_bear_out_is_named(
    published: Path, file: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = published.glob(f"runs/*/{file}")
    text = path.read_text()
    changed, count = re.subn(rf'"{key}":(\d+)', rf'"{key}":1\1', text, count=1)
    assert count or '"median_ns":{' in text
    if not count:
        changed = re.sub(r'"median_ns":\{"value":', '"median_ns":{"value":1', text, count=1)
    path.write_text(changed)
    assert main(["publish", "--check", str(published)]) == 1
    assert key in capsys.readouterr().out


def test_samples_or_predictions_that_are_lost_are_differences(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(published, published.parent / "other")
    next(published.glob("runs/*/samples/*.parquet")).unlink()
    assert main(["publish", "--check", str(published)]) == 1
    assert "has no samples" in capsys.readouterr().out
    next((published.parent / "other").glob("runs/*/predictions/*.parquet")).unlink()
    assert main(["publish", "--check", str(published.parent / "other")]) == 1
    assert "predictions can't be read" in capsys.readouterr().out


def test_other_folders_are_neither_replaced_nor_checked(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    assert main(["publish", str(run), "-o", str(precious)]) == 2
    assert (precious / "thesis.txt").read_text() == "mine"
    assert main(["publish", "--check", str(precious)]) == 2
    assert main(["publish", "--check", str(tmp_path / "nowhere")]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert len(errors.splitlines()) == 3


@pytest.mark.parametrize("name", ["..", "/etc", "a/../../b", ""])
def test_a_manifest_leads_nowhere_else(published: Path, name: str) -> None:
    (published / "published.json").write_text(
        json.dumps({"schema_version": 1, "title": "x", "runs": [name]})
    )
    assert main(["publish", "--check", str(published)]) == 2


def test_hostile_names_are_text_on_the_page_and_in_the_tables(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>|`x` =cmd()"
    run = measured_run(tmp_path, hostile=name)
    folder = tmp_path / "p"
    assert main(["publish", str(run), "-o", str(folder), "--title", "<b>t</b>"]) == 0

    class Tags(HTMLParser):
        found: set[str] = set()  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.found.add(tag)

    parser = Tags()
    parser.feed((folder / "index.html").read_text())
    assert not parser.found & {"script", "b", "img"}
    assert "<script>" not in (folder / "README.md").read_text()
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert rows[0]["model"] == name


@pytest.mark.parametrize("manifest", PUBLISHED, ids=lambda path: path.parent.name)
def test_the_results_that_this_project_publishes_follow_from_their_raw_data(
    manifest: Path,
) -> None:
    account = check(manifest.parent)
    assert [str(problem) for problem in account.problems] == []
    assert account.numbers > 100


@pytest.mark.parametrize("file", ["results.csv", "pairs.csv"])
def test_a_column_that_was_taken_out_or_invented_is_found(
    published: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published / file
    rows = list(csv.reader(path.read_text().splitlines()))

    def write(changed: list[list[str]]) -> None:
        with path.open("w", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows(changed)

    write([row[:5] + row[6:] for row in rows])
    assert main(["publish", "--check", str(published)]) == 1
    write([[*row, "speed" if number == 0 else "1"] for number, row in enumerate(rows)])
    assert main(["publish", "--check", str(published)]) == 1
    assert capsys.readouterr().out.count(f"{file}, header: published") == 2
