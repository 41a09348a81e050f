"""Landscapes of energy for `bench tune --for energy`: configurations that draw known powers and
make known numbers of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from energy_windows import trace, window
from fake_records import a_cell
from made_up_field import Clock

from bench.record.windows import IDLE, Window
from bench.stats.racing import RacingRule
from bench.trials.tune import kept
from bench.trials.tune.found import Costs, found_in
from bench.trials.tune.joules import FUTILE
from bench.trials.tune.objective import find_objective
from bench.trials.tune.race import CONFIRMATIONS, FIRST, LAST, Budget, Pace, confirm, race


class Landscape:
    """Configurations that draw known powers and make known numbers of queries, on a machine whose
    idle power drifts, that other programs disturb now and then, and that a package counter meters.
    """

    def __init__(self, watts: Sequence[float], queries: Sequence[int], seed: int) -> None:
        self.cells = [a_cell(scenario="offline", batch=4, threads=n + 1) for n in range(len(watts))]
        self.names = [cell.id for cell in self.cells]
        self.load = dict(zip(self.names, zip(watts, queries, strict=True), strict=True))
        self.rng = np.random.default_rng(seed)
        self.windows: list[Window] = []
        self.idle, self.rounds, self.clock = 40.0, 0, Clock()
        self.known = 0, Costs({name: {} for name in self.names})
        self.tune = kept.Tune(
            asked=kept.Asked(objective="energy", target="x:cpu"),
            entrants=tuple(kept.Entrant(cell_id=name) for name in self.names),
        )

    def truth(self) -> dict[str, float]:
        """Net joules a sample."""
        return {name: 3 * (w - 40.0) / (4 * q) for name, (w, q) in self.load.items()}

    def costs(self) -> dict[str, dict[int, float]]:
        return self.all_costs().raced(self.tune)

    def all_costs(self) -> Costs:
        if self.known[0] < self.rounds:
            tried = [(cell, []) for cell in self.cells]
            costs = find_objective("energy", None).costs(tried, self.windows)
            self.known = self.rounds, Costs(costs)
        return self.known[1]

    def doubtful(self) -> set[str]:
        return set()

    def leave_out(self, names: Sequence[str]) -> None:
        assert not names, "there is time for all"

    def measure(self, names: Sequence[str]) -> None:
        """A round: idle power drifts, and processes of one configuration differ by 2%."""
        power = self.idle = self.idle + self.rng.normal(0, 0.5)
        for position, name in enumerate([IDLE, *names, IDLE]):
            watts, queries = self.load.get(name, (40.0, 1))
            above = (watts - 40.0) * float(np.exp(self.rng.normal(0, 0.02)))
            disturbed = ("other processes used 40% of a CPU",) if self.rng.random() < 0.03 else ()
            told = [trace(power + above)]
            self.windows.append(
                window(name, self.rounds, position, told, queries, disturbed=disturbed)
            )
        self.rounds += 1
        self.clock.now += 4.25 * (len(names) + 2)

    def found(self) -> kept.Found:
        """Race, and confirm."""
        pace = Pace(Budget(1e9, clock=self.clock), 2, 4.25)
        rule = RacingRule(len(self.cells), 0.95, 0.02, FIRST, LAST)
        always = {self.names[0]}
        standing = race(lambda: rule, self, pace, self.rng, always, pace.reserve(2))
        pick = found_in(self.tune, standing, self.all_costs(), {}, rule).pick
        again = kept.Confirmation(cell_id=pick, first=self.rounds)
        self.tune = self.tune.model_copy(update={"confirmations": (again,)})
        both = [pick, self.names[0]]

        def have(names: Sequence[str]) -> int:
            return self.all_costs().times_again(self.tune, names)

        confirm(self, lambda: both, have, pace, CONFIRMATIONS, futile=FUTILE)
        return found_in(self.tune, standing, self.all_costs(), {}, rule)


def landscape(seed: int) -> Landscape:
    """The fewest joules are neither at the lowest power nor at the most queries: 300 queries in 3 s
    at 100 W by default, more at more power elsewhere."""
    rng = np.random.default_rng(seed)
    queries = [300, *rng.integers(200, 900, 4).tolist()]
    return Landscape([40 + 20 * (q / 100) ** rng.uniform(0.8, 1.2) for q in queries], queries, seed)


@dataclass(frozen=True)
class Trial:
    """One tune of a landscape."""

    returned: bool  #: whether the configuration of the fewest joules was
    loss: float  #: of the pick over the fewest joules
    processes: int | None  #: of the confirmation; None where the pick is the default
    covered: bool | None  #: whether the gain's interval holds the true gain; None for no gain


def trial(seed: int) -> Trial:
    """Tune a landscape by energy."""
    field = landscape(seed)
    truth, found = field.truth(), field.found()
    best = min(truth, key=truth.__getitem__)
    returned = best in {one.cell_id for one in found.best}
    loss = truth[found.pick] / truth[best] - 1
    gain = found.gain
    if gain is None:
        assert found.pick == field.names[0]
        return Trial(returned, loss, None, None)
    true = truth[field.names[0]] / truth[found.pick]
    return Trial(returned, loss, gain.processes, gain.ratio.low <= true <= gain.ratio.high)
