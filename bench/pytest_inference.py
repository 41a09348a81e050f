"""What the fixture `inference` of `bench.pytest_plugin` does.

Two kinds of figures, which must not be mixed up:

- Calling it *times* the prepared call of the runtime with pytest-benchmark, in pytest's process:
  one process, beside whatever else that does. Good for a table and for seeing a trend; how much the
  next process would differ is not in it.
- `faster_than` *compares* by bench's own engine: both in turn, in several fresh processes, with an
  interval and a verdict. What is timed there are other processes than pytest's.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bench.cache import cache_folder
from bench.catalog import find_model
from bench.comparable import Match, Matched, sides
from bench.compare import Effect, compare
from bench.discover import load_backend
from bench.errors import BenchError, Unavailable
from bench.evaluate import predictions
from bench.machine import choose_cores
from bench.numbers import percent, points, ratio
from bench.parity import parity
from bench.plan import PlannedCell
from bench.progress import choose_listener
from bench.reference import References
from bench.run import Prepared, prepare, start
from bench.spec import QUICK, Suite
from bench.stats.interval import Interval
from bench.stats.verdict import Verdict
from bench.store import read_run
from bench.targets import choose_targets, discover_backends, parse_target, requested_backends
from bench.tasks import find_task
from bench.tasks.base import Columns
from bench.worker.timing import warm_up

CONFIDENCE = 0.95
_WARMUP_BUDGET_S = 3.0
#: Enough for an interval; a comparison in a test suite has to be short.
_COMPARED: dict[str, Any] = {**QUICK, "min_invocations": 5, "max_time_s": 3.0, "accuracy": False}


class BenchInconclusive(UserWarning):
    """An interval on both sides of what a test asserts."""


class Lab:
    """Prepared models and targets of one pytest session, each made once."""

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self._stack = ExitStack()
        self._prepared: dict[str, tuple[Prepared, References]] = {}
        self._columns: dict[tuple[str, str, str], Columns] = {}
        self._present: dict[tuple[str, ...], list[str]] = {}

    def close(self) -> None:
        """End all processes."""
        self._stack.close()

    def present(self, targets: tuple[str, ...]) -> list[str]:
        """The targets that wildcards mean here, by touching the devices."""
        if targets not in self._present:
            from bench.discover import backend_entry_points

            names = requested_backends(targets, list(backend_entry_points()))
            reports = {report.name: report for report in discover_backends(names)}
            found = choose_targets(targets, reports)
            self._present[targets] = [str(choice.target) for choice in found]
        return self._present[targets]

    def inference(self, request: pytest.FixtureRequest, wanted: Mapping[str, Any]) -> Inference:
        """A model on a target; the test is skipped where the target is absent."""
        try:
            prepared, references, planned = self.planned(wanted)
        except BenchError as error:
            pytest.fail(str(error), pytrace=False)
        if isinstance(planned.refused, Unavailable):
            pytest.skip(str(planned.refused))
        if planned.refused is not None:
            pytest.fail(str(planned.refused), pytrace=False)
        return Inference(self, request, dict(wanted), prepared, references, planned)

    def planned(self, wanted: Mapping[str, Any]) -> tuple[Prepared, References, PlannedCell]:
        """The cell that is meant, with the processes that can run it."""
        suite = _suite(wanted, tuple(wanted["models"]), tuple(wanted["targets"]))
        prepared, references = self._prepare(suite)
        meant = find_model(wanted["model"]).name, str(parse_target(wanted["target"]))
        for planned in prepared.plan.cells:
            if (planned.cell.model.name, planned.cell.target) == meant:
                return prepared, references, planned
        why = " ".join(prepared.plan.left_out)
        raise BenchError(f"{meant[0]} can't be run on {meant[1]}. {why}".rstrip())

    def _prepare(self, suite: Suite) -> tuple[Prepared, References]:
        key = suite.model_dump_json()
        if key not in self._prepared:
            made = self._stack.enter_context(prepare(suite, choose_listener(True), cache_folder()))
            self._prepared[key] = made, References(made.reports, made.launcher)
        return self._prepared[key]

    def columns(self, prepared: Prepared, planned: PlannedCell) -> Columns:
        """What accuracy is counted from, scored once for each model, variant and target."""
        cell = planned.cell
        key = cell.model.sha256, cell.variant, cell.target
        if key not in self._columns:
            cores = choose_cores(planned.cores)
            self._columns[key] = predictions(planned, prepared.launcher, cores)
        return self._columns[key]

    def inconclusive(self, words: str) -> bool:
        """What the policy makes of it: whether the test may go on as if it had held."""
        if self.policy == "xfail":
            pytest.xfail(f"inconclusive: {words}")
        if self.policy == "warn":
            warnings.warn(BenchInconclusive(words), stacklevel=3)
        return self.policy != "fail"


def _suite(
    wanted: Mapping[str, Any], models: tuple[str, ...], targets: tuple[str, ...], **more: Any
) -> Suite:
    batch = int(wanted.get("batch", 1))
    given = {key: wanted[key] for key in ("threads", "shapes", "allow_fallback") if key in wanted}
    return Suite.model_validate(
        {
            "models": models,
            "targets": targets,
            "variants": (wanted.get("variant", "fp32"),),
            "scenarios": ("single-stream",) if batch == 1 else ("multi-stream",),
            "batch": (batch,),
            **given,
            **more,
        }
    )


class Inference:
    """A model on a target, in one test."""

    def __init__(
        self,
        lab: Lab,
        request: pytest.FixtureRequest,
        wanted: dict[str, Any],
        prepared: Prepared,
        references: References,
        planned: PlannedCell,
    ) -> None:
        self._lab = lab
        self._request = request
        self._wanted = wanted
        self._prepared = prepared
        self._references = references
        self._planned = planned

    def __repr__(self) -> str:
        return f"<{self._planned.cell.label}>"

    @property
    def model(self) -> str:
        return self._planned.cell.model.name

    @property
    def target(self) -> str:
        return self._planned.cell.target

    def other(self, *, model: str | None = None, target: str | None = None) -> Inference:
        """The same but for the model or the target."""
        wanted = dict(self._wanted)
        if model is not None and model not in wanted["models"]:
            wanted["models"] = [*wanted["models"], model]
        if target is not None and target not in wanted["targets"]:
            wanted["targets"] = [*wanted["targets"], target]
        wanted["model"], wanted["target"] = model or wanted["model"], target or wanted["target"]
        return self._lab.inference(self._request, wanted)

    # -- timing in this process -------------------------------------------------------------------

    def __call__(self) -> None:
        """Time the prepared call with pytest-benchmark, then check what was timed: that it ran on
        the target, and that its outputs are the reference's. Fails the test otherwise."""
        benchmark = self._benchmark()
        planned = self._planned
        session = self._session()
        try:
            call = session.bind(planned.feeds)
            settled = warm_up(call, _WARMUP_BUDGET_S).settled
            if benchmark.group is None:
                benchmark.group = f"{self.model}, batch {planned.cell.batch}"
            benchmark(call)
            placement, outputs = session.placement(), list(session.fetch())
        finally:
            session.close()
        benchmark.extra_info.update(self._facts(), settled=settled, placement=placement.source)
        self._check_placement(placement)
        self._check_outputs(outputs, benchmark)

    def _benchmark(self) -> Any:
        try:
            return self._request.getfixturevalue("benchmark")
        except pytest.FixtureLookupError:
            pytest.fail(
                "timing needs pytest-benchmark: pip install 'infer-bench[pytest]'.", pytrace=False
            )

    def _session(self) -> Any:
        """Compiled in this process, with the variables that the adapter wants set before its
        runtime is imported (they come too late where the tests imported it already)."""
        planned = self._planned
        assert planned.choice.runtime is not None
        assert planned.choice.device is not None
        runtime = planned.choice.runtime
        for name, value in runtime.environment.items():
            os.environ.setdefault(name, value)
        try:
            backend = load_backend(runtime.name)()
            return backend.compile(planned.file, planned.choice.device, planned.options)
        except BenchError as error:
            pytest.fail(str(error), pytrace=False)

    def _facts(self) -> dict[str, Any]:
        cell, choice = self._planned.cell, self._planned.choice
        return {
            "model": cell.model.name,
            "model_sha256": cell.model.sha256,
            "variant": cell.variant,
            "target": cell.target,
            "batch": cell.batch,
            "threads": cell.threads,
            "input_sha256": cell.input_sha256,
            "device": choice.device.name if choice.device else "",
            "runtime_version": choice.version,
            "processes": 1,
        }

    def _check_placement(self, placement: Any) -> None:
        if placement.off_device and not self._planned.cell.allow_fallback:
            total = sum(placement.nodes.values())
            self._fail(
                f"{len(placement.off_device)} of {total} nodes did not run on {self.target} "
                f"({', '.join(placement.off_device[:3])}). Allow it with allow_fallback=True."
            )

    def _check_outputs(self, outputs: list[Any], benchmark: Any) -> None:
        reference = self._references.of(self._planned)
        found = parity(outputs, reference, self._planned.cell.variant)
        if found is None:
            why = reference.why_not or "they have other shapes"
            warnings.warn(
                BenchInconclusive(f"{self}: the outputs were not checked: {why}"), stacklevel=2
            )
            return
        benchmark.extra_info["max_abs_error"] = found.max_abs_error
        benchmark.extra_info["reference"] = found.reference
        if not found.ok:
            error = "NaN or Inf" if found.max_abs_error is None else f"{found.max_abs_error:.1e}"
            self._fail(
                f"the timed outputs differ from {found.reference} by {error}; {found.tolerance}."
            )

    def _fail(self, words: str) -> NoReturn:
        pytest.fail(f"{self._planned.cell.label}: {words}", pytrace=False)

    # -- accuracy, by intervals -------------------------------------------------------------------

    def accuracy(self) -> Accuracy:
        """The score on the labelled data of the model's card, through the target."""
        planned = self._planned
        if planned.model.dataset is None or not find_task(planned.model.card.task).scored:
            self._fail("its card names no labelled data, so it has no accuracy.")
        try:
            columns = self._lab.columns(self._prepared, planned)
        except BenchError as error:
            self._fail(str(error))
        (score, *_) = find_task(planned.model.card.task).scores(columns, CONFIDENCE)
        return Accuracy(self._lab, planned, score.metric, score.value, score.examples, columns)

    # -- speed, by bench's own engine -------------------------------------------------------------

    def faster_than(self, other: Inference, by: float = 0.0) -> Comparison:
        """Whether this takes less time than ``other`` (by the share ``by``: 1.0 is twice as fast).

        Both are measured in turn in fresh processes, for some seconds; true or false only where the
        whole interval says so, else as ``bench_inconclusive`` says.
        """
        if by < 0:
            raise ValueError(f"by is a share from 0 up, not {by}")
        effect = self._lab_compare(other)
        return Comparison(self._lab, self._planned, other._planned, effect, by)

    def _lab_compare(self, other: Inference) -> Effect:
        """This one (B) against the other (A), measured now."""
        models = tuple(dict.fromkeys((other._wanted["model"], self._wanted["model"])))
        targets = tuple(dict.fromkeys((other.target, self.target)))
        suite = _suite(self._wanted, models, targets, **_COMPARED)
        listener = choose_listener(True)
        with tempfile.TemporaryDirectory(prefix="bench-pytest-") as folder:
            with prepare(suite, listener, cache_folder()) as prepared:
                outcome = start(prepared, Path(folder), listener)
            run = read_run(outcome.path)
            by_cell = {side.cell.id: side for side in sides(run)}
            a, b = (by_cell.get(one._planned.cell.id) for one in (other, self))
            if a is None or b is None or a is b:
                self._fail(f"it can't be compared with {other._planned.cell.label}.")
            (comparison,) = compare(Matched((Match(a, b),)), confidence=CONFIDENCE).comparisons
        if comparison.effect is None:
            names = {"A": other._planned.cell.label, "B": self._planned.cell.label}
            words = comparison.missing
            self._fail(f"not compared: {names.get(words[:1], '')}{words[1:]}.")
        return comparison.effect


