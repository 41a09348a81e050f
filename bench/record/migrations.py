"""Reading what an older schema version wrote.

Within a version fields are only ever added, each with a default, so there is nothing to do. What
changes anything else raises `bench.record.result.SCHEMA_VERSION` and gets a step here that rewrites
a value of the version before into one of the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.record.result import SCHEMA_VERSION

Step = Callable[[dict[str, Any]], dict[str, Any]]

#: (which value: "run", "record" or "invocation"; from which version) -> the step to the next one
STEPS: dict[tuple[str, int], Step] = {}


def migrated(what: str, data: dict[str, Any], version: int) -> dict[str, Any]:
    """``data`` with the fields of the present version.

    Its ``schema_version`` stays: that of a run says which version its other files have.
    """
    for older in range(version, SCHEMA_VERSION):
        step = STEPS.get((what, older))
        data = step(data) if step else data
    return data
