"""A stand-in for torchair: the two names that its guide uses to make a backend of torch.compile."""

from __future__ import annotations

from typing import Any

#: operators of each graph that was compiled
compiled: list[int] = []


class CompilerConfig:
    """How to compile."""


def get_npu_backend(*, compiler_config: CompilerConfig) -> Any:
    """What ``torch.compile(backend=...)`` calls with a graph and example inputs."""
    assert isinstance(compiler_config, CompilerConfig)

    def compile_graph(graph: Any, example_inputs: Any) -> Any:
        compiled.append(sum(node.op.startswith("call_") for node in graph.graph.nodes))
        return graph.forward

    return compile_graph
