"""`import bench`: light, honest about what it has, and typed."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import bench
from bench.api import public
from bench.api.measure import Settings
from bench.spec import Suite

ROOT = Path(__file__).parents[2]


def test_dir_lists_what_there_is_and_nothing_else() -> None:
    names = {name for name in dir(bench) if not name.startswith("__")}
    assert names == set(public.__all__)
    for name in dir(bench):
        assert getattr(bench, name) is not None
    for name in names:
        assert inspect.getdoc(getattr(bench, name)), f"bench.{name} has no docstring"


def test_the_types_are_those_of_all_that_there_is() -> None:
    stub = ast.parse((ROOT / "bench" / "__init__.pyi").read_text())
    typed = {a.asname for n in stub.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed == set(public.__all__)


def test_importing_bench_imports_nothing_else() -> None:
    code = "import sys, bench; dir(bench); print([m for m in sys.modules if m[:6] == 'bench.'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_keywords_of_run_are_the_fields_of_a_suite() -> None:
    fields = set(Suite.model_fields) - {"models", "targets"}
    assert set(Settings.__annotations__) == fields
    own = set(inspect.signature(bench.run).parameters) - {"settings"}
    assert not own & fields


def test_every_public_member_is_described() -> None:
    for kind in (bench.Run, bench.Comparison, bench.Deal):
        for name, member in vars(kind).items():
            if not name.startswith("_") and (callable(member) or hasattr(member, "__get__")):
                assert inspect.getdoc(member), f"{kind.__name__}.{name} has no docstring"
