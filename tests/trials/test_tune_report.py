"""What a tune says in words, and the line that it gives to paste."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from compared_runs import a_header
from fake_records import a_cell, a_failure, a_record

from bench.commands.run import command
from bench.present.layout import MARKED
from bench.record.estimate import as_estimate
from bench.record.result import Estimate
from bench.spec import Suite
from bench.stats.interval import Interval
from bench.store.run import StoredRun
from bench.trials.tune.kept import Asked, Entrant, Fallen, Found, Gain, Placed, Tune
from bench.trials.tune.report import command_line, sentences, suite_line, tune_text

DEFAULT = a_cell(threads=2)
SPINNING = a_cell(target="onnxruntime:cpu?arena=0&spinning=1", threads=2)
SINGLE = a_cell()


def a_ratio(low: float, high: float) -> Estimate:
    return as_estimate(Interval((low * high) ** 0.5, low, high, 0.95))


def a_found(**changes: object) -> Found:
    values = {
        "processes": 8,
        "over": True,
        "best": (
            Placed(cell_id=SPINNING.id, processes=8),
            Placed(cell_id=SINGLE.id, processes=3, ratio=a_ratio(0.9, 1.2)),
        ),
        "gain": Gain(over=DEFAULT.id, ratio=a_ratio(1.2, 1.3), processes=12),
    }
    return Found.model_validate({**values, **changes})


def a_tune(found: Found | None, **changes: object) -> Tune:
    values = {
        "asked": Asked(objective="latency", target="onnxruntime:cpu"),
        "entrants": (
            Entrant(cell_id=DEFAULT.id),
            Entrant(cell_id=SPINNING.id, departures=("arena=0", "spinning=1")),
            Entrant(cell_id=SINGLE.id, departures=("threads=1",)),
        ),
        "found": found,
    }
    return Tune.model_validate({**values, **changes})


def a_run(*more: object) -> StoredRun:
    cells = (DEFAULT, SPINNING, SINGLE)
    header = a_header(cells=cells, models=("fashion teacher.onnx",), suite=Suite())
    return StoredRun(Path("run"), header, [*map(a_record, cells), *more], [], [])  # type: ignore[list-item]


def said(tune: Tune, run: StoredRun | None = None) -> str:
    return " ".join(sentences(tune, run or a_run()))


def test_the_pick_its_gain_and_what_the_gain_rests_on_are_told() -> None:
    words = said(a_tune(a_found()))
    assert "best for latency: arena=0 spinning=1. 1 other can't be distinguished" in words
    assert "1.25x (1.20–1.30) better than the default: measured again, in 12 processes" in words


def test_a_gain_that_is_not_established_is_not_called_one() -> None:
    gain = Gain(over=DEFAULT.id, ratio=a_ratio(0.97, 1.05), processes=12)
    assert "better or worse than the default" in said(a_tune(a_found(gain=gain)))
    gain = Gain(over=DEFAULT.id, ratio=a_ratio(0.9, 0.95), processes=12)
    assert "worse than the default" in said(a_tune(a_found(gain=gain)))


def test_a_pick_that_was_not_confirmed_has_no_gain_and_the_reason_is_told() -> None:
    tune = a_tune(a_found(gain=None))
    unknown = "its gain over the default is unknown: "
    assert f"{unknown}fewer than two processes of each" in said(tune)
    failed = a_failure(DEFAULT, "crashed", "it died of SIGSEGV.")
    words = said(tune, a_run(failed))
    assert f"{unknown}the default failed (crashed)." in words
    assert "time" not in words.partition(unknown)[2].partition(".")[0]
    thrown_out = tune.model_copy(update={"thrown_out": {DEFAULT.id: "it is WRONG"}})
    assert f"{unknown}the default was eliminated." in said(thrown_out)


def test_a_comparison_that_is_asked_for_is_never_left_out_in_silence() -> None:
    single = Entrant(cell_id=SINGLE.id, departures=("threads=1",))
    tune = a_tune(a_found(), against=(single,))
    assert "it is not compared with threads=1: fewer than two processes" in said(tune)
    failed = a_run(a_failure(SINGLE, "crashed", "it died of SIGSEGV."))
    assert "it is not compared with threads=1: threads=1 failed (crashed)." in said(tune, failed)
    gain = Gain(over=SINGLE.id, ratio=a_ratio(1.2, 1.3), processes=12)
    words = said(a_tune(a_found(against=(gain,)), against=(single,)))
    assert "better than threads=1" in words
    assert "not compared" not in words


def test_what_is_in_doubt_of_those_returned_is_told() -> None:
    doubted = Placed(cell_id=SINGLE.id, processes=3, ratio=a_ratio(0.9, 1.2), doubt="no time")
    found = a_found(best=(Placed(cell_id=SPINNING.id, processes=8), doubted))
    text = str(tune_text(a_tune(found), a_run()))
    assert f"{MARKED} threads=1" in text
    assert f"marked {MARKED} in the table: no time." in text


def test_the_default_as_the_pick_gains_nothing() -> None:
    best = (Placed(cell_id=DEFAULT.id, processes=8),)
    fallen = (Fallen(cell_id=SINGLE.id, against=DEFAULT.id, processes=3, ratio=a_ratio(1.5, 1.6)),)
    words = said(a_tune(a_found(best=best, gain=None, fallen=fallen)))
    assert "nothing is gained over the default" in words
    assert "1 other that worked cost more" in words


def test_what_failed_what_was_thrown_out_and_what_was_not_tried_are_named() -> None:
    failed = a_failure(SINGLE, "crashed", "it died of SIGSEGV.")
    tune = a_tune(
        a_found(),
        thrown_out={
            SPINNING.id: "it is WRONG (parity): far off",
            DEFAULT.id: "it could not be scored beside the original: x:cpu has no f16.",
        },
        not_tried={SINGLE.id: "no time in 30 s"},
        beyond=3,
    )
    words = said(tune, a_run(failed))
    assert "threads=1 failed (crashed): it died of SIGSEGV." in words
    assert "eliminated: arena=0 spinning=1: it is WRONG (parity): far off." in words
    assert "1 configuration not tried: no time in 30 s." in words
    assert ".." not in words
    assert "3 configurations more" in words


def test_a_tune_without_an_answer_says_why() -> None:
    assert "it was interrupted" in said(a_tune(None))
    assert "Give a larger --max-time" in said(a_tune(a_found(processes=0, best=())))
    asked = Asked(objective="throughput", target="t", latency_bound_ns=5_000_000)
    assert "keep its p99 within 5" in said(a_tune(a_found(best=()), asked=asked))
    nearest = Placed(cell_id=DEFAULT.id, processes=3, doubt="too few queries for a p99: 5 of 9")
    cut_off = a_found(best=(), gain=None, nearest=nearest, over=False)
    words = said(a_tune(cut_off, asked=asked))
    assert "the default: too few queries for a p99: 5 of 9. Give a longer --max-time." in words
    over = cut_off.model_copy(update={"over": True})
    assert "--max-time" not in said(a_tune(over, asked=asked))
    assert suite_line(a_tune(cut_off), a_run()) == ""


@pytest.mark.parametrize(
    "cell",
    [SPINNING, a_cell(scenario="offline", batch=8, variant="int8-dynamic", threads=3)],
)
def test_the_line_to_paste_parses_as_the_cell(cell: object) -> None:
    line = command_line(cell, a_run())  # type: ignore[arg-type]
    words = shlex.split(line)
    assert words[:2] == ["bench", "run"]
    given = command.make_context("run", words[2:]).params
    assert given["models"] == ("fashion teacher.onnx",)
    assert given["targets"] == (cell.target,)  # type: ignore[attr-defined]
    assert given["threads"] == cell.threads  # type: ignore[attr-defined]
    assert given["scenarios"] == (cell.scenario,)  # type: ignore[attr-defined]
    assert (given["batch"] or (1,)) == (cell.batch,)  # type: ignore[attr-defined]
    assert (given["variants"] or ("fp32",)) == (cell.variant,)  # type: ignore[attr-defined]


def test_the_line_is_printed_whole_however_narrow_the_terminal_is() -> None:
    tune, run = a_tune(a_found()), a_run()
    lines = str(tune_text(tune, run, 40)).splitlines()
    assert suite_line(tune, run) in lines
    assert all(len(line) <= 40 for line in lines if not line.startswith("bench run"))


def test_windows_are_what_is_too_few_of_where_energy_is_tuned() -> None:
    """A confirmation may end with windows that don't count, whatever the time."""
    asked = Asked(objective="energy", target="onnxruntime:cpu")
    words = said(a_tune(a_found(gain=None), asked=asked))
    assert "unknown: fewer than two valid windows of each were measured again, and" in words
    words = said(a_tune(a_found(processes=0, best=(), gain=None), asked=asked))
    assert "before each configuration had three valid windows." in words


def test_what_became_of_all_is_told_where_none_is_left() -> None:
    """More time would not help."""
    nothing = a_found(processes=0, best=(), gain=None)
    out = dict.fromkeys((DEFAULT.id, SPINNING.id), "it is less accurate")
    tune = a_tune(nothing, thrown_out=out)
    words = said(tune, a_run(a_failure(SINGLE, "crashed", "it died of SIGSEGV.")))
    assert "no result: no configuration is left (2 eliminated, 1 failed)." in words
    assert "--max-time" not in words
    assert "eliminated: the default and 1 more: it is less accurate." in words
    untried = tune.model_copy(update={"not_tried": {SINGLE.id: "no time in 30 s"}})
    assert "no result: no configuration is left (2 eliminated)." in said(untried)
    assert "Give a larger --max-time" in said(tune), "one is left that had too few processes"
