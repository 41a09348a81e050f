"""Certificates of made evidence, judged as a real one is: a party of each verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.cell import ModelIdentity
from bench.judge.certify.finding import Seen, findings
from bench.record.certificate import Asked, Certificate, Examined, Party, Pass, Place
from bench.record.rows import distribution_rows, output_rows
from bench.store.certificates import Evidence, write_certificate
from bench.variants import FP32

EXAMPLES, CLASSES = 4000, 4
LABEL = np.arange(EXAMPLES) % CLASSES
CLASS_NAMES = ("shoe", "shirt", "coat", "bag")


def scores(name: str) -> Any:
    """Scores of the labelled examples: the reference's, or those of a party that is so wrong."""
    rng = np.random.default_rng(3)
    found = rng.normal(size=(EXAMPLES, CLASSES)).astype(np.float32)
    found[np.arange(EXAMPLES), LABEL] += 2.5
    if name == "same":
        found[:, 0] = np.nextafter(found[:, 0], np.float32(9))
    if name == "equivalent":
        found += np.random.default_rng(4).normal(scale=0.002, size=found.shape).astype(np.float32)
    if name == "degraded":  # one class is lost
        found[LABEL == 2, 2] -= 3
    return found


def made_certificate(folder: Path, model: str = "shop", floor: float = 0.0) -> Certificate:
    """Write a certificate whose parties are, in this order: the reference, one that is the same,
    one equivalent on a simulated device, one degraded, and one that didn't run. ``floor`` is by how
    much the reference differs from itself on one thread."""
    evidence = Evidence(folder)
    reference = scores("reference")
    predicted = {"label": LABEL, "group": LABEL}
    plain = evidence.keep({**predicted, "predicted": reference.argmax(axis=1)})
    itself = evidence.keep(_rows(reference, reference))
    wandered = evidence.keep(_rows(reference + np.float32(floor), reference))
    passes = [
        Pass(party=0, condition="plain", predictions=plain),
        Pass(party=0, condition="again", detail="in a fresh process", rows=itself),
        Pass(party=0, condition="threads", detail="1 thread instead of 2", rows=wandered),
    ]
    for place, name in enumerate(("same", "equivalent", "degraded"), start=1):
        mine = scores(name)
        passes += [
            Pass(
                party=place,
                condition="plain",
                rows=evidence.keep(_rows(mine, reference)),
                predictions=evidence.keep({**predicted, "predicted": mine.argmax(axis=1)}),
            ),
            Pass(party=place, condition="again", detail="in a fresh process", rows=itself),
        ]
    passes.append(Pass(party=4, condition="plain", failure="ghost:cpu is not available."))
    targets = ("right:cpu", "near:cpu", "chip:npu", "wrong:npu", "ghost:cpu")
    seen = Seen(
        Asked(
            model=model,
            reference=targets[0],
            on=targets[1:],
            variants=("fp32",),
            margin=0.01,
            confidence=0.95,
            seed=1,
        ),
        Examined(
            dataset="goods",
            dataset_sha256="5" * 64,
            inputs_sha256="6" * 64,
            examples=EXAMPLES,
            clusters=EXAMPLES,
            groups=CLASS_NAMES,
        ),
        tuple(_party(model, target) for target in targets),
        tuple(passes),
        (),
    )
    judged_floor, judged = findings(seen, evidence.read)
    certificate = Certificate(
        bench_version="0.1.0",
        created_at="2026-11-28T02:00:00+00:00",
        command=f"bench certify {model} -r right:cpu",
        facts={"cpu_model": "A processor"},
        asked=seen.asked,
        examined=seen.examined,
        limit="rtol = atol = 1e-4 (a test)",
        parties=seen.parties,
        passes=seen.passes,
        files=evidence.files,
        floor=judged_floor,
        findings=judged,
        places=(Place(party=3, stage="whole model", sentence="It begins at Conv conv1."),),
    )
    write_certificate(folder, certificate)
    return certificate


def _rows(mine: Any, theirs: Any) -> dict[str, Any]:
    found = output_rows([mine], [theirs], FP32.tolerance)
    return found | distribution_rows(mine, theirs, LABEL)


def _party(model: str, target: str) -> Party:
    return Party(
        model=ModelIdentity(name=model, sha256="a" * 64, task="classification", file_bytes=1000),
        variant="fp32",
        target=target,
        threads=2,
        device_name="A device",
        runtime_version="1.2.3",
        simulated=target == "chip:npu",
    )
