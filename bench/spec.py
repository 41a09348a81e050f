"""What to run: a suite file, with flags laid over it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from bench import bounds, scenarios, variants
from bench.cell import (
    AxisName,
    Count,
    Driver,
    Frozen,
    Lane,
    LoadGen,
    Positive,
    ScenarioName,
    VariantName,
)
from bench.defaults import CONFIDENCE, LONGEST_S, MARGIN
from bench.discover import suite_paths
from bench.errors import SpecError, listed
from bench.numbers import fraction_of
from bench.scenarios import SCENARIOS, Scenario, find_scenario
from bench.validation import problems, read_toml

#: An interval needs two (`bench.stats.interval`, which the vocabulary does not import).
FEWEST_INVOCATIONS = 2
#: 8 blocks of 10 ms, and starting a process.
SECONDS_PER_INVOCATION = 0.1
#: Standard deviation between identical pinned workers where it was measured (docs/method.md).
TYPICAL_PROCESS_SPREAD = 0.02

_TIME_UNITS_NS = {"us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_TIME = re.compile(r"(\d+(?:\.\d+)?) ?(us|µs|ms|s)")


def _number(text: str) -> str:
    """The number in front of a unit."""
    found = re.match(r"[\d.]+", text)
    return found.group() if found else ""


def _ns(text: str | None) -> int | None:
    """A time with its unit in ns."""
    if text is None:
        return None
    unit = text.removeprefix(_number(text)).strip()
    return round(float(_number(text)) * _TIME_UNITS_NS[unit])


#: What is meant where nobody says how many samples a query holds.
BATCH = (32,)
#: Batches are doubled until throughput stops rising.
AUTO: Final = "auto"
#: Where that begins.
_FIRST = (1,)


#: Half-width of an interval that an overview is content with where the order is settled: that of
#: `--quick`.
DECENT = 0.05
#: When a cell has its answer; `overview` is what `bench run` means where nothing is asked for.
Goal = Literal["precision", "rank", "overview"]
#: Who an error blames where a file didn't say it: the terminal's flags, or Python's arguments.
FLAGS, ARGUMENTS = "the flags", "the arguments"
#: Fields whose flag has another name.
FLAG_NAMES: Final = {
    "models": "model",
    "targets": "target",
    "variants": "variant",
    "scenarios": "scenario",
    "inputs": "input",
    "shapes": "shape",
    "accuracy": "no-accuracy",
    "max_time_s": "max-time",
    "budget_s": "budget",
    "cell_timeout_s": "cell-timeout",
    "energy_window_s": "energy-window",
    "wall_offset_s": "wall-offset",
}
#: Fields that only a file sets.
_WITHOUT_FLAG = ("name", "confidence")
#: A key in a message, and what is in it: `` `loadgen.min_duration` is -1, but ``.
_KEY = re.compile(r"`([a-z_]+)((?:\.\w+)*)`(?: is ('.*?'|\S+), but(?= should))?")
#: Of a suite that more is laid over before it is used.
_DRAFT: Final = "draft"
#: What says how sure the answer has to be: whoever gives one of these wants no overview.
_HOW_SURE = ("goal", "precision", "max_time_s", "min_invocations", "max_invocations")


class Suite(Frozen):
    """Models x variants x targets x scenarios, and how sure the answer has to be."""

    name: str = Field(
        "bench",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="ends the name of the run's directory",
    )
    models: tuple[str, ...] = Field((), description="names or paths of models")
    targets: tuple[str, ...] = Field(("*",), description="targets; * means every available one")
    variants: tuple[VariantName, ...] = Field((variants.DEFAULT,), description="precision forms")
    scenarios: tuple[ScenarioName, ...] = Field(scenarios.DEFAULT, description="load patterns")
    batch: tuple[Positive, ...] | Literal["auto"] = Field(
        BATCH, description="samples per query, offline/multi-stream; auto: doubled up to the knee"
    )
    latency_bound: str | None = Field(
        None, description="server: upper bound of the 99th percentile, for example 5ms"
    )
    ttft_bound: str | None = Field(
        None, description="server of a language model: upper bound of the p99 of TTFT"
    )
    tpot_bound: str | None = Field(
        None, description="server of a language model: upper bound of the p99 of TPOT"
    )
    bounds: str | None = Field(
        None, description="both bounds by name, for example llama3.1-8b-server (MLPerf's)"
    )
    prompt: tuple[Positive, ...] = Field(
        (128,), description="prompt length of a language model, in tokens"
    )
    answer: tuple[Positive, ...] = Field((64,), description="tokens generated per query")
    depth: tuple[Positive, ...] = Field((32, 512), description="decode: tokens in the cache")
    draft: tuple[Positive, ...] = Field(
        (1, 2, 4, 8), description="verify: drafted tokens checked at once"
    )
    inputs: tuple[str, ...] = Field(
        (), description="what PyTorch modules take, for example 1x3x64x64 or ids=1x128:int64"
    )
    shapes: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {}, description="sizes of symbolic dimensions"
    )
    batch_axis: AxisName | None = Field(
        None, description="the batch axis: its name, its index, or none"
    )
    threads: Positive | None = Field(None, description="compute threads; default: physical cores")
    lane: Lane = Field(
        "prepared", description="prepared inputs, the api that users write, or native (no Python)"
    )
    driver: Driver = Field("bench", description="what issues the queries: bench, or loadgen")
    loadgen: LoadGen = Field(LoadGen(), description="LoadGen's settings, with driver loadgen")
    precision: float = Field(
        0.02, gt=0, lt=1, description="half-width of the interval relative to the estimate"
    )
    confidence: float = Field(CONFIDENCE, ge=0.5, lt=1, description="of every interval")
    max_time_s: float = Field(
        20.0,
        gt=0,
        description="seconds of worker time per cell; up to three times that for its "
        "min_invocations",
    )
    goal: Goal = Field(
        "precision",
        description="stop at narrow intervals, when the order of targets is settled, or "
        "(overview) at either, where a settled cell needs a coarse interval only",
    )
    budget_s: float | None = Field(
        None, gt=0, description="seconds for the whole run, from its start to its last record"
    )
    margin: float = Field(MARGIN, gt=0, lt=1, description="smaller differences count as equal")
    min_invocations: int = Field(
        5, ge=FEWEST_INVOCATIONS, description="fewest worker processes per cell"
    )
    max_invocations: int = Field(
        30, ge=FEWEST_INVOCATIONS, description="most worker processes per cell"
    )
    cell_timeout_s: float = Field(
        300.0,
        gt=0,
        le=LONGEST_S,
        description="seconds without an answer after which a worker is killed",
    )
    seed: Count = Field(1, description="of the inputs and of the order of measuring")
    allow_fallback: bool = Field(False, description="keep rows that ran partly elsewhere")
    accuracy: bool = Field(True, description="score the labelled data")
    energy: bool = Field(False, description="measure energy, in separate windows")
    energy_window_s: float = Field(3.0, ge=1, le=600, description="seconds per energy window")
    wall_command: str | None = Field(None, description="a command that prints the watts drawn")
    wall_csv: str | None = Field(None, description="a meter's CSV file: time and watts")
    wall_zone: str = Field("UTC", description="time zone of the file's times that don't name one")
    wall_offset_s: float = Field(
        0.0, ge=-86400, le=86400, description="seconds to add to the file's times"
    )
    roofline: bool = Field(False, description="compare each cell with its target's measured peaks")

    @field_validator("precision", "margin", mode="before")
    @classmethod
    def _percent(cls, value: Any) -> Any:
        """``"2%"`` is 0.02."""
        if isinstance(value, str) and value.strip().endswith("%"):
            try:
                return fraction_of(value)
            except ValueError:
                raise ValueError("must be a number or a percentage, for example 2%") from None
        return value

    @model_validator(mode="after")
    def _possible(self, info: ValidationInfo) -> Suite:
        """What one key says against another, which what is laid over a draft may still mend."""
        if info.context == _DRAFT:
            return self
        if self.max_invocations < self.min_invocations:
            raise ValueError(
                f"`max_invocations` ({self.max_invocations}) is below `min_invocations` "
                f"({self.min_invocations})"
            )
        self._bounds_fit()
        self._driver_fits()
        if self.wall_command is not None and self.wall_csv is not None:
            raise ValueError("`wall_command` and `wall_csv` both read a wall meter: give only one")
        if (self.wall_command or self.wall_csv) and not self.energy:
            wall = "wall_csv" if self.wall_csv else "wall_command"
            raise ValueError(f"`{wall}` is only read with `energy`: give both")
        # Rounded, for 3 x 0.1 is more than the 0.3 that is asked for, and shown.
        least_s = round(self.min_invocations * SECONDS_PER_INVOCATION, 3)
        if self.max_time_s < least_s:
            raise ValueError(
                f"`max_time_s` ({self.max_time_s:g}) is too short for {self.min_invocations} "
                f"invocations; allow at least {least_s:g} s, or fewer invocations"
            )
        return self

    def batches(self, scenario: Scenario) -> tuple[int, ...]:
        """How many samples a query of a scenario that may have several holds."""
        if isinstance(self.batch, tuple):
            return self.batch
        return _FIRST if self.sweeps(scenario) else BATCH

    def sweeps(self, scenario: Scenario) -> bool:
        """Whether the batch of a scenario is doubled until its rate stops rising."""
        return self.batch == AUTO and scenario.figure == "rate" and not scenario.one_sample

    @property
    def sizes_of_batches(self) -> tuple[int, ...]:
        """Those that are known before anything is measured."""
        return self.batch if isinstance(self.batch, tuple) else ()

    def _bounds_fit(self) -> None:
        """A scenario that is bounded has bounds, and others have none."""
        bounded = [name for name in self.scenarios if find_scenario(name).bounded]
        of_tokens = (self.ttft_bound, self.tpot_bound)
        latency = self.latency_bound or self.loadgen.target_latency
        if bool(bounded) != any((latency, self.bounds, *of_tokens)):
            name = (bounded or [row.name for row in SCENARIOS.built_in if row.bounded])[0]
            raise ValueError(
                f"the scenario `{name}` and its bounds go together: give both, for example "
                f"--scenario {name} --latency-bound 5ms, and for a language model "
                f"--scenario {name} --bounds {bounds.PRESETS[0].name}"
            )
        if any(of_tokens) and (self.bounds or not all(of_tokens)):
            raise ValueError(
                "`ttft_bound` and `tpot_bound` go together: give both, or a pair by its name with "
                f"--bounds {bounds.PRESETS[0].name}"
            )

    def _driver_fits(self) -> None:
        """LoadGen's settings are for LoadGen, and what it can't do isn't asked of it."""
        if self.driver == "bench":
            if self.loadgen != LoadGen():
                raise ValueError("`loadgen` is only read with `driver` loadgen: give both")
            return
        for name in self.scenarios:
            if not find_scenario(name).loadgen:
                known = [row.name for row in SCENARIOS.built_in if row.loadgen]
                raise ValueError(
                    f"LoadGen has no scenario `{name}`; `driver` loadgen has: {', '.join(known)}"
                )
        if self.lane == "native":
            raise ValueError("LoadGen calls Python, so it can't use the native lane")
        if self.energy:
            raise ValueError(
                "energy is only measured by bench's own driver: leave out `energy` "
                "or `driver` loadgen"
            )
        if self.latency_bound and self.loadgen.target_latency:
            raise ValueError(
                "`latency_bound` and LoadGen's `target_latency` set the same limit: give only one"
            )

    @field_validator("bounds")
    @classmethod
    def _is_a_pair(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                bounds.preset(value)
            except SpecError as error:
                raise ValueError(str(error)) from error
        return value

    @field_validator("latency_bound", "ttft_bound", "tpot_bound")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None and (_TIME.fullmatch(value) is None or float(_number(value)) <= 0):
            raise ValueError("must be a time with its unit, for example 500us, 5ms or 1s")
        return value

    @property
    def ending(self) -> str:
        """When cells stop, in words."""
        narrow = f"until its interval is within ±{100 * self.precision:.3g}% of the estimate"
        if self.goal == "rank":
            narrow = "until the order of its model's targets is settled"
        if self.goal == "overview":
            coarse = 100 * max(DECENT, self.precision)
            narrow += f", or ±{coarse:.3g}% where the order of its model's targets is settled"
        words = (
            f"each {narrow}, at least {self.min_invocations} invocations, "
            f"at most {self.max_time_s:g} s"
        )
        if self.budget_s is None:
            return f"{words}."
        return f"{words}; about {self.budget_s:g} s for the whole run."

    @property
    def latency_bound_ns(self) -> int | None:
        """The bound in ns."""
        if self.loadgen.target_latency is not None:
            return round(self.loadgen.target_latency * _TIME_UNITS_NS["ms"])
        return _ns(self.latency_bound)

    @property
    def ttft_bound_ns(self) -> int | None:
        """That of TTFT in ns."""
        return bounds.preset(self.bounds).ttft_ns if self.bounds else _ns(self.ttft_bound)

    @property
    def tpot_bound_ns(self) -> int | None:
        """That of TPOT in ns."""
        return bounds.preset(self.bounds).tpot_ns if self.bounds else _ns(self.tpot_bound)

    def doubts(self) -> list[str]:
        """What is possible but unlikely to be reached, with what would be enough."""
        needed = math.ceil((1.96 * TYPICAL_PROCESS_SPREAD / self.precision) ** 2)
        if self.goal != "precision" or needed <= self.max_invocations:
            return []
        reachable = 1.96 * TYPICAL_PROCESS_SPREAD / math.sqrt(self.max_invocations)
        return [
            f"a precision of {self.precision:.2g} needs about {needed} invocations when processes "
            f"differ by {TYPICAL_PROCESS_SPREAD:.0%}, but at most {self.max_invocations} are "
            f"allowed: use --max-invocations {needed}, or --precision {reachable:.1%}."
        ]


def _bounds_that_give_way(suite: Suite, flags: dict[str, Any]) -> dict[str, int]:
    """Where one of the two bounds on invocations is given, the other one follows it."""
    fewest, most = flags.get("min_invocations"), flags.get("max_invocations")
    if isinstance(fewest, int) and most is None:
        return {"max_invocations": max(suite.max_invocations, fewest)}
    if isinstance(most, int) and fewest is None:
        return {"min_invocations": min(suite.min_invocations, max(most, FEWEST_INVOCATIONS))}
    return {}


def _without_overview(suite: Suite, flags: dict[str, Any]) -> dict[str, Any]:
    """What becomes of an overview and its budget where somebody says how sure to be."""
    if suite.goal != "overview" or not any(name in flags for name in _HOW_SURE):
        return {}
    coarse = flags.get("precision")
    quicker = isinstance(coarse, float) and coarse >= suite.precision
    found = {"goal": "precision", "budget_s": suite.budget_s if quicker else None}
    if flags.get("goal") == "rank":  # an order is looked at as early as in an overview
        return found
    fewest = Suite.model_fields["min_invocations"].default
    return found | {"min_invocations": min(fewest, suite.max_invocations)}


#: How models are measured that are named without a suite: as the default suite, but for its budget,
#: which is for as many cells as it has.
OVERVIEW: dict[str, Any] = {"goal": "overview", "min_invocations": 3}
#: The presets of `bench run`; a flag beside one wins over it.
QUICK: dict[str, Any] = {"precision": 0.05, "max_time_s": 5.0, "min_invocations": 3}
THOROUGH: dict[str, Any] = {
    "precision": 0.01,
    "max_time_s": 120.0,
    "min_invocations": 10,
    "max_invocations": 100,
}
PRESETS = {"quick": QUICK, "thorough": THOROUGH}


def asked_suite(
    path: Path | None,
    preset: str | None,
    flags: dict[str, Any],
    named: dict[str, Any] = OVERVIEW,
    source: str = FLAGS,
) -> Suite:
    """The suite that somebody asks for: a file's, the default one, or where ``flags`` name models
    ``named``; with a preset over it, and the flags over both. ``source`` is what they are.

    Raises `SpecError` for what can't be read, and where there is no default suite.
    """
    laid = PRESETS[preset] if preset else {}
    if path is not None:
        draft = make_suite(read_toml(path, "suite file"), str(path), _DRAFT)
        if not laid and not flags:
            return make_suite(draft.model_dump(exclude_unset=True), str(path))
        try:
            return with_flags(with_flags(draft, laid, source, _DRAFT), flags, source)
        except SpecError:
            _blame_the_file(path, draft, {*laid, *flags})
            raise
    if "models" in flags:
        suite = make_suite(named, source)
    else:
        installed = suite_paths()
        if "default" not in installed:
            raise SpecError("the default suite is not installed: name a model.")
        suite = load_suite(installed["default"])
    return with_flags(with_flags(suite, laid, source, _DRAFT), flags, source)


def _blame_the_file(path: Path, draft: Suite, given: Collection[str]) -> None:
    """Raise what a file says against itself, where it is of no key that is ``given`` beside it."""
    try:
        make_suite(draft.model_dump(exclude_unset=True), str(path))
    except SpecError as error:
        if {key[1] for key in _KEY.finditer(str(error))}.isdisjoint(given):
            raise


def load_suite(path: Path) -> Suite:
    """Read a suite from TOML. Raises `SpecError` that names the file, the key and what it wants."""
    return make_suite(read_toml(path, "suite file"), str(path))


def make_suite(data: dict[str, Any], source: str, state: str | None = None) -> Suite:
    """Check ``data``; ``source`` is what an error blames: a file, `FLAGS` or `ARGUMENTS`. Of a
    `_DRAFT` each key is checked alone."""
    if data.get("goal") == "rank" and state != _DRAFT:
        # An order is looked at as early as in an overview.
        data = {"min_invocations": OVERVIEW["min_invocations"], **data}
    try:
        suite = Suite.model_validate(data, context=state)
    except ValidationError as error:
        told = [
            problems(error, [*Suite.model_fields, *LoadGen.model_fields]),
            *_unknown_variants(data.get("variants")),
        ]
        raise SpecError(_blamed(source, listed(told))) from error
    if unknown := _unknown_variants(suite.variants):
        raise SpecError(_blamed(source, listed(unknown)))
    return suite


def _blamed(source: str, words: str) -> str:
    """A complaint about keys, in the words of whoever set them."""
    if source == ARGUMENTS:
        return words
    return _KEY.sub(_flag, words) if source == FLAGS else f"{source}: {words}"


def _flag(found: re.Match[str]) -> str:
    """`` `scenarios.0` `` as ``--scenario``, for its value is shown, and what is in a table as the
    terminal takes it: ``--loadgen min_duration=-1``; other keys stay."""
    field, value = found[1], found[3]
    if field not in Suite.model_fields or field in _WITHOUT_FLAG:
        return found[0]
    inner = [part for part in found[2].split(".")[1:] if not part.isdigit()]
    after = found[0].rpartition("`")[2]
    if not inner:
        return flag_of(field) + after
    setting = f"{flag_of(field)} {'.'.join(inner)}"
    return f"{setting}={value.strip(chr(39))}: it" if value else setting + after


def flag_of(field: str) -> str:
    """How the terminal sets a field: ``max_time_s`` is ``--max-time``."""
    return f"--{FLAG_NAMES.get(field, field.replace('_', '-'))}"


def _unknown_variants(names: object) -> list[str]:
    """What is wrong with the names of variants, where they are names."""
    found = []
    for place, name in enumerate(names if isinstance(names, list | tuple) else ()):
        try:
            variants.find_variant(str(name))
        except SpecError as error:
            found.append(f"`variants.{place}`: {error}")
    return found


def with_flags(
    suite: Suite, flags: dict[str, Any], source: str = FLAGS, state: str | None = None
) -> Suite:
    """``suite`` with ``flags`` (those that were given) laid over it. Raises `SpecError`."""
    # A setting that is given leaves the others as they are.
    if isinstance(flags.get("loadgen"), Mapping):
        mine = suite.loadgen.model_dump(exclude_unset=True)
        flags = {**flags, "loadgen": {**mine, **flags["loadgen"]}}
    given = {**suite.model_dump(exclude_unset=True), **_without_overview(suite, flags), **flags}
    given |= _bounds_that_give_way(suite, flags)
    merged = make_suite(given, source, state)
    one_sample = all(find_scenario(name).one_sample for name in merged.scenarios)
    if flags.get("batch", _FIRST) != _FIRST and one_sample:
        larger = [f"--scenario {row.name}" for row in SCENARIOS.built_in if not row.one_sample]
        raise SpecError(
            f"--batch contradicts {' and '.join(merged.scenarios)}: one sample per query (as in "
            f"MLPerf); use {' or '.join(larger)} for larger queries."
        )
    for name in ("energy_window_s", "wall_zone", "wall_offset_s"):
        if name in flags and not merged.energy:
            raise SpecError(f"{flag_of(name)} has no effect without --energy: give both.")
    return merged
