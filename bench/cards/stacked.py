"""Products by stacked matrices (experts, heads) in 8 bits, per channel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.cards.bodies import all_nodes


def shape_zero_points(path: Path) -> None:
    """Give each stacked matrix of `MatMulInteger` a zero point of the shape that ONNX asks for.

    For B of shape [D1, ..., K, N] that is [D1, ..., 1, N] (onnx: MatMulInteger-10). ONNX Runtime's
    quantiser writes [N], which its own kernel refuses. The values stay: the file at ``path`` is
    written again, its weights beside it, if any, are left where they are.
    """
    import onnx  # onnx: start-up
    from onnx import numpy_helper

    model = onnx.load(str(path), load_external_data=False)
    constants = {one.name: one for one in model.graph.initializer}
    wrong = _wrong(model, constants)
    if not wrong:
        return
    for name, dims in wrong.items():
        values = numpy_helper.to_array(constants[name], base_dir=str(path.parent))
        shaped = np.broadcast_to(values, (*dims[:-2], 1, dims[-1]))
        constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(shaped), name))
    onnx.save(model, str(path))


def _wrong(model: Any, constants: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Zero points of one value a column, by the shape of the stack that each belongs to."""
    found: dict[str, tuple[int, ...]] = {}
    for node in all_nodes(model.graph):
        if node.op_type != "MatMulInteger" or len(node.input) < 4:
            continue
        matrix, zero = (constants.get(node.input[place]) for place in (1, 3))
        if matrix is None or zero is None:
            continue
        dims = tuple(matrix.dims)
        if len(dims) > 2 and tuple(zero.dims) == dims[-1:]:
            found[zero.name] = dims
    return found
