"""The graphs of an ONNX file, its own and those inside its nodes (branches, bodies of loops), and
what each of them holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def bodies(node: Any) -> Iterator[Any]:
    """The graphs that a node holds itself."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def tensors_of(graph: Any) -> Iterator[tuple[str, Any]]:
    """The tensors that a graph holds itself, by name: what its Constant nodes have, under the name
    of their output, and the initializers."""
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield node.output[0], attribute.t
    for tensor in graph.initializer:
        yield tensor.name, tensor


def all_graphs(graph: Any) -> Iterator[Any]:
    """The graph, then those inside it at any depth."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from all_graphs(body)


def all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of the graph and of all inside it."""
    for part in all_graphs(graph):
        yield from part.node
