"""In which precision a cell really computes, and whether that is what was asked for."""

from __future__ import annotations

from bench.backend import to_plain
from bench.errors import BenchError
from bench.plan import PlannedCell
from bench.record import Check
from bench.schedule import Context

#: What a variant's compiled model has to compute in, at least in part.
_EXPECTED = {"fp16": "fp16", "bf16": "bf16", "int8-dynamic": "int8", "int8-static": "int8"}
#: What an fp32 model must not be turned into in silence. An int8 part is the model's own.
_LOWER = {"fp16", "bf16"}


def computed_precision(planned: PlannedCell, context: Context) -> str:
    """What a session of its own tells, in a worker that is not timed; empty where it can't."""
    choice = planned.choice
    assert choice.runtime is not None
    assert choice.device is not None
    try:
        worker = context.launcher.worker(choice.runtime, planned.cell.threads)
        try:
            worker.request(
                "load",
                model=to_plain(planned.file),
                device=to_plain(choice.device),
                options=to_plain(planned.options),
                cpus=list(context.cpus[planned.cores]),
            )
            answer, _ = worker.request(
                "precision", *planned.feeds.values(), names=list(planned.feeds)
            )
        finally:
            worker.end()
    except BenchError:
        return ""  # the cell's own workers tell what is wrong with it
    return str(answer["precision"])


def precision_check(variant: str, found: str) -> Check | None:
    """Whether the model computes as its variant says; None where that can't be known.

    ``found`` is as in `bench.backend.Placement.precision`.
    """
    parts = set(found.split("+")) if found else set()
    if not parts:
        return None
    expected = _EXPECTED.get(variant)
    ok = expected in parts if expected else not parts & _LOWER
    words = f"it computes in {' and '.join(sorted(parts))}"
    return Check(
        name="precision", ok=ok, detail=words if ok else f"{variant} was asked for, {words}"
    )
