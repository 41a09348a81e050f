"""In which precision ONNX Runtime really computes, read from its own profile of one inference.

A float16 model on a CPU is the case in point: ONNX Runtime has few float16 kernels there, puts
casts around the nodes and computes in float32, and nothing but the profile says so.
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any, Callable, Iterator

from bench.backend import Feeds

#: ONNX Runtime's names for types, as a model's variants are called; of several inputs of a node
#: the first type here that one of them has is the one that it computes in.
_PRECISIONS = {
    "int8": "int8",
    "uint8": "int8",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float": "fp32",
    "double": "fp64",
}
#: Operators that convert or move numbers and don't compute.
_MOVING = {
    "Cast",
    "Concat",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "MemcpyFromHost",
    "MemcpyToHost",
    "QuantizeLinear",
    "ReorderInput",
    "ReorderOutput",
    "Reshape",
    "Shape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}


def computed_precision(make_session: Callable[[Any], Any], options: Any, feeds: Feeds) -> str:
    """``fp32``, or ``fp32+int8`` where nodes differ; empty where no node computes with floats.

    ``make_session(options)`` gives the session; its profile goes to a folder that is deleted.
    """
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = make_session(options)
        session.run(None, dict(feeds))
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    return "+".join(sorted(set(_precisions(events))))


def _precisions(events: Any) -> Iterator[str]:
    for event in events:
        facts = event.get("args", {})
        ran = event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if not ran or facts.get("op_name") in _MOVING:
            continue
        types = {kind for tensor in facts.get("input_type_shape", []) for kind in tensor}
        if facts.get("op_name", "").startswith("DynamicQuantize"):
            types.add("int8")  # a fused node whose weights' scale comes first
        found = next((_PRECISIONS[kind] for kind in _PRECISIONS if kind in types), None)
        if found is not None:
            yield found
