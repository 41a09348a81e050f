"""Suites: what is accepted, and how a mistake is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.commands.run import command
from bench.commands.tune import _gone_on_with
from bench.errors import SpecError
from bench.spec import ARGUMENTS, FLAGS, Suite, asked_suite, load_suite, make_suite, with_flags


def suite_file(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text)
    return path


def test_a_suite_is_read_with_its_defaults(tmp_path: Path) -> None:
    suite = load_suite(suite_file(tmp_path, 'models = ["a.onnx"]\nprecision = "5%"\n'))
    assert suite.models == ("a.onnx",)
    assert suite.precision == 0.05
    assert suite.targets == ("*",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('precison = "2%"', ["my.toml", "precison", "Did you mean `precision`?"]),
        ("batch = [0]", ["my.toml", "batch.0", "greater than 0"]),
        ('threads = "many"', ["my.toml", "threads", "'many'", "integer"]),
        ('scenarios = ["single"]', ["my.toml", "scenarios.0", "Did you mean single-stream?"]),
        ("precision = 2", ["my.toml", "precision", "less than 1"]),
        ('precision = "two%"', ["my.toml", "precision"]),
        ("min_invocations = 9\nmax_invocations = 3", ["`max_invocations` (3)", "below"]),
        ("models = [", ["my.toml", "not valid TOML"]),
        ('variants = ["fp8"]', ["variants.0", "'fp8'"]),
    ],
)
def test_a_mistake_names_the_file_the_key_and_what_was_expected(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(SpecError) as caught:
        load_suite(suite_file(tmp_path, text))
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_suite_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"absent\.toml: no such suite file"):
        load_suite(tmp_path / "absent.toml")


def test_a_precision_is_doubted_where_processes_that_differ_by_2_percent_do_not_reach_it() -> None:
    """1.96 standard errors of 2% have to fit: (1.96 x 2% / 1%)^2 = 15.4 invocations."""
    assert Suite(precision=0.01, max_invocations=16).doubts() == []
    (doubt,) = Suite(precision=0.01, max_invocations=15).doubts()
    assert "about 16 invocations when processes differ by 2%, but at most 15" in doubt
    assert "--max-invocations 16, or --precision 1.0%" in doubt
    assert Suite(precision=0.01, max_invocations=15, goal="rank").doubts() == []


def test_flags_win_over_the_suite() -> None:
    suite = make_suite({"models": ["a"], "threads": 4, "seed": 3}, "s")
    changed = with_flags(suite, {"threads": 1, "accuracy": False})
    assert (changed.threads, changed.models, changed.seed) == (1, ("a",), 3)
    assert changed.accuracy is False


@given(st.floats(0.001, 99.9))
def test_a_percentage_is_a_fraction(percent: float) -> None:
    suite = make_suite({"precision": f"{percent}%"}, "s")
    assert suite.precision == pytest.approx(percent / 100)


def test_a_suite_survives_being_written_down() -> None:
    suite = make_suite({"models": ["a"], "shapes": {"seq": 7}, "batch": [1, 8]}, "s")
    assert Suite.model_validate_json(suite.model_dump_json()) == suite


@pytest.mark.parametrize("count", [3, 6, 7, 9, 23])
def test_the_time_that_is_said_to_be_enough_is_enough(count: int) -> None:
    bounds = {"min_invocations": count, "max_invocations": 30}
    with pytest.raises(SpecError, match="allow at least") as caught:
        with_flags(Suite(), {**bounds, "max_time_s": 0.05})
    enough = re.search(r"at least ([\d.]+) s", str(caught.value))
    assert enough is not None
    assert with_flags(Suite(), {**bounds, "max_time_s": float(enough[1])}).min_invocations == count


def test_of_the_two_bounds_on_invocations_the_one_that_is_given_moves_the_other() -> None:
    more = with_flags(Suite(), {"min_invocations": 58})
    assert (more.min_invocations, more.max_invocations) == (58, 58)
    fewer = with_flags(Suite(), {"max_invocations": 3})
    assert (fewer.min_invocations, fewer.max_invocations) == (3, 3)
    kept = with_flags(Suite(), {"min_invocations": 8})
    assert (kept.min_invocations, kept.max_invocations) == (8, 30)
    with pytest.raises(SpecError, match="is below --min-invocations"):
        with_flags(Suite(), {"min_invocations": 8, "max_invocations": 4})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"scenarios": ("foo",)}, "--scenario: there is no scenario called 'foo'."),
        ({"variants": ("fp8",)}, "--variant: there is no variant called 'fp8'."),
        ({"latency_bound": "5"}, "--latency-bound is '5', but must be a time with its unit"),
        ({"min_invocations": 1}, "--min-invocations is 1, but should be"),
        ({"energy_window_s": 0.5}, "--energy-window is 0.5, but should be"),
        ({"loadgen": {"min_duration": "x"}}, "--loadgen min_duration=x: it should be"),
        (
            {"min_invocations": 8, "max_invocations": 4},
            "--max-invocations (4) is below --min-invocations (8).",
        ),
        ({"loadgen": {"min_duration": -1}}, "--loadgen min_duration=-1: it should be"),
        ({"shapes": {"n": -1}}, "--shape n=-1: it should be"),
        ({"wall_csv": "m.csv"}, "--wall-csv is only read with --energy: give both."),
        ({"loadgen": {"min_duration": 1}}, "--loadgen is only read with --driver loadgen: give"),
    ],
)
def test_a_mistake_in_a_flag_names_the_flag(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        with_flags(Suite(), flags)
    assert str(caught.value).startswith(words)
    assert "`" not in str(caught.value).split("Available")[0]


@pytest.mark.parametrize(
    ("text", "flags", "words"),
    [
        ('wall_command = "x"', {"energy": True}, "`wall_command` is only read with `energy`"),
        ('scenarios = ["server"]', {"latency_bound": "5ms"}, "the scenario `server` and"),
        ('latency_bound = "5ms"', {"scenarios": ("server",)}, "the scenario `server` and"),
        ("loadgen = {min_duration = 1}", {"driver": "loadgen"}, "`loadgen` is only read with"),
        ("min_invocations = 50", {"max_invocations": 60}, "`max_invocations` (30) is below"),
        ("min_invocations = 30\nmax_time_s = 1", {"max_time_s": 9.0}, "`max_time_s` (1.0) is too"),
        ('ttft_bound = "1s"\nscenarios = ["server"]', {"tpot_bound": "1s"}, "`ttft_bound` and"),
        ('driver = "loadgen"\nlane = "native"', {"lane": "api"}, "LoadGen calls Python"),
    ],
)
def test_what_a_file_lacks_a_flag_may_give(
    tmp_path: Path, text: str, flags: dict[str, Any], words: str
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'models = ["a"]\n{text}\n')
    assert asked_suite(path, None, flags).models == ("a",)
    with pytest.raises(SpecError) as caught:
        asked_suite(path, None, {})
    assert str(caught.value).startswith(f"{path}: ")
    assert words.split("(")[0] in str(caught.value)
    with pytest.raises(SpecError):
        asked_suite(path, None, {"seed": 2})


@pytest.mark.parametrize(
    ("text", "preset", "flags"),
    [
        ('wall_command = "x"', None, {"seed": 3}),
        ('wall_command = "x"', "quick", {}),
        ("min_invocations = 10\nmax_invocations = 4", None, {"seed": 3}),
        ("loadgen = {min_duration = 1}", None, {"seed": 3}),
    ],
)
def test_what_a_file_says_against_itself_is_blamed_on_it(
    tmp_path: Path, text: str, preset: str | None, flags: dict[str, Any]
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f'models = ["a"]\n{text}\n')
    for source in (FLAGS, ARGUMENTS):
        with pytest.raises(SpecError) as caught:
            asked_suite(path, preset, flags, source=source)
        assert str(caught.value).startswith(f"{path}: `")


def test_who_asks_for_precision_of_an_overview_keeps_its_most_invocations(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('models = ["a"]\ngoal = "overview"\nmin_invocations = 3\nmax_invocations = 4\n')
    suite = asked_suite(path, None, {"precision": 0.01})
    assert (suite.goal, suite.min_invocations, suite.max_invocations) == ("precision", 4, 4)


def test_an_argument_of_python_is_named_as_it_is_written() -> None:
    with pytest.raises(SpecError, match=r"^`variants.0`: there is no variant called 'fp8'"):
        with_flags(Suite(), {"variants": ("fp8",)}, ARGUMENTS)


def test_a_flag_is_named_as_the_command_has_it() -> None:
    flags = [p for p in command.params if isinstance(p, click.Option) and not p.is_flag]
    renamed = {p.name: p.opts[-1] for p in flags if p.name in Suite.model_fields}
    assert len(renamed) > 25
    for field, flag in renamed.items():
        assert make_told(field) == flag


def make_told(field: str) -> str:
    """What a complaint about a field that was given as a flag calls it."""
    with pytest.raises(SpecError) as caught:
        make_suite({field: object()}, FLAGS)
    return str(caught.value).split()[0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ["--resume", "r", "--quick", "--no-accuracy", "a.onnx"],
            "--quick, --no-accuracy, --model",
        ),
        (["--resume", "r", "--max-time", "5", "--shape", "x=1"], "--max-time, --shape"),
    ],
)
def test_what_a_resumed_run_keeps_is_named_by_its_flag(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as caught:
        command.main(words, standalone_mode=False)
    told = str(caught.value).partition("(")[2].partition(")")[0]
    assert sorted(told.split(", ")) == sorted(named.split(", "))


def test_what_a_resumed_tuning_run_keeps_is_named_by_its_flag() -> None:
    with pytest.raises(SpecError, match=r"leave out --cell-timeout, -m\.$"):
        _gone_on_with(Path("r"), {"max_time_s": 9.0, "cell_timeout_s": 5.0, "-m": "a"})


def test_a_window_of_energy_without_energy_is_refused() -> None:
    suite = Suite(models=("a",))
    given = {"energy_window_s": 5.0, "wall_zone": "UTC", "wall_offset_s": 1.0}
    for name, flag in zip(given, ("--energy-window", "--wall-zone", "--wall-offset"), strict=True):
        with pytest.raises(SpecError, match=f"{flag} has no effect without --energy"):
            with_flags(suite, {name: given[name]})
    assert with_flags(suite, {"energy_window_s": 5.0, "energy": True}).energy_window_s == 5
    assert Suite(models=("a",), energy_window_s=5.0).energy_window_s == 5  # for who adds --energy
