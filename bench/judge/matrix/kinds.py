"""What a target computes on, in a word: CPU, GPU, NPU."""

from __future__ import annotations

from functools import cache

from bench.backend import is_cpu
from bench.cell import Cell
from bench.machine.accelerators import kinds


def device_word(cell: Cell) -> str:
    """By the accelerator that the target reaches, else by the device that it names."""
    target = cell.target.partition("?")[0]
    backend, _, device = target.partition(":")
    plain = f"{backend.partition('@')[0]}:{device.partition(':')[0]}"
    named = cell.device_kind
    word = _by_target().get(plain)
    if word is not None:
        return word
    for known in ("gpu", "npu", "tpu"):
        if known in named:
            return known.upper()
    return "CPU" if not named or is_cpu(named) else named.upper()


@cache
def _by_target() -> dict[str, str]:
    """``backend:device`` and the last word of what ``accelerators.toml`` calls such a device."""
    return {target: kind.kind.split()[-1] for kind in kinds() for target in kind.targets}
