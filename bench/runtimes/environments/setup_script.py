"""What a vendor's set-up script (``set_env.sh``) makes of the environment variables."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.errors import Unavailable

#: Such scripts set variables; one that takes this long waits for something.
_TIMEOUT_S = 60.0
#: Belong to the shell that sources.
_OF_THE_SHELL = ("_", "SHLVL", "PWD", "OLDPWD")

#: What the script prints goes to stderr, so that stdout holds the variables alone. Positional
#: parameters are cleared: a sourced script sees its caller's.
_SOURCE = 'script=$1 env=$2; set --; . "$script" 1>&2 && exec "$env" -0'

_known: dict[tuple[Path, tuple[tuple[str, str], ...]], dict[str, str]] = {}


def variables_after(
    script: Path, before: Mapping[str, str], environment: str, mend: str
) -> dict[str, str]:
    """The variables after ``script`` was sourced in a shell that started with ``before``.

    What a script yields is kept for the life of this process. Raises `Unavailable` that names
    ``environment`` and ends with ``mend``.
    """
    key = (script, tuple(sorted(before.items())))
    if key not in _known:
        _known[key] = _source(script, before, environment, mend)
    return _known[key]


def _source(script: Path, before: Mapping[str, str], environment: str, mend: str) -> dict[str, str]:
    where = f"the environment {environment}: its set-up script {script}"
    if not script.is_file():
        raise Unavailable(f"{where} does not exist.", mend)
    # bash where there is one: the scripts of vendors say `sh` and use BASH_SOURCE all the same.
    shell, env = shutil.which("bash") or shutil.which("sh"), shutil.which("env")
    if shell is None or env is None:
        raise Unavailable(f"{where} can't be sourced: no shell was found.", mend)
    try:
        done = subprocess.run(
            [shell, "-c", _SOURCE, "bench", str(script.resolve()), env],
            env=dict(before),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{where} did not end within {_TIMEOUT_S:.0f} s.", mend) from error
    except OSError as error:
        raise Unavailable(f"{where} can't be sourced: {error.strerror}.", mend) from error
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = f" ({said[-1].strip()})" if said else ""
        how = f"failed with exit code {done.returncode}" if done.returncode else "left its shell"
        raise Unavailable(f"{where} {how}{last}.", mend)
    pairs = (
        item.partition("=") for item in done.stdout.decode(errors="surrogateescape").split("\0")
    )
    return {name: text for name, _, text in pairs if name and name not in _OF_THE_SHELL}
