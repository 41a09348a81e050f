"""Which GPU a number of CUDA's means: what is read of it by other numbers is that GPU's own."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.backends.shared import host
from bench.backends.shared.host import nvidia_devices
from bench.backends.shared.visible import Listed, Unknown, numbered

A = Listed("GPU-aaaa0000-11", "0000:06:00.0")
B = Listed("GPU-aabb0000-22", "0000:c6:00.0")
C = Listed("GPU-cccc0000-33", "0001:05:00.0")
#: As the driver may list them: the bus has another order.
LISTED = (C, A, B)
ON_THE_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def shown(visible: str | None, *gpus: Listed, **variables: str) -> list[str]:
    """What CUDA shows: the first letters of each GPU, or ``?``."""
    if visible is not None:
        variables["CUDA_VISIBLE_DEVICES"] = visible
    listed = gpus or LISTED
    places = numbered(listed, ON_THE_BUS | variables)
    return ["?" if isinstance(place, Unknown) else listed[place].uuid[4:6] for place in places]


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        (None, "aa aa cc"),
        ("1", "aa"),
        ("2,0", "cc aa"),
        (" 2 , +1", "cc aa"),
        ("2nd,0th", "cc aa"),
        ("GPU-cccc0000-33", "cc"),
        ("GPU-c", "cc"),
        ("GPU-cccc,GPU-aaaa", "cc aa"),
        # Nothing is shown from an invalid entry on.
        ("0,2,-1,1", "aa cc"),
        ("2,3,1", "cc"),
        ("2,,1", "cc"),
        ("2,x,1", "cc"),
        ("GPU-cccc,GPU-dddd,GPU-aaaa", "cc"),
        ("GPU-cccc,GPU-aa,GPU-aabb", "cc"),
        ("GPU-cccc,1", "cc"),
        ("2,GPU-aaaa", "cc"),
        ("", ""),
        ("-1", ""),
        ("none", ""),
        ("NoDevFiles", ""),
        ("gpu-cccc", ""),
        ("GPU-", ""),
        ("99999999999999999999", ""),
        # Nor is anything, if a GPU is named twice.
        ("2,2", ""),
        ("2,0,2", ""),
        ("GPU-cccc,GPU-aaaa,GPU-cccc", ""),
        ("GPU-cccc,GPU-cccc0000", ""),
    ],
)
def test_cuda_shows_what_is_named_in_that_order(visible: str | None, gpus: str) -> None:
    assert shown(visible) == gpus.split()


def test_the_first_by_the_bus_is_the_first_whatever_the_driver_lists_first() -> None:
    assert numbered(LISTED, ON_THE_BUS) == [1, 2, 0]
    assert numbered(LISTED, ON_THE_BUS | {"CUDA_VISIBLE_DEVICES": "2,0"}) == [0, 1]
    far, near = Listed("GPU-ffff", "10000:01:00.0"), Listed("GPU-eeee", "ffff:01:00.0")
    assert shown(None, far, near) == ["ee", "ff"]


@pytest.mark.parametrize("order", [{}, {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}])
def test_in_another_order_an_index_may_be_any_gpu_and_a_uuid_is_not(order: dict[str, str]) -> None:
    def places(visible: str, *gpus: Listed) -> list[Any]:
        return numbered(gpus or LISTED, order | {"CUDA_VISIBLE_DEVICES": visible})

    assert [isinstance(place, Unknown) for place in numbered(LISTED, order)] == [True] * 3
    (unknown,) = places("1")
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in unknown.why
    assert places("GPU-cccc,GPU-aaaa") == [0, 1]
    assert places("7") == []
    assert places("0", A) == [0]  # the only one is the fastest


def test_gpus_of_which_one_has_no_address_are_in_no_known_order() -> None:
    assert shown("1", A, Listed("GPU-dd", "")) == ["?"]
    assert shown("GPU-dd", A, Listed("GPU-dd", "")) == ["dd"]


def test_a_part_of_a_gpu_is_no_gpu_that_the_driver_lists() -> None:
    """Where one is divided, CUDA shows a part, and which one is its own choice."""
    divided = Listed("GPU-eeee0000-55", "0000:07:00.0", divided=True)
    assert shown("MIG-4b51d5a4-9b5e") == ["?"]
    assert shown("MIG-GPU-aaaa0000-11/1/0,GPU-cccc") == ["?"]
    assert shown(None, A, divided) == ["?", "?"]
    assert shown("0", A, divided) == ["?"]
    assert shown("GPU-eeee", A, divided) == ["?"]
    assert shown("GPU-aaaa", A, divided) == ["aa"]
    (unknown,) = numbered((A,), {"CUDA_VISIBLE_DEVICES": "MIG-1"})
    assert isinstance(unknown, Unknown)
    assert "part of a GPU (MIG)" in unknown.why


def test_pytorch_reads_the_variable_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reading was written after what a driver showed; private, so it may go."""
    cuda = pytest.importorskip("torch").cuda
    if not hasattr(cuda, "_parse_visible_devices") or not hasattr(cuda, "_raw_device_uuid_nvml"):
        pytest.skip("this release of torch reads it elsewhere")
    on_bus = (A, B, C)
    monkeypatch.setattr(cuda, "_raw_device_uuid_nvml", lambda: [gpu.uuid for gpu in on_bus])
    monkeypatch.setattr(cuda, "_raw_device_count_nvml", lambda: len(on_bus))
    indices = ("0", "2", "1x", " 1", "-1", "", "3", "x")
    uuids = ("GPU-aaaa", "GPU-aaaa0000-11", "GPU-c", "GPU-a", "GPU-dd", " GPU-c", "MIG-1", "1")
    for entries in (*lists_of(indices), *lists_of(uuids)):
        visible = ",".join(entries)
        if visible.startswith("MIG-"):
            continue
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        places = numbered(on_bus, ON_THE_BUS | {"CUDA_VISIBLE_DEVICES": visible})
        assert len(places) == cuda._device_count_nvml(), visible
        for number, place in enumerate(places):
            assert cuda._get_nvml_device_index(number) == place, visible


