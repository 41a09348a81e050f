"""Records as a run would write them, for tests of what is drawn from records."""

from __future__ import annotations

from typing import Any

from bench.cell import Cell, ModelIdentity
from bench.record.result import (
    Accuracy,
    Check,
    Estimate,
    Failure,
    Invocation,
    Latency,
    Memory,
    Percentile,
    Record,
)

TEACHER = ModelIdentity(
    name="fashion-teacher",
    sha256="a" * 64,
    task="classification",
    file_bytes=1_242_000,
    parameters=305_000,
)
STUDENT = ModelIdentity(
    name="fashion-student",
    sha256="b" * 64,
    task="classification",
    distilled_from="fashion-teacher",
    file_bytes=104_000,
    parameters=25_400,
)
CONTROL = ModelIdentity(
    name="fashion-student-ce",
    sha256="c" * 64,
    task="classification",
    control_of="fashion-student",
    file_bytes=104_000,
    parameters=25_400,
)


def estimate(value: float, relative: float = 0.012) -> Estimate:
    return Estimate(
        value=value, low=value * (1 - relative), high=value * (1 + relative), confidence=0.95
    )


def a_cell(
    model: ModelIdentity = TEACHER,
    target: str = "onnxruntime:cpu",
    scenario: str = "single-stream",
    batch: int = 1,
    **changes: Any,
) -> Cell:
    values: dict[str, Any] = {
        "model": model,
        "target": target,
        "scenario": scenario,
        "batch": batch,
        "shapes": {"image": (batch, 1, 28, 28)},
        "threads": 1,
        "input_sha256": "d" * 64,
    }
    return Cell(**(values | changes))


def an_accuracy(value: float, examples: int = 10_000) -> Accuracy:
    return Accuracy(
        metric="top-1",
        value=Estimate(value=value, low=value - 0.005, high=value + 0.005, confidence=0.95),
        correct=round(value * examples),
        examples=examples,
        dataset="fashion-mnist",
        dataset_sha256="e" * 64,
        predictions="predictions/x.parquet",
    )


def an_invocation(index: int, median_ns: float, cell: Cell) -> Invocation:
    return Invocation(
        cell_id=cell.id,
        index=index,
        load_ns=20_000_000,
        first_inference_ns=900_000,
        warmup_calls=20,
        settled=True,
        calls=1000,
        blocks=30,
        discarded_calls=150,
        median_ns=median_ns,
        floor_ns=median_ns * 0.9,
        busy_ns=round(median_ns * 1000),
        peak_rss_bytes=117_000_000,
        rss_before_load_bytes=80_000_000,
    )


def a_record(
    cell: Cell | None = None,
    median_ns: float = 271_000,
    accuracy: float | None = 0.927,
    samples: int = 5000,
    **changes: Any,
) -> Record:
    """A cell that went well; ``changes`` override fields of the record."""
    cell = cell or a_cell()
    p99 = median_ns * 1.3 if samples >= 662 else None
    wobble = (0.99, 1.0, 1.01, 0.995, 1.005)
    values: dict[str, Any] = {
        "cell_id": cell.id,
        "cell": cell,
        "status": "ok",
        "stop": "precision",
        "device_name": "AMD EPYC",
        "runtime_version": "1.32.0",
        "latency": Latency(
            median_ns=estimate(median_ns),
            floor_ns=estimate(median_ns * 0.9),
            p90=Percentile(p=0.9, value_ns=median_ns * 1.1, samples=samples, samples_needed=64),
            p99=Percentile(p=0.99, value_ns=p99, samples=samples, samples_needed=662),
            samples=samples,
            outliers={},
        ),
        "throughput": estimate(1e9 / median_ns * cell.batch, 0.02)
        if cell.scenario == "offline"
        else None,
        "load_ns": estimate(20e6, 0.1),
        "first_inference_ns": estimate(0.9e6, 0.1),
        "memory": Memory(peak_rss_bytes=117_000_000, added_rss_bytes=37_000_000),
        "accuracy": an_accuracy(accuracy) if accuracy is not None else None,
        "invocations": tuple(
            an_invocation(index, median_ns * factor, cell) for index, factor in enumerate(wobble)
        ),
        "finished_at": "2026-11-23T12:00:00Z",
    }
    return Record(**(values | changes))


def a_failure(
    cell: Cell | None = None,
    kind: str = "timeout",
    message: str = "no answer within 60 s; killed.",
) -> Record:
    cell = cell or a_cell()
    failure = Failure(kind=kind, message=message)
    return Record(cell_id=cell.id, cell=cell, status="failed", failure=failure, stop="failed")


def a_failed_check(name: str, detail: str) -> Check:
    return Check(name=name, ok=False, detail=detail)


def a_run() -> list[Record]:
    """Three models on five targets: most go well, some fail, one device is simulated."""
    speeds = {"onnxruntime:cpu": 1.0, "openvino:cpu": 0.93, "torch:cpu": 2.6}
    records: list[Record] = []
    for model, median_ns, score in (
        (TEACHER, 271e3, 0.927),
        (STUDENT, 27.6e3, 0.876),
        (CONTROL, 27.9e3, 0.862),
    ):
        for target, factor in speeds.items():
            one = a_cell(model, target)
            many = a_cell(model, target, "offline", 32)
            checks = (
                (a_failed_check("steady-state", "warm-up had not settled after 200 calls"),)
                if target == "torch:cpu" and model is STUDENT
                else ()
            )
            samples = 310 if target == "torch:cpu" and model is TEACHER else 5000
            records.append(a_record(one, median_ns * factor, score, checks=checks, samples=samples))
            records.append(a_record(many, median_ns * factor * 24, None))
        torch_compile = a_cell(model, "torch-compile:cpu")
        many = a_cell(model, "torch-compile:cpu", "offline", 32)
        if model is TEACHER:
            records += [a_failure(torch_compile), a_failure(many)]
        elif model is STUDENT:
            message = (
                "the C++ compiler could not be run: g++ was not found on PATH. Install g++, "
                "or leave out torch-compile:cpu."
            )
            records += [a_failure(c, "unsupported", message) for c in (torch_compile, many)]
        else:
            records += [a_record(torch_compile, 48e3, score), a_failure(many)]
        npu = a_cell(model, "ascend:npu:0")
        records.append(a_record(npu, 9e9, score, simulated=True))
    return records
