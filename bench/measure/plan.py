"""From a suite to the ordered cells of a run. Nothing here runs a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bench.arrays import Array
from bench.backend import ModelFile, Options
from bench.cards.batch import NO_BATCH, BatchAxis
from bench.cards.inputs import input_digest
from bench.cards.language.static import StaticForm
from bench.cards.query import (
    Query,
    batch_axis_of,
    make_query,
    not_compared,
    refuse_unknown_names,
)
from bench.cards.ready import Loaded, file_bytes
from bench.cards.variants import Form
from bench.cell import Cell, Lane, ModelIdentity
from bench.errors import BenchError, SpecError, Unsupported
from bench.machine.memory import spare_bytes
from bench.machine.near import near_cpus
from bench.measure.feeds import Feeds
from bench.measure.language import steps
from bench.numbers import enumerated
from bench.runtimes.targets import Choice, default_threads
from bench.scenarios import DEFAULT, LANGUAGE_DEFAULT, SCENARIOS, Scenario, find_scenario
from bench.spec import AUTO, BATCH, Suite
from bench.variants import find_variant, suffix


@dataclass(frozen=True)
class Loads:
    """What a worker loads, how, and what it binds."""

    file: ModelFile
    options: Options
    feeds: dict[str, Array]


@dataclass(frozen=True)
class PlannedCell:
    """A cell and what is needed to measure it."""

    cell: Cell
    model: Loaded
    choice: Choice
    options: Options
    inputs: Feeds
    refused: BenchError | None = None  #: known before measuring that it can't be had
    batch_axis: BatchAxis = NO_BATCH
    sizes: Mapping[str, int] = field(default_factory=dict)  #: that were asked for by name
    assumed: tuple[str, ...] = ()  #: what of the inputs nobody said, in words
    prompt: Array | None = None  #: what has to be in a language model's cache before it is timed
    prompts: Array | None = None  #: of a language model's whole queries, [prompts, batch, tokens]
    sweeps: bool = False  #: whether larger batches follow until its throughput stops rising
    last_logits: bool = False  #: of what it puts out, the logits behind the last token alone count
    static: StaticForm | None = None  #: what is loaded in the model's place, for its shapes alone

    @property
    def feeds(self) -> dict[str, Array]:
        """The arrays that it is timed on. Raises `BenchError` where they can't be made again."""
        return self.inputs.arrays

    @property
    def form(self) -> Form:
        """The model in the cell's variant."""
        return self.model.form(self.cell.variant)

    @property
    def file(self) -> ModelFile:
        """What is loaded."""
        return self.form.file

    @property
    def loads(self) -> Loads:
        """What a worker is given; the reference and other judges get the model as it is."""
        if self.static is None:
            return Loads(self.file, self.options, self.feeds)
        file = replace(
            self.file, onnx=self.static.path, files=self.static.files, static=self.static.steps
        )
        if self.static.steps:  # whole texts: what each of its steps is fed follows from the last
            return Loads(file, self.options, {})
        kept, feeds = self.static.inputs, self.feeds
        shapes = {name: self.options.shapes[name] for name in kept}
        return Loads(
            file, replace(self.options, shapes=shapes), {name: feeds[name] for name in kept}
        )

    def given(self, outputs: Sequence[Array]) -> list[Array]:
        """A worker's outputs as those of the model, in its order."""
        return list(outputs) if self.static is None else self.static.whole(outputs)

    @property
    def streams(self) -> int:
        """Queries in flight at once: what the target's ``streams`` says, where the scenario has
        more than one."""
        return _streams(find_scenario(self.cell.scenario), self.options)

    @property
    def on_accelerator(self) -> bool:
        """Whether it computes on something else than the CPU."""
        return self.choice.on_accelerator

    @property
    def near_cpus(self) -> tuple[int, ...]:
        """The CPUs near the accelerator that it computes on; empty where none is known to be."""
        device = self.choice.device
        return near_cpus(device.pci) if self.on_accelerator and device is not None else ()

    @property
    def cores(self) -> int:
        """CPU cores that the cell computes on."""
        return self.cell.threads * max(1, self.streams)


