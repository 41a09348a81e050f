"""`ray start --resources "$(python -m bench.fleet.ray.resources)"`: the accelerators of a machine
as custom resources of Ray, by what `bench doctor` finds on the system.

Ray counts some kinds by itself, under names of its own; here are the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

from bench.machine.accelerators import Accelerator, find_accelerators

#: As Ray 2.60 calls them and counts them unasked (ray/_private/accelerators).
RAYS_OWN = {
    "NVIDIA GPU": "GPU",
    "AMD GPU": "GPU",
    "Intel GPU": "GPU",
    "Huawei Ascend NPU": "NPU",
    "Intel Habana Gaudi": "HPU",
    "Tenstorrent accelerator": "TTNPU",
}


def resources_of(found: Iterable[Accelerator]) -> dict[str, int]:
    """How many of each kind that Ray doesn't count; a kind is called as `bench doctor` does, with
    ``_`` for what a shell would split."""
    counts: dict[str, int] = {}
    for one in found:
        if one.name not in RAYS_OWN:
            counts["_".join(one.name.split())] = max(len(one.pci), len(one.nodes), 1)
    return counts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(resources_of(find_accelerators(()))) + "\n")
