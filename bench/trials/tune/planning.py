"""From what is asked for to a run whose cells are the configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.backend import is_cpu
from bench.capabilities import Tunable, declaration
from bench.cards.query import batch_axis_of
from bench.cards.ready import Loaded
from bench.cards.tasks import find_task
from bench.discover import load_backend
from bench.errors import BenchError, SpecError
from bench.measure.plan import PlannedCell, make_plan
from bench.measure.prepare import Prepared
from bench.runtimes.targets import Choice, default_threads, parse_target
from bench.spec import Suite
from bench.trials.tune.joules import check_meters
from bench.trials.tune.kept import Asked, Entrant, Tune
from bench.trials.tune.measuring import Racers
from bench.trials.tune.objective import Objective
from bench.trials.tune.space import (
    BATCHES,
    MOST,
    STREAMS,
    Configuration,
    Space,
    configuration,
    counts_up_to,
)
from bench.variants import DEFAULT, VARIANTS

_STREAMS = "streams"


@dataclass(frozen=True)
class TunePlan:
    """A run to be carried out, and what it is to find out."""

    prepared: Prepared
    tune: Tune
    tunables: Mapping[str, Tunable]  #: all of this kind of device, those that the target names, too
    original: PlannedCell | None  #: what ``--within`` compares accuracies with
    notes: tuple[str, ...] = ()


def variants_for(target: str, named: Sequence[str], within: float | None) -> tuple[str, ...]:
    """Which forms of the model take part: those that are named; else all that the target runs where
    it is said how much less accurate they may be, and the model as it is alone where it isn't."""
    if named:
        return tuple(dict.fromkeys(named))
    if within is None:
        return (DEFAULT,)
    runs = declaration(load_backend(parse_target(target).backend)).variants
    return tuple(row.name for row in VARIANTS.built_in if row.name in runs)


def plan_tune(prepared: Prepared, asked: Asked, objective: Objective) -> TunePlan:
    """Raises `SpecError` where there is nothing to choose from, and what is wrong with the target
    or with the model as it is run by default."""
    base, choice = _default(prepared)
    suite = prepared.plan.suite
    _check_accuracy_is_known(base.model, asked)
    if objective.metered:
        check_meters(prepared, base, asked.max_time_s)
    tunables = _tunables(choice)
    space = _space(suite, base, choice, objective, tunables, asked.batches)
    _check_one_stream(f"-t {choice.target}", space.default, objective)
    every = space.configurations()
    configurations = every[:MOST]
    against = {_against(text, space.default, objective): text for text in asked.against}
    if len(configurations) < 2 and not against:
        raise SpecError(
            f"{choice.target}: there is nothing to tune: it has no options, and threads, batch "
            "and variants leave one configuration."
        )
    planned = _plan(suite, base.model, choice, [*configurations, *against])
    original = _original(suite, base, choice, space.default) if asked.within is not None else None
    refused = {
        one: found.refused
        for one, found in planned.items()
        if found.refused is not None and one != space.default
    }
    for one in against:
        if one in refused:
            raise refused[one] or SpecError("it can't be run")
    _refuse_doubles(against, planned, space.default)
    there = [one for one in dict.fromkeys([*configurations, *against]) if one not in refused]
    there.sort(key=lambda one: one.complexity(space.default))
    cells = {found.cell.id: found for one, found in planned.items() if one not in refused}
    tune = Tune(
        asked=asked,
        entrants=tuple(_entrant(one, planned, space) for one in there),
        against=tuple(_entrant(one, planned, space) for one in against),
        beyond=len(every) - len(configurations),
    )
    plan = Racers(suite, tuple(cells.values()))
    notes = [*_refusals(refused), *_beyond(tune)]
    choices = {str(found.choice.target): found.choice for found in cells.values()}
    made = replace(prepared, plan=plan, choices=list(choices.values()))
    return TunePlan(made, tune, tunables, original, tuple(notes))


def _default(prepared: Prepared) -> tuple[PlannedCell, Choice]:
    """What `bench run` would measure."""
    if len(prepared.choices) != 1:
        found = ", ".join(str(choice.target) for choice in prepared.choices)
        raise SpecError(f"one target is tuned at a time, but -t means {found}: name one.")
    (choice,) = prepared.choices
    cells = prepared.plan.cells
    if not cells:
        raise SpecError(
            "there is nothing to tune: a language model with a cache has no such scenario. "
            "`bench run` with decode and prefill, and --threads, tries single settings."
        )
    if cells[0].refused is not None:
        raise cells[0].refused
    if choice.device is not None and choice.device.simulated:
        raise SpecError(f"{choice.target} is simulated: its latency is meaningless for tuning.")
    return cells[0], choice


def _original(
    suite: Suite, base: PlannedCell, choice: Choice, default: Configuration
) -> PlannedCell:
    """The model as it is, whichever forms of it are raced. Raises `SpecError` where the target
    can't run it."""
    as_it_is = replace(default, variant=DEFAULT)
    found = _plan(suite, base.model, choice, [as_it_is])[as_it_is]
    if found.refused is not None:
        raise SpecError(
            f"--within compares accuracies with the model as it is ({DEFAULT}), which can't be "
            f"scored: {found.refused} Leave out --within, and name precisions with --variant."
        )
    return found


