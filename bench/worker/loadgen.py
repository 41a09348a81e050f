"""MLPerf's LoadGen inside the worker: it issues queries to the prepared call that is timed.

LoadGen is a C++ module of its own distribution (``mlcommons-loadgen``), imported when it is asked
for. It calls back into Python for each query, in the thread that started the test; its log is
written by another thread of its own.

In performance mode its library of samples is the query that is bound: one sample, or a batch of
them; or samples of the labelled data, each bound by itself. In accuracy mode it is all the labelled
data.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import time
from typing import Any, Callable, Iterator, List, Optional, Sequence

import numpy as np

from bench.capabilities import Nanoseconds
from bench.errors import Unavailable, WorkerCrashed
from bench.worker import messages as m

MODULE = "mlperf_loadgen"
DISTRIBUTION = "mlcommons-loadgen"
TRACE = "mlperf_log_trace.json"
#: How LoadGen's trace tells of a sample (loadgen/loadgen.cc, `OnComplete`); of a server the time is
#: counted from when the query was due.
_TRACED = re.compile(r'"query_seq":(\d+),.*"complete_ns":(\d+)')
#: Between queries that are answered with nothing.
_AFTER_ERROR_S = 0.001
#: A sample of LoadGen's library.
_INDEX = np.int64

Outputs = Callable[[m.Inputs], m.Array]
Issue = Callable[[Sequence[Any]], None]


def module() -> Any:
    """LoadGen. Raises `Unavailable` where this interpreter has none."""
    try:
        return importlib.import_module(MODULE)
    except ImportError as error:
        raise Unavailable(
            f"LoadGen can't be imported in the interpreter of this target ({error})",
            f"Install it there: {sys.executable} -m pip install {DISTRIBUTION}",
        ) from error


def drive(
    loadgen: Any,
    test: m.LoadGenTest,
    calls: Sequence[Callable[[], object]],
    queries_per_call: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> m.Driven:
    """Performance mode. One call computes ``samples_per_query`` samples, or those of several
    queries at once; of several calls each computes one sample of the library. LoadGen is told of
    them right behind it."""
    done, response = loadgen.QuerySamplesComplete, loadgen.QuerySampleResponse
    size = test.samples_per_query * queries_per_call
    several = len(calls) > 1
    library = len(calls) if several else test.samples_per_query
    took: List[int] = []

    def issue(samples: Sequence[Any]) -> None:
        for start in range(0, len(samples), size):
            call = calls[samples[start].index] if several else calls[0]
            began = clock()
            call()
            took.append(clock() - began)
            end = min(start + size, len(samples))
            done([response(samples[place].id, 0, 0) for place in range(start, end)])

    _start(loadgen, issue, test, "PerformanceOnly", library)
    call_ns = np.array(took, np.int64)
    with _trace(test) as trace:
        return m.Driven(_traced(trace) if test.traced else call_ns, call_ns)


def score(loadgen: Any, asked: m.ScoreThroughLoadGen, outputs: Outputs) -> m.ScoredThroughLoadGen:
    """Accuracy mode: what ``outputs`` gives for each sample goes into LoadGen's log, bytes as they
    are."""
    done, response = loadgen.QuerySamplesComplete, loadgen.QuerySampleResponse
    total = len(next(iter(asked.feeds.values())))
    kind: Optional[m.ScoredThroughLoadGen] = None

    def issue(samples: Sequence[Any]) -> None:
        nonlocal kind
        for start in range(0, len(samples), asked.batch):
            taken = [samples[p] for p in range(start, min(start + asked.batch, len(samples)))]
            # A session may be compiled for its batch: the last one is filled up with its last.
            wanted = [sample.index for sample in taken]
            wanted += wanted[-1:] * (asked.batch - len(taken))
            places = np.array(wanted, _INDEX)
            rows = outputs({name: array[places] for name, array in asked.feeds.items()})
            rows = np.ascontiguousarray(rows[: len(taken)])
            kind = m.ScoredThroughLoadGen(rows.dtype.str, rows.shape[1:])
            at, size = rows.ctypes.data, rows[0].nbytes
            # LoadGen copies the bytes before it returns.
            done([response(one.id, at + n * size, size) for n, one in enumerate(taken)])

    _start(loadgen, issue, asked.test, "AccuracyOnly", total)
    with _trace(asked.test):
        pass
    if kind is None:
        raise WorkerCrashed("LoadGen issued no sample in accuracy mode.")
    return kind


def _start(loadgen: Any, issue: Issue, test: m.LoadGenTest, mode: str, total: int) -> None:
    """Run one test with a library of ``total`` samples, all of which are in memory.

    An error must not pass through LoadGen's frames, which its threads don't outlive: it is kept,
    the queries that still come are answered with nothing, and it is raised when LoadGen is done.
    """
    failed: List[Exception] = []
    done, response = loadgen.QuerySamplesComplete, loadgen.QuerySampleResponse

    def guarded(samples: Sequence[Any]) -> None:
        try:
            if not failed:
                issue(samples)
                return
            time.sleep(_AFTER_ERROR_S)
        except Exception as error:
            failed.append(error)
        done([response(samples[place].id, 0, 0) for place in range(len(samples))])

    sut = loadgen.ConstructSUT(guarded, lambda: None)
    library = loadgen.ConstructQSL(total, total, lambda samples: None, lambda samples: None)
    loadgen.StartTestWithLogSettings(
        sut, library, settings(loadgen, test, mode), _log_settings(loadgen, test), ""
    )
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(sut)
    if failed:
        raise failed[0]


def settings(loadgen: Any, test: m.LoadGenTest, mode: str) -> Any:
    """LoadGen's ``TestSettings``."""
    made = loadgen.TestSettings()
    made.scenario = getattr(loadgen.TestScenario, test.scenario)
    made.mode = getattr(loadgen.TestMode, mode)
    made.min_duration_ms = test.min_duration_ms
    made.min_query_count = test.min_query_count
    made.max_query_count = test.max_query_count
    made.qsl_rng_seed = int(test.qsl_rng_seed)
    made.sample_index_rng_seed = int(test.sample_index_rng_seed)
    made.schedule_rng_seed = int(test.schedule_rng_seed)
    if test.scenario == "SingleStream":
        made.single_stream_expected_latency_ns = 1e9 / test.expected_per_s
        made.single_stream_target_latency_percentile = test.target_latency_percentile
    elif test.scenario == "MultiStream":
        made.multi_stream_expected_latency_ns = 1e9 / test.expected_per_s
        made.multi_stream_target_latency_percentile = test.target_latency_percentile
        made.multi_stream_samples_per_query = test.samples_per_query
    elif test.scenario == "Server":
        made.server_target_qps = test.expected_per_s
        made.server_target_latency_ns = test.target_latency_ns
        made.server_target_latency_percentile = test.target_latency_percentile
    else:
        made.offline_expected_qps = test.expected_per_s
        # Every batch is a permutation of the library then, which is what a call computes.
        made.sample_concatenate_permutation = True
    return made


def _log_settings(loadgen: Any, test: m.LoadGenTest) -> Any:
    made = loadgen.LogSettings()
    output = loadgen.LogOutputSettings()
    output.outdir = test.logs
    output.copy_summary_to_stdout = False
    made.log_output = output
    made.enable_trace = test.traced
    return made


@contextlib.contextmanager
def _trace(test: m.LoadGenTest) -> Iterator[str]:
    """LoadGen's trace, deleted afterwards: it is some hundred bytes a sample, and a file without
    any where none was asked for."""
    path = os.path.join(test.logs, TRACE)
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _traced(path: str) -> Nanoseconds:
    """The latency of each query in the order in which they were issued, from LoadGen's trace. A
    query has that of its slowest sample."""
    queries: List[int] = []
    latencies: List[int] = []
    with open(path) as file:
        for line in file:
            found = _TRACED.search(line)
            if found is not None:
                queries.append(int(found[1]))
                latencies.append(int(found[2]))
    if not queries:
        raise WorkerCrashed("LoadGen's trace has no samples.")
    number = np.array(queries, np.int64)
    slowest = np.zeros(number.max() + 1, np.int64)
    np.maximum.at(slowest, number, np.array(latencies, np.int64))
    return slowest
