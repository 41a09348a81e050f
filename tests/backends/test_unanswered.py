"""Devices that a runtime lists and that don't answer: each is absent for its own reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bench.backends import openvino
from bench.backends.openvino import OpenVino
from bench.backends.shared.absent import unanswered
from bench.backends.shared.tiny import FEEDS
from bench.backends.torch import device as torch_device

from bench.backend import Device
from bench.errors import Unavailable

FULL = "CUDA out of memory. Tried to allocate 2.00 MiB."
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"


class Cuda:
    """``torch`` with a GPU for each of ``told``: what a sum on it gives, or the error."""

    version = SimpleNamespace(cuda="13.0", hip=None)

    def __init__(self, *told: Any) -> None:
        self.told = told
        facts = SimpleNamespace(name="A card", total_memory=1 << 30)
        self.cuda = SimpleNamespace(
            is_available=lambda: bool(told),
            device_count=lambda: len(told),
            get_device_properties=lambda index: facts,
            init=self.init,
        )

    def init(self) -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    def ones(self, count: int, device: str) -> Any:
        return SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: self._sum(device)))

    def _sum(self, device: str) -> float:
        told = self.told[int(device.partition(":")[2])]
        if isinstance(told, str):
            raise RuntimeError(told)
        return float(told)


def absences(*told: Any) -> dict[str, str]:
    torch: Any = Cuda(*told)
    return {key: str(why) for key, why in torch_device.absences(torch, "torch").items()}


def test_a_gpu_that_does_not_compute_is_absent_for_what_it_says() -> None:
    advice = "`nvidia-smi` shows what else uses it."
    for why in (FULL, NO_KERNEL):
        said = f"is not available: {why.rstrip('.')}. {advice}"
        assert absences(why) == {"cuda": f"torch:cuda:0 {said}"}
        assert absences(8, why) == {"cuda:1": f"torch:cuda:1 {said}"}
    assert "the sum of eight ones is 7 there" in absences(7)["cuda"]
    assert absences(8, 8) == {}


def test_where_torch_shows_no_gpu_that_is_said() -> None:
    assert absences() == {
        "cuda": "torch:cuda is not available: Torch not compiled with CUDA enabled. A GPU needs a "
        "CUDA build of torch and its driver."
    }


def test_openvino_says_why_a_device_that_it_lists_does_not_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Core:
        available_devices = ("CPU", "GPU.0", "GPU.1", "NPU")

        def read_model(self, file: Any) -> str:
            return "the smallest"

        def compile_model(self, model: str, name: str) -> Any:
            if name in ("GPU.1", "NPU"):
                raise RuntimeError(f"{name}: the driver is too old")
            return lambda feeds: [right]

        def get_property(self, device: str, name: str) -> str:
            return "1"

    right = next(iter(FEEDS.values())).clip(0)
    monkeypatch.setattr(openvino, "_import", lambda: SimpleNamespace(Core=Core))
    backend = OpenVino()
    assert [device.id for device in backend.devices()] == ["cpu", "gpu:0"]
    absent = {key: str(why) for key, why in backend.absent_devices().items()}
    assert absent.keys() == {"gpu:1", "npu"}
    assert absent["npu"].startswith("openvino:npu is not available: NPU: the driver is too old. ")


def test_of_a_kind_that_is_wholly_silent_the_first_tells_why() -> None:
    silent = {f"npu:{index}": Unavailable(f"{index} is silent.") for index in range(3)}
    assert {key: str(why) for key, why in unanswered([], silent).items()} == {"npu": "0 is silent."}
    there = [Device("npu:3", "", "")]
    assert unanswered(there, silent).keys() == silent.keys()
