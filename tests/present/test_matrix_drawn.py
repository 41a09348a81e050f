"""The matrix as people and programs read it: widths, sentences, JSON, Markdown; and the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from compared_runs import in_memory, measured, noisy, on_disk
from fake_records import CONTROL, STUDENT, TEACHER, a_cell, a_failure, a_run
from rich.cells import cell_len

from bench.commands.matrix import command
from bench.errors import SpecError
from bench.judge.matrix.answer import Answered, answer
from bench.judge.matrix.cells import WORDS, Asked, By, Price
from bench.present.matrix.markdown import matrix_markdown
from bench.present.matrix.rows import matrix_rows
from bench.present.matrix.text import matrix_text, said_of
from bench.record.result import Record
from bench.store.run import StoredRun

EVERY: tuple[By, ...] = ("latency", "throughput", "price", "accuracy")


def timed(target: str, ns: float, seed: int = 1, model: Any = TEACHER, **changes: Any) -> Record:
    cell = a_cell(model, target, **changes)
    return measured(noisy(np.random.default_rng(seed), ns, 8, 0.01), cell, median_ns=ns)


def run_of(machine: str, records: Sequence[Record]) -> StoredRun:
    facts = {"machine_id": f"{machine[:12]:0>12}", "cpu_model": machine, "kernel": "6"}
    return in_memory(records, machine, facts=facts, machine_name=machine)


@cache
def many(machines: int = 2) -> Answered:
    """Runs with failures, a simulated device and a name that is too long for any table."""
    long = TEACHER.model_copy(update={"name": "a-model-whose-name-is-too-long-for-any-table-" * 2})
    runs = [
        run_of(f"machine-{n}-in-a-rack", [*a_run(), timed("x:cpu?threads=3", 1e5, n, long)])
        for n in range(machines)
    ]
    return answer(runs, Asked(bound_ns=5_000_000, prices={"machine-1-in-a-rack": Price(1, "€")}))


def plain(answered: Answered, width: int = 80) -> str:
    return matrix_text(answered, width).plain


@pytest.mark.parametrize("width", [72, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_cell_is_lost(width: int) -> None:
    answered = many()
    text = plain(answered, width)
    assert max(map(cell_len, text.splitlines())) <= width
    table = text.split("\n\nfashion-teacher at", 1)[0]
    # On each machine one model fails on one target.
    assert table.count("timeout") >= 2


def test_models_go_down_where_targets_fit_beside_each_other_and_across_where_not() -> None:
    targets = [f"runtime-{n}:cpu" for n in range(8)]
    few = [timed(t, 1e5, n) for n, t in enumerate(targets[:2])]
    assert plain(answer([run_of("a", few)], Asked())).splitlines()[1].strip() == "a"
    turned = plain(answer([run_of("a", [timed(t, 1e5) for t in targets])], Asked())).splitlines()
    assert turned[3] == "a"
    assert turned[4].startswith("  runtime-0:cpu")


def test_a_model_without_a_name_has_a_column_all_the_same() -> None:
    nameless = TEACHER.model_copy(update={"name": ""})
    records = [timed(f"runtime-{t}:cpu", 1e5, t, nameless) for t in range(8)]
    assert "runtime-7:cpu" in plain(answer([run_of("a", records)], Asked()))


def test_where_neither_fits_targets_come_in_blocks() -> None:
    models = [TEACHER.model_copy(update={"name": f"model-number-{n}"}) for n in range(6)]
    records = [timed(f"runtime-{t}:cpu", 1e5, t, m) for m in models for t in range(7)]
    lines = plain(answer([run_of("a", records)], Asked())).splitlines()
    assert sum(line.startswith("model-number-0  ") for line in lines) == 2
    assert max(map(cell_len, lines)) <= 80


def test_every_word_that_stands_for_a_figure_is_explained() -> None:
    answered = many()
    small = plain(answered, 200)
    for word in {entry.word for entry in answered.matrix if entry.word}:
        assert f"{word}: {WORDS[word]}" in small
    assert "no energy: " not in small


def test_the_answer_names_the_best_the_bound_and_the_price() -> None:
    runs = [run_of("left", [timed("x:cpu", 1e5)]), run_of("right", [timed("x:cpu", 3e5, 2)])]
    prices = {"left": Price(4.0, "EUR"), "right": Price(1.0, "EUR")}
    (said,) = said_of(answer(runs, Asked(bound_ns=5_000_000, prices=prices)))
    assert said.startswith("fashion-teacher at p99 ≤ 5.00 ms: the fastest is left x:cpu, 100 µs")
    assert "the cheapest that meets this: right x:cpu, 0.0835 EUR for a million samples (" in said


def test_what_is_not_told_apart_is_named() -> None:
    runs = [run_of("left", [timed("x:cpu", 1e5)]), run_of("right", [timed("x:cpu", 1e5, 2)])]
    (said,) = said_of(answer(runs, Asked()))
    assert "not distinguishable from it: " in said


def test_the_only_figure_is_not_called_the_fastest() -> None:
    (said,) = said_of(answer([run_of("a", [timed("x:cpu", 1e5)])], Asked()))
    assert said.startswith("fashion-teacher: the only figure is a x:cpu, 100 µs")


def test_a_bound_that_nothing_keeps_is_said() -> None:
    (said,) = said_of(answer([run_of("a", [timed("x:cpu", 1e5)])], Asked(bound_ns=1000)))
    assert said == (
        "fashion-teacher at p99 ≤ 1.00 µs: nothing is shown to meet this (1 over the bound)."
    )


def times(ratios: dict[str, float], target: str = "x:cpu") -> list[StoredRun]:
    return [
        run_of(name, [timed(target, 1e6, n), timed(target, 1e6 / ratio, n, STUDENT)])
        for n, (name, ratio) in enumerate(ratios.items())
    ]


def test_ratios_are_told_by_kind_with_their_machines() -> None:
    runs = times({"a": 4.0, "b": 4.4, "c": 3.8}) + times({"g": 33.0}, "torch:cuda:0")
    said = said_of(answer(runs, Asked()))[-1]
    assert said.startswith("fashion-student is 4.06x as fast as fashion-teacher on CPUs (3.3")
    assert ", 3 machines), and 33.0x on GPUs (33.0 to 33.0, 1 machine). CPUs differ with τ " in said
    assert "another one would have " in said


def test_two_machines_that_differ_much_are_told_one_by_one() -> None:
    said = said_of(answer(times({"a": 4.0, "b": 20.0}), Asked()))[-1]
    assert "4.00x (a) and 20.0x (b) as fast as fashion-teacher on two machines' CPUs" in said
    assert "too few for an interval" in said


def test_a_control_is_in_the_data_and_not_in_the_sentences() -> None:
    control = CONTROL.model_copy(update={"distilled_from": None})
    run = run_of(
        "a", [timed("x:cpu", 1e6, n, m) for n, m in enumerate((TEACHER, STUDENT, control))]
    )
    answered = answer([run], Asked())
    assert not any(said.startswith("fashion-student-ce is") for said in said_of(answered))
    ratios = matrix_rows(answered)["ratios"]
    assert isinstance(ratios, list)
    assert len(ratios) == 3


def test_a_machine_that_was_not_steady_is_told() -> None:
    cell = a_cell(TEACHER, "x:cpu")
    canary = [100.0, 130.0, 100.0, 130.0]
    record = measured(noisy(np.random.default_rng(1), 1e5, 4), cell, canary_ns=canary)
    text = plain(answer([run_of("rack", [record])], Asked()), 200)
    assert "rack: canary 115 ns, drifted by 30%: its figures may be off by as much." in text


@pytest.mark.parametrize("by", EVERY)
def test_each_figure_is_drawn_and_is_json(by: By) -> None:
    prices = {f"m{n}": Price(1 + n) for n in range(2)}
    asked = Asked(by=by, prices=prices, within=0.005)
    answered = answer([run_of(name, a_run()) for name in prices], asked)
    assert max(map(cell_len, plain(answered).splitlines())) <= 80
    row = matrix_rows(answered)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert matrix_markdown(answered)


def test_without_energies_a_matrix_of_them_says_how_to_get_some() -> None:
    with pytest.raises(SpecError, match="Measure it with --energy"):
        answer([run_of("a", a_run())], Asked(by="energy"))


def test_json_has_each_cell_with_its_figure_and_where_it_is_from() -> None:
    answered = many(1)
    rows = matrix_rows(answered)
    cells = rows["cells"]
    assert isinstance(cells, list)
    assert len(cells) == len(answered.matrix.rows) * len(answered.matrix.columns)
    failed = next(c for c in cells if c["word"] == "timeout")
    assert failed["failure"] == "no answer within 60 s; killed."
    ok = next(c for c in cells if not c["word"])
    assert ok["value_low"] < ok["value"] < ok["value_high"]


def test_json_tells_rows_of_one_name_apart_wherever_it_names_them() -> None:
    """They differ in the size of their inputs."""
    sizes = ((1, 1, 28, 28), (1, 1, 32, 32))
    records = [
        timed(f"{machine}:cpu", 1e6 * n, n, shapes={"image": size})
        for machine in "xy"
        for n, size in enumerate(sizes, 1)
    ]
    rows = matrix_rows(answer([run_of("a", records)], Asked()))
    cells: Any = rows["cells"]
    named = ("model", "variant", "scenario", "apart", "machine", "target", "use", "batch")
    known = {tuple(cell[key] for key in named) for cell in cells}
    assert len(known) == len(cells) == 4
    assert {cell["batch"] for cell in cells} == {1}
    choices: Any = rows["choices"]
    told = [choice["best"] for choice in choices] + [e for c in choices for e in c["tied"]]
    assert {tuple(one[key] for key in named) for one in told if one} <= known
    assert [choice["apart"] for choice in choices] == ["image 1x28x28", "image 1x32x32"]


def test_markdown_escapes_names_from_outside() -> None:
    evil = TEACHER.model_copy(update={"name": "a|b <img src=x> @somebody"})
    found = matrix_markdown(answer([run_of("m|<b>", [timed("x:cpu", 1e5, 1, evil)])], Asked()))
    assert "<img" not in found
    assert "m|" not in found
    assert "@somebody" not in found


# -- the command ----------------------------------------------------------------------------------


def stored(folder: Path) -> list[str]:
    for name, ns in (("left", 1e5), ("right", 2e5)):
        facts = {"machine_id": f"{name:0>12}", "cpu_model": name, "kernel": "6"}
        record = timed("x:cpu", ns).model_copy(update={"accuracy": None})
        on_disk(
            folder / name,
            [record, a_failure(a_cell(TEACHER, "y:npu"))],
            facts=facts,
            machine_name=name,
        )
    return [str(folder)]


def bench_matrix(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_a_folder_of_runs_is_one_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[machines.right]\nprice_per_hour = 0.5\ncurrency = "EUR"\n')
    monkeypatch.setenv("BENCH_CONFIG", str(config))
    written = tmp_path / "m.md"
    runs = stored(tmp_path / "runs")
    done = bench_matrix(
        *runs,
        "--price",
        "left=2",
        "--currency",
        "EUR",
        "--json",
        "--markdown",
        str(written),
        "--latency-bound",
        "5ms",
    )
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    prices = {m["machine"]: (m["price_per_hour"], m["currency"]) for m in row["machines"]}
    assert prices == {"left": (2.0, "EUR"), "right": (0.5, "EUR")}
    assert row["latency_bound_ns"] == 5_000_000
    assert row["choices"][0]["best"]["machine"] == "left"
    assert row["choices"][0]["cheapest"]["machine"] == "right"
    assert written.read_text("utf-8").startswith("## Latency of a query, median, µs")


def test_an_unknown_machine_gets_the_nearest_names(tmp_path: Path) -> None:
    done = bench_matrix(*stored(tmp_path), "--price", "lfet=2")
    assert isinstance(done.exception, SpecError)
    assert "--price lfet: these runs have no such machine. Did you mean left" in str(done.exception)


@pytest.mark.parametrize("price", ["left", "left=", "left=nan", "left=-1", "left=0", "=2"])
def test_what_is_no_price_is_refused(price: str, tmp_path: Path) -> None:
    done = bench_matrix(str(tmp_path), "--price", price)
    assert done.exit_code == 2
    assert "gpu-box=2.90" in done.output


@pytest.mark.parametrize("price", ["nan", "-1", "0", "inf", '"2"'])
def test_a_configured_price_is_a_number_above_nothing(
    price: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f"[machines.left]\nprice_per_hour = {price}\n")
    monkeypatch.setenv("BENCH_CONFIG", str(config))
    done = bench_matrix(*stored(tmp_path / "runs"))
    if price == '"2"':  # a number in quotes is read as one, as everywhere in the configuration
        assert done.exit_code == 0
    else:
        assert isinstance(done.exception, SpecError)
        assert "price_per_hour" in str(done.exception)


def test_a_configured_price_that_fits_no_machine_is_told_where_one_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    monkeypatch.setenv("BENCH_CONFIG", str(config))
    runs = stored(tmp_path / "runs")
    config.write_text("[machines.lfet]\nprice_per_hour = 2\n")
    done = bench_matrix(*runs)
    assert (
        "bench: there is no price for left and right. The configuration has prices for lfet, which "
        "these runs don't have."
    ) in done.stderr
    priced = "".join(f"[machines.{n}]\nprice_per_hour = 2\n" for n in ("left", "right", "away"))
    config.write_text(priced)
    assert "there is no price" not in bench_matrix(*runs).stderr


def test_ratios_that_are_unstable_over_machines_say_so() -> None:
    (said,) = [s for s in said_of(answer(times({"a": 4.0, "b": 4.6}), Asked())) if "CPUs" in s]
    assert said == (
        "fashion-student is at least 1.7x as fast as fashion-teacher on CPUs (2 machines)."
    )
    (said,) = [s for s in said_of(answer(times({"a": 1.0, "b": 1.15}), Asked())) if "CPUs" in s]
    assert said == (
        "fashion-student is 1.07x as fast as fashion-teacher on CPUs (unstable, 2 machines)."
    )


def test_an_unknown_scenario_is_refused(tmp_path: Path) -> None:
    done = bench_matrix(*stored(tmp_path), "--scenario", "ofline")
    assert isinstance(done.exception, SpecError)
    assert "offline" in str(done.exception)
