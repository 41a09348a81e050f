"""`bench run`: measure models on targets and print the tables."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.bounds import PRESETS
from bench.commands.chosen import RUN, default_results, named
from bench.commands.completing import (
    complete_what,
)
from bench.commands.flags import (
    DURATION,
    LISTED_MODELS,
    LISTED_SCENARIOS,
    LISTED_TARGETS,
    LISTED_VARIANTS,
    SHARE_ABOVE_ZERO,
    FiniteRange,
    meter_options,
    output_names,
    output_options,
    read_batches,
    read_list,
    read_name,
    read_settings,
    read_sizes,
    write_outputs,
)
from bench.commands.flags import read_numbers as _numbers
from bench.commands.given import sort_given
from bench.commands.output import hint, interrupted, print_json
from bench.commands.sections import SectionCommand, options_of
from bench.commands.show import print_run
from bench.errors import SpecError, every
from bench.folders import cache_folder
from bench.numbers import counted, printable
from bench.scenarios import DEFAULT as DEFAULT_SCENARIOS
from bench.scenarios import SCENARIOS
from bench.variants import DEFAULT as DEFAULT_VARIANT
from bench.variants import VARIANTS

if TYPE_CHECKING:
    from bench.measure.measuring import Outcome
    from bench.measure.prepare import Prepared
    from bench.spec import Suite
    from bench.store.run import StoredRun

_VARIANTS = ", ".join(row.name for row in VARIANTS.built_in)
_SCENARIOS = ", ".join(row.name for row in SCENARIOS.built_in)
_INTERRUPTED = 130
_what, _inputs = options_of("What to measure"), options_of("Inputs")
_how_long, _under_load = options_of("How long"), options_of("Under load")
_meter, _stored, _output = options_of("Energy"), options_of("The run"), options_of("Output")
#: Of what is said beside the tables.
_WIDTH = 80
#: Seconds from which on the harness's share of the time says something.
_LONG_S = 30.0


@click.command(cls=SectionCommand, others=dict.fromkeys(output_names(), "Files for CI"))
@click.argument("what", nargs=-1, metavar="[SUITE | MODEL]...", shell_complete=complete_what)
@_what(
    "-m",
    "--model",
    "models",
    **LISTED_MODELS,
    help="Model: a name, a file, a folder or a card.",
)
@_what(
    "-t",
    "--target",
    "targets",
    **LISTED_TARGETS,
    help="Targets, e.g. onnxruntime:cpu,openvino:cpu; default: all available.",
)
@_what(
    "--variant",
    "variants",
    **LISTED_VARIANTS,
    help=f"Precision forms: {_VARIANTS}; default {DEFAULT_VARIANT}.",
)
@_what(
    "--scenario",
    "scenarios",
    **LISTED_SCENARIOS,
    help=f"{_SCENARIOS}; default {','.join(DEFAULT_SCENARIOS)}.",
)
@_what(
    "--batch",
    metavar="N,...|auto",
    multiple=True,
    callback=read_batches,
    help="Samples per query, e.g. 1,8; default 32.",
)
@_what(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1),
    help="Compute threads of one inference; default: physical cores.",
)
@_what(
    "--lane",
    type=click.Choice(["prepared", "api", "native"]),
    help="prepared (default), api (what users write), native (no Python).",
)
@_what("--energy", is_flag=True, default=None, help="Measure energy too; see Energy below.")
@_what("--roofline", is_flag=True, default=None, help="Measure peaks, and report shares of them.")
@_what("--no-accuracy", is_flag=True, help="Don't score the labelled data.")
@_what("--allow-fallback", is_flag=True, default=None, help="Accept nodes that run off the device.")
@_inputs(
    "--shape",
    "shapes",
    metavar="NAME=SIZE",
    multiple=True,
    callback=read_sizes,
    help="Sizes of named dimensions, e.g. seq=128.",
)
@_inputs(
    "--input",
    "inputs",
    multiple=True,
    callback=read_list,
    metavar="[NAME=]SHAPE",
    help="What a PyTorch module takes, e.g. 1x3x64x64, or ids=1x128:int64. The batch is first.",
)
@_inputs("--batch-axis", metavar="AXIS", help="The batch axis: a name, an index, or none.")
@_inputs(
    "--prompt",
    metavar="N,...",
    multiple=True,
    callback=_numbers,
    help="Prompt length in tokens; default 128.",
)
@_inputs(
    "--answer",
    metavar="N,...",
    multiple=True,
    callback=_numbers,
    help="Tokens generated per query; default 64.",
)
@_inputs(
    "--depth",
    metavar="N,...",
    multiple=True,
    callback=_numbers,
    help="decode: tokens cached; default 32,512.",
)
@_inputs(
    "--draft",
    metavar="N,...",
    multiple=True,
    callback=_numbers,
    help="verify: tokens drafted; default 1,2,4,8.",
)
@_inputs(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0),
    help="Seed of the inputs and of the measuring order; default 1.",
)
@_how_long("--quick", "preset", flag_value="quick", help="Precision 5%, at most 5 s per cell.")
@_how_long("--thorough", "preset", flag_value="thorough", help="Precision 1%, up to 120 s.")
@_how_long(
    "--precision",
    type=SHARE_ABOVE_ZERO,
    help="Half-width of the median's interval; default 2%.",
)
@_how_long(
    "--goal",
    type=click.Choice(["precision", "rank", "overview"]),
    help="precision; rank: until the order of targets is settled; overview: either. "
    "Default: overview for named models and the default suite, precision for other suites.",
)
@_how_long(
    "--budget",
    "budget_s",
    type=DURATION,
    help="Approximate time for the whole run; default: none, 85s for the default suite.",
)
@_how_long(
    "--margin",
    type=SHARE_ABOVE_ZERO,
    help="Smaller differences count as equal; default 2%.",
)
@_how_long(
    "--max-time",
    "max_time_s",
    type=DURATION,
    help="Time per cell; default 20s; up to 3 times that to reach --min-invocations.",
)
@_how_long(
    "--min-invocations",
    metavar="N",
    type=int,
    help="Minimum worker processes per cell; default 5, 3 for an overview or --goal rank.",
)
@_how_long(
    "--max-invocations",
    metavar="N",
    type=int,
    help="Maximum worker processes per cell; default 30.",
)
@_how_long(
    "--cell-timeout",
    "cell_timeout_s",
    type=DURATION,
    help="Kill a worker silent for this long; default 5m.",
)
@_under_load("--latency-bound", metavar="TIME", help="server: bound of the p99, e.g. 5ms.")
@_under_load(
    "--ttft-bound", metavar="TIME", help="server, language models: bound of TTFT's p99, e.g. 2s."
)
@_under_load(
    "--tpot-bound", metavar="TIME", help="server, language models: bound of TPOT's p99, e.g. 100ms."
)
@_under_load("--bounds", metavar="NAME", help=f"Both by name, as in MLPerf: {PRESETS[0].name}, ...")
@_under_load(
    "--driver",
    type=click.Choice(["bench", "loadgen"]),
    help="bench (default), or loadgen: MLPerf's LoadGen (the extra mlperf).",
)
@_under_load(
    "--rate",
    metavar="RATE",
    type=FiniteRange(min=0, min_open=True),
    help="LoadGen server: queries/s.",
)
@_under_load(
    "--loadgen",
    multiple=True,
    callback=read_settings,
    metavar="KEY=VALUE",
    help="A LoadGen setting, as in its user.conf, e.g. min_duration=60000.",
)
@meter_options(_meter)
@_stored("--results", type=click.Path(path_type=Path), help="Folder of runs; default results/runs.")
@_stored("--label", metavar="NAME", default="", callback=read_name, help="What to call this run.")
@_stored("--resume", "resumed", type=RUN, metavar="RUN", help="Resume a run, by path or label.")
@_stored("--retry-failed", is_flag=True, help="--resume: try failed cells again.")
@_stored(
    "--allow",
    multiple=True,
    type=click.Choice(["machine", "versions", "model", "plan"]),
    help="--resume despite this change; it is recorded.",
)
@_output("--dry-run", is_flag=True, help="Print the plan and stop.")
@_output("--quiet", is_flag=True, help="No progress.")
@_output("--json", "as_json", is_flag=True, help="Records as JSON on standard output.")
@output_options
def command(
    what: tuple[str, ...],
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

    \b
    bench run                          the default suite, on all targets
    bench run model.onnx checkpoint/   ONNX files, checkpoints, GGUF files, cards
    bench run fashion-student -t torch:cpu,openvino:cpu   an installed model
    bench run net.py:make --input 1x3x64x64    a PyTorch module
    bench run suite.toml               a suite; flags and models override it

    A cell is one model in one precision on one target, in one scenario at one batch. Each process
    that measures it is an invocation.
    """
    from bench.measure.prepare import prepare  # numpy: start-up
    from bench.measure.run import resume, start
    from bench.present.progress import choose_listener

    outputs = {name: flags.pop(name) for name in output_names()}
    flags["accuracy"] = False if no_accuracy else None
    flags = {key: value for key, value in flags.items() if _given(value)}
    if "rate" in flags:
        flags["loadgen"] = {**flags.get("loadgen", {}), "target_qps": flags.pop("rate")}
    if resumed is None and (retry_failed or allow):
        raise SpecError("--retry-failed and --allow need --resume.")
    if resumed is not None and label:
        raise SpecError("--label: a resumed run keeps its label. Leave out --label.")
    given = sort_given(what)
    if given.models:
        flags["models"] = tuple(dict.fromkeys((*given.models, *flags.get("models", ()))))
    if resumed is not None:
        _refuse_another_suite(given.suite, preset, flags)
        (resumed,) = named([resumed])
    plan_suite = _asked(given.suite, resumed, preset, flags)
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
        _print_plan(prepared, as_json=as_json)
        return 0
    _print_outcome(outcome, as_json=as_json, quiet=quiet, outputs=outputs)
    if outcome.interrupted:
        return _INTERRUPTED
    return 1 if outcome.failed else 0


