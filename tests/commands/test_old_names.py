"""Commands keep their old names until a version that is named, and say what is new."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from measured_runs import measured_run

from bench import __version__
from bench.commands.cli import COMMANDS, cli
from bench.commands.old_names import OLD, renamed
from bench.commands.portability import _write
from bench.defaults import GONE_IN
from bench.record.portability import PortabilityReport


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measured_run(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("old", OLD)
def test_an_old_name_does_what_the_new_one_does_and_says_its_words_on_one_line(old: str) -> None:
    new = OLD[old]
    done = CliRunner().invoke(cli, [*old.split(), "--help"])
    assert done.exit_code == 0
    assert done.stdout == CliRunner().invoke(cli, [*new.words, "--help"]).stdout
    assert done.stderr == (
        f"bench: use `bench {new.shown or ' '.join(new.words)}`. "
        f"`bench {old}` goes away in version 0.2.\n"
    )


def test_what_goes_away_in_a_version_is_there_in_none_that_is_later() -> None:
    """Else people are told of a version that they have: remove the old names, `--json FILE` of
    portability and `by` of the fixture, or name another version."""
    here, gone = (tuple(map(int, v.split(".")[:2])) for v in (__version__, GONE_IN))
    assert here < gone


def test_a_file_behind_json_is_told_to_go_away_like_an_old_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = PortabilityReport.model_construct()
    _write(report, None, None, str(tmp_path / "p.json"))
    said = capsys.readouterr().err
    assert said == (
        f"bench: use `--json > {tmp_path}/p.json`. `--json FILE` goes away in version 0.2.\n"
    )
    assert (tmp_path / "p.json").is_file()


def test_old_names_are_in_no_help_and_in_no_completion() -> None:
    assert not {name.split()[0] for name in OLD} & set(COMMANDS)
    shell = ShellComplete(cli, {}, "bench", "_BENCH_COMPLETE")
    assert {item.value for item in shell.get_completions([], "")} == set(COMMANDS)


def test_the_flags_of_an_old_name_are_completed_without_a_word_of_advice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shell = ShellComplete(cli, {}, "bench", "_BENCH_COMPLETE")
    assert "--temperature" in {item.value for item in shell.get_completions(["deal"], "--t")}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("baseline R -o F", "gate R --save F"),
        ("baseline -oF R", "gate --save F R"),
        ("baseline --output=F R", "gate --save F R"),
        ("baseline -o F -- -odd", "gate --save F -- -odd"),
        ("list --json targets", "doctor --targets --json"),
        ("list", "model list --with-backends"),
        ("export m -o list", "model export m -o list"),
        ("mlperf pack R -o D", "results mlperf pack R -o D"),
    ],
)
def test_a_command_line_in_old_names_means_the_one_in_new_names(old: str, new: str) -> None:
    found = renamed(old.split())
    assert found is not None
    assert found.words == new.split()


def test_json_stays_alone_on_standard_output(run: Path) -> None:
    old = CliRunner().invoke(cli, ["deal", str(run), "--json"])
    new = CliRunner().invoke(cli, ["show", "--deal", str(run), "--json"])
    assert json.loads(old.stdout) == json.loads(new.stdout)
    assert old.stderr != new.stderr


def test_a_baseline_is_written_by_its_old_name(run: Path, tmp_path: Path) -> None:
    files = [tmp_path / "old.json", tmp_path / "new.json"]
    assert CliRunner().invoke(cli, ["baseline", str(run), "-o", str(files[0])]).exit_code == 0
    assert CliRunner().invoke(cli, ["gate", str(run), "--save", str(files[1])]).exit_code == 0
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("show R --by size", "--by is for --deal."),
        ("show R --history --loss 1", "--loss is for --deal."),
        ("show R --deal --cell x", "--cell is for --history."),
        ("show R --deal --junit x.xml", "--junit writes the tables: leave out --deal."),
        ("gate R --save x --baseline y", "--save judges nothing: leave out --baseline."),
        ("publish R --check -o x", "--check writes nothing: leave out -o, --title and --history."),
    ],
)
def test_a_flag_that_means_nothing_beside_another_is_refused(
    run: Path, flags: str, says: str
) -> None:
    words = [str(run) if word == "R" else word for word in flags.split()]
    with pytest.raises(click.UsageError, match=says.replace(".", r"\.")):
        cli.main(words, standalone_mode=False)
