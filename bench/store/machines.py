"""Which runs were measured on one machine, and what that machine is called.

A machine is one host, or what its owner gave one name: two hosts with the same hardware are two
machines. Whether their latencies may be compared is another question, which `machine_id` answers
(`bench.machine.facts.COMPARABLE`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from bench.numbers import printable
from bench.record.header import RunHeader

_HASH_DIGITS = 4
_HOST_DIGITS = 8  #: of `bench.machine.facts.MachineFacts.hostname_hash`
#: What vendors write into the name of a CPU beside its name.
_DECORATION = re.compile(r"\((?:R|TM|tm|C)\)|\bCPU\b|\bProcessor\b|@.*$|\b\d+-Core\b")


@dataclass(frozen=True)
class Machine:
    """``name`` is shown to people, and unique among the machines that are told apart together.
    ``key`` is what tells them apart; ``machine_id`` is equal where latencies may be compared, None
    where it isn't recorded."""

    name: str
    key: tuple[str, ...]
    machine_id: str | None = None


class Headed(Protocol):
    """Whatever has the header of a run."""

    @property
    def header(self) -> RunHeader: ...


_Run = TypeVar("_Run", bound=Headed)


def machine_of(run: Headed) -> Machine:
    """The machine of one run, by itself."""
    return next(iter(by_machine([run])))


def by_machine(runs: Iterable[_Run]) -> dict[Machine, list[_Run]]:
    """The runs of each machine, machines in the order in which they come.

    Runs of one host are of one machine, and so are runs with one given name where the host or the
    hardware is the same (a container has a new host name each time). A run that doesn't say enough
    to be of one of two machines is of neither. Two machines that would be shown with the same name
    get a number, the later one: ``server``, ``server (2)``. Who is asked about the same runs
    answers the same, whatever their order.
    """
    every = list(runs)
    places = {id(run): place for place, run in enumerate(every)}
    groups = [sorted(g, key=lambda run: places[id(run)]) for g in _joined(every)]
    groups.sort(key=lambda group: places[id(group[0])])
    leads = [_lead(group) for group in groups]
    names = _apart([_name(lead) for lead in leads], [_age(group) for group in groups])
    return {
        Machine(name, _key(lead), _text(lead.facts, "machine_id")): group
        for name, lead, group in zip(names, leads, groups, strict=True)
    }


def machine_names(runs: Sequence[Headed]) -> list[str]:
    """What the machine of each run is called among those of all of them."""
    names = {id(run): m.name for m, group in by_machine(runs).items() for run in group}
    return [names[id(run)] for run in runs]


def _joined(runs: Sequence[_Run]) -> list[list[_Run]]:
    """The runs of each machine: first of those that say most, then those that say less join the
    one machine that they fit, so that none ties two machines together."""
    found: list[list[_Run]] = []
    for vague in sorted({_vague(run) for run in runs}):
        alike = _connected([run for run in runs if _vague(run) == vague])
        fits = [[g for g in found if _touch(some, g)] for some in alike]
        for some, groups in zip(alike, fits, strict=True):
            if len(groups) == 1:
                groups[0].extend(some)
            else:
                found.append(some)
    return found


def _vague(run: Headed) -> tuple[bool, bool]:
    """Whether it says neither what its owner calls the machine, nor its CPU."""
    return not given_name(run.header), _text(run.header.facts, "cpu_model") is None


def _connected(runs: Iterable[_Run]) -> list[list[_Run]]:
    groups: list[list[_Run]] = []
    for run in runs:
        same = [group for group in groups if _touch([run], group)]
        groups = [group for group in groups if not any(group is one for one in same)]
        groups.append([*(one for group in same for one in group), run])
    return groups


def _touch(one: Sequence[Headed], other: Sequence[Headed]) -> bool:
    return any(_same(a, b) for a in one for b in other)


def told_apart(groups: Mapping[Machine, Sequence[Headed]]) -> list[str]:
    """A sentence about each name that several machines give themselves."""
    by_name: dict[str, list[str]] = {}
    for machine, runs in groups.items():
        by_name.setdefault(_name(_lead(runs)), []).append(machine.name)
    return [
        f"{len(shown)} machines are called {printable(name)}: they are shown as "
        f"{', '.join(map(printable, shown))}. Set `[machine] name` in the configuration to tell "
        "them apart."
        for name, shown in by_name.items()
        if len(shown) > 1
    ]


def _lead(group: Sequence[Headed]) -> RunHeader:
    """The header that names the machine: one in which its owner did, else one with the host's name,
    wherever that run comes; of several the oldest."""
    headers = [run.header for run in group]
    given = [header for header in headers if given_name(header)]
    named = given or [header for header in headers if header.machine_name]
    return min(named or headers, key=lambda header: (header.machine_name, header.created_at))


def _age(group: Sequence[Headed]) -> str:
    return min(run.header.created_at for run in group)


def _same(a: Headed, b: Headed) -> bool:
    if a is b:
        return True
    ours, theirs = given_name(a.header), given_name(b.header)
    if ours != theirs and ours and theirs:
        return False
    if _equal(a, b, "hostname_hash"):
        # Containers of one image have one host name, whatever they run on.
        cpus = [_text(run.header.facts, "cpu_model") for run in (a, b)]
        return None in cpus or cpus[0] == cpus[1]
    if ours or theirs:
        return ours == theirs and _equal(a, b, "machine_id")
    # Without a host there is nothing but the hardware to go by.
    known = [_text(run.header.facts, "hostname_hash") for run in (a, b)]
    return known == [None, None] and _equal(a, b, "machine_id")


def _equal(a: Headed, b: Headed, fact: str) -> bool:
    ours, theirs = (_text(run.header.facts, fact) for run in (a, b))
    return ours is not None and ours == theirs


def given_name(header: RunHeader) -> str:
    """What the owner calls the machine; empty where the name is the host's own."""
    name = header.machine_name
    return "" if is_host_name(name, header.facts) else name


def is_host_name(name: str, facts: dict[str, Any]) -> bool:
    """Whether a machine's name is that of the host."""
    digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_HOST_DIGITS]
    return digest == _text(facts, "hostname_hash")


def neutral_name(facts: dict[str, Any]) -> str:
    """A name that tells the hardware and not the host: its GPU or CPU, and digits of a hash."""
    gpus = facts.get("gpus")
    gpu = gpus[0].get("name") if isinstance(gpus, list) and gpus else None
    hardware = gpu or _DECORATION.sub(" ", _text(facts, "cpu_model") or "")
    mark = _text(facts, "hostname_hash") or _text(facts, "machine_id") or ""
    words = [*str(hardware).split(), mark[:_HASH_DIGITS]]
    return " ".join(word for word in words if word) or "unknown machine"


def _name(header: RunHeader) -> str:
    return header.machine_name or neutral_name(header.facts)


def _key(header: RunHeader) -> tuple[str, ...]:
    facts = ("hostname_hash", "machine_id")
    return (given_name(header), *(_text(header.facts, name) or "" for name in facts))


def _apart(names: Sequence[str], ages: Sequence[str]) -> list[str]:
    """The names with a number behind each that an older one has."""
    shown: dict[int, str] = {}
    for place in sorted(range(len(names)), key=lambda place: ages[place]):
        number, name = 1, names[place]
        while (other := name if number == 1 else f"{name} ({number})") in shown.values():
            number += 1
        shown[place] = other
    return [shown[place] for place in range(len(names))]


def _text(facts: dict[str, Any], name: str) -> str | None:
    value = facts.get(name)
    return value if isinstance(value, str) and value else None
