"""Scenarios: how queries reach a model (MLPerf's words and meanings). One row says all of one.

A distribution adds a row of its own through the entry-point group ``bench.scenarios``, which maps
its name to ``module:ROW``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
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
    #: whether it is asked under bounds on 99th percentiles
    bounded: bool = False
    #: whether several queries are in flight at once, as many as the target's ``streams``
    streams: bool = False
    #: whether the latency of its queries is shown beside the figure
    shows_latency: bool = True
    #: whether tables show it unlabelled; in a table the others are told by their names
    plain: bool = False
    #: which cost of a model the pairs, the deal and the front read from it
    weighs: Literal["", "latency", "throughput"] = ""
    #: of a language model: what a query of its samples is, by what has to be told of it: the tokens
    #: of a ``prompt``; those in the cache (``depth``) before one token; those before a ``draft``,
    #: which is checked at once, and its own; those of a ``text``, a prompt and its answer; empty
    #: for scenarios that know no cache
    counts: Literal["", "prompt", "depth", "draft", "text"] = ""
    #: whether it is for models without a cache, too
    for_all: bool = True
    #: so many of them, of a text those of its prompt; the suite's ``prompt`` or ``depth`` says how
    #: many where it is None
    size: int | None = None
    #: of a text: how many tokens the model makes; the suite's ``answer`` says how many
    answer: int | None = None
    #: how many tokens a draft has; the suite's ``draft`` says how many where it is None
    draft: int | None = None
    #: what measures its cells: ``module:Class``, a `bench.measure.group.Group`
    group: str = "bench.measure.group:Group"
    #: what MLPerf's LoadGen calls it; empty where LoadGen doesn't know it
    loadgen: str = ""

    @property
    def label(self) -> str:
        """What tells its rows from those of others."""
        return "" if self.plain else self.name

    @property
    def plain_name(self) -> str:
        """Its name without lengths."""
        return self.name.partition(AT)[0]

    @property
    def tokens(self) -> int:
        """Tokens that a language model has seen, and made, when a query ends."""
        return (self.size or 0) + (self.answer or 0) + (self.behind and self.new_tokens)

    @property
    def behind(self) -> bool:
        """Whether it is a step behind tokens in the cache."""
        return self.counts in ("depth", "draft")

    @property
    def new_tokens(self) -> int:
        """Tokens that one query of a language model's sample takes or makes; of a draft also the
        one before it, which is where checking begins."""
        return (self.draft or 0) + 1 if self.behind else self.tokens

    @property
    def flags(self) -> str:
        """Which flags say its lengths, in words."""
        two = {"text": "--prompt or --answer", "draft": "--depth or --draft"}
        return two.get(self.counts, f"--{self.counts}")

    def of_size(self, size: int) -> Scenario:
        """The scenario at one length: ``decode@512``."""
        return replace(self, name=f"{self.name}{AT}{size}", size=size, plain=False)

    def of_text(self, prompt: int, answer: int) -> Scenario:
        """The scenario at the lengths of a prompt and its answer: ``offline@128+64``."""
        sized = self.of_size(prompt)
        return replace(sized, name=f"{sized.name}{PLUS}{answer}", answer=answer)

    def of_draft(self, depth: int, draft: int) -> Scenario:
        """The scenario behind so many tokens, with a draft of so many: ``verify@512+4``."""
        sized = self.of_size(depth)
        return replace(sized, name=f"{sized.name}{PLUS}{draft}", draft=draft)


#: Between a scenario's name and its length in tokens.
AT = "@"
#: Between the lengths of a prompt and its answer, and between a depth and that of a draft.
PLUS = "+"
SINGLE_STREAM = Scenario(
    "single-stream",
    "latency",
    one_sample=True,
    plain=True,
    weighs="latency",
    loadgen="SingleStream",
)
MULTI_STREAM = Scenario("multi-stream", "latency", loadgen="MultiStream")
OFFLINE = Scenario(
    "offline",
    "rate",
    streams=True,
    shows_latency=False,
    plain=True,
    weighs="throughput",
    counts="text",
    loadgen="Offline",
)
SERVER = Scenario(
    "server",
    "rate",
    one_sample=True,
    bounded=True,
    counts="text",
    group="bench.measure.server_group:ServerGroup",
    loadgen="Server",
)
PREFILL = Scenario("prefill", "latency", one_sample=True, counts="prompt", for_all=False)
DECODE = Scenario(
    "decode", "latency", one_sample=True, counts="depth", for_all=False, weighs="latency"
)
#: What the original's step takes that checks a draft (speculative decoding).
VERIFY = Scenario("verify", "latency", one_sample=True, counts="draft", for_all=False)
GENERATE = Scenario(
    "generate", "latency", one_sample=True, counts="text", for_all=False, weighs="latency"
)
SCENARIOS = Catalogue(
    "scenario",
    "bench.scenarios",
    (SINGLE_STREAM, MULTI_STREAM, OFFLINE, SERVER, PREFILL, DECODE, VERIFY, GENERATE),
)
#: LoadGen's name of a scenario -> ours.
_LOADGEN_NAMES = {row.loadgen: row.name for row in SCENARIOS.built_in if row.loadgen}
#: What a run measures unless it is told otherwise.
DEFAULT = (SINGLE_STREAM.name, OFFLINE.name)
#: The same for language models, instead of `DEFAULT`.
LANGUAGE_DEFAULT = (PREFILL.name, DECODE.name)


def find_scenario(name: str) -> Scenario:
    """The scenario called ``name``, lengths in tokens included (``decode@512``,
    ``offline@128+64``), or by LoadGen's name for it (``SingleStream``).

    Raises `SpecError` for a name that isn't there.
    """
    name = _LOADGEN_NAMES.get(name, name)
    plain, at, text = name.partition(AT)
    row = SCENARIOS.find(plain)
    if not at:
        return row
    lengths = text.split(PLUS)
    made: dict[str, Callable[..., Scenario]] = {
        "prompt": row.of_size,
        "depth": row.of_size,
        "draft": row.of_draft,
        "text": row.of_text,
    }
    wanted = 2 if row.counts in ("draft", "text") else 1
    if row.counts not in made or len(lengths) != wanted or not all(map(_is_length, lengths)):
        raise SpecError(
            f"{name!r}: only scenarios of language models take lengths, in tokens: prefill{AT}128, "
            f"decode{AT}512, verify{AT}512{PLUS}4 (a draft after 512 tokens), "
            f"generate{AT}128{PLUS}64."
        )
    return made[row.counts](*map(int, lengths))


def _is_length(text: str) -> bool:
    return text.isdecimal() and text.isascii() and int(text) >= 1


def back_to_back(batch: int) -> Scenario:
    """One query after the other, each of ``batch`` samples."""
    return SINGLE_STREAM if batch == 1 else MULTI_STREAM


def weighing(cost: Literal["latency", "throughput"], present: Collection[str]) -> str | None:
    """Of the scenarios ``present`` the one that a cost is read from, ours before others'."""
    rows = sorted(map(find_scenario, present), key=lambda row: row not in SCENARIOS.built_in)
    return next((row.name for row in rows if row.weighs == cost), None)
