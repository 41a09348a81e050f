"""Placement, from a session's profile to the table and the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.store.run import read_run

SHORT = ("--threads", "1", "--precision", "50%", "--min-invocations", "2", "--max-time", "1")
ONE = ("--scenario", "single-stream")


def test_what_ran_elsewhere_is_a_percentage_of_the_time_and_a_failed_check(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    targets = ("-t", "stand-in:partly", "-t", "stand-in:ok")
    result = bench("run", "-m", str(doubling_model), *targets, *ONE, *SHORT, "--allow-fallback")
    assert result.returncode == 0, result.stderr
    assert "On device" in result.stdout
    partly = next(line for line in result.stdout.splitlines() if "stand-in:partly" in line)
    assert partly.startswith("! ")
    assert "62%" in result.stdout
    words = " ".join(result.stdout.split())
    assert (
        "placement: 62% of the time and 3 of 4 nodes ran on stand-in:partly; elsewhere: "
        "odd (on cpu: no kernel)" in words
    )
    assert max(map(len, result.stdout.splitlines())) <= 80
    (path,) = (tmp_path / "results" / "runs").iterdir()
    fact = {r.cell.target: r.placement for r in read_run(path).records}["stand-in:partly"]
    assert fact is not None
    assert fact.time_share == {"partly": 0.62, "cpu": 0.38}
    assert fact.precision == "fp32"
    shown = bench("show", str(path), "--json")
    rows = {row["target"]: row for row in json.loads(shown.stdout)["results"]}
    assert rows["stand-in:partly"]["on_device_share"] == 0.75
    assert rows["stand-in:partly"]["on_device_time_share"] == 0.62
    assert rows["stand-in:partly"]["off_device"] == ["odd (on cpu: no kernel)"]
    assert rows["stand-in:ok"]["on_device_share"] == 1.0


def test_where_all_is_on_the_device_there_is_no_column_for_it(
    bench: Any, doubling_model: Path
) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", "stand-in:ok", *ONE, *SHORT)
    assert result.returncode == 0, result.stderr
    assert "On device" not in result.stdout


def test_a_device_asked_for_by_name_is_absent_for_its_true_cause(
    bench: Any, doubling_model: Path
) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", "stand-in:card:1", *ONE, *SHORT)
    assert result.returncode == 1
    words = " ".join(result.stdout.split())
    assert "libcard.so: cannot open. Install the card's driver." in words
