"""``bench compare --base REV [--head REV]``: measure two git revisions in turn and judge them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands import gate, run
from bench.commands.chosen import default_results
from bench.commands.flags import (
    METERING,
    given_flags,
    output_names,
    output_options,
    write_outputs,
)
from bench.commands.given import sort_given
from bench.commands.output import print_drawing, print_json, warn
from bench.folders import cache_folder

if TYPE_CHECKING:
    from bench.judge.finding import Limits
    from bench.spec import Suite
    from bench.store.run import StoredRun
    from bench.trials.revisions.judged import Judged
    from bench.trials.revisions.models import Pairs
    from bench.trials.revisions.repository import Revision

_INTERRUPTED = 130
#: Of `bench run`: what is measured, and for how long. The rest doesn't fit two revisions.
_OF_A_RUN = (
    "models",
    "targets",
    "variants",
    "scenarios",
    "latency_bound",
    "batch",
    "shapes",
    "batch_axis",
    "inputs",
    "threads",
    "lane",
    "preset",
    "precision",
    "max_time_s",
    "min_invocations",
    "max_invocations",
    "cell_timeout_s",
    "seed",
    "allow_fallback",
    "no_accuracy",
    "energy",
    *METERING,
    "results",
    "quiet",
)
#: Of `bench gate`: the limits, and what an open judgement counts as.
_OF_A_GATE = (*gate.LIMITS, "inconclusive")


def revision_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those of `bench run` and `bench gate` that two revisions are measured and judged with."""
    command = output_options(command)
    for owner, names in ((gate.command, _OF_A_GATE), (run.command, _OF_A_RUN)):
        for option in reversed([p for p in owner.params if p.name in names]):
            command = _with(option)(command)
    return command


def _with(option: click.Parameter) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same option on another command, as `click.option` keeps them until it is made."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        kept: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
        kept.append(option)
        return function

    return decorate


def refuse_without_base(flags: Mapping[str, Any]) -> None:
    """Raise where a flag that measures or judges was given, and no revision to do it with."""
    context = click.get_current_context()
    given: dict[str, list[str]] = {}  # several flags may set one value, as --quick does
    for param in context.command.params:
        if param.name in flags and _was_given(context, param.name or ""):
            given.setdefault(param.name or "", []).append(param.opts[0])
    if given:
        shown = ", ".join("/".join(options) for options in given.values())
        raise click.UsageError(f"{shown}: only with --base REV, which measures.")


