"""The banner above the answer: which validity checks failed, and what failed altogether."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from bench.numbers import counted, printable
from bench.present.page.parts import Banner
from bench.record.result import Record

#: What a failed check means, in a reader's words (docs/method.md, "Marks").
_MEANS = {
    "complete": "measuring was stopped early",
    "steady-state": "a warm-up had not settled",
    "undisturbed": "other programs kept the machine busy",
    "own-cpu": "workers shared the CPUs that they were timed on",
    "placement": "some nodes ran off the device that the row names",
    "parity": "outputs differ from the reference's",
    "accuracy": "the labelled data could not be scored",
    "sanity": "the score does not look like that of the right model on the right data",
    "precision": "it computed in another precision than the variant names",
}


def banner(records: Sequence[Record], failed: Sequence[Record], prefix: str) -> Banner | None:
    """None where every cell ran and passed all its checks."""
    lines = (*_failed(failed, prefix), *_marked(records, prefix))
    if not lines:
        return None
    marked = sum(any(not check.ok for check in record.checks) for record in records)
    words = []
    if failed:
        words.append(f"{counted(len(failed), 'cell')} failed")
    if marked:
        words.append(f"{marked:,} of {counted(len(records), 'cell')} failed a validity check")
    rest = "; their figures are shown and marked." if marked else "."
    return Banner(f"{' and '.join(words)}{rest}", lines)


def _failed(failed: Sequence[Record], prefix: str) -> Iterator[tuple[str, str]]:
    kinds = Counter(r.failure.kind if r.failure else "WRONG" for r in failed)
    for kind, count in kinds.most_common():
        yield f"{printable(kind, limit=60)}: {counted(count, 'cell')}", f"{prefix}failures"


def _marked(records: Sequence[Record], prefix: str) -> Iterator[tuple[str, str]]:
    names = Counter(check.name for r in records for check in r.checks if not check.ok)
    for name, count in names.most_common():
        means = f": {_MEANS[name]}" if name in _MEANS else ""
        yield f"{printable(name, limit=60)}{means}, {counted(count, 'cell')}", f"{prefix}checks"
