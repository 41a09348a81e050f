"""Whatever the schema allows passes through every reader; what nobody can read isn't written."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import click
import pytest
from compared_runs import a_header
from fake_records import a_cell, a_record, an_invocation
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from schema_valid_runs import odd_run
from small_card import GOOD, save_model

from bench import load
from bench.__main__ import main
from bench.commands.cli import cli
from bench.errors import BenchError, SpecError
from bench.record.facts import ToldPlacement, Trial
from bench.record.result import Estimate, Invocation, Record
from bench.spec import make_suite
from bench.store.write import RunStore

#: `make faults` asks for more of them.
PAIRS = int(os.environ.get("BENCH_ODD_RUNS", "6"))


def read_everywhere(first: Path, second: Path, folder: Path) -> None:
    """Every reader of runs; a refusal in one sentence is an answer, any other exception isn't."""
    one, other, page = str(first), str(second), str(folder / "r.html")
    for arguments in (
        ["show", one],
        ["show", one, "--json"],
        ["compare", one],
        ["compare", one, other],
        ["compare", one, other, "--json"],
        ["matrix", one, other],
        ["gate", one, "--baseline", other],
        ["show", "--history", one, other],
        ["report", one, other, "-o", page],
        ["publish", one, "-o", str(folder / "p")],
        ["publish", "--check", str(folder / "p")],
    ):
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(BenchError, click.ClickException),
        ):
            cli.main(args=[*arguments, "--debug"], prog_name="bench", standalone_mode=False)
    for what in ("records", "samples"):
        load([first, second], what)


@settings(max_examples=PAIRS, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 10**6))
def test_any_run_that_the_schema_allows_passes_through_every_reader(
    seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    first = odd_run(folder / "a", seed).path
    read_everywhere(first, odd_run(folder / "b", seed + 1).path, folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_no_form_for_is_no_value(value: float) -> None:
    good = an_invocation(0, 1e5, a_cell()).model_dump()
    for change in ({"median_ns": value}, {"power_w": value}, {"canary_ns": value}):
        with pytest.raises(ValidationError):
            Invocation.model_validate(good | change)
    with pytest.raises(ValidationError):
        Estimate(value=1.0, low=0.5, high=value, confidence=0.95)
    with pytest.raises(ValidationError):
        ToldPlacement(time_share={"cpu": value})
    with pytest.raises(ValidationError):
        a_header([], facts={"load_average": [value]})
    with pytest.raises(SpecError, match="max_time_s"):
        make_suite({"max_time_s": value}, "s.toml")


@pytest.mark.parametrize(
    "change",
    [
        {"calls": 0},
        {"busy_ns": 0},
        {"queries_per_call": 0},
        {"capacity_per_s": 0.0},
        {"median_ns": 0.0},
        {"floor_ns": -1.0},
        {"calls": 2**64},
        {"peak_rss_bytes": -1},
    ],
)
def test_what_readers_would_divide_by_is_above_zero(change: dict[str, Any]) -> None:
    good = an_invocation(0, 1e5, a_cell()).model_dump()
    with pytest.raises(ValidationError):
        Invocation.model_validate(good | change)


def test_a_batch_of_none_a_rate_of_none_and_a_latency_of_none_are_refused() -> None:
    with pytest.raises(ValidationError):
        a_cell(batch=0)
    with pytest.raises(ValidationError):
        Trial(rate_per_s=0, held=True, late_ns=1)
    data = json.loads(a_record().model_dump_json())
    for name in ("value", "low", "high"):
        changed = json.loads(json.dumps(data))
        changed["latency"]["median_ns"][name] = 0
        with pytest.raises(ValidationError):
            Record.model_validate(changed)


def test_max_time_inf_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-m", "fashion-student", "--max-time", "inf", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "'inf' is not a time" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "changes", [{"median_ns": math.inf}, {"median_ns": math.nan}, {"settled": "perhaps"}]
)
def test_a_line_that_could_not_be_read_back_is_not_written(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    store = RunStore.create(tmp_path, a_header([a_cell()]))
    good = an_invocation(0, 1e5, a_cell())
    store.append_invocations([good])
    bad = good.model_copy(update=changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's, of a value that it didn't expect there
        with pytest.raises(BenchError, match="not written"):
            store.append_invocations([bad])
    store.close()
    lines = (store.path / "invocations.jsonl").read_text().splitlines()
    assert [Invocation.model_validate_json(line) for line in lines] == [good]


def test_a_plan_is_printed_without_the_escape_sequences_of_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "m.onnx")
    card = tmp_path / "card.toml"
    card.write_text(GOOD.replace('"mine"', '"\\u001b]0;owned\\u0007\\u001b[31mred"'))
    assert main(["run", "-m", str(card), "-t", "onnxruntime:cpu", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert "\x07" not in shown.out + shown.err
    assert "owned" in shown.out


def test_inputs_that_memory_cannot_hold_are_refused_before_they_are_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cards import query
    from bench.measure import plan

    monkeypatch.setattr(query, "random_inputs", lambda *_: pytest.fail("they were made"))
    monkeypatch.setattr(plan, "spare_bytes", lambda: 10 * 2**30)
    save_model(tmp_path / "m.onnx", (1, 40000, 40000))
    card = tmp_path / "card.toml"
    card.write_text(GOOD.replace('["batch", 4]', "[1, 40000, 40000]"))
    assert main(["run", "-m", str(card), "-t", "onnxruntime:cpu", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "will fail" in shown
    assert "x is 1x40000x40000 float32) need 17.9 GiB" in shown
    assert "10.0 GiB of memory is free" in shown
