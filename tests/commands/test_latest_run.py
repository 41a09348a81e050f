"""A command reads the runs that are named by path or label; without any, the latest."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from measured_runs import measured_run

from bench.commands import chosen
from bench.commands.cli import cli
from bench.errors import SpecError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "runs").mkdir(parents=True)
    return tmp_path / "results" / "runs"


def keep(
    folder: Path,
    name: str,
    minute: int,
    label: str = "",
    *,
    records: bool = True,
    target: str = "a",
) -> Path:
    """What of a run says which one it is."""
    run = folder / name
    run.mkdir()
    header = {
        "created_at": f"2026-11-23T12:{minute:02}:00Z",
        "label": label,
        "models": ["small", "large"],
        "targets": [target],
    }
    (run / "run.json").write_text(json.dumps(header))
    (run / "records.jsonl").write_text("{}\n" * records)
    return Path("results") / "runs" / name


def test_the_latest_is_the_one_that_was_begun_last_whatever_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latest = keep(folder, "a", 5, "nightly")
    keep(folder, "b", 4)
    assert chosen.latest_run() == latest
    assert capsys.readouterr().err == (
        "bench: no run is named: taking the latest, results/runs/a (nightly)\n"
    )


def test_what_holds_no_result_or_is_still_measured_is_not_the_latest(folder: Path) -> None:
    before = keep(folder, "before", 1)
    keep(folder, "empty", 2, records=False)
    busy = keep(folder, "busy", 3)
    (folder / "broken").mkdir()
    (folder / "broken" / "run.json").write_text("{")
    with (busy / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert chosen.latest_run() == before
        shutil.rmtree(before)
        with pytest.raises(SpecError, match=r"no run with a result .*busy is still being measured"):
            chosen.latest_run()
    assert chosen.latest_run() == busy


def test_a_run_of_several_machines_is_taken_whole(folder: Path) -> None:
    keep(folder, "one", 1)
    inner = folder / "lab" / "machines" / "server"
    inner.mkdir(parents=True)
    (inner / "records.jsonl").write_text("{}\n")
    (folder / "lab" / "fleet.json").write_text('{"created_at": "2026-11-23T13:00:00Z"}')
    assert chosen.latest_run() == Path("results/runs/lab")


def test_a_path_wins_over_a_label_and_of_a_label_the_latest_counts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(folder, "a", 1, "main")
    latest = keep(folder, "b", 2, "main")
    assert chosen.named([Path("main"), Path("a")]) == (latest, Path("results/runs/a"))
    assert capsys.readouterr().err == (
        "bench: 2 runs are labelled main: taking the latest, results/runs/b\n"
    )
    Path("main").mkdir()
    assert chosen.named([Path("main")]) == (Path("main"),)


def test_a_name_that_is_neither_is_answered_with_the_nearest_label(folder: Path) -> None:
    keep(folder, "a", 1, "nightly")
    with pytest.raises(SpecError, match=r"not a run directory .*Did you mean nightly"):
        chosen.named([Path("nightyl")])
    with pytest.raises(SpecError, match="no run in results/runs is labelled so"):
        chosen.named([Path("zzz")])


def test_a_pattern_stays_a_pattern(folder: Path) -> None:
    keep(folder, "a", 1)
    assert chosen.named([Path("results/runs/*")]) == (Path("results/runs/*"),)


def test_the_latest_is_compared_with_the_one_before_it_of_the_same_models_and_targets(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(folder, "first", 1)
    before = keep(folder, "before", 2)
    keep(folder, "elsewhere", 3, target="b")
    latest = keep(folder, "latest", 4)
    assert chosen.latest_two() == (before, latest)
    assert "comparing the latest, results/runs/latest, with results/runs/before" in (
        capsys.readouterr().err
    )


def test_a_run_without_another_like_it_is_compared_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(folder, "elsewhere", 1, target="b")
    latest = keep(folder, "latest", 2)
    assert chosen.latest_two() == (latest,)
    assert "no earlier one has its models and targets" in capsys.readouterr().err


def test_labels_are_completed_beside_files(folder: Path) -> None:
    keep(folder, "a", 1, "nightly")
    keep(folder, "b", 2, "main")
    shell = ShellComplete(cli, {}, "bench", "_BENCH_COMPLETE")
    for words in (["show"], ["compare"], ["gate"], ["gate", "--baseline"], ["results", "merge"]):
        found = shell.get_completions(words, "n")
        assert [(item.value, item.type) for item in found] == [("nightly", "plain"), ("n", "file")]


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("show --json", "taking the latest"),
        ("show --deal --json", "taking the latest"),
        ("show --history --json", "taking all in results/runs"),
        ("compare --json", "no earlier one"),
        ("matrix --json", "taking the latest"),
        ("gate --min-accuracy 1% --json", "taking the latest"),
        ("gate --save base.json", "taking the latest"),
        ("publish -o published", "taking the latest"),
        ("publish --check", "taking the latest"),
        ("results pack", "taking the latest"),
        ("results export -o all.csv", "taking the latest"),
    ],
)
def test_commands_that_read_runs_take_the_latest(
    words: str, taken: str, whole_run: Path, folder: Path
) -> None:
    shutil.copytree(whole_run, folder / whole_run.name)
    done = CliRunner().invoke(cli, words.split(), standalone_mode=False)
    assert not isinstance(done.exception, (SpecError, click.UsageError)), done.exception
    assert taken in done.stderr
    if "--json" in words:
        json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured_run(tmp_path_factory.mktemp("whole"))
