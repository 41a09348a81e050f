"""What machine this is, as facts that a record carries, and which cores to measure on.

A fact that can't be read is None, never a guess. Every reader takes ``root``, the directory that
stands for ``/``, so that a test can lay out a machine of its own. Only the standard library is
imported; psutil and py-cpuinfo are asked where Linux's own files are absent.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.machine.gpus import Gpu, list_gpus
from bench.machine.linux import (
    CPUS,
    ROOT,
    allowed_cpus,
    cgroup_texts,
    cpu_quota,
    psutil_count,
    read_cpu_list,
    read_integer,
    read_text,
    sibling_cpus,
)

#: facts that must be equal for two machines' latencies to be comparable; `machine_id` hashes them
COMPARABLE = (
    "cpu_model",
    "architecture",
    "physical_cores",
    "logical_cores",
    "usable_cpus",
    "cpu_quota",
    "governor",
    "max_frequency_hz",
    "caches",
    "memory_gib",
    "gpus",
    "virtualisation",
    "os",
)


@dataclass(frozen=True)
class Cache:
    """One cache of the first CPU: ``kind`` is Data, Instruction or Unified."""

    level: int
    kind: str
    size_bytes: int


@dataclass(frozen=True)
class MachineFacts:
    """The machine as one process sees it; None is a fact that could not be read.

    ``affinity`` holds the logical CPUs that the process may use; ``smt_siblings`` groups the
    logical CPUs of each physical core. ``cpu_quota`` is in CPUs (1.5 is 150 ms in each 100 ms),
    None without a limit. ``governor`` lists each governor in use once. ``frequency_hz`` and
    ``max_frequency_hz`` are the highest over the CPUs.
    """

    cpu_model: str | None
    architecture: str
    physical_cores: int | None
    logical_cores: int | None
    affinity: tuple[int, ...] | None
    smt_siblings: tuple[tuple[int, ...], ...] | None
    cpu_quota: float | None
    memory_limit_bytes: int | None
    governor: str | None
    frequency_hz: float | None
    max_frequency_hz: float | None
    caches: tuple[Cache, ...] | None
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    swap_used_bytes: int | None
    transparent_huge_pages: str | None
    huge_pages: int | None
    clock_source: str | None
    virtualisation: str | None  #: ``none``, or what is known of the hypervisor
    container: str | None
    load_average: tuple[float, float, float] | None
    os: str
    kernel: str
    python: str
    hostname_hash: str | None
    gpus: tuple[Gpu, ...] | None
    packages: Mapping[str, str | None]  #: version by distribution; None is not installed
    git_commit: str | None

    @property
    def comparable(self) -> dict[str, Any]:
        """The facts named in `COMPARABLE`, JSON-ready: what `compare` lists when two differ."""
        total = self.memory_total_bytes
        derived: dict[str, Any] = {
            "usable_cpus": None if self.affinity is None else len(self.affinity),
            # The kernel's own share of memory varies from boot to boot.
            "memory_gib": None if total is None else round(total / 2**30),
        }
        plain = asdict(self)
        return {name: _plain(derived.get(name, plain.get(name))) for name in COMPARABLE}

    @property
    def machine_id(self) -> str:
        """12 hex digits, equal for machines (and limits) whose latencies may be compared."""
        text = json.dumps(self.comparable, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        """The facts as JSON-ready data, ``machine_id`` with them."""
        return {**_plain(asdict(self)), "machine_id": self.machine_id}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MachineFacts:
        """The inverse of `as_json`. Raises `TypeError` where fields are missing or unknown."""
        values = {name: _frozen(value) for name, value in data.items() if name != "machine_id"}
        values["packages"] = dict(data["packages"])
        for name, kind in (("caches", Cache), ("gpus", Gpu)):
            if data[name] is not None:
                values[name] = tuple(kind(**item) for item in data[name])
        return cls(**values)


def machine_id_of(facts: Mapping[str, Any]) -> str | None:
    """The machine's id derived from its facts; None where they are those of another version."""
    try:
        return MachineFacts.from_json(facts).machine_id
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def machine_facts(
    packages: Iterable[str] = (), git_commit: str | None = None, root: Path = ROOT
) -> MachineFacts:
    """Read all facts: some 5 ms on Linux, plus the vendors' own tools where there are any.

    ``packages`` are names of distributions; ``git_commit`` is that of the project being measured.
    """
    memory = _memory(root)
    siblings = sibling_cpus(root)
    affinity = allowed_cpus()
    return MachineFacts(
        cpu_model=_cpu_model(root),
        architecture=platform.machine(),
        physical_cores=len(siblings) if siblings else psutil_count(logical=False),
        logical_cores=sum(map(len, siblings)) if siblings else psutil_count(logical=True),
        affinity=affinity,
        smt_siblings=siblings,
        cpu_quota=cpu_quota(root),
        memory_limit_bytes=_memory_limit(root),
        governor=_governor(root),
        frequency_hz=_highest_khz(root, "scaling_cur_freq") or _cpuinfo_frequency(root),
        max_frequency_hz=_highest_khz(root, "cpuinfo_max_freq"),
        caches=_caches(root),
        memory_total_bytes=memory.get("MemTotal"),
        memory_available_bytes=memory.get("MemAvailable"),
        swap_used_bytes=_swap_used(memory),
        transparent_huge_pages=_chosen(root, "sys/kernel/mm/transparent_hugepage/enabled"),
        huge_pages=memory.get("HugePages_Total"),
        clock_source=read_text(
            root, "sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        virtualisation=_virtualisation(root),
        container=_container(root),
        load_average=_load_average(),
        os=platform.system(),
        kernel=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        hostname_hash=_hostname_hash(),
        gpus=list_gpus(),
        packages={name: _package_version(name) for name in packages},
        git_commit=git_commit,
    )


# --- the files of Linux ---------------------------------------------------------------------


def _cpuinfo_value(root: Path, key: str) -> str | None:
    found = re.search(rf"^{key}\s*:\s*(.+)$", read_text(root, "proc/cpuinfo") or "", re.MULTILINE)
    return found.group(1).strip() if found else None


def _cpu_model(root: Path) -> str | None:
    model = _cpuinfo_value(root, "model name")
    if model or root != ROOT:
        return model
    try:
        import cpuinfo  # cpuinfo: where /proc is silent

        brand = cpuinfo.get_cpu_info().get("brand_raw")
    except Exception:  # py-cpuinfo runs other programs, and raises whatever they make it raise
        return None
    return str(brand) if brand else None


def _cpuinfo_frequency(root: Path) -> float | None:
    megahertz = _cpuinfo_value(root, "cpu MHz")
    try:
        return float(megahertz) * 1e6 if megahertz else None
    except ValueError:
        return None


def _each_cpu_file(root: Path, path: str) -> list[str]:
    texts = (
        read_text(root, f"{CPUS}/cpu{cpu}/{path}") for cpu in read_cpu_list(root, f"{CPUS}/online")
    )
    return [text for text in texts if text]


def _governor(root: Path) -> str | None:
    return ", ".join(sorted(set(_each_cpu_file(root, "cpufreq/scaling_governor")))) or None


def _highest_khz(root: Path, name: str) -> float | None:
    kilohertz = [int(t) for t in _each_cpu_file(root, f"cpufreq/{name}") if t.isdecimal()]
    return max(kilohertz) * 1e3 if kilohertz else None


def _caches(root: Path) -> tuple[Cache, ...] | None:
    found = []
    for index in range(8):
        folder = f"{CPUS}/cpu0/cache/index{index}"
        level, kind = read_integer(root, f"{folder}/level"), read_text(root, f"{folder}/type")
        size_bytes = _size_bytes(read_text(root, f"{folder}/size"))
        if level is not None and kind is not None and size_bytes is not None:
            found.append(Cache(level, kind, size_bytes))
    return tuple(found) or None


def _size_bytes(text: str | None) -> int | None:
    match = re.fullmatch(r"(\d+)([KMG]?)", text or "")
    if match is None:
        return None
    return int(match.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30}[match.group(2)]


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes (or counts, for lines without a unit) by name, from the text of ``/proc/meminfo``."""
    found = re.findall(r"^(\S+):\s+(\d+)( kB)?[ \t]*$", text, re.MULTILINE | re.ASCII)
    return {name: int(number) * (1024 if unit else 1) for name, number, unit in found}


def _memory(root: Path) -> dict[str, int]:
    text = read_text(root, "proc/meminfo")
    if text is not None or root != ROOT:
        return parse_meminfo(text or "")
    try:
        import psutil  # psutil: off Linux

        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    except (ImportError, OSError):
        return {}
    names = {"MemTotal": memory.total, "MemAvailable": memory.available}
    return {**names, "SwapTotal": swap.total, "SwapFree": swap.free}


def _swap_used(memory: Mapping[str, int]) -> int | None:
    if "SwapTotal" not in memory or "SwapFree" not in memory:
        return None
    return memory["SwapTotal"] - memory["SwapFree"]


def _chosen(root: Path, path: str) -> str | None:
    """The bracketed word of a kernel choice such as ``always [madvise] never``."""
    found = re.search(r"\[(\w+)\]", read_text(root, path) or "")
    return found.group(1) if found else None


# --- limits and surroundings ----------------------------------------------------------------


# cgroup v1 writes "no limit" as the greatest page-aligned 63-bit number.
NO_LIMIT_BYTES = 2**60


def _memory_limit(root: Path) -> int | None:
    texts = cgroup_texts(root, "", "memory.max")
    texts += cgroup_texts(root, "memory", "memory.limit_in_bytes")
    limits = [int(text) for text in texts if text.isdecimal()]
    return min((limit for limit in limits if limit < NO_LIMIT_BYTES), default=None)


def _virtualisation(root: Path) -> str | None:
    vendor = read_text(root, "sys/class/dmi/id/sys_vendor")
    kind = read_text(root, "sys/hypervisor/type")
    flags = (_cpuinfo_value(root, "flags") or "").split()
    if kind or "hypervisor" in flags:
        return kind or vendor or "unknown hypervisor"
    # Only an x86 CPU says that there is no hypervisor, by the absence of its flag.
    return "none" if flags else None


def _container(root: Path) -> str | None:
    for path, name in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / path).exists():
            return name
    found = re.search(r"kubepods|docker|lxc|containerd", read_text(root, "proc/1/cgroup") or "")
    return found.group(0) if found else None


def _load_average() -> tuple[float, float, float] | None:
    try:
        one, five, fifteen = os.getloadavg()
    except (AttributeError, OSError):
        return None
    return round(one, 2), round(five, 2), round(fifteen, 2)


def _hostname_hash() -> str | None:
    """8 hex digits that tell two hosts apart in one table and don't name them."""
    name = platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:8] if name else None


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    """Tuples as lists, and floats that JSON can't write as None, all the way down."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
