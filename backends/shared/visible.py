"""Which GPU each of CUDA's numbers means.

CUDA numbers the GPUs that a process may use: those that CUDA_VISIBLE_DEVICES names, in its order.
An index there counts the GPUs by CUDA_DEVICE_ORDER, by default the fastest first (CUDA Programming
Guide, "CUDA Environment Variables"). The driver's own tool and NVML know neither variable and list
all GPUs, so whatever is read of ``cuda:N`` through them asks `numbered` which one that is.

The guide leaves some of the syntax open: there this reads it as PyTorch does
(``torch.cuda._parse_visible_devices``), which was written after what a driver showed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import List, Mapping, Optional, Sequence, Tuple, Union

#: The variable under which CUDA numbers GPUs by their place on the PCI bus.
ORDER: Mapping[str, str] = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

_ANY_ORDER = "its number may mean another GPU: set CUDA_DEVICE_ORDER=PCI_BUS_ID"
#: CUDA shows one part of one GPU then, and no whole one (NVIDIA Multi-Instance GPU User Guide,
#: "CUDA Device Enumeration").
_PARTS = "it is a part of a GPU (MIG), which the driver doesn't list"


@dataclass(frozen=True)
class Listed:
    """A GPU as the driver lists it: ``pci`` as the kernel writes it, empty if it isn't told."""

    uuid: str
    pci: str
    divided: bool = False  #: into parts, which CUDA shows in its place (MIG)


@dataclass(frozen=True)
class Unknown:
    """A number that CUDA may have a GPU for, and why nobody can say which."""

    why: str


def numbered(
    gpus: Sequence[Listed], variables: Optional[Mapping[str, str]] = None
) -> List[Union[int, Unknown]]:
    """For each of CUDA's numbers, from 0, the place of its GPU in ``gpus``.

    CUDA shows no GPU beyond the end of what is returned. ``variables`` are those of this process by
    default.
    """
    variables = os.environ if variables is None else variables
    order = _order(gpus, variables)
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [_by_index(index, gpus, order) for index in range(len(gpus))]
    found: List[Union[int, Unknown]] = []
    for entry in _entries(visible):
        place = _meant(entry, gpus, order)
        if place is None:  # CUDA shows nothing from there on
            break
        if isinstance(place, int) and place in found:  # CUDA shows nothing at all
            return []
        found.append(place)
    return found


def pci_address(domain: int, bus: int, slot: int) -> str:
    """A GPU's address on the PCI bus, as the kernel writes it."""
    return f"{domain:04x}:{bus:02x}:{slot:02x}.0"


def _entries(visible: str) -> List[Union[int, str]]:
    """Indices, or UUIDs: the first tells which, and the list ends at what is none of that kind.
    Empty if one is there twice."""
    kind = next((kind for kind in ("GPU-", "MIG-") if visible.startswith(kind)), "")
    found: List[Union[int, str]] = []
    for text in visible.split(","):
        entry = _identifier(text, kind) if kind else _index(text)
        if entry is None:
            break
        if entry in found:
            return []
        found.append(entry)
    return found


def _identifier(text: str, kind: str) -> Optional[str]:
    return text if text.startswith(kind) else None


def _index(text: str) -> Optional[int]:
    """As C's strtol reads it: ``1gpu`` is 1. None for what is no index."""
    number = re.match(r"[+-]?[0-9]+", text.strip())
    index = int(number[0]) if number is not None else -1
    return index if index >= 0 else None


def _meant(
    entry: Union[int, str], gpus: Sequence[Listed], order: Optional[Sequence[int]]
) -> Union[int, Unknown, None]:
    """What an entry means; None where it is invalid."""
    if isinstance(entry, int):
        return _by_index(entry, gpus, order) if entry < len(gpus) else None
    if entry.startswith("MIG-"):
        return Unknown(_PARTS)
    # The beginning of a UUID is enough if no other GPU's begins like that.
    places = [place for place, gpu in enumerate(gpus) if gpu.uuid.startswith(entry)]
    if len(places) != 1:
        return None
    return Unknown(_PARTS) if gpus[places[0]].divided else places[0]


def _by_index(
    index: int, gpus: Sequence[Listed], order: Optional[Sequence[int]]
) -> Union[int, Unknown]:
    if any(gpu.divided for gpu in gpus):
        return Unknown(_PARTS)
    return Unknown(_ANY_ORDER) if order is None else order[index]


def _order(gpus: Sequence[Listed], variables: Mapping[str, str]) -> Optional[Sequence[int]]:
    """The places of the GPUs as CUDA counts them; None where that isn't known."""
    if len(gpus) < 2:
        return range(len(gpus))
    by_bus = all(variables.get(name) == value for name, value in ORDER.items())
    if not by_bus or not all(gpu.pci for gpu in gpus):
        return None
    return sorted(range(len(gpus)), key=lambda place: _on_bus(gpus[place].pci))


def _on_bus(pci: str) -> Tuple[int, str]:
    domain, _, rest = pci.partition(":")
    return int(domain, 16), rest
