"""Runs tests again and again in forks of one process that has the libraries loaded, not `bench`.

Started by the driver with the interpreter of a copy of the tree. Each line of standard input is a
JSON object (``files``, ``tests`` in the order to run or null for all, ``timeout_s``,
``trace``), each line of standard output the answer (``outcome``: "passed", "failed" or "timeout",
``test``: the first that failed, ``took_s`` by test in seconds of CPU, and with ``trace`` the
``lines`` that each test reached by file).
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import hypothesis
import pytest

#: What the tests or `bench` import and what takes a while.
LIBRARIES = (
    *("click", "duckdb", "hypothesis.extra.numpy", "jinja2", "numpy", "onnx", "pandas"),
    *("pyarrow.parquet", "pydantic", "rich.console", "scipy.special", "scipy.stats"),
    "sklearn.metrics",
)
#: A change may ask for all the memory there is.
MOST_MEMORY_BYTES = 6 << 30
LEFT_OUT = "not slow and not alone and not faults"
#: The context of what ran for no test in particular.
SHARED = "shared"


class Watch:
    """A pytest plugin: which tests run and in which order, how long each takes, what it reaches."""

    def __init__(self, tests: list[str] | None, coverage: Any = None) -> None:
        self.tests = tests
        self.coverage = coverage
        self.took_s: dict[str, float] = {}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.tests is not None:
            place = {test: number for number, test in enumerate(self.tests)}
            items[:] = sorted(
                (item for item in items if item.nodeid in place), key=lambda i: place[i.nodeid]
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        began = time.process_time()
        if self.coverage is not None:
            _forget_cached()  # or only the first test that asks would seem to reach what is cached
            self.coverage.switch_context(item.nodeid)
        result = yield
        self.took_s[item.nodeid] = time.process_time() - began
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Iterator[None]:
        """What several tests share is reached by no single one."""
        shared = self.coverage is not None and fixturedef.scope != "function"
        if shared:
            self.coverage.switch_context(SHARED)
        result = yield
        if shared:
            self.coverage.switch_context(request.node.nodeid or SHARED)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run in a fork, so that nothing of one change is left for the next."""
    with tempfile.TemporaryDirectory(prefix="bench-mutants-") as folder:
        found = Path(folder) / "answer.json"
        child = os.fork()
        if not child:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.setsid()
            _child(request, found, Path(folder))
        try:
            status = _wait(child, request["timeout_s"])
        finally:
            _kill_group(child)
        if status is None:
            return {"outcome": "timeout", "test": "", "took_s": {}}
        if not found.is_file():
            return {"outcome": "failed", "test": f"ended with status {status}", "took_s": {}}
        return dict(json.loads(found.read_text()))


def _child(request: dict[str, Any], found: Path, folder: Path) -> None:
    """Never returns."""
    try:
        silent = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        found.write_text(json.dumps(_run(request, folder)))
        os._exit(0)
    except BaseException:
        os._exit(70)


def _run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    # The same examples every time, and the first that fails is enough.
    hypothesis.settings.register_profile(
        "mutants",
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutants")
    coverage = _coverage() if request["trace"] else None
    if coverage is not None:
        os.environ["BENCH_IN_PROCESS"] = "1"  # what a forked process runs is not counted
    watch = Watch(request["tests"], coverage)
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", LEFT_OUT]
    arguments += [f"--basetemp={folder / 'pytest'}", *request["files"]]
    code = pytest.main(arguments if request["trace"] else ["-x", *arguments], plugins=[watch])
    fine = code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    reply: dict[str, Any] = {
        "outcome": "passed" if fine else "failed",
        "test": watch.failed or ("" if fine else f"pytest ended with {code}"),
        "took_s": watch.took_s,
    }
    if coverage is not None:
        coverage.stop()
        data = coverage.get_data()
        reply["lines"] = {
            str(Path(file).relative_to(Path.cwd())): data.contexts_by_lineno(file)
            for file in data.measured_files()
        }
    return reply


def _coverage() -> Any:
    from coverage import Coverage

    coverage = Coverage(data_file=None, source=[str(Path.cwd() / "bench")])
    coverage.start()
    return coverage


def _forget_cached() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("bench"):
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def _wait(child: int, timeout_s: float) -> int | None:
    """Its status; None where it had to be killed, with all that it started."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.01)
    _kill_group(child)
    os.waitpid(child, 0)
    return None


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _load_libraries() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    for plugin in entry_points(group="pytest11"):
        if not plugin.value.startswith("bench."):
            plugin.load()
    gc.freeze()  # what is loaded stays shared with the forks


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with what it has started
    _load_libraries()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
