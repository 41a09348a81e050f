"""The unit that is measured: one model, variant, target, scenario and batch, with a stable id."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from bench.errors import SpecError
from bench.scenarios import SCENARIOS, find_scenario
from bench.variants import DEFAULT, VARIANTS, suffix


def _known_scenario(name: str) -> str:
    try:
        return find_scenario(name).name
    except SpecError as error:
        raise ValueError(str(error)) from error


def _axis_number(value: object) -> object:
    """An axis may be written as a number."""
    return str(value) if type(value) is int else value


#: What a user calls an axis: its name, its number, or ``none``.
AxisName = Annotated[str, BeforeValidator(_axis_number)]
ScenarioName = Annotated[
    str,
    AfterValidator(_known_scenario),
    Field(examples=[row.name for row in SCENARIOS.built_in]),
]
#: Not checked where it is read: a run of another distribution's variant is readable without it.
VariantName = Annotated[str, Field(examples=[row.name for row in VARIANTS.built_in])]
Lane = Literal["prepared", "api", "native"]
#: What is larger was never counted: as many ns are 31 years.
MOST = 10**18
Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(gt=0, le=MOST)]


class Frozen(BaseModel):
    """Base of every value that is written down: immutable; unknown keys are refused, and numbers
    that JSON has no form for (NaN and the infinities, which would go out as null)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelIdentity(Frozen):
    """What a record needs to know of a model after the files are gone."""

    name: str
    sha256: str  #: of what computes: weights, graph, definition
    task: str
    distilled_from: str | None = None
    control_of: str | None = None
    variant_of: str | None = None
    file_bytes: Count  #: size of the file that the runtime loaded
    parameters: Count | None = None
    #: the precision that the weights had in the user's file, where they were dequantised
    #: from it before anything else was done: ``GGUF Q4_1``
    stored_as: str = ""


#: What issues the queries: our own engine, or MLPerf's LoadGen.
Driver = Literal["bench", "loadgen"]
#: LoadGen's seeds are 64-bit words.
Seed = Annotated[int, Field(ge=0, lt=1 << 64)]


class LoadGen(Frozen):
    """How MLPerf's LoadGen drives a cell, in the words of its ``user.conf``: times in ms,
    percentiles of 100. What is not said follows from the scenario and the warm-up."""

    min_duration: Annotated[int, Field(ge=0, le=86_400_000)] = 10_000  # LoadGen's own default
    min_query_count: Annotated[int, Field(ge=1, le=10_000_000)] = 100  # likewise
    target_qps: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="Server: the rate; otherwise how many queries LoadGen prepares for"
    )
    target_latency: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        None, description="Server: upper bound of the latency, like latency_bound"
    )
    target_latency_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    performance_sample_count_override: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="samples of the labelled data, bound before the test; one per query"
    )
    # The seeds of MLPerf Inference v6.0 and v6.1 (mlcommons/inference, loadgen/mlperf.conf).
    qsl_rng_seed: Seed = 2085463073848966840
    sample_index_rng_seed: Seed = 2747215439041700203
    schedule_rng_seed: Seed = 16159082839903944936


#: Fields that cells did not always have.
_LATER = ("ttft_bound_ns", "tpot_bound_ns", "loadgen")


class Cell(Frozen):
    """One point of the cross product that a plan measures.

    ``shapes`` are the input shapes of one query; ``batch`` samples travel in each query.
    """

    model: ModelIdentity
    variant: VariantName = DEFAULT
    target: str
    scenario: ScenarioName
    batch: Positive
    shapes: dict[str, tuple[Count, ...]]
    threads: Count
    lane: Lane = "prepared"
    input_sha256: str  #: of the arrays that are timed
    allow_fallback: bool = False
    latency_bound_ns: Positive | None = None  #: what the 99th percentile of latency must not exceed
    ttft_bound_ns: Positive | None = None  #: the same of a language model's time to first token
    tpot_bound_ns: Positive | None = None  #: the same of its time per output token
    loadgen: LoadGen | None = None  #: set where MLPerf's LoadGen issues the queries
    #: by input the axis that counts samples, of those that have one; None where nobody kept it
    batch_axes: dict[str, Count] | None = None

    @property
    def driver(self) -> Driver:
        """What issues its queries."""
        return "bench" if self.loadgen is None else "loadgen"

    @property
    def through(self) -> str:
        """What tells people that our own engine didn't issue its queries; empty where it did."""
        return "" if self.loadgen is None else "through LoadGen"

    @property
    def lane_words(self) -> str:
        """What tells people that other than prepared calls were timed; empty where those were."""
        return {"api": "user API", "native": "native loop"}.get(self.lane, "")

    @property
    def is_rate(self) -> bool:
        """Whether the figure is a rate in samples per second, not the latency of a query."""
        return find_scenario(self.scenario).figure == "rate"

    @property
    def device_kind(self) -> str:
        """What its target's device is of: ``cpu``, ``cuda``; empty where the target names none."""
        return self.target.partition("?")[0].partition(":")[2].partition(":")[0]

    @property
    def id(self) -> str:
        """12 hex digits of the SHA-256 over everything that defines the cell."""
        defining = self.defining("model")
        for name in _LATER:  # where there is none, ids are as they were before there could be
            if defining[name] is None:
                del defining[name]
        defining["model"] = [self.model.name, self.model.sha256]
        text = json.dumps(defining, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def defining(self, *without: str) -> dict[str, Any]:
        """All fields that define the cell, but those ``without``, as JSON has them. What its axes
        mean is no part of that: the same arrays are timed, and older runs don't say it."""
        return self.model_dump(mode="json", exclude={"batch_axes", *without})

    @property
    def label(self) -> str:
        """How people are told which cell this is."""
        model = f"{self.model.name}{suffix(self.variant)}"
        return f"{model} {self.target} {self.scenario} batch {self.batch} {self.through}".strip()
