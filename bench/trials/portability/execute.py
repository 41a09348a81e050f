"""Runs tests in workers: crash-proof, in parallel, each worker used for many tests.

A shard is a thread with a launcher of its own and at most one worker. A worker that dies or hangs
costs the test that it ran; and as the cause may lie in what ran before, that test is tried again
in a fresh worker before it is blamed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.backend import ModelFile, Options
from bench.errors import BenchError, SpecError
from bench.runtimes.client import Worker
from bench.runtimes.processes import Launcher, launcher
from bench.runtimes.targets import Choice
from bench.trials.portability.cases import Case, NodeTests
from bench.trials.portability.outcomes import TestResult, outcome_of, outcome_of_outputs

#: How long the main thread sleeps before it looks again whether it was interrupted.
_LOOK_S = 0.1
#: A test whose worker died of it.
_DEADLY = ("crash", "timeout")


@dataclass(frozen=True)
class Job:
    """Tests to run on one target. ``timeout_s`` is for loading and for computing one test each."""

    choice: Choice
    tests: NodeTests
    cases: Sequence[Case]
    shards: int
    timeout_s: float
    logs: Path


def run_tests(job: Job, note: Callable[[TestResult], None]) -> BenchError | None:
    """Run every test of ``job``; ``note`` gets each result, from one thread at a time.

    Returns why the target could no longer be had, if so; the tests that were left have no result.
    On Ctrl-C the workers are ended and `KeyboardInterrupt` goes on.
    """
    queue = deque(job.cases)
    reading, noting = threading.Lock(), threading.Lock()
    shards = [
        _Shard(job, queue, job.logs / f"shard-{number}", reading, noting, note)
        for number in range(min(job.shards, len(queue)))
    ]
    for shard in shards:
        shard.start()
    try:
        while any(shard.is_alive() for shard in shards):
            time.sleep(_LOOK_S)
    except BaseException:
        queue.clear()
        for shard in shards:
            shard.stop()
        for shard in shards:
            shard.join()
        raise
    for shard in shards:
        if shard.bug is not None:
            raise shard.bug
    # As long as one shard could go on to the end, every test has its result.
    return next((s.gone for s in shards if s.gone), None) if queue else None


def check_options(choice: Choice, tests: NodeTests, launcher: Launcher) -> None:
    """Raise `SpecError` where the target's own options are refused, for which no test is to blame:
    a model that loads without them doesn't with them."""
    assert choice.runtime is not None
    if not choice.target.options:
        return
    case = next(case for case in tests.cases if case.runnable)
    worker = launcher.worker(choice.runtime, threads=1)
    try:
        _load(worker, choice, tests, case, Options())
        _load(worker, choice, tests, case, Options(extra=dict(choice.target.options)))
    except SpecError:
        raise
    except BenchError:
        return  # the tests will tell
    finally:
        worker.end()


def _load(worker: Worker, choice: Choice, tests: NodeTests, case: Case, options: Options) -> None:
    assert choice.device is not None
    worker.load(ModelFile(case.name, onnx=tests.model_file(case)), choice.device, options)


class _Shard(threading.Thread):
    """Takes tests from the queue until it is empty."""

    def __init__(
        self,
        job: Job,
        queue: deque[Case],
        logs: Path,
        reading: threading.Lock,
        noting: threading.Lock,
        note: Callable[[TestResult], None],
    ) -> None:
        super().__init__(daemon=True)
        self._job = job
        self._queue = queue
        self._logs = logs
        self._reading = reading
        self._noting = noting
        self._note = note
        self._worker: Worker | None = None
        self._stopped = threading.Event()
        self.gone: BenchError | None = None
        self.bug: Exception | None = None

    def stop(self) -> None:
        """End the worker at once, whatever it does; what it was doing is dropped."""
        self._stopped.set()
        worker = self._worker
        if worker is not None:
            worker.kill()

    def run(self) -> None:
        try:
            with launcher(self._logs, self._job.timeout_s) as processes:
                while not self._stopped.is_set() and self.gone is None:
                    try:
                        case = self._queue.popleft()
                    except IndexError:
                        break
                    self._take(case, processes)
                self._drop()
        except Exception as error:  # shown by the main thread
            self.bug = error

    def _take(self, case: Case, processes: Launcher) -> None:
        started = time.monotonic()
        try:
            used_before = self._worker is not None
            result = self._once(case, processes)
            if result.outcome in _DEADLY and used_before and not self._stopped.is_set():
                result = self._once(case, processes)
        except _Gone as gone:
            self._queue.appendleft(case)
            self.gone = gone.reason
            return
        if self._stopped.is_set():
            return
        result = result.model_copy(update={"seconds": round(time.monotonic() - started, 4)})
        with self._noting:
            self._note(result)

    def _once(self, case: Case, processes: Launcher) -> TestResult:
        """One try, in the worker that is at hand or in a fresh one."""
        worker = self._worker = self._worker or self._fresh(processes)
        if self._stopped.is_set():  # while it started, when `stop` found no worker to end
            worker.kill()
        with self._reading:
            feeds, expected = self._job.tests.arrays(case)
        shapes = {name: array.shape for name, array in feeds.items()}
        choice = self._job.choice
        options = Options(threads=1, shapes=shapes, extra=dict(choice.target.options))
        try:
            _load(worker, choice, self._job.tests, case, options)
            outputs = worker.evaluate(feeds)
        except BenchError as error:
            file = self._job.tests.model_file(case)
            outcome, detail = outcome_of(error, alive=worker.alive, file=file)
            # The test and the target stand beside it wherever it is shown.
            detail = detail.removeprefix(f"{case.name} on {choice.target}: ")
            detail = detail.removeprefix(f"{file.name}: ")
            if outcome in _DEADLY or not worker.alive:
                self._drop()
            return TestResult(test=case.name, outcome=outcome, detail=detail)
        outcome, detail, error_size = outcome_of_outputs(outputs, expected, case.rtol, case.atol)
        return TestResult(test=case.name, outcome=outcome, detail=detail, max_abs_error=error_size)

    def _fresh(self, processes: Launcher) -> Worker:
        """A fresh worker; where none can be had, a second try, as its server may have died."""
        runtime = self._job.choice.runtime
        assert runtime is not None
        with contextlib.suppress(BenchError):
            return processes.worker(runtime, threads=1)
        try:
            return processes.worker(runtime, threads=1)
        except BenchError as error:
            raise _Gone(error) from error

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


class _Gone(Exception):
    """No worker can be had any more."""

    def __init__(self, reason: BenchError) -> None:
        super().__init__(str(reason))
        self.reason = reason
