"""Names in an ONNX file, of free dimensions and of outputs, read without any runtime.

Providers that compile for fixed shapes want each symbolic dimension's size by its name, before
there is a session that could tell the names. The file is a protobuf message: fields are walked and
skipped (protobuf.dev/programming-guides/encoding), so that weights are never read. The numbers are
those of ``onnx.proto``.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Dict, Iterator, Mapping, Sequence, Tuple, Union

from bench.errors import SpecError, Unsupported

#: ModelProto.graph, GraphProto.input and .output, ValueInfoProto.name and .type,
#: TypeProto.tensor_type, TypeProto.Tensor.shape, TensorShapeProto.dim, Dimension.dim_value
#: and .dim_param
_GRAPH, _INPUT, _OUTPUT, _NAME, _TYPE = 7, 11, 12, 1, 2
_TENSOR, _SHAPE, _DIM, _VALUE, _PARAM = 1, 2, 1, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

#: a size, a name, or None for a dimension that has neither
Dimension = Union[int, str, None]
Span = Tuple[int, int]


def free_dimensions(path: Path, shapes: Mapping[str, Sequence[int]], where: str) -> Dict[str, int]:
    """The size of every symbolic dimension of the inputs, if they are to have ``shapes``.

    Raises `SpecError` where one name would have two sizes, and `Unsupported` for a dimension
    without a name. A file that can't be read gives none: the runtime says what is wrong with it.
    """
    found: Dict[str, int] = {}
    for name, dimensions in _inputs(path).items():
        shape = shapes.get(name, ())
        if len(shape) != len(dimensions):  # the runtime names the input that doesn't fit
            continue
        for index, (dimension, size) in enumerate(zip(dimensions, shape)):
            if dimension is None:
                raise Unsupported(
                    f"{where}: dimension {index} of the input {name!r} is dynamic and has no name, "
                    "so its size can't be fixed. Name it, or make it static, in the ONNX file."
                )
            if isinstance(dimension, str) and found.setdefault(dimension, size) != size:
                raise SpecError(
                    f"{where}: the dimension {dimension!r} would have to be both "
                    f"{found[dimension]} and {size}. Give matching shapes."
                )
    return found


def output_names(path: Path) -> Tuple[str, ...]:
    """What the graph calls its outputs, in their order; empty where the file is no ONNX model."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tuple(
                _name(data, info)
                for graph in _messages(data, (0, len(data)), _GRAPH)
                for info in _messages(data, graph, _OUTPUT)
            )
    except (OSError, ValueError, IndexError):
        return ()


def _inputs(path: Path) -> Dict[str, Sequence[Dimension]]:
    """Input name -> its dimensions; empty where the file is no whole ONNX model."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return dict(_value_infos(data))
    except (OSError, ValueError, IndexError):
        return {}


def _value_infos(data: mmap.mmap) -> Iterator[Tuple[str, Sequence[Dimension]]]:
    for graph in _messages(data, (0, len(data)), _GRAPH):
        for info in _messages(data, graph, _INPUT):
            spans = [info]
            for number in (_TYPE, _TENSOR, _SHAPE, _DIM):
                spans = [inner for span in spans for inner in _messages(data, span, number)]
            yield _name(data, info), [_dimension(data, span) for span in spans]


def _name(data: mmap.mmap, info: Span) -> str:
    return b"".join(data[start:end] for start, end in _messages(data, info, _NAME)).decode()


def _dimension(data: mmap.mmap, span: Span) -> Dimension:
    for number, value in _fields(data, span):
        if number == _VALUE and isinstance(value, int):
            return value
        if number == _PARAM and isinstance(value, tuple):
            return data[value[0] : value[1]].decode() or None
    return None


def _messages(data: mmap.mmap, span: Span, wanted: int) -> Iterator[Span]:
    """Where the contents of the fields with one number lie."""
    for number, value in _fields(data, span):
        if number == wanted and isinstance(value, tuple):
            yield value


def _fields(data: mmap.mmap, span: Span) -> Iterator[Tuple[int, Union[int, Span, None]]]:
    """Each field's number, and its integer or the place of its bytes."""
    place, end = span
    while place < end:
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield number, value
        elif kind == _BYTES:
            size, place = _varint(data, place)
            if place + size > end:
                raise ValueError("a field extends beyond the end of its message")
            yield number, (place, place + size)
            place += size
        elif kind in (_FIXED32, _FIXED64):
            place += 4 if kind == _FIXED32 else 8
            yield number, None
        else:
            raise ValueError(f"unknown wire type {kind}")


def _varint(data: mmap.mmap, place: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