@dataclass(frozen=True)
class Plan:
    """The cells of a run, in groups that are measured interleaved."""

    suite: Suite
    cells: tuple[PlannedCell, ...]
    #: what a wildcard would have meant but can't be, and what has no effect, in words
    left_out: tuple[str, ...] = ()

    @property
    def assumed(self) -> list[str]:
        """What of the models' inputs nobody said, each with its model, once."""
        told = (f"{p.cell.model.name}: {words}." for p in self.cells for words in p.assumed)
        return list(dict.fromkeys(told))

    def groups(self) -> list[list[PlannedCell]]:
        """Cells that will be compared: the same scenario and batch. All have the threads that were
        asked for, or the CPU's have all cores and an accelerator's one."""
        groups: dict[tuple[object, ...], list[PlannedCell]] = {}
        for planned in self.cells:
            groups.setdefault((planned.cell.scenario, planned.cell.batch), []).append(planned)
        return list(groups.values())


def make_plan(
    suite: Suite,
    models: Sequence[Loaded],
    choices: Sequence[Choice],
    cpu_threads: int | None = None,
) -> Plan:
    """Every model x variant x target x scenario x batch of ``suite``.

    ``cpu_threads`` are those of a cell on the CPU where it is another machine that measures. A
    model that can't be measured costs its own cells. Raises `SpecError` when there is nothing to
    run, and what is wrong with the models where that is all of them.
    """
    if not models:
        raise SpecError("there is no model to run: name one with -m, or in the suite's `models`.")
    if not choices:
        raise SpecError(
            "no target is available: install a runtime, for example "
            "`pip install 'infer-bench[onnxruntime]'`; `bench doctor` shows what is missing."
        )
    _refuse_two_of_a_name(models)
    refuse_unknown_names(models, suite.shapes, suite.batch_axis, suite.sizes_of_batches)
    cells = [
        planned
        for scenario, batch in _loads(suite, models)
        for model in models
        if _asked(suite, model, scenario)
        for planned in _cells_of_model(suite, model, scenario, batch, choices, cpu_threads)
    ]
    _refuse_where_all_is_wrong(cells)
    left_out = (*_left_out(suite, models, choices), *_idle_lengths(suite, cells))
    return Plan(suite, tuple(cells), left_out)


def _left_out(suite: Suite, models: Sequence[Loaded], choices: Sequence[Choice]) -> Iterator[str]:
    """Targets that nobody named and that can't run a model or a variant, in words."""
    for model in models:
        for variant in suite.variants:
            reasons: dict[str, list[str]] = {}
            for choice in choices:
                why = _unfit(model, variant, choice)
                if why is not None and not choice.named:
                    reasons.setdefault(why, []).append(str(choice.target))
            for why, targets in reasons.items():
                verb = "is" if len(targets) == 1 else "are"
                yield f"{', '.join(targets)} {verb} left out for {model.card.name}{why}."


def _idle_lengths(suite: Suite, cells: Sequence[PlannedCell]) -> Iterator[str]:
    """Lengths in tokens that were asked for and that no cell has, in words."""
    sized = [find_scenario(planned.cell.scenario) for planned in cells]
    counts = {scenario.counts for scenario in sized if scenario.size is not None}
    for name, users in _LENGTHS.items():
        if getattr(suite, name) != Suite.model_fields[name].default and counts.isdisjoint(users):
            of = [row.name for row in SCENARIOS.built_in if row.counts in users]
            yield f"--{name} has no effect: it is for language models in {enumerated(of)}."


#: Which kinds of scenarios (`Scenario.counts`) have a length of the suite.
_LENGTHS = {
    "prompt": ("prompt", "text"),
    "answer": ("text",),
    "depth": ("depth", "draft"),
    "draft": ("draft",),
}


def _unfit(model: Loaded, variant: str, choice: Choice) -> str | None:
    """Why a target can't run a variant of a model at all, as the end of a sentence."""
    if model.unfit is not None:
        return None  # told in the row
    runtime = choice.runtime
    if runtime is not None and find_variant(variant).runs_as not in runtime.variants:
        return f" in {variant}, which it doesn't support"
    form = model.form(variant)
    if form.refused is not None and "onnx" in _forms(choice):
        return None  # what went wrong is told in the row
    if model_forms(form.file).isdisjoint(_forms(choice)):
        return f", which has no{suffix(variant)} {' or '.join(_forms(choice))} form"
    return None


