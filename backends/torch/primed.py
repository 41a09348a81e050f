"""Importing this compiles a function of no use, so that inductor is ready in the fork server.

What inductor looks for when it first compiles (the C++ compiler and its version, the vector
instructions that it may use, the headers) and the modules that it imports on the way are kept by
the process: workers forked from it have them. Each worker still compiles its own model, or takes
it from inductor's cache on the disk.
"""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import Any

from bench.errors import Unavailable

from .compile import keep_compiled, require_compiler


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # what can't even be looked for
        return False


def _prime() -> None:
    import torch

    require_compiler()
    keep_compiled()
    with contextlib.suppress(ImportError):
        from tqdm import tqdm

        # Inductor shows its progress with it where nothing is cached. Its monitor is a thread,
        # which no child of a fork would have.
        tqdm.monitor_interval = 0

    def add_one(values: Any) -> Any:
        return values + 1

    with torch.inference_mode():
        torch.compile(add_one, dynamic=False)(torch.ones(1))
    torch._dynamo.reset()


# With triton, importing inductor loads a driver and starts a thread, and CUDA can't be used in what
# is forked from a process that did (seen on an H200: "Cannot re-initialize CUDA in forked
# subprocess"): each worker then imports it for itself. Without torch or a compiler there is nothing
# to prime; who loads a model says what is missing.
if not _installed("triton"):
    with contextlib.suppress(ImportError, Unavailable):
        _prime()
