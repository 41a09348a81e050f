"""Scenarios: how queries reach a model (MLPerf's words and meanings). One row says all of one.

A distribution adds a row of its own through the entry-point group ``bench.scenarios``, which maps
its name to ``module:ROW``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from bench.discover import Catalogue


@dataclass(frozen=True)
class Scenario:
    """One load pattern. ``figure`` is what it is judged by: the latency of a query, or a rate in
    samples per second."""

    name: str
    figure: Literal["latency", "rate"]
    #: whether each query carries one sample; else the suite's ``batch`` says how many
    one_sample: bool = False
    #: whether it is asked under a bound on the 99th percentile of latency
    bounded: bool = False
    #: whether several queries are in flight at once, as many as the target's ``streams``
    streams: bool = False
    #: whether the latency of its queries is shown beside the figure
    shows_latency: bool = True
    #: whether tables show it unlabelled; in a table the others are told by their names
    plain: bool = False
    #: which cost of a model the pairs, the deal and the front read from it
    weighs: Literal["", "latency", "throughput"] = ""
    #: what measures its cells: ``module:Class``, a `bench.measure.group.Group`
    group: str = "bench.measure.group:Group"

    @property
    def label(self) -> str:
        """What tells its rows from those of others."""
        return "" if self.plain else self.name


SINGLE_STREAM = Scenario("single-stream", "latency", one_sample=True, plain=True, weighs="latency")
MULTI_STREAM = Scenario("multi-stream", "latency")
OFFLINE = Scenario(
    "offline", "rate", streams=True, shows_latency=False, plain=True, weighs="throughput"
)
SERVER = Scenario(
    "server",
    "rate",
    one_sample=True,
    bounded=True,
    group="bench.measure.server_group:ServerGroup",
)
SCENARIOS = Catalogue("scenario", "bench.scenarios", (SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER))
#: What a run measures unless it is told otherwise.
DEFAULT = (SINGLE_STREAM.name, OFFLINE.name)


def find_scenario(name: str) -> Scenario:
    """The scenario called ``name``. Raises `SpecError` for a name that isn't there."""
    return SCENARIOS.find(name)


def back_to_back(batch: int) -> Scenario:
    """One query after the other, each of ``batch`` samples."""
    return SINGLE_STREAM if batch == 1 else MULTI_STREAM


def weighing(cost: Literal["latency", "throughput"], present: Collection[str]) -> str | None:
    """Of the scenarios ``present`` the one that a cost is read from, ours before others'."""
    rows = sorted(map(find_scenario, present), key=lambda row: row not in SCENARIOS.built_in)
    return next((row.name for row in rows if row.weighs == cost), None)
