"""What `bench tune` returns, on landscapes whose best configuration is known, and on this machine
beside configurations that somebody chose by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from engine import Finding, report

from bench.stats.interval import Interval, ratio_interval
from bench.stats.proportion import clopper_pearson
from bench.stats.racing import RacingRule
from bench.stats.stopping import Stated
from bench.trials.tune.race import CONFIRMATIONS, FIRST, LAST, Budget, Pace, confirm, race

sys.path.append(str(Path(__file__).parents[1]))
from made_up_field import MadeUp

MARGIN = 0.02
#: Seconds that a tune gets on this machine, and one that only tries the proof out.
REAL_S, QUICK_S = 240, 40

Landscape = Callable[[np.random.Generator], list[float]]


def one_winner(rng: np.random.Generator) -> list[float]:
    """40 configurations, one of them 10% or more ahead of all others."""
    costs = np.exp(rng.uniform(0.1, 1.0, 40))
    costs[rng.integers(40)] = 1.0
    return costs.tolist()


def plateau(rng: np.random.Generator) -> list[float]:
    """40, of which about a third is equally good."""
    good = rng.random(40) < 1 / 3
    good[rng.integers(40)] = True
    return np.where(good, 1.0, np.exp(rng.uniform(0.05, 1.0, 40))).tolist()


def near_ties(rng: np.random.Generator) -> list[float]:
    """40 that are all within 6% of the best."""
    return np.exp(rng.uniform(0, 0.06, 40)).tolist()


def interactions(rng: np.random.Generator) -> list[float]:
    """2 x 2 x 3 x 4 settings whose effects depend on each other: each pair of settings has an
    effect of its own that is as large as those of single ones, up to a third."""
    sizes = (2, 2, 3, 4)
    single = [rng.normal(0, 0.15, size) for size in sizes]
    pairs = {
        (a, b): rng.normal(0, 0.15, (sizes[a], sizes[b]))
        for a in range(len(sizes))
        for b in range(a)
    }
    return [
        float(
            np.exp(
                sum(effect[at[k]] for k, effect in enumerate(single))
                + sum(effect[at[a], at[b]] for (a, b), effect in pairs.items())
            )
        )
        for at in product(*map(range, sizes))
    ]


def all_equal(rng: np.random.Generator) -> list[float]:
    """24 among which there is nothing to choose."""
    return [1.0] * 24


LANDSCAPES: Mapping[str, Landscape] = {
    "one clear winner": one_winner,
    "a plateau": plateau,
    "many near ties": near_ties,
    "interactions": interactions,
    "all equal": all_equal,
}


@dataclass(frozen=True)
class Trial:
    """One tune of a landscape. ``grid`` is the share of a full grid's processes that it took, and
    ``run`` that of what `bench run` takes until each interval is within 2%."""

    best: bool  #: whether the best, or one within the margin of it, was returned
    loss: float  #: of the pick over the best
    grid: float
    run: float
    returned: int
    covered: bool | None  #: whether the gain's interval holds the true gain; None for no gain
    flattered: bool | None  #: the same of an interval from the processes that it was chosen by
    flattery: float  #: what these processes say the gain is, over what it is


def trial(landscape: Landscape, rng: np.random.Generator) -> Trial:
    """Processes that differ by 1 to 3% (each configuration by its own), blocks by 2%, and a machine
    that drifts by 1% from one generation to the next."""
    costs = landscape(rng)
    truth = {str(place): cost for place, cost in enumerate(costs)}
    spread = {name: float(rng.uniform(0.01, 0.03)) for name in truth}
    field = MadeUp(truth, rng, spread)
    rule = RacingRule(len(truth), 0.95, MARGIN, FIRST, LAST)
    pace = Pace(Budget(1e9, clock=field.clock))
    while True:
        standing = race(lambda: rule, field, pace, rng, {"0"})
        pick, lowest = standing.pick, min(truth.values())
        if pick == "0":
            covered = flattered = None
            flattery = 1.0
            break
        found = _measured_again(field, pick, pace)
        if found.high >= 1:
            gain = truth["0"] / truth[pick]
            count = min(len(field.measured[name]) for name in (pick, "0"))
            old = ratio_interval(*(_values(field, name)[:count] for name in (pick, "0")))
            covered = found.contains(gain)
            flattered, flattery = old.contains(gain), old.estimate / gain
            break
        field.gone.add(pick)  # refuted
    left = {name: truth[name] for name in standing.left}
    return Trial(
        best=min(left.values()) <= lowest * (1 + MARGIN),
        loss=truth[pick] / lowest - 1,
        grid=field.processes / (len(truth) * LAST),
        run=field.processes / sum(_by_run(spread[name], rng) for name in truth),
        returned=len(left),
        covered=covered,
        flattered=flattered,
        flattery=flattery,
    )


def _measured_again(field: MadeUp, pick: str, pace: Pace) -> Interval:
    """The gain in the confirmation, whose processes no further race is decided by."""
    both = [pick, "0"]
    raced = {name: len(field.measured[name]) for name in both}
    confirm(
        field,
        lambda: both,
        lambda names: len(field.measured[pick]) - raced[pick],
        pace,
        CONFIRMATIONS,
    )
    new = [_values(field, name)[raced[name] :] for name in both]
    for name in both:
        field.measured[name] = dict([*field.measured[name].items()][: raced[name]])
    return ratio_interval(*new)


def _values(field: MadeUp, name: str) -> list[float]:
    return [*field.measured[name].values()]


def _by_run(spread: float, rng: np.random.Generator) -> int:
    """Processes until `bench run` has an interval of 2% on one configuration."""
    values = np.exp(rng.normal(0, spread, 30))
    for count in range(5, 30):
        if Stated(0.95).interval(values[:count]).relative_half_width <= MARGIN:
            return count
    return 30


def prove(quick: bool) -> None:
    """On made-up landscapes."""
    count = 20 if quick else 300
    rng = np.random.default_rng(20261128)
    found: dict[str, list[Trial]] = {}
    for name, landscape in LANDSCAPES.items():
        found[name] = [trial(landscape, rng) for _ in range(count)]
        print(f"  {name}: {_summary(found[name])}", flush=True)
    details = {name: _summary(trials) for name, trials in found.items()}
    report("tune", [*_of_landscapes(found), *_of_gains(found)], {"landscapes": details})


def _summary(trials: list[Trial]) -> dict[str, float]:
    return {
        "best returned": float(np.mean([t.best for t in trials])),
        "pick within the margin of the best": float(np.mean([t.loss <= MARGIN for t in trials])),
        "median loss of the pick": float(np.median([t.loss for t in trials])),
        "95th percentile of that loss": float(np.quantile([t.loss for t in trials], 0.95)),
        "share of a full grid": float(np.mean([t.grid for t in trials])),
        "largest share of a full grid": float(max(t.grid for t in trials)),
        "over bench run's processes": float(np.mean([t.run for t in trials])),
        "configurations returned": float(np.mean([t.returned for t in trials])),
    }


def _of_landscapes(found: Mapping[str, list[Trial]]) -> list[Finding]:
    findings = []
    for name, trials in found.items():
        best = [t.best for t in trials]
        share, worst = (float(f([t.grid for t in trials])) for f in (np.mean, max))
        near = float(np.mean([t.loss <= MARGIN for t in trials]))
        findings += [
            Finding(
                f"tune, {name}: the best configuration or one within 2% of it is returned",
                f"{sum(best)} of {len(best)}",
                "at least 95%",
                sum(best) >= 0.95 * len(best),
            ),
            Finding(
                f"tune, {name}: processes over those of a full grid ({LAST} of each), confirmation "
                "included",
                f"{share:.2f} on average, at most {worst:.2f}",
                "at most a third",
                share <= 1 / 3,
            ),
            Finding(
                f"tune, {name}: the one that is recommended is within 2% of the best",
                f"{near:.1%} (loss at the 95th percentile "
                f"{np.quantile([t.loss for t in trials], 0.95):.1%})",
                "-",
                None,
            ),
        ]
    every = [t.run for trials in found.values() for t in trials]
    findings.append(
        Finding(
            "tune: its processes over those of `bench run` on all configurations, each to 2%",
            f"{np.mean(every):.2f} on average",
            "-",
            None,
        )
    )
    return findings


def _of_gains(found: Mapping[str, list[Trial]]) -> list[Finding]:
    gained = [t for trials in found.values() for t in trials if t.covered is not None]
    findings = []
    for name, covered, goal in (
        ("the gain's 95% interval, from fresh processes,", [t.covered for t in gained], True),
        ("the same from the processes that it was chosen by", [t.flattered for t in gained], False),
    ):
        count = sum(map(bool, covered))
        share = clopper_pearson(count, len(covered))
        met = 0.93 <= share.estimate <= 0.97
        findings.append(
            Finding(
                f"tune: {name} covers the true gain over the default",
                f"{_shown(share)} of {len(covered)} tunes that chose another one",
                "93 to 97%" if goal else "-",
                met if goal else None,
            )
        )
    flattery = float(np.exp(np.mean(np.log([t.flattery for t in gained]))))
    findings.append(
        Finding(
            "tune: gain as the processes have it that it was chosen by, over the true one",
            f"{flattery - 1:+.2%}",
            "-",
            None,
        )
    )
    return findings


def _shown(share: Interval) -> str:
    return f"{share.estimate:.1%} ({share.low:.1%} to {share.high:.1%})"


#: Target and objective, with what somebody who knows the runtime would set on two cores.
HAND_TUNED = (
    ("onnxruntime:cpu", "throughput", ("threads=1,streams=2,batch=32", "spinning=1,batch=32")),
    ("openvino:cpu", "throughput", ("threads=1,streams=2,hint=throughput,batch=32",)),
)


def by_hand(quick: bool) -> None:
    """The pick beside configurations that were chosen by hand, measured in turn with it."""
    findings: list[Finding] = []
    told: list[dict[str, Any]] = []
    seconds = QUICK_S if quick else REAL_S
    for target, objective, others in HAND_TUNED:
        found = _tuned(target, objective, others, seconds)
        tune, names = found["tune"], found["names"]
        what = f"tune {target} for {objective}, {seconds} s:"
        told.append({"target": target, "for": objective, "command": found["command"]})
        # A tune without an answer has beaten nobody.
        for one in tune["against"]:
            if one["cell_id"] not in _answered(tune):
                findings.append(
                    Finding(
                        f"{what} its pick over `{names[one['cell_id']]}`",
                        "unknown: too few processes of both in the time; others used the machine",
                        "at least 1.0x within the interval",
                        False,
                    )
                )
        for gain in tune["found"]["against"] if tune["found"] else []:
            ratio = gain["ratio"]
            findings.append(
                Finding(
                    f"{what} its pick `{names[_pick(tune)]}` over `{names[gain['over']]}`",
                    f"{ratio['value']:.2f}x ({ratio['low']:.2f} to {ratio['high']:.2f}), paired in "
                    f"{gain['processes']} processes of each; others used the machine",
                    "at least 1.0x within the interval",
                    ratio["high"] >= 1,
                )
            )
        if _pick(tune) in [one["cell_id"] for one in tune["against"]]:
            findings.append(
                Finding(f"{what} its pick", f"`{names[_pick(tune)]}` itself", "-", None)
            )
    report("tune-by-hand", findings, {"picks": told})


def _answered(tune: Mapping[str, Any]) -> set[str]:
    """The configurations that the pick was compared with, and the pick."""
    compared = tune["found"]["against"] if tune["found"] else []
    return {_pick(tune), *(gain["over"] for gain in compared)}


def _pick(tune: Mapping[str, Any]) -> str:
    best = tune["found"]["best"] if tune["found"] else []
    return str(best[0]["cell_id"]) if best else ""


def _tuned(target: str, objective: str, others: tuple[str, ...], seconds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "bench", "tune", "-m", "fashion-teacher", "-t", target),
            *("--for", objective, "--max-time", f"{seconds}s", "--json", "--quiet"),
            *("--batch", "32,8"),
            *("--results", folder),
            *(word for other in others for word in ("--against", other)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.stdout:
            raise RuntimeError(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        tune = found["tune"]
        found["names"] = {
            one["cell_id"]: " ".join(one["departures"]) or "the default"
            for one in (*tune["entrants"], *tune["against"])
        }
        print(f"  {target} for {objective}: {found['command']}", flush=True)
        return found
