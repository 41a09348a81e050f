"""Which formats there are: those that are read, and those that are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.store.interchange import (
    benchmark_app,
    llama_bench,
    lm_eval,
    onnxruntime_perf_test,
    pytest_benchmark,
    tables,
)
from bench.store.interchange.foreign import Reader
from bench.store.run import StoredRun

READERS: tuple[Reader, ...] = (
    pytest_benchmark,
    benchmark_app,
    llama_bench,
    onnxruntime_perf_test,
    lm_eval,
)

#: What makes a file of runs, and a line for each record that it has no place for.
WRITERS: dict[str, Callable[[Sequence[StoredRun]], tuple[bytes, list[str]]]] = {
    "pytest-benchmark": pytest_benchmark.write,
    "csv": tables.write_csv,
    "json": tables.write_json,
    "parquet": tables.write_parquet,
}
