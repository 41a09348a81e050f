"""`bench tune --for energy` from end to end, on a machine with a stand-in of RAPL's counters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.store.raw import read_raw
from bench.store.run import read_run
from bench.trials.tune.kept import read_tune

#: Whatever computes, the machine draws 100 W, so the fewest joules a query are the shortest query;
#: nothing is above idle, so the race is one of gross energies.
STAND_IN = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from bench.machine.powercap import Found, Zone
from bench.measure.energy import found, passes
from bench.trials.tune import joules, measuring

class Steady(Zone):
    def read_uj(self):
        return int(100e6 * time.monotonic())

@contextmanager
def nobody_else(own, cpus, ended):
    seen = SimpleNamespace(disturbed=lambda: (), with_own=lambda cpu_ns: seen)
    yield SimpleNamespace(start=lambda: None, stop=lambda: seen, close=lambda: None)

found.find_zones = lambda: Found((Steady("package-0", "package", Path("none"), None),))
passes.round_watcher = nobody_else
passes.LEAD_S = passes.TAIL_S = joules.LEAD_S = joules.TAIL_S = 0.05
measuring.CONFIRMATIONS = 4
from bench.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_the_fewest_joules_a_sample_are_found_and_confirmed(
    environment: dict[str, str], doubling_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "stand_in_machine.py").write_text(STAND_IN)
    command = [
        sys.executable, "stand_in_machine.py", "tune", "-m", str(doubling_model),
        "-t", "tunable:cpu?fault=none", "--for", "energy", "--threads", "1", "--batch", "1",
        "--margin", "5%", "--energy-window", "1", "--max-time", "3m",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "results" / "runs").iterdir()
    tune, run = read_tune(path), read_run(path)
    assert tune.found is not None
    assert [tune.words(one.cell_id) for one in tune.found.best] == ["us=100"]
    gain = tune.found.gain
    assert gain is not None
    assert gain.processes == 4
    assert gain.ratio.low > 2, "400 us against 100, and whatever both wait"
    assert "gross joules per sample, of package, by its counter" in done.stdout
    # Each configuration has rounds of windows, and a record whose energy follows from them.
    windows = read_raw(run).energy
    for record in run.records:
        assert sum(w.cell_id == record.cell_id for w in windows) >= 3
        assert [one.scope for one in record.energy] == ["package"]
    # Gone on with once more, nothing is measured.
    again = subprocess.run(
        [sys.executable, "stand_in_machine.py", "tune", "--resume", str(path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert len(read_raw(read_run(path)).energy) == len(windows)
    assert read_tune(path).found == tune.found