@dataclass(frozen=True)
class Accuracy:
    """A score with its interval; the assertions fail only where the whole interval says so."""

    lab: Lab
    planned: PlannedCell
    metric: str
    value: Interval
    examples: int
    columns: Columns

    def __repr__(self) -> str:
        shown = percent(self.value.estimate, self.value.low, self.value.high)
        return f"<{self.metric} of {self.planned.cell.label}: {shown}, {self.examples} examples>"

    def at_least(self, share: float) -> Accuracy:
        """Raise `AssertionError` where the accuracy is surely below ``share`` (0 to 1)."""
        if not 0 <= share <= 1:
            raise ValueError(f"an accuracy lies from 0 to 1, not {share}")
        if self.value.high < share:
            raise AssertionError(f"{self!r} is surely below {percent(share)}")
        words = f"{self!r} against {percent(share)}"
        if self.value.low < share and not self.lab.inconclusive(words):
            raise AssertionError(f"{self!r} is not surely at least {percent(share)}")
        return self

    def loses_at_most(self, share: float, against: Accuracy) -> Accuracy:
        """Raise `AssertionError` where it is surely more than ``share`` (0.01: one point) below
        another's, example by example."""
        task = find_task(self.planned.model.card.task)
        change = task.change(self.columns, against.columns, CONFIDENCE)
        if change is None:
            raise AssertionError(f"{self!r} and {against!r} are of other examples")
        found = change.difference
        shown = f"{points(found.estimate)} ({points(found.low)} to {points(found.high)}) points"
        limit = f"a loss of {points(share).removeprefix('+')}"
        if found.high < -share:
            raise AssertionError(f"{self!r} is {shown} off {against!r}: surely beyond {limit}")
        if found.low < -share and not self.lab.inconclusive(f"{self!r}: {shown}, against {limit}"):
            raise AssertionError(f"{self!r} is {shown} off {against!r}: not surely within {limit}")
        return self


@dataclass(frozen=True)
class Comparison:
    """Whether one is faster than another; its truth is what the interval says."""

    lab: Lab
    planned: PlannedCell
    other: PlannedCell
    effect: Effect
    by: float

    def __repr__(self) -> str:
        times = self.effect.ratio
        words = "" if not self.by else f", {1 + self.by:g}x asked for"
        return (
            f"<{self.planned.cell.label} takes {ratio(times.estimate, times.low, times.high)} the "
            f"time of {self.other.cell.label}: {self.verdict}{words}>"
        )

    @property
    def verdict(self) -> str:
        """``faster``, ``not faster`` or ``inconclusive``."""
        limit, times = 1 / (1 + self.by), self.effect.ratio
        if self.effect.verdict is Verdict.CONTENTION_DEPENDENT:
            return "inconclusive"
        if times.high < limit:
            return "faster"
        return "not faster" if times.low >= limit else "inconclusive"

    def __bool__(self) -> bool:
        if self.verdict == "inconclusive":
            return self.lab.inconclusive(repr(self))
        return self.verdict == "faster"
