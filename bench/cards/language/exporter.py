"""What PyTorch's exporter does in vain is left out while it runs; the file comes out the same."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quickened() -> Iterator[None]:
    """While it lasts, the exporter works as fast as we know how to let it."""
    with without_collecting(), _without_keeping_fakes(), _without_hopeless_matches():
        yield


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """While it lasts, nothing looks for cycles: tracing makes millions of objects that all live to
    its end, and looking through them again and again took a fifth of an export's time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@contextlib.contextmanager
def _without_keeping_fakes() -> Iterator[None]:
    """While it lasts, what operators make of tensors without data isn't kept to be used again: an
    export traces each operator three times, mostly on other symbols, so looking for what was kept
    cost more than making it (a fifth of a small dense decoder's export)."""
    import torch._dynamo.config as config  # torch: optional

    with config.patch(fake_tensor_cache_enabled=False):
        yield


@contextlib.contextmanager
def _without_hopeless_matches() -> Iterator[None]:
    """While it lasts, onnxscript looks at a node with a rule only where the rule is about such
    operators. By itself it finds that out after it prepared the search, and for a rule of two
    operators (two slices that are one split) that is a walk through the graph for every node: a
    third of the export of a graph of 3,000. Another onnxscript keeps its own way."""
    try:
        from onnxscript.rewriter._basics import MatchResult  # onnxscript: optional
        from onnxscript.rewriter._matcher import SimplePatternMatcher  # onnxscript: optional
    except ImportError:
        yield
        return
    every = SimplePatternMatcher.match

    def match(self: Any, model: Any, graph: Any, node: Any, **options: Any) -> Any:
        operator = self.pattern.output_nodes[0].op_identifier()
        if operator is not None and operator[:2] != (node.domain, node.op_type):
            return MatchResult().fail("Another operator.")
        return every(self, model, graph, node, **options)

    SimplePatternMatcher.match = match
    try:
        yield
    finally:
        SimplePatternMatcher.match = every
