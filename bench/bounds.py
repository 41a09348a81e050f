"""What a query's times must not exceed: in words, and for language models the pairs of limits that
MLPerf Inference sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import SpecError
from bench.numbers import duration

if TYPE_CHECKING:  # start-up: the help of `bench run` names the presets
    from bench.cell import Cell

MS_NS = 1_000_000


@dataclass(frozen=True)
class TokenBounds:
    """What the 99th percentiles of TTFT and TPOT must not exceed."""

    name: str
    ttft_ns: int
    tpot_ns: int


def _pair(name: str, ttft_ms: int, tpot_ms: int) -> TokenBounds:
    return TokenBounds(name, ttft_ms * MS_NS, tpot_ms * MS_NS)


#: mlcommons/inference_policies, inference_rules.adoc, the table of the data centre's benchmarks, as
#: of commit ac93e89 (July 2026). Rows there say "Server" or "Conversational", and "Interactive".
PRESETS = (
    _pair("llama3.1-8b-server", 2000, 100),
    _pair("llama3.1-8b-interactive", 500, 30),
    _pair("llama2-70b-server", 2000, 200),
    _pair("llama2-70b-interactive", 450, 40),
    _pair("llama3.1-405b-server", 6000, 175),
    _pair("llama3.1-405b-interactive", 4500, 80),
    _pair("mixtral-8x7b-server", 2000, 200),
    _pair("deepseek-r1-server", 2000, 80),
    _pair("deepseek-r1-interactive", 1500, 15),
    _pair("gpt-oss-120b-server", 3000, 80),
    _pair("gpt-oss-120b-interactive", 2000, 20),
)


def preset(name: str) -> TokenBounds:
    """The pair of that name. Raises `SpecError`."""
    for one in PRESETS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in PRESETS)
    raise SpecError(f"{name!r} is not a known pair of bounds; known: {known}.")


def values(cell: Cell) -> tuple[int | None, int | None, int | None]:
    """The bounds that a cell is asked under, of a query, of TTFT and of TPOT, in ns."""
    return cell.latency_bound_ns, cell.ttft_bound_ns, cell.tpot_bound_ns


def in_words(cell: Cell) -> str:
    """The same in words; empty where there are none."""
    named = zip(("", "TTFT ", "TPOT "), values(cell), strict=True)
    return ", ".join(f"{name}p99 ≤ {duration(ns)}" for name, ns in named if ns is not None)
