"""Where a target begins to disagree: the first tensor of a model whose values differ.

Every intermediate tensor is marked as an output of a copy of the model, and the target's values are
compared with the reference's in the order of the graph. Marking changes what a runtime may fuse,
so the disagreement can vanish under the lens; then tensors are marked one at a time, by binary
search, which narrows it down to the nodes that the runtime fuses.

Tensors inside the bodies of If, Loop and Scan are not looked at.

A precision form has a file of its own. On that file a target may agree with the reference, and the
form still differ from the model that it was made of: `bisect_form` compares the tensors of its file
with those of equal names in the model's, for quantisers keep the names of what they leave in
floating point.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.backend import ModelFile, Options
from bench.errors import BenchError, SpecError, Unsupported
from bench.measure.language.pasts import with_past
from bench.measure.plan import PlannedCell
from bench.measure.reference import References, numeric
from bench.record.parity import allows, largest_difference
from bench.runtimes.declarations import reference_backends
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.runtimes.targets import BackendReport
from bench.tolerance import as_numbers
from bench.variants import DEFAULT, Tolerance, find_variant, held_to, in_words

Values = Mapping[str, Array]
#: Outputs of a model file on fixed inputs, by name.
Evaluate = Callable[[Path], Values]

#: A node whose output's error is this many times that of its inputs makes it rather than passes
#: it on. Our choice.
JUMP = 10.0
#: Errors below this are rounding: the spacing of float32 near 1.
_ROUNDING = 2.0**-23


@dataclass(frozen=True)
class Compared:
    """A tensor on the target against the reference's, and the node that makes it.

    ``error`` is the largest difference over the largest magnitude of the reference; None where NaN
    or Inf is in one of the two alone, or the target's values have another shape.
    """

    tensor: str
    node: str
    op: str
    shape: tuple[int, ...]
    max_abs_error: float | None
    error: float | None
    ok: bool
    jumped: bool = False


@dataclass(frozen=True)
class Bisection:
    """What was found. ``first`` is None where the target agrees; ``region`` holds the nodes that
    can't be told apart, because marking a tensor between them makes the disagreement vanish."""

    model: str
    target: str
    reference: str
    tolerance: str
    compared: tuple[Compared, ...]
    outputs: tuple[Compared, ...]
    first: Compared | None = None
    region: tuple[Compared, ...] = ()
    #: independent runtimes that give what the target does, where none gives what the reference does
    doubted_by: tuple[str, ...] = ()
    beside: str = ""  #: the form that the reference has, where it is another
    chance: str = ""  #: why the model's outputs can't be compared at all

    @property
    def agrees(self) -> bool:
        return all(output.ok for output in self.outputs)


def bisect(
    planned: PlannedCell, reports: Mapping[str, BackendReport], launcher: Launcher
) -> Bisection:
    """Compare the cell's model on its target with the reference, on the cell's own inputs.

    Raises `Unsupported` for a target that takes no ONNX, and whatever running the model raises.
    """
    planned, path = _ready(planned, reports, launcher)
    name, reference = _reference(planned, path, reports, launcher)
    target = _target(planned, launcher)
    row = find_variant(planned.cell.variant)
    # Where no file is made it is the default's that is searched.
    tolerance = held_to(row.name if row.maker else DEFAULT, numeric(planned)).tolerance
    with tempfile.TemporaryDirectory(prefix="bench-bisect-") as folder:
        found = search(path, target, reference, tolerance, Path(folder))
    model = f"{planned.cell.model.name}{in_words(planned.cell.variant)}"
    found = replace(found, model=model, target=str(planned.choice.target), reference=name)
    # Others are asked of the default's file; one that was made of it has no other reference.
    if found.agrees or has_own_file(planned):
        return found
    judged = References(reports, launcher).judge(planned, list(target(path).values()))
    doubted_by = judged.parity.doubted_by if judged.parity is not None else ()
    return replace(found, doubted_by=doubted_by, chance=judged.second.chance)


def has_own_file(planned: PlannedCell) -> bool:
    """Whether the cell's variant is another file than the model's."""
    return planned.file.onnx != planned.model.file.onnx


def bisect_form(
    planned: PlannedCell, reports: Mapping[str, BackendReport], launcher: Launcher
) -> Bisection:
    """Compare the file of the cell's variant on its target with the model's own file on the
    reference, by tensors of equal names: where does the form leave what it was made of?

    Raises as `bisect` does.
    """
    planned, path = _ready(planned, reports, launcher)
    original = planned.model.file.onnx
    assert original is not None
    name, reference = _reference(planned, original, reports, launcher)
    tolerance = held_to(DEFAULT, numeric(planned)).tolerance
    with tempfile.TemporaryDirectory(prefix="bench-bisect-") as folder:
        found = search(
            path, _target(planned, launcher), reference, tolerance, Path(folder), original
        )
    model = f"{planned.cell.model.name}{in_words(planned.cell.variant)}"
    target = str(planned.choice.target)
    return replace(found, model=model, target=target, reference=name, beside=DEFAULT)


