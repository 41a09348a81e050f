"""Where exports, variants and other things that can be made again are kept between runs.

A worker imports this too, perhaps in an interpreter that has nothing but numpy and its runtime. It
is told the folder by `VARIABLE`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Mapping

VARIABLE = "BENCH_CACHE"
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
