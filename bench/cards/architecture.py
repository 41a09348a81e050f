"""Of what kind a network is, as far as its ONNX file tells: what it computes with, how large."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cards.bodies import all_graphs

#: Operators that hold what was learned, or mark a family, by what they are in any precision.
#: Others (activations, reshapes, quantisation) come and go with exporters.
_FAMILIES = {
    "Conv": "convolution",
    "ConvInteger": "convolution",
    "ConvTranspose": "convolution",
    "FusedConv": "convolution",
    "QLinearConv": "convolution",
    "FusedGemm": "dense",
    "FusedMatMul": "dense",
    "Gemm": "dense",
    "LinearClassifier": "dense",
    "MatMul": "dense",
    "MatMulInteger": "dense",
    "QGemm": "dense",
    "QLinearMatMul": "dense",
    "GRU": "recurrent",
    "LSTM": "recurrent",
    "RNN": "recurrent",
    "Attention": "attention",
    "LayerNormalization": "layer normalisation",
    "MultiHeadAttention": "attention",
    "SVMClassifier": "support vectors",
    "TreeEnsemble": "trees",
    "TreeEnsembleClassifier": "trees",
    "TreeEnsembleRegressor": "trees",
}
#: Networks of one family whose sizes differ by more are not taken for one architecture: our choice.
SIZE_FACTOR = 2.0


@dataclass(frozen=True)
class Architecture:
    """``families`` are the kinds of operators; ``weights`` counts the numbers that are stored."""

    families: frozenset[str]
    weights: int

    def like(self, other: Architecture) -> bool:
        """Whether both are of the same families, and of one size within `SIZE_FACTOR`."""
        small, large = sorted((self.weights, other.weights))
        return self.families == other.families and large <= SIZE_FACTOR * small

    def __str__(self) -> str:
        families = ", ".join(sorted(self.families)) or "no operator that learns"
        return f"{families}; {self.weights:,} weights"


def architecture_of(onnx_file: Path) -> Architecture:
    """Read from the graph; external data are not loaded."""
    import onnx  # onnx: start-up

    graph = onnx.load(str(onnx_file), load_external_data=False).graph
    families, weights = set(), 0
    for part in all_graphs(graph):
        families |= {_FAMILIES[n.op_type] for n in part.node if n.op_type in _FAMILIES}
        weights += sum(math.prod(tensor.dims) for tensor in part.initializer)
        weights += sum(_stored_in(node) for node in part.node)
    return Architecture(frozenset(families), weights)


def _stored_in(node: Any) -> int:
    """Numbers that a node holds in its attributes: constants, trees, support vectors."""
    return sum(
        math.prod(attribute.t.dims) if attribute.HasField("t") else len(attribute.floats)
        for attribute in node.attribute
    )
