"""A stand-in for Huawei's compiler `atc`, with its options, its checks and its words.

What it makes is read by the stand-in of pyACL alone.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import onnx
from acl import offline
from onnx import helper, shape_inference

KNOWN = {
    "framework",
    "model",
    "output",
    "soc_version",
    "input_shape",
    "dynamic_batch_size",
    "dynamic_dims",
    "input_format",
    "precision_mode",
    "precision_mode_v2",
    "log",
}
PRECISIONS = {"origin", "fp16", "mixed_float16", "mixed_bfloat16", "cube_fp16in_fp32out"}


class Failed(Exception):
    """What `atc` prints behind a code."""


def main(arguments: list[str]) -> int:
    print("ATC start working now, please wait for a moment...")
    if os.environ.get("ATC_STAND_IN_COUNT"):
        with open(os.environ["ATC_STAND_IN_COUNT"], "a") as file:
            file.write(" ".join(arguments) + "\n")
    try:
        options = read_options(arguments)
        compile_model(options)
    except Failed as error:
        print("ATC run failed, Please check the detail log, Try 'atc --help' for more information")
        print(error)
        print("        TraceBack (most recent call last):\n        Assert ((ret) == 0) failed")
        return 1
    Path("fusion_result.json").write_text("[]")
    print("ATC run success, welcome to the next use.")
    return 0


def read_options(arguments: list[str]) -> dict[str, str]:
    options = {}
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if name not in KNOWN:
            raise Failed(f"E10042: unknown command line flag '{name}'")
        options[name] = value
    if "precision_mode" in options and "precision_mode_v2" in options:
        raise Failed("E10055: [precision_mode] and [precision_mode_v2] can't be used together.")
    if options.get("precision_mode_v2", "fp16") not in PRECISIONS:
        raise Failed(f"E10001: Value [{options['precision_mode_v2']}] for [precision_mode_v2].")
    if options.get("framework") != "5":
        raise Failed("E10007: framework is invalid.")
    if not options["soc_version"].startswith("StandIn"):
        raise Failed(f"E10001: Value [{options['soc_version']}] for parameter [--soc_version].")
    return options


def compile_model(options: dict[str, str]) -> None:
    check_path("model", os.path.realpath(options["model"]))
    check_path("output", options["output"])
    check_path("output", os.path.realpath(options["output"]))
    model = read_model(os.path.realpath(options["model"]))
    gears = [int(g) for g in options.get("dynamic_batch_size", "").split(",") if g]
    if len(gears) == 1:
        raise Failed("E10035: [--dynamic_batch_size] has 1 shape, which is less than 2.")
    by_dims = "dynamic_dims" in options
    if by_dims:
        gears = read_dims(options)
    shapes = read_shapes(options.get("input_shape", ""))
    weights = {tensor.name for tensor in model.graph.initializer}
    takes = [value for value in model.graph.input if value.name not in weights]
    for name in shapes:
        if name not in [value.name for value in takes]:
            raise Failed(f"E10016: Op name {name} specified in --input_shape is not found.")
    inputs = [describe(value, shapes) for value in takes]
    if by_dims and [d for tensor in inputs for d in tensor.dims].count(-1) != 1:
        raise Failed("E10035: [--dynamic_dims] has another number of values than there are -1.")
    for tensor in [] if by_dims else inputs:
        if -1 in tensor.dims[1:] or (-1 in tensor.dims and not gears):
            raise Failed(f"E10014: Value [-1] for the shape of [{tensor.name}] is invalid.")
    dims = {gear: output_dims(model, inputs, gear, by_dims) for gear in (gears or [0])}
    outputs = [
        offline.Tensor(value.name, code(value), dims[max(gears, default=0)][index])
        for index, value in enumerate(model.graph.output)
    ]
    made = offline.Offline(
        options["soc_version"],
        options.get("precision_mode_v2", "fp16"),
        gears,
        inputs,
        outputs,
        dims,
        model.SerializeToString(),
        by_dims,
    )
    made.write(Path(name_of(options["output"])))


def read_dims(options: dict[str, str]) -> list[int]:
    """``1;16``, one value a gear: this stand-in knows models with one dynamic dimension."""
    if "dynamic_batch_size" in options:
        raise Failed("E10003: [--dynamic_dims] and [--dynamic_batch_size] exclude each other.")
    if options.get("input_format") != "ND" or "input_shape" not in options:
        raise Failed("E10003: [--dynamic_dims] needs --input_shape and --input_format=ND.")
    gears = [int(gear) for gear in options["dynamic_dims"].split(";")]
    if len(gears) < 2:
        raise Failed("E10035: [--dynamic_dims] has 1 profile, which is less than 2.")
    return gears


def name_of(output: str) -> str:
    """Host code in a model puts the system into the file's name."""
    if os.environ.get("ATC_STAND_IN_HOST_CODE"):
        return f"{output}_linux_{platform.machine()}.om"
    return f"{output}.om"