def _was_given(context: click.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source is not click.core.ParameterSource.DEFAULT


def compare_revisions(
    runs: Sequence[Path],
    base: str,
    head: str | None,
    allow: tuple[str, ...],
    margin: float,
    confidence: float,
    flags: dict[str, Any],
    *,
    as_json: bool,
) -> int:
    """Measure, print and judge; the exit code is that of `bench gate`."""
    from bench.judge.differences import check_allowed_kinds  # numpy: start-up
    from bench.trials.revisions import repository
    from bench.trials.revisions.judged import judged, nothing_measured, nothing_to_compare

    check_allowed_kinds(allow)
    top = repository.repository(Path.cwd())
    limits = gate.limits_of(flags, against_baseline=True)
    inconclusive = gate.counts_as(flags["inconclusive"])
    suite = suite_of(runs, flags)
    if not suite.energy:
        _refuse_limits_on_energy()
    certificates = gate.read_certificates(flags["certificates"], allow)
    with tempfile.TemporaryDirectory(prefix="bench-revisions-") as folder:
        first = repository.checked_out(top, base, Path(folder) / "base")
        second = (
            repository.working_tree(top)
            if head is None
            else repository.checked_out(top, head, Path(folder) / "head")
        )
        first, second = repository.told_apart(first, second)
        try:
            stored = _measured(suite, top, first, second, limits, allow, flags)
            if stored is None:
                return _INTERRUPTED
            found = judged(stored, first, second, limits, allow, margin, confidence, certificates)
        except _AllNew as error:
            stored = nothing_measured(suite)
            found = nothing_to_compare(limits, confidence, str(error))
    judgement = replace(found.judgement, inconclusive=inconclusive)
    found = replace(found, judgement=judgement)
    outputs = {name: flags[name] for name in output_names()}
    write_outputs(outputs, judgement.run or stored, judgement)
    _print(found, first, second, as_json=as_json)
    return judgement.exit_code


class _AllNew(Exception):
    """No model is there in both revisions, and no limit is about one alone."""


def _refuse_limits_on_energy() -> None:
    """Raise where one was given; unlike a stored run, nothing but this measures it."""
    given = given_flags(click.get_current_context())
    flags = [given[name] for name in ("max_energy_growth", "max_energy_j") if name in given]
    if flags:
        raise click.UsageError(f"{', '.join(flags)}: energy is not measured. Add --energy.")


def _measured(
    suite: Suite,
    top: Path,
    base: Revision,
    head: Revision,
    limits: Limits,
    allow: tuple[str, ...],
    flags: dict[str, Any],
) -> StoredRun | None:
    """One run of both; None where it was interrupted."""
    from bench.measure.prepare import prepare  # numpy: start-up
    from bench.measure.run import header_of, start
    from bench.present.progress import choose_listener
    from bench.store.run import read_run
    from bench.trials.revisions.judged import check_comparable
    from bench.trials.revisions.models import models_of

    pairs = models_of(suite.models, top, Path.cwd(), base, head, suite.inputs)
    _refuse_nothing_to_judge(pairs, limits)
    named = tuple(one.card.name for one in pairs.models)
    suite = suite.model_copy(update={"models": named})
    with closing(choose_listener(quiet=flags["quiet"])) as listener:
        for note in pairs.notes:
            listener.note(note)
        with prepare(suite, listener, cache_folder(), lambda _: pairs.models) as prepared:
            check_comparable(header_of(prepared), base, head, allow)
            results = flags["results"] or default_results()
            label = f"{base.name} / {head.name}"
            outcome = start(prepared, results, listener, label=label)
    if outcome.interrupted:
        warn(f"interrupted: nothing is compared. {outcome.path} has what was measured.")
        return None
    return read_run(outcome.path)


def _refuse_nothing_to_judge(pairs: Pairs, limits: Limits) -> None:
    if not pairs.both and not limits.alone:
        raise _AllNew(
            "every model is new, so there is nothing to compare: `bench run` measures them. "
            + " ".join(pairs.notes)
        )


def suite_of(runs: Sequence[Path], flags: Mapping[str, Any]) -> Suite:
    """The suite and the models of ``runs``, which stand where runs do without --base (or the
    default suite, or none where models are named), under the flags. Named models are measured until
    they are precise: how two revisions differ is asked, not an order."""
    from bench.spec import asked_suite  # numpy: start-up

    what = sort_given([str(run) for run in runs])
    flags = {**flags, "models": tuple(dict.fromkeys((*what.models, *flags["models"])))}
    given = {name: flags[name] for name in _OF_A_RUN if name not in ("results", "quiet", "preset")}
    given["accuracy"] = False if given.pop("no_accuracy") else None
    given = {name: value for name, value in given.items() if value not in (None, (), {})}
    return asked_suite(what.suite, flags["preset"], given, named={})


def _print(found: Judged, base: Revision, head: Revision, *, as_json: bool) -> None:
    from bench.present.compare import report_json, report_text  # numpy: start-up
    from bench.present.gate import gate_json, gate_text

    for warning in found.judgement.warnings:
        warn(warning)
    if as_json:
        print_json(
            {
                "base": {"name": base.name, "commit": base.commit or None},
                "head": {"name": head.name, "commit": head.commit or None},
                "unchanged": list(found.unchanged),
                "comparison": report_json(found.report) if found.report else None,
                "judgement": gate_json(found.judgement),
            }
        )
        return
    if found.report is not None:
        report = found.report
        print_drawing(lambda width: report_text(report, width))
        click.echo()
    print_drawing(lambda width: gate_text(found.judgement, width))
