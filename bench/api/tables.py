"""Tables as pandas DataFrames: what runs have stored, and what follows from it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bench.api import given
from bench.api.wording import all_in_python, says_python
from bench.judge.changes import Changes
from bench.judge.pairs import compare
from bench.present.pair_fields import PAIR_FIELDS, flat_pair_rows
from bench.store.frames import Paths, ResultsWarning, read_runs, read_table, require_pandas
from bench.store.run import remarks_of

if TYPE_CHECKING:
    import pandas

What = Literal["records", "samples", "invocations", "predictions", "pairs"]
#: The tables that there are.
TABLES: tuple[str, ...] = get_args(What)
_COUNTS = ("_bytes", "_invocations", "_examples", "_only_this_right", "_only_other_right")
_YES_OR_NO = ("_paired", "_significant")
_WORDS = ("_verdict", "_metric", "_test")


@says_python
def load(paths: Paths, what: What = "records") -> pandas.DataFrame:
    """What runs have stored, as one table.

    ``paths`` is one path or several: run directories, folders that hold some at any depth, or
    patterns. Copies of a run count once. ``what`` is

    - ``"records"``: a row per finished cell (ns, bytes, samples/s, fractions; NA where missing);
    - ``"pairs"``: a row per pair of models and target: a distilled model against its original, or
      a precision against fp32. ``speedup_value`` 35 is 35 times as fast;
    - ``"samples"``: a row per timed call;
    - ``"invocations"``: a row per worker process;
    - ``"predictions"``: a row per scored item, without the logits.

    [results.md](results.md#in-python) lists the columns. Raises `bench.BenchError` where there is
    no run or no pandas; warns with `bench.ResultsWarning` of what could not be read.
    """
    require_pandas()
    given.one_of("what", what, TABLES)
    named = [given.a_path("paths", path) for path in given.several("paths", paths, optional=False)]
    table, skipped = _pairs(named) if what == "pairs" else read_table(named, what)
    for text in all_in_python(skipped):
        warnings.warn(text, ResultsWarning, stacklevel=3)  # the caller of what `says_python` made
    return table


def _pairs(paths: Sequence[Path]) -> tuple[pandas.DataFrame, list[str]]:
    runs, skipped = read_runs(paths)
    rows: list[Mapping[str, object]] = []
    for run in runs:
        changes = Changes(run)
        for row in flat_pair_rows(compare(run.records, changes)):
            rows.append({"run": str(run.path), **row})
        skipped += dict.fromkeys(changes.problems)
    skipped += remarks_of(runs)
    return pair_frame(rows), skipped


def pair_frame(rows: Sequence[Mapping[str, object]]) -> pandas.DataFrame:
    """Pairs as a table whose columns have the same types whatever is in them."""
    import pandas  # pandas: start-up

    names = ("run", *PAIR_FIELDS)
    found = {name: [row.get(name) for row in rows] for name in names}
    return pandas.DataFrame({name: _column(name, values) for name, values in found.items()})


def _column(name: str, values: list[Any]) -> Any:
    import pandas  # pandas: start-up

    if name.endswith(_COUNTS):
        return pandas.array(values, dtype="Int64")
    if name.endswith(_YES_OR_NO):
        return pandas.array(values, dtype="boolean")
    prefixes = ("speedup_", "floor_speedup_", "throughput_", "accuracy_", "size_ratio")
    if name.startswith(prefixes) and not name.endswith(_WORDS):
        return pandas.array(values, dtype="float64")
    return pandas.Series(values, dtype=object)


def flat_frame(rows: Iterable[object]) -> pandas.DataFrame:
    """Rows of JSON-ready data as a table; what is nested becomes ``outer_inner``."""
    require_pandas()
    import pandas  # pandas: start-up

    return pandas.json_normalize(list(rows), sep="_")