def lists_of(entries: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [one for size in (1, 2, 3) for one in itertools.product(entries, repeat=size)]


# -- names ----------------------------------------------------------------------------------------

#: The driver's tool, which answers what it is asked.
TOOL = """#!PYTHON
import sys
asked, form = sys.argv[1:]
assert form == "--format=csv,noheader,nounits", form
fields = asked.removeprefix("--query-gpu=").split(",")
told = {
    "name": "NVIDIA BUS",
    "memory.total": "1BUS",
    "driver_version": "580.1",
    "pci.bus_id": "00000000:BUS:00.0",
    "uuid": "GPU-BUS-aa",
    "mig.mode.current": "MIG_MODE",
}
for bus in ("C6", "06"):
    print(", ".join(told[field].replace("BUS", bus) for field in fields))
"""


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`nvidia-smi`, with two GPUs."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return write_tool(tmp_path / "nvidia-smi")


def write_tool(path: Path, mig: str = "[N/A]") -> Path:
    path.write_text(TOOL.replace("PYTHON", sys.executable).replace("MIG_MODE", mig))
    path.chmod(0o755)
    host._asked_once.cache_clear()  # another one was at this path
    return path


def named() -> list[tuple[str, str, str, int | None]]:
    return [(d.id, d.name, d.pci, d.memory_bytes) for d in nvidia_devices()]


def test_a_gpu_has_the_name_the_memory_and_the_address_of_what_cuda_computes_on(
    tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ("NVIDIA 06", "0000:06:00.0", 106 * 2**20)
    assert named()[0] == ("cuda:0", *first)
    assert [device[:3] for device in named()][1] == ("cuda:1", "NVIDIA C6", "0000:c6:00.0")
    for visible, found in (
        ("1", ["NVIDIA C6"]),
        ("1,0", ["NVIDIA C6", "NVIDIA 06"]),
        ("GPU-06", ["NVIDIA 06"]),
        ("", []),
        ("MIG-1", ["CUDA device"]),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        devices = nvidia_devices()
        assert [device.name for device in devices] == found
        assert [device.id for device in devices] == [f"cuda:{n}" for n in range(len(found))]


def test_a_gpu_that_may_be_another_has_no_name_and_no_address(
    tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nameless = [("cuda:0", "CUDA device", "", None), ("cuda:1", "CUDA device", "", None)]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert named() == nameless
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    write_tool(tool, mig="Enabled")
    assert named() == nameless


def test_without_the_drivers_tool_no_gpu_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert named() == []