def read_model(path: str) -> Any:
    try:
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            read_weights(tensor, Path(path).parent)
    except Exception as error:
        raise Failed(f"E16004: Read proto file [{path}] failed. Wrong format.") from error
    lacking = [
        node
        for node in model.graph.node
        if not onnx.defs.has(node.op_type, node.domain) or node.domain
    ]
    if lacking or not model.graph.node:
        lines = [
            f"No parser is registered for Op [{node.name or node.output[0]}, optype "
            f"[{node.domain or 'ai.onnx'}::11::{node.op_type}]]."
            for node in lacking
        ]
        raise Failed("E19010: " + "\n        ".join(lines or ["The graph is empty."]))
    return model


def read_weights(tensor: Any, folder: Path) -> None:
    """Put external data into the file, from beside the real path; atc has no other rule for them.

    The package onnx would refuse links.
    """
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    start, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
    content = (folder / entries["location"]).read_bytes()
    tensor.raw_data = content[start:] if length < 0 else content[start : start + length]
    tensor.ClearField("external_data")
    tensor.data_location = onnx.TensorProto.DEFAULT


def check_path(option: str, path: str) -> None:
    """atc's own pattern (hicann/ge: file_util.cc)."""
    if not re.fullmatch(r"[\u4e00-\u9fa5A-Za-z0-9./_-]+", path):
        raise Failed(
            f"E10001: Value {path} for parameter --{option} is invalid. Reason: The path can only "
            "contain 'a-z' 'A-Z' '0-9' '-' '.' '_' and Chinese characters."
        )


def read_shapes(text: str) -> dict[str, list[int]]:
    """``a:1,3;b:-1``: atc splits at each semicolon, then at the last colon (option_utils.cc)."""
    shapes = {}
    for part in filter(None, text.split(";")):
        name, colon, dims = part.rpartition(":")
        if not colon:
            raise Failed(
                f"E10002: Value {part} for parameter --input_shape is invalid. Reason: The shape "
                "must contain two parts: name and value."
            )
        if not re.fullmatch(r"(-?\d+(,-?\d+)*)?", dims):
            raise Failed(f"E10014: Value {dims} for parameter --input_shape is invalid.")
        shapes[name.strip()] = [int(d) for d in dims.split(",") if d]
    return shapes


def describe(value: Any, shapes: dict[str, list[int]]) -> offline.Tensor:
    file_dims = [
        d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim
    ]
    dims = shapes.get(value.name, file_dims)
    if len(dims) != len(file_dims):
        raise Failed(f"E10013: the rank of [{value.name}] in [--input_shape] is wrong.")
    return offline.Tensor(value.name, code(value), dims)


def code(value: Any) -> int:
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    return offline.TYPES[dtype]


def output_dims(
    model: Any, inputs: list[offline.Tensor], gear: int, by_dims: bool
) -> list[list[int]]:
    """By shape inference with every input fixed; -1 where the data decides."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    by_name = {tensor.name: tensor for tensor in inputs}
    for value in fixed.graph.input:
        if value.name in by_name:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, by_name[value.name].dims, strict=True):
                dim.dim_value = gear if size == -1 else size
    if by_dims:
        return folded_dims(fixed, by_name, gear)
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    return [
        [d.dim_value if d.HasField("dim_value") else -1 for d in v.type.tensor_type.shape.dim]
        for v in itertools.islice(inferred.graph.output, None)
    ]


def folded_dims(model: Any, inputs: dict[str, Any], gear: int) -> list[list[int]]:
    """atc computes what follows from the sizes of a gear before it infers shapes."""
    from bench.cards.language.fixed import fixed

    shapes = {
        name: tuple(gear if d == -1 else d for d in tensor.dims) for name, tensor in inputs.items()
    }
    return [list(output.shape) for output in fixed(model, shapes, "atc").outputs]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
