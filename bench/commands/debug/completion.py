"""``bench debug completion SHELL``: the script that a shell sources to complete ``bench``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from bench.commands.cli import cli
from bench.errors import BenchError


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  bench debug completion bash > ~/.local/share/bash-completion/completions/bench
    zsh:   bench debug completion zsh > ~/.zfunc/_bench
    fish:  bench debug completion fish > ~/.config/fish/completions/bench.fish
    """
    completion = get_completion_class(shell)
    if completion is None:
        raise BenchError(f"this version of click has no completion for {shell}.")
    click.echo(completion(cli, {}, "bench", "_BENCH_COMPLETE").source())