def _forms(choice: Choice) -> tuple[str, ...]:
    return choice.runtime.forms if choice.runtime is not None else ("onnx",)


def model_forms(file: ModelFile) -> set[str]:
    """In which forms a model is there, in the words of `bench.backend.Backend.forms`."""
    found = {"onnx": file.onnx, "torch": file.torch}
    return {form for form, source in found.items() if source is not None}


def _loads(suite: Suite, models: Sequence[Loaded]) -> list[tuple[Scenario, int]]:
    """Scenario and samples a query. MLPerf's single-stream sends one sample at a time."""
    names = dict.fromkeys(suite.scenarios)
    if _by_default(suite) and any(model.decoder for model in models):
        names |= dict.fromkeys(LANGUAGE_DEFAULT)
    return [
        (sized, batch)
        for scenario in map(find_scenario, names)
        for sized in _sized(suite, scenario)
        for batch in ([1] if scenario.one_sample else dict.fromkeys(suite.batches(sized)))
    ]


def _sized(suite: Suite, scenario: Scenario) -> list[Scenario]:
    """A language model's scenario at each of the suite's lengths; without any, too, where it is for
    other models as well."""
    if scenario.size is not None or not scenario.counts:
        return [scenario]
    without = [scenario] if scenario.for_all else []
    if scenario.counts == "text":
        lengths = dict.fromkeys(itertools.product(suite.prompt, suite.answer))
        return [*without, *(scenario.of_text(*both) for both in lengths)]
    if scenario.counts == "draft":
        lengths = dict.fromkeys(itertools.product(suite.depth, suite.draft))
        return [*without, *(scenario.of_draft(*both) for both in lengths)]
    sizes = suite.prompt if scenario.counts == "prompt" else suite.depth
    return [*without, *(scenario.of_size(size) for size in dict.fromkeys(sizes))]


def _by_default(suite: Suite) -> bool:
    return suite.scenarios == DEFAULT


def _asked(suite: Suite, model: Loaded, scenario: Scenario) -> bool:
    """Whether a scenario is meant for a model: nobody has to name those of language models, and one
    that is for all models has lengths for these alone."""
    language = model.decoder is not None
    if _by_default(suite) and language != (scenario.plain_name in LANGUAGE_DEFAULT):
        return False
    if scenario.name in suite.scenarios and scenario.size is not None:
        return True
    return not (scenario.for_all and scenario.counts) or language == (scenario.size is not None)


