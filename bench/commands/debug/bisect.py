"""``bench debug bisect MODEL --target T``: the first tensor on which a target disagrees."""

from __future__ import annotations

from contextlib import closing

import click

from bench.commands.completing import complete_models, complete_targets, complete_variants
from bench.commands.flags import read_sizes
from bench.commands.output import print_drawing, print_json
from bench.folders import cache_folder
from bench.variants import DEFAULT

_DISAGREES = 3


@click.command(name="bisect")
@click.argument("model", shell_complete=complete_models)
@click.option(
    "-t",
    "--target",
    required=True,
    shell_complete=complete_targets,
    help="The target that disagrees.",
)
@click.option(
    "--variant",
    default=DEFAULT,
    show_default=True,
    shell_complete=complete_variants,
    help="Precision form of the model.",
)
@click.option(
    "--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Samples per query."
)
@click.option("--shape", "shapes", multiple=True, callback=read_sizes, help="Sizes, e.g. seq=128.")
@click.option("--batch-axis", help="The batch axis: a name, an index, or none.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the inputs."
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    model: str,
    target: str,
    variant: str,
    batch: int,
    shapes: dict[str, int],
    batch_axis: str | None,
    seed: int,
    *,
    as_json: bool,
) -> int:
    """Find the first tensor of MODEL on which a target disagrees with the reference.

    Names the node and the operator. Exit status: 0 if the target agrees with the reference, or with
    independent runtimes that contradict it; 3 if it does not; 1 or 2 if that can't be determined.
    """
    from bench.measure.prepare import prepare  # numpy: start-up
    from bench.present.progress import choose_listener
    from bench.scenarios import OFFLINE
    from bench.spec import Suite, with_flags
    from bench.trials.bisect import bisect
    from bench.trials.bisect_report import bisect_row, bisect_text

    flags = {
        "models": (model,),
        "targets": (target,),
        "variants": (variant,),
        "scenarios": (OFFLINE.name,),
        "batch": (batch,),
        "shapes": shapes,
        "batch_axis": batch_axis,
        "seed": seed,
    }
    with (
        closing(choose_listener(quiet=False)) as listener,
        prepare(with_flags(Suite(), flags), listener, cache_folder()) as prepared,
    ):
        listener.phase(f"comparing the tensors of {model}")
        found = bisect(prepared.plan.cells[0], prepared.reports, prepared.launcher)
    if as_json:
        print_json(bisect_row(found))
    else:
        print_drawing(lambda width: bisect_text(found, width))
    if found.chance:
        return 1
    return 0 if found.agrees or found.doubted_by else _DISAGREES
