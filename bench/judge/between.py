"""The runs of several machines against those of one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bench.errors import SpecError
from bench.judge.differences import comparable_ones
from bench.judge.matching import Matched, match_machines
from bench.store.machines import Machine, told_apart
from bench.store.run import StoredRun


def between_machines(
    machines: Mapping[Machine, Sequence[StoredRun]],
    baseline: str | None,
    cells: Sequence[str],
    allow: Collection[str],
) -> tuple[Matched, list[str]]:
    """Each cell of the baseline (the first machine that is named) with that of the others, and what
    has to be told."""
    runs = {machine.name: mine for machine, mine in machines.items()}
    name = next(iter(runs)) if baseline is None else baseline
    if name not in runs:
        raise SpecError(f"--baseline {name}: the machines are {', '.join(runs)}.")
    matched, sentence = comparable_ones(match_machines(runs, name, cells), allow)
    return matched, [*told_apart(machines), *([sentence] if sentence else [])]
