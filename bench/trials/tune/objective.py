"""What a configuration is to be best in. An objective turns measured invocations into costs, of
which lower is better; what else there is to hold it says in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bench.cell import Cell
from bench.errors import SpecError
from bench.measure.state import CellState
from bench.numbers import duration, energy, rate
from bench.record import estimate
from bench.record.result import Invocation, Percentile
from bench.record.windows import Window
from bench.scenarios import OFFLINE, SINGLE_STREAM
from bench.stats.distributions import binomial
from bench.stats.percentile import minimum_samples
from bench.trials.tune.joules import joules_of

_P99 = 0.99
#: The level at which a bound counts as broken. Queries of one process are alike, so it is far below
#: what one test of independent ones would take. Our choice.
_BROKEN = 1e-4
#: A configuration that was measured.
Tried = tuple[Cell, Sequence[Invocation]]
#: By cell, and by generation or round.
Costs = Mapping[str, Mapping[int, float]]


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

    @property
    def metered(self) -> bool:
        """Whether windows of energy measure it, and not blocks of latencies."""
        ...

    def costs(self, tried: Sequence[Tried], windows: Sequence[Window]) -> Costs:
        """By cell and generation (or round of windows), above 0; lower is better."""
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
    metered: bool = False

    def costs(self, tried: Sequence[Tried], windows: Sequence[Window]) -> Costs:
        return {cell.id: _figures(cell, invocations) for cell, invocations in tried}

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
    metered: bool = False

    def costs(self, tried: Sequence[Tried], windows: Sequence[Window]) -> Costs:
        return {
            cell.id: {index: 1e9 / rate for index, rate in _figures(cell, invocations).items()}
            for cell, invocations in tried
        }

    def shown(self, cost: float) -> str:
        return rate(1e9 / cost)

    def surely_broken(self, state: CellState, confidence: float) -> str:
        """More than a hundredth of its queries surely takes longer than the bound."""
        if self.bound_ns is None or not state.samples:
            return ""
        pooled = np.concatenate(list(state.samples.values()))
        above = int((pooled > self.bound_ns).sum())
        # The chance of as many or more, were it a hundredth (Clopper & Pearson 1934).
        if not above or binomial.at_least(above, len(pooled), 1 - _P99) > _BROKEN:
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
            return f"too few queries for a p99: {queries} of the {minimum_samples(_P99)} needed"
        high = max(found.value_ns, found.high_ns or found.value_ns)
        if high <= self.bound_ns:
            return ""
        return f"its p99 may be {duration(high)}, but the bound is {duration(self.bound_ns)}"

    def _p99(self, state: CellState, confidence: float) -> Percentile | None:
        arrays = [state.samples[i.index] for i in state.invocations if i.index in state.samples]
        if not arrays:
            return None
        return estimate.percentile(np.concatenate(arrays), arrays, _P99, confidence)


@dataclass(frozen=True)
class EnergyOfASample:
    """Joules a sample."""

    name: str = "energy"
    scenario: str = OFFLINE.name
    loads: bool = True
    bound_ns: int | None = None
    metered: bool = True

    def costs(self, tried: Sequence[Tried], windows: Sequence[Window]) -> Costs:
        return joules_of([cell for cell, _ in tried], windows).by_cell

    def shown(self, cost: float) -> str:
        return energy(cost)

    def surely_broken(self, state: CellState, confidence: float) -> str:
        return ""

    def not_shown_kept(self, state: CellState, confidence: float) -> str:
        return ""


def _figures(cell: Cell, invocations: Sequence[Invocation]) -> dict[int, float]:
    """The scenario's own figure by invocation."""
    figures = estimate.figures(cell, invocations)
    return {one.index: float(value) for one, value in zip(invocations, figures, strict=True)}


def find_objective(name: str, bound_ns: int | None) -> Objective:
    """What ``--for`` names. Raises `SpecError`."""
    if bound_ns is not None and name != "throughput":
        raise SpecError(f"--latency-bound is for --for throughput; --for {name} has none.")
    if name == "throughput":
        return Throughput(bound_ns)
    return EnergyOfASample() if name == "energy" else Latency()