def _check_accuracy_is_known(model: Loaded, asked: Asked) -> None:
    if asked.within is None:
        return
    if model.dataset is None or not find_task(model.card.task).scored:
        raise SpecError(
            f"{model.card.name} has no labelled data, so --within can't be checked. Leave it "
            "out, or name a model with a data set."
        )


def _tunables(choice: Choice) -> dict[str, Tunable]:
    """What the backend declares for this kind of device."""
    kind = choice.target.device.partition(":")[0]
    declared = declaration(load_backend(choice.target.backend)).tunables
    return {name: one for name, one in declared.items() if not one.kinds or kind in one.kinds}


def _space(
    suite: Suite,
    base: PlannedCell,
    choice: Choice,
    objective: Objective,
    tunables: Mapping[str, Tunable],
    named: Sequence[int],
) -> Space:
    """What the target doesn't say already. ``named``: the batches that were asked for."""
    given = dict(choice.target.options)
    free = {name: one for name, one in tunables.items() if name not in given}
    on_cpu = is_cpu(choice.target.device)
    cores = max(default_threads(), base.cell.threads) if on_cpu else 0
    axis = batch_axis_of(base.model, suite.batch_axis, suite.sizes_of_batches)
    batches = [b for b in named or BATCHES if axis.samples(b) == b]
    # Queries of several streams are timed together, and a bound is on each one.
    streams = objective.loads and _STREAMS in free and objective.bound_ns is None
    return Space(
        Configuration(base.cell.threads, base.cell.batch, base.streams, base.cell.variant),
        cores,
        threads=counts_up_to(cores) if on_cpu and suite.threads is None else (),
        streams=(counts_up_to(cores) if cores else STREAMS) if streams else (),
        batches=tuple(batches) if objective.loads else (),
        variants=suite.variants,
        tunables=free,
    )


def _against(text: str, default: Configuration, objective: Objective) -> Configuration:
    """What ``--against`` names. Raises `SpecError`."""
    found = configuration(text, default)
    if found.batch != default.batch and not objective.loads:
        raise SpecError(
            f"--against {text}: batch only applies to --for throughput and energy; a query of "
            f"{objective.name} has one sample."
        )
    _check_one_stream(f"--against {text}", found, objective)
    return found


def _check_one_stream(asked: str, one: Configuration, objective: Objective) -> None:
    """A call of several streams is several queries of each, so it tells no query's latency."""
    if objective.bound_ns is not None and one.streams > 1:
        raise SpecError(
            f"{asked}: queries of several streams are timed together, so --latency-bound can't be "
            "checked. Leave out one of the two."
        )


def _refuse_doubles(
    against: Mapping[Configuration, str],
    planned: Mapping[Configuration, PlannedCell],
    default: Configuration,
) -> None:
    """A configuration with settings that change nothing would be another's measurements under a
    second name."""
    first: dict[str, Configuration] = {}
    for one, found in planned.items():
        same = first.setdefault(found.cell.id, one)
        if same != one and one in against:
            words = " ".join(same.departures(default)) or "the default"
            raise SpecError(
                f"--against {against[one]}: this measures the same as {words}. Leave it out, or "
                "name settings that change what is measured."
            )


def _plan(
    suite: Suite, model: Loaded, choice: Choice, configurations: Sequence[Configuration]
) -> dict[Configuration, PlannedCell]:
    """The cell of each, made as those of any run are."""
    found: dict[Configuration, PlannedCell] = {}
    loads = dict.fromkeys((one.threads, one.batch) for one in configurations)
    for threads, batch in loads:
        mine = [one for one in configurations if (one.threads, one.batch) == (threads, batch)]
        choices = {str(_choice(choice, one).target): _choice(choice, one) for one in mine}
        asked = {
            "threads": threads,
            "batch": (batch,),
            "variants": tuple(dict.fromkeys(one.variant for one in mine)),
        }
        plan = make_plan(suite.model_copy(update=asked), [model], list(choices.values()))
        cells = {(p.cell.variant, p.cell.target): p for p in plan.cells}
        for one in mine:
            found[one] = cells[one.variant, str(_choice(choice, one).target)]
    return {one: found[one] for one in configurations}


def _choice(choice: Choice, one: Configuration) -> Choice:
    options = {**dict(choice.target.options), **one.extra}
    return replace(
        choice, target=replace(choice.target, options=tuple(sorted(options.items()))), named=True
    )


def _entrant(
    one: Configuration, planned: Mapping[Configuration, PlannedCell], space: Space
) -> Entrant:
    return Entrant(cell_id=planned[one].cell.id, departures=one.departures(space.default))


def _refusals(refused: Mapping[Configuration, BenchError | None]) -> list[str]:
    """What can't be had, each reason once."""
    return [f"not raced: {why}" for why in dict.fromkeys(str(error) for error in refused.values())]


def _beyond(tune: Tune) -> list[str]:
    if not tune.beyond:
        return []
    return [
        f"there are {len(tune.entrants) + tune.beyond} configurations, and the {MOST} with the "
        "fewest departures from the default are raced. Fix --batch, --threads or options after "
        "the target's ? to leave fewer."
    ]
