"""``bench tune -m MODEL -t TARGET --for latency``: the best configuration, and what it gains."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.chosen import default_results, run_option
from bench.commands.flags import (
    DURATION,
    LISTED_VARIANTS,
    METERING,
    ONE_MODEL,
    ONE_TARGET,
    POINTS_ABOVE_ZERO,
    SHARE_ABOVE_ZERO,
    bound_ns,
    meter_options,
    read_numbers,
    read_sizes,
)
from bench.commands.output import interrupted, print_drawing, print_json
from bench.errors import SpecError
from bench.folders import cache_folder

if TYPE_CHECKING:
    from bench.measure.measuring import Outcome
    from bench.spec import Suite
    from bench.trials.tune.kept import Asked

_INTERRUPTED = 130


@click.command(name="tune")
@click.option(
    "-m",
    "--model",
    **ONE_MODEL,
    help="Model: a name, .onnx or card. Required, unless --resume is given.",
)
@click.option(
    "-t",
    "--target",
    **ONE_TARGET,
    help="Target; options after its ? are kept as they are. Required, unless --resume is given.",
)
@click.option(
    "--for",
    "objective",
    type=click.Choice(["latency", "throughput", "energy"]),
    help="What to optimise. Required, unless --resume is given.",
)
@click.option("--latency-bound", help="throughput: bound of a query's p99, e.g. 5ms.")
@click.option(
    "--within",
    type=POINTS_ABOVE_ZERO,
    help="Accuracy that another precision may lose, e.g. 0.5points; default: none is tried.",
)
@click.option("--max-time", "max_time_s", type=DURATION, help="Total time; default 5m.")
@click.option(
    "--variant",
    "variants",
    **LISTED_VARIANTS,
    help="Precision forms to choose from; default: fp32; with --within: all of the target.",
)
@click.option(
    "--batch",
    multiple=True,
    callback=read_numbers,
    help="Batches to choose from; default: several from 1 to 64.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Use this many compute threads; default: several are tried.",
)
@click.option("--shape", "shapes", multiple=True, callback=read_sizes, help="Sizes, e.g. seq=128.")
@click.option("--batch-axis", help="The batch axis: a name, an index, or none.")
@click.option(
    "--against",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Compare the pick with this configuration, too, e.g. threads=2,spinning=1.",
)
@click.option(
    "--margin", type=SHARE_ABOVE_ZERO, help="Smaller differences count as equal; default 2%."
)
@click.option(
    "--cell-timeout",
    "cell_timeout_s",
    type=DURATION,
    help="Kill a worker silent for this long; default: a fifth of --max-time, at least 10s.",
)
@meter_options()
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of inputs and of the order; default 1."
)
@click.option(
    "--results", type=click.Path(path_type=Path), help="Folder of runs; default results/runs."
)
@run_option("--resume", "resumed", metavar="RUN", help="Resume a tuning run.")
@click.option(
    "--retry-failed", is_flag=True, help="--resume: race configurations that failed again."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    objective: str | None,
    target: str | None,
    model: str | None,
    results: Path | None,
    resumed: Path | None,
    *,
    retry_failed: bool,
    quiet: bool,
    as_json: bool,
    **flags: Any,
) -> int:
    """Find the best way to run MODEL on TARGET, and how much it gains.

    Configurations race: all are measured side by side, clearly worse ones drop out, and the pick is
    measured again, in processes that were not used for the choice. Exit status: 1 if there is no
    result.
    """
    from bench.measure.prepare import prepare  # numpy: start-up
    from bench.measure.run import resume, start
    from bench.present.progress import choose_listener
    from bench.store.run import read_run
    from bench.trials.tune.kept import read_tune
    from bench.trials.tune.measuring import Tuning
    from bench.trials.tune.objective import find_objective
    from bench.trials.tune.planning import plan_tune

    given = {key: value for key, value in flags.items() if value not in (None, (), {})}
    if resumed is not None:
        given |= {k: v for k, v in (("-m", model), ("-t", target), ("--for", objective)) if v}
        asked, suite = _gone_on_with(resumed, given)
    else:
        if retry_failed:
            raise SpecError("--retry-failed needs --resume.")
        if not (model and target and objective):
            raise SpecError("name what to tune, and for what: -m MODEL -t TARGET --for latency.")
        asked, suite = _asked(model, target, objective, given)
    aim = find_objective(asked.objective, asked.latency_bound_ns)
    outcome: Outcome
    with (
        closing(choose_listener(quiet=quiet)) as listener,
        prepare(suite, listener, cache_folder()) as prepared,
    ):
        found = plan_tune(prepared, asked, aim)
        for words in found.notes:
            listener.note(words)
        tune = found.tune if resumed is None else read_tune(resumed)
        if resumed is not None:
            tune = tune.model_copy(update={"asked": asked})
            if retry_failed:
                records = read_run(resumed).records
                tune = tune.retrying([r.cell_id for r in records if r.status == "failed"])
        measurer = partial(
            Tuning,
            tune=tune,
            objective=aim,
            tunables=found.tunables,
            original=found.original,
        )
        if resumed is None:
            outcome = start(found.prepared, results or default_results(), listener, measurer)
        else:
            outcome = resume(
                found.prepared,
                resumed,
                listener,
                allowed=None,
                retries=retry_failed,
                measurer=measurer,
            )
    if outcome.interrupted:
        interrupted(f"bench tune --resume {outcome.path}")
        return _INTERRUPTED
    kept, run = read_tune(outcome.path), read_run(outcome.path)
    return _print(kept, run, as_json=as_json)


def _print(kept: Any, run: Any, *, as_json: bool) -> int:
    from bench.trials.tune.report import tune_rows, tune_text  # rich: start-up

    if as_json:
        print_json(tune_rows(kept, run))
    else:
        print_drawing(lambda width: tune_text(kept, run, width))
    return 0 if kept.found is not None and kept.found.pick else 1


def _asked(model: str, target: str, objective: str, given: dict[str, Any]) -> tuple[Asked, Suite]:
    """What is asked for, and the suite that its cells are made by."""
    from bench.spec import Suite, flag_of, with_flags  # pydantic: start-up
    from bench.trials.tune.kept import Asked
    from bench.trials.tune.objective import find_objective
    from bench.trials.tune.planning import variants_for

    bound = given.pop("latency_bound", None)
    within = given.pop("within", None)
    aim = find_objective(objective, bound_ns(bound))
    asked = Asked(
        objective=objective,
        target=target,
        latency_bound_ns=aim.bound_ns,
        within=None if within is None else within / 100,
        max_time_s=given.pop("max_time_s", 300.0),
        against=given.pop("against", ()),
        batches=given.get("batch", ()),
    )
    if not aim.loads and "batch" in given:
        raise SpecError(
            f"--batch only applies to --for throughput and energy; a query of {objective} has one "
            "sample."
        )
    meters = [flag_of(name) for name in METERING if name in given]
    if meters and not aim.metered:
        raise SpecError(f"{', '.join(meters)}: only --for energy reads meters.")
    suite = with_flags(
        Suite(name="tune"),
        {
            # A configuration that hangs must not take the time of all.
            "cell_timeout_s": max(10.0, asked.max_time_s / 5),
            **given,
            "models": (model,),
            "targets": (target,),
            "scenarios": (aim.scenario,),
            "variants": variants_for(target, given.get("variants", ()), asked.within),
            "accuracy": asked.within is not None,
            "energy": aim.metered,
        },
    )
    return asked, suite


def _gone_on_with(run: Path, given: dict[str, Any]) -> tuple[Asked, Suite]:
    """What a tuning run was for; only its time may be another."""
    from bench.spec import Suite, flag_of  # numpy: start-up
    from bench.store.run import read_run
    from bench.trials.tune.kept import read_tune

    names = (name for name in given if name != "max_time_s")
    others = [name if name.startswith("-") else flag_of(name) for name in names]
    if others:
        raise SpecError(
            f"--resume keeps the settings of the tuning run; leave out {', '.join(others)}."
        )
    header = read_run(run).header
    asked = read_tune(run).asked.model_copy(update=given)
    if not asked.batches and header.suite.batch != Suite().batch:
        # An older bench kept those that were named in the suite alone.
        asked = asked.model_copy(update={"batches": header.suite.sizes_of_batches})
    return asked, header.suite.model_copy(update={"models": header.models})
