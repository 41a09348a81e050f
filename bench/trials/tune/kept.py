"""``tune.json`` in a run directory: what was asked for, how the race stands, what came out."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from bench.cell import Count, Frozen
from bench.errors import SpecError
from bench.record.result import Amount
from bench.store.files import TUNE
from bench.validation import first_problem

TUNE_VERSION: Literal[2] = 2
#: The fields that `Confirmation` replaced.
_OF_VERSION_1 = ("raced_until", "confirmed_from", "confirming")


class Asked(Frozen):
    """What a tuning run is for. ``within`` is a difference of the primary metric as stored."""

    objective: Literal["latency", "throughput", "energy"]
    target: str
    latency_bound_ns: Count | None = None
    within: float | None = None
    max_time_s: float = Field(300.0, gt=0)
    against: tuple[str, ...] = ()  #: configurations that the pick is compared with, in words
    #: those to choose from; empty where nobody named any, which the suite of a run that was read
    #: back doesn't tell from the default
    batches: tuple[Count, ...] = ()


class Entrant(Frozen):
    """A configuration: its cell, and in what it departs from the default."""

    cell_id: str
    departures: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return " ".join(self.departures) or "the default"


class Fallen(Frozen):
    """Told apart as worse than another, by so many processes of each; cost over cost."""

    cell_id: str
    against: str
    processes: Count
    ratio: Amount


class Placed(Frozen):
    """One that isn't told apart from the best: its cost over that of the leader."""

    cell_id: str
    processes: Count  #: by which the two are compared
    ratio: Amount | None = None  #: None for the leader itself
    doubt: str = ""  #: what of its conditions is not shown to hold


class Gain(Frozen):
    """How much better the pick is than another, in processes that took no part in the choice: the
    other's cost over its own."""

    over: str
    ratio: Amount
    processes: Count


class Found(Frozen):
    """What came out: the first of ``best`` is the pick."""

    processes: Count  #: of each that raced to the end
    over: bool  #: whether the race was decided, not cut off by time
    best: tuple[Placed, ...] = ()
    nearest: Placed | None = None  #: the best by its costs where all are in doubt, with the doubt
    fallen: tuple[Fallen, ...] = ()
    gain: Gain | None = None  #: over the default; None where the pick is the default
    against: tuple[Gain, ...] = ()

    @property
    def pick(self) -> str:
        return self.best[0].cell_id if self.best else ""


class Confirmation(Frozen):
    """Generations in which a pick was measured again; no choice is made by them."""

    cell_id: str
    first: Count
    end: Count | None = None  #: the first one that doesn't belong to it; None while it is under way

    def has(self, generation: int) -> bool:
        return self.first <= generation and (self.end is None or generation < self.end)

    def ended(self, at: int) -> Confirmation:
        """The same where it isn't under way any more."""
        return self if self.end is not None else self.model_copy(update={"end": at})


class Tune(Frozen):
    """All of a tuning run but what was measured, which the run directory holds like any other's."""

    tune_version: Literal[2] = TUNE_VERSION
    asked: Asked
    entrants: tuple[Entrant, ...]  #: the simplest first; the first is the default
    against: tuple[Entrant, ...] = ()  #: only compared with the pick
    not_tried: dict[str, str] = Field(default_factory=dict)  #: by cell, with the reason
    thrown_out: dict[str, str] = Field(default_factory=dict)  #: the same
    beyond: Count = 0  #: configurations that are in no plan, for there were too many
    spent_s: Annotated[float, Field(ge=0)] = 0.0
    turns: Count = 0  #: processes, or windows with the idle ones, that were taken
    turns_s: Annotated[float, Field(ge=0)] = 0.0  #: what they took, of the seconds spent
    score_s: Annotated[float, Field(ge=0)] = 0.0  #: what the longest scoring took
    raced_from: Count = 0  #: the first generation of the race; those before were of an earlier one
    confirmations: tuple[Confirmation, ...] = ()
    found: Found | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, values: Any) -> Any:
        """An older bench kept the last confirmation alone, and where the first one began."""
        if not isinstance(values, dict) or values.get("tune_version") != 1:
            return values
        until, first, cell_id = (values.get(name) for name in _OF_VERSION_1)
        values = {name: value for name, value in values.items() if name not in _OF_VERSION_1}
        spans: list[dict[str, Any]] = []
        if first is not None and until is not None:
            spans = [{"cell_id": "", "first": until, "end": first}] if until < first else []
            spans.append({"cell_id": cell_id, "first": first})
        return {**values, "tune_version": TUNE_VERSION, "confirmations": spans}

    @property
    def default(self) -> str:
        return self.entrants[0].cell_id

    @property
    def racing(self) -> tuple[Entrant, ...]:
        """Those that were ever to be measured."""
        return tuple(one for one in self.entrants if one.cell_id not in self.not_tried)

    def retrying(self, failed: Collection[str]) -> Tune:
        """The same where configurations that ``failed`` were never tried: all are raced again with
        them, as where there is time for more than there was. Raises `SpecError` where there is
        none."""
        if self.spent_s >= self.asked.max_time_s:
            raise SpecError(
                f"--retry-failed: the {self.asked.max_time_s:g} s of this tuning run are spent. "
                "Give a longer --max-time."
            )
        again = {one.cell_id for one in self.entrants} & set(failed)
        thrown_out = {name: why for name, why in self.thrown_out.items() if name not in again}
        not_tried = self.not_tried | dict.fromkeys(again, "it failed")
        return self.model_copy(update={"thrown_out": thrown_out, "not_tried": not_tried})

    def races(self, generation: int) -> bool:
        """Whether the choice is made by what was measured in a generation."""
        of_it = generation >= self.raced_from
        return of_it and not any(one.has(generation) for one in self.confirmations)

    def confirms(self, cell_id: str, generation: int) -> bool:
        """Whether a generation measured that pick again."""
        return any(one.cell_id == cell_id and one.has(generation) for one in self.confirmations)

    def words(self, cell_id: str) -> str:
        """A configuration in words."""
        named = {one.cell_id: one.words for one in (*self.against, *self.entrants)}
        return named.get(cell_id, cell_id)


def read_tune(run: Path) -> Tune:
    """What a run directory keeps of its tune. Raises `SpecError`."""
    path = run / TUNE
    try:
        return Tune.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise SpecError(
            f"{run}: not a run of `bench tune`, or one that ended before anything was measured. "
            "Resume other runs with `bench run --resume`."
        ) from error
    except ValidationError as error:
        problem = first_problem(error, Tune.model_fields)
        raise SpecError(f"{path}: {problem}") from error
