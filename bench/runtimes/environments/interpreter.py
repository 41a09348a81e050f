"""Another interpreter, and the variables that its processes start with."""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.runtimes.environments.setup_script import variables_after

#: Belong to the interpreter that runs `bench`, and would break another.
_OWN = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True)
class Interpreter:
    """Where workers run that don't run in the interpreter of `bench`."""

    environment: str  #: its name, as behind the ``@`` of a target
    python: str  #: the interpreter: a path, or a name that is looked for on PATH
    mend: str  #: what the user does where something is wrong with it, as a sentence
    variables: Mapping[str, str] = field(default_factory=dict)
    setup: Path | None = None

    def start_variables(self) -> dict[str, str]:
        """All variables of a process there: the shell's, then the configured ones, then what the
        set-up script makes of them. Raises `Unavailable` where the script fails."""
        variables = {**shell_variables(), **self.variables}
        if self.setup is None:
            return variables
        return variables_after(self.setup, variables, self.environment, self.mend)


def shell_variables() -> dict[str, str]:
    """The variables of the shell without what belongs to the interpreter of `bench`.

    Of PYTHONPATH the entries inside that interpreter's own folders are dropped; others stay,
    because vendors' set-up scripts, sourced in the shell, put their Python modules there.
    """
    variables = {name: text for name, text in os.environ.items() if name not in _OWN}
    entries = variables.pop("PYTHONPATH", "").split(os.pathsep)
    places = ("stdlib", "platstdlib", "purelib", "platlib")
    own = {Path(path).resolve() for path in map(sysconfig.get_path, places)}
    own |= {Path(path).resolve() for path in site.getsitepackages()}
    kept = [
        entry
        for entry in entries
        if entry and not any(Path(entry).resolve().is_relative_to(folder) for folder in own)
    ]
    return {**variables, "PYTHONPATH": os.pathsep.join(kept)} if kept else variables
