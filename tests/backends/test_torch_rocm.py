"""torch's build for ROCm, whose GPUs go by CUDA's names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bench.backends.shared import nvidia
from bench.backends.torch import device as torch_device

from bench.backend import Device


def a_torch(**version: Any) -> Any:
    """A build of it with one GPU."""
    facts = SimpleNamespace(name="AMD Instinct MI300X", total_memory=1 << 37)
    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_properties=lambda index: facts,
        max_memory_reserved=lambda index: 4096,
    )
    total = SimpleNamespace(sum=lambda: SimpleNamespace(item=lambda: 8.0))
    version = {"cuda": None, "hip": None, **version}
    return SimpleNamespace(
        version=SimpleNamespace(**version), cuda=cuda, ones=lambda count, device: total
    )


@pytest.mark.parametrize(
    ("version", "vendor", "driver"),
    [({"hip": "6.4.1"}, "AMD", "ROCm 6.4.1"), ({"cuda": "13.0"}, "NVIDIA", "CUDA 13.0")],
)
def test_a_gpu_is_of_the_vendor_that_torch_was_built_for(
    version: dict[str, str], vendor: str, driver: str
) -> None:
    (found,) = torch_device.find_devices(a_torch(**version), ("cuda",))
    assert (found.id, found.vendor, found.driver) == ("cuda:0", vendor, driver)


def test_nothing_is_read_of_another_vendors_gpu_of_the_same_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def asked(index: int) -> Any:
        raise AssertionError("NVIDIA's library was asked about a GPU of AMD's")

    monkeypatch.setattr(nvidia, "_reach", asked)
    torch, gpu = a_torch(hip="6.4.1"), Device("cuda:0", "AMD", "")
    assert torch_device.telemetry(torch, gpu) == {"memory_bytes": 4096}
    assert torch_device.energy(torch, gpu) == {}
    with pytest.raises(AssertionError, match="of AMD's"):
        torch_device.energy(a_torch(cuda="13.0"), gpu)
