"""Operators of ONNX that draw random numbers, so that no two runtimes give the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: ONNX's own runners leave their tests out "because they consist in generating random number"
#: (onnx/test/test_backend_reference.py, test_bernoulli).
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"}
    | {"RandomUniform", "RandomUniformLike"}
)
#: Those that draw only in training mode, and ONNX Runtime's own.
_DROPOUTS = ("Dropout", "BitmaskDropout", "BiasDropout", "TrainableDropout")
#: The place of Dropout's input `training_mode` (Dropout-12).
_TRAINING_MODE = 2


def is_random(node: Any, constants: Mapping[str, Any]) -> bool:
    """Whether a node draws; ``constants`` are the tensors that are known before it runs.

    A Dropout whose mode is an input of the model may draw, and counts as one that does.
    """
    if node.op_type in RANDOM:
        return True
    if node.op_type not in _DROPOUTS or len(node.input) <= _TRAINING_MODE:
        return False
    mode, ratio = node.input[_TRAINING_MODE], node.input[1]
    return bool(mode) and _is_on(mode, constants) and _is_on(ratio, constants)


def _is_on(name: str, constants: Mapping[str, Any]) -> bool:
    """Whether a number isn't known to be 0."""
    from onnx import numpy_helper  # onnx: start-up

    tensor = constants.get(name)
    return tensor is None or bool(numpy_helper.to_array(tensor).any())
