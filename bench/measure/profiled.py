"""Has a session profiled, in a worker of its own that isn't timed."""

from __future__ import annotations

from bench.backend import Placement
from bench.errors import BenchError
from bench.measure.member import Context
from bench.measure.plan import PlannedCell
from bench.runtimes.loaded import loaded_worker


def profiled_placement(planned: PlannedCell, context: Context) -> Placement | None:
    """What a session of its own can find out of its placement, in a worker that is not timed.

    None where no such session can be had.
    """
    choice, cpus = planned.choice, context.cpus[planned.cores]
    given = planned.loads
    try:
        with loaded_worker(
            context.launcher,
            choice.runtime,
            choice.device,
            given.file,
            given.options,
            threads=planned.cell.threads,
            cpus=cpus,
        ) as (worker, _):
            return worker.placement(given.feeds)
    except BenchError:
        return None  # the cell's own workers tell what is wrong with it
