"""ONNX's evaluator, but some operators fail in every way a runtime can; installed by `conftest`."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import onnx
from bench.backends.onnx_reference import OnnxReference

from bench.backend import Device, Feeds, ModelFile, Options, Placement
from bench.errors import Unsupported

#: operator -> what happens to a model that holds it
FAULTS = {
    "Acos": "segfaults",
    "Acosh": "hangs",
    "Asin": "is killed",
    "Asinh": "raises",
    "Atan": "is unsupported",
    "Atanh": "is wrong",
    "Ceil": "dies in a worker that was used before",
    "Floor": "has another shape",
    "Cos": "runs elsewhere",
}


class FragileSession:
    """Passes everything on to the evaluator's session, but for the fault."""

    def __init__(self, inner: Any, fault: str) -> None:
        self.inner = inner
        self.fault = fault
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(self, feeds: Feeds) -> list[Any]:
        if self.fault == "raises":
            raise RuntimeError("the kernel said no\nand then much more")
        outputs = self.inner.run(feeds)
        if self.fault == "is wrong":
            return [output + 0.5 for output in outputs]
        return [output[None] for output in outputs] if "shape" in self.fault else outputs

    def placement(self) -> Placement:
        elsewhere = ("Cos (cpu)",) if self.fault == "runs elsewhere" else ()
        return Placement({"npu:0": 1, "cpu": len(elsewhere)}, "fragile", elsewhere)


class Fragile(OnnxReference):
    name = "fragile"
    #: workers of this process that have loaded something
    used = False

    def devices(self) -> list[Device]:
        return [Device("npu:0", "nobody", "a fragile thing")]

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        assert model.onnx is not None
        self._note(model.onnx)
        nodes = onnx.load(str(model.onnx)).graph.node
        fault = next((FAULTS[node.op_type] for node in nodes if node.op_type in FAULTS), "")
        used, Fragile.used = Fragile.used, True
        if fault == "segfaults":
            ctypes.string_at(0)
        if fault == "hangs":
            time.sleep(3600)
        if fault == "is killed" or (used and "used before" in fault):
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "is unsupported" or (fault == "runs elsewhere" and not options.allow_fallback):
            ops = ", ".join(sorted({node.op_type for node in nodes} & set(FAULTS)))
            raise Unsupported(f"{model.name} on fragile:npu:0: there is no kernel for {ops}.")
        time.sleep(float(os.environ.get("FRAGILE_SLEEP", "0")))
        return FragileSession(super().compile(model, Device("cpu", "", ""), options), fault)

    def _note(self, path: Path) -> None:
        """Tell the test that watches which models were loaded."""
        watched = os.environ.get("FRAGILE_LOG")
        if watched:
            with open(watched, "a") as file:
                file.write(f"{path.stem}\n")
