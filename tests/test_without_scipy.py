"""SciPy is what tests compare with; nothing that is installed needs it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from rooms import modules

REPOSITORY = Path(__file__).parents[1]
#: Imports every module of these rooms in a process that has no SciPy, then computes with them.
_WITHOUT = """
import importlib, sys
sys.modules["scipy"] = None
for name in sys.argv[1:]:
    importlib.import_module(name)

import numpy as np
from bench.cards.tasks.renumbering import best_renumbering
from bench.judge.certify.numbers import explained, numbers_of
from bench.stats import clusters, interval, kinship, metered, percentile, proportion, racing, rank
from bench.stats.of_means import intervals, mean_of

values = np.linspace(1, 2, 12)
interval.ratio_interval(values, values[::-1], 0.95)
interval.unpaired_ratio_interval(values, values[:5], 0.95)
metered.mean_interval(values, 0.95)
proportion.clopper_pearson(3, 12)
proportion.mcnemar_exact(3, 12)
percentile.minimum_samples(0.9)
intervals([mean_of(values)])
racing.ratios({str(n): np.log(values + n) - np.log(values) for n in range(6)}, 0.95)
rank.spearman_interval(values, values[::-1])
best_renumbering(np.eye(3, dtype=int))
"""


def test_no_module_imports_it() -> None:
    found = [
        module.name
        for module in modules(REPOSITORY).values()
        for node in ast.walk(ast.parse(module.path.read_text("utf-8")))
        for name in _imported(node)
        if name.partition(".")[0] == "scipy"
    ]
    assert found == []


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def test_all_of_bench_is_imported_and_computes_where_it_is_absent() -> None:
    # What needs an extra is imported where that is asked for, or in these two rooms.
    names = [
        name
        for name, module in modules(REPOSITORY).items()
        if module.room not in ("backends", "models", "contract", "fleet", "fixture")
        and not name.endswith("__main__")
    ]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *names], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
