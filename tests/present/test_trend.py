"""A trend site: what it shows, that it grows, and that nothing it is given can break it."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from compared_runs import MACHINE, on_disk
from fake_records import STUDENT, TEACHER, a_cell, a_record, a_run

from bench.commands.publish import command
from bench.errors import SpecError
from bench.judge.history import Selection, history
from bench.present.history import history_text
from bench.present.trend.site import write_site
from bench.store.run import StoredRun, read_run

COMMITS = ("a" * 40, "b" * 40)


def runs(folder: Path, count: int = 16, first: int = 0, step: int = 8) -> list[StoredRun]:
    """One a day of two models; from ``step`` on the teacher takes 1.3 times as long."""
    rng = np.random.default_rng(3)
    wobble = np.exp(rng.normal(0, 0.01, (first + count, 2)))
    found = []
    for day in range(first, first + count):
        times = 2e5 * wobble[day] * (1.3 if day >= step else 1.0, 1.0)
        records = [
            a_record(a_cell(model), float(time))
            for model, time in zip((TEACHER, STUDENT), times, strict=True)
        ]
        found.append(
            on_disk(
                folder / str(day),
                records,
                created_at=f"2026-01-{day + 1:02}T10:00:00+00:00",
                facts={**MACHINE, "git_commit": COMMITS[day >= step]},
                machine_name="runner",
            )
        )
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trend")
    write_site(runs(folder / "runs"), folder / "site", "Trends of <net>")
    return folder / "site"


def pages(site: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in site.rglob("*.html")}


def words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def cell_page(site: Path, model: str) -> str:
    (found,) = (t for p, t in pages(site).items() if p.parent.name == "cells" and model in t)
    return found


def test_a_step_is_marked_where_history_finds_it(site: Path) -> None:
    index = words((site / "index.html").read_text())
    assert "fashion-teacher onnxruntime:cpu, single-stream : 2026-01-09: slower, 0.7" in index
    assert "commit aaaaaaaa → bbbbbbbb" in index
    assert "fashion-student onnxruntime:cpu, single-stream :" not in index
    teacher, student = (cell_page(site, name) for name in ("fashion-teacher", "fashion-student"))
    assert teacher.count('class="step slower"') == 1
    assert teacher.count("<polyline") == 2, "the line is broken at the step"
    assert student.count('class="step') == 0
    assert student.count("<polyline") == 1
    assert "No change found." in words(student)


def test_cells_that_differ_in_a_setting_alone_have_lines_of_their_own_names(tmp_path: Path) -> None:
    cells = [a_cell(STUDENT), a_cell(STUDENT, lane="api"), a_cell(STUDENT, lane="api", threads=4)]
    folder = on_disk(tmp_path / "a", [a_record(cell) for cell in cells], facts=MACHINE)
    write_site([folder], tmp_path / "site", "t")
    index = words((tmp_path / "site" / "index.html").read_text())
    names = ["1 thread", "user API, 1 thread", "user API, 4 threads"]
    assert all(f"onnxruntime:cpu, single-stream, {name} " in index for name in names)
    found, _ = history([folder.path], Selection())
    said = " ".join(history_text(found, 300).plain.split())
    assert all(f" single-stream batch 1, {name} (" in said for name in names)


def test_every_link_leads_to_a_file_of_the_site_and_nothing_needs_the_network(site: Path) -> None:
    found = pages(site)
    assert len(found) == 1 + 2 + 16
    for path, text in found.items():
        links = re.findall(r'(?:href|src)="([^"]+)"', text)
        assert "<script" not in text
        for link in links:
            assert link == "data:," or (path.parent / link).is_file(), f"{path}: {link}"
        assert str(site) not in text, "the place where it was made"
    assert cell_page(site, "fashion-teacher").count("<circle") == 16


def test_a_run_s_page_shows_its_results_and_its_commit(site: Path) -> None:
    (page, *_) = [words(t) for p, t in pages(site).items() if p.parent.parent.name == "runs"]
    assert any(f"Commit {commit}" in page for commit in COMMITS)
    for shown in ("Machine runner", "fashion-teacher", "±1.2%"):
        assert shown in page


def test_what_is_kept_is_runs_without_invocations_and_history_finds_the_same(
    site: Path, tmp_path: Path
) -> None:
    kept = [read_run(path.parent) for path in site.rglob("run.json")]
    assert all(not r.invocations for run in kept for r in run.records)
    whole = runs(tmp_path)
    ours, theirs = (history([r.path for r in found], Selection())[0] for found in (kept, whole))
    for a, b in zip(
        sorted(ours, key=lambda s: s.cell_id), sorted(theirs, key=lambda s: s.cell_id), strict=True
    ):
        assert a.changes == b.changes
        assert [p.value for p in a.points] == [p.value for p in b.points]


def test_a_model_that_changed_keeps_its_line_and_page_and_the_break_is_marked(
    tmp_path: Path,
) -> None:
    site, found = tmp_path / "site", runs(tmp_path / "runs", 4, step=99)
    write_site(found, site, "t")
    before = {path.name for path in (site / "cells").iterdir()}
    new = STUDENT.model_copy(update={"sha256": "9" * 64})
    later = [
        on_disk(
            tmp_path / f"later{day}",
            [a_record(a_cell(new), 3e5)],
            created_at=f"2026-02-{day:02}T10:00:00+00:00",
            facts=MACHINE,
            machine_name="runner",
        )
        for day in (1, 2)
    ]
    written = write_site(later, site, "t")
    assert (written.cells, written.steps) == (2, 0)
    assert {path.name for path in (site / "cells").iterdir()} == before
    page = cell_page(site, "fashion-student")
    assert page.count('class="step content"') == 1
    assert page.count("<polyline") == 2
    assert page.count("<circle") == 6
    assert words(page).count("model's content changed") == 3  # on the line, below it, in the table
    assert "2026-02-01: the model's content changed" in words((site / "index.html").read_text())


def test_a_site_grows_and_has_each_run_once(tmp_path: Path) -> None:
    site, found = tmp_path / "site", runs(tmp_path / "runs", 6)
    assert write_site(found[:4], site, "t").added == 4
    again = write_site(found[2:], site, "t")
    assert (again.runs, again.added) == (6, 2)
    assert write_site([], site, "t").runs == 6, "without a new run the pages are written again"


def test_a_broken_or_newer_run_is_told_and_the_others_are_shown(tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_site(runs(tmp_path / "runs", 4), site, "t")
    first, second, *_ = sorted(site.rglob("run.json"))
    first.write_text("{")
    (first.parent / "records.jsonl").write_text("")
    second.write_text(second.read_text().replace('"schema_version": ', '"schema_version": 9'))
    written = write_site(runs(tmp_path / "more", 1, first=4), site, "t")
    assert written.runs == 3
    assert len(written.skipped) == 2
    index = words((site / "index.html").read_text())
    assert index.count("Not shown: left out:") == 2
    assert str(site) not in index
    assert first.read_text() == "{", "what can't be read is left as it is"


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(SpecError, match=r"not a trend site, and holds thesis\.tex"):
        write_site(runs(tmp_path / "runs", 1), tmp_path, "t")
    with pytest.raises(SpecError, match="no runs to show"):
        write_site([], tmp_path / "empty", "t")


def test_names_from_outside_are_text(tmp_path: Path) -> None:
    evil = TEACHER.model_copy(update={"name": "<img src=x onerror=alert(1)>"})
    run = on_disk(tmp_path / "r", [a_record(a_cell(evil))], label="<em>", machine_name="<i>")
    write_site([run], tmp_path / "site", "<u>")
    for text in pages(tmp_path / "site").values():
        assert not re.search(r"<(img|em|i|u)[ >]", text)


def test_failed_and_simulated_cells_have_no_line(tmp_path: Path) -> None:
    run = on_disk(tmp_path / "r", a_run())
    written = write_site([run], tmp_path / "site", "t")
    assert written.cells == len(list((tmp_path / "site" / "cells").iterdir()))
    assert "ascend" not in (tmp_path / "site" / "index.html").read_text()
    assert "unsupported" in next((tmp_path / "site" / "runs").rglob("index.html")).read_text()


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    runs(tmp_path / "runs", 2)
    site = str(tmp_path / "site")
    done = CliRunner().invoke(command, ["--history", str(tmp_path / "runs"), "-o", site])
    assert "2 runs (2 added), 2 cells, 0 changes." in done.output
    shutil.rmtree(tmp_path / "runs")
    done = CliRunner().invoke(command, ["--history", "-o", site])
    assert "2 runs (0 added)" in done.output
