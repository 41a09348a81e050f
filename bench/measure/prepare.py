"""Making a run ready: models exported, targets probed, cells planned."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import guest
from bench.arrays import Array
from bench.cards.query import batch_axis_of, make_query
from bench.cards.ready import STATIC_CACHE, Loaded, card_forms, load
from bench.discover import backend_entry_points
from bench.errors import every
from bench.machine.memory import spare_bytes
from bench.measure.canary import CANARY_RUNTIME
from bench.measure.energy.passes import check_wall
from bench.measure.language import steps
from bench.measure.listener import Listener
from bench.measure.models import Named, find_models, made_ready
from bench.measure.pace.account import Account
from bench.measure.plan import Plan, make_plan
from bench.runtimes.declarations import references_for
from bench.runtimes.processes import Launcher, launcher
from bench.runtimes.targets import (
    BackendReport,
    Choice,
    backends_here,
    choose_targets,
    discover_for,
    find_runtime,
    requested_backends,
)
from bench.scenarios import find_scenario
from bench.spec import Suite
from bench.store import columnar


@dataclass(frozen=True)
class Prepared:
    """A plan, and the processes and facts that carrying it out needs."""

    plan: Plan
    launcher: Launcher
    reports: dict[str, BackendReport]
    choices: list[Choice]
    account: Account


@contextmanager
def prepare(
    suite: Suite,
    listener: Listener,
    cache: Path,
    find: Callable[[Suite], Sequence[Named]] | None = None,
) -> Iterator[Prepared]:
    """Models exported, targets probed, cells planned; nothing measured or written to results.

    ``find`` gives the models in place of those that the suite names.

    Raises `SpecError` for what is asked for wrongly, and where no model can be measured.
    """
    account = Account()
    for doubt in suite.doubts():
        listener.note(doubt)
    if suite.energy:
        check_wall(suite)
    with (
        tempfile.TemporaryDirectory(prefix="bench-logs-") as folder,
        launcher(Path(folder), suite.cell_timeout_s) as processes,
    ):
        named = _models(suite, find)
        listener.phase("looking for targets")
        needed = references_for(card_forms([one.card for one in named]))
        threads = suite.threads or 1
        # Slow to import, and the runtimes are being imported by other processes meanwhile.
        _import_ahead(backends_here(suite.targets, needed), processes, threads)
        reports = discover_for(suite.targets, needed, processes, threads)
        choices = choose_targets(suite.targets, reports)
        processes.prepare(CANARY_RUNTIME, 1)  # the first group needs it, and models take a while
        models = load_models(suite, named, choices, cache, listener.phase)
        for model in models:
            notes = model.dataset.notes if model.dataset is not None else ()
            made = (words for form in model.variants.values() for words in form.notes)
            for words in (*model.doubts, *notes, *made):
                listener.note(f"{model.card.name}: {words}.")
        for model in models:
            for words in steps.notes(model):
                listener.note(f"{model.card.name}: {words}.")
        for where, what in guest.changes().items():
            listener.note(f"{where} sets {', '.join(what)}, which bench ignores.")
        plan = make_plan(suite, models, choices)
        for words in (*plan.left_out, *plan.assumed):
            listener.note(words)
        account.started_up()
        yield Prepared(plan, processes, reports, choices, account)


def _models(suite: Suite, find: Callable[[Suite], Sequence[Named]] | None) -> Sequence[Named]:
    """Those that are asked for. Raises with what is wrong with the targets, too."""
    asked: tuple[Callable[[], Sequence[Any]], ...] = (
        lambda: find(suite) if find else find_models(suite.models, suite.inputs),
        lambda: requested_backends(suite.targets, list(backend_entry_points())),
    )
    return every(lambda ask: ask(), asked)[0]


def load_models(
    suite: Suite,
    named: Sequence[Named],
    choices: Sequence[Choice],
    cache: Path,
    say: Callable[[str], None],
) -> list[Loaded]:
    """The models of a suite, in the forms that the targets need; ``say`` is told what takes
    time."""
    ready = partial(
        load,
        cache=cache,
        say=say,
        variants=suite.variants,
        forms=needed_forms(choices) | static_forms(suite, choices),
        guess=partial(_made_up, suite),
        spare_bytes=spare_bytes(),
    )
    return [made_ready(one, ready) for one in named]


def _made_up(suite: Suite, model: Loaded, number: int) -> Mapping[str, Array]:
    """Inputs like those that are timed, of other values."""
    batch_axis = batch_axis_of(model, suite.batch_axis, suite.sizes_of_batches)
    query = make_query(model, batch_axis, 1, suite.shapes, suite.seed + number, spare_bytes())
    if query.refused is not None:
        raise query.refused
    return query.feeds


def needed_forms(choices: Sequence[Choice]) -> set[str]:
    """In which forms the models are needed for the targets that are present."""
    present = (choice.runtime for choice in choices if choice.unavailable is None)
    return {form for runtime in present if runtime is not None for form in runtime.forms}


def static_forms(suite: Suite, choices: Sequence[Choice]) -> set[str]:
    """What targets of fixed shapes need beside: whole texts, where they are asked for."""
    texts = any(find_scenario(name).counts == "text" for name in suite.scenarios)
    static = any(choice.unavailable is None and choice.static_shapes for choice in choices)
    return {STATIC_CACHE} if texts and static else set()


def _import_ahead(backends: Sequence[str], processes: Launcher, threads: int) -> None:
    """Start the runtimes' processes, then import what writing results needs."""
    for name in backends:
        with contextlib.suppress(Exception):  # probing will tell what is wrong
            processes.prepare(find_runtime(name), threads)
    columnar.make_ready()