def _refuse_another_suite(path: Path | None, preset: str | None, flags: dict[str, Any]) -> None:
    from bench.spec import flag_of  # pydantic: start-up

    given = [*([f"--{preset}"] if preset else []), *map(flag_of, flags)]
    if path is not None or given:
        raise SpecError(
            "--resume keeps the run's own suite; leave out the suite and the flags "
            f"that change it ({', '.join(given) or path})."
        )


def _asked(
    path: Path | None, resumed: Path | None, preset: str | None, flags: dict[str, Any]
) -> Suite:
    """The suite. Raises with what is wrong with the models and the targets too, which otherwise is
    found after it."""
    try:
        return _suite(path, resumed, preset, flags)
    except SpecError:
        from bench.discover import backend_entry_points  # start-up: errors alone
        from bench.measure.models import find_models
        from bench.runtimes.targets import requested_backends

        models, targets = flags.get("models", ()), flags.get("targets", ())
        asked: tuple[Callable[[], object], ...] = (
            lambda: _suite(path, resumed, preset, flags),
            lambda: find_models(models),
            lambda: requested_backends(targets, list(backend_entry_points())),
        )
        every(lambda ask: ask(), asked)
        raise


def _suite(
    path: Path | None, resumed: Path | None, preset: str | None, flags: dict[str, Any]
) -> Suite:
    """The suite to run: a resumed run's own, or a file's (or the default) with a preset over it,
    and flags over both."""
    from bench.spec import asked_suite  # numpy: start-up
    from bench.store.files import is_tune, resuming
    from bench.store.run import read_run

    if resumed is not None:
        if is_tune(resumed):
            raise SpecError(f"{resumed} is a tuning run: resume it with `{resuming(resumed)}`.")
        header = read_run(resumed).header
        return header.suite.model_copy(update={"models": header.models})
    return asked_suite(path, preset, flags)


