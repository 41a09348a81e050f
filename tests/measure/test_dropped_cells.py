"""Cells that were planned and can't be measured leave their time to the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_energy_lasting import INVOCATION_S, Run, a_run

from bench.measure.pace.budget import KEPT_SHARE
from bench.measure.plan import PlannedCell


@pytest.fixture
def without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[PlannedCell], bool]], Run]:
    """A run of 300 s over batches of 2, 4 and 8, less the cells that memory can't hold."""

    def run(dropped: Callable[[PlannedCell], bool], **suite: Any) -> Run:
        monkeypatch.setattr(Run, "_refused_as_too_big", lambda self, planned: dropped(planned))
        return a_run(tmp_path, monkeypatch, 300.0, **suite)

    return run


def test_what_larger_batches_would_have_taken_is_shared_by_those_that_fit(without: Any) -> None:
    run = without(
        lambda p: p.cell.target == "b:cpu" and p.cell.batch > 2, energy=False, wall_command=None
    )
    assert len(run.groups_s) == 3
    assert run.clock.now == pytest.approx(300 * (1 - KEPT_SHARE))


def test_a_group_of_which_nothing_fits_is_waited_for_no_more(without: Any) -> None:
    run = without(lambda p: p.cell.batch == 2)
    assert run.rounds == [5, 5]
    assert run.told[-1] == pytest.approx(run.clock.now)
    assert run.forecaster.expected().remaining_s == 0
    assert min(run.groups_s) > 2 * 5 * INVOCATION_S
