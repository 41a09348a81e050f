"""Host threads of a device go to the CPUs near it, where the system tells which these are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench.backends.shared import host
from bench.backends.torch.device import _bus_address

from bench.machine import quiet
from bench.machine.near import cpus_around, near_cpus
from bench.machine.quiet import Cores
from bench.measure.member import cpus_of

GPU = "0000:c1:00.0"


def bus(root: Path, address: str, cpus: str) -> Path:
    folder = root / "sys/bus/pci/devices" / address
    folder.mkdir(parents=True)
    (folder / "local_cpulist").write_text(f"{cpus}\n")
    return root


def test_the_cpus_of_a_devices_node_are_near_it(tmp_path: Path) -> None:
    assert near_cpus(GPU, bus(tmp_path, GPU, "4-6,12")) == (4, 5, 6, 12)


@pytest.mark.parametrize("pci", ["", "../../etc", "0000:c2:00.0", "0000:c1:00", "0000:C1:00.0/.."])
def test_nothing_is_near_what_has_no_address_of_the_bus(pci: str, tmp_path: Path) -> None:
    assert near_cpus(pci, bus(tmp_path, GPU, "4-6")) == ()


def test_a_worker_starts_on_the_nodes_of_its_cpus_or_anywhere_it_may(tmp_path: Path) -> None:
    assert cpus_around([1], range(8), tmp_path) == tuple(range(8))  # no node is told of
    for number, cpus in enumerate(("0-3", "4-7", "8-11")):
        folder = tmp_path / f"sys/devices/system/node/node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{cpus}\n")
    assert cpus_around([1], range(8), tmp_path) == (0, 1, 2, 3)
    assert cpus_around([1], [0, 1, 5], tmp_path) == (0, 1)
    assert cpus_around([3, 4], range(12), tmp_path) == tuple(range(8))
    assert cpus_around([40], [40, 41], tmp_path) == (40, 41)


def test_a_list_that_is_none_says_nothing(tmp_path: Path) -> None:
    assert near_cpus(GPU, bus(tmp_path, GPU, "all of them")) == ()


@pytest.fixture
def cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cores:
    monkeypatch.setattr(quiet, "allowed_cpus", lambda: tuple(range(8)))
    return Cores({1, 2}, tmp_path, lambda seconds: None)


@pytest.mark.parametrize(
    ("near", "one", "two"),
    [
        ((0, 1, 2, 3), (3,), (2, 3)),
        ((), (7,), (6, 7)),
        ((40, 41), (7,), (6, 7)),  # none that this process may use
        (tuple(range(8)), (7,), (6, 7)),
        ((2,), (2,), (6, 7)),  # too few for two threads
    ],
)
def test_those_near_are_taken_where_enough_may_be_used(
    near: tuple[int, ...], one: tuple[int, ...], two: tuple[int, ...], cores: Cores
) -> None:
    assert (cores.beside(1, near), cores.beside(2, near)) == (one, two)


def test_the_idlest_of_those_near_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: Cores
) -> None:
    looks = iter([dict.fromkeys(range(8), (0, 0)), {c: (5 * (c == 3), 5) for c in range(8)}])
    monkeypatch.setattr(cores, "_times", lambda: next(looks))
    cores.choose_again()
    assert cores.beside(1, (0, 1, 2, 3)) == (2,)
    assert cores[1] == (7,)


def test_the_harness_leaves_them_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "allowed_cpus", lambda: tuple(range(8)))
    masks: list[set[int]] = []
    monkeypatch.setattr(
        os, "sched_setaffinity", lambda pid, mask: masks.append(set(mask)), raising=False
    )
    with Cores({1}, tmp_path, lambda seconds: None, near=[(0, 1, 2, 3)]):
        assert masks == [{0, 1, 2, 4, 5, 6}]


def test_torch_and_the_drivers_tool_tell_the_address_as_the_kernel_writes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = SimpleNamespace(pci_domain_id=0, pci_bus_id=0xC1, pci_device_id=0)
    assert _bus_address(facts) == GPU
    assert _bus_address(SimpleNamespace(name="an older torch")) == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(host.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    said = "NVIDIA H200, 143771, 580.159.04, 00000000:C1:00.0, GPU-8f5c, Disabled\n"

    def asked(command: Sequence[str], longest_s: float) -> SimpleNamespace:
        fields = "name,memory.total,driver_version,pci.bus_id,uuid,mig.mode.current"
        assert command[1] == f"--query-gpu={fields}"
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(host, "ask", asked)
    host._asked_once.cache_clear()
    (device,) = host.nvidia_devices()
    host._asked_once.cache_clear()
    assert (device.pci, device.driver, device.memory_bytes) == (GPU, "580.159.04", 143771 * 2**20)


def test_the_worker_of_an_accelerator_is_kept_near_it_and_of_a_cpu_on_the_cells_cores(
    cores: Cores,
) -> None:
    context: Any = SimpleNamespace(cpus=cores)
    cell: Any = SimpleNamespace(on_accelerator=True, cores=1, near_cpus=(0, 1, 2))
    assert cpus_of(cell, context) == (2,)
    cell.on_accelerator = False
    assert cpus_of(cell, context) == (7,)
