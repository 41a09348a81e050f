"""A run from beginning to end: models and targets made ready, cells measured, records written."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from bench import __version__, config
from bench.cards.catalog import wherever
from bench.errors import BenchError
from bench.machine.commit import commit_of
from bench.machine.facts import machine_facts
from bench.machine.open_files import raised_limit
from bench.measure.listener import Listener
from bench.measure.measuring import Measuring, OpenRun, Outcome, now
from bench.measure.prepare import Prepared
from bench.measure.resuming import changes, refuse
from bench.record.header import RunHeader
from bench.record.resumption import Resumption
from bench.runtimes.declarations import versioned_distributions
from bench.store.run import StoredRun
from bench.store.write import RunStore, resume_run

#: Makes what measures the cells of a run.
Measurer = Callable[[OpenRun], Measuring]


def start(
    prepared: Prepared,
    results: Path,
    listener: Listener,
    measurer: Measurer = Measuring,
    *,
    label: str = "",
    machine_name: str = "",
    command: str = "",
) -> Outcome:
    """Carry out a plan in a new run directory.

    ``label`` is what the run is called; ``machine_name`` what the machine is called in place of
    what the configuration says; ``command`` what asked for it, in place of the command line.
    """
    named = {"label": label, "machine_name": machine_name or config.machine_name()}
    named |= {"command": command} if command else {}
    header = header_of(prepared).model_copy(update=named)
    return carry_out(prepared, RunStore.create(results, header), None, listener, measurer)


def header_of(prepared: Prepared) -> RunHeader:
    """What is asked for, where, and what will be measured."""
    plan = prepared.plan
    return RunHeader(
        bench_version=__version__,
        created_at=now(),
        command=shlex.join(["bench", *sys.argv[1:]]),
        suite=plan.suite,
        targets=tuple(str(choice.target) for choice in prepared.choices),
        models=tuple(wherever(text) for text in plan.suite.models),
        facts=machine_facts(versioned_distributions(), commit_of(Path.cwd())).as_json(),
        cells=tuple(planned.cell for planned in plan.cells),
        environments=_environments(prepared),
        keeps_raw=True,
    )


def _environments(prepared: Prepared) -> dict[str, dict[str, str]]:
    """The versions of all that is installed in each environment that the plan uses."""
    found: dict[str, dict[str, str]] = {}
    for planned in prepared.plan.cells:
        runtime = planned.choice.runtime
        if runtime is None or planned.choice.device is None or not runtime.environment_name:
            continue
        if runtime.environment_name not in found:
            with contextlib.suppress(BenchError):  # what is wrong there its cells will tell
                worker = prepared.launcher.worker(runtime, planned.cell.threads)
                try:
                    found[runtime.environment_name] = dict(worker.packages())
                finally:
                    worker.end()
    return found


def resume(
    prepared: Prepared,
    path: Path,
    listener: Listener,
    *,
    allowed: Collection[str] | None = (),
    retries: bool = False,
    measurer: Measurer = Measuring,
) -> Outcome:
    """Go on where a run stopped: cells with a record are not measured again, failed ones only where
    that is asked for.

    Raises `SpecError` where something changed since it began that isn't among ``allowed``
    (`bench.record.resumption.CHANGES`; None where nothing can be allowed); what is allowed is
    recorded.
    """
    store, stored = resume_run(path)
    try:
        now_here = header_of(prepared)
        found = changes(stored.header, now_here)
        refuse(found, allowed, stored.path)
        failed = [r.cell_id for r in stored.records if retries and r.status == "failed"]
        store.append_resumption(
            Resumption(
                resumed_at=now(),
                command=now_here.command,
                bench_version=__version__,
                changes=tuple(found),
                retried=tuple(failed),
            )
        )
    except BaseException:
        store.close()
        raise
    kept = [record for record in stored.records if record.cell_id not in failed]
    return carry_out(prepared, store, replace(stored, records=kept), listener, measurer)


def carry_out(
    prepared: Prepared,
    store: RunStore,
    stored: StoredRun | None,
    listener: Listener,
    measurer: Measurer = Measuring,
    *,
    keeps_partial: bool = True,
) -> Outcome:
    """Measure what a plan has and a run has not; the store is closed. ``keeps_partial``: after an
    interrupt the cells that were being measured have records of what was measured of them."""
    finished = [record for record in stored.records if not record.partial] if stored else []
    outcome = Outcome(store.path, prepared.account, finished)
    # From here on the workers' output stays with the run.
    prepared.launcher.logs = store.logs
    measuring = measurer(OpenRun(prepared, store, stored, listener, outcome))
    try:
        # One file for each thread of each worker is watched.
        with raised_limit(), measuring.cpus:
            measuring.run()
    except KeyboardInterrupt:
        # What was measured is on the disk already; the workers end with the launcher.
        outcome.interrupted = True
        if keeps_partial:  # a second interrupt ends this, and the command
            measuring.keep_partial()
    finally:
        listener.close()
        store.close()
    ended = listener.run_interrupted if outcome.interrupted else listener.run_finished
    ended(store.path)
    return outcome
