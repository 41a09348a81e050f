"""What learning how variance splits is worth: by simulation, and in whole runs on this machine."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from engine import Finding, measure, report
from intervals import MODEL, TARGETS, neighbour, stated

from bench.measure.pace.spending import ROUNDS, Plan, Spending
from bench.record.estimate import turns
from bench.record.result import Invocation
from bench.spec import QUICK
from bench.stats.nested.allocation import Asked, Costs, half_width, rounds_worth
from bench.stats.nested.components import error_by_blocks, estimate
from bench.stats.nested.pairing import Logs, log_ratio, pseudo_values
from bench.stats.spending import geometric_looks
from bench.stats.stopping import RankingRule, stopping_confidence

PRECISION, FEWEST, MOST, CONFIDENCE = 0.05, 3, 100, 0.95
RANKED_MOST = 30
SETTLED = 8  #: processes after which the simulation learns no more, for speed


@dataclass(frozen=True)
class Wandering:
    """Standard deviations of log latency between processes and between blocks, and the seconds
    that a process and a block cost."""

    name: str
    process: float
    block: float
    process_s: float
    block_s: float = 0.0125


#: Moment estimates from the raw `--quick` runs of one NVIDIA H200 (a machine with 16 virtual CPUs,
#: torch 2.11, ONNX Runtime 1.31, fashion-teacher, fashion-student and BERT-base at batch 1; 3 to 6
#: processes of 8 blocks), and from 40 processes of 48 blocks of fashion-teacher on ONNX Runtime on
#: a two-core CPU beside a neighbour that works and rests in turns.
CASES = (
    Wandering("H200, torch eager", 0.047, 0.204, 6.0),
    Wandering("H200, ONNX Runtime, large between processes", 0.170, 0.117, 1.75),
    Wandering("H200, ONNX Runtime, BERT-base", 0.032, 0.076, 1.75),
    Wandering("H200, graph replays", 0.002, 0.009, 6.0),
    Wandering("CPU, quiet", 0.020, 0.020, 0.35),
    Wandering("CPU, beside a neighbour", 0.072, 0.151, 0.35),
    Wandering("CPU, ratio beside a neighbour", 0.021, 0.172, 0.70, 0.025),
)


def blocks_of(case: Wandering, rounds: int, rng: np.random.Generator) -> Logs:
    """The log medians of one process's blocks; the long-run value is 0."""
    drawn: Logs = rng.normal(0, case.process) + rng.normal(0, case.block, rounds)
    return drawn


def one_more(
    case: Wandering,
    taken: list[Logs],
    asked: Callable[[list[Logs]], Asked],
    rng: np.random.Generator,
    *,
    learns: bool,
    level: float = 0.0,
) -> Logs:
    """The next process, with as many blocks as the engine would give it after those that it knows;
    of the first process it knows the first rounds."""
    costs = Costs(case.process_s, case.block_s, 0.0)
    if not learns:
        return level + blocks_of(case, ROUNDS, rng)
    if len(taken) > SETTLED:  # what is learned changes little then
        return level + blocks_of(case, len(taken[-1]), rng)
    if taken:
        return level + blocks_of(case, rounds_worth(estimate(taken), costs, asked(taken)), rng)
    first = level + blocks_of(case, 64, rng)
    seen = [first[:ROUNDS]]
    return first[: max(ROUNDS, rounds_worth(estimate(seen), costs, asked(seen)))]


def seconds_of(case: Wandering, taken: list[Logs]) -> float:
    return sum(case.process_s + len(blocks) * case.block_s for blocks in taken)


def until_precise(
    case: Wandering, rng: np.random.Generator, *, learns: bool
) -> tuple[bool, float, bool]:
    """Whether the interval holds the long-run value, the seconds until it was narrow enough, and
    whether it was."""
    looks = tuple(geometric_looks(FEWEST, MOST))
    asked = Asked(math.log1p(PRECISION), stopping_confidence(CONFIDENCE), looks)
    taken: list[Logs] = []
    while True:
        taken.append(one_more(case, taken, lambda _: asked, rng, learns=learns))
        if len(taken) < FEWEST:
            continue
        figures = np.exp([blocks.mean() for blocks in taken])
        found = stated(figures, FEWEST, PRECISION)
        narrow = found.relative_half_width <= PRECISION
        if learns:
            narrow = narrow and _by_blocks(taken, asked.confidence) <= asked.half_width
        if narrow or len(taken) == MOST:
            return found.contains(1.0), seconds_of(case, taken), narrow


def _by_blocks(taken: list[Logs], confidence: float) -> float:
    """The half-width that the blocks alone make, below which an interval is narrow by luck."""
    return half_width(error_by_blocks(taken) ** 2, len(taken), confidence)


def until_ranked(
    case: Wandering, gap: float, rng: np.random.Generator, *, learns: bool
) -> tuple[bool, bool, float]:
    """Whether two cells that differ by ``gap`` were told apart, whether the sign was right, and the
    seconds; the case is that of their ratio, whose rounds are put together as those of a pair
    are."""
    rule = RankingRule(2, CONFIDENCE, 0.02, FEWEST, RANKED_MOST)
    taken: list[Logs] = []

    def asked(known: list[Logs]) -> Asked:
        seen = abs(float(np.mean([blocks.mean() for blocks in known])))
        width = seen if seen > rule.margin else max(rule.margin - seen, rule.margin / 4)
        return Asked(width, rule.per_look(), rule.looks())

    while True:
        taken.append(pseudo_values(one_more(case, taken, asked, rng, learns=learns, level=gap)))
        values = {i: math.exp(blocks.mean()) for i, blocks in enumerate(taken)}
        ones = dict.fromkeys(values, 1.0)
        if rule.settled(ones, values) or len(taken) == RANKED_MOST:
            far = len(taken) >= FEWEST and rule.settled(ones, values)
            mean = float(np.mean([blocks.mean() for blocks in taken]))
            told = far and abs(mean) > rule.margin
            return told, told and mean * gap > 0, seconds_of(case, taken)


