"""OpenVINO benchmark_app's report: ``-report_type no_counters -report_folder DIR``, with
``-json_stats`` (``benchmark_report.json``) or without (``benchmark_report.csv``).

Source: openvinotoolkit/openvino, `tools/benchmark_tool/openvino/tools/benchmark`, `main.py` and
`utils/statistics_report.py`. Times are ms with two decimals, so that a latency below 0.1 ms has one
digit or two; there are no timings in the file. ``latency (ms)`` is the median, unless
``-latency_percentile`` asked for another: then the key names it. ``throughput`` is samples a
second.
"""

from __future__ import annotations

import json
import re
from typing import Any

from bench.record.result import Foreign
from bench.scenarios import back_to_back
from bench.store.interchange.foreign import ForeignRun, Result, time_ns

NAME = "benchmark_app"
_MS = 1e6
_SECTIONS = {
    "Command line parameters": "cmd_options",
    "Configuration setup": "configuration_setup",
    "Execution results": "execution_results",
}
_PERCENTILE = re.compile(r"latency \((\d+) percentile\) \(ms\)")
#: What else is worth keeping; the rest of the command line is in the details too.
_DETAILS = ("API", "precision", "number of parallel infer requests", "duration (ms)")


def recognises(text: str) -> bool:
    if text.startswith("Command line parameters\n") or "\nExecution results\n" in text:
        return True
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "execution_results" in value


def read(text: str, source: str) -> ForeignRun:
    value = json.loads(text) if text.lstrip().startswith("{") else _sections(text)
    options, setup = value.get("cmd_options", {}), value.get("configuration_setup", {})
    return ForeignRun(NAME, (_result(options, setup, value["execution_results"], source),))


def _sections(text: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in text.splitlines():
        if line in _SECTIONS:
            section = found.setdefault(_SECTIONS[line], {})
        elif line.strip():
            key, _, value = line.partition(";")
            section[key] = value
    return found


def _result(
    options: dict[str, Any], setup: dict[str, Any], results: dict[str, Any], source: str
) -> Result:
    if "throughput" not in results:
        raise ValueError(f"no throughput: {results.get('error', 'the run did not finish')}")
    requests = int(setup.get("number of parallel infer requests", 1))
    model = str(options.get("-m") or setup.get("topology") or "unknown")
    percentiles = {
        f"p{match[1]}_ns": time_ns(value, _MS)
        for key, value in results.items()
        if (match := _PERCENTILE.fullmatch(key)) and match[1] in ("90", "99")
    }
    details = {key: str(setup[key]) for key in _DETAILS if key in setup}
    details |= {key: str(value) for key, value in options.items()}
    details |= {key: str(value) for key, value in results.items() if "time (ms)" in key}
    foreign = Foreign(
        tool=NAME,
        source=source,
        name=str(setup.get("topology") or model),
        median_ns=time_ns(results.get("latency (ms)"), _MS),
        mean_ns=time_ns(results.get("avg latency"), _MS),
        min_ns=time_ns(results.get("min latency"), _MS),
        max_ns=time_ns(results.get("max latency"), _MS),
        throughput_per_s=float(results["throughput"]),
        samples=int(results["total number of iterations"]),
        details=details,
        **percentiles,
    )
    device = str(setup.get("target device") or options.get("-d") or "unknown")
    batch = int(setup.get("batch size", 1))
    threads = int(options.get("-nthreads") or 0)
    return Result(foreign, _file_name(model), device, back_to_back(requests).name, batch, threads)


def _file_name(path: str) -> str:
    """The model's file without its folder, whichever system wrote the path."""
    return re.split(r"[\\/]", path)[-1] or path
