"""What the tests of a model's operators foretell about the model, naming nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cards.bodies import bodies
from bench.errors import SpecError
from bench.record.portability import Expected
from bench.trials.portability.cases import Case, imported, type_name
from bench.trials.portability.operators import Results, worst

#: operator, domain, version of the domain that the model uses, places of inputs that are constant
OperatorKey = tuple[str, str, int, tuple[int, ...]]

_NODES_NAMED = 8


@dataclass(frozen=True)
class ModelNode:
    """A node: its operator, what it is called, and the element type of its first input where that
    can be inferred."""

    key: OperatorKey
    name: str
    type: str = ""

    @property
    def words(self) -> str:
        """``Conv 'conv1'``."""
        return f"{self.key[0]} '{self.name}'" if self.name else self.key[0]


@dataclass(frozen=True)
class NodeForecast:
    """A node that may fail: ``passed`` of ``tests`` that are like it pass."""

    node: ModelNode
    passed: int
    tests: int
    detail: str

    @property
    def words(self) -> str:
        where = f"{self.node.words} ({self.node.type})" if self.node.type else self.node.words
        return f"{where}: {self.passed} of {self.tests} tests pass; {self.detail}"


@dataclass(frozen=True)
class Forecast:
    """``failing`` nodes have no test like them that passes, ``doubtful`` ones some that don't;
    ``untested`` have none."""

    failing: tuple[NodeForecast, ...] = ()
    doubtful: tuple[NodeForecast, ...] = ()
    untested: tuple[ModelNode, ...] = ()
    nodes: int = 0

    @property
    def expected(self) -> Expected:
        if self.failing:
            return "fails"
        if self.doubtful:
            return "doubtful"
        return "unknown" if len(self.untested) == self.nodes else "runs"

    @property
    def detail(self) -> str:
        """The nodes in question, the surely failing first; alike ones are told once."""
        told: dict[tuple[OperatorKey, str], NodeForecast] = {}
        for each in (*self.failing, *self.doubtful):
            told.setdefault((each.node.key, each.node.type), each)
        words = [each.words for each in list(told.values())[:_NODES_NAMED]]
        if len(told) > _NODES_NAMED:
            words.append(f"and {len(told) - _NODES_NAMED} more operators")
        if self.untested:
            kinds = {f"{n.key[0]} ({n.type})" if n.type else n.key[0] for n in self.untested}
            words.append(f"no test is like {', '.join(sorted(kinds))}")
        return "; ".join(words)


def model_nodes(path: Path) -> tuple[ModelNode, ...]:
    """Every node of a model, those of If, Loop and Scan bodies and of its own functions included.

    Raises `SpecError` for a file that isn't an ONNX model.
    """
    import onnx  # onnx: start-up

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise SpecError(f"{path}: not an ONNX model that could be read: {error}.") from error
    own = {(f.domain, f.name) for f in model.functions}
    types = _types(model)
    constant = set(_constants(model.graph))
    versions: dict[str, int] = {}

    def walk(nodes: Sequence[Any]) -> Iterator[ModelNode]:
        for node in nodes:
            domain = "" if node.domain == "ai.onnx" else node.domain
            if (node.domain, node.op_type) not in own:
                version = versions.setdefault(domain, imported(model, domain))
                kind = types.get(node.input[0], "") if node.input else ""
                name = node.name or next((o for o in node.output if o), "")
                places = _constant_places(node, constant)
                yield ModelNode((node.op_type, domain, version, places), name, kind)
            for graph in bodies(node):
                yield from walk(graph.node)

    functions = [node for function in model.functions for node in function.node]
    return tuple(walk([*model.graph.node, *functions]))


def _constants(graph: Any) -> Iterator[str]:
    """Tensors whose values stand in the file, those of branches and loops included."""
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            yield from node.output
        for inner in bodies(node):
            yield from _constants(inner)


def _constant_places(node: Any, constant: Set[str]) -> tuple[int, ...]:
    """Which inputs of a node are constants; none where all are, as such a node isn't computed."""
    places = tuple(place for place, name in enumerate(node.input) if name in constant)
    return () if len(places) == len(node.input) else places


def _types(model: Any) -> dict[str, str]:
    """Element types by the name of the tensor, as far as they are stored or can be inferred."""
    import onnx  # onnx: start-up
    from onnx import TensorProto

    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # a model too large to copy, an operator of somebody's own
        graph = model.graph
    known = {t.name: str(TensorProto.DataType.Name(t.data_type)) for t in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        known[value.name] = type_name(value)
    return known


def predict(
    nodes: Sequence[ModelNode], cases: Mapping[OperatorKey, Sequence[Case]], results: Results
) -> Forecast:
    """Judge each node by the tests of its operator whose first input has the node's type.

    Where none has, that every test of the operator fails says enough, and that some pass nothing.
    """
    failing: list[NodeForecast] = []
    doubtful: list[NodeForecast] = []
    untested: list[ModelNode] = []
    for node in nodes:
        tested = [case for case in cases.get(node.key, ()) if _tells(case, results)]
        like = [case for case in tested if not node.type or case.types[:1] == (node.type,)]
        found = [results[case.name] for case in like or tested]
        bad = worst(found)
        passed = sum(result.outcome == "pass" for result in found)
        if not found or (passed and not like):
            untested.append(node)
        elif bad is not None:
            forecast = NodeForecast(node, passed, len(found), f"{bad.test}: {bad.detail}")
            (doubtful if passed else failing).append(forecast)
    return Forecast(tuple(failing), tuple(doubtful), tuple(untested), len(nodes))


def _tells(case: Case, results: Results) -> bool:
    """Whether a result is evidence: an older definition may ask for other numbers than a restated
    test, and a target that could not be had says nothing."""
    result = results.get(case.name)
    if result is None or result.outcome == "unavailable":
        return False
    return not (case.restated and result.outcome == "wrong")
