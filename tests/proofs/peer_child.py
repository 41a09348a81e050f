"""One whole run of one tool in a process of its own: prints its figure for each runtime as JSON.

    python tests/proofs/peer_child.py TOOL MODEL

Every tool is given the same prepared call, so that what differs is how it measures.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from calls import bound_call, tight_loop_ns

from bench.cards.card import load_card
from bench.discover import card_paths
from bench.machine.cores import choose_cores
from bench.runtimes.processes import thread_environment

RUNTIMES = ("onnxruntime", "openvino")
Call = Callable[[], object]


def reference(call: Call) -> float:
    """The median over 2000 chunks of a tight loop, warm: what the others ought to find."""
    for _ in range(100):
        call()
    calls = max(2, round(2e5 / tight_loop_ns(call, 20)))
    return statistics.median(tight_loop_ns(call, calls) for _ in range(2000))


def torch_benchmark(call: Call) -> float:
    from torch.utils.benchmark import Timer

    return float(Timer("call()", globals={"call": call}).blocked_autorange().median * 1e9)


def pytest_benchmark(call: Call) -> float:
    """The fixture's median, through its own machinery."""
    import pytest

    class Plugin:
        @pytest.fixture
        def prepared(self) -> Call:
            return call

    with tempfile.TemporaryDirectory() as folder:
        # Each run needs a module name of its own: pytest imports a name once a process.
        file = Path(folder) / f"test_{Path(folder).name}.py"
        file.write_text("def test_it(benchmark, prepared):\n    benchmark(prepared)\n")
        out = Path(folder) / "out.json"
        arguments = [str(file), "-q", "-p", "no:cacheprovider", f"--benchmark-json={out}"]
        with contextlib.redirect_stdout(sys.stderr):
            pytest.main([*arguments, "-c", os.devnull], plugins=[Plugin()])
        return float(json.loads(out.read_text())["benchmarks"][0]["stats"]["median"] * 1e9)


def loadgen(call: Call) -> float:
    """MLPerf LoadGen, single-stream, its 50th percentile."""
    import mlperf_loadgen as lg  # the module of the package mlcommons-loadgen

    def issue(samples: list) -> None:
        for sample in samples:
            call()
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 4000
    settings.min_query_count = 1000
    system = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(64, 64, lambda _: None, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        output = lg.LogOutputSettings()
        output.outdir = folder
        output.copy_summary_to_stdout = False
        log = lg.LogSettings()
        log.log_output = output
        lg.StartTestWithLogSettings(system, library, settings, log)
        text = (Path(folder) / "mlperf_log_summary.txt").read_text()
    for line in text.splitlines():
        if line.startswith("50.00 percentile latency (ns)"):
            return float(line.split(":")[1])
    raise SystemExit("LoadGen's summary names no 50th percentile")


def benchmark_app(model: str) -> float:
    """OpenVINO's own tool, synchronous, one thread: its median."""
    onnx = load_card(card_paths()[model]).model_file().onnx
    tool = Path(sys.executable).parent / "benchmark_app"
    # Its default precision on a CPU with bf16 instructions is bf16; ours computes in fp32.
    options = "-hint none -api sync -nthreads 1 -t 4 -shape [1,1,28,28] -infer_precision f32"
    done = subprocess.run(
        [tool, "-m", str(onnx), *options.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        if "Median:" in line:
            value, unit = line.split("Median:")[1].split()
            return float(value) * {"us": 1e3, "ms": 1e6}[unit]
    raise SystemExit("benchmark_app printed no median")


TOOLS: dict[str, Callable[[Call], float]] = {
    "reference": reference,
    "torch.utils.benchmark": torch_benchmark,
    "pytest-benchmark": pytest_benchmark,
    "MLPerf LoadGen": loadgen,
}


def main() -> None:
    tool, model = sys.argv[1:3]
    os.environ.update(thread_environment(1))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, choose_cores(1))
    if tool == "benchmark_app":
        found = {"openvino": benchmark_app(model)}
    else:
        found = {runtime: TOOLS[tool](bound_call(model, runtime)) for runtime in RUNTIMES}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
