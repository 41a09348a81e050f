"""One use of everything that the adapter does, from finding devices to finalising pyACL."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from bench.backends.ascend.adapter import Ascend
from bench.backends.ascend.device import PROCESS
from onnx import TensorProto, helper

from bench.backend import ModelFile, Options
from bench.contract.models import Example, write_conv
from bench.errors import BenchError

X = np.array([[1, 0, 2, 0], [0, 3, 0, 4]], np.float32)


def write_nonzero(folder: Path) -> ModelFile:
    """``NonZero``: an output whose size the data decides."""
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["where"])],
        "nonzero",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("where", TensorProto.INT64, [2, "found"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "nonzero.onnx"))
    return ModelFile("nonzero", folder / "nonzero.onnx")


class Scenario:
    """Models on the disk; `run` uses them, and leaves nothing whatever fails."""

    def __init__(self, folder: Path) -> None:
        self.conv: Example = write_conv(folder)
        self.nonzero = write_nonzero(folder)

    def run(self) -> None:
        """Raises the first `BenchError`, after giving back what was acquired."""
        sessions: list[Any] = []
        try:
            self._use(sessions)
            for session in sessions:
                session.close()
            PROCESS.end()
        finally:
            for session in sessions:
                with contextlib.suppress(BenchError):
                    session.close()
            with contextlib.suppress(BenchError):
                PROCESS.end()

    def _use(self, sessions: list[Any]) -> None:
        backend = Ascend()
        (device,) = backend.devices()
        assert backend.device_memory(device)
        geared = Options(shapes=self.conv.shapes(3), extra={"gears": "1,3"})
        sessions.append(backend.compile(self.conv.file, device, geared))
        feeds = self.conv.feeds(3, 0)
        call = sessions[0].bind(feeds)
        call()
        np.testing.assert_allclose(sessions[0].fetch()[0], self.conv.right(feeds)[0], atol=1e-4)
        one = self.conv.feeds(1, 0)
        np.testing.assert_allclose(sessions[0].run(one)[0], self.conv.right(one)[0], atol=1e-4)
        api: Any = sessions[0].api_call(feeds)()
        np.testing.assert_allclose(api[0], self.conv.right(feeds)[0], atol=1e-4)
        sessions[0].copy_times(feeds, 2)
        sessions[0].placement()

        sessions.append(backend.compile(self.nonzero, device, Options()))
        found = sessions[1].bind({"x": X})
        found()
        found()
        for outputs in (sessions[1].fetch(), sessions[1].run({"x": X})):
            np.testing.assert_array_equal(outputs[0], np.array(np.nonzero(X)))
