"""llama-bench's JSON: ``llama-bench -o json`` (an array) or ``-o jsonl`` (an object a line).

Source: ggml-org/llama.cpp, `tools/llama-bench/README.md` and `llama-bench.cpp`. An object is one
test: a prompt of ``n_prompt`` tokens, ``n_gen`` tokens generated, or both, after ``n_depth`` tokens
of context. ``samples_ns`` is the time of each repetition of the whole test, so latency here is that
of a test; tokens a second are kept in the details, for they are not samples a second.
"""

from __future__ import annotations

import json
from typing import Any

from bench.record.result import Foreign
from bench.store.interchange.foreign import ForeignRun, Result, Timings, nanoseconds

NAME = "llama-bench"
_DETAILS = (
    *("model_filename", "model_type", "backends", "n_batch", "n_ubatch", "type_k", "type_v"),
    *("n_gpu_layers", "flash_attn", "n_prompt", "n_gen", "n_depth", "avg_ts", "stddev_ts"),
)


def recognises(text: str) -> bool:
    try:
        tests = _tests(text)
    except (ValueError, RecursionError):
        return False
    return bool(tests) and all(
        isinstance(test, dict) and {"avg_ns", "n_prompt", "n_gen"} <= test.keys() for test in tests
    )


def read(text: str, source: str) -> ForeignRun:
    tests = _tests(text)
    facts = {"cpu_model": tests[0].get("cpu_info")} if tests and tests[0].get("cpu_info") else {}
    when = str(tests[0].get("test_time", "")) if tests else ""
    return ForeignRun(NAME, tuple(_result(test, source) for test in tests), facts, when)


def _tests(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        found: list[Any] = json.loads(text)
        return found
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _result(test: dict[str, Any], source: str) -> Result:
    samples_ns = nanoseconds(test.get("samples_ns") or (), 1.0)
    timings = Timings.of(samples_ns)
    timings["mean_ns"] = float(test["avg_ns"])
    if test.get("stddev_ns"):
        timings["stddev_ns"] = float(test["stddev_ns"])
    name = _name(test)
    version = " ".join(str(test[key]) for key in ("build_number", "build_commit") if key in test)
    foreign = Foreign(
        tool=NAME,
        version=version,
        source=source,
        name=name,
        samples=len(samples_ns) or None,
        stored_samples=len(samples_ns),
        details={key: str(test[key]) for key in _DETAILS if test.get(key) not in (None, "")},
        **timings,
    )
    device = str(test.get("gpu_info") or test.get("backends") or test.get("cpu_info") or "unknown")
    return Result(
        foreign,
        f"{test.get('model_type') or test.get('model_filename') or 'unknown'} {name}",
        device,
        threads=int(test.get("n_threads") or 0),
        file_bytes=int(test.get("model_size") or 0),
        parameters=int(test["model_n_params"]) if test.get("model_n_params") else None,
        samples_ns=(samples_ns,) if len(samples_ns) else (),
    )


def _name(test: dict[str, Any]) -> str:
    """As llama-bench's own table writes it: ``pp512``, ``tg128``, ``pp512+tg128 @ d4096``."""
    prompt, generated = int(test["n_prompt"]), int(test["n_gen"])
    parts = [f"pp{prompt}"] if prompt else []
    parts += [f"tg{generated}"] if generated else []
    depth = int(test.get("n_depth") or 0)
    return "+".join(parts or ["nothing"]) + (f" @ d{depth}" if depth else "")
