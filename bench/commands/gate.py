"""``bench gate RUN``: pass, fail or inconclusive, for CI."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.baseline import save_baseline
from bench.commands.chosen import RUN, latest_run, named_or_none, run_argument
from bench.commands.flags import (
    POINTS,
    SHARE_OF_TRUST,
    as_fraction,
    given_flags,
    output_names,
    output_options,
    read_list,
    write_outputs,
)
from bench.commands.output import print_drawing, print_json, warn
from bench.defaults import CONFIDENCE
from bench.errors import SpecError

if TYPE_CHECKING:
    from bench.judge.certified import Held
    from bench.judge.compare import Report
    from bench.judge.finding import Decision, Limits
    from bench.judge.gate import Judgement
    from bench.store.run import StoredRun

#: Of latency, where there is a baseline and no other limit is given.
DEFAULT_SLOWDOWN = 0.05
#: Above this a "share" is most likely a percentage that lacks its sign.
_LARGEST_GROWTH = 100.0
_MOST_JOULES = 1e12
#: Limits on what changed since a baseline.
_RELATIVE = ("max_slowdown", "max_accuracy_loss", "max_memory_growth", "max_energy_growth")
#: Every limit, by its option.
LIMITS = (
    *_RELATIVE,
    "min_accuracy",
    "worst_score",
    "max_energy_j",
    "certificates",
    "allow_missing",
)


def _number(text: str) -> tuple[float, bool]:
    """The number, and whether it is a percentage."""
    digits = text.strip().removesuffix("%")
    try:
        number = float(digits)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):  # nothing is beyond NaN, so such a limit would always be met
        raise click.BadParameter(f"{text!r} is not a number or a percentage, like 5%.")
    return number, text.strip().endswith("%")


def _growth(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """A share from 0 up, ``0.05`` or ``5%``."""
    if text is None:
        return None
    number, is_percent = _number(text)
    share = number / 100 if is_percent else number
    if not 0 <= share <= _LARGEST_GROWTH:
        raise click.BadParameter(f"{text} is not a share of 0 or more, like 5% or 0.05.")
    if not is_percent and share >= 1:
        raise click.BadParameter(f"{text} is {100 * share:g}%: write the percent sign, {text}%.")
    return share


def _joules(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """``2.5mJ`` in J."""
    if text is None:
        return None
    scales = {"nJ": 1e-9, "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3}
    number = text.rstrip("nuµmkJ ")
    try:
        value = float(number) * scales[text[len(number) :].strip()]
    except (ValueError, KeyError) as error:
        raise click.BadParameter(f"{text!r} is not an energy with its unit, like 2.5mJ.") from error
    if not 0 < value < _MOST_JOULES:
        raise click.BadParameter(f"{text} is not above 0 and below {_MOST_JOULES:g} J.")
    return value


def _least(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    """``90%`` for every model, ``NAME=90%`` for one."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        number, is_percent = _number(value)
        share = number / 100 if is_percent else number
        if not 0 <= share <= 1:
            raise click.BadParameter(f"{text}: an accuracy must be from 0 to 1 (100%), like 90%.")
        found[name] = share
    return found


