"""The GPUs that their vendors' own tools list."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """A GPU as its vendor's tool lists it."""

    name: str
    driver: str
    memory_bytes: int | None


def list_gpus(run: Callable[[Sequence[str]], str] | None = None) -> tuple[Gpu, ...] | None:
    """What the tools of ``accelerators.toml`` list (``cards``), vendor by vendor; None where every
    tool is absent or fails, which tells nothing."""
    from bench.machine.accelerators import kinds, run_tool  # pydantic: start-up

    ask = run or run_tool
    found: list[Gpu] | None = None
    for kind in kinds():
        if not kind.cards:
            continue
        try:
            listed = parse_gpus(ask(kind.cards))
        except (OSError, subprocess.SubprocessError):
            continue
        found = [*(found or []), *listed]
    return None if found is None else tuple(found)


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """The GPUs in CSV of name, driver and memory in MiB; other lines are skipped."""
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()]
    return tuple(
        Gpu(name, driver, int(mebibytes) * 2**20 if mebibytes.isdecimal() else None)
        for name, driver, mebibytes in (row for row in rows if len(row) == 3)
    )
