"""Scenarios: how queries reach a model (MLPerf's words and meanings). One row says all of one.

A distribution adds a row of its own through the entry-point group ``bench.scenarios``, which maps
its name to ``module:ROW``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from bench.discover import Catalogue
from bench.errors import SpecError


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
    #: of a language model: what ``size`` counts, tokens of the ``prompt`` or those in the cache
    #: (``depth``); empty for scenarios that know no cache
    counts: Literal["", "prompt", "depth"] = ""
    #: so many of them; the suite's ``prompt`` or ``depth`` says how many where it is None
    size: int | None = None
    #: what measures its cells: ``module:Class``, a `bench.measure.group.Group`
    group: str = "bench.measure.group:Group"

    @property
    def label(self) -> str:
        """What tells its rows from those of others."""
        return "" if self.plain else self.name

    @property
    def tokens(self) -> int:
        """Tokens that a language model has seen when a query ends."""
        return (self.size or 0) + (self.counts == "depth")

    @property
    def new_tokens(self) -> int:
        """Tokens that one query of a language model's sample takes or makes."""
        return (self.size or 0) if self.counts == "prompt" else 1

    def of_size(self, size: int) -> Scenario:
        """The scenario at one length: ``decode@512``."""
        return replace(self, name=f"{self.name}{AT}{size}", size=size)


#: Between a scenario's name and its length in tokens.
AT = "@"
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
PREFILL = Scenario("prefill", "latency", one_sample=True, counts="prompt")
DECODE = Scenario("decode", "latency", one_sample=True, counts="depth", weighs="latency")
SCENARIOS = Catalogue(
    "scenario",
    "bench.scenarios",
    (SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER, PREFILL, DECODE),
)
#: What a run measures unless it is told otherwise.
DEFAULT = (SINGLE_STREAM.name, OFFLINE.name)
#: The same for language models, instead of `DEFAULT`.
LANGUAGE_DEFAULT = (PREFILL.name, DECODE.name)


def find_scenario(name: str) -> Scenario:
    """The scenario called ``name``, a length in tokens included (``decode@512``).

    Raises `SpecError` for a name that isn't there.
    """
    plain, at, size = name.partition(AT)
    row = SCENARIOS.find(plain)
    if not at:
        return row
    if not row.counts or not size.isdigit() or int(size) < 1:
        raise SpecError(
            f"{name!r}: a length belongs to prefill and decode, in tokens: prefill{AT}128."
        )
    return row.of_size(int(size))


def back_to_back(batch: int) -> Scenario:
    """One query after the other, each of ``batch`` samples."""
    return SINGLE_STREAM if batch == 1 else MULTI_STREAM


def weighing(cost: Literal["latency", "throughput"], present: Collection[str]) -> str | None:
    """Of the scenarios ``present`` the one that a cost is read from, ours before others'."""
    rows = sorted(map(find_scenario, present), key=lambda row: row not in SCENARIOS.built_in)
    return next((row.name for row in rows if row.weighs == cost), None)
