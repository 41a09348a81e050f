"""What a target can't do is said as that: it is no verdict, and it lets nothing through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from bigram_cells import lines, planned
from compared_runs import on_disk
from fake_records import STUDENT, a_cell, a_record
from made_certificates import made_certificate, outputs, rounded, wrong

from bench.commands.certify import exit_status
from bench.errors import BenchError, Unsupported, WorkerCrashed
from bench.judge.certified import certified, held
from bench.judge.finding import Outcome
from bench.measure.listener import QuietProgress
from bench.measure.plan import PlannedCell
from bench.present.certificate import certificate_text
from bench.present.page.certificate import certificate_page
from bench.record.certificate import Condition, Pass
from bench.store.certificates import Evidence
from bench.trials.certify.examiner import Answer, Examiner
from bench.trials.certify.passes import Cast, examine

GOOD, REFUSING = "openvino:cpu", "openvino:npu"
REFUSES = "fake:npu computes no int8."


class Fake:
    """Answers with zeros; a second party raises what it was made with."""

    def __init__(self, error: BenchError) -> None:
        self._error = error
        self._reference: PlannedCell | None = None

    def conditions(self, planned: PlannedCell) -> dict[Condition, str]:
        return {}

    def answer(self, planned: PlannedCell, condition: Condition) -> Answer:
        assert condition == "plain"
        if self._reference is not None:
            raise self._error
        self._reference = planned
        return Answer([np.zeros(3)], None, {})

    def rows(self, mine: Answer, theirs: Answer) -> dict[str, np.ndarray]:
        raise AssertionError("a party without answers has no rows")


def the_pass(folder: Path, error: BenchError, *, planned_so: bool) -> Pass:
    found = planned(folder, lines({"text": "In the beginning", "document": "Genesis 1"}))
    candidate = replace(found, refused=error) if planned_so else found
    examiner = cast(Examiner, Fake(error))
    seen = examine(
        Cast(found, (candidate,)), examiner, Evidence(folder / "evidence"), QuietProgress()
    )
    (told,) = (one for one in seen.passes if one.party == 1)
    return told


@pytest.mark.parametrize("planned_so", [True, False], ids=["planned", "when-loaded"])
def test_what_a_target_refuses_is_told_from_what_it_fails_at(
    tmp_path: Path, *, planned_so: bool
) -> None:
    for name, error, impossible in (
        ("refused", Unsupported(REFUSES), True),
        ("crashed", WorkerCrashed("fake:npu ended with signal 11."), False),
    ):
        (tmp_path / name).mkdir()
        told = the_pass(tmp_path / name, error, planned_so=planned_so)
        assert told.impossible is impossible
        assert told.failure == str(error)


@pytest.mark.parametrize(
    ("targets", "status"),
    [({}, 3), ({GOOD: rounded}, 0), ({GOOD: wrong}, 1)],
    ids=["alone", "beside-a-good-one", "beside-a-wrong-one"],
)
def test_the_exit_status_is_that_of_what_was_certified(
    targets: dict[str, Callable[[np.ndarray], np.ndarray]], status: int, tmp_path: Path
) -> None:
    mine = {target: change(outputs()) for target, change in targets.items()}
    made = made_certificate(tmp_path, mine, refused=REFUSING)
    assert made.findings[-1].verdict == "impossible"
    assert exit_status(made) == status


def test_people_read_that_it_is_not_possible_and_why(tmp_path: Path) -> None:
    made = made_certificate(tmp_path, refused=REFUSING)
    said = certificate_text(made).plain
    assert "openvino:npu: not possible here\n  openvino:npu computes no such model.\n" in said
    assert "more examples" not in said.partition("openvino:npu: not possible")[2]
    made = made_certificate(tmp_path / "alone", {}, refused=REFUSING)
    page = certificate_page(made, lambda name: {})
    assert "openvino:npu: not possible here." in page.headline


def test_a_gate_lets_nothing_through_that_could_not_be_certified(tmp_path: Path) -> None:
    made_certificate(tmp_path / "c", refused=REFUSING)
    (one,) = held(tmp_path / "c")
    for run in (None, on_disk(tmp_path / "r", [a_record(a_cell(STUDENT, GOOD))])):
        found = certified(run, [one])
        assert [each.outcome for each in found] == [Outcome.PASS, Outcome.SKIPPED]
    measured = on_disk(tmp_path / "s", [a_record(a_cell(STUDENT, REFUSING))])
    found = certified(measured, [one])
    assert [each.outcome for each in found if each.cell.target == REFUSING] == [
        Outcome.SKIPPED,
        Outcome.FAIL,
    ]
