"""What the driver of a fleet knows of a node: what `bench doctor --json` says there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from bench.backend import Device
from bench.errors import SpecError


@dataclass(frozen=True)
class Backend:
    """One backend in one interpreter of a node, as its doctor reports it."""

    name: str
    environment: str = ""  #: empty: the interpreter of `bench` there
    version: str = ""
    devices: tuple[Device, ...] = ()
    unavailable: str = ""  #: why there is no device
    absent: Mapping[str, str] = field(default_factory=dict)  #: by kind of device or by id: why

    @property
    def label(self) -> str:
        """``backend`` or ``backend@environment``."""
        return f"{self.name}@{self.environment}" if self.environment else self.name


@dataclass(frozen=True)
class NodeFacts:
    """A node as it is now. Frozen, and of plain values: it travels, and goes into the journal."""

    name: str  #: that of the fleet file, else its machine name; unique in the fleet
    machine: Mapping[str, Any]  #: `MachineFacts.as_json`
    bench_version: str
    threads: int  #: compute threads of a CPU cell there (`default_threads`)
    backends: tuple[Backend, ...]
    python: str = ""  #: the interpreter used for measuring
    resources: Mapping[str, float] = field(default_factory=dict)  #: as the cluster calls them
    clock_offset_s: float = 0.0  #: the node's clock minus the driver's

    @property
    def machine_id(self) -> str:
        """Equal for machines whose latencies may be compared; its own where nothing is known."""
        return str(self.machine.get("machine_id") or f"node {self.name}")

    @cached_property
    def devices(self) -> dict[str, Device]:
        """The devices by the targets that name them in full; simulated ones, too."""
        return {f"{b.label}:{d.id}": d for b in self.backends for d in b.devices}

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; `from_json` reads it."""
        return {
            **{one.name: getattr(self, one.name) for one in fields(self) if one.name != "backends"},
            "machine": dict(self.machine),
            "resources": dict(self.resources),
            "backends": [_backend_json(backend) for backend in self.backends],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NodeFacts:
        """The inverse of `to_json`."""
        backends = tuple(_backend(one) for one in data["backends"])
        return cls(**{**data, "backends": backends})


def from_doctor(
    name: str,
    doctor: Mapping[str, Any],
    *,
    python: str = "",
    resources: Mapping[str, float] | None = None,
    clock_offset_s: float = 0.0,
) -> NodeFacts:
    """The facts of a node from what `bench doctor --json` printed there. Raises `SpecError` where
    that is the doctor of a bench that doesn't say enough."""
    missing = [
        key for key in ("backends", "machine", "bench_version", "threads") if key not in doctor
    ]
    if missing:
        raise SpecError(
            f"{name}: `bench doctor --json` there doesn't report {', '.join(missing)}: its bench "
            "is too old for a fleet. Install the driver's version there."
        )
    return NodeFacts(
        name=name,
        machine=doctor["machine"],
        bench_version=doctor["bench_version"],
        threads=doctor["threads"],
        backends=tuple(_backend(one) for one in doctor["backends"]),
        python=python,
        resources=dict(resources or {}),
        clock_offset_s=clock_offset_s,
    )


def who_has_what(nodes: Sequence[NodeFacts]) -> str:
    """Every node with its targets, as the second half of a sentence about one that nobody has."""
    told = (f"{node.name} has {', '.join(node.devices) or 'no target'}" for node in nodes)
    return "; ".join(told)


def _backend(told: Mapping[str, Any]) -> Backend:
    """As the doctor writes it: a device's own fields, null for what is empty."""
    return Backend(
        name=told["name"],
        environment=told.get("environment") or "",
        version=told.get("version") or "",
        devices=tuple(Device(**device) for device in told.get("devices") or ()),
        unavailable=told.get("unavailable") or "",
        absent=dict(told.get("absent") or {}),
    )


def _backend_json(backend: Backend) -> dict[str, Any]:
    return {
        "name": backend.name,
        "environment": backend.environment,
        "version": backend.version,
        "devices": [vars(device) for device in backend.devices],
        "unavailable": backend.unavailable,
        "absent": dict(backend.absent),
    }