def _ready(
    planned: PlannedCell, reports: Mapping[str, BackendReport], launcher: Launcher
) -> tuple[PlannedCell, Path]:
    """A cell with all that its inputs hold, and the file of its variant. Raises where its tensors
    can't be marked, or its inputs can't be made."""
    choice = planned.choice
    if planned.refused is not None:
        raise planned.refused
    assert choice.runtime is not None
    if planned.file.onnx is None or "onnx" not in choice.runtime.forms:
        raise Unsupported(
            f"{choice.target}: its model is not an ONNX graph, so its tensors can't be marked. "
            "Bisect on a target that takes ONNX."
        )
    return with_past(planned, References(reports, launcher)), planned.file.onnx


def search(
    model: Path,
    target: Evaluate,
    reference: Evaluate,
    tolerance: Tolerance,
    folder: Path,
    original: Path | None = None,
) -> Bisection:
    """The search itself, on anything that evaluates model files.

    Where the reference has another file, ``original``, the tensors that both have are compared, as
    that one's nodes make them.
    """
    graph = Marked(model, folder)
    if original is not None:
        graph = graph.beside(Marked(original, folder))
    right = reference(graph.original.with_outputs(graph.tensors))
    compare = _Comparison(graph.original, right, tolerance)
    outputs = compare.each(graph.outputs, target(model))
    empty = Bisection("", "", "", tolerance.source, (), outputs)
    if empty.agrees:
        return empty
    everything = target(graph.with_outputs(graph.tensors))
    compared = compare.each(graph.tensors, everything)
    still = compare.each(graph.outputs, everything)
    first = next((each for each in compared if not each.ok), None)
    if first is not None and not all(output.ok for output in still):
        return replace(empty, compared=compared, first=first, region=(first,))
    return _narrow(graph, target, compare, empty)


def _narrow(graph: Marked, target: Evaluate, compare: _Comparison, empty: Bisection) -> Bisection:
    """One marked tensor at a time: the last that agrees and the first that does not."""
    low, high = -1, len(graph.tensors)
    seen: dict[int, Compared] = {}
    while high - low > 1:
        middle = (low + high) // 2
        name = graph.tensors[middle]
        values = target(graph.with_outputs([name]))
        (seen[middle],) = compare.each([name], values)
        vanished = all(output.ok for output in compare.each(graph.outputs, values))
        if vanished and seen[middle].ok:
            # The fault lies in a fusion across this tensor: no look can part it further.
            break
        low, high = (low, middle) if not seen[middle].ok else (middle, high)
    places = range(low + 1, min(high, len(graph.tensors) - 1) + 1)
    region = tuple(compare.unknown(graph.tensors[place]) for place in places)
    first = seen.get(high) or (region[-1] if region else None)
    return replace(empty, compared=tuple(seen[i] for i in sorted(seen)), first=first, region=region)


# -- evaluating -----------------------------------------------------------------------------------


def _target(planned: PlannedCell, launcher: Launcher) -> Evaluate:
    """The cell's own target."""

    def run(path: Path) -> Values:
        return _evaluate(planned, planned.choice, path, planned.options, launcher)

    return run


def _reference(
    planned: PlannedCell,
    file: Path,
    reports: Mapping[str, BackendReport],
    launcher: Launcher,
) -> tuple[str, Evaluate]:
    """The first reference that can run ``file``, and its name."""
    problem: BenchError = SpecError(
        "no backend that can serve as the reference for an ONNX file is installed."
    )
    for backend in reference_backends():
        report = reports.get(backend.name)
        if (
            "onnx" not in backend.forms
            or report is None
            or report.runtime is None
            or not report.devices
        ):
            continue
        choice = replace(planned.choice, runtime=report.runtime, device=report.devices[0])
        options = Options(shapes=planned.options.shapes, extra=backend.role.options)

        def run(path: Path, choice: Any = choice, options: Options = options) -> Values:
            return _evaluate(planned, choice, path, options, launcher)

        try:
            run(file)
        except BenchError as error:
            problem = error
            continue
        return f"{backend.name} {report.version}", run
    raise problem


