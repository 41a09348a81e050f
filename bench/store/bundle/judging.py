"""The program that derives the numbers of an unpacked bundle again: the verdict on its output.

``python -m bench.store.bundle.judging CONTENT``, as `bench.store.bundle.opened` calls it.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from bench.errors import SpecError
from bench.store.bundle.manifest import LOGS, MANIFEST, RUNS, Manifest
from bench.store.bundle.opened import Verdict, deriver
from bench.store.check import check_copy, reworded
from bench.store.run import read_run


def judged(content: Path) -> Verdict:
    """Every run of the bundle, derived again and compared."""
    manifest = Manifest.model_validate_json((content / MANIFEST).read_bytes())
    numbers, taken, problems, words = 0, Counter[str](), list[str](), 0
    for name in manifest.runs:
        try:
            account = check_copy(
                read_run(content / RUNS / name),
                f"{RUNS}/{name}",
                without_predictions=name in manifest.without_predictions,
                with_logs=LOGS not in manifest.left_out,
            )
        except SpecError as error:
            problems.append(str(error))
            continue
        numbers += account.numbers
        taken.update(account.taken)
        words += sum(map(reworded, account.problems))
        problems += [str(problem) for problem in account.problems if not reworded(problem)]
    return Verdict(
        derived_by=deriver(),
        numbers=numbers,
        taken=dict(taken),
        problems=tuple(problems),
        reworded=words,
    )


if __name__ == "__main__":
    print(judged(Path(sys.argv[1])).model_dump_json())
