"""What is said of a node that is not as it was, or not as the others are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench import __version__
from bench.fleet.nodes import NodeFacts
from bench.machine.facts import COMPARABLE
from bench.numbers import significant

#: Clocks that are kept by NTP differ by far less; one that differs by more makes the times of a
#: run's records misleading, and nothing else.
CLOCK_S = 60.0


def other_version(node: NodeFacts) -> str:
    """That the node's bench is another one than the driver's; empty where it isn't."""
    if node.bench_version == __version__:
        return ""
    return f"{node.name} has bench {node.bench_version}, but the driver has {__version__}"


def clock_words(node: NodeFacts) -> str:
    """That the node's clock is wrong, or the driver's; empty where they agree."""
    offset_s = node.clock_offset_s
    if abs(offset_s) < CLOCK_S:
        return ""
    minutes = significant(abs(offset_s) / 60)
    return (
        f"the clock of {node.name} is {minutes} min {'ahead of' if offset_s > 0 else 'behind'} the "
        "driver's: times in its records are its own"
    )


def changed(was: NodeFacts, now: NodeFacts) -> list[str]:
    """What is no longer as it was on a node, in words: hardware, drivers, versions."""
    return [
        f"{what} was {_text(one)} and is {_text(other)}"
        for what, one, other in _differing(was, now)
        if one != other
    ]


def _differing(was: NodeFacts, now: NodeFacts) -> Iterator[tuple[str, Any, Any]]:
    yield "bench", was.bench_version, now.bench_version
    yield "kernel", was.machine.get("kernel"), now.machine.get("kernel")
    if was.machine_id != now.machine_id:
        facts = [(n, _comparable(was, n), _comparable(now, n)) for n in COMPARABLE]
        facts = [(name, one, other) for name, one, other in facts if one != other]
        yield from facts or [("its machine id", was.machine_id, now.machine_id)]
    for target in {**was.devices, **now.devices}:
        one, other = was.devices.get(target), now.devices.get(target)
        if one is None or other is None:
            yield target, "there" if one else "absent", "there" if other else "absent"
        else:
            yield f"the device of {target}", one.name, other.name
            yield f"the driver of {target}", one.driver, other.driver
    versions = {b.label: b.version for b in was.backends}
    for backend in now.backends:
        yield backend.label, versions.get(backend.label, backend.version), backend.version


def _comparable(node: NodeFacts, name: str) -> Any:
    """A fact of `COMPARABLE`, those that are made of others as these."""
    facts = node.machine
    if name == "usable_cpus":
        return len(facts["affinity"]) if facts.get("affinity") is not None else None
    if name == "memory_gib":
        total = facts.get("memory_total_bytes")
        return None if total is None else round(total / 2**30)
    return facts.get(name)


def _text(value: object) -> str:
    return "none" if value in (None, "") else str(value)