def _given(value: object) -> bool:
    return value not in (None, (), {})


def _print_plan(prepared: Prepared, *, as_json: bool) -> None:
    plan = prepared.plan
    if as_json:
        cells = [{"id": p.cell.id, **p.cell.model_dump(mode="json")} for p in plan.cells]
        print_json(cells)
        return
    for planned in plan.cells:
        refused = f"  (will fail: {planned.refused})" if planned.refused else ""
        click.echo(printable(f"{planned.cell.id}  {planned.cell.label}{refused}"))
    click.echo(f"{len(plan.cells)} cells; {plan.suite.ending}")
    if plan.suite.energy:
        for words in _energy_in_words(prepared):
            click.echo(words)


def _energy_in_words(prepared: Prepared) -> list[str]:
    """What windows of energy will take."""
    from bench.measure.measuring import forecaster_of  # numpy: start-up
    from bench.present.progress import seconds_in_words

    ids = {planned.cell.id for planned in prepared.plan.cells}
    forecaster = forecaster_of(prepared, ids, ids)
    if not forecaster.energy.cells:
        return ["energy: no meter can be read here, so there will be none."]
    cells = counted(forecaster.energy.cells, "cell")
    takes = seconds_in_words(forecaster.to_meter_s())
    words = f"energy of {cells}: {forecaster.rounds()} rounds of windows, {takes}."
    return [words, *forecaster.too_short()]


def _print_outcome(
    outcome: Outcome, *, as_json: bool, quiet: bool, outputs: dict[str, Any]
) -> None:
    from bench.present.layout import wrap  # rich: start-up
    from bench.store.run import read_run

    stored = read_run(outcome.path)
    print_run(stored, as_json=as_json)
    write_outputs(outputs, stored)
    if as_json:
        return
    account = outcome.account
    if account.total_s >= _LONG_S:
        click.echo(wrap(account.told(), _WIDTH, indent=2), err=True)
    if outcome.interrupted:
        interrupted(f"bench run --resume {outcome.path}")
    elif not quiet:
        hint("\n".join(_next(stored)))


def _next(stored: StoredRun) -> list[str]:
    """The commands that somebody who has read the tables wants next."""
    commands = {"report": "as one page"}
    if len({cell.model.name for cell in stored.header.cells}) > 1:
        commands["show --deal"] = "what to pick"
    commands["show"] = "again"
    lines = [(f"bench {name} {stored.path}", words) for name, words in commands.items()]
    widest = max(len(line) for line, _ in lines)
    return ["", *(f"{line:<{widest}}  # {words}" for line, words in lines)]
