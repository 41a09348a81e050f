"""What `bench tune --for energy` returns, on landscapes whose joules are known: idle power drifts,
processes of one configuration differ by 2%, and one window in 33 is disturbed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from engine import Finding, report

from bench.stats.interval import Interval
from bench.stats.proportion import clopper_pearson

sys.path.append(str(Path(__file__).parents[1]))
from energy_landscapes import Trial, trial

#: Tunes that are tried.
MANY, FEW = 1200, 20


def prove(quick: bool) -> None:
    """Each landscape has a seed of its own, so that any can be looked at again."""
    trials = []
    for seed in range(FEW if quick else MANY):
        trials.append(trial(seed))
        if (seed + 1) % 100 == 0:
            print(f"  {seed + 1} tunes: {_covering(trials)}", flush=True)
    loss = [one.loss for one in trials]
    returned = sum(one.returned for one in trials)
    findings = [
        Finding(
            "tune by energy: the configuration of the fewest joules is returned",
            f"{returned} of {len(trials)}",
            "at least 95%",
            returned >= 0.95 * len(trials),
        ),
        Finding(
            "tune by energy: joules of the one that is recommended over the fewest",
            f"{np.mean(loss):+.2%} on average, at most {max(loss):+.1%}",
            "-",
            None,
        ),
        Finding(
            "tune by energy: the gain's 95% interval, from fresh processes, covers the true gain "
            "over the default",
            _covering(trials),
            "93 to 97%",
            0.93 <= _share(trials).estimate <= 0.97,
        ),
    ]
    report("tune-energy", findings, {"seeds": [0, len(trials)]})


def _share(trials: list[Trial]) -> Interval:
    """Of the tunes that chose another configuration than the default those whose interval holds
    the true gain."""
    covered = [one.covered for one in trials if one.covered is not None]
    return clopper_pearson(sum(covered), len(covered))


def _covering(trials: list[Trial]) -> str:
    share = _share(trials)
    count = sum(one.covered is not None for one in trials)
    return (
        f"{share.estimate:.1%} ({share.low:.1%} to {share.high:.1%}) of {count} tunes that chose "
        "another one"
    )
