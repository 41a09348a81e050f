"""How much memory is left for another worker, in the machine or in this process's container."""

from __future__ import annotations

from pathlib import Path

import psutil

#: What must stay free, so that the kernel need not drop the page cache that loading models uses.
RESERVED_SHARE = 0.08
RESERVED_BYTES = 512 * 2**20


def room_for_another(largest_worker_bytes: int) -> bool:
    """Whether a worker as large as the largest so far fits beside those that are alive."""
    return spare_bytes() >= largest_worker_bytes


def spare_bytes() -> int:
    """How much may still be taken, in the machine or in this process's container."""
    memory = psutil.virtual_memory()
    reserved = max(RESERVED_BYTES, RESERVED_SHARE * memory.total)
    return int(min(memory.available, _cgroup_left(memory.total)) - reserved)


def free_bytes() -> int:
    """What can be had without taking from others."""
    memory = psutil.virtual_memory()
    return int(max(0, min(memory.available, _cgroup_left(memory.total))))


def _cgroup_left(total: int) -> int:
    """Bytes below the memory limit of the cgroup (v2, mounted as containers see it)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        # What the page cache holds is given back before anybody is killed.
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text().splitlines()
        )
        cached = int(statistics.get("inactive_file", 0))
    except (OSError, ValueError):
        return total
    return total if limit == "max" else int(limit) - used + cached
