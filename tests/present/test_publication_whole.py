"""A publication is compared as a whole: every line of every file, and which files there are."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from measured_runs import GENERATIONS, measured_run

from bench.__main__ import main
from bench.errors import SpecError
from bench.present.publication.check import check, compare_table
from bench.present.publication.files import digests
from bench.present.publication.write import Manifest, publish
from bench.record.differing import Problem
from bench.record.windows import IDLE
from bench.store.raw import read_raw
from bench.store.run import read_run

pytestmark = pytest.mark.usefixtures("few_resamples")

TEXTS = ("README.md", "index.html", "results.csv", "pairs.csv", "published.json")
LINES = ("records.jsonl", "invocations.jsonl", "workers.jsonl", "facts.jsonl", "run.json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert publish([read_run(measured_run(folder))], folder / "p", "A title") == []
    assert found(folder / "p") == []
    return folder / "p"


@pytest.fixture
def published(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "p")


@pytest.fixture
def run(published: Path) -> Path:
    (path,) = (published / "runs").iterdir()
    return path


def found(folder: Path) -> list[str]:
    """What `bench publish --check` finds."""
    try:
        return [str(problem) for problem in check(folder).problems]
    except SpecError as error:
        return [str(error)]


def seal(folder: Path) -> None:
    """Let the manifest name the files as they are now, as somebody who forges may."""
    path = folder / "published.json"
    manifest = Manifest.model_validate_json(path.read_text())
    path.write_text(manifest.model_copy(update={"files": digests(folder)}).text)


def changed(line: str, rng: random.Random) -> str:
    """The line with one character another: a digit stays a digit, a letter a letter."""
    places = [n for n, character in enumerate(line) if character.isalnum()]
    if not places:
        return line + "x"
    place = rng.choice(places)
    old = line[place]
    among = "0123456789" if old.isdigit() else "abcdefghijklmnopqrstuvwxyz"
    new = rng.choice([character for character in among if character != old.lower()])
    return line[:place] + new + line[place + 1 :]


@pytest.mark.parametrize("file", TEXTS)
def test_a_line_of_a_published_file_that_was_changed_is_found(file: str, published: Path) -> None:
    rng = random.Random(file)
    path = published / file
    lines = path.read_text().split("\n")
    for number in rng.sample(range(len(lines)), 3):
        path.write_text(
            "\n".join([*lines[:number], changed(lines[number], rng), *lines[number + 1 :]])
        )
        assert found(published), f"{file} line {number + 1}"
    path.write_text("\n".join(lines))
    assert found(published) == []


def differences(file: str, changed: str, published: str) -> list[str]:
    problems: list[Problem] = []
    compare_table(file, changed, published, problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("file", ["README.md", "index.html"])
def test_every_line_of_a_page_is_compared_whatever_the_manifest_says(file: str, made: Path) -> None:
    rng = random.Random(file)
    text = (made / file).read_text()
    lines = text.split("\n")
    for number, line in enumerate(lines):
        before, after = lines[:number], lines[number + 1 :]
        for other in (
            changed(line, rng),
            changed(line, rng),
            f"{line} ",
            "<script src=x></script>",
        ):
            problems = differences(file, "\n".join([*before, other, *after]), text)
            assert any(f"{file}, line {number + 1}" in one for one in problems), (line, other)
        assert differences(file, "\n".join([*before, *after]), text), f"without {line!r}"
        assert differences(file, "\n".join([*before, line, line, *after]), text), f"twice {line!r}"


@pytest.mark.parametrize("file", ["results.csv", "pairs.csv"])
def test_every_cell_of_a_table_is_compared_whatever_the_manifest_says(
    file: str, made: Path
) -> None:
    text = (made / file).read_text()
    rows = list(csv.reader(io.StringIO(text)))
    for row, cells in enumerate(rows):
        for place, cell in enumerate(cells):
            other = [list(each) for each in rows]
            other[row][place] = f"9{cell}"
            assert differences(file, written(other), text), (row, place)
        assert differences(file, written([*rows[:row], *rows[row + 1 :]]), text)
        assert differences(file, written([*rows[:row], cells, *rows[row:]]), text)


def written(rows: list[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("file", ["README.md", "index.html", "results.csv", "pairs.csv"])
def test_other_line_ends_quotes_and_beginnings_are_found(file: str, made: Path) -> None:
    text = (made / file).read_text()
    quoted = '"' + text.replace("\n", '"\n').replace(",", '","')
    for other in (text.replace("\n", "\r\n"), text + "\n", text[:-1], f"\ufeff{text}", quoted):
        assert differences(file, other, text), other[-30:]


def test_only_the_last_digits_of_a_number_in_full_may_be_those_of_another_library(
    made: Path,
) -> None:
    text = (made / "results.csv").read_text()
    rows = list(csv.reader(io.StringIO(text)))
    place = rows[0].index("median_ns")
    value = float(rows[1][place])
    for factor, expected in ((1 + 1e-13, 0), (1 + 1e-7, 1)):
        rows[1][place] = repr(value * factor)
        assert len(differences("results.csv", written(rows), text)) == expected
    rows[1][place] = f"{value!r}0"
    assert len(differences("results.csv", written(rows), text)) == 1


@pytest.mark.parametrize(
    ("sorted_by", "shown", "expected"),
    [
        ("47.473295787058035 9", "47", 0),
        ("47.4733 9", "47", 1),
        ("47.473295787058056 8", "47", 1),
        ("47.473295787058056", "47", 1),
        ("47.473295787058035 9", "48", 1),
    ],
)
def test_what_a_page_is_sorted_by_may_differ_in_its_last_digits_alone(
    sorted_by: str, shown: str, expected: int
) -> None:
    line = '<tr><td class="n" data-v="{}">{}</td><td>a</td></tr>'
    published = line.format("47.473295787058056 9", "47")
    assert len(differences("index.html", published, line.format(sorted_by, shown))) == expected


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            "<script>x()</script>",
        ),
        ('<td class="" data-h="Model"><code>', '<td onclick="x()"><code>'),
        ("Written by", "Never written by"),
        ("as fast", "as slow"),
        ("<dt>Machine</dt><dd>", "<dt>Machine</dt><dd>Another CPU, "),
    ],
)
def test_what_is_between_the_numbers_of_the_page_is_compared(
    old: str, new: str, published: Path
) -> None:
    path = published / "index.html"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert any("index.html" in problem for problem in found(published))


@pytest.mark.parametrize("file", LINES)
def test_any_raw_line_that_was_changed_is_found(file: str, run: Path) -> None:
    """Also what nothing else in the run tells: whether a worker settled, the size of a file."""
    rng = random.Random(file)
    path = run / file
    lines = path.read_text().split("\n")
    for number in rng.sample(range(len(lines)), min(5, len(lines))):
        other = changed(lines[number], rng)
        path.write_text("\n".join([*lines[:number], other, *lines[number + 1 :]]))
        assert any(file in problem for problem in found(run.parents[1])), lines[number]


@pytest.mark.parametrize(
    ("change", "by"),
    [
        ('"target":"x:cpu"', '"target":"q:cpu"'),
        ('"threads":1', '"threads":64'),
        ('"settled":true', '"settled":false'),
        ("other processes used 40% of a CPU", "nothing"),
        ('"file_bytes":', '"file_bytes":1'),
    ],
)
def test_what_was_changed_everywhere_alike_is_found(change: str, by: str, run: Path) -> None:
    for file in LINES:
        path = run / file
        path.write_text(path.read_text().replace(change, by))
        path.write_text(path.read_text().replace(change.replace(":", ": "), by.replace(":", ": ")))
    assert found(run.parents[1])


@pytest.mark.parametrize(
    ("change", "by"), [('"target":"x:cpu"', '"target":"q:cpu"'), ('"threads":1', '"threads":64')]
)
def test_a_cell_that_was_relabelled_everywhere_does_not_fit_its_id(
    change: str, by: str, run: Path
) -> None:
    for file in LINES:
        path = run / file
        path.write_text(path.read_text().replace(change, by))
        path.write_text(path.read_text().replace(change.replace(":", ": "), by.replace(":", ": ")))
    seal(run.parents[1])
    assert any("cell_id: published" in problem for problem in found(run.parents[1]))


def test_a_file_of_lines_in_which_a_key_is_there_twice_is_found(run: Path) -> None:
    path = run / "records.jsonl"
    path.write_text(path.read_text().replace('"status":"ok"', '"status":"failed","status":"ok"', 1))
    seal(run.parents[1])
    assert any("JSON as bench writes it" in problem for problem in found(run.parents[1]))


def test_samples_of_an_invocation_that_was_taken_out_everywhere_are_found(run: Path) -> None:
    """The best invocations picked: the samples of the others are still there."""
    last = GENERATIONS - 1
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    cell = records[0]["cell_id"]
    records[0]["invocations"].pop()
    text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
    (run / "records.jsonl").write_text(text)
    for file in ("invocations.jsonl", "workers.jsonl"):
        lines = (run / file).read_text().splitlines(keepends=True)
        gone = f'{{"cell_id":"{cell}","index":{last},'
        kept = [line for line in lines if not line.startswith(gone)]
        assert len(kept) == len(lines) - 1
        (run / file).write_text("".join(kept))
    seal(run.parents[1])
    text = f"cell {cell}: no record uses the samples of invocation {last}"
    assert any(text in problem for problem in found(run.parents[1]))


@pytest.mark.parametrize(
    "name",
    [
        "thesis.txt",
        "runs/else.txt",
        "runs/{run}/notes.md",
        "runs/{run}/samples/x.txt",
        "runs/{run}/predictions/more.parquet",
        "runs/{run}/outputs/more.npz",
        "runs/another/run.json",
    ],
)
def test_a_file_that_is_no_part_of_it_is_found(name: str, run: Path) -> None:
    folder = run.parents[1]
    path = folder / name.format(run=run.name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    assert any(path.name in problem for problem in found(folder))
    seal(folder)
    assert any(f"{path.name}: published a file, derived none" in p for p in found(folder))


@pytest.mark.parametrize(
    "name", ["README.md", "runs/{run}/records.jsonl", "runs/{run}/samples", "runs/{run}", "extra"]
)
def test_a_link_is_found_and_not_followed(name: str, run: Path, tmp_path: Path) -> None:
    folder = run.parents[1]
    path = folder / name.format(run=run.name)
    if path.exists():
        path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert any("published a link, derived a plain file" in problem for problem in found(folder))


def test_a_pipe_in_a_publication_is_not_waited_for(run: Path) -> None:
    os.mkfifo(run / "samples" / "z.parquet")
    assert any("z.parquet: published a link" in problem for problem in found(run.parents[1]))


def test_a_publication_without_digests_is_to_be_published_again(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = published / "published.json"
    data = json.loads(path.read_text())
    del data["files"], data["bench_version"]
    path.write_text(json.dumps(data, indent=1) + "\n")
    assert main(["publish", "--check", str(published)]) == 1
    assert "an older bench wrote it" in capsys.readouterr().out


# -- what is published of a run -------------------------------------------------------------------


@pytest.mark.parametrize("below", ["samples", "predictions", "outputs", "records.jsonl"])
def test_what_a_link_in_a_run_leads_to_is_not_published(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = measured_run(tmp_path)
    file = path / below
    if file.is_dir():
        file = sorted(file.iterdir())[0]
    file.rename(tmp_path / "secret")
    file.symlink_to(tmp_path / "secret")
    assert main(["publish", str(path), "-o", str(tmp_path / "p")]) == 2
    assert "is a link or a special file" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_the_folder_that_a_model_lies_in_is_not_published(tmp_path: Path) -> None:
    path = measured_run(tmp_path)
    header = json.loads((path / "run.json").read_text())
    assert header["models"] == ["fashion-teacher", "/models/fashion-student"]
    assert publish([read_run(path)], tmp_path / "p", "x") == []
    published = json.loads((tmp_path / "p/runs" / path.name / "run.json").read_text())
    assert published["models"] == header["suite"]["models"]
    for file in (tmp_path / "p").rglob("*.*"):
        assert b"/models/fashion-student" not in file.read_bytes()
    assert found(tmp_path / "p") == []


def test_a_run_that_was_stopped_is_published_with_what_it_has_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    path = measured_run(tmp_path)
    lines = (path / "records.jsonl").read_text().splitlines(keepends=True)
    (path / "records.jsonl").write_text("".join(lines[:-2]))
    folder = tmp_path / "p"
    assert publish([read_run(path)], folder, "x") == []
    assert found(folder) == []
    for file in ("README.md", "index.html"):
        assert f"2 of {len(lines)} planned cells: " in (folder / file).read_text()
    (run,) = (folder / "runs").iterdir()
    told = {json.loads(line)["cell_id"] for line in lines[:-2]}
    for sample in (run / "samples").iterdir():
        assert set(pq.read_table(sample)["cell_id"].to_pylist()) <= {*told, "canary"}
    again = publish([read_run(run)], tmp_path / "again", "x")
    assert again == []
    assert digests(tmp_path / "again") == digests(folder)


@pytest.mark.parametrize("without", [1, 3])
def test_windows_of_a_group_that_was_stopped_among_them_stay_behind(
    without: int, tmp_path: Path
) -> None:
    """Its records have no energy yet: of another group that was measured before, they have."""
    path = measured_run(tmp_path)
    records = [json.loads(line) for line in (path / "records.jsonl").read_text().splitlines()]
    metered = [record for record in records if record["energy"]]
    assert len(metered) == 3
    for record in metered[:without]:
        record |= {"energy": [], "energy_by_other_kind": []}
    text = "".join(f"{json.dumps(record)}\n" for record in records)
    (path / "records.jsonl").write_text(text)
    folder = tmp_path / "p"
    assert publish([read_run(path)], folder, "x") == []
    assert found(folder) == []
    windows = [window for run in folder.glob("runs/*") for window in read_raw(read_run(run)).energy]
    kept = {record["cell_id"] for record in metered[without:]}
    assert {window.cell_id for window in windows} == (kept | {IDLE} if kept else set())


def test_a_foreign_record_has_to_fit_its_id(run: Path) -> None:
    from bench.record.result import Foreign
    from bench.store.derive import derived

    stored = read_run(run)
    foreign = Foreign(tool="x", source="x.json", name="x", median_ns=1.0)
    record = stored.records[0].model_copy(update={"foreign": foreign, "cell_id": "0" * 12})
    (again,) = derived(replace(stored, records=[record])).run.records
    assert again.cell_id == record.cell.id