def _worst(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, float]:
    """``12.5`` for every model that isn't scored by an accuracy, ``NAME=12.5`` for one."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        number, is_percent = _number(value)
        found[name] = number / 100 if is_percent else number
    return found


def limits_of(flags: Mapping[str, Any], *, against_baseline: bool) -> Limits:
    """The limits that the options of `LIMITS` set."""
    from bench.judge.finding import Limits  # numpy: start-up

    given = {name: flags[name] for name in LIMITS}
    if against_baseline and given["max_slowdown"] is None:
        given["max_slowdown"] = DEFAULT_SLOWDOWN
    return Limits(**{**given, "certificates": tuple(map(str, given["certificates"]))})


def counts_as(inconclusive: str) -> Decision:
    """What ``--inconclusive`` makes of a judgement that decides nothing."""
    from bench.judge.finding import Decision  # numpy: start-up

    return Decision.INCONCLUSIVE if inconclusive == "report" else Decision(inconclusive)


@click.command(name="gate")
@run_argument(latest=False)
@click.option(
    "--baseline",
    type=RUN,
    metavar="RUN_OR_FILE",
    help="A run, or a file that --save wrote.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write RUN as one file, the --baseline of later runs, and judge nothing.",
)
@click.option(
    "--max-slowdown",
    callback=_growth,
    metavar="SHARE",
    help="Maximum slowdown against the baseline; default 5% if there is one.",
)
@click.option(
    "--min-accuracy",
    callback=_least,
    multiple=True,
    metavar="[MODEL=]SHARE",
    help="Minimum accuracy of every model, or of one.",
)
@click.option(
    "--worst-score",
    callback=_worst,
    multiple=True,
    metavar="[MODEL=]VALUE",
    help="Worst value of a metric other than accuracy, like perplexity.",
)
@click.option(
    "--max-accuracy-loss",
    type=POINTS,
    callback=as_fraction,
    help="Maximum loss of accuracy, in points; for another metric, in its unit.",
)
@click.option(
    "--max-memory-growth",
    callback=_growth,
    metavar="SHARE",
    help="Maximum growth of peak memory.",
)
@click.option(
    "--max-energy-growth",
    callback=_growth,
    metavar="SHARE",
    help="Maximum growth of energy per sample.",
)
@click.option(
    "--max-energy",
    "max_energy_j",
    callback=_joules,
    metavar="ENERGY",
    help="Maximum energy per sample, gross, like 2.5mJ.",
)
@click.option(
    "--certificate",
    "certificates",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A certificate that covers what was measured (repeatable).",
)
@click.option(
    "--inconclusive",
    type=click.Choice(["report", "fail", "pass"]),
    default="report",
    show_default=True,
    help="How to exit if inconclusive: 3, 1 or 0.",
)
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Allow the run to lack cells or devices of the baseline.",
)
@click.option(
    "--allow",
    multiple=True,
    callback=read_list,
    metavar="KIND,...",
    help="Compare despite this difference.",
)
@click.option(
    "--confidence",
    type=SHARE_OF_TRUST,
    default=f"{CONFIDENCE:.0%}",
    show_default=True,
    help="Joint confidence of all intervals.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the judgement as JSON.")
@output_options
@click.pass_context
def command(
    context: click.Context,
    /,
    run: Path | None,
    baseline: Path | None,
    save: Path | None,
    inconclusive: str,
    allow: tuple[str, ...],
    confidence: float,
    *,
    as_json: bool,
    **flags: Any,
) -> int:
    """Check the stored run RUN against a baseline, limits and certificates. Without RUN, check
    the certificates alone; without certificates too, the latest run.

    \b
    0  pass: every interval is within its limit
    1  fail: an interval is beyond its limit, or something crashed or is missing
    2  wrong usage, or nothing comparable
    3  inconclusive: more measurements are needed; the output says which
    """
    from bench.store.run import no_collection  # pydantic: start-up

    if save is not None:
        others = [flag for name, flag in given_flags(context).items() if name != "save"]
        if others:
            raise click.UsageError(f"--save judges nothing: leave out {', '.join(others)}.")
        save_baseline(run or latest_run(), save)
        return 0
    if baseline is None:
        _refuse_relative(given_flags(context))
    limits = limits_of(flags, against_baseline=baseline is not None)
    if run is None and (baseline is not None or limits.of_a_run or not limits.certificates):
        run = latest_run()
    with no_collection():
        given = read_certificates(flags["certificates"], allow)
        judgement = replace(
            _judged(run, baseline, limits, given, allow, confidence),
            inconclusive=counts_as(inconclusive),
        )
        outputs = {name: flags[name] for name in output_names()}
        write_outputs(outputs, judgement.run or _as_run(given), judgement)
        _print(judgement, as_json=as_json)
    return judgement.exit_code


def _refuse_relative(given: dict[str, str]) -> None:
    """Raise where a limit was given on what changed since a baseline, and no baseline."""
    flags = [flag for name, flag in given.items() if name in _RELATIVE]
    if flags:
        need = "needs" if len(flags) == 1 else "need"
        raise click.UsageError(f"{' and '.join(flags)} {need} --baseline RUN_OR_FILE.")


def _judged(
    run: Path | None,
    baseline: Path | None,
    limits: Limits,
    given: list[Held],
    allow: tuple[str, ...],
    confidence: float,
) -> Judgement:
    from bench.judge.certified import certified  # numpy: start-up
    from bench.judge.gate import Judgement, judge
    from bench.store.baseline import read_baseline
    from bench.store.run import read_results

    if run is None:
        return Judgement(None, None, limits, tuple(certified(None, given, allow)), confidence)
    stored = read_results(run)
    # One that is neither a path nor a label is for `read_baseline` to refuse.
    before = read_baseline(named_or_none(baseline) or baseline) if baseline is not None else None
    report = _compared(before, stored, allow, confidence) if before is not None else None
    return judge(stored, limits, report, confidence, certified(stored, given, allow))


def read_certificates(paths: tuple[Path, ...], allow: tuple[str, ...]) -> list[Held]:
    """Those at or below each path, derived again. Raises `SpecError` where there are none."""
    if not paths:
        return []
    from bench.judge.certified import held  # numpy: start-up
    from bench.judge.differences import check_allowed_kinds

    check_allowed_kinds(allow)
    return [one for path in paths for one in held(path)]


def _as_run(given: list[Held]) -> StoredRun:
    from bench.judge.certified import as_run  # numpy: start-up

    return as_run(given[0])


def _compared(
    before: StoredRun, now: StoredRun, allow: tuple[str, ...], confidence: float
) -> Report:
    """The run (B) against the baseline (A). Raises `SpecError` where they are not comparable."""
    from bench.judge.compare import compare  # numpy: start-up
    from bench.judge.differences import check_allowed_kinds, not_allowed
    from bench.judge.matching import match_runs

    check_allowed_kinds(allow)
    report = compare(match_runs(before, now), allow, confidence=confidence)
    refused = not_allowed(report.differences, allow)
    if refused:
        first = refused[0]
        kinds = list(dict.fromkeys(d.kind for d in refused))
        words = ", ".join(dict.fromkeys(d.words for d in refused))
        flags = " ".join(f"--allow {kind}" for kind in kinds)
        raise SpecError(
            f"the baseline {before.path} is not comparable with {now.path}: they differ in {words} "
            f"({first.values}). Measure a new baseline, or compare anyway: {flags}."
            + (" That compares the speed of a retrained model." if kinds == ["model"] else "")
        )
    return report


def _print(judgement: Judgement, *, as_json: bool) -> None:
    from bench.present.gate import gate_json, gate_text  # numpy: start-up
    from bench.store.run import remarks_of

    runs = [run for run in (judgement.baseline, judgement.run) if run is not None]
    for warning in (*remarks_of(runs), *judgement.warnings):
        warn(warning)
    if as_json:
        print_json(gate_json(judgement))
    else:
        print_drawing(lambda width: gate_text(judgement, width))
