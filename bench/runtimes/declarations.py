"""What the installed backends declare of themselves that a whole run asks about."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from bench.backend import Backend
from bench.capabilities import Declaration, ReferenceRole, declaration
from bench.discover import backend_entry_points, load_object
from bench.errors import BenchError

#: The distributions that decide what any figure means, whatever measured it.
_OURS = ("infer-bench", "numpy", "onnx")


@dataclass(frozen=True)
class ReferenceBackend:
    """An installed backend whose outputs can be the reference, for models of ``forms``."""

    name: str
    forms: tuple[str, ...]
    role: ReferenceRole


@cache
def reference_backends() -> tuple[ReferenceBackend, ...]:
    """Who can say what is right, the best first."""
    found = [
        ReferenceBackend(name, tuple(adapter.forms), declared.reference)
        for name, adapter, declared in _declared()
        if declared.reference is not None
    ]
    return tuple(sorted(found, key=lambda one: (one.role.rank, one.name)))


def references_for(forms: Collection[str]) -> list[str]:
    """The names of the references for models that are there in any of ``forms``, best first."""
    return [one.name for one in reference_backends() if set(one.forms) & set(forms)]


@dataclass(frozen=True)
class Witness:
    """An installed backend that can say what a model gives, for models of ``forms``."""

    name: str
    forms: tuple[str, ...]
    distributions: frozenset[str]
    options: Mapping[str, str]


@cache
def _witnesses() -> tuple[Witness, ...]:
    """The backends that say what they are made of, references first."""
    ranked = [one.name for one in reference_backends()]
    found = [
        Witness(
            name,
            tuple(adapter.forms),
            frozenset(declared.distributions),
            declared.reference.options if declared.reference is not None else {},
        )
        for name, adapter, declared in _declared()
        if declared.distributions
    ]
    last = len(ranked)
    return tuple(
        sorted(found, key=lambda w: (ranked.index(w.name) if w.name in ranked else last, w.name))
    )


def independent_of(targets: Collection[str], forms: Collection[str]) -> list[Witness]:
    """Who shares no code with any of ``targets`` and takes a model that is there in ``forms``: no
    package in common, and neither's name in the other's (``onnxruntime:openvino-cpu``)."""
    known = {witness.name: witness for witness in _witnesses()}
    backends = [target.partition("?")[0].partition(":")[0].partition("@")[0] for target in targets]
    taken = {d for name in backends if name in known for d in known[name].distributions}
    return [
        witness
        for witness in known.values()
        if set(witness.forms) & set(forms)
        and not witness.distributions & taken
        and not any(witness.name in target for target in targets)
    ]


def versioned_distributions() -> tuple[str, ...]:
    """The installed distributions whose versions decide what a number means: ours, and those that
    the backends declare."""
    named = [name for _, _, declared in _declared() for name in declared.distributions]
    return (*_OURS, *(name for name in dict.fromkeys(named) if name not in _OURS and _here(name)))


def _declared() -> Iterator[tuple[str, type[Backend], Declaration]]:
    """Each installed backend; one that can't be imported says so when it is asked for."""
    for name, reference in backend_entry_points().items():
        with contextlib.suppress(BenchError):
            adapter = load_object("backend", name, reference)
            yield name, adapter, declaration(adapter)


def _here(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
