"""Asking a worker about its runtime and devices."""

from __future__ import annotations

from collections.abc import Mapping
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
    absent: dict[str, Unavailable]  #: by kind of device or by id: why it should be there and isn't
    greeting: Greeting


def why_absent(absent: Mapping[str, Unavailable], device: str) -> Unavailable | None:
    """What was told of a device, else of its kind; None where neither was."""
    return absent.get(device) or absent.get(device.partition(":")[0])


def probe(worker: Worker) -> Probe:
    """The runtime's version and the devices that answered when touched."""
    version = worker.version()
    found = worker.devices()
    absent = {
        key: (NotInBuild if why.not_in_build else Unavailable)(why.reason, why.remedy)
        for key, why in found.absent.items()
    }
    return Probe(version, list(found.devices), absent, worker.greeting)
