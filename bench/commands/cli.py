"""The command ``bench``: a group whose subcommands are imported only when they are called.

A subcommand is a file ``bench/commands/NAME.py`` that holds a `click.Command` called ``command``.
Its line of help stands here, so that ``bench --help`` imports none of them. What is heavy (numpy,
pydantic, rich, ...) a command imports where it works, so that its help and the completion of shells
stay quick. A command tells its exit code by returning it (None is 0) and reports an error by
raising.
"""

from __future__ import annotations

from importlib import import_module

import click

from bench import __version__
from bench.discover import nearest

#: The subcommands with their lines of help, by what a person wants to do.
SECTIONS: dict[str, dict[str, str]] = {
    "Measure": {
        "run": "Measure models on targets, and print the tables.",
        "fleet": "Measure on several machines at once.",
        "tune": "Find how to run a model on a target best.",
        "portability": "Say which operators and models run where, and right.",
        "bisect": "Find the first tensor on which a target disagrees.",
        "certify": "Say whether a model on another target is still the model.",
        "speculate": "What a small model's drafts are worth to a large one.",
    },
    "Read results": {
        "show": "Print the tables of stored runs again.",
        "report": "Write runs as one page: words, pictures, tables.",
        "deal": "Which model, precision and target is worth what it costs.",
        "matrix": "Which hardware for which model, over machines.",
        "compare": "Compare two runs, or cells of one, with verdicts.",
        "lineage": "How much more alike two models are than independent ones.",
        "history": "Show a cell over many runs, and where it stepped.",
        "merge": "Put runs of several machines together in one folder.",
        "attach-energy": "Put a meter's file to a run's energy windows.",
    },
    "Continuous integration and publishing": {
        "gate": "Pass or fail a run against a baseline and limits.",
        "baseline": "Write a run as one file, to gate later runs by.",
        "publish": "Render tables, with the raw data behind them, from runs.",
        "pack": "Pack runs into one file that checks itself.",
        "check-results": "Derive every published number again.",
        "import": "Read the results of another benchmark tool.",
        "export-results": "Write results for other tools and tables.",
        "mlperf": "Lay out LoadGen's tests for MLPerf's submission checker.",
        "schema": "Print the JSON Schema of a run's files.",
    },
    "Models": {
        "distill": "Train a small student of a classifier.",
        "init-card": "Write a model card to edit, from a model.",
        "export": "Write a model as an ONNX file.",
    },
    "Add your own": {
        "scaffold": "Write a package that adds a backend, a model or a task.",
    },
    "This machine": {
        "list": "List models, backends or targets.",
        "doctor": "Say which targets are here, and why others are not.",
        "env": "Make, list and remove private environments.",
        "selftest": "Try a target from end to end, and write a report.",
        "completion": "Print the completion script of a shell.",
    },
}
#: Where commands that are not in the folder itself are.
_PLACES = {
    "attach-energy": "results.attach_energy",
    "bisect": "debug.bisect",
    "completion": "debug.completion",
    "distill": "model.distill",
    "export": "model.export",
    "export-results": "results.export",
    "import": "results.import",
    "init-card": "model.card",
    "lineage": "debug.lineage",
    "list": "model.list",
    "merge": "results.merge",
    "mlperf": "results.mlperf",
    "pack": "results.pack",
    "scaffold": "debug.scaffold",
    "schema": "debug.schema",
    "selftest": "debug.selftest",
    "speculate": "model.speculate",
}
COMMANDS = {name: line for section in SECTIONS.values() for name, line in section.items()}


class LazyGroup(click.Group):
    """A group that knows its subcommands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(
            f"bench.commands.{_PLACES.get(cmd_name, cmd_name.replace('-', '_'))}"
        )
        command: click.Command = module.command
        _give_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{widest}}", line) for name, line in commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            close = nearest(name, COMMANDS)
            hint = f"Did you mean {' or '.join(close)}?" if close else _all_commands()
            ctx.fail(f"there is no command {name!r}. {hint}")
        return super().resolve_command(ctx, args)


def _give_debug(command: click.Command) -> None:
    """`--debug` is understood wherever it stands."""
    if not any(param.name == "debug" for param in command.params):
        command.params.append(_debug_option())
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        _give_debug(inner)


def _all_commands() -> str:
    return f"There are: {', '.join(COMMANDS)}."


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, help="Show where an error came from."
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bench", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error came from.")
def cli(**_: object) -> None:
    """How fast, how much and how right is a model, and the one distilled from it, on every
    runtime and device that you can reach, and how sure is each number?

    `bench run` measures the models that come with it on every target that is present.
    """
