"""lm-evaluation-harness: the results (``--output_path``), or the samples (``--log_samples``).

Source: EleutherAI/lm-evaluation-harness, `lm_eval/loggers/evaluation_tracker.py` and
`lm_eval/evaluator.py`. ``results`` maps a task to its metrics, written ``acc,none`` (the filter
behind the comma) with ``acc_stderr,none`` beside it, ``N/A`` where there is none;
``higher_is_better`` tells which way a metric counts. Samples are an object a line, with the metrics
of that one. No time of an inference is in either, so accuracies stand in the details.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bench.record.result import Foreign
from bench.store.interchange.foreign import ForeignRun, Result

NAME = "lm-evaluation-harness"
_HASHES = {"doc_hash", "prompt_hash", "target_hash"}
#: What a sample has besides its metrics.
_NO_METRIC = {"doc_id"}


def recognises(text: str) -> bool:
    try:
        return _samples(text) is not None or _is_results(json.loads(text))
    except (ValueError, RecursionError):
        return False


def read(text: str, source: str) -> ForeignRun:
    samples = _samples(text)
    if samples is not None:
        return ForeignRun(NAME, (_of_samples(samples, source),))
    data = json.loads(text)
    model = str(data.get("model_name") or data.get("config", {}).get("model") or "unknown")
    results = tuple(
        _of_task(data, task, metrics, model, source) for task, metrics in data["results"].items()
    )
    cpu = [
        line for line in str(data.get("pretty_env_info", "")).splitlines() if "Model name:" in line
    ]
    facts = {"cpu_model": cpu[0].partition(":")[2].strip()} if cpu else {}
    return ForeignRun(NAME, results, facts, _when(data.get("date")))


def _is_results(data: object) -> bool:
    return (
        isinstance(data, dict)
        and isinstance(data.get("results"), dict)
        and bool({"versions", "configs", "n-shot", "lm_eval_version"} & data.keys())
    )


def _samples(text: str) -> list[Mapping[str, Any]] | None:
    """The lines of a file of samples; None for what is none. Only its first line is looked at
    before the others are read."""
    first = text.lstrip().partition("\n")[0]
    try:
        one = json.loads(first)
    except ValueError:
        return None
    if not isinstance(one, dict) or not (_HASHES | {"filtered_resps"}) <= one.keys():
        return None
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _of_task(
    data: Mapping[str, Any], task: str, metrics: Mapping[str, Any], model: str, source: str
) -> Result:
    better = data.get("higher_is_better", {}).get(task) or {}
    details = {
        "few-shot examples": data.get("n-shot", {}).get(task),
        "version of the task": data.get("versions", {}).get(task),
        "model": data.get("model_source"),
        "git commit": data.get("git_hash"),
    }
    told = {
        _metric(key): _value(metrics, key, better)
        for key in metrics
        if "," in key and "_stderr," not in key
    }
    samples = (data.get("n-samples", {}).get(task) or {}).get("effective")
    return _result(
        task, model, source, {**told, **details}, samples, str(data.get("lm_eval_version") or "")
    )


def _metric(key: str) -> str:
    """``acc,none`` is acc; another filter stands behind it."""
    name, _, way = key.partition(",")
    return name if way == "none" else f"{name} ({way})"


def _value(metrics: Mapping[str, Any], key: str, better: Mapping[str, Any]) -> str:
    """``0.593 (standard error 0.01), lower is better``."""
    name, _, way = key.partition(",")
    value, error = metrics[key], metrics.get(f"{name}_stderr,{way}")
    words = f"{value:.6g}" if isinstance(value, (int, float)) else str(value)
    if isinstance(error, (int, float)):
        words += f" (standard error {error:.2g})"
    return words + (", lower is better" if better.get(name) is False else "")


def _of_samples(samples: list[Mapping[str, Any]], source: str) -> Result:
    """The mean of each metric that is a number in every sample."""
    names = [
        name
        for name, value in samples[0].items()
        if isinstance(value, (int, float)) and name not in _NO_METRIC
    ]
    told = {name: f"{np.mean([s[name] for s in samples]):.6g}" for name in names}
    task = source.removeprefix("samples_").rpartition("_")[0] or source
    return _result(task, "unknown", source, told, len(samples), "")


def _result(
    task: str,
    model: str,
    source: str,
    details: Mapping[str, object],
    samples: int | None,
    version: str,
) -> Result:
    kept = {key: str(value) for key, value in details.items() if value not in (None, "")}
    if samples is not None:
        kept["items scored"] = str(samples)
    foreign = Foreign(tool=NAME, version=version, source=source, name=task, details=kept)
    return Result(foreign, f"{model} {task}")


def _when(date: object) -> str:
    """``date`` is seconds since 1970."""
    if not isinstance(date, (int, float)):
        return ""
    return datetime.fromtimestamp(date, UTC).isoformat(timespec="seconds")
