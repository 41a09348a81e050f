"""Change the code in one place at a time, and see whether its tests notice.

    python tests/mutants [--known] [--jobs N] [ROOM or FILE ...]

A room is a folder of bench/, its tests are the folder of the same name in tests/. Without names:
stats, record, measure and judge, and the list of changes written by hand (known.tsv), which
`--known` tries alone. All happens in copies of the tree. What was found is kept in build/mutants
until the code or its tests change, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable

from changes import Change, changes, in_words
from kept import Results
from lists import ROOT, read_ignored, read_known
from trying import Result, try_all

ROOMS = ("stats", "record", "measure", "judge")


def main() -> int:
    parser = argparse.ArgumentParser(description="Try single changes against the tests.")
    parser.add_argument("names", nargs="*", metavar="ROOM|FILE")
    parser.add_argument("--known", action="store_true", help="only the changes written by hand")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    results = Results(ROOT / "build" / "mutants")
    known = {} if arguments.names and not arguments.known else read_known()
    if arguments.names:
        known = {n: c for n, c in known.items() if _named(c.file, arguments.names)}
    made: list[Change] = []
    if not arguments.known:
        for file in _files(arguments.names or ROOMS):
            made += changes(file, (ROOT / file).read_text())
    ignored = read_ignored()
    left = [change for change in made if any(one.is_of(change) for one in ignored)]
    tried = [change for change in made if change not in left]
    found = try_all([*known.values(), *tried], results, arguments.jobs)
    _print_unnoticed(tried, found)
    if tried:
        _print_shares(tried, left, found)
    missed = [name for name, change in known.items() if not found[change].noticed]
    for name in missed:
        print(f"unnoticed, though known: {name}")
    print(f"{len(known) - len(missed)} of {len(known)} known changes are noticed")
    return 1 if missed else 0


def _files(names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        path = ROOT / name
        if path.is_file():
            found.append(str(path.relative_to(ROOT)))
            continue
        folder = ROOT / "bench" / name
        inside = [str(path.relative_to(ROOT)) for path in sorted(folder.rglob("*.py"))]
        if not inside:
            sys.exit(f"mutants: {name} is neither a file nor a folder of bench/")
        found += inside
    return found


def _named(file: str, names: Iterable[str]) -> bool:
    return any(file == name or file.startswith(f"bench/{name}/") for name in names)


def _print_unnoticed(tried: list[Change], found: dict[Change, Result]) -> None:
    for change in tried:
        if not found[change].noticed:
            print("\n".join(in_words(change)))
            if not found[change].tests:
                print("  no test reaches it")


def _print_shares(tried: list[Change], left: list[Change], found: dict[Change, Result]) -> None:
    """By module: noticed, all that count, and those left out with a reason."""
    files = sorted({change.file for change in (*tried, *left)})
    print(f"\n{'noticed':>8} {'of':>5} {'share':>6} {'left':>5}")
    totals = [0, 0, 0]
    for file in files:
        mine = [change for change in tried if change.file == file]
        counts = [
            sum(found[change].noticed for change in mine),
            len(mine),
            sum(change.file == file for change in left),
        ]
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        _print_share(file, counts)
    _print_share("all", totals)


def _print_share(name: str, counts: list[int]) -> None:
    noticed, of, left = counts
    share = f"{noticed / of:.0%}" if of else "-"
    print(f"{noticed:>8} {of:>5} {share:>6} {left:>5}  {name}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the copies are removed
    sys.exit(main())
