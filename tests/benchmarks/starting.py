"""What starting the workers of a generation side by side saves, old way against new in turn.

    python tests/benchmarks/starting.py                     # both, some minutes
    python tests/benchmarks/starting.py --quick             # the default run as `bench run --quick`
    python tests/benchmarks/starting.py --default-pairs 0 onnxruntime:cpu torch:cpu

Cells are measured with one worker that starts at a time, and with as many as there are cores, all
else equal: first a fixed number of invocations, then what `bench run` does by default. That ends
when the order of targets is settled or its time is up, so it may spend what it saves on more
invocations. The two ways take turns at being first. Ratios of pairs are printed, and the load of
the machine, without which they say little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench.folders import cache_folder
from bench.measure.listener import QuietProgress
from bench.measure.measuring import Measuring
from bench.measure.member import Context
from bench.measure.pace.budget import Allowance
from bench.measure.plan import PlannedCell
from bench.measure.prepare import prepare
from bench.measure.run import start
from bench.runtimes.targets import default_threads
from bench.spec import Suite, asked_suite, make_suite

TARGETS = ["onnxruntime:cpu", "openvino:cpu", "torch:cpu"]
INVOCATIONS = 4


@dataclass(frozen=True)
class Took:
    """What a run took: until workers were ready, measuring with that, and from its beginning."""

    starting_s: float
    measuring_s: float
    wall_s: float
    invocations: int


def same_invocations(targets: list[str]) -> Suite:
    """Cells of which each gets so many invocations, however long they take."""
    return make_suite(
        {
            "name": "starting",
            "models": ["fashion-teacher", "fashion-student"],
            "targets": targets,
            "scenarios": ["single-stream"],
            "accuracy": False,
            "min_invocations": INVOCATIONS,
            "max_invocations": INVOCATIONS,
        },
        "the benchmark",
    )


def default_run(targets: list[str], quick: bool) -> Suite:
    """What `bench run` measures, or `bench run --quick`; on these targets, or on all."""
    return asked_suite(None, "quick" if quick else None, {"targets": targets} if targets else {})


class OneAfterAnother(Measuring):
    """Measures as bench does, but that only one worker starts at a time."""

    def _context(self, planned: PlannedCell, allowance: Allowance | None = None) -> Context:
        return replace(super()._context(planned, allowance), at_once=1)


def run(suite: Suite, measurer: type[Measuring]) -> Took:
    """What it takes to measure."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-starting-") as folder:
        listener = QuietProgress()
        with prepare(suite, listener, cache_folder()) as prepared:
            outcome = start(prepared, Path(folder), listener, measurer)
            account = outcome.account
            measuring_s = account.total_s - account.startup_s  # its clock runs on
    return Took(
        account.starting_s,
        measuring_s,
        time.monotonic() - began_s,
        sum(len(record.invocations) for record in outcome.records),
    )


def fill_cache(suite: Suite) -> None:
    """Have models exported and compiled once before, else only the first run would do it."""
    fewest = {"goal": "precision", "min_invocations": 2, "max_invocations": 2, "max_time_s": 1.0}
    run(suite.model_copy(update={**fewest, "accuracy": False}), Measuring)


def compare(suite: Suite, pairs: int) -> list[tuple[Took, Took]]:
    """So many pairs of runs: one worker after another, and side by side."""
    fill_cache(suite)
    found = []
    for number in range(pairs):
        ways = [OneAfterAnother, Measuring]
        took = {way: run(suite, way) for way in (ways if number % 2 == 0 else ways[::-1])}
        old, new = (took[way] for way in ways)
        found.append((old, new))
        print(
            f"  one after another: {in_words(old)}\n"
            f"  side by side:      {in_words(new)}   load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    return found


def in_words(took: Took) -> str:
    return (
        f"{took.starting_s:5.1f} s to start workers, {took.measuring_s:5.1f} s to measure with it, "
        f"{took.wall_s:5.1f} s in all, {took.invocations} invocations"
    )


def report(title: str, suite: Suite, count: int) -> None:
    """Print what so many pairs of runs took, and the ratios."""
    if count:
        print(f"{title}:", flush=True)
        print_ratios(compare(suite, count))


def print_ratios(pairs: list[tuple[Took, Took]]) -> None:
    asked: dict[str, Callable[[Took], float]] = {
        "until workers are ready": lambda took: took.starting_s,
        "an invocation, starting": lambda took: took.starting_s / took.invocations,
        "measuring": lambda took: took.measuring_s,
        "the whole": lambda took: took.wall_s,
    }
    for what, of in asked.items():
        ratios = [of(old) / of(new) for old, new in pairs]
        spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""
        print(f"  {what}: {statistics.median(ratios):.2f}x as fast{spread}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", help="default: three, and all for the default run")
    parser.add_argument("--pairs", type=int, default=5, help="of the first comparison")
    parser.add_argument("--default-pairs", type=int, default=1, help="of the default run")
    parser.add_argument("--quick", action="store_true", help="the default run with --quick")
    given = parser.parse_args()
    print(f"{default_threads()} workers at once; load {os.getloadavg()[0]:.1f} before", flush=True)
    targets = given.targets or TARGETS
    title = f"{INVOCATIONS} invocations of 2 models on {', '.join(targets)}"
    report(title, same_invocations(targets), given.pairs)
    title = " ".join(["bench run", *["--quick"] * given.quick, *(f"-t {t}" for t in given.targets)])
    report(title, default_run(given.targets, given.quick), given.default_pairs)


if __name__ == "__main__":
    main()
