"""Every environment that there is: created, configured, or only declared by a backend."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.config import Config, EnvironmentTable, beside, config_path, load_config
from bench.discover import backend_entry_points, unknown
from bench.errors import SpecError, Unavailable
from bench.runtimes.environments.created import (
    EnvironmentRecord,
    created_environments,
    environments_folder,
    python_of,
    state_of,
)
from bench.runtimes.environments.declared import Declared, declared_environments
from bench.runtimes.environments.interpreter import Interpreter

Origin = Literal["created", "configured", "declared"]


@dataclass(frozen=True)
class Environment:
    """An environment and whether workers can run in it."""

    name: str
    backends: tuple[str, ...]
    origin: Origin
    state: str  #: of a created one: whole, stale, unfinished, broken; else the origin's own word
    interpreter: Interpreter | None  #: None where it can't be used
    record: EnvironmentRecord | None = None
    unusable: Unavailable | None = None


def all_environments() -> list[Environment]:
    """Every environment, sorted by name. Raises `SpecError` for a configuration that is wrong."""
    config, created = load_config(), created_environments()
    declared = declared_environments()
    _refuse_unknown_backends(config)
    names = sorted({*created, *config.environments, *declared})
    return [
        _environment(name, config.environments.get(name), created, declared.get(name))
        for name in names
    ]


def existing_environments() -> list[Environment]:
    """Those that were created or configured. Where there are none no adapter is imported to find
    that out."""
    if not _any_exists():
        return []
    return [e for e in all_environments() if e.origin != "declared"]


def find_environment(name: str, backend: str) -> Environment:
    """The environment that a target names behind its ``@``, usable or not.

    Raises `SpecError` for one that is unknown, or not for this backend.
    """
    known = {environment.name: environment for environment in all_environments()}
    if name not in known:
        raise unknown("environment", name, known)
    found = known[name]
    if backend not in found.backends:
        its = " and ".join(found.backends) or "no backend"
        raise SpecError(f"the environment {name} is for {its}, not for {backend}.")
    return found


def _any_exists() -> bool:
    folder = environments_folder()
    created = folder.is_dir() and any(not n.startswith(".") for n in os.listdir(folder))
    return created or bool(load_config().environments)


def _environment(
    name: str,
    table: EnvironmentTable | None,
    created: dict[str, EnvironmentRecord | None],
    declared: Declared | None,
) -> Environment:
    if table is not None and table.python is not None:
        if name in created:
            raise SpecError(
                f"two environments are called {name}: one in {config_path()} and a created one. "
                f"Rename the first, or `bench env remove {name}`."
            )
        return _configured(name, table, declared)
    if name in created:
        return _created(name, created[name], table, declared)
    if declared is None:
        raise SpecError(
            f"{config_path()}: [environments.{name}] needs the key `python`, its interpreter, "
            "because no backend declares an environment with that name."
        )
    why = Unavailable(f"the environment {name} does not exist.", f"Run `bench env create {name}`.")
    return Environment(name, declared.backends, "declared", "not created", None, None, why)


def _configured(name: str, table: EnvironmentTable, declared: Declared | None) -> Environment:
    backends = table.backend or (declared.backends if declared is not None else ())
    if not backends:
        raise SpecError(
            f"{config_path()}: [environments.{name}] needs the key `backend`, which runs there."
        )
    assert table.python is not None
    mend = f"Correct [environments.{name}] in {config_path()}."
    interpreter = Interpreter(name, _python(table.python), mend, table.variables, _script(table))
    return Environment(name, backends, "configured", "configured", interpreter)


def _created(
    name: str,
    record: EnvironmentRecord | None,
    table: EnvironmentTable | None,
    declared: Declared | None,
) -> Environment:
    """One of ours; a table without ``python`` adds variables and a script to it."""
    state = state_of(name, record, declared)
    backends = record.backends if record is not None else ()
    if table is not None and table.backend:
        backends = table.backend
    if state in ("unfinished", "broken"):
        why = Unavailable(
            f"the environment {name} is {state}.", f"Run `bench env create {name}` again."
        )
        return Environment(name, backends, "created", state, None, record, why)
    mend = f"Run `bench env remove {name}`, then `bench env create {name}`."
    variables, script = (table.variables, _script(table)) if table is not None else ({}, None)
    interpreter = Interpreter(name, str(python_of(name)), mend, variables, script)
    return Environment(name, backends, "created", state, interpreter, record)


def _refuse_unknown_backends(config: Config) -> None:
    known = backend_entry_points()
    named = [(name, one) for name, table in config.environments.items() for one in table.backend]
    for name, backend in named:
        if backend not in known:
            error = unknown("backend", backend, known)
            raise SpecError(f"{config_path()}: [environments.{name}]: {error}")


def _script(table: EnvironmentTable) -> Path | None:
    return None if table.setup is None else beside(config_path(), table.setup)


def _python(text: str) -> str:
    """A bare name (``python3.10``) is looked for on PATH; a path is one."""
    return str(beside(config_path(), text)) if os.sep in text else text
