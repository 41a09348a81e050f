"""Standard output and error as a command finds them: closed, full, or of few characters."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STANDARD_OUTPUT = 1


class Output(io.FileIO):
    """Standard output, which remembers why something could not be written."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def open_what_is_closed() -> None:
    """What is printed to a closed stream goes nowhere: were its number left free, the next file
    that is opened would take it, and get what a worker or a library prints."""
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def remember_failures() -> Output | None:
    """Put an `Output` below `sys.stdout`; None where that is not the process's own.

    It is buffered even with PYTHONUNBUFFERED, which containers set: an unbuffered text stream drops
    what one write to a disk that grows full did not take, and says nothing.
    """
    stream = sys.__stdout__
    if stream is None or stream is not sys.stdout or stream.fileno() != _STANDARD_OUTPUT:
        return None
    stream.flush()
    output = Output(_STANDARD_OUTPUT, "w", closefd=False)
    # A terminal that lacks a character shows a question mark instead of ending the program.
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output), stream.encoding, "replace", line_buffering=output.isatty()
    )
    return output


def drop(stream: int) -> None:
    """Keep the interpreter's last flush of a broken stream silent."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
