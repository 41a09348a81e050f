"""Runs whose names try to become markup, with everything that a page can show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from compared_runs import a_header
from fake_records import a_cell, a_failure, a_record, an_invocation

from bench.cell import ModelIdentity
from bench.record.block import Block
from bench.record.result import Check, Record
from bench.store.write import RunStore

HOSTILE = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(1)>'
LINK = '<a href="javascript:alert(1)">=cmd()|x</a>'
EXAMPLES = 400

ORIGINAL = ModelIdentity(name=HOSTILE, sha256="1" * 64, task="classification", file_bytes=1_200_000)
DISTILLED = ModelIdentity(
    name=IMAGE, sha256="2" * 64, task="classification", distilled_from=HOSTILE, file_bytes=60_000
)
CONTROL = ModelIdentity(
    name=LINK, sha256="3" * 64, task="classification", control_of=IMAGE, file_bytes=60_000
)
MEDIANS_NS = {HOSTILE: 300e3, IMAGE: 20e3, LINK: 20.1e3}
RIGHT = {HOSTILE: 0.95, IMAGE: 0.90, LINK: 0.86}
TARGETS = {"onnxruntime:cpu": 1.0, "openvino:cpu?streams=2": 1.3}


def write_hostile_run(folder: Path) -> Path:
    """Three models on two targets at several batches, a simulated device, failures, marks."""
    records = list(_records())
    facts = {"machine_id": "0123456789ab", "cpu_model": HOSTILE, "governor": IMAGE, "kernel": "6"}
    header = a_header([r.cell for r in records], facts, command=f"bench run -m '{HOSTILE}'")
    store = RunStore.create(folder, header)
    _write_predictions(store)
    _write_samples(store, records)
    for record in records:
        store.append_record(record)
    store.close()
    return store.path


def _records() -> list[Record]:
    found = []
    for model in (ORIGINAL, DISTILLED, CONTROL):
        for target, factor in TARGETS.items():
            median = MEDIANS_NS[model.name] * factor
            found.append(_scored(model, target, median))
            for batch in (1, 8, 32):
                cell = a_cell(model, target, "offline", batch)
                found.append(_measured(cell, median * batch**0.8))
        found.append(
            _scored(model, "ascend:npu:0", 7e6).model_copy(
                update={"simulated": True, "stop": "simulated"}
            )
        )
    broken = a_cell(ORIGINAL, "torch:cpu")
    found.append(a_failure(broken, "crashed", f"the worker died of {HOSTILE}{IMAGE}"))
    return found


def _measured(cell: object, median_ns: float) -> Record:
    rng = np.random.default_rng(int(median_ns))
    invocations = tuple(
        an_invocation(i, median_ns * x, cell).model_copy(  # type: ignore[arg-type]
            update={"canary_ns": 54e3 * (1 + 0.01 * i), "disturbed_blocks": i}
        )
        for i, x in enumerate(rng.normal(1, 0.01, 6))
    )
    mark = Check(name="undisturbed", ok=False, detail=f"9 of 30 blocks: {HOSTILE}")
    checks = (mark,) if median_ns > 300e3 else (Check(name="undisturbed", ok=True, detail="0"),)
    return a_record(cell, median_ns, None, invocations=invocations, checks=checks)  # type: ignore[arg-type]


def _scored(model: ModelIdentity, target: str, median_ns: float) -> Record:
    from bench.record.result import Accuracy, Estimate

    share = RIGHT[model.name]
    return _measured(a_cell(model, target), median_ns).model_copy(
        update={
            "accuracy": Accuracy(
                metric="top-1",
                value=Estimate(value=share, low=share - 0.02, high=share + 0.02, confidence=0.95),
                correct=round(share * EXAMPLES),
                examples=EXAMPLES,
                dataset=HOSTILE,
                dataset_sha256="e" * 64,
                predictions=f"predictions/{model.sha256[:6]}.parquet",
            )
        }
    )


def _write_predictions(store: RunStore) -> None:
    labels = np.arange(EXAMPLES) % 10
    for model in (ORIGINAL, DISTILLED, CONTROL):
        right = np.arange(EXAMPLES) < RIGHT[model.name] * EXAMPLES
        logits = np.random.default_rng(len(model.name)).normal(0, 1, (EXAMPLES, 10))
        predicted = np.where(right, labels, (labels + 1) % 10)
        logits[np.arange(EXAMPLES), predicted] += 6
        store.write_predictions(
            model.sha256[:6],
            {"label": labels, "predicted": predicted, "logits": logits.astype(np.float32)},
        )


def _write_samples(store: RunStore, records: list[Record]) -> None:
    rng = np.random.default_rng(0)
    for index in range(6):
        blocks = [
            Block(
                record.cell_id,
                index,
                0,
                place,
                (record.invocations[index].median_ns * rng.lognormal(0, 0.05, 900)).astype(
                    np.int64
                ),
            )
            for place, record in enumerate(records)
            if record.invocations and not record.simulated
        ]
        store.write_samples(f"{index:05}", blocks)


PORTABILITY = {
    "kind": "portability",
    "schema_version": 1,
    "bench_version": "0",
    "created_at": "2026-01-01T00:00:00+00:00",
    "of_a_newer_bench": HOSTILE,
    "targets": [{"target": "onnxruntime:cpu"}, {"target": HOSTILE, "simulated": True}],
    "operators": [
        {
            "operator": name,
            "domain": "",
            "opset": 13,
            "target": target,
            "outcome": outcome,
            "tests": 4,
            "passed": passed,
            "worst_error": 1e-6,
            "detail": IMAGE,
        }
        for name, target, outcome, passed in (
            ("Add", "onnxruntime:cpu", "pass", 4),
            ("Add", HOSTILE, "partial", 3),
            (HOSTILE, "onnxruntime:cpu", "crash", 0),
            (HOSTILE, HOSTILE, "timeout", 0),
        )
    ],
    "models": [{"model": IMAGE, "variant": "fp32", "target": HOSTILE, "outcome": "runs"}],
}
