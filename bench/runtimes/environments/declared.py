"""What backends declare: the private environments that they can run in, and what those need."""

from __future__ import annotations

from dataclasses import dataclass

from bench.capabilities import Steps, declaration
from bench.config import ENVIRONMENT_NAME
from bench.discover import backend_entry_points, load_backend
from bench.errors import BenchError, SpecError


@dataclass(frozen=True)
class Declared:
    """An environment as one or several backends declare it."""

    name: str
    backends: tuple[str, ...]
    steps: Steps


def declared_environments() -> dict[str, Declared]:
    """Every environment that an installed backend declares, by name, sorted.

    An adapter that can't be imported declares none (probing it tells why). Raises `SpecError`
    where two backends mean different things by a name, or a declaration is malformed.
    """
    found: dict[str, Declared] = {}
    for backend in backend_entry_points():
        try:
            adapter = load_backend(backend)
        except BenchError:
            continue
        except Exception:  # a third party's module may raise anything
            continue
        for name, steps in _requirements(backend, adapter).items():
            known = found.get(name)
            if known is not None and known.steps != steps:
                raise SpecError(
                    f"the backends {known.backends[0]} and {backend} declare different "
                    f"requirements for the environment {name}; one must rename it."
                )
            backends = (*known.backends, backend) if known is not None else (backend,)
            found[name] = Declared(name, backends, steps)
    return dict(sorted(found.items()))


def _requirements(backend: str, adapter: type) -> dict[str, Steps]:
    declared = declaration(adapter).requirements
    try:
        checked = {
            name: tuple(tuple(str(part) for part in _sequence(step)) for step in _sequence(steps))
            for name, steps in declared.items()
        }
        fine = all(ENVIRONMENT_NAME.fullmatch(name) for name in checked)
        fine = fine and all(steps and all(steps) for steps in checked.values())
    except (AttributeError, TypeError):
        fine = False
    if not fine:
        raise SpecError(
            f"the backend {backend} declares its requirements in the wrong form: give a mapping "
            "of names to steps, each step a tuple of arguments of `pip install`."
        )
    return checked


def _sequence(value: object) -> tuple[object, ...]:
    """A text is a sequence too, and not what is meant."""
    if not isinstance(value, (tuple, list)):
        raise TypeError
    return tuple(value)
