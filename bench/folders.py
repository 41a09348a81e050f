"""Where bench keeps what is a user's: the cache, the configuration, the environments.

The cache holds exports, variants and other things that can be made again. A worker imports this
too, perhaps in an interpreter that has nothing but numpy and its runtime, so it is told the folders
by variables (`told`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping

VARIABLE = "BENCH_CACHE"
#: Where a worker looks for files of the configuration, in this order.
CONFIG_FOLDERS = "BENCH_CONFIG_FOLDERS"
_NAME = "infer-bench"


def cache_folder(variables: Mapping[str, str] = os.environ) -> Path:
    """``$BENCH_CACHE``; else a folder in ``$XDG_CACHE_HOME``, or where the system keeps caches."""
    named = variables.get(VARIABLE)
    if named:
        return Path(named)
    base = variables.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / _NAME
    from platformdirs import user_cache_path  # workers' interpreters may lack it

    return user_cache_path(_NAME, appauthor=False)


def config_file(name: str, variables: Mapping[str, str] = os.environ) -> Path:
    """A file of the user's configuration: where it is, else where it belongs, which is a folder in
    ``$XDG_CONFIG_HOME`` or where the system keeps configurations."""
    return _found(_config_folders(variables), name)


def data_folder(name: str, variables: Mapping[str, str] = os.environ) -> Path:
    """A folder of what the user had made: where it is, else where it belongs, which is in
    ``$XDG_DATA_HOME`` or where the system keeps data."""
    base = variables.get("XDG_DATA_HOME")
    if base:
        return Path(base) / _NAME / name
    from platformdirs import user_data_path  # workers' interpreters may lack it

    own = user_data_path(_NAME, appauthor=False)
    return _found([own, Path.home() / ".local" / "share" / _NAME], name)


def told(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables by which a worker learns this process's folders, unless its own ``variables``
    name others."""
    config = os.pathsep.join(map(str, _config_folders(os.environ)))
    ours = {VARIABLE: str(cache_folder()), CONFIG_FOLDERS: config}
    return {name: variables.get(name) or folder for name, folder in ours.items()}


def _config_folders(variables: Mapping[str, str]) -> list[Path]:
    given = variables.get(CONFIG_FOLDERS)
    if given:
        return [Path(folder) for folder in given.split(os.pathsep)]
    base = variables.get("XDG_CONFIG_HOME")
    if base:
        return [Path(base) / _NAME]
    from platformdirs import user_config_path  # workers' interpreters may lack it

    return [user_config_path(_NAME, appauthor=False), Path.home() / ".config" / _NAME]


def _found(folders: list[Path], name: str) -> Path:
    """The first that exists, else the first. Releases until 0.1 kept all but the cache where Linux
    does, on every system: the later folders."""
    places = [folder / name for folder in folders]
    return next((place for place in places if place.exists()), places[0])
