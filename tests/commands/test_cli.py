"""The command line: start-up, help, errors as one sentence, exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from fake_records import a_run

from bench import __main__, __version__
from bench.commands import cli
from bench.errors import BenchError, SpecError, Unavailable

Bench = Callable[..., "subprocess.CompletedProcess[str]"]

HEAVY = [
    "torch",
    "onnx",
    "onnxruntime",
    "pandas",
    "plotly",
    "scipy",
    "pydantic",
    "numpy",
    "rich",
    "pyarrow",
    "duckdb",
]


def loaded_by(*arguments: str) -> set[str]:
    """Modules in memory after one command line ran in a process of its own."""
    code = (
        "import sys; from bench.__main__ import main; main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["model", "list"],
        ["list"],
        ["doctor", "--backends", "--json"],
    ],
)
def test_looking_around_loads_nothing_heavy(arguments: list[str]) -> None:
    assert not loaded_by(*arguments) & set(HEAVY)


def test_help_imports_no_command() -> None:
    assert not {m for m in loaded_by("--help") if m.startswith("bench.commands.")} - {
        "bench.commands.cli"
    }


def test_the_help_of_a_command_and_its_completion_load_nothing_heavy() -> None:
    """Shells import a command's file at each press of the tab key."""
    code = (
        "import sys, click; from bench.commands.cli import cli, command_paths; "
        "find = lambda group, name: group.get_command(click.Context(group), name); "
        "[find(find(cli, path[0]), path[1]) if path[1:] else find(cli, *path) "
        "for path in command_paths()]; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "bench.commands.results.export" in loaded
    assert not loaded & set(HEAVY)


def test_every_command_has_its_file_and_its_help(bench: Bench) -> None:
    runner = CliRunner()
    for path in [*cli.command_paths(), *((group,) for group in cli.GROUPS)]:
        result = runner.invoke(cli.cli, [*path, "--help"])
        assert result.exit_code == 0, path
        assert "--debug" in result.output
    assert "Measure models" in bench("--help").stdout


def test_version(bench: Bench) -> None:
    assert bench("--version").stdout == f"bench {__version__}\n"


def test_no_command_prints_the_help(bench: Bench) -> None:
    done = bench()
    assert done.returncode == 2
    assert "Read results:" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--batch", "1,x"), "give whole numbers from 1, for example 1,8,32."),
        (("run", "--batch", "1,auto"), "for example 1,8,32, or auto alone."),
        (("tune", "net.onnx"), "Got unexpected extra argument (net.onnx)."),
        (("run", "--max-time", "5x"), "for example 5s, 2m, 1h or 90."),
    ],
)
def test_wrong_usage_is_answered_in_whole_sentences(
    bench: Bench, words: tuple[str, ...], said: str
) -> None:
    done = bench(*words)
    assert done.returncode == 2
    assert done.stderr.endswith(f"{said} See 'bench {words[0]} --help'.\n")


def test_an_unknown_command_is_answered_with_the_nearest(bench: Bench) -> None:
    done = bench("lsit")
    assert done.returncode == 2
    assert done.stderr == (
        "bench: no command 'lsit'. Did you mean model list or ci init? See 'bench --help'.\n"
    )
    assert "Available: run, tune, certify, portability" in bench("zzz").stderr


def test_an_unknown_option_is_answered_with_the_nearest(bench: Bench) -> None:
    done = bench("model", "list", "--jsn")
    assert done.returncode == 2
    assert "'--json'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["[red]x[/red]", "a\x1b[31mb", "\u202erun", "x" * 20_000, "-\n-"])
def test_hostile_names_are_shown_as_text(bench: Bench, name: str) -> None:
    done = bench("--", name)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip("\n").isprintable()
    assert len(done.stderr) < 2200


def test_a_name_that_is_not_utf8_is_an_error_like_any_other(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", b"caf\xe9"], env=environment, capture_output=True
    )
    assert done.returncode == 2
    assert b"\\udce9" in done.stderr


def test_listing_backends_and_models(bench: Bench) -> None:
    assert "stand-in" in bench("doctor", "--backends").stdout
    assert "fashion-student" in bench("model", "list").stdout
    overview = bench("list").stdout
    assert "models:\n" in overview
    assert "\nbackends:\n" in overview
    rows = json.loads(bench("doctor", "--backends", "--json").stdout)
    assert {"name": "stand-in", "about": "stand_in:StandIn"} in rows


def test_models_are_listed_with_their_roles(tmp_path: Path) -> None:
    site = tmp_path / "site"
    info = site / "acme_cards-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[bench.models]\nacme = acme_cards\n")
    cards = site / "acme_cards"
    cards.mkdir()
    (cards / "small.toml").write_text('task = "ocr"\ndistilled_from = "[red]large"\n')
    (cards / "large.toml").write_text('task = "ocr"\n')
    (cards / "odd.toml").write_text("task = 3\ndistilled_from = []\n")
    (cards / "broken.toml").write_text("= nonsense")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "model", "list"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines["small"].endswith("ocr, distilled from [red]large")
    assert lines["large"].endswith("ocr")
    assert "odd" in lines
    assert "card can't be read: broken.toml" in lines["broken"]
    assert done.returncode == 0


