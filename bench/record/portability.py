"""The portability report as data: what ``--json`` prints, and what other forms are made from.

Readers ignore keys that they don't know; another outcome needs another ``SCHEMA_VERSION``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bench.cell import Frozen

SCHEMA_VERSION = 1

#: Of an operator on a target, from its tests.
OperatorOutcome = Literal[
    "pass", "partial", "wrong", "unsupported", "crash", "timeout", "not-expressible", "unavailable"
]
#: Of a model on a target. ``fallback``: it runs, and some nodes ran off the asked device.
ModelOutcome = Literal[
    "runs", "fallback", "wrong", "unsupported", "crash", "timeout", "unavailable", "not-tried"
]
#: Of a model on a target before it is tried. ``doubtful``: some tests of one of its operators fail.
Expected = Literal["runs", "doubtful", "fails", "unknown"]


class TargetRow(Frozen):
    """A target; ``counts`` are tests by outcome, expanded ones included."""

    target: str
    version: str = ""
    device_name: str = ""
    simulated: bool = False
    counts: dict[str, int] = Field({})
    unavailable: str = Field("", description="why it is unavailable, or takes no ONNX")
    seconds: float | None = Field(None, description="time of the tests, including cached ones")


class OperatorRow(Frozen):
    """An operator, since a version of its domain, on a target: from the tests of the node itself.

    ``outcome``: ``pass`` and ``partial`` say that all or some tests pass; a crash, a timeout or a
    wrong result of any test takes precedence (an older bench wrote ``partial`` for the last).
    ``worst_error`` is the largest absolute error of a wrong result.
    ``expanded_*`` count the tests of the function that defines the operator from others.
    """

    operator: str
    domain: str
    opset: int
    target: str
    outcome: OperatorOutcome
    tests: int = Field(description="that could be run")
    passed: int
    worst_error: float | None = None
    detail: str = Field("", description="of the worst test")
    counts: dict[str, int] = Field({})
    not_expressible: int = Field(0, description="tests of types that can't be passed to a worker")
    expanded_tests: int = 0
    expanded_passed: int = 0

    @property
    def worst(self) -> OperatorOutcome:
        """The worst outcome of any test: what passes elsewhere makes no wrong result better."""
        return "wrong" if self.outcome == "partial" and self.counts.get("wrong") else self.outcome


class FailureRow(Frozen):
    """A test that did not pass on a target."""

    test: str
    operator: str
    domain: str
    opset: int
    target: str
    outcome: str
    detail: str
    max_abs_error: float | None = None


class ModelRow(Frozen):
    """A model on a target: what came of it, and what the operators' tests had foretold.

    ``nodes`` names those that it fails on or that ran elsewhere, where that is known.
    ``prediction_held`` is null where nothing definite was foretold, or it was not tried.
    """

    model: str
    variant: str
    target: str
    outcome: ModelOutcome
    detail: str = ""
    nodes: tuple[str, ...] = ()
    predicted: Expected = "unknown"
    predicted_detail: str = ""
    prediction_held: bool | None = None


class SuiteFacts(Frozen):
    """The tests that were chosen from those that come with ``onnx``."""

    onnx_version: str
    tests: int = Field(description="that could be run on every target")
    expanded: int = Field(0, description="of these: of an operator expressed through others")
    random: int = Field(0, description="left out: they draw random numbers")
    not_expressible: int = Field(0, description="left out: a type that can't be passed to a worker")
    chosen_by: str = Field("", description="--operator and --opset, where given")


class PortabilityReport(Frozen):
    """The whole report."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["portability"] = "portability"
    bench_version: str
    created_at: str
    command: str = ""
    suite: SuiteFacts | None = Field(None, description="null where only models were asked for")
    facts: dict[str, Any] = Field({}, description="the machine, as in run.json")
    targets: tuple[TargetRow, ...] = ()
    operators: tuple[OperatorRow, ...] = ()
    models: tuple[ModelRow, ...] = ()
    failures: tuple[FailureRow, ...] = ()
    notes: tuple[str, ...] = ()
