"""Start-up cost: CPU time of ``bench --help`` and others over that of ``python -c pass``.

Run it by hand: ``python tests/benchmarks/startup.py``. The commands take turns, so a noisy
machine hits all alike, and the median of the per-round ratios is printed. The aim is at most 4.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

ROUNDS = 15
BARE = ["-c", "pass"]
COMMANDS = {
    "bench --help": ["-m", "bench", "--help"],
    "bench --version": ["-m", "bench", "--version"],
    "bench model list": ["-m", "bench", "model", "list"],
    "bench doctor --backends": ["-m", "bench", "doctor", "--backends"],
}


def cpu_ms(arguments: list[str]) -> float:
    """CPU time, user and system, of one Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    bare: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        bare.append(cpu_ms(BARE))
        for name, arguments in COMMANDS.items():
            ratios[name].append(cpu_ms(arguments) / bare[-1])
    print(f"python -c pass: {statistics.median(bare):.1f} ms CPU, {ROUNDS} rounds")
    for name, found in ratios.items():
        quarter = statistics.quantiles(found, n=4)
        print(f"{name:<24} {quarter[1]:.2f}x (quartiles {quarter[0]:.2f} to {quarter[2]:.2f})")


if __name__ == "__main__":
    main()
