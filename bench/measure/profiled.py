"""Has a session profiled, in a worker of its own that isn't timed."""

from __future__ import annotations

from typing import Any

from bench.backend import to_plain
from bench.errors import BenchError
from bench.measure.member import Context
from bench.measure.plan import PlannedCell


def profiled_placement(planned: PlannedCell, context: Context) -> dict[str, Any] | None:
    """What a session of its own can find out of its placement, in a worker that is not timed.

    None where no such session can be had.
    """
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
                "placement", *planned.feeds.values(), names=list(planned.feeds)
            )
        finally:
            worker.end()
    except BenchError:
        return None  # the cell's own workers tell what is wrong with it
    found: dict[str, Any] = answer["placement"]
    return found
