"""A certificate of porting: what was asked, what was seen, and what follows from it.

What was seen (parties, passes, files) is told; `floor` and `findings` follow from the files that
`passes` and `answers` name, and are derived again by `bench publish --check`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from bench.cell import Count, Frozen, ModelIdentity, Positive, VariantName
from bench.record.result import Estimate, Figure, PlacementFact

#: Of the file `certificate.json`.
CERTIFICATE_VERSION = 1

#: ``impossible``: the target refuses the model or the precision, so nothing could be wrong.
VerdictName = Literal["same", "equivalent", "degraded", "inconclusive", "impossible"]
#: What differs between a pass over the inputs and the first, in one party:
#: nothing but the process; the number of threads; the samples a query; a sample's place in it.
Condition = Literal["plain", "again", "threads", "batch", "position"]
EvidenceFile = Annotated[str, Field(pattern=r"^(evidence/[^/\\]+\.parquet)?$")]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Asked(Frozen):
    """What the certificate is about, as it was asked for."""

    model: str
    against: str = ""  #: the model that it is held against; empty where that is itself
    reference: str  #: target
    on: tuple[str, ...]
    variants: tuple[VariantName, ...]
    #: what the primary metric may lose and count as the same, in its own unit
    margin: Annotated[float, Field(gt=0)]
    confidence: Annotated[float, Field(ge=0.5, lt=1)]
    seed: Count
    runs: tuple[str, ...] = ()  #: stored runs that it was made from, by their names


class Examined(Frozen):
    """What both were run on."""

    dataset: str = ""  #: empty where inputs were drawn
    dataset_sha256: str = ""
    inputs_sha256: str  #: of all that is read here: the arrays, or the texts
    examples: Count  #: rows: examples of a classifier, scored tokens of a language model
    clusters: Count  #: what is resampled: examples, or documents
    unit: Literal["example", "token", "pair", "query", "question", "prompt"] = "example"
    groups: tuple[str, ...] = ()  #: names of what `group` numbers: classes, or groups of documents
    notes: tuple[str, ...] = ()


class Party(Frozen):
    """One model on one target. The first of a certificate is the reference."""

    model: ModelIdentity
    variant: VariantName
    target: str
    threads: Count
    device_name: str = ""
    runtime_version: str = ""
    simulated: bool = False
    placement: PlacementFact | None = None
    computes_in: str = ""  #: the narrowest types of the model's file; empty where that isn't known


class Pass(Frozen):
    """A party's answers to all inputs, or to the first so many rows, by a process of its own.

    ``rows`` compares each row with the reference's plain pass; of a party's further passes, with
    its own plain one.
    """

    party: Count
    condition: Condition
    detail: str = ""  #: in words: "1 thread instead of 2"
    rows: EvidenceFile = ""
    predictions: EvidenceFile = ""
    failure: str = ""  #: why there is nothing
    impossible: bool = False  #: the target can't do what is asked; it didn't fail at it


class Answers(Frozen):
    """What a language model goes on with by itself, compared with the reference's; ``again`` marks
    the reference's own second time."""

    party: Count
    condition: Condition
    rows: EvidenceFile = ""
    failure: str = ""


class Place(Frozen):
    """Where a party leaves the reference: what `bench debug bisect` found."""

    party: Count
    stage: str  #: "whole model", "prefill", "decode"
    tensor: str = ""
    node: str = ""
    op: str = ""
    error: NonNegative | None = None
    sentence: str


# -- what follows ---------------------------------------------------------------------------------


class Numbers(Frozen):
    """How far outputs are apart, row by row.

    ``beyond`` counts rows with a value further off than ``limit`` allows; ``roundings`` is the
    largest difference in units in the last place of values of the outputs' size, ``floors`` in
    largest differences of the reference from itself (None where that is 0 or wasn't looked at).
    """

    rows: Count
    beyond: Count
    nonfinite: Count  #: rows with NaN or Inf in the candidate alone
    nonfinite_reference: Count  #: rows with NaN or Inf in the reference alone
    largest: Figure
    median: Figure
    p99: Figure
    roundings: NonNegative
    floors: NonNegative | None = None


class Distributions(Frozen):
    """How far apart the distributions are, over rows that have one; nats.

    ``divergence_error`` is by how much the divergence may be larger at most, ``acceptance_error``
    the acceptance: 0 where whole distributions were compared.
    """

    rows: Count
    divergence: Estimate | None
    divergence_error: NonNegative | None = 0.0  #: None where nothing bounds it
    infinite: Count = 0  #: rows in which the candidate gives 0 to what the reference gives more
    quantiles: dict[str, Figure]  #: of a row's divergence: "p50", "p90", "p99", "max"
    probability_change: Estimate | None  #: root mean square change of the right one's probability
    same_first: Estimate | None  #: share of rows with the same most probable outcome
    ln_perplexity_ratio: Estimate | None = None
    acceptance: Estimate | None  #: mean of sum min(p, q)
    acceptance_error: NonNegative = 0.0


class Group(Frozen):
    """The primary metric in one class, or one group of documents."""

    name: str
    examples: Count
    gain: Estimate
    p: Share  #: of "no worse than the margin", corrected for all groups
    degraded: bool


class Decisions(Frozen):
    """What is decided: the primary metric, paired. ``gain`` above 0: the candidate is better; its
    interval is that of two one-sided tests, at ``confidence`` = 1 - 2 alpha."""

    metric: str
    better: Literal["higher", "lower"]
    reference: Figure
    candidate: Figure
    gain: Estimate
    margin: NonNegative
    p: Share  #: of "they are equal", by ``test``
    test: str
    examples: Count
    lost: Count | None = None  #: right by the reference alone
    gained: Count | None = None
    groups: tuple[Group, ...] = ()
    needed: Count | None = None  #: examples (clusters) that would decide, in all; None: none would
    floor: NonNegative | None = None  #: the largest change between the reference's own passes


class FreeRunning(Frozen):
    """Whole greedy answers beside the reference's."""

    prompts: Count
    tokens: Count  #: that the reference answered, in all
    same: Estimate  #: share of prompts with the same answer throughout
    first: dict[str, Figure] = Field(default_factory=dict)  #: place of the first other token
    #: of those that differ, where the reference's two best were as near as rounding leaves them
    ties: Count = 0
    same_again: Share | None = None  #: the same share of the reference's own further answers


class Finding(Frozen):
    """The verdict on one party, with its evidence."""

    party: Positive
    verdict: VerdictName
    reasons: tuple[str, ...]
    numbers: Numbers | None = None
    itself: Numbers | None = None  #: the party's own second time beside its first
    distributions: Distributions | None = None
    decisions: Decisions | None = None
    running: FreeRunning | None = None


class Certificate(Frozen):
    """What `certificate.json` holds."""

    certificate_version: int = CERTIFICATE_VERSION
    bench_version: str
    created_at: str
    command: str
    facts: dict[str, Any]  #: of the machine
    asked: Asked
    examined: Examined
    limit: str  #: how far numbers may be apart, and whose limit that is
    parties: tuple[Party, ...]
    passes: tuple[Pass, ...]
    answers: tuple[Answers, ...] = ()
    files: dict[str, str]  #: SHA-256 of each file of evidence, by its name
    floor: dict[str, Numbers]  #: the reference's own passes, by condition
    findings: tuple[Finding, ...]
    places: tuple[Place, ...] = ()
