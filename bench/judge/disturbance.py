"""Whether other programs used the CPU while a cell was measured."""

from __future__ import annotations

from bench.judge.matching import Side
from bench.judge.presence import MESSAGE_LIMIT
from bench.numbers import printable

#: The checks that fail then.
CHECKS = ("undisturbed", "own-cpu")


def disturbed(one: Side) -> str:
    """What a check of these says that failed; empty where none did."""
    checks = one.record.checks if one.record is not None else ()
    found = [check.detail for check in checks if check.name in CHECKS and not check.ok]
    return printable(found[0], limit=MESSAGE_LIMIT) if found else ""
