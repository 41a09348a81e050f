"""What only ONNX Runtime's own profile of a few inferences tells: in which precision nodes really
compute, and which device the time is spent on.

A float16 model on a CPU is the case in point of the first: ONNX Runtime has few float16 kernels
there, puts casts around the nodes and computes in float32, and nothing but the profile says so.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence

from bench.backend import Feeds

#: ONNX Runtime's names for types, as a model's variants are called; of several inputs of a node
#: the first type here that one of them has is the one that it computes in. Integers that no
#: quantised operator takes are images, masks and indices.
_PRECISIONS = {
    "float16": "fp16",
    "bfloat16": "bf16",
    "float": "fp32",
    "double": "fp64",
}
#: Operators that compute with 8 bits, of ONNX and of ONNX Runtime's own: `QLinearConv`,
#: `MatMulIntegerToFloat`, `QAttention`, `DynamicQuantizeLSTM`.
_QUANTISED = re.compile(r"QLinear|Q[A-Z]|DynamicQuantize(?!Linear)|\w*(Conv|MatMul|Gemm)Integer")
#: Operators that convert or move numbers and don't compute.
_MOVING = {
    "Cast",
    "Compress",
    "Concat",
    "DepthToSpace",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "MemcpyFromHost",
    "MemcpyToHost",
    "Pad",
    "QuantizeLinear",
    "ReorderInput",
    "ReorderOutput",
    "Reshape",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
}
#: Of MatMulNBits' attribute `bits` (ONNX Runtime's ContribOperators.md).
_DEFAULT_BITS = 4
_INFERENCES = 6  #: the first is dropped: it allocates
_BUDGET_S = 2.0  #: an emulated device takes seconds for one inference

Event = Mapping[str, Any]


def profile(open_session: Callable[[Any], Any], options: Any, feeds: Feeds) -> List[Event]:
    """The events of up to `_INFERENCES` inferences; one alone where that takes `_BUDGET_S`.

    ``open_session(options)`` gives the session; its profile goes to a folder that is deleted.
    """
    with tempfile.TemporaryDirectory(prefix="bench-profile-") as folder:
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = open_session(options)
        started = time.perf_counter()
        for _ in range(_INFERENCES):
            session.run(None, dict(feeds))
            if time.perf_counter() - started > _BUDGET_S:
                break
        with open(session.end_profiling(), encoding="utf-8") as file:
            events: List[Event] = json.load(file)
    return events


def computed_precision(events: Sequence[Event]) -> str:
    """``fp32``, or ``fp32+int8`` where nodes differ; empty where that isn't known.

    It isn't where a provider compiled a part of the graph: that is one node, whose inputs tell
    nothing of what is computed inside it.
    """
    names = {event["args"].get("op_name", "") for event in _kernels(events)}
    if any(name and not name.isalnum() for name in names):  # QNNExecutionProvider_6335_1
        return ""
    return "+".join(sorted(set(_precisions(events))))


def _precisions(events: Sequence[Event]) -> Iterator[str]:
    for event in _kernels(events):
        facts = event["args"]
        if facts.get("op_name") in _MOVING:
            continue
        if facts.get("op_name") == "MatMulNBits":
            yield f"int{_bits(facts.get('input_type_shape', []))}"
            continue
        if _QUANTISED.match(facts.get("op_name", "")):
            yield "int8"
            continue
        types = {kind for tensor in facts.get("input_type_shape", []) for kind in tensor}
        found = next((_PRECISIONS[kind] for kind in _PRECISIONS if kind in types), None)
        if found is not None:
            yield found


def _bits(inputs: Sequence[Mapping[str, Sequence[int]]]) -> int:
    """Bits of a weight of MatMulNBits: the profile tells shapes and no attributes.

    The matrix [rows, blocks, bytes of a block] holds so many of each column of the first input, or
    up to a block more. Where a kernel packed it away only the operator's default can be told.
    """
    shapes = [shape for each in inputs for shape in each.values()]
    if len(shapes) < 2 or len(shapes[1]) != 3:
        return _DEFAULT_BITS
    held = 8 * shapes[1][1] * shapes[1][2] / shapes[0][-1]
    return max((bits for bits in (2, 4, 8) if bits <= held), default=_DEFAULT_BITS)


def time_share(events: Sequence[Event], asynchronous: str = "") -> Dict[str, float]:
    """Provider -> its share of the time, 0 to 1; empty where the profile doesn't tell.

    Of the kernels' own time. Those of an ``asynchronous`` provider only launch work, so its share
    is what the others' kernels leave of the whole inferences: `session.run` ends with the outputs
    on the host, and kernels on the CPU run in the thread that waits for them.
    """
    spent: Dict[str, float] = {}
    for event in _without_first(_kernels(events)):
        provider = event["args"].get("provider", "")
        spent[provider] = spent.get(provider, 0.0) + event["dur"]
    if asynchronous:
        runs = [e for e in events if e.get("name") == "model_run" and e.get("cat") == "Session"]
        whole = sum(event["dur"] for event in _without_first(runs))
        others = sum(value for name, value in spent.items() if name != asynchronous)
        spent[asynchronous] = max(0.0, whole - others)
    total = sum(spent.values())
    return {name: value / total for name, value in spent.items()} if total else {}


def _kernels(events: Sequence[Event]) -> List[Event]:
    return [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]


def _without_first(events: Sequence[Event]) -> List[Event]:
    """Each name's later events, or all of a name that came once."""
    by_name: Dict[str, List[Event]] = {}
    for event in events:
        by_name.setdefault(event["name"], []).append(event)
    return [event for found in by_name.values() for event in (found[1:] or found)]
