"""`bench run`: measure models on targets and print the tables."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.bounds import PRESETS
from bench.cache import cache_folder
from bench.commands.flags import (
    FiniteRange,
    output_names,
    output_options,
    read_batches,
    read_name,
    read_settings,
    read_sizes,
    write_outputs,
)
from bench.commands.flags import read_numbers as _numbers
from bench.commands.output import print_json
from bench.commands.show import print_run
from bench.discover import suite_paths
from bench.errors import SpecError
from bench.numbers import printable
from bench.scenarios import SCENARIOS
from bench.variants import VARIANTS

if TYPE_CHECKING:
    from bench.measure.measuring import Outcome
    from bench.measure.plan import Plan
    from bench.spec import Suite

_VARIANTS = ", ".join(row.name for row in VARIANTS.built_in)
_SCENARIOS = ", ".join(row.name for row in SCENARIOS.built_in)
_INTERRUPTED = 130
#: What a run of `bench tune` has beside others'.
TUNE = "tune.json"
#: Seconds from which on the harness's share of the time says something.
_LONG_S = 30.0


@click.command()
@click.argument("suite", required=False, type=click.Path(path_type=Path))
@click.option("-m", "--model", "models", multiple=True, help="Model: a name, .onnx or card.")
@click.option("-t", "--target", "targets", multiple=True, help="Target, e.g. onnxruntime:cpu.")
@click.option("--variant", "variants", multiple=True, help=f"Precision form: {_VARIANTS}.")
@click.option("--scenario", "scenarios", multiple=True, help=f"{_SCENARIOS}.")
@click.option("--latency-bound", help="server: bound of the p99, e.g. 5ms.")
@click.option("--ttft-bound", help="server, language models: bound of TTFT's p99, e.g. 2s.")
@click.option("--tpot-bound", help="server, language models: bound of TPOT's p99, e.g. 100ms.")
@click.option("--bounds", help=f"Both by name, as MLPerf has them: {PRESETS[0].name}, ...")
@click.option(
    "--batch", multiple=True, callback=read_batches, help="Samples a query (offline), or auto."
)
@click.option("--prompt", multiple=True, callback=_numbers, help="Tokens of a prompt, e.g. 128.")
@click.option("--answer", multiple=True, callback=_numbers, help="Tokens a query makes, e.g. 64.")
@click.option(
    "--depth", multiple=True, callback=_numbers, help="decode: tokens cached, e.g. 32,512."
)
@click.option("--draft", multiple=True, callback=_numbers, help="verify: tokens drafted, e.g. 4.")
@click.option("--shape", "shapes", multiple=True, callback=read_sizes, help="Sizes, e.g. seq=128.")
@click.option("--batch-axis", help="Which axis is the batch: a name, a number, or none.")
@click.option("--threads", type=int, help="Compute threads of one inference.")
@click.option("--lane", help="prepared (default), api (what users write), native (no Python).")
@click.option("--driver", help="bench (default), or loadgen: MLPerf's LoadGen (docs/mlperf.md).")
@click.option("--rate", type=FiniteRange(min=0, min_open=True), help="LoadGen server: queries/s.")
@click.option(
    "--loadgen",
    multiple=True,
    callback=read_settings,
    metavar="KEY=VALUE",
    help="A setting of LoadGen, as its user.conf has it, e.g. min_duration=60000.",
)
@click.option("--goal", help="precision (default), or rank: until the order of targets is settled.")
@click.option("--margin", help="What differs by less counts as the same; default 2%.")
@click.option("--quick", "preset", flag_value="quick", help="Precision 5%, at most 5 s a cell.")
@click.option("--thorough", "preset", flag_value="thorough", help="Precision 1%, up to 120 s.")
@click.option("--precision", help="Half-width of the median's interval; default 2%.")
@click.option("--max-time", "max_time_s", type=float, help="Seconds a cell may take; default 20.")
@click.option("--min-invocations", type=int, help="Worker processes a cell; default 5.")
@click.option("--max-invocations", type=int, help="Most worker processes a cell; default 30.")
@click.option("--cell-timeout", "cell_timeout_s", type=float, help="Seconds until a hang is cut.")
@click.option("--seed", type=int, help="Seed of inputs and of the order of measuring.")
@click.option("--allow-fallback", is_flag=True, default=None, help="Keep rows that fell back.")
@click.option("--no-accuracy", is_flag=True, help="Do not score the labelled data.")
@click.option("--energy", is_flag=True, default=None, help="Measure energy too (docs/energy.md).")
@click.option("--energy-window", "energy_window_s", type=float, help="Seconds; default 3.")
@click.option("--wall-command", help="--energy: a command that prints the watts drawn.")
@click.option("--wall-csv", help="--energy: a meter's CSV file, time and watts.")
@click.option("--wall-zone", help="Time zone of that file's times; default UTC.")
@click.option("--wall-offset", "wall_offset_s", type=float, help="Seconds to add to its times.")
@click.option("--roofline", is_flag=True, default=None, help="Measure peaks; tell shares of them.")
@click.option("--results", type=click.Path(path_type=Path), help="Folder of runs.")
@click.option("--label", default="", callback=read_name, help="What to call this run.")
@click.option("--resume", "resumed", type=click.Path(path_type=Path), help="Go on with a run.")
@click.option("--retry-failed", is_flag=True, help="--resume: try failed cells again.")
@click.option(
    "--allow",
    multiple=True,
    metavar="machine|versions|model|plan",
    help="--resume although that is no longer the same; it is recorded.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="Records as JSON on standard output.")
@output_options
def command(
    suite: Path | None,
    results: Path | None,
    resumed: Path | None,
    label: str,
    *,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    no_accuracy: bool,
    retry_failed: bool,
    allow: tuple[str, ...],
    preset: str | None,
    **flags: Any,
) -> int:
    """Measure models on targets.

    SUITE is a TOML file; flags win over it. With neither SUITE nor -m the default suite runs:
    an original, its distilled student and a control on every target that is present.
    """
    from bench.measure.prepare import prepare  # scipy: start-up
    from bench.measure.resuming import check_kinds
    from bench.measure.run import resume, start
    from bench.present.progress import choose_listener

    outputs = {name: flags.pop(name) for name in output_names()}
    flags["accuracy"] = False if no_accuracy else None
    flags = {key: value for key, value in flags.items() if _given(value)}
    if "rate" in flags:
        flags["loadgen"] = {**flags.get("loadgen", {}), "target_qps": flags.pop("rate")}
    if resumed is None and (retry_failed or allow):
        raise SpecError("--retry-failed and --allow are for a run that is gone on with: --resume.")
    if resumed is not None and label:
        raise SpecError("--label: a run keeps the label that it began with. Leave out --label.")
    check_kinds(allow)
    plan_suite = _suite(suite, resumed, _preset(preset), flags)
    outcome: Outcome | None = None
    with (
        closing(choose_listener(quiet=quiet)) as listener,
        prepare(plan_suite, listener, cache_folder()) as prepared,
    ):
        if resumed is not None and not dry_run:
            outcome = resume(prepared, resumed, listener, allowed=allow, retries=retry_failed)
        elif not dry_run:
            outcome = start(prepared, results or default_results(), listener, label=label)
    if outcome is None:
        _print_plan(prepared.plan, as_json=as_json)
        return 0
    _print_outcome(outcome, as_json=as_json, outputs=outputs)
    if outcome.interrupted:
        return _INTERRUPTED
    return 1 if outcome.failed else 0


def _suite(
    path: Path | None, resumed: Path | None, preset: dict[str, Any], flags: dict[str, Any]
) -> Suite:
    """The suite to run: a resumed run's own, or a file's (or the default) with a preset over it,
    and flags over both."""
    from bench.spec import Suite, load_suite, with_flags  # numpy: start-up
    from bench.store.run import read_run

    if resumed is not None:
        given = [*preset, *flags]
        if path is not None or given:
            raise SpecError(
                "--resume goes on with the run's own suite; leave out the suite and the flags "
                f"that change it ({', '.join(given) or path})."
            )
        if (resumed / TUNE).is_file():
            raise SpecError(f"{resumed} is a tune: go on with `bench tune --resume {resumed}`.")
        header = read_run(resumed).header
        return header.suite.model_copy(update={"models": header.models})
    if path is not None:
        return with_flags(with_flags(load_suite(path), preset), flags)
    if "models" in flags:
        return with_flags(with_flags(Suite(), preset), flags)
    installed = suite_paths()
    if "default" not in installed:
        raise SpecError("the default suite is not installed: name a model with -m.")
    return with_flags(with_flags(load_suite(installed["default"]), preset), flags)


def _given(value: object) -> bool:
    return value not in (None, (), {})


def _preset(name: str | None) -> dict[str, Any]:
    from bench.spec import QUICK, THOROUGH  # pydantic: start-up

    return {None: {}, "quick": QUICK, "thorough": THOROUGH}[name]


def default_results() -> Path:
    return Path("results") / "runs"


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        cells = [{"id": p.cell.id, **p.cell.model_dump(mode="json")} for p in plan.cells]
        print_json(cells)
        return
    for planned in plan.cells:
        refused = f"  (will fail: {planned.refused})" if planned.refused else ""
        click.echo(printable(f"{planned.cell.id}  {planned.cell.label}{refused}"))
    suite = plan.suite
    click.echo(
        f"{len(plan.cells)} cells; each until its interval is within "
        f"±{100 * suite.precision:.3g}% of the estimate, at least {suite.min_invocations} "
        f"invocations, at most {suite.max_time_s:g} s."
    )


def _print_outcome(outcome: Outcome, *, as_json: bool, outputs: dict[str, Any]) -> None:
    from bench.store.run import read_run  # numpy: start-up

    stored = read_run(outcome.path)
    print_run(stored, as_json=as_json)
    write_outputs(outputs, stored)
    if as_json:
        return
    account = outcome.account
    if account.total_s >= _LONG_S:
        click.echo(
            f"{account.startup_s:.0f} s to start up, {account.total_s - account.startup_s:.0f} s "
            f"to measure, {account.starting_s:.0f} s of them to start workers (load and compile), "
            f"{account.overhead:.1%} neither that nor scoring or timing.",
            err=True,
        )
    if outcome.interrupted:
        click.echo(f"Interrupted. Go on with: bench run --resume {outcome.path}", err=True)
