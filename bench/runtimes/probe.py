"""Asking a worker about its runtime and devices."""

from __future__ import annotations

from typing import NamedTuple

from bench.backend import Device
from bench.errors import (
    NotInBuild,
    Unavailable,
)
from bench.runtimes.client import Worker
from bench.runtimes.handshake import Greeting


class Probe(NamedTuple):
    """What a worker tells about its runtime and its interpreter."""

    version: str
    devices: list[Device]  #: those that answered when touched
    absent: dict[str, Unavailable]  #: kinds of device that should be there, and why they aren't
    greeting: Greeting


def probe(worker: Worker) -> Probe:
    """The runtime's version and the devices that answered when touched."""
    version, _ = worker.request("version")
    found, _ = worker.request("devices")
    absent = {
        kind: (NotInBuild if another_build else Unavailable)(reason, remedy)
        for kind, (reason, remedy, another_build) in found["absent"].items()
    }
    devices = [Device(**device) for device in found["devices"]]
    return Probe(version["version"], devices, absent, worker.greeting)