def simulated(runs: int) -> list[Finding]:
    """Coverage and time with what is learned and with the fixed plan, on the same cases."""
    findings = []
    for case in CASES:
        rng = np.random.default_rng(1)
        new = [until_precise(case, rng, learns=True) for _ in range(runs)]
        old = [until_precise(case, rng, learns=False) for _ in range(runs)]
        covered, before = (float(np.mean([c for c, *_ in found])) for found in (new, old))
        seconds, fixed = (statistics.mean(s for _, s, _ in found) for found in (new, old))
        met = 0.93 <= covered <= 0.97
        findings.append(
            Finding(
                f"simulated, {case.name}: interval of {PRECISION:.0%} covers; time over that of "
                f"{ROUNDS} rounds",
                f"{covered:.1%} of {runs} (fixed: {before:.1%}); "
                f"{seconds / fixed:.2f} ({seconds:.1f} s against {fixed:.1f} s)",
                "93 to 97%",
                met,
            )
        )
    return findings


def simulated_ranks(runs: int) -> list[Finding]:
    """False alarms and power of `--goal rank` where rounds follow what was seen."""
    findings = []
    for case in (CASES[2], CASES[4], CASES[6]):
        rng = np.random.default_rng(2)
        alike = [until_ranked(case, 0.0, rng, learns=True) for _ in range(runs)]
        apart = [until_ranked(case, math.log(1.10), rng, learns=True) for _ in range(runs)]
        fixed = [until_ranked(case, math.log(1.10), rng, learns=False) for _ in range(runs)]
        alarms = float(np.mean([told for told, *_ in alike]))
        power, before = (float(np.mean([right for _, right, _ in f])) for f in (apart, fixed))
        seconds, fixed_s = (statistics.mean(s for *_, s in f) for f in (apart, fixed))
        findings += [
            Finding(
                f"simulated, {case.name}: identical cells told apart",
                f"{alarms:.1%} of {runs}",
                "at most 5%",
                alarms <= 0.05,
            ),
            Finding(
                f"simulated, {case.name}: a gap of 10% found; time over that of {ROUNDS} rounds",
                f"{power:.1%} (fixed: {before:.1%}); {seconds / fixed_s:.2f}",
                "at least 95%",
                power >= 0.95,
            ),
        ]
    return findings


@contextmanager
def fixed_plan() -> Iterator[None]:
    """The engine as it was: every cell has the same rounds, and stops when its interval is narrow,
    whatever is seen of its blocks."""
    learned = Spending.plans, Spending.least_half_widths

    def nothing(*_: object, **__: object) -> dict[str, Plan]:
        return {}

    Spending.plans = nothing  # type: ignore[method-assign, assignment]
    Spending.least_half_widths = nothing  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Spending.plans, Spending.least_half_widths = learned  # type: ignore[method-assign]


def ratio_of(taken: dict[str, tuple[Invocation, ...]], *, median: bool) -> float:
    """The log ratio of the two targets over the generations that both have."""
    one, other = ({i.index: i for i in taken[target]} for target in TARGETS)
    logs = []
    for index in sorted(one.keys() & other.keys()):
        a, b = one[index], other[index]
        logs.append(
            math.log(b.median_ns / a.median_ns) if median else log_ratio(turns(a), turns(b))
        )
    return statistics.mean(logs)


def whole_runs(runs: int) -> tuple[list[Finding], dict[str, list[float]]]:
    """The spread of a ratio over whole `--quick` runs, before and now in turn, beside a neighbour.

    Before: equal rounds, and the ratio of medians over all calls."""
    before, now, seconds_before, seconds_now = [], [], [], []
    with neighbour():
        for seed in range(runs):
            with fixed_plan():
                measured = measure([MODEL], TARGETS, seed=seed, **QUICK)
            taken = {name: r.invocations for name, r in measured.by_target().items()}
            before.append(ratio_of(taken, median=True))
            seconds_before.append(measured.seconds)
            measured = measure([MODEL], TARGETS, seed=seed, **QUICK)
            taken = {name: r.invocations for name, r in measured.by_target().items()}
            now.append(ratio_of(taken, median=False))
            seconds_now.append(measured.seconds)
            print(f"  run {seed + 1}: {before[-1]:+.4f} {now[-1]:+.4f}", flush=True)
    spread, spread_before = statistics.stdev(now), statistics.stdev(before)
    finding = Finding(
        f"spread of a ratio over {runs} whole --quick runs beside a neighbour",
        f"{spread:.1%} in {statistics.median(seconds_now):.1f} s (with the fixed plan in turn: "
        f"{spread_before:.1%} in {statistics.median(seconds_before):.1f} s)",
        "at most 1.5%",
        spread <= 0.015,
    )
    details = {"before": before, "now": now, "s_before": seconds_before, "s_now": seconds_now}
    return [finding], details


def prove(quick: bool) -> None:
    """Simulate on the cases, then run this machine's own."""
    findings = simulated(100 if quick else 1000)
    findings += simulated_ranks(60 if quick else 300)
    whole, details = whole_runs(2 if quick else 12)
    report("spending", [*findings, *whole], {"cases": [vars(case) for case in CASES], **details})
