"""Where the nodes of a cell ran, and on which device their time was spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.record.result import Check, PlacementFact

_NAMED = 3  #: nodes that a check names before it counts the rest


def placement_fact(fact: Mapping[str, Any], device_id: str) -> PlacementFact:
    """What a session said of its placement, with the shares that ran on the device asked for."""
    total = sum(fact["nodes"].values())
    off = len(fact["off_device"])
    times = dict(fact.get("time_share") or {})
    return PlacementFact(
        nodes=fact["nodes"],
        on_device_share=(total - off) / total if total else None,
        off_device=tuple(fact["off_device"]),
        source=fact["source"],
        precision=fact["precision"],
        time_share=times or None,
        on_device_time_share=times.get(device_id, 0.0) if times else None,
    )


def share_on_device(fact: PlacementFact) -> float | None:
    """Of the time where that was measured, else of the nodes; None where neither is known."""
    if fact.on_device_time_share is None:
        return fact.on_device_share
    return fact.on_device_time_share


def is_all_on_device(fact: PlacementFact) -> bool:
    """No node and no time elsewhere, as far as either is known."""
    return not fact.off_device and fact.on_device_time_share in (None, 1.0)


def placement_check(fact: PlacementFact, target: str) -> Check | None:
    """Whether all ran on the device that was asked for; None where the runtime can't tell."""
    share = share_percent(fact)
    if not share:
        return None
    if is_all_on_device(fact):
        return Check(name="placement", ok=True, detail=f"all nodes ran on {target}")
    if not fact.off_device:  # the runtime tells times and no places
        return Check(name="placement", ok=False, detail=f"{share} of the time was on {target}")
    total = sum(fact.nodes.values())
    named = ", ".join(fact.off_device[:_NAMED])
    more = len(fact.off_device) - _NAMED
    time = f"{share} of the time and " if fact.on_device_time_share is not None else ""
    return Check(
        name="placement",
        ok=False,
        detail=f"{time}{total - len(fact.off_device)} of {total} nodes ran on {target}; elsewhere: "
        f"{named}" + (f" and {more} more" if more > 0 else ""),
    )


def share_percent(fact: PlacementFact) -> str:
    """``100%`` only where every node was on the device; empty where nothing is known."""
    share = share_on_device(fact)
    if share is None:
        return ""
    if is_all_on_device(fact):
        return "100%"
    return f"{min(99.9, 100 * share):.3g}%"
