"""A backend that computes one operator wrongly: ONNX's evaluator with a Relu that leaks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from bench.backends.onnx_reference import OnnxReference

from bench.backend import Device, ModelFile, Options


class Skewed(OnnxReference):
    name: ClassVar[str] = "skewed"

    def devices(self) -> list[Device]:
        return [Device("npu:0", "Example", "A chip with a fault")]

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        import onnx
        from onnx.reference import ReferenceEvaluator
        from onnx.reference.op_run import OpRun

        class Relu(OpRun):
            op_domain = ""

            def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
                return (np.where(x > 0, x, np.float32(0.1) * x).astype(x.dtype),)

        session = super().compile(model, Device("cpu", "", ""), options)
        session._evaluator = ReferenceEvaluator(onnx.load(str(model.onnx)), new_ops=[Relu])
        return session
