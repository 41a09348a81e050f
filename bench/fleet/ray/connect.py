"""The front door: a transport to the cluster that a fleet file, or the user, names."""

from __future__ import annotations

from bench.fleet.file import FleetFile
from bench.fleet.ray.cluster import join
from bench.fleet.ray.transport import RayTransport


def connect(file: FleetFile, address: str | None) -> RayTransport:
    """A transport to the cluster at ``address``, else to the file's, else to a new one of this
    machine alone.

    Raises `Unavailable` where there is none, or no Ray, and `SpecError` where it is of another
    Ray or Python.
    """
    return RayTransport(join(address or file.cluster.address), file)