def test_showing_what_is_no_run(bench: Bench, tmp_path: Path) -> None:
    done = bench("show", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "not a run directory" in done.stderr


def test_completion_scripts(bench: Bench) -> None:
    assert "_BENCH_COMPLETE=zsh_complete" in bench("debug", "completion", "zsh").stdout
    assert "_BENCH_COMPLETE=fish_complete" in bench("debug", "completion", "fish").stdout
    assert bench("debug", "completion", "tcsh").returncode == 2


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m bench model list | true"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


def test_a_terminal_without_the_characters_shows_question_marks(
    environment: dict[str, str],
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from bench.streams import remember_failures as r; r(); print('±')",
        ],
        env={**environment, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "?\n"


# -- errors, by a command that raises what a test wants --------------------------------------------


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run ``bench model list`` with a command that raises this error."""

    def run(error: BaseException, *arguments: str) -> int:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(cli, "import_module", lambda name: type("M", (), {"command": command}))
        return __main__.main(["model", "list", *arguments])

    return run


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (SpecError("suite.toml: `models` is missing."), 2, "suite.toml: `models` is missing."),
        (Unavailable("no device.", "Plug one in."), 1, "no device. Plug one in."),
        (BenchError("two\nlines\x1b[31m"), 1, "two lines\\x1b[31m"),
        (
            OSError(errno.ENOSPC, "No space left on device", "results/x"),
            1,
            "results/x: No space left on device.",
        ),
        (
            ValueError("oops"),
            1,
            "this is a bug in bench: ValueError: oops. Run the same command with --debug to see "
            "where it happened.",
        ),
    ],
)
def test_each_error_is_one_sentence(
    raising: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    says: str,
) -> None:
    assert raising(error) == code
    assert capsys.readouterr().err == f"bench: {says}\n"


def test_an_interrupt_is_130_and_silent(
    raising: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.strip() == ""


@pytest.mark.parametrize("caught", [False, True], ids=["passed on", "caught by the command"])
def test_an_interrupt_while_text_is_executed_is_130_too(tmp_path: Path, caught: bool) -> None:
    """CPython would end by SIGINT then, though the interrupt was caught."""
    (tmp_path / "interrupted.py").write_text(
        "import sys\n"
        "from bench import __main__\n"
        "def run(arguments):\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        f"        if {caught}: return 130\n"
        "        raise\n"
        "__main__._run = run\n"
        "sys.exit(__main__.main([]))\n"
    )
    command = [sys.executable, "-m", "interrupted"]
    assert subprocess.run(command, cwd=tmp_path, timeout=60).returncode == 130


def test_debug_shows_where_wherever_it_stands(raising: Callable[..., int]) -> None:
    with pytest.raises(ValueError, match="oops"):
        raising(ValueError("oops"), "--debug")


@pytest.mark.parametrize("stop", [SystemExit(0), SystemExit(3), SystemExit(), SystemExit("bye")])
def test_what_ends_the_program_from_within_is_a_failure_in_one_sentence(
    raising: Callable[..., int], stop: SystemExit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(stop) == 1
    assert capsys.readouterr().err.count("ended the program") == 1


def test_the_completion_of_shells_exits_with_its_own_code(
    raising: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_BENCH_COMPLETE", "bash_source")
    assert raising(SystemExit(0)) == 0


# -- commands that do something --------------------------------------------------------------------


@pytest.fixture
def stored_run(tmp_path: Path) -> Path:
    """A run directory with the records of `fake_records.a_run` and predictions for most."""
    from bench.record.header import RunHeader
    from bench.spec import Suite
    from bench.store.write import RunStore

    records = a_run()
    header = RunHeader(
        bench_version=__version__,
        created_at="2026-11-23T12:00:00Z",
        command="bench run",
        suite=Suite(),
        targets=("onnxruntime:cpu",),
        models=("fashion-teacher",),
        facts={"cpu_model": "AMD EPYC"},
        cells=tuple(record.cell for record in records),
    )
    store = RunStore.create(tmp_path / "results", header)
    labels = np.arange(10_000) % 10
    for record in records:
        if record.accuracy is not None and record.cell.target != "torch:cpu":
            wrong = labels.copy()
            wrong[record.accuracy.correct :] += 1
            columns = {"label": labels, "predicted": wrong}
            written = store.write_predictions(record.cell_id, columns)
            found = record.accuracy.model_copy(update={"predictions": written})
            record = record.model_copy(update={"accuracy": found})
        store.append_record(record)
    store.close()
    return store.path


def test_a_stored_run_is_shown_again(bench: Bench, stored_run: Path) -> None:
    done = bench("show", str(stored_run))
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "✓ onnxruntime:cpu       271 ±1.2%" in done.stdout
    assert "On onnxruntime:cpu and openvino:cpu fashion-student is 9.8x as fast as" in done.stdout
    assert "\x1b" not in done.stdout
    assert "predictions can't be read" in done.stderr


def test_a_run_whose_last_line_was_cut_is_shown_without_it(bench: Bench, stored_run: Path) -> None:
    with open(stored_run / "records.jsonl", "a") as file:
        file.write('{"cell_id": "abc", "ce')
    done = bench("show", str(stored_run))
    assert done.returncode == 0
    assert "bench: skipped records.jsonl line" in done.stderr


def test_a_stored_run_as_json(bench: Bench, stored_run: Path) -> None:
    value = json.loads(bench("show", str(stored_run), "--json").stdout)
    assert len(value["results"]) == len(a_run())
    assert value["pairs"][0]["speedup"]["verdict"] == "faster"
    assert value["facts"]["cpu_model"] == "AMD EPYC"


def test_colours_only_where_they_are_wanted(environment: dict[str, str], stored_run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "show", str(stored_run)],
        env={**environment, "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert "\x1b[" in done.stdout


def test_doctor_tells_present_and_absent_targets_and_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bench.backend import Device
    from bench.runtimes import targets

    reports = [
        targets.BackendReport(
            "acme",
            None,
            "1.0",
            (Device("npu:0", "Acme", "[red]A1", simulated=True),),
            absent={
                "gpu": Unavailable("acme:gpu is not available: libgpu.so.", "Install it."),
                "dsp": Unavailable("acme:dsp is not available: libgpu.so.", "Install it."),
            },
        ),
        targets.BackendReport(
            "gone", None, "", (), Unavailable("gone is not installed.", "Run pip install gone.")
        ),
        targets.BackendReport(
            "acme",
            None,
            "2.0",
            (Device("cpu", "", "Core"),),
            environment="side",
            absent={"gpu": Unavailable("libgpu.so was not found.", "Install the driver.")},
        ),
        targets.BackendReport(
            "acme", None, "", (), Unavailable("acme@old: it is too old."), environment="old"
        ),
    ]
    monkeypatch.setattr(targets, "discover_backends", lambda names=None: reports)
    monkeypatch.setattr("bench.runtimes.environments.find.existing_environments", list)
    result = CliRunner().invoke(cli.cli, ["doctor"])
    assert result.exit_code == 0, result.output
    assert "  acme:npu:0     [red]A1, simulated: its latency is meaningless;" in result.output
    assert "  gone: gone is not installed. Run pip install gone." in result.output
    assert "  acme:gpu: libgpu.so. Install it." in result.output
    assert "acme:dsp" not in result.output, "one remedy is told once"
    assert "  acme@side:cpu  Core; acme 2.0" in result.output
    assert "  acme@side: libgpu.so was not found. Install the driver." in result.output
    assert "  acme@old: it is too old." in result.output
    assert "Environments\n" not in result.output
    assert "Machine\n  CPU: " in result.output
    value = json.loads(CliRunner().invoke(cli.cli, ["doctor", "--json"]).output)
    assert value["backends"][0]["devices"][0]["simulated"] is True
    assert value["backends"][1]["unavailable"].startswith("gone is not")
    assert set(value["backends"][0]["absent"]) == {"gpu", "dsp"}
    assert value["machine"]["logical_cores"]
    assert value["bench_version"] == __version__
    assert value["threads"] >= 1
    listed = CliRunner().invoke(cli.cli, ["doctor", "--targets"])
    assert listed.output == "acme:npu:0     [red]A1 (simulated)\nacme@side:cpu  Core\n"


def test_exporting_writes_the_file_whole_and_replaces_none(
    bench: Bench, doubling_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "copy.onnx"
    assert bench("model", "export", str(doubling_model), "-o", str(output)).returncode == 0
    assert output.read_bytes() == doubling_model.read_bytes()
    again = bench("model", "export", str(doubling_model), "-o", str(output))
    assert again.returncode == 2
    assert "already exists. Use --force" in again.stderr
    assert (
        bench("model", "export", str(doubling_model), "-o", str(output), "--force").returncode == 0
    )
    assert [p.name for p in tmp_path.glob("*partial*")] == []
    nowhere = bench("model", "export", str(doubling_model), "-o", str(tmp_path / "no" / "x.onnx"))
    assert nowhere.returncode == 2
    assert bench("model", "export", "no-such-model", "-o", "x.onnx").returncode == 2
