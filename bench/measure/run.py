"""A run from beginning to end: models and targets made ready, cells measured, records written."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path

from bench import __version__
from bench.cards.catalog import wherever
from bench.errors import BenchError
from bench.machine.facts import machine_facts
from bench.measure.listener import Listener
from bench.measure.measuring import Measuring, Outcome, now
from bench.measure.prepare import Prepared
from bench.record.header import RunHeader
from bench.runtimes.declarations import versioned_distributions
from bench.store.run import StoredRun
from bench.store.write import RunStore, resume_run


def start(prepared: Prepared, results: Path, listener: Listener) -> Outcome:
    """Carry out a plan in a new run directory."""
    plan = prepared.plan
    header = RunHeader(
        bench_version=__version__,
        created_at=now(),
        command=shlex.join(["bench", *sys.argv[1:]]),
        suite=plan.suite,
        targets=tuple(str(choice.target) for choice in prepared.choices),
        models=tuple(wherever(text) for text in plan.suite.models),
        facts=machine_facts(versioned_distributions()).as_json(),
        cells=tuple(planned.cell for planned in plan.cells),
        environments=_environments(prepared),
        keeps_raw=True,
    )
    return _carry_out(prepared, RunStore.create(results, header), None, listener)


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
                packages = worker.packages()
                worker.end()
                found[runtime.environment_name] = dict(packages)
    return found


def resume(prepared: Prepared, path: Path, listener: Listener) -> Outcome:
    """Go on where a run stopped: cells with a record are not measured again."""
    store, stored = resume_run(path)
    return _carry_out(prepared, store, stored, listener)


def _carry_out(
    prepared: Prepared, store: RunStore, stored: StoredRun | None, listener: Listener
) -> Outcome:
    outcome = Outcome(store.path, prepared.account, list(stored.records) if stored else [])
    # From here on the workers' output stays with the run.
    prepared.launcher.logs = store.logs
    measuring = Measuring(prepared, store, stored, listener, outcome)
    try:
        with measuring.cpus:
            measuring.run()
    except KeyboardInterrupt:
        # What is measured is on the disk already; the workers end with the launcher.
        outcome.interrupted = True
    finally:
        listener.close()
        store.close()
    listener.run_finished(store.path)
    return outcome
