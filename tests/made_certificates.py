"""Certificates of made outputs, as `bench certify` would write them, without running a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fake_records import STUDENT

from bench.arrays import Array
from bench.cell import ModelIdentity
from bench.judge.certify.finding import Seen, findings
from bench.record.certificate import Asked, Certificate, Examined, Party, Pass
from bench.record.rows import distribution_rows, output_rows
from bench.store.certificates import Evidence, write_certificate
from bench.variants import FP32

CLASSES = 4
EXAMPLES = 400
REFERENCE = "onnxruntime:cpu"
VERSION = "1.32.0"
LABELS = np.arange(EXAMPLES) % CLASSES


def outputs(seed: int = 0) -> Array:
    """Scores of a classifier that is right nine times in ten."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(EXAMPLES, CLASSES)).astype(np.float32)
    scores[np.arange(EXAMPLES), LABELS] += 4
    return scores


def rounded(scores: Array) -> Array:
    """As another order of additions leaves them."""
    return np.asarray(scores * np.float32(1 + 1e-7))


def moved(scores: Array) -> Array:
    """Beyond rounding, and nothing is decided otherwise."""
    return np.asarray(scores * np.float32(1.01))


def wrong(scores: Array, share: int = 5) -> Array:
    """One in ``share`` examples decided otherwise."""
    changed = scores.copy()
    changed[::share] = np.roll(changed[::share], 1, axis=1)
    return changed


def broken(scores: Array) -> Array:
    """NaN in one example."""
    changed = scores.copy()
    changed[3, 1] = np.nan
    return changed


def made_certificate(
    folder: Path,
    targets: Mapping[str, Array] | None = None,
    model: ModelIdentity = STUDENT,
    margin: float = 0.02,
    variants: Sequence[str] = ("fp32",),
    refused: str = "",
    **party: Any,
) -> Certificate:
    """Written into ``folder``: each target's outputs held against `outputs`; ``refused`` is one
    more target, which can't run the model; ``party`` overrides fields of everybody."""
    evidence, theirs = Evidence(folder), outputs()
    given = {"openvino:cpu": rounded(theirs)} if targets is None else targets
    plain = _predictions(theirs)
    parties = [_party(REFERENCE, model, "fp32", party)]
    again = _rows(rounded(theirs)[:100], theirs[:100])
    kept = {k: v[:100] for k, v in _predictions(rounded(theirs)).items()}
    passes = [
        Pass(party=0, condition="plain", predictions=evidence.keep(plain)),
        Pass(
            party=0,
            condition="again",
            detail="in a fresh process",
            rows=evidence.keep(again),
            predictions=evidence.keep(kept),
        ),
    ]
    for variant in variants:
        for target, mine in given.items():
            parties.append(_party(target, model, variant, party))
            place = len(parties) - 1
            predicted = evidence.keep(_predictions(mine)) if np.isfinite(mine).all() else ""
            rows = evidence.keep(_rows(mine, theirs))
            passes.append(Pass(party=place, condition="plain", rows=rows, predictions=predicted))
            again_rows = evidence.keep(_rows(mine, mine))
            passes.append(Pass(party=place, condition="again", rows=again_rows))
    if refused:
        parties.append(_party(refused, model, variants[0], party))
        why = f"{refused} computes no such model."
        place = len(parties) - 1
        passes.append(Pass(party=place, condition="plain", failure=why, impossible=True))
    asked = Asked(
        model=model.name,
        reference=REFERENCE,
        on=(*given, *filter(None, [refused])),
        variants=tuple(variants),
        margin=margin,
        confidence=0.95,
        seed=1,
    )
    examined = Examined(
        dataset="made",
        dataset_sha256="e" * 64,
        inputs_sha256="d" * 64,
        examples=EXAMPLES,
        clusters=EXAMPLES,
        groups=tuple(f"class {n}" for n in range(CLASSES)),
    )
    seen = Seen(asked, examined, tuple(parties), tuple(passes), ())
    floor, judged = findings(seen, evidence.read)
    certificate = Certificate(
        bench_version="0.0",
        created_at="2026-11-27T12:00:00+00:00",
        command="bench certify",
        facts={},
        asked=asked,
        examined=examined,
        limit=FP32.tolerance.source,
        parties=tuple(parties),
        passes=tuple(passes),
        files=evidence.files,
        floor=floor,
        findings=judged,
    )
    write_certificate(folder, certificate)
    return certificate


def _party(target: str, model: ModelIdentity, variant: str, changes: dict[str, Any]) -> Party:
    told = {"threads": 1, "device_name": "AMD EPYC", "runtime_version": VERSION} | changes
    return Party(model=model, variant=variant, target=target, **told)


def _rows(mine: Array, theirs: Array) -> dict[str, Array]:
    found = output_rows([mine], [theirs], FP32.tolerance)
    return found | distribution_rows(mine, theirs, LABELS[: len(mine)])


def _predictions(scores: Array) -> dict[str, Array]:
    return {"label": LABELS, "predicted": scores.argmax(axis=1), "group": LABELS}
