"""`bench certify --runs` compares what was scored in stored runs, and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import a_header
from fake_records import STUDENT, a_cell, a_record, an_accuracy
from made_certificates import LABELS, REFERENCE, broken, moved, outputs, rounded, wrong

from bench.__main__ import main
from bench.arrays import Array
from bench.judge.certify.check import check
from bench.record.certificate import Certificate
from bench.store.certificates import read_certificate
from bench.store.write import RunStore

GOOD = "openvino:cpu"
TEXTS = STUDENT.model_copy(update={"name": "tiny", "task": "text-generation"})


def classified(scores: Array, labels: Array = LABELS) -> dict[str, Array]:
    return {"label": labels, "predicted": scores.argmax(axis=1), "logits": scores}


def run(folder: Path, scored: Mapping[str, dict[str, Array]], model: Any = STUDENT) -> Path:
    """A run in which each target was scored by these columns."""
    cells = {target: a_cell(model, target) for target in scored}
    store = RunStore.create(folder, a_header([*cells.values()]))
    for target, columns in scored.items():
        file = store.write_predictions(target.replace(":", "-"), columns)
        count = len(next(iter(columns.values())))
        accuracy = an_accuracy(0.9, count).model_copy(update={"predictions": file})
        record = a_record(cells[target], accuracy=None).model_copy(update={"accuracy": accuracy})
        store.append_record(record)
    store.close()
    return store.path


def certify(tmp_path: Path, *runs: Path, on: str = GOOD, flags: tuple[str, ...] = ()) -> int:
    given = [part for path in runs for part in ("--runs", str(path))]
    asked = ["certify", "fashion-student", "-r", REFERENCE, "--on", on, *given]
    return main([*asked, "-o", str(tmp_path / "c"), *flags])


def made(tmp_path: Path, *runs: Path, **more: Any) -> Certificate:
    certify(tmp_path, *runs, **more)
    folder = tmp_path / "c"
    assert [str(problem) for problem in check(folder).problems] == []
    return read_certificate(folder)


def pair(folder: Path, mine: Array) -> Path:
    return run(folder, {REFERENCE: classified(outputs()), GOOD: classified(mine)})


@pytest.mark.parametrize(
    ("change", "verdict", "code"),
    [(rounded, "same", 0), (moved, "equivalent", 0), (wrong, "degraded", 1)],
)
def test_the_verdict_follows_from_what_was_stored(
    change: Any, verdict: str, code: int, tmp_path: Path
) -> None:
    path = pair(tmp_path, change(outputs()))
    flags = ("--margin", "0.02")
    assert certify(tmp_path, path, flags=flags) == code
    (finding,) = read_certificate(tmp_path / "c").findings
    assert finding.verdict == verdict
    assert finding.distributions is not None
    assert check(tmp_path / "c").problems == ()


def test_one_run_has_no_floor_and_that_is_said(tmp_path: Path) -> None:
    found = made(tmp_path, pair(tmp_path, rounded(outputs())))
    assert found.floor == {}
    assert "in no other" in found.passes[0].detail
    assert found.asked.runs
    assert found.places == ()


def test_another_run_of_the_same_cell_is_the_floor(tmp_path: Path) -> None:
    first = pair(tmp_path / "one", rounded(outputs()))
    second = run(tmp_path / "two", {REFERENCE: classified(rounded(outputs()))})
    found = made(tmp_path, first, second)
    assert set(found.floor) == {"again"}
    assert found.floor["again"].largest > 0
    (finding,) = found.findings
    assert finding.numbers is not None
    assert finding.numbers.floors == pytest.approx(1.0)


def test_the_runs_of_the_two_may_be_others(tmp_path: Path) -> None:
    one = run(tmp_path / "one", {REFERENCE: classified(outputs())})
    two = run(tmp_path / "two", {GOOD: classified(rounded(outputs()))})
    assert made(tmp_path, one, two).findings[0].verdict == "same"


def test_where_no_outputs_are_kept_decisions_alone_are_compared(tmp_path: Path) -> None:
    scores = classified(outputs())
    del scores["logits"]
    found = made(tmp_path, run(tmp_path, {REFERENCE: scores, GOOD: scores}))
    (finding,) = found.findings
    assert finding.numbers is None
    assert finding.decisions is not None
    assert finding.verdict != "same"
    assert "keep no outputs" in found.examined.notes[-1]


def test_nan_in_what_was_stored_is_degraded(tmp_path: Path) -> None:
    found = made(tmp_path, pair(tmp_path, broken(outputs())))
    assert found.findings[0].verdict == "degraded"
    assert "NaN" in found.findings[0].reasons[0]


# -- language models ------------------------------------------------------------------------------


def tokens(shift: float = 0.0, documents: int = 12, top: int = 4) -> dict[str, Array]:
    """A text of 20 tokens each; ``shift`` moves probability from the likeliest to the second."""
    rng = np.random.default_rng(3)
    count = 20 * documents
    likely = np.log(np.array([0.5, 0.2, 0.1, 0.05]))
    likely = np.log(np.exp(likely) + np.array([-shift, shift, 0, 0]))
    ids = np.argsort(rng.normal(size=(count, 8)), axis=1)[:, :top]
    first = np.arange(count) % 20 == 0
    came = np.where(first, 0.0, likely[0])
    return {
        "document": np.arange(count) // 20,
        "bytes": np.ones(count, np.int64) * 3,
        "token": ids[:, 0],
        "vocabulary": np.full(count, 8),
        "log_p": came.astype(np.float32),
        "predicted": np.where(first, -1, ids[:, 0]),
        "top_ids": np.where(first[:, np.newaxis], -1, ids),
        "top_log_p": np.tile(likely, (count, 1)).astype(np.float32),
        "tail_log_p": np.full(count, np.log(0.15), np.float32),
    }


def test_of_texts_the_least_that_the_divergence_can_be_is_told(tmp_path: Path) -> None:
    path = run(tmp_path, {REFERENCE: tokens(), GOOD: tokens(0.1)}, TEXTS)
    asked = ["certify", "tiny", "-r", REFERENCE, "--on", GOOD, "--runs", str(path)]
    assert main([*asked, "-o", str(tmp_path / "c")]) == 1
    found = read_certificate(tmp_path / "c")
    assert check(tmp_path / "c").problems == ()
    (finding,) = found.findings
    assert finding.verdict == "degraded"
    assert found.examined.unit == "token"
    assert found.examined.examples == 12 * 19
    assert finding.distributions is not None
    assert finding.distributions.divergence_error is None, "nothing bounds it"
    assert finding.distributions.divergence is not None
    p, q = np.array([0.5, 0.2]), np.array([0.4, 0.3])
    expected = float((p * np.log(p / q)).sum())
    assert finding.distributions.divergence.value == pytest.approx(expected, rel=1e-4)
    assert finding.distributions.acceptance is None


def test_a_likely_token_that_left_the_few_is_a_difference(tmp_path: Path) -> None:
    other = tokens()
    other["top_ids"] = np.where(other["top_ids"] < 0, -1, (other["top_ids"] + 1) % 8)
    path = run(tmp_path, {REFERENCE: tokens(), GOOD: other}, TEXTS)
    asked = ["certify", "tiny", "-r", REFERENCE, "--on", GOOD, "--runs", str(path)]
    main([*asked, "-o", str(tmp_path / "c")])
    (finding,) = read_certificate(tmp_path / "c").findings
    assert finding.verdict != "same"
    assert finding.numbers is not None
    assert finding.numbers.beyond


# -- bad input ------------------------------------------------------------------------------------


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *args: Any, **more: Any) -> str:
    """The one sentence; nothing was written."""
    assert certify(tmp_path, *args, **more) == 2
    error = capsys.readouterr().err.strip()
    assert not (tmp_path / "c").exists()
    return error


def test_other_examples_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fewer = classified(outputs()[:100], LABELS[:100])
    path = run(tmp_path, {REFERENCE: classified(outputs()), GOOD: fewer})
    assert "scored on other examples" in refused(tmp_path, capsys, path)


def test_one_of_two_targets_with_other_examples_costs_its_own_verdict(tmp_path: Path) -> None:
    fewer = classified(outputs()[:100], LABELS[:100])
    good = classified(rounded(outputs()))
    path = run(tmp_path, {REFERENCE: classified(outputs()), GOOD: good, "tract:cpu": fewer})
    found = made(tmp_path, path, on="*")
    assert [finding.verdict for finding in found.findings] == ["same", "inconclusive"]
    assert "other examples" in found.findings[1].reasons[0]


def test_other_outputs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wider = classified(np.concatenate([outputs(), outputs()], axis=1))
    path = run(tmp_path, {REFERENCE: classified(outputs()), GOOD: wider})
    assert "it has 8 outputs and the reference 4" in refused(tmp_path, capsys, path)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-r", "onnxruntime:cuda"), "is not there. They have fashion-student on"),
        (("-r", "*"), "names 2 (onnxruntime:cpu, openvino:cpu)"),
        (("--against", "nobody"), "nobody on onnxruntime:cpu"),
        (("--variant", "fp16"), "the runs have scored nothing of it except the reference"),
        (("--examples", "20"), "--examples and --threads"),
        (("--margin", "0"), "0.0 is not in the range x>0"),
        (("--margin", "nan"), "nan is not a finite number"),
        (("--margin", "inf"), "inf is not a finite number"),
        (("--confidence", "nan"), "nan must be at least 0.5"),
    ],
)
def test_what_is_asked_for_wrongly_is_said_in_one_sentence(
    flags: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pair(tmp_path, rounded(outputs()))
    assert words in refused(tmp_path, capsys, path, flags=flags)


def test_a_target_that_was_not_scored_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pair(tmp_path, rounded(outputs()))
    assert "tract:cpu: the runs have scored nothing" in refused(
        tmp_path, capsys, path, on="tract:cpu"
    )


def test_a_folder_that_holds_something_or_can_not_be_made_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pair(tmp_path, rounded(outputs()))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("x")
    assert certify(tmp_path, path) == 2
    assert "it is not empty" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "c").iterdir()] == ["mine.txt"]
    (tmp_path / "file").write_text("x")
    assert certify(tmp_path, path, flags=("-o", str(tmp_path / "file" / "c"))) == 2
    assert "can't be created" in capsys.readouterr().err


def test_a_disk_that_is_full_leaves_no_half_of_a_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pair(tmp_path, rounded(outputs()))
    whole = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if "certificate.json" in self.name:
            raise OSError(28, "No space left on device")
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device" in refused(tmp_path, capsys, path)


def test_fewer_examples_than_decide_are_inconclusive_and_it_says_how_many(tmp_path: Path) -> None:
    scores, labels = outputs()[:20], LABELS[:20]
    found = made(
        tmp_path,
        run(
            tmp_path,
            {REFERENCE: classified(scores, labels), GOOD: classified(moved(scores), labels)},
        ),
        flags=("--margin", "0.02"),
    )
    (finding,) = found.findings
    assert finding.verdict == "inconclusive"
    assert "more examples like these would decide" in finding.reasons[-1]
    assert finding.decisions is not None
    assert (finding.decisions.needed or 0) > 20


def test_a_reference_that_wanders_beyond_the_margin_decides_nothing(tmp_path: Path) -> None:
    first = pair(tmp_path / "one", wrong(outputs(), 50))
    second = run(tmp_path / "two", {REFERENCE: classified(wrong(outputs(), 3))})
    found = made(tmp_path, first, second, flags=("--margin", "0.02"))
    (finding,) = found.findings
    assert finding.verdict == "inconclusive", json.dumps(finding.reasons)
    assert "no target can be held to it" in finding.reasons[-1]
