"""How much memory is left for another worker, in the machine or in this process's container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
    reserved = max(RESERVED_BYTES, RESERVED_SHARE * _cgroup_limit(memory.total))
    return int(min(memory.available, _cgroup_left(memory.total)) - reserved)


def free_bytes() -> int:
    """What can be had without taking from others."""
    memory = psutil.virtual_memory()
    return int(max(0, min(memory.available, _cgroup_left(memory.total))))


def _cgroup_left(total: int) -> int:
    """Bytes below the least memory limit of the cgroups that this process is in."""
    return min((total, *(left for _, left in _limits())))


def _cgroup_limit(total: int) -> int:
    """The least of these limits."""
    return min((total, *(limit for limit, _ in _limits())))


def _limits() -> list[tuple[int, int]]:
    """The limit of each cgroup that has one, and what is left of it."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        return []
    return [found for group in _memory_groups(groups) if (found := _limit_in(*group))]


class _Files(NamedTuple):
    """What a version of cgroups calls its files, and the page cache in its statistics."""

    limit: str
    used: str
    cached: str


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files("memory.max", "memory.current", "inactive_file")
_MOUNT = Path("/sys/fs/cgroup")


def _memory_groups(groups: str) -> Iterator[tuple[Path, _Files]]:
    """The folders of what ``/proc/self/cgroup`` names and of all above it. Containers see theirs as
    the root of the mount, whatever the path is."""
    for line in groups.splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        mount, files = (_MOUNT / "memory", _V1) if controllers else (_MOUNT, _V2)
        folder = mount / path.lstrip("/")
        yield folder, files
        yield from ((above, files) for above in folder.parents if above.is_relative_to(mount))


def _limit_in(folder: Path, files: _Files) -> tuple[int, int] | None:
    """The limit and what is left of it; None where the folder isn't there or has no limit."""
    try:
        limit = (folder / files.limit).read_text().strip()
        used = int((folder / files.used).read_text())
        # What the page cache holds is given back before anybody is killed.
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text().splitlines()
        )
        cached = int(statistics.get(files.cached, 0))
        return None if limit == "max" else (int(limit), max(0, int(limit) - used + cached))
    except (OSError, ValueError):
        return None
