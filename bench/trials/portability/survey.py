"""From what was asked for to the report: each target's tests run or remembered, models tried."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench import __version__
from bench.cards.card import Card
from bench.cards.query import refuse_unknown_names, sizes_for
from bench.cards.ready import Loaded, load
from bench.errors import BenchError, SpecError, Unavailable
from bench.machine.facts import machine_facts
from bench.measure.plan import PlannedCell, make_plan
from bench.measure.reference import References
from bench.record.portability import ModelRow, PortabilityReport, SuiteFacts, TargetRow
from bench.runtimes.declarations import versioned_distributions
from bench.runtimes.processes import Launcher
from bench.runtimes.targets import BackendReport, Choice
from bench.scenarios import SINGLE_STREAM
from bench.spec import Suite
from bench.trials.portability.cases import Case, NodeTests, node_tests
from bench.trials.portability.execute import Job, check_options, run_tests
from bench.trials.portability.kept import KeptResults, kept_results
from bench.trials.portability.models import model_row, refused_row, try_model
from bench.trials.portability.operators import choose_cases, failure_rows, operator_rows
from bench.trials.portability.outcomes import TestResult
from bench.trials.portability.predict import Forecast, ModelNode, OperatorKey, model_nodes, predict
from bench.trials.portability.progress import Teller
from bench.trials.portability.restate import cases_for
from bench.variants import DEFAULT

#: The distributions whose versions the report's facts hold.


@dataclass(frozen=True)
class Request:
    """What was asked for. ``operators`` is None where only models were; () means all."""

    operators: tuple[str, ...] | None = ()
    opset: int | None = None
    models: tuple[Card, ...] = ()
    variants: tuple[str, ...] = (DEFAULT,)
    shapes: Mapping[str, int] = field(default_factory=dict)
    try_models: bool = True
    refresh: bool = False
    timeout_s: float = 30.0
    workers: int = 2


@dataclass(frozen=True)
class Machinery:
    """What carrying it out needs."""

    launcher: Launcher
    reports: dict[str, BackendReport]
    logs: Path
    cache: Path
    teller: Teller


@dataclass(frozen=True)
class _Model:
    """A model made ready, and the tests of its operators."""

    loaded: Loaded
    nodes: tuple[ModelNode, ...]
    cases: dict[OperatorKey, tuple[Case, ...]]


def survey(request: Request, choices: Sequence[Choice], machinery: Machinery) -> PortabilityReport:
    """The whole report. Raises `SpecError` for an unknown operator or a cache that can't be made.

    Interrupted, it keeps what has been tested so far, and `KeyboardInterrupt` goes on.
    """
    if not choices:
        raise SpecError(
            "no target is available: install a runtime, for example "
            "`pip install 'infer-bench[onnxruntime]'`; `bench doctor` shows what is missing."
        )
    machinery.teller.phase("reading ONNX's tests")
    tests = node_tests(machinery.cache)
    chosen: tuple[Case, ...] = ()
    if request.operators is not None:
        chosen = choose_cases(tests.cases, request.operators, request.opset)
    return _Survey(request, choices, machinery, tests, chosen).report()


class _Survey:
    def __init__(
        self,
        request: Request,
        choices: Sequence[Choice],
        machinery: Machinery,
        tests: NodeTests,
        chosen: tuple[Case, ...],
    ) -> None:
        self.request = request
        self.choices = choices
        self.machinery = machinery
        self.tests = tests
        self.chosen = chosen
        self.notes: list[str] = []
        self.references = References(machinery.reports, machinery.launcher)

    def report(self) -> PortabilityReport:
        request = self.request
        loaded, refused = self._load_models()
        models = [self._with_tests(model) for model in loaded]
        rows: list[ModelRow] = list(refused)
        targets: list[TargetRow] = []
        operators, failures = [], []
        for choice in self.choices:
            kept, row = self._test(choice, models)
            targets.append(row)
            results = {} if kept is None else kept.results
            if kept is not None and self.chosen:
                operators += operator_rows(self.chosen, results, row.target)
                failures += failure_rows(self.chosen, results, row.target)
            for model in models:
                rows += self._models_on(choice, model, kept)
        return PortabilityReport(
            bench_version=__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            command=shlex.join(["bench", *sys.argv[1:]]),
            suite=None if request.operators is None else self._suite_facts(),
            facts=machine_facts(versioned_distributions()).as_json(),
            targets=tuple(targets),
            operators=tuple(operators),
            models=tuple(rows),
            failures=tuple(failures),
            notes=tuple(self.notes),
        )

    # -- tests ------------------------------------------------------------------------------------

    def _test(
        self, choice: Choice, models: Sequence[_Model]
    ) -> tuple[KeptResults | None, TargetRow]:
        """Outcomes of all tests that are wanted on a target, and its row; None where it takes none.

        What earlier runs found is not asked again.
        """
        name, device = str(choice.target), choice.device
        row = TargetRow(
            target=name,
            version=choice.version,
            device_name=device.name if device else "",
            simulated=bool(device and device.simulated),
        )
        if choice.unavailable is not None or choice.runtime is None or device is None:
            return None, row.model_copy(update={"unavailable": str(choice.unavailable)})
        if "onnx" not in choice.runtime.forms:
            why = "it takes no ONNX, so ONNX's tests can't be run on it"
            return None, row.model_copy(update={"unavailable": why})
        kept = kept_results(self.machinery.cache, choice, self.tests.version)
        wanted = self._wanted(models)
        gone = self._ask(choice, kept, wanted)
        found = [kept.results[case.name] for case in wanted if case.name in kept.results]
        mine = {case.name for case in self.chosen}
        return kept, row.model_copy(
            update={
                "counts": dict(Counter(r.outcome for r in found if r.test in mine)),
                "seconds": round(sum(r.seconds for r in found if r.test in mine), 2),
                "unavailable": "" if gone is None else str(gone),
            }
        )

    def _wanted(self, models: Sequence[_Model]) -> list[Case]:
        """The chosen tests and those of the models' operators, each once."""
        wanted = {case.name: case for case in self.chosen if case.runnable}
        for model in models:
            for cases in model.cases.values():
                wanted.update((case.name, case) for case in cases)
        return list(wanted.values())

    def _ask(self, choice: Choice, kept: KeptResults, wanted: Sequence[Case]) -> BenchError | None:
        """Run what is not known yet; why the target got lost on the way, if it did."""
        request, teller = self.request, self.machinery.teller
        if request.refresh:
            kept.forget(case.name for case in wanted)
        todo = [case for case in wanted if case.name not in kept.results]
        if todo:
            check_options(choice, self.tests, self.machinery.launcher)
        teller.target_started(str(choice.target), len(todo), len(wanted) - len(todo))
        logs = self.machinery.logs / f"{choice.target.backend}-{choice.target.device}"
        job = Job(choice, self.tests, todo, request.workers, request.timeout_s, logs)

        def note(result: TestResult) -> None:
            kept.add(result)
            teller.tested(result)

        try:
            return run_tests(job, note) if todo else None
        finally:
            kept.close()
            if kept.problem:
                self._note(f"the results can't be kept for the next time: {kept.problem}.")

    def _suite_facts(self) -> SuiteFacts:
        chosen_by = [f"operator {pattern}" for pattern in self.request.operators or ()]
        if self.request.opset is not None:
            chosen_by.append(f"opset {self.request.opset}")
        return SuiteFacts(
            onnx_version=self.tests.version,
            tests=sum(case.runnable for case in self.chosen),
            expanded=sum(case.runnable and case.expanded for case in self.chosen),
            random=sum(case.random for case in self.chosen),
            not_expressible=sum(bool(c.inexpressible and not c.random) for c in self.chosen),
            chosen_by=", ".join(chosen_by),
        )

    # -- models -----------------------------------------------------------------------------------

    def _load_models(self) -> tuple[list[Loaded], list[ModelRow]]:
        """Models made ready; rows for those that can't be."""
        loaded: list[Loaded] = []
        refused: list[ModelRow] = []
        for card in self.request.models:
            self.machinery.teller.phase(f"reading {card.name}")
            try:
                model = load(card, self.machinery.cache, _say_nothing, self.request.variants)
                if model.refused is not None:
                    raise model.refused
                loaded.append(model)
            except BenchError as error:
                refused += [
                    refused_row(card.name, variant, str(choice.target), error)
                    for variant in self.request.variants
                    for choice in self.choices
                ]
        if loaded:
            refuse_unknown_names(loaded, self.request.shapes, None, ())
        return loaded, refused

    def _with_tests(self, model: Loaded) -> _Model:
        """The tests of a model's operators, as its opset defines them."""
        if model.file.onnx is None:
            return _Model(model, (), {})
        self.machinery.teller.phase(f"reading the operators of {model.card.name}")
        nodes = model_nodes(model.file.onnx)
        keys = dict.fromkeys(node.key for node in nodes)
        return _Model(model, nodes, {key: cases_for(self.tests, *key) for key in keys})

    def _models_on(self, choice: Choice, model: _Model, kept: KeptResults | None) -> list[ModelRow]:
        """A row for each variant of a model on a target."""
        suite = Suite(
            variants=self.request.variants,
            scenarios=(SINGLE_STREAM.name,),
            shapes=sizes_for(model.loaded.card, self.request.shapes),
            threads=1,
        )
        try:
            plan = make_plan(suite, [model.loaded], [choice])
        except BenchError as error:
            name, target = model.loaded.card.name, str(choice.target)
            return [refused_row(name, v, target, error) for v in self.request.variants]
        for words in plan.left_out:
            self._note(words)
        return [self._model_on(planned, model, kept) for planned in plan.cells]

    def _model_on(self, planned: PlannedCell, model: _Model, kept: KeptResults | None) -> ModelRow:
        teller = self.machinery.teller
        forecast: Forecast | None = None
        # The tests are of the default's graph; a quantised form has other nodes.
        if kept is not None and model.nodes and planned.cell.variant == DEFAULT:
            forecast = predict(model.nodes, model.cases, kept.results)
        if not self.request.try_models:
            return model_row(planned, model.nodes, forecast, None)
        teller.phase(f"trying {planned.cell.model.name} on {planned.cell.target}")
        attempt = partial(try_model, planned, self.machinery.launcher, self.references)
        return model_row(planned, model.nodes, forecast, attempt)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self.machinery.teller.note(text)


def _say_nothing(text: str) -> None:
    """Its own progress tells what is done."""


def missing(report: PortabilityReport, choices: Sequence[Choice]) -> list[str]:
    """Targets asked for by name that could not be had at all."""
    named = {str(choice.target) for choice in choices if choice.named}
    absent = {
        str(choice.target) for choice in choices if isinstance(choice.unavailable, Unavailable)
    }
    return [row.target for row in report.targets if row.target in named & absent]
