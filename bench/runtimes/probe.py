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
    version = worker.version()
    found = worker.devices()
    absent = {
        kind: (NotInBuild if why.not_in_build else Unavailable)(why.reason, why.remedy)
        for kind, why in found.absent.items()
    }
    return Probe(version, list(found.devices), absent, worker.greeting)