def _refuse_two_of_a_name(models: Sequence[Loaded]) -> None:
    names = [model.card.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise SpecError(
                f"two models are called {name!r}; give each its own `name` in its card "
                "(`bench model card MODEL -o x.toml` writes one)."
            )


def _refuse_where_all_is_wrong(cells: Sequence[PlannedCell]) -> None:
    """Raise what is wrong with the models where there is no cell of another."""
    wrong = [p.refused for p in cells if p.model.unfit or isinstance(p.refused, SpecError)]
    if wrong and len(wrong) == len(cells) and wrong[0] is not None:
        raise wrong[0]


def _cells_of_model(
    suite: Suite,
    model: Loaded,
    scenario: Scenario,
    batch: int,
    choices: Sequence[Choice],
    cpu_threads: int | None = None,
) -> list[PlannedCell]:
    card = model.card
    batch_axis = batch_axis_of(model, suite.batch_axis, suite.sizes_of_batches)
    refused: BenchError | None = None
    named = suite.batch not in (BATCH, AUTO)
    if batch_axis.samples(batch) != batch and not scenario.one_sample and named:
        refused = _other_batch(card.name, batch_axis, batch)
    refused = refused or steps.refusal(model, scenario, suite)
    make = partial(_query, suite, model, scenario, batch_axis, batch, refused)
    query, step, input_sha256 = make()
    shapes = {name: tuple(array.shape) for name, array in query.feeds.items()}
    query = replace(query, feeds={})  # before the next model's are made
    inputs = Feeds(lambda: make()[::2], input_sha256)
    prompts = step.prompts if step else None
    planned = []
    for variant in dict.fromkeys(suite.variants):
        form = model.form(variant)
        for choice in choices:
            why = _unfit(model, variant, choice)
            if why is not None and not choice.named:
                continue
            cell = Cell(
                model=_identity(model, form.file),
                variant=variant,
                target=str(choice.target),
                scenario=scenario.name,
                batch=batch if refused else batch_axis.samples(batch),
                shapes=shapes,
                threads=threads_of(suite, choice, cpu_threads),
                lane=suite.lane,
                input_sha256=input_sha256,
                allow_fallback=suite.allow_fallback,
                loadgen=suite.loadgen if suite.driver == "loadgen" else None,
                batch_axes=dict(batch_axis.axes),
                **_bounds(suite, model, scenario),
            )
            options = Options(
                threads=cell.threads,
                allow_fallback=suite.allow_fallback,
                # Those of a query's steps differ.
                shapes=cell.shapes if prompts is None else {},
                extra=dict(choice.target.options),
            )
            unable = (
                query.refused
                or refused
                or choice.unavailable
                or _refusal(form, choice, card.name, why)
                or (steps.refused_streams(card.name, choice) if prompts is not None else None)
                or _refused_lane(card.name, scenario, suite.lane, options, cell.target)
                or (_not_through_loadgen(card.name, scenario) if cell.loadgen else None)
            )
            planned.append(
                PlannedCell(
                    cell,
                    model,
                    choice,
                    options,
                    inputs,
                    unable,
                    batch_axis,
                    query.sizes,
                    (
                        *_batch_words(batch_axis, batch, scenario),
                        *_sweep_words(suite, batch_axis, scenario),
                        *query.assumed,
                        *not_compared(card),
                    ),
                    step.prompt if step else None,
                    prompts,
                    sweeps=suite.sweeps(scenario) and _is_free(batch_axis),
                )
            )
    return planned


def at_batch(suite: Suite, planned: PlannedCell, batch: int) -> PlannedCell | None:
    """The same cell with another batch, on as many threads; None where it is known that such a one
    can't be had."""
    scenario = find_scenario(planned.cell.scenario)
    narrowed = suite.model_copy(update={"variants": (planned.cell.variant,)})
    (found,) = _cells_of_model(
        narrowed, planned.model, scenario, batch, [planned.choice], planned.cell.threads
    )
    return found if found.refused is None else None


def _not_through_loadgen(name: str, scenario: Scenario) -> Unsupported | None:
    """Why LoadGen can't drive a language model's own scenarios."""
    if scenario.loadgen and scenario.size is None:
        return None
    return Unsupported(
        f"{name}: LoadGen issues samples, not tokens, so {scenario.name} of a language model "
        "needs bench's own driver. Leave out --driver loadgen."
    )


def _streams(scenario: Scenario, options: Options) -> int:
    if not scenario.streams:
        return 1
    text = options.extra.get("streams", "1")
    return int(text) if text.isdigit() else 1  # the backend will refuse what is no number


def _refused_lane(
    name: str, scenario: Scenario, lane: Lane, options: Options, target: str
) -> Unsupported | None:
    """Why another lane than the prepared one can't send the queries that are asked for."""
    if lane != "prepared" and _streams(scenario, options) > 1:
        return Unsupported(
            f"{name}: the {lane} lane makes one call at a time, so {target} can't use streams. "
            "Leave out --lane or streams."
        )
    if lane == "native" and scenario.bounded:
        return Unsupported(
            f"{name}: the native lane only runs calls back to back, but {scenario.plain_name} "
            "sends each query when it arrives. Leave out --lane."
        )
    return None


def _is_free(batch_axis: BatchAxis) -> bool:
    return bool(batch_axis.axes) and batch_axis.fixed is None


def _sweep_words(suite: Suite, batch_axis: BatchAxis, scenario: Scenario) -> Iterator[str]:
    """Why there is no sweep over the batch."""
    if suite.sweeps(scenario) and not _is_free(batch_axis):
        why = f"fixed at {batch_axis.fixed}" if batch_axis.fixed else "unknown"
        yield f"its batch can't be swept: it is {why}"


def _bounds(suite: Suite, model: Loaded, scenario: Scenario) -> dict[str, int | None]:
    """What the times of a query must not exceed, as fields of its cell."""
    if not scenario.bounded:
        return {}
    if model.decoder is None:
        return {"latency_bound_ns": suite.latency_bound_ns}
    return {"ttft_bound_ns": suite.ttft_bound_ns, "tpot_bound_ns": suite.tpot_bound_ns}


def _other_batch(name: str, batch_axis: BatchAxis, batch: int) -> Unsupported:
    """Why a batch that was asked for can't be had."""
    if batch_axis.fixed is not None:
        return Unsupported(
            f"{name}: its batch dimension is fixed at {batch_axis.fixed}, so batch {batch} can't "
            "be run. Export it with a dynamic batch dimension."
        )
    return Unsupported(
        f"{name}: {batch_axis.why or 'it has no batch axis'}, and batch {batch} can't be run. Name "
        "the axis with --batch-axis, or leave --batch out."
    )


def _batch_words(batch_axis: BatchAxis, batch: int, scenario: Scenario) -> Iterator[str]:
    """What was decided of the batch, where it changes what a query holds."""
    size = batch_axis.samples(batch)
    if batch_axis.fixed is not None:
        if size != batch:
            yield f"its batch is fixed at {size}, so a query has that many samples"
    elif batch_axis.why and (batch_axis.axes or not scenario.one_sample):
        yield f"{batch_axis.why} (--batch-axis says otherwise)"


def _refusal(form: Form, choice: Choice, name: str, why: str | None) -> BenchError | None:
    """Why a target that was asked for by name can't run this form of the model."""
    runtime = choice.runtime
    if runtime is not None and form.file.variant not in runtime.variants:
        runs = ", ".join(runtime.variants)
        return Unsupported(
            f"{choice.target} doesn't support {form.file.variant}, only {runs}. Leave it out for "
            f"{name}, or name another variant."
        )
    if why is not None:
        return Unsupported(f"{choice.target} can't run {name}{why}.")
    return form.refused if "onnx" in _forms(choice) and form.file.onnx is None else None


def _identity(model: Loaded, file: ModelFile) -> ModelIdentity:
    card = model.card
    return ModelIdentity(
        name=card.name,
        sha256=model.identity,
        task=card.task,
        distilled_from=card.distilled_from,
        control_of=card.control_of,
        variant_of=card.variant_of,
        file_bytes=file_bytes(file) or model.state_bytes,
        stored_as=model.stored.label if model.stored is not None else "",
    )


def _query(
    suite: Suite,
    model: Loaded,
    scenario: Scenario,
    batch_axis: BatchAxis,
    batch: int,
    refused: BenchError | None,
) -> tuple[Query, steps.Step | None, str]:
    """What one query holds, of a language model with what belongs to it, and the hash of both: the
    same at each call, and refused where memory can't hold it at that time."""
    if model.decoder is None and scenario.size is None:
        query = make_query(model, batch_axis, batch, suite.shapes, suite.seed, spare_bytes())
        return query, None, input_digest(query.feeds)
    if refused is not None:  # there is no such query
        return Query({}), None, ""
    step = steps.step_of(model, scenario, batch, suite.seed)
    return Query(step.feeds), step, step.sha256


def threads_of(suite: Suite, choice: Choice, cpu_threads: int | None = None) -> int:
    """Compute threads of a cell: the suite's, else every physical core that may be used (here and
    now, if ``cpu_threads`` doesn't say otherwise); one for an accelerator, whose host only
    launches: what wanders from core to core launches unevenly."""
    if suite.threads is not None:
        return suite.threads
    if choice.on_accelerator:
        return 1
    return default_threads() if cpu_threads is None else cpu_threads


def for_batch(planned: PlannedCell, batch: int) -> Options:
    """The cell's own options, with the shapes of another batch size."""
    shapes = planned.batch_axis.resized(planned.options.shapes, batch)
    return replace(planned.options, shapes=shapes)
