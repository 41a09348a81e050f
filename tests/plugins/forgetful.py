"""A backend whose numbers are right and whose manners are not, for `bench debug selftest`."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.backends.onnxruntime.adapter import OnnxRuntime

from bench.backend import Device, ModelFile, Options, Placement


class Forgetful(OnnxRuntime):
    """Loses two MiB of its device with each model that it loads."""

    name: ClassVar[str] = "forgetful"
    trials: ClassVar[tuple[dict[str, str], ...]] = ({"speed": "high"},)

    def __init__(self) -> None:
        super().__init__()
        self.free_bytes = 2**30

    def devices(self) -> list[Device]:
        return [Device("npu:0", "Example", "A chip that forgets", memory_bytes=2**26)]

    def device_memory(self, device: Device) -> tuple[int, int]:
        return self.free_bytes, 2**30

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        self.free_bytes -= 2 * 2**20
        session = super().compile(model, Device("cpu", "", ""), Options(shapes=options.shapes))
        session.placement = lambda: Placement({"npu:0": 1}, "made up")  # type: ignore[method-assign]
        return session
