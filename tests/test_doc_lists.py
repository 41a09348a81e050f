"""Lists in the documents have what the code has: keys, limits, verdicts, exit codes, files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from click.testing import CliRunner
from compared_runs import in_memory
from fake_records import a_record

from bench.commands.cli import cli, command_paths
from bench.commands.gate import command as gate
from bench.judge.finding import Kind, Limits
from bench.judge.gate import judge
from bench.measure.group import EXTRA_ROUNDS
from bench.measure.pace.spending import ROUNDS
from bench.present.gate import gate_json
from bench.record.certificate import VerdictName
from bench.record.schema import MODELS
from bench.scenarios import SCENARIOS
from bench.spec import Suite, load_suite
from bench.stats.nested.allocation import MOST_ROUNDS
from bench.variants import VARIANTS

DOCS = Path(__file__).parents[1] / "docs"
#: What an example has to say, where the default would be another name or every target.
CHOSEN = {"name", "models", "targets"}
#: What a key without a default needs beside it.
BESIDE: dict[str, dict[str, Any]] = {
    "latency_bound": {"scenarios": ["server"]},
    "ttft_bound": {"scenarios": ["server"], "tpot_bound": "100ms"},
    "tpot_bound": {"scenarios": ["server"], "ttft_bound": "2s"},
    "bounds": {"scenarios": ["server"]},
    "wall_command": {"energy": True},
    "wall_csv": {"energy": True},
}


def part(page: str, heading: str) -> str:
    """A section of a page."""
    text = (DOCS / page).read_text()
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"{page} has no {heading!r}"
    return re.split(r"^##+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def row(page: str, first: str) -> str:
    """The row of a table that begins with a cell."""
    (found,) = re.findall(rf"^\| {re.escape(first)} \|.*$", (DOCS / page).read_text(), re.MULTILINE)
    return str(found)


def example() -> str:
    return part("models.md", "## A suite").partition("```toml\n")[2].partition("```")[0]


def test_the_annotated_suite_has_every_key_with_its_default(tmp_path: Path) -> None:
    file = tmp_path / "suite.toml"
    file.write_text(example())
    suite = load_suite(file)
    keys = re.findall(r"^(?:# )?([a-z_]+) = ", example(), re.MULTILINE)
    assert sorted(keys) == sorted(Suite.model_fields)
    for name, field in Suite.model_fields.items():
        if name not in CHOSEN:
            assert getattr(suite, name) == field.get_default(call_default_factory=True), name


@pytest.mark.parametrize("line", re.findall(r"^# ([a-z_]+ = .*)$", example(), re.MULTILINE))
def test_a_key_that_is_a_comment_has_no_default_and_an_example_that_is_accepted(line: str) -> None:
    ((name, value),) = tomllib.loads(line).items()
    assert Suite.model_fields[name].default is None
    Suite.model_validate({name: value, **BESIDE.get(name, {})})


def test_every_key_of_the_gates_json_is_told() -> None:
    record = a_record()
    judgement = judge(in_memory([record]), Limits(min_accuracy={"": 0.5}))
    said = gate_json(judgement)
    findings = said["findings"]
    assert isinstance(findings, list)
    text = (DOCS / "results-format.md").read_text().partition("`bench gate --json` prints")[2]
    told = set(re.findall(r"`([a-z_]+)`", text.partition("\n\n")[0]))
    assert {*said, *findings[0]} <= told
    assert {kind for kind in get_args(Kind) if " " not in kind} <= told


def test_every_limit_of_the_gate_is_in_its_table() -> None:
    limits = {
        option.opts[0]
        for option in gate.params
        if isinstance(option, click.Option)
        and re.match(r"--(max|min|worst|certificate|allow-missing)", option.opts[0])
    }
    assert len(limits) > 7
    assert (
        set(re.findall(r"^\| `(--[a-z-]+)", part("ci.md", "## The gate"), re.MULTILINE)) == limits
    )


def test_the_limits_of_two_revisions_are_listed() -> None:
    limits = {p.opts[0] for p in gate.params if re.match(r"(max|min|worst)_", p.name or "")}
    able = {p.opts[0] for p in dict(commands())["compare"].params if p.opts[0] in limits}
    text = part("ci.md", "## Compare two revisions").partition("The limits (")[2].partition(")")[0]
    assert set(re.findall(r"`(--[a-z-]+)`", text)) == able


def commands() -> Iterator[tuple[str, click.Command]]:
    for path in command_paths():
        found: click.Command = cli
        for word in path:
            assert isinstance(found, click.Group)
            inner = found.get_command(click.Context(found), word)
            assert inner is not None
            found = inner
        yield " ".join(path), found
        if isinstance(found, click.Group):
            yield from ((f"{' '.join(path)} {name}", c) for name, c in found.commands.items())


def test_every_command_that_writes_files_for_ci_is_named() -> None:
    text = part("ci.md", "## Files for CI services").partition("can write")[0]
    able = {n for n, c in commands() if any("--junit" in p.opts for p in c.params)}
    assert set(re.findall(r"`(?:bench )?([a-z]+)(?: --base)?`", text)) == able


def test_every_command_with_exit_codes_of_its_own_is_in_the_table_of_exit_codes() -> None:
    text = part("commands.md", "## Exit codes")
    own = set()
    for name, _ in commands():
        said = " ".join(CliRunner().invoke(cli, [*name.split(), "--help"]).output.split())
        if re.search(r"[Ee]xit (?:status|code)[^.]*?\b[13]\b|\b1 fail\b", said):
            own.add(name)
    assert len(own) > 7
    assert {name for name in own if not re.search(rf"`{name}(?:`| -)", text)} == set()


def test_the_verdicts_of_a_certificate_are_listed() -> None:
    line = row("results-format.md", "`findings`")
    listed = line.partition("`verdict` (")[2].partition(")")[0]
    assert tuple(re.findall(r"`(\w+)`", listed)) == get_args(VerdictName)


def test_the_schemas_are_listed() -> None:
    text = part("results.md", "## Schemas").partition("2020-12): ")[2].partition(". ")[0]
    assert re.findall(r"`(\w+)`", text) == list(MODELS)


def test_the_variants_and_scenarios_of_a_cell_are_listed() -> None:
    for first, catalogue in (("`variant`", VARIANTS), ("`scenario`", SCENARIOS)):
        names = {re.split("@", name)[0] for name in re.findall(r"`([^`]+)`", row_of_cell(first))}
        assert names - {first.strip("`")} == {found.name for found in catalogue.built_in}


def row_of_cell(first: str) -> str:
    (found,) = re.findall(
        rf"^\| {first} \|.*$", part("results-format.md", "## A cell"), re.MULTILINE
    )
    return str(found)


def test_the_numbers_of_rounds_are_those_of_the_engine() -> None:
    line = row("results-format.md", "`round`")
    assert f"at most {MOST_ROUNDS} regular rounds, then up to {EXTRA_ROUNDS} " in line
    more = MOST_ROUNDS - ROUNDS
    assert f"(at most {more}) follow those of all" in line
    assert f"at most {MOST_ROUNDS + more} regular ones" in line
