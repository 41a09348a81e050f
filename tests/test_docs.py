"""The documents stay true: walk-throughs run, command lines parse, links and fields exist."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from installed import install
from pydantic import BaseModel

from bench.cell import Cell, ModelIdentity
from bench.commands.cli import cli
from bench.commands.debug.scaffold import package
from bench.machine.facts import MachineFacts
from bench.record import facts
from bench.record import result as record
from bench.record.header import RunHeader
from bench.spec import Suite
from bench.store.fields import RESULT_FIELDS

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What a walk-through does before and around the commands that are run here.
SET_UP = {"pip", "cd", "python3", "."}


def section(title: str) -> str:
    """One second-level section of CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    _, found, rest = text.partition(f"\n## {title}\n")
    assert found, f"CONTRIBUTING.md has no section {title!r}"
    return rest.partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for found, body in FENCE.findall(text) if found == language]


def files(text: str) -> dict[str, str]:
    """The blocks whose first line is a comment with a file name."""
    found = {}
    for language in ("python", "toml"):
        for body in blocks(text, language):
            name = re.match(r"# (\S+\.(?:py|toml))\n", body)
            if name:
                found[name[1]] = body
    return found


def commands(block: str) -> Iterator[tuple[list[str], list[str]]]:
    """Each command line of a console block, and the lines quoted from its output."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield shlex.split(line), output.splitlines()


class Walk:
    """A folder in which a walk-through is followed; ``installed`` stands for site-packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.installed = folder / "installed"
        self.folder.mkdir()
        self.installed.mkdir()
        (folder / "bench").symlink_to(ROOT)

    def install(self, pyproject: str) -> None:
        install(pyproject, self.installed)

    def follow(self, block: str) -> None:
        """Run a console block's commands; each quoted line has to be printed."""
        for command, quoted in commands(block):
            if command[0] not in SET_UP:
                self.check(command, quoted)

    def check(self, command: list[str], quoted: list[str]) -> None:
        programs = {
            "bench": [sys.executable, "-m", "bench"],
            "python": [sys.executable],
            "pytest": [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"],
        }
        done = subprocess.run(
            [*programs.get(command[0], command[:1]), *command[1:]],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == 0, f"{shlex.join(command)}\n{printed}"
        for line in quoted:
            assert re.search(_pattern(line), printed, re.MULTILINE), f"no {line!r} in:\n{printed}"

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
        cache = str(self.folder / "cache")
        return {**kept, "PYTHONPATH": str(self.installed), "BENCH_CACHE": cache, "COLUMNS": "80"}


def _pattern(quoted: str) -> str:
    """What a quoted line promises: `...` is anything, any measured figure is as good."""
    parts = (re.escape(part.strip()) for part in quoted.split("..."))
    text = r".*".join(re.sub(r"\d+\\\.\d+", r"\\d+\\.\\d+", part) for part in parts)
    return rf"^\s*{text}\s*$"


@pytest.fixture
def walk(tmp_path: Path) -> Walk:
    return Walk(tmp_path)


@pytest.mark.long
def test_a_backend_made_by_the_walk_through_works_and_keeps_the_contract(walk: Walk) -> None:
    text = section("Add a backend")
    found = files(text)
    (walk.installed / "bench_evaluator.py").write_text(found["bench_evaluator.py"])
    walk.install(found["pyproject.toml"])
    for block in blocks(text, "console"):
        walk.follow(block)


@pytest.mark.parametrize(
    ("kind", "name", "pyproject"),
    [
        ("backend", "evaluator", "pyproject.toml"),
        ("task", "perplexity", "perplexity/pyproject.toml"),
    ],
)
def test_a_walk_through_lists_what_scaffold_writes(kind: str, name: str, pyproject: str) -> None:
    listed, written = files(section(f"Add a {kind}")), package(kind, name)
    module = f"bench_{name}.py"
    assert listed[module] == f"# {module}\n{written[module]}"
    assert listed[pyproject] == f"# {pyproject}\n{written['pyproject.toml']}"


@pytest.mark.long
def test_a_model_made_by_the_walk_through_is_measured_from_its_card_and_from_a_package(
    walk: Walk,
) -> None:
    pytest.importorskip("sklearn")
    text, _, pytorch = section("Add a model").partition("\n### From PyTorch\n")
    card, _, package = text.partition("\n### In a package\n")
    for name, body in files(card).items():
        (walk.folder / name).write_text(body)
    for block in blocks(card, "console"):
        walk.follow(block)

    first, *rest = blocks(package, "console")
    walk.follow(first)
    shutil.copytree(walk.folder / "ship" / "digits_models", walk.installed / "digits_models")
    walk.install(files(package)["ship/pyproject.toml"])
    for block in rest:
        walk.follow(block)

    if find_spec("torch") is None:
        return
    (walk.folder / "nets.py").write_text(files(pytorch)["nets.py"])
    onnx, torch = '[source]\nonnx = "digits-linear.onnx"\n', blocks(pytorch, "toml")[0]
    assert onnx in files(card)["digits-linear.toml"]
    changed = files(card)["digits-linear.toml"].replace(onnx, torch)
    (walk.folder / "digits-linear.toml").write_text(changed)
    for block in blocks(pytorch, "console"):
        walk.follow(block)


@pytest.mark.long
@pytest.mark.parametrize(
    "what",
    ["a scenario", "a variant", "a task", "a CI format", "a section to the report"],
)
def test_what_a_walk_through_adds_works(walk: Walk, what: str) -> None:
    text = section(f"Add {what}")
    if what == "a task":
        pytest.importorskip("sklearn")
        card = section("Add a model").partition("\n### In a package\n")[0]
        for name, body in files(card).items():
            (walk.folder / name).write_text(body)
        walk.follow("$ python make.py\n")
    for name, body in files(text).items():
        if name.endswith(".toml"):
            walk.install(body)
        else:
            (walk.installed / name).write_text(body)
    for block in blocks(text, "console"):
        walk.follow(block)


def _command_lines() -> Iterator[tuple[str, str]]:
    """Every ``bench ...`` command line: in shell blocks, and in `code` that stands in the text."""
    for document in DOCUMENTS:
        text = document.read_text().replace(section("Add a CI format"), "")  # it adds an option
        for language, body in FENCE.findall(text):
            if language in ("sh", "console"):
                whole = body.replace("\\\n", " ")
                lines = (line.removeprefix("$ ") for line in whole.splitlines())
                yield from ((document.name, line) for line in lines if line.startswith("bench "))
        for code in re.findall(r"`(bench [^`\n]*)`", FENCE.sub("", text)):
            yield document.name, code.replace("\\|", "|")


COMMAND_LINES = sorted(set(_command_lines()))


@pytest.mark.parametrize(("document", "line"), COMMAND_LINES)
def test_every_command_line_in_the_documents_parses(document: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "..."]
    words = words[: words.index(">")] if ">" in words else words  # the shell's own
    for choice in words[1].split("|") if len(words) > 1 and "|" in words[1] else [None]:
        _parse([words[0], choice, *words[2:]] if choice else words)


def _parse(words: list[str]) -> None:
    """As far as options and kinds of argument; `--help` among them ends it well."""
    context = click.Context(cli, info_name="bench")
    if words[0].startswith("-"):
        assert words[0] in {name for option in cli.params for name in option.opts} | {"--help"}
        return
    command: click.Command = cli
    words = ["bench", *words]
    while isinstance(command, click.Group) and len(words) > 1 and not words[1].startswith("-"):
        # `get_command` knows no old name.
        inner = command.get_command(context, words[1])
        assert inner is not None, f"{words[0]} has no command {words[1]}"
        command, words = inner, words[1:]
    options = {n for p in command.params for n in (*p.opts, *p.secondary_opts)}
    given = {word.partition("=")[0] for word in words[1:] if re.match(r"--?[A-Za-z]", word)}
    assert given <= options | {"--help"}, f"{words[0]} has no option {given - options}"
    if "--help" not in given and not isinstance(command, click.Group):
        command.make_context(words[0], words[1:], resilient_parsing=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{document.name}: {target} leads nowhere"
        assert not anchor or anchor in _anchors(path), f"{document.name}: no heading {target}"


def _anchors(path: Path) -> set[str]:
    """Headings as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    assert set(re.findall(r"`make ([a-z]+)`", document.read_text())) <= set(phony[1].split())


def _models_of_a_record() -> list[type[BaseModel]]:
    found = [
        value
        for value in [*vars(record).values(), *vars(facts).values()]
        if isinstance(value, type) and issubclass(value, BaseModel) and value.model_fields
    ]
    return list(dict.fromkeys([*found, Cell, ModelIdentity, RunHeader, Suite]))


def _described() -> set[str]:
    """The names in `code` of the description of the files."""
    text = (ROOT / "docs" / "results-format.md").read_text()
    return set(re.findall(r"`([a-z0-9_]+)`", text))


@pytest.mark.parametrize("model", _models_of_a_record(), ids=lambda model: model.__name__)
def test_every_field_that_is_stored_is_described(model: type[BaseModel]) -> None:
    assert set(model.model_fields) <= _described()


def test_every_fact_of_the_machine_is_described() -> None:
    assert {field.name for field in dataclasses.fields(MachineFacts)} <= _described()


def test_every_column_of_a_sample_file_and_of_json_rows_is_described(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow.parquet as pq

    from bench.cards.tasks.embedding import RECALL_AT
    from bench.record.block import Block
    from bench.store.write import RunStore

    for folder in ("samples", "predictions"):
        (tmp_path / folder).mkdir()
    store = RunStore(tmp_path)
    store.write_samples("one", [Block("a", 0, 0, 0, np.array([1], np.int64))])
    names = ("label", "predicted", "in_top5", "logits", "gold", "similarity", "query")
    recalls = [f"recall_at_{k}" for k in RECALL_AT]
    columns = {name: np.zeros(1, np.int64) for name in (*names, *recalls)}
    predictions = store.write_predictions("one", columns)
    store.close()
    columns = {
        *pq.read_schema(tmp_path / "samples" / "one.parquet").names,
        *pq.read_schema(tmp_path / predictions).names,
        *RESULT_FIELDS,
    }
    assert columns <= _described()
