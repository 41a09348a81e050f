"""The pytest plugin: models as tests of a team's own suite, through real pytest processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared_runs import in_memory, measured, noisy
from fake_records import STUDENT, TEACHER, a_cell

from bench.comparable import Match, Matched, sides
from bench.compare import compare
from bench.stats.interval import Interval

# pytest-benchmark times nothing in a process of pytest-xdist.
pytestmark = pytest.mark.alone

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def suite(
    pytester: pytest.Pytester,
    doubling_model: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> pytest.Pytester:
    """A team's folder: the doubling model beside its tests, the stand-in backend installed."""
    for name in ("PYTHONPATH", "BENCH_CACHE"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    (pytester.path / "doubling.onnx").write_bytes(doubling_model.read_bytes())
    return pytester


def run(suite: pytest.Pytester, *flags: str, **files: str) -> pytest.RunResult:
    suite.makepyfile(**files)
    quick = ("--benchmark-max-time=0.05", "--benchmark-min-rounds=3")
    return suite.runpytest_subprocess("-p", "no:xdist", "-v", *quick, *flags)


MARK = '@pytest.mark.bench(models=["doubling.onnx"], targets=[{targets}])'


def a_test(body: str, targets: str = '"stand-in:ok?us=20"') -> str:
    mark = MARK.format(targets=targets)
    return f"import pytest\n\n{mark}\ndef test_it(inference):\n    {body}\n"


def test_what_is_timed_is_checked_and_goes_through_pytest_benchmark(
    suite: pytest.Pytester,
) -> None:
    """One session, because each has to start the runtimes again."""
    body = """inference()
    if inference.target == "stand-in:ok?us=40":
        inference.accuracy()"""
    targets = ("ok?us=20", "ok?us=40", "wrong", "nan", "nothing")
    named = ", ".join(f'"stand-in:{target}"' for target in targets)
    text = a_test(body, f'{named}, "missing:npu"')
    flags = ("-rs", "--benchmark-json=out.json", "--benchmark-save=first")
    result = run(suite, *flags, test_a=text)
    result.assert_outcomes(passed=1, failed=3, skipped=2)
    printed = result.stdout.str()
    assert "benchmark 'doubling, batch 1': 4 tests" in printed
    assert "the timed outputs differ from onnx-reference" in printed  # stand-in:wrong
    assert "by NaN or Inf" in printed  # stand-in:nan
    assert "names no labelled data, so it has no accuracy" in printed
    assert "libmissing.so was not found" in printed
    assert "Traceback" not in printed
    found = json.loads((suite.path / "out.json").read_text())["benchmarks"]
    facts = {b["extra_info"]["target"]: b["extra_info"] for b in found}
    assert set(facts) == {f"stand-in:{target}" for target in targets[:4]}
    assert facts["stand-in:ok?us=20"]["max_abs_error"] == 0
    assert facts["stand-in:ok?us=20"]["processes"] == 1

    again = run(suite, "--benchmark-compare", "-k", "20", test_a=text)
    again.assert_outcomes(passed=1, deselected=5)
    again.stdout.fnmatch_lines(["*(0001_first)*"])


def test_a_wildcard_is_what_is_present(suite: pytest.Pytester) -> None:
    result = run(suite, "--collect-only", "-q", test_a=a_test("pass", '"stand-in"'))
    assert "test_it[doubling-stand-in:ok]" in result.stdout.str()


@pytest.mark.slow
def test_faster_than_gives_a_verdict_from_fresh_processes(suite: pytest.Pytester) -> None:
    body = """other = inference.other(target="stand-in:ok?us=400")
    assert inference.faster_than(other, by=1.0)
    assert other.faster_than(inference)"""
    result = run(suite, test_a=a_test(body))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*takes *x (*) the time of doubling stand-in:ok*: not faster*"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("@pytest.mark.bench\ndef test_it(inference): pass", "has to name models"),
        ("@pytest.mark.bench(model='x')\ndef test_it(inference): pass", "takes models"),
        ("@pytest.mark.bench('x')\ndef test_it(inference): pass", "all by name"),
        ("def test_it(inference): pass", "needs @pytest.mark.bench"),
        (
            "@pytest.mark.bench(models=['nobody'], targets=['stand-in:ok'])\n"
            "def test_it(inference): pass",
            "nobody",
        ),
    ],
)
def test_a_mark_that_means_nothing_says_what_to_write(
    suite: pytest.Pytester, text: str, complaint: str
) -> None:
    result = run(suite, test_a=f"import pytest\n\n{text}\n")
    assert result.ret != 0
    assert complaint in result.stdout.str() + result.stderr.str()


