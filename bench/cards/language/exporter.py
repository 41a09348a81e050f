"""What PyTorch's exporter does in vain is left out while it runs; the file comes out the same."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """While it lasts, nothing looks for cycles: tracing makes millions of objects that all live to
    its end, and looking through them again and again took a fifth of an export's time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
