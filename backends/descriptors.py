"""What native code prints on descriptor 2, past `sys.stderr`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def printed(into: list[str]) -> Iterator[None]:
    """Append to ``into`` what is written to descriptor 2 meanwhile; it is printed afterwards."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            text = file.read()
            os.write(2, text)
            into.append(text.decode(errors="replace"))
