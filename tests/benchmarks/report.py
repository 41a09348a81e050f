"""What `bench report` adds to reading a large run: `python tests/benchmarks/report.py [records]`.

Prints seconds and their ratio; nothing fails on a time.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "present" / "page")]


def report_seconds(run: Path) -> tuple[float, float, int]:
    """Seconds to read a run, seconds to make its page after that, and bytes of the page."""
    from bench.present.page.page import make_page, render
    from bench.store.run import read_run

    stored, reading = _timed(lambda: read_run(run))
    text, making = _timed(lambda: render(make_page([stored])))
    return reading, making, len(text.encode())


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def main(records: int) -> None:
    from large_run import write_large_run

    with tempfile.TemporaryDirectory() as folder:
        run = write_large_run(Path(folder), records, 100 * records)
        report_seconds(run)  # imports, and the file cache
        reading, making, size = report_seconds(run)
    print(
        f"{records:,} records, {100 * records:,} samples: reading {reading:.2f} s, the page "
        f"{making:.2f} s ({(reading + making) / reading:.2f}x of reading alone), "
        f"{size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
