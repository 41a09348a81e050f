"""The stand-in's offline model: one line of JSON about it, then the ONNX graph behind it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

_MAGIC = b"STAND-IN OFFLINE MODEL 1\n"
GEAR_INPUT = "ascend_mbatch_shape_data"
#: pyACL: aclDataType
TYPES = {
    "float32": 0,
    "float16": 1,
    "int8": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 6,
    "int64": 9,
    "float64": 11,
    "bool": 12,
}
NAMES = {code: name for name, code in TYPES.items()}


@dataclass(frozen=True)
class Tensor:
    """An input or output; -1 in ``dims`` is what a gear or the data decides."""

    name: str
    dtype: int
    dims: list[int]


@dataclass(frozen=True)
class Offline:
    """What the runtime reads; ``output_dims`` are by gear, under 0 where there are no gears."""

    soc: str
    precision: str
    gears: list[int]
    inputs: list[Tensor]
    outputs: list[Tensor]
    output_dims: dict[int, list[list[int]]]
    onnx: bytes = b""
    #: whether the gears are of a dimension of any input (--dynamic_dims), and not of the batch
    by_dims: bool = False

    def write(self, path: Path) -> None:
        facts = asdict(self)
        onnx = facts.pop("onnx")
        path.write_bytes(_MAGIC + json.dumps(facts).encode() + b"\n" + onnx)


def read(path: Path) -> Offline | None:
    """None for a file that is no offline model."""
    content = path.read_bytes()
    if not content.startswith(_MAGIC):
        return None
    line, _, onnx = content[len(_MAGIC) :].partition(b"\n")
    facts = json.loads(line)
    return Offline(
        soc=facts["soc"],
        precision=facts["precision"],
        gears=facts["gears"],
        inputs=[Tensor(**tensor) for tensor in facts["inputs"]],
        outputs=[Tensor(**tensor) for tensor in facts["outputs"]],
        output_dims={int(gear): dims for gear, dims in facts["output_dims"].items()},
        onnx=onnx,
        by_dims=facts["by_dims"],
    )
