"""What is left out while PyTorch's exporter runs, and that it comes back."""

from __future__ import annotations

import gc
from typing import Any

import onnx
import pytest

from bench.cards.language.exporter import quickened

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import torch._dynamo.config as config
from onnxscript import optimizer
from onnxscript.rewriter._matcher import SimplePatternMatcher

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
turned (float[2, 8] x) => (float[2, 8] y)
<int64[1] zero = {0}, int64[1] four = {4}, int64[1] eight = {8}, int64[1] last = {1}> {
    left = Slice(x, zero, four, last)
    right = Slice(x, four, eight, last)
    less = Neg(right)
    turned = Concat<axis = -1>(less, left)
    there = Transpose<perm = [1, 0]>(turned)
    back = Transpose<perm = [1, 0]>(there)
    y = Mul(x, back)
}
"""


def test_an_export_that_fails_leaves_all_as_it_was() -> None:
    matching = SimplePatternMatcher.match
    kept = config.fake_tensor_cache_enabled

    def fail() -> None:
        with quickened():
            assert not gc.isenabled()
            assert not config.fake_tensor_cache_enabled
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert gc.isenabled()
    assert config.fake_tensor_cache_enabled == kept
    assert SimplePatternMatcher.match is matching


def test_a_rule_is_tried_on_its_own_operators_alone_and_the_graph_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every, tried = SimplePatternMatcher.match, []

    def noted(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        tried.append((self.pattern.output_nodes[0].op_identifier(), node.op_type))
        return every(self, model, graph, node, **options)

    slow = optimizer.optimize(onnx.parser.parse_model(GRAPH))
    assert "Transpose" not in [node.op_type for node in slow.graph.node], "a rule was applied"
    monkeypatch.setattr(SimplePatternMatcher, "match", noted)
    with quickened():
        quick = optimizer.optimize(onnx.parser.parse_model(GRAPH))
    assert quick == slow
    assert {rule[1] for rule, _ in tried if rule} >= {"Slice", "Transpose"}
    assert all(rule is None or rule[1] == operator for rule, operator in tried)
