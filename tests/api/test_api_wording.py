"""Messages of the engine name arguments where Python reads them."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import bench
from bench.api.measure import Settings
from bench.api.wording import ARGUMENTS, SWITCHES, in_python, says_python, told_in_python
from bench.commands.run import command
from bench.errors import Unavailable
from bench.measure.listener import QuietProgress
from bench.spec import Suite

ROOT = Path(__file__).parents[2] / "bench"
#: Rooms whose errors a Python caller may see.
ROOMS = ("judge", "measure", "cards", "record", "store", "stats", "machine", "runtimes")
#: Options in their messages that belong to a command: of `bench` alone, or of another program.
OF_COMMANDS = {
    # distilling, exporting, certificates and lineages are commands alone
    *("rate", "layers", "length", "sample", "text", "name", "steps", "temperature", "bf16"),
    *(
        "control-of",
        "device",
        "control",
        "same-recipe",
        "reference",
        "on",
        "against",
        "certificate",
    ),
    # surveys and gates
    *("operator", "opset"),
    *("baseline", "min-accuracy", "worst-score", "max-energy", "max-slowdown", "allow-missing"),
    *("max-memory-growth", "max-accuracy-loss"),
    # reading and writing what is stored
    *("price", "currency"),
    *("check", "unchecked", "keep", "save", "resume", "by", "version", "submitter", "csv"),
    # installers and tools of others
    *("installer", "python", "no-project", "allow-existing"),
    *("without-pip", "no-input", "progress-bar", "index-url", "extra-index-url", "merge"),
    "verify",
}


@pytest.mark.parametrize(
    ("terminal", "python"),
    [
        ("--allow thread: no such kind.", '`allow="thread"`: no such kind.'),
        ("Anyway: --allow input --allow lane.", 'Anyway: `allow=["input", "lane"]`.'),
        ("To compare them: --allow KIND.", 'To compare them: `allow="KIND"`.'),
        (
            "use --max-invocations 97, or --precision 1.4%.",
            'use `max_invocations=97`, or `precision="1.4%"`.',
        ),
        ("give --scenario prefill --scenario decode.", 'give `scenarios=["prefill", "decode"]`.'),
        ("--shape seq=3: no such name.", '`shapes={"seq": 3}`: no such name.'),
        ("(--shape seq=... sets another)", '(`shapes={"seq": ...}` sets another)'),
        ("Give a larger --batch or --length.", "Give a larger `batch` or --length."),
        ("--batch contradicts offline", "`batch` contradicts offline"),
        ("Raise --cell-timeout, or --max-time 30s.", "Raise `cell_timeout_s`, or `max_time_s=30`."),
        ("--batch-axis: no such axis", "`batch_axis`: no such axis"),
        ("try --draft 3,5 with --energy.", "try `draft=[3, 5]` with `energy=True`."),
        ("Give --ttft-bound and --tpot-bound.", "Give `ttft_bound` and `tpot_bound`."),
        ("--wall-command 'a b' ended", "`wall_command='a b'` ended"),
        ("--cell a@b/c: no such cell.", '`cells="a@b/c"`: no such cell.'),
        ("--scenario server --latency-bound 5ms", '`scenarios="server", latency_bound="5ms"`'),
        ("neither `a` `b` nor `c`", "neither `a` `b` nor `c`"),
        ("`x` --batch 4 --threads 2 `y`", "`x` `batch=4, threads=2` `y`"),
        ("Measure one with `bench run`.", "Measure one with `bench.run`."),
        ("`bench show RUN --json` has it.", "`bench show RUN --json` has it."),
        ("`bench run --resume x` goes on.", "`bench run --resume x` goes on."),
        ("install --quietly, a--batch", "install --quietly, a--batch"),
        ("atc --precision_mode=x --model=/n.onnx", "atc --precision_mode=x --model=/n.onnx"),
        ("nets/--energy/x.onnx is broken", "nets/--energy/x.onnx is broken"),
    ],
)
def test_an_option_becomes_its_argument(terminal: str, python: str) -> None:
    assert in_python(terminal) == python
    assert in_python(python) == python, "once more changes nothing"


def test_every_argument_is_one_that_there_is() -> None:
    of_compare = inspect.signature(bench.Run.compare).parameters
    of_run = inspect.signature(bench.run).parameters
    assert set(ARGUMENTS.values()) <= {*Suite.model_fields, *of_compare, *of_run}
    for switch in SWITCHES.values():
        assert switch.partition("=")[0] in {*Settings.__annotations__, "preset"}


def test_every_option_of_the_command_that_is_a_field_leads_to_it() -> None:
    options = (p for p in command.params if isinstance(p, click.Option) and not p.is_flag)
    found = {option.opts[-1].removeprefix("--"): option.name for option in options}
    fields = {option: name for option, name in found.items() if name in Suite.model_fields}
    assert len(fields) > 25
    assert {option: ARGUMENTS.get(option) for option in fields} == fields
    flags = {p.opts[0][2:] for p in command.params if isinstance(p, click.Option) and p.is_flag}
    assert set(SWITCHES) <= flags


def messages() -> Iterator[tuple[str, str]]:
    """The texts of the rooms, docstrings aside, with an option in them."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    for path in (*files, *ROOT.glob("*.py")):
        tree = ast.parse(path.read_text())
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in docs and path.name != "__main__.py":
                for found in re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", node.value):
                    yield found, f"{path.name}: {node.value[:80]}"


def test_every_option_that_a_message_names_has_an_argument_or_is_of_a_command() -> None:
    named = dict(messages())
    known = {*ARGUMENTS, *SWITCHES, *OF_COMMANDS}
    assert {option: where for option, where in named.items() if option not in known} == {}
    assert set(OF_COMMANDS) <= set(named)


def test_the_remedy_of_what_is_not_there_is_in_python_too() -> None:
    @says_python
    def asked() -> None:
        raise Unavailable("no meter: --wall-csv is missing.", "Give --energy-window 5.")

    with pytest.raises(bench.BenchError) as caught:
        asked()
    assert isinstance(caught.value, Unavailable)
    assert str(caught.value) == "no meter: `wall_csv` is missing. Give `energy_window_s=5`."
    assert caught.value.remedy == "Give `energy_window_s=5`."


def test_notes_while_a_run_goes_on_name_arguments() -> None:
    class Heard(QuietProgress):
        notes: list[str] = []  # noqa: RUF012
        phases: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.notes.append(text)

        def phase(self, text: str) -> None:
            self.phases.append(text)

    listener = told_in_python(Heard())
    listener.note("--threads 2 is the most")
    listener.phase("--threads 2")
    assert (Heard.notes, Heard.phases) == (["`threads=2` is the most"], ["--threads 2"])
