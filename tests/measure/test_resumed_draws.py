"""What is drawn at random in a run, and in one that is resumed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_records import an_invocation
from test_batch_sweep import a_plan

from bench.measure.measuring import Measuring, OpenRun


def draws(folder: Path, *stored: int) -> list[float]:
    """The first draws of a run of which generations with these indices are stored."""
    plan = a_plan(folder, seed=7)
    (planned,) = plan.cells
    prepared: Any = SimpleNamespace(plan=plan, account=None, reports={}, launcher=None)
    taken = [an_invocation(index, 1e6, planned.cell) for index in stored]
    kept: Any = SimpleNamespace(invocations=taken) if stored else None
    outcome: Any = SimpleNamespace(records=[])
    store: Any = SimpleNamespace(keeps_raw=True)
    measuring = Measuring(OpenRun(prepared, store, kept, None, outcome))
    return list(measuring._context(planned).rng.random(5))


def test_a_run_that_is_not_resumed_draws_what_its_seed_says(tmp_path: Path) -> None:
    assert draws(tmp_path) == list(np.random.default_rng(7).random(5))


def test_a_resumed_run_draws_anew_each_time_that_it_has_measured_more(tmp_path: Path) -> None:
    """The same queries at the same moments, searched from the same rate, would agree too well."""
    found = [draws(tmp_path, *stored) for stored in ((), (0,), (0, 1), (4,))]
    assert len({tuple(each) for each in found}) == 4
    assert draws(tmp_path, 0) == found[1]
