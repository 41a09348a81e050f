"""The smallest model there is, to touch a device with: one Relu over x[1, 4], as ONNX."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

#: IR 8, opset 17: what every runtime of the last years reads.
ONNX = base64.b64decode(
    "CAg6PwoQCgF4EgF5GgJuMCIEUmVsdRIBZ1oTCgF4Eg4KDAgBEggKAggBCgIIBGITCgF5Eg4KDAgBEggKAggBCgIIBEIE"
    "CgAQEQ=="
)
FEEDS = {"x": np.array([[-1, 0, 1, 2]], np.float32)}


def is_right(y: np.ndarray[Any, Any]) -> bool:
    """Whether ``y`` is what the model makes of `FEEDS`."""
    return bool(np.array_equal(y, [[0, 0, 1, 2]]))
