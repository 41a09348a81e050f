"""The names of ``bench`` as Python code uses them; `bench/__init__.py` hands them out."""

from __future__ import annotations

from bench.api.compared import Comparison
from bench.api.measure import Interrupted, run
from bench.api.stored import Run, open
from bench.api.tables import load
from bench.api.weighed import Deal
from bench.errors import BenchError
from bench.store.frames import ResultsWarning

__all__ = [
    "BenchError",
    "Comparison",
    "Deal",
    "Interrupted",
    "ResultsWarning",
    "Run",
    "load",
    "open",
    "run",
]