def test_pytest_without_the_mark_is_left_alone_and_imports_nothing(suite: pytest.Pytester) -> None:
    text = """
import sys

def test_it():
    heavy = {"numpy", "scipy", "onnx", "pydantic", "bench.run", "bench.compare"}
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    suite.makepyfile(test_a=text)
    flags = ("-p", "no:xdist", "-p", "no:benchmark", "-p", "no:hypothesispytest")
    suite.runpytest_subprocess(*flags).assert_outcomes(passed=1)


def test_without_pytest_benchmark_timing_says_what_to_install(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_a=a_test("inference()"))
    result = suite.runpytest_subprocess("-p", "no:xdist", "-p", "no:benchmark")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*pip install 'infer-bench?pytest?'*"])


def test_a_team_may_have_a_fixture_or_a_mark_of_the_same_name(suite: pytest.Pytester) -> None:
    text = """
import pytest

@pytest.fixture
def inference():
    return 42

def test_own_fixture(inference):
    assert inference == 42

@pytest.mark.bench
def test_own_mark():
    pass
"""
    run(suite, test_a=text).assert_outcomes(passed=2)


# -- assertions by intervals ----------------------------------------------------------------------


class FakeLab:
    """A lab that only knows what inconclusive means."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.words: list[str] = []

    def inconclusive(self, words: str) -> bool:
        self.words.append(words)
        return self.policy != "fail"


class FakePlanned:
    cell = a_cell()


def an_accuracy(lab: Any, low: float, high: float) -> Any:
    from bench.pytest_inference import Accuracy

    interval = Interval((low + high) / 2, low, high, 0.95)
    return Accuracy(lab, FakePlanned(), "top-1", interval, 100, {})  # type: ignore[arg-type]


def test_an_accuracy_fails_only_where_its_interval_says_so() -> None:
    lab = FakeLab("pass")
    an_accuracy(lab, 0.89, 0.92).at_least(0.88)
    assert lab.words == []
    with pytest.raises(AssertionError, match="surely below"):
        an_accuracy(lab, 0.85, 0.87).at_least(0.88)
    an_accuracy(lab, 0.87, 0.90).at_least(0.88)
    assert len(lab.words) == 1
    with pytest.raises(AssertionError, match="not surely at least"):
        an_accuracy(FakeLab("fail"), 0.87, 0.90).at_least(0.88)
    with pytest.raises(ValueError, match="from 0 to 1"):
        an_accuracy(lab, 0.87, 0.90).at_least(88)


@pytest.mark.parametrize(
    ("policy", "factor", "spread", "by", "verdict", "truth"),
    [
        ("pass", 0.5, 0.01, 0.0, "faster", True),
        ("pass", 0.5, 0.01, 0.5, "faster", True),
        ("pass", 0.5, 0.01, 2.0, "not faster", False),
        ("pass", 1.2, 0.01, 0.0, "not faster", False),
        ("pass", 1.0, 0.20, 0.0, "inconclusive", True),
        ("fail", 1.0, 0.20, 0.0, "inconclusive", False),
    ],
)
def test_a_comparison_is_as_true_as_its_interval(
    policy: str, factor: float, spread: float, by: float, verdict: str, truth: bool
) -> None:
    from bench.pytest_inference import Comparison

    rng = np.random.default_rng(1)
    cells = a_cell(TEACHER), a_cell(STUDENT)
    records = [
        measured(noisy(rng, 1e5 * scale, 6, spread), cell)
        for cell, scale in zip(cells, (1, factor), strict=True)
    ]
    run = in_memory(records)
    a, b = sides(run)
    (found,) = compare(Matched((Match(a, b),))).comparisons
    planned: Any = FakePlanned()
    assert found.effect is not None
    comparison = Comparison(FakeLab(policy), planned, planned, found.effect, by)  # type: ignore[arg-type]
    assert comparison.verdict == verdict
    assert bool(comparison) is truth
    assert verdict in repr(comparison)


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [("warn", "passed"), ("xfail", "xfailed"), ("fail", "failed"), ("pass", "passed")],
)
def test_inconclusive_does_what_the_ini_file_says(
    suite: pytest.Pytester, policy: str, outcome: str
) -> None:
    text = """
from bench.pytest_plugin import _lab

def test_it(request):
    assert _lab(request.config).inconclusive("1.00x (0.90-1.10)")
"""
    suite.makeini(f"[pytest]\nbench_inconclusive = {policy}\n")
    result = run(suite, test_a=text)
    result.assert_outcomes(**{outcome: 1}, warnings=int(policy == "warn"))
    if policy == "warn":
        result.stdout.fnmatch_lines(["*BenchInconclusive: 1.00x*"])


# -- the example ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_in_the_documents_works(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    text = (ROOT / "docs" / "ci.md").read_text()
    (example,) = [body for body in FENCE.findall(text) if "inference" in body]
    assert len(example.strip().splitlines()) <= 10
    (pytester.path / "test_models.py").write_text(example)
    flags = ("-p", "no:xdist", "--benchmark-max-time=0.05", "-k", "onnxruntime")
    result = pytester.runpytest_subprocess(*flags)
    result.assert_outcomes(passed=1, deselected=1)


def test_the_plugin_starts_light() -> None:
    code = "import sys, bench.pytest_plugin; print(len([m for m in sys.modules if m in " + (
        "('numpy', 'scipy', 'pydantic', 'onnx', 'pyarrow', 'rich', 'click')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("0",)
