"""What starting the workers of a generation side by side saves, old way against new in turn.

Run it by hand: ``python tests/benchmarks/starting.py [TARGET ...]``. The same cells are measured
with one worker at a time and with as many as there are cores, the same number of invocations each;
the runs alternate, and ratios of pairs are printed: of the time until the workers were ready, and
of the whole.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from bench.measure import measuring
from bench.measure.listener import QuietProgress
from bench.measure.pace.account import Account
from bench.measure.prepare import prepare
from bench.measure.run import start
from bench.runtimes.targets import default_threads
from bench.spec import make_suite

PAIRS = 5
INVOCATIONS = 4


def run(targets: list[str], at_once: int) -> Account:
    """Measure with so many workers that may start at once."""
    suite = make_suite(
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
    measuring.default_threads = lambda: at_once  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="bench-starting-") as folder:
        listener = QuietProgress()
        with prepare(suite, listener, Path(folder) / "cache") as prepared:
            return start(prepared, Path(folder), listener).account


def main() -> None:
    targets = sys.argv[1:] or ["onnxruntime:cpu", "openvino:cpu", "torch:cpu"]
    ready, whole = [], []
    for _ in range(PAIRS):
        old, new = run(targets, 1), run(targets, default_threads())
        ready.append(old.starting_s / new.starting_s)
        measured = [account.total_s - account.startup_s for account in (old, new)]
        whole.append(measured[0] / measured[1])
        print(
            f"starting {old.starting_s:.1f} s one at a time, {new.starting_s:.1f} s side by side; "
            f"measuring with it {measured[0]:.1f} and {measured[1]:.1f} s",
            flush=True,
        )
    print(f"{len(targets)} targets, 2 models, {default_threads()} at once:")
    for what, ratios in (("until workers are ready", ready), ("the whole", whole)):
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {what}: {middle:.2f}x as fast (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
