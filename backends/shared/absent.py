"""Devices that a runtime lists and that don't answer, as `ExplainsAbsence` has them told."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping

from bench.backend import Device
from bench.errors import Unavailable


def unanswered(
    found: Iterable[Device], silent: Mapping[str, Unavailable]
) -> Dict[str, Unavailable]:
    """Why those ``silent`` are, by their ids; by its kind, and for the first alone, where none of
    that kind is among those ``found``."""
    answering = {kind_of(device.id) for device in found}
    told: Dict[str, Unavailable] = {}
    for device_id, why in silent.items():
        kind = kind_of(device_id)
        told.setdefault(device_id if kind in answering else kind, why)
    return told


def kind_of(device_id: str) -> str:
    """``cuda`` of ``cuda:1``."""
    return device_id.partition(":")[0]
