"""``python -m bench``, and the entry point of the command ``bench``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TextIO

import click

from bench.commands.cli import cli
from bench.errors import BenchError, SpecError, as_sentence
from bench.numbers import printable
from bench.streams import drop, open_what_is_closed, remember_failures
from bench.trust import Untrusted

#: Set where a shell asks for completions (see `bench debug completion`).
COMPLETE = "_BENCH_COMPLETE"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; say what went wrong in one sentence; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    open_what_is_closed()
    output = remember_failures()
    try:
        with _termination_as_interrupt():
            code = _run_trusting(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # ``bench ... | head``: say nothing
        drop(1)
        return EXIT_FAILED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    except Exception as error:
        if _wants_debug(arguments):
            raise
        if output is not None and output.failure is not None:
            drop(1)
            _complain(f"can't write to standard output: {output.failure.strerror}.")
            return EXIT_FAILED
        _complain(_sentence(error))
        return EXIT_USAGE if isinstance(error, (SpecError, click.UsageError)) else EXIT_FAILED
    finally:
        # After an interrupt while text was executed (`dataclasses` does that), whoever caught it,
        # CPython ends by SIGINT instead of with our exit code, unless text is executed once more
        # (run_eval_code_obj in Python/pythonrun.c).
        eval("None")
    return code


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM (a CI job that is cancelled) ends a command like Ctrl-C does, from its beginning."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_trusting(arguments: list[str]) -> int:
    """Run a command; where it stopped before a file that is to be trusted first, ask at a
    terminal, and run it again."""
    try:
        return _run(arguments)
    except Untrusted as error:
        if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
            raise
        click.echo(f"bench: {printable(str(error), limit=2000)}", err=True)
        if not click.confirm("Trust its current contents?", err=True):
            raise click.Abort from error
        error.grant()
    return _run(arguments)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _run(arguments: list[str]) -> int:
    """The exit code of one command, which it returns.

    Only the completion of shells exits by itself. Whatever else does is code that a command called,
    and has not done what was asked for.
    """
    stdout = sys.stdout
    try:
        code = cli.main(args=arguments, prog_name="bench", standalone_mode=False)
    except SystemExit as stop:
        if COMPLETE in os.environ:
            return stop.code if isinstance(stop.code, int) else 0
        if sys.stdout is not stdout:  # click's way to say that the reader went away
            raise BrokenPipeError from stop
        raise BenchError(
            f"code that the command called ended the program ({stop.code or 'no reason'}) before "
            "it finished. Run it again with --debug to see which."
        ) from stop
    return code if isinstance(code, int) else 0


def _wants_debug(arguments: Sequence[str]) -> bool:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--debug" in arguments[:end]


def _complain(sentence: str) -> None:
    try:
        click.echo(f"bench: {printable(sentence, limit=2000)}", err=True)
    except OSError:  # it may be full as well
        drop(2)


def _sentence(error: Exception) -> str:
    if isinstance(error, BenchError):
        return str(error)
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "bench"
        return f"{as_sentence(error.format_message())} See '{command} --help'."
    if isinstance(error, click.ClickException):
        return as_sentence(error.format_message())
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return (
        f"this is a bug in bench: {type(error).__name__}: {error}. "
        "Run the same command with --debug to see where it happened."
    )


if __name__ == "__main__":
    sys.exit(main())
