"""`bench tune` from end to end, with configurations that crash, hang and compute something else."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.store.files import TUNE
from bench.store.run import read_run
from bench.trials.tune.kept import read_tune

Bench = Callable[..., "subprocess.CompletedProcess[str]"]

FLAGS = ("--for", "latency", "--threads", "1", "--margin", "5%")


def only_run(folder: Path) -> Path:
    (found,) = (folder / "results" / "runs").iterdir()
    return found


def reason(tune: Any, fault: str) -> str:
    """Why the configurations with a fault alone are not returned."""
    (one,) = (e for e in tune.entrants if e.departures == (f"fault={fault}",))
    return str(tune.thrown_out.get(one.cell_id, ""))


@pytest.mark.long
def test_the_best_that_works_is_found_confirmed_and_can_be_pasted(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    done = bench(
        "tune", "-m", str(doubling_model), "-t", "tunable:cpu", *FLAGS, "--cell-timeout", "2",
        timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    tune, stored = read_tune(run), read_run(run)
    assert tune.found is not None
    assert [tune.words(one.cell_id) for one in tune.found.best] == ["us=100"]
    gain = tune.found.gain
    assert gain is not None
    assert (gain.over, gain.processes) == (tune.default, 12)
    assert gain.ratio.low > 2, "400 us against 100, and whatever both wait"
    # A crash and a hang cost their own configurations, with the reason; wrong outputs are named.
    failed = {tune.words(r.cell_id): r.failure.kind for r in stored.records if r.failure}
    assert failed["fault=crash"] == "crashed"
    assert failed["fault=hang"] == "timeout"
    assert set(failed) == {
        " ".join(filter(None, (fault, us)))
        for fault in ("fault=crash", "fault=hang")
        for us in ("", "us=100", "us=900")
    }
    assert "WRONG (parity)" in reason(tune, "wrong")
    assert "us=900" in {tune.words(one.cell_id) for one in tune.found.fallen}
    # The confirmation is of generations that took no part in the choice.
    (pick,) = (r for r in stored.records if r.cell_id == tune.found.pick)
    (again,) = tune.confirmations
    assert again.cell_id == pick.cell_id
    assert sum(again.has(i.index) for i in pick.invocations) == 12
    # What is printed can be pasted, and the run be shown.
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("bench run"))
    assert "tunable:cpu?us=100" in line
    again = bench(*shlex.split(line)[1:], "--quick", "--results", "again")
    assert again.returncode == 0, again.stderr
    assert "tunable:cpu?us=100" in bench("show", str(run)).stdout
    assert bench("publish", str(run), "-o", "published").returncode == 0
    checked = bench("publish", "--check", "published")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    refused = bench("run", "--resume", str(run))
    assert refused.returncode == 2
    assert "bench tune --resume" in refused.stderr


@pytest.mark.long
def test_a_tune_that_was_killed_goes_on(
    environment: dict[str, str], bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "bench", "tune", "-m", str(doubling_model),
        "-t", "tunable:cpu?fault=none", *FLAGS, "--quiet",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    runs = tmp_path / "results" / "runs"
    deadline = time.monotonic() + 60
    while not list(runs.glob("*/invocations.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run = only_run(tmp_path)
    before = {(i.cell_id, i.index) for i in read_run(run).invocations}
    assert before
    assert read_tune(run).found is None
    done = bench("tune", "--resume", str(run), "--json", timeout=200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "us=100" in found["command"]
    assert before <= {(i.cell_id, i.index) for i in read_run(run).invocations}
    # Gone on with once more, it has nothing to do, and says the same.
    again = bench("tune", "--resume", str(run), "--json", timeout=100)
    assert json.loads(again.stdout)["tune"]["found"] == found["tune"]["found"]


@pytest.mark.long
def test_a_finished_tune_goes_on_where_there_is_more_time(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    """What there was no time for is raced, and what was measured before has no record twice."""
    done = bench(
        "tune", "-m", str(doubling_model), "-t", "tunable:cpu?us=100", *FLAGS,
        "--cell-timeout", "2", "--max-time", "3", "--json",
    )  # fmt: skip
    run = only_run(tmp_path)
    before, found = read_run(run), json.loads(done.stdout)["tune"]
    measured = {(i.cell_id, i.index) for i in before.invocations}
    again = bench("tune", "--resume", str(run), "--max-time", "2m", "--json", timeout=200)
    assert again.returncode == 0, again.stderr
    after, tune = read_run(run), json.loads(again.stdout)["tune"]
    assert measured < {(i.cell_id, i.index) for i in after.invocations}
    assert tune["found"]["over"]
    assert tune["spent_s"] > found["spent_s"]
    assert tune["not_tried"] == {}
    # Of each that was measured the record tells all of it.
    taken = Counter(i.cell_id for i in after.invocations)
    told = {r.cell_id: len(r.invocations) for r in after.records if r.failure is None}
    assert told == taken
    (pick,) = (e for e in tune["entrants"] if e["cell_id"] == tune["found"]["best"][0]["cell_id"])
    assert pick["departures"] == []


@pytest.mark.long
def test_configurations_that_failed_are_raced_again_where_that_is_asked_for(
    environment: dict[str, str], bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    flags = ["--cell-timeout", "2", "--max-time", "40", "--json"]
    done = bench(
        "tune", "-m", str(doubling_model), "-t", "tunable:cpu?us=100", *FLAGS, *flags, timeout=200
    )
    run = only_run(tmp_path)
    (crashed,) = (r.cell_id for r in read_run(run).records if "fault=crash" in r.cell.target)
    before = json.loads(done.stdout)["tune"]
    environment["TUNABLE_MENDED"] = "1"
    more = ["--resume", str(run), "--max-time", "3m", "--json"]
    plain = json.loads(bench("tune", *more, timeout=300).stdout)["tune"]
    assert plain["raced_from"] == before["raced_from"]
    again = bench("tune", *more, "--retry-failed", timeout=300)
    assert again.returncode == 0, again.stderr
    found = json.loads(again.stdout)["tune"]["found"]
    assert crashed in {one["cell_id"] for one in found["best"]}
    run_now = read_run(run)
    assert {r.cell_id: r.status for r in run_now.records}[crashed] == "ok"
    assert crashed in run_now.resumptions[-1].retried
    refused = bench("tune", "-m", "x", "-t", "tunable:cpu", *FLAGS, "--retry-failed")
    assert refused.returncode == 2
    assert "--retry-failed needs --resume" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--for", "latency", "--within", "0.5points"), "has no labelled data"),
        (("--for", "latency", "--against", "fault"), "is not of the form name=value"),
    ],
)
def test_what_can_not_be_asked_for_is_refused_before_anything_is_measured(
    flags: tuple[str, ...], words: str, bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    done = bench("tune", "-m", str(doubling_model), "-t", "tunable:cpu", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert not list(tmp_path.glob(f"**/{TUNE}"))


@pytest.mark.long
def test_a_tune_by_throughput_that_named_no_batch_goes_on(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    done = bench(
        "tune", "-m", str(doubling_model), "-t", "tunable:cpu?us=100&fault=none",
        "--for", "throughput", "--threads", "1", "--max-time", "2", "--json",
    )  # fmt: skip
    found = json.loads(done.stdout)["tune"]
    run = only_run(tmp_path)
    again = bench("tune", "--resume", str(run), "--max-time", "20", "--json", timeout=100)
    assert again.returncode == 0, again.stderr
    tune = json.loads(again.stdout)["tune"]
    assert tune["entrants"] == found["entrants"]
    assert {"batch=1"} in [set(one["departures"]) for one in tune["entrants"]]
    assert tune["spent_s"] > found["spent_s"]
