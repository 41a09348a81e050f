"""Bisection: the node that is wrong is named, also where looking at it hides the fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from rich.cells import cell_len

from bench.measure.reference import References
from bench.trials import bisect as bisect_module
from bench.trials.bisect import Bisection, Compared, Values, search
from bench.trials.bisect_report import bisect_row, bisect_text, sentence
from bench.variants import FP32

FEEDS = {"x": np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)}


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """x -> MatMul -> Relu -> Mul -> Softmax -> Relu -> y, the weights beside the file."""
    rng = np.random.default_rng(1)
    weights = numpy_helper.from_array(rng.normal(size=(8, 8)).astype(np.float32), "w")
    steps = [("MatMul", ["x", "w"]), ("Relu", ["t0"]), ("Mul", ["t1", "t1"]), ("Softmax", ["t2"])]
    steps.append(("Relu", ["t3"]))
    outs = ["t0", "t1", "t2", "t3", "y"]
    nodes = [
        helper.make_node(op, inputs, [out], name=f"{op.lower()}_{i}")
        for i, ((op, inputs), out) in enumerate(zip(steps, outs, strict=True))
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "chain",
        [value("x", TensorProto.FLOAT, ["batch", 8])],
        [value("y", TensorProto.FLOAT, ["batch", 8])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "chain.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def evaluate(path: Path, ops: list[type] = []) -> Values:  # noqa: B006
    model = onnx.load(str(path))
    names = [value.name for value in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model, new_ops=ops).run(None, FEEDS), strict=True))


class Mul(OpRun):
    """Wrong by a percent."""

    op_domain = ""

    def _run(self, x: Any, y: Any) -> Any:
        return ((x * y * np.float32(1.01)).astype(x.dtype),)


class Softmax(OpRun):
    """NaN."""

    op_domain = ""

    def _run(self, x: Any, axis: Any = None) -> Any:
        return (np.full_like(x, np.nan),)


def outputs_of(path: Path) -> set[str]:
    return {value.name for value in onnx.load(str(path)).graph.output}


def test_a_target_that_agrees_is_said_to(chain: Path, tmp_path: Path) -> None:
    found = search(chain, evaluate, evaluate, FP32.tolerance, tmp_path)
    assert found.agrees
    assert found.first is None


@pytest.mark.parametrize(
    ("op", "tensor", "node"), [(Mul, "t2", "mul_2"), (Softmax, "t3", "softmax_3")]
)
def test_the_wrong_node_is_named(
    chain: Path, tmp_path: Path, op: type, tensor: str, node: str
) -> None:
    found = search(chain, lambda p: evaluate(p, [op]), evaluate, FP32.tolerance, tmp_path)
    assert not found.agrees
    assert found.first is not None
    assert (found.first.tensor, found.first.node) == (tensor, node)
    assert found.first.op == op.__name__
    assert found.first.jumped
    assert [each.tensor for each in found.compared if each.ok] == [
        name for name in ("t0", "t1", "t2", "t3") if name < tensor
    ]


def fused(*inside: str) -> Callable[[Path], Values]:
    """A runtime that is wrong as long as no tensor ``inside`` its fusion is looked at."""

    def run(path: Path) -> Values:
        right = evaluate(path)
        if outputs_of(path).isdisjoint(inside):
            return {n: v + (0.1 if n in ("y", "t3") else 0) for n, v in right.items()}
        return right

    return run


def test_a_fault_that_vanishes_when_looked_at_is_narrowed_to_its_fusion(
    chain: Path, tmp_path: Path
) -> None:
    found = search(chain, fused("t1", "t2"), evaluate, FP32.tolerance, tmp_path)
    assert not found.agrees
    assert "t2" in {each.tensor for each in found.region}
    assert len(found.region) > 1
    assert "in how it fuses them" in bisect_text(found).plain.replace("\n  ", " ")


def test_a_form_that_its_runtime_computes_rightly_is_searched_beside_what_it_was_made_of(
    chain: Path, tmp_path: Path
) -> None:
    """The form multiplies by an operator more, and has lost one tensor: the rest keep their
    names."""
    model = onnx.load(str(chain))
    nodes = {node.output[0]: node for node in model.graph.node}
    nodes["t2"].output[0] = "t2_scaled"
    nodes["t2"].name = ""
    scale = numpy_helper.from_array(np.array([1.05], np.float32), "scale")
    model.graph.initializer.append(scale)
    restored = helper.make_node("Mul", ["t2_scaled", "scale"], ["t2"], name="dequantise")
    place = next(i for i, n in enumerate(model.graph.node) if "t2" in n.input)
    model.graph.node.insert(place, restored)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["other" if name == "t0" else name for name in names]
    form = tmp_path / "form.onnx"
    onnx.save(model, str(form))
    assert search(form, evaluate, evaluate, FP32.tolerance, tmp_path).agrees
    asked: list[Path] = []

    def reference(path: Path) -> Values:
        asked.append(path)
        assert "scale" not in {tensor.name for tensor in onnx.load(str(path)).graph.initializer}
        return evaluate(path)

    found = search(form, evaluate, reference, FP32.tolerance, tmp_path, chain)
    assert asked
    assert not found.agrees
    assert found.first is not None
    assert (found.first.tensor, found.first.node) == ("t2", "mul_2"), "as the original's has it"
    assert [each.tensor for each in found.compared] == ["t1", "t2", "t3", "y"]
    told = sentence(replace(found, model="chain in int8-dynamic", target="a:cpu", beside="fp32"))
    assert told.startswith(
        "chain in int8-dynamic on a:cpu differs from fp32 first in the tensor t2, made by Mul mul_2"
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [(0.0049, "its error is 4.9e-03 of the largest value."), (1.1, "1.1 times the largest value.")],
)
def test_an_error_beyond_the_largest_value_is_told_in_times(error: float, words: str) -> None:
    first = Compared("t", "mul", "Mul", (4,), max_abs_error=1.0, error=error, ok=False)
    found = Bisection("m", "a:cpu", "onnx", "", (first,), (first,), first)
    assert sentence(found).endswith(words)


def test_a_name_that_stands_for_something_else_in_the_form_is_not_compared(tmp_path: Path) -> None:
    """A quantiser takes the Relu out, and what it clipped has its output's name."""
    value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=[4])
    scale = numpy_helper.from_array(np.array([1.05], np.float32), "scale")

    def written(nodes: list[Any], name: str) -> Path:
        graph = helper.make_graph(nodes, name, [value("x")], [value("y")], [scale])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, str(path))
        return path

    last = helper.make_node("Mul", ["clipped", "scale"], ["y"])
    original = written(
        [
            helper.make_node("Neg", ["x"], ["minus"]),
            helper.make_node("Relu", ["minus"], ["clipped"]),
            last,
        ],
        "original",
    )
    form = written([helper.make_node("Neg", ["x"], ["clipped"]), last], "form")

    def run(path: Path) -> Values:
        feeds = {"x": np.array([-1, 1, -2, 2], np.float32)}
        session = ReferenceEvaluator(onnx.load(str(path)))
        return dict(zip(session.output_names, session.run(None, feeds), strict=True))

    found = search(form, run, run, FP32.tolerance, tmp_path, original)

    assert [each.tensor for each in found.compared] == ["y"]


