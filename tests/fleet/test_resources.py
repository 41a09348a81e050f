"""Accelerators become resources of Ray: its own names where it has them, else the doctor's."""

from __future__ import annotations

from bench.fleet.ray.resources import RAYS_OWN, resources_of
from bench.machine.accelerators import Accelerator, kinds


def an_accelerator(name: str, *, pci: int = 0, nodes: int = 0) -> Accelerator:
    cards = tuple(f"0000:0{n}:00.0 1234:5678" for n in range(pci))
    return Accelerator(name, cards, tuple(f"dev/{n}" for n in range(nodes)), None, None, "", (), "")


def test_what_ray_counts_itself_is_left_to_it_and_the_rest_is_counted() -> None:
    found = [
        an_accelerator("NVIDIA GPU", pci=8, nodes=8),
        an_accelerator("Hailo NPU", pci=2, nodes=2),
        an_accelerator("Rockchip NPU", nodes=1),
    ]
    assert resources_of(found) == {"Hailo_NPU": 2, "Rockchip_NPU": 1}


def test_rays_own_names_are_of_kinds_that_the_doctor_knows() -> None:
    assert set(RAYS_OWN) <= {f"{kind.vendor} {kind.kind}" for kind in kinds()}
