"""`bench run --scenario server` on a stand-in whose capacity is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.store.run import read_run


@pytest.mark.long
@pytest.mark.alone
def test_the_capacity_of_a_known_server_is_found(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    result = bench(
        *("run", "-m", str(doubling_model), "-t", "stand-in:ok?us=200", "--threads", "1"),
        *("--scenario", "server", "--latency-bound", "100ms", "--precision", "50%"),
        *("--min-invocations", "2", "--max-time", "1"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "server, p99 ≤ 100 ms" in result.stdout
    (path,) = (tmp_path / "results" / "runs").iterdir()
    (record,) = read_run(path).records
    assert record.throughput is not None
    # 5,000 queries a second would take all of the server's time; a trial of a fraction of a second
    # may hold a few percent above it, and a noisy machine may find much less.
    assert 500 < record.throughput.value < 6000
    assert record.cell.latency_bound_ns == 100_000_000
    assert all(i.capacity_per_s for i in record.invocations)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenario", "server"], "--latency-bound 5ms"),
        (["--latency-bound", "5ms"], "go together"),
        (["--scenario", "server", "--latency-bound", "5"], "500us, 5ms or 1s"),
        (["--scenario", "server", "--latency-bound", "0ms"], "500us, 5ms or 1s"),
    ],
)
def test_a_bound_and_the_scenario_go_together(
    bench: Any, doubling_model: Path, arguments: list[str], words: str
) -> None:
    result = bench("run", "-m", str(doubling_model), "-t", "stand-in:ok", *arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bound_that_cannot_hold_is_a_failed_row(bench: Any, doubling_model: Path) -> None:
    result = bench(
        *("run", "-m", str(doubling_model), "-t", "stand-in:ok?us=2000", "--threads", "1"),
        *("--scenario", "server", "--latency-bound", "1ms", "--max-time", "1"),
    )
    assert result.returncode == 1
    assert "does not hold at any rate" in result.stdout.replace("\n  ", " ")