def _evaluate(
    planned: PlannedCell, choice: Any, path: Path, options: Options, launcher: Launcher
) -> Values:
    """Outputs by name, from a worker of its own."""
    file = ModelFile(planned.file.name, onnx=path, variant=planned.file.variant)
    with loaded_worker(
        launcher, choice.runtime, choice.device, file, options, threads=planned.cell.threads
    ) as (worker, loaded):
        arrays = worker.evaluate(planned.feeds)
    return dict(zip([spec.name for spec in loaded.outputs], arrays, strict=True))


# -- marking --------------------------------------------------------------------------------------


class Marked:
    """A model whose intermediate tensors can be made outputs.

    ``tensors`` are those of floating point that nodes of the main graph make, in the order of the
    graph; ``outputs`` the model's own.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        import onnx  # onnx: start-up

        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._made = 0
        self.original = self  #: whose nodes and types are told
        self._model = onnx.load(str(path))
        inferred = onnx.shape_inference.infer_shapes(self._model).graph
        self._known = {v.name: v for v in (*inferred.value_info, *inferred.output)}
        graph = self._model.graph
        self.outputs = [value.name for value in graph.output]
        self.node_of = {name: node for node in graph.node for name in node.output if name}
        kinds = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
        self.tensors = [
            name
            for name in self.node_of
            if name in self._known and self._known[name].type.tensor_type.elem_type in kinds
        ]

    def beside(self, original: Marked) -> Marked:
        """The same, of tensors alone that ``original`` has too, in its order.

        What a quantiser leaves in floating point keeps its name and its type, and the operators
        that it puts in may be of a kind whose types nobody can infer.
        """
        from onnx.helper import make_tensor_value_info  # onnx: start-up

        self.original = original
        self.tensors = [
            name for name in original.tensors if name in self.node_of and not self._merged(name)
        ]
        for name in self.tensors:
            kind = original._known[name].type.tensor_type.elem_type
            self._known[name] = make_tensor_value_info(name, kind, None)
        return self

    def _merged(self, name: str) -> bool:
        """Whether the node that makes a tensor in the original is gone, and its input has taken the
        name: a quantiser leaves a Relu to the range of the QuantizeLinear behind it."""
        before = self.original.node_of
        made_from = (before[i] for i in before[name].input if i in before and i not in self.node_of)
        return any(node.op_type == self.node_of[name].op_type for node in made_from)

    def with_outputs(self, names: Sequence[str]) -> Path:
        """A copy whose outputs are the model's own and ``names``."""
        import onnx  # onnx: start-up

        copy = onnx.ModelProto()
        copy.CopyFrom(self._model)
        have = set(self.outputs)
        copy.graph.output.extend(self._known[name] for name in names if name not in have)
        self._made += 1
        path = self._folder / f"marked-{self._made}.onnx"
        onnx.save(copy, str(path))
        return path


class _Comparison:
    """The target's tensors against the reference's values."""

    def __init__(self, graph: Marked, right: Values, tolerance: Tolerance) -> None:
        self._graph = graph
        self._right = right
        self._tolerance = tolerance

    def each(self, names: Sequence[str], values: Values) -> tuple[Compared, ...]:
        """Those of ``names`` that both have, with where errors jump."""
        found: dict[str, Compared] = {}
        for name in names:
            if name in values and name in self._right:
                one = self._one(name, values[name])
                sources = [found[i] for i in self._graph.node_of[name].input if i in found]
                found[name] = replace(one, jumped=_jumped(one, sources))
        return tuple(found.values())

    def unknown(self, name: str) -> Compared:
        """A tensor that could not be looked at without changing what is computed."""
        node = self._graph.node_of[name]
        shape = tuple(self._right[name].shape) if name in self._right else ()
        return Compared(name, node.name, _operator(node), shape, None, None, False)

    def _one(self, name: str, value: Array) -> Compared:
        node, right = self._graph.node_of[name], self._right[name]
        largest = largest_difference(value, right) if value.shape == right.shape else None
        sizes = np.abs(as_numbers(right, value))
        scale = float(sizes.max(initial=0.0, where=np.isfinite(sizes)))
        return Compared(
            tensor=name,
            node=node.name,
            op=_operator(node),
            shape=tuple(value.shape),
            max_abs_error=largest,
            error=None if largest is None else largest / max(scale, 1e-12),
            ok=value.shape == right.shape and allows(self._tolerance, value, right),
        )


def _operator(node: Any) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


def _jumped(one: Compared, sources: Sequence[Compared]) -> bool:
    if one.error is None:
        return all(source.error is not None for source in sources)
    before = max((source.error or 0.0 for source in sources), default=0.0)
    return one.error > JUMP * max(before, _ROUNDING)
