"""The command ``bench``: groups whose commands are imported only when they are called.

``bench NAME`` is the file ``bench/commands/NAME.py``, and ``bench GROUP NAME`` the file
``bench/commands/GROUP/NAME.py``; each holds a `click.Command` called ``command``. The lines of help
stand here, so that ``bench --help`` imports none of them. What is heavy (numpy, pydantic, rich,
...) a command imports where it works, so that its help and the completion of shells stay quick. A
command tells its exit code by returning it (None is 0) and reports an error by raising.

To add a command, write its file and its line here. A name that a command no longer has is a row in
`bench.commands.old_names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from bench import __version__
from bench.discover import nearest

#: The commands with their lines of help, by what a person wants to do.
SECTIONS: dict[str, dict[str, str]] = {
    "Measure": {
        "run": "Measure models on targets, and print the tables.",
        "tune": "Find the best way to run a model on a target.",
        "certify": "Decide whether a model on another target is still the model.",
        "portability": "Check which operators and models each target supports.",
        "fleet": "Measure on several machines at once.",
    },
    "Read results": {
        "show": "Print runs; --deal: what to pick, --history: what changed.",
        "compare": "Compare two runs, or cells of one, with verdicts.",
        "matrix": "Compare machines and targets, model by model.",
        "report": "Write runs as one HTML page.",
    },
    "Continuous integration and publishing": {
        "gate": "Pass or fail a run against a baseline and limits.",
        "publish": "Write tables with their raw data; --check: derive them again.",
        "ci": "Write the workflow of a CI service.",
    },
    "Manage": {
        "model": "List, describe, export and distill models.",
        "results": "Import, export, merge and pack results.",
        "doctor": "Diagnose targets and this machine.",
        "env": "Create, list and remove private environments.",
        "debug": "Investigate problems: bisect, lineage, selftest, and more.",
    },
}
#: The commands of each group with their lines of help.
GROUPS: dict[str, dict[str, str]] = {
    "model": {
        "list": "List the installed models.",
        "card": "Write a model card to edit, from a model.",
        "export": "Write a model as an ONNX file.",
        "distill": "Train a small student of a model.",
        "speculate": "Measure how much a small model's drafts speed up a large one.",
    },
    "results": {
        "import": "Read the results of another benchmark tool.",
        "export": "Write results for other tools and tables.",
        "merge": "Put the runs of several machines in one folder.",
        "pack": "Pack runs into one file that checks itself.",
        "attach-energy": "Add a meter's file to the energy windows of a run.",
        "mlperf": "Lay out LoadGen's tests for MLPerf's submission checker.",
    },
    "ci": {
        "init": "Write a workflow that compares revisions and keeps a trend page.",
    },
    "debug": {
        "bisect": "Find the first tensor on which a target disagrees.",
        "lineage": "Test whether two models are more alike than independent ones.",
        "selftest": "Test a target end to end, and write a report.",
        "schema": "Print the JSON Schema of a run's files.",
        "scaffold": "Write a package that adds a backend, a model or a task.",
        "completion": "Print the completion script of a shell.",
    },
}
COMMANDS = {name: line for section in SECTIONS.values() for name, line in section.items()}


def command_paths() -> list[tuple[str, ...]]:
    """The words behind ``bench`` of every command that does something: ``run``, ``model list``."""
    inner = [(group, name) for group, names in GROUPS.items() for name in names]
    return [*((name,) for name in COMMANDS if name not in GROUPS), *inner]


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    #: Its commands by title, and the package of their files: those of ``bench`` itself.
    sections: Mapping[str, Mapping[str, str]] = SECTIONS
    package = "bench.commands"

    @property
    def lines(self) -> dict[str, str]:
        """The line of help of each command."""
        return {name: line for part in self.sections.values() for name, line in part.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lines:
            return None
        module = import_module(f"{self.package}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        _give_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self.lines))
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{widest}}", line) for name, line in commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.lines and not name.startswith("-"):
            ctx.fail(f"no command {name!r}. {self._hint(name)}")
        return super().resolve_command(ctx, args)

    def _hint(self, name: str) -> str:
        paths = self.paths()
        close = nearest(name, [path[-1] for path in paths])
        meant = [" ".join(path) for last in close for path in paths if path[-1] == last]
        return f"Did you mean {' or '.join(meant)}?" if meant else f"Available: {self._names()}."

    def paths(self) -> list[tuple[str, ...]]:
        """The words of every command that may have been meant."""
        return [(name,) for name in self.lines]

    def _names(self) -> str:
        return ", ".join(self.lines)


class Front(LazyGroup):
    """``bench`` itself, which still understands earlier names of commands."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in GROUPS:
            return super().get_command(ctx, cmd_name)
        group = LazyGroup(cmd_name, help=COMMANDS[cmd_name])
        group.sections = {"Commands": GROUPS[cmd_name]}
        group.package = f"{self.package}.{cmd_name}"
        _give_debug(group)
        return group

    def paths(self) -> list[tuple[str, ...]]:
        return list(dict.fromkeys([*super().paths(), *command_paths()]))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.lines:
            from bench.commands.old_names import renamed  # start-up: old names alone

            found = renamed(args)
            if found is not None:
                if not ctx.resilient_parsing:  # completion of a shell
                    click.echo(found.advice, err=True)
                args = found.words
        return super().resolve_command(ctx, args)


def _give_debug(command: click.Command) -> None:
    """`--debug` is understood wherever it stands."""
    if not any(param.name == "debug" for param in command.params):
        command.params.append(_debug_option())
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _give_debug(inner)


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, help="Show where an error came from."
    )


@click.group(cls=Front, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error came from.")
def cli(**_: object) -> None:
    """Benchmark models across runtimes and devices: speed and accuracy, with error bars.

    `bench run` measures the models that come with it on every target that is present.
    `bench run model.onnx` measures yours.
    """
