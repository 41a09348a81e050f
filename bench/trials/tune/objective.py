"""What a configuration is to be best in. An objective turns measured invocations into costs, of
which lower is better; what else there is to hold it says in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import bdtrc

from bench.cell import Cell
from bench.errors import SpecError
from bench.measure.state import CellState
from bench.numbers import duration, rate
from bench.record import estimate
from bench.record.result import Invocation, Percentile
from bench.scenarios import OFFLINE, SINGLE_STREAM

_P99 = 0.99
#: The level at which a bound counts as broken. Queries of one process are alike, so it is far below
#: what one test of independent ones would take. Our choice.
_BROKEN = 1e-4


class Objective(Protocol):
    """One thing to be best in."""

    @property
    def name(self) -> str:
        """As behind ``--for``."""
        ...

    @property
    def scenario(self) -> str:
        """Which one measures it."""
        ...

    @property
    def loads(self) -> bool:
        """Whether batch and streams are chosen, too."""
        ...

    @property
    def bound_ns(self) -> int | None:
        """What the 99th percentile of a query's latency must not exceed."""
        ...

    def costs(self, cell: Cell, invocations: Sequence[Invocation]) -> list[float]:
        """One an invocation, above 0; lower is better."""
        ...

    def shown(self, cost: float) -> str:
        """A cost as people read it."""
        ...

    def surely_broken(self, state: CellState, confidence: float) -> str:
        """Why the configuration can't be had, where that is certain; empty while it isn't."""
        ...

    def not_shown_kept(self, state: CellState, confidence: float) -> str:
        """What of its conditions is not certain to hold; empty where all is."""
        ...


@dataclass(frozen=True)
class Latency:
    """The median time of a query of one sample."""

    name: str = "latency"
    scenario: str = SINGLE_STREAM.name
    loads: bool = False
    bound_ns: int | None = None

    def costs(self, cell: Cell, invocations: Sequence[Invocation]) -> list[float]:
        return [float(value) for value in estimate.figures(cell, invocations)]

    def shown(self, cost: float) -> str:
        return duration(cost)

    def surely_broken(self, state: CellState, confidence: float) -> str:
        return ""

    def not_shown_kept(self, state: CellState, confidence: float) -> str:
        return ""


@dataclass(frozen=True)
class Throughput:
    """Samples per second, where asked for with the 99th percentile of a query's latency bounded."""

    bound_ns: int | None = None
    name: str = "throughput"
    scenario: str = OFFLINE.name
    loads: bool = True

    def costs(self, cell: Cell, invocations: Sequence[Invocation]) -> list[float]:
        return [1e9 / float(value) for value in estimate.figures(cell, invocations)]

    def shown(self, cost: float) -> str:
        return rate(1e9 / cost)

    def surely_broken(self, state: CellState, confidence: float) -> str:
        """More than a hundredth of its queries surely takes longer than the bound."""
        if self.bound_ns is None or not state.samples:
            return ""
        pooled = np.concatenate(list(state.samples.values()))
        above = int((pooled > self.bound_ns).sum())
        # The chance of as many or more, were it a hundredth (Clopper & Pearson 1934).
        if not above or float(bdtrc(above - 1, len(pooled), 1 - _P99)) > _BROKEN:
            return ""
        share = f"{above} of {len(pooled)} queries took longer than {duration(self.bound_ns)}"
        return f"{share}, and one in a hundred may"

    def not_shown_kept(self, state: CellState, confidence: float) -> str:
        """Its p99 lies below the bound with all of its interval, or it isn't shown to."""
        if self.bound_ns is None:
            return ""
        found = self._p99(state, confidence)
        if found is None or found.value_ns is None:
            queries = 0 if found is None else found.samples
            needed = "" if found is None else f" of the {found.samples_needed} that it takes"
            return f"a p99 can't be told from {queries} queries{needed}"
        high = max(found.value_ns, found.high_ns or found.value_ns)
        if high <= self.bound_ns:
            return ""
        return f"its p99 may be {duration(high)}, and {duration(self.bound_ns)} is the bound"

    def _p99(self, state: CellState, confidence: float) -> Percentile | None:
        arrays = [state.samples[i.index] for i in state.invocations if i.index in state.samples]
        if not arrays:
            return None
        return estimate.percentile(np.concatenate(arrays), arrays, _P99, confidence)


def find_objective(name: str, bound_ns: int | None, target: str) -> Objective:
    """What ``--for`` names. Raises `SpecError`."""
    if bound_ns is not None and name != "throughput":
        raise SpecError(f"--latency-bound is for --for throughput; --for {name} has none.")
    if name == "latency":
        return Latency()
    if name == "throughput":
        return Throughput(bound_ns)
    raise SpecError(
        f"--for energy on {target}: no meter is connected to tuning yet, neither `package` (a "
        "CPU's RAPL counters) nor `gpu-board` (NVML); `bench run --energy` reads them for single "
        "configurations. Tune --for latency or --for throughput."
    )