@pytest.mark.parametrize("target", [lambda p: evaluate(p, [Softmax]), fused("t1"), evaluate])
def test_the_report_fits_80_columns_and_is_json(
    chain: Path, tmp_path: Path, target: Callable[[Path], Values]
) -> None:
    found = search(chain, target, evaluate, FP32.tolerance, tmp_path)
    assert max(map(cell_len, bisect_text(found, 80).plain.splitlines())) <= 80
    row = bisect_row(found)
    assert json.loads(json.dumps(row, allow_nan=False))["agrees"] is found.agrees


def test_a_token_is_looked_at_behind_the_past_that_its_prompt_leaves(
    chain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A language model's cell is planned with a past of zeros, which no fault may show in."""
    identity = SimpleNamespace(name="chain")
    file = SimpleNamespace(onnx=chain)
    planned = SimpleNamespace(
        choice=SimpleNamespace(runtime=SimpleNamespace(forms=("onnx",)), target="a:cpu"),
        refused=None,
        file=file,
        model=SimpleNamespace(file=file),
        cell=SimpleNamespace(variant="fp32", model=identity),
        past="zeros",
    )
    filled = SimpleNamespace(**{**vars(planned), "past": "real"})

    def with_past(given: object, references: References) -> object:
        assert given is planned
        assert isinstance(references, References)
        return filled

    def of(given: object, *rest: object) -> Callable[[Path], Values]:
        assert given is filled
        return evaluate

    monkeypatch.setattr(bisect_module, "with_past", with_past)
    monkeypatch.setattr(bisect_module, "numeric", lambda given: "fp32")
    monkeypatch.setattr(bisect_module, "_target", of)
    monkeypatch.setattr(bisect_module, "_reference", lambda *given: ("another", of(given[0])))
    for search_one in (bisect_module.bisect, bisect_module.bisect_form):
        assert search_one(cast(Any, planned), {}, cast(Any, None)).agrees


# -- the command ----------------------------------------------------------------------------------


def test_the_command_names_the_node_on_a_faulty_device(bench: Any, chain: Path) -> None:
    done = bench("debug", "bisect", str(chain), "--target", "skewed:npu:0")
    assert done.returncode == 3, done.stderr
    assert "made by Relu relu_1" in " ".join(done.stdout.split())
    assert "skewed:npu:0 disagrees on chain" in done.stdout
    row = json.loads(bench("debug", "bisect", str(chain), "-t", "skewed:npu:0", "--json").stdout)
    assert row["first"]["op"] == "Relu"


def test_the_command_says_that_a_real_runtime_agrees(bench: Any) -> None:
    done = bench(
        "debug", "bisect", "fashion-student", "--target", "onnxruntime:cpu", "--batch", "2"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "onnxruntime:cpu agrees with the reference on fashion-student." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fashion-student", "-t", "torch:cpu"), "not an ONNX graph"),
        (("fashion-student", "-t", "onnxruntime:npu:7"), "found no such device"),
        (("absent.onnx", "-t", "onnxruntime:cpu"), "no such file"),
    ],
)
def test_what_cannot_be_bisected_is_one_sentence(
    bench: Any, arguments: tuple[str, ...], words: str
) -> None:
    done = bench("debug", "bisect", *arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
