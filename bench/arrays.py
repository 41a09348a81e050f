"""One name for arrays whose type depends on the data: a docstring says shape, dtype and unit."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
