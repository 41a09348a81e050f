"""What native code prints on file descriptor 2, which Python's `sys.stderr` never sees."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import Iterator, List


@contextlib.contextmanager
def captured_stderr() -> Iterator[List[str]]:
    """The lines printed while the block runs, in the list given, which is filled at its end.

    They go on to where they would have gone, but for what a runtime tells at its level of
    information, which is hundreds of lines. A crash inside the block loses them, so run inside only
    what has ended in an orderly way before.
    """
    lines: List[str] = []
    with contextlib.suppress(AttributeError, ValueError):
        sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
            told = [line for line in lines if "[I:" not in line and line.strip()]
            with contextlib.suppress(OSError):
                os.write(kept, "".join(f"{line}\n" for line in told).encode())
            os.close(kept)
