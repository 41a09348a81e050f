"""Benchmark models across runtimes and devices, and say how sure each number is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.results import ResultsWarning as ResultsWarning
    from bench.results import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`bench.load` brings pandas, so it is imported when it is first asked for."""
    if name in ("load", "ResultsWarning"):
        from bench import results

        return getattr(results, name)
    raise AttributeError(f"module 'bench' has no attribute {name!r}")
