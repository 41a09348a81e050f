"""What Linux tells of its CPUs and cgroups in files, read one by one.

A file that can't be read is None, never a guess. Every reader takes ``root``, the directory that
stands for ``/``, so that a test can lay out a machine of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

ROOT = Path("/")


CPUS = "sys/devices/system/cpu"
#: What this process may use and keeps off for now (`keep_off`).
_kept_off: set[int] = set()


def cpu_quota(root: Path = ROOT) -> float | None:
    """The CPU time that the cgroup allows, in CPUs: the least over it and its ancestors."""
    quotas = []
    for text in cgroup_texts(root, "", "cpu.max"):
        limit, _, period = text.partition(" ")
        quotas.append(_share(limit, period))
    limits = cgroup_texts(root, "cpu", "cpu.cfs_quota_us")
    periods = cgroup_texts(root, "cpu", "cpu.cfs_period_us")
    quotas += [_share(limit, period) for limit, period in zip(limits, periods, strict=False)]
    return min((q for q in quotas if q is not None), default=None)


def allowed_cpus() -> tuple[int, ...] | None:
    """The CPUs that this process may use, ascending, with those that it keeps off for now; None
    where the system has no affinity."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(_kept_off.union(os.sched_getaffinity(0))))
    try:
        import psutil  # psutil: off Linux

        return tuple(sorted(psutil.Process().cpu_affinity()))
    except (ImportError, AttributeError, OSError):
        return None


def keep_off(cpus: Collection[int], allowed: Collection[int]) -> None:
    """Keep the calling thread, and what it starts, off these of the CPUs that this process may use,
    where there are others. Whoever asks meanwhile which may be used is told of all: how many
    threads a model computes on doesn't depend on where the harness is."""
    global _kept_off
    if not hasattr(os, "sched_setaffinity"):
        return
    mask = set(allowed) - set(cpus) or set(allowed)
    os.sched_setaffinity(0, mask)
    _kept_off = set(allowed) - mask


def read_text(root: Path, path: str) -> str | None:
    """A file's text without the white space around it; None where it is absent, locked or empty."""
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace").strip() or None
    except (OSError, ValueError):  # a ValueError is a path that can't exist
        return None


def read_integer(root: Path, path: str) -> int | None:
    text = read_text(root, path)
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The CPUs of a kernel list such as ``0-3,8``. Raises `ValueError` for anything else."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, dash, last = part.partition("-")
        cpus.update(range(int(first), int(last if dash else first) + 1))
    return tuple(sorted(cpus))


def read_cpu_list(root: Path, path: str) -> tuple[int, ...]:
    try:
        return parse_cpu_list(read_text(root, path) or "")
    except ValueError:
        return ()


def sibling_cpus(root: Path) -> tuple[tuple[int, ...], ...] | None:
    """The logical CPUs of each physical core that is online, ordered by their lowest."""
    groups = {
        group
        for cpu in read_cpu_list(root, f"{CPUS}/online")
        if (group := read_cpu_list(root, f"{CPUS}/cpu{cpu}/topology/thread_siblings_list"))
    }
    return tuple(sorted(groups)) or None


def cgroup_folders(root: Path, controller: str) -> list[Path]:
    """This process's folder in a cgroup hierarchy and all above it, deepest first.

    ``controller`` is a v1 controller such as ``cpu``, or empty for the v2 hierarchy.
    """
    mount = root / "sys/fs/cgroup"
    for line in (read_text(root, "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        base = mount / controllers if controller else mount
        base = base if base.is_dir() else mount / controller
        relative = Path(path.lstrip("/"))
        # Inside a container the path may be the host's; then only the mount itself exists.
        return [base / relative, *(base / parent for parent in relative.parents)]
    return []


def cgroup_texts(root: Path, controller: str, name: str) -> list[str]:
    folders = dict.fromkeys(cgroup_folders(root, controller))
    texts = (read_text(folder, name) for folder in folders)
    return [text for text in texts if text]


def _share(limit: str, period: str) -> float | None:
    """Quota over period, in CPUs; ``max`` and negative quotas are no limit."""
    if not (limit.isdecimal() and period.isdecimal() and int(period) > 0 and int(limit) > 0):
        return None
    return int(limit) / int(period)


def psutil_count(*, logical: bool) -> int | None:
    try:
        import psutil  # psutil: off Linux

        count = psutil.cpu_count(logical=logical)
    except (ImportError, OSError):
        return os.cpu_count() if logical else None
    return int(count) if count else None
