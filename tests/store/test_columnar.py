"""Parquet files through DuckDB: read and written as pyarrow does, whatever they are called, and a
broken one is an error and nothing worse."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.store import columnar
from bench.store.columnar import Column, Lists, Names, Unreadable, packed, read, repacked

RESULTS = Path(__file__).parents[2] / "results"
ODD = [1.0, np.nan, np.inf, -np.inf, -0.0]
COLUMNS: dict[str, Column] = {
    "names": Names(["a", "é'\""], np.array([0, 1, -1, 1, 0])),
    "texts": np.array(["", "x", "NULL", "nan", "é"]),
    "int32": np.arange(5, dtype=np.int32),
    "int64": np.array([0, -1, 2**62, -(2**62), 10**18]),
    "bool": np.arange(5) % 2 == 0,
    "float32": np.array(ODD, np.float32),
    "float64": np.array(ODD),
    "gaps": np.ma.masked_array(np.arange(5), [0, 1, 0, 0, 1]),
    "float gaps": np.ma.masked_array(ODD, [0, 0, 0, 0, 1]),
    "equal lists": np.array([ODD, ODD[::-1]] * 2 + [ODD], np.float32),
    "lists": Lists(np.array([1, 2**40, 3]), np.array([2, -1, 0, 1, -1])),
    "no lists": Lists(np.empty(0, np.int64), np.full(5, -1)),
    'odd"name': np.arange(5),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.parquet"
    path.write_bytes(packed(COLUMNS))
    return path


def plain(column: Any) -> list[Any]:
    """A column as a list that can be compared: NaN as a text, what is missing as None."""
    if isinstance(column, Names):
        return column.texts().tolist()
    if isinstance(column, Lists):
        ends = np.cumsum(np.maximum(column.lengths, 0))
        lists = zip(ends, column.lengths, strict=True)
        column = [column.values[e - n : e].tolist() if n >= 0 else None for e, n in lists]
    return json.loads(json.dumps(list(column) if isinstance(column, list) else column.tolist()))


def same(column: Any, other: Any) -> bool:
    return repr(plain(column)) == repr(plain(other))


@pytest.mark.parametrize("name", COLUMNS)
def test_pyarrow_reads_the_values_that_were_written(name: str, file: Path) -> None:
    given = COLUMNS[name]
    assert same(pa.chunked_array(pq.read_table(file)[name]).to_pylist(), plain(given))


@pytest.mark.parametrize("name", COLUMNS)
def test_what_was_written_is_read_with_its_kind(name: str, file: Path) -> None:
    given, found = COLUMNS[name], read(file, [name])[name]
    if isinstance(given, Names) or given is COLUMNS["texts"]:
        assert isinstance(found, Names)
    elif isinstance(given, Lists) or given.ndim == 2:
        assert isinstance(found, Lists)
        assert found.values.dtype == (
            given.values.dtype if isinstance(given, Lists) else np.float32
        )
    else:
        assert found.dtype == given.dtype
        assert np.ma.isMaskedArray(found) == np.ma.isMaskedArray(given)
    assert same(found, given)


def test_pandas_reads_it(file: Path) -> None:
    table = pandas.read_parquet(file)
    assert table["int64"].tolist() == COLUMNS["int64"].tolist()  # type: ignore[union-attr]
    assert table["names"].tolist()[:2] == ["a", "é'\""]


def arrow_columns() -> dict[str, Any]:
    """What pyarrow writes for the runs of earlier versions, and what else a column may be."""
    return {
        "names": pa.array(["a", None, "é", "a"]).dictionary_encode(),
        "int16": pa.array([1, 2, 3, 4], pa.int16()),
        "gaps": pa.array([1, None, 3, None], pa.int64()),
        "nulls": pa.nulls(4, pa.int64()),
        "float": pa.array([1.5, float("nan"), None, float("inf")]),
        "halves": pa.array(np.arange(4).astype(np.float16)),
        "equal": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float32)), 2),
        "lists": pa.array([[1], None, [], [2, 3]], pa.list_(pa.int64())),
        "large": pa.array(["x", "y", "z", "z"], pa.large_string()),
    }


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
@pytest.mark.parametrize("name", arrow_columns())
def test_what_pyarrow_wrote_is_read(name: str, compression: str, tmp_path: Path) -> None:
    column = arrow_columns()[name]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({name: column}), path, compression=compression)
    assert same(read(path)[name], column.to_pylist())


def test_files_of_earlier_versions_are_read_as_pyarrow_reads_them() -> None:
    files = [
        *sorted(RESULTS.glob("*/runs/*/samples/*.parquet"))[::20],
        *sorted(RESULTS.glob("*/runs/*/predictions/*.parquet"))[::8],
    ]
    assert len(files) >= 4
    for path in files:
        table = pq.read_table(path)
        found = read(path)
        assert list(found) == table.column_names
        for name, column in found.items():
            values = column.texts() if isinstance(column, Names) else column
            if isinstance(values, Lists):
                values, expected = values.values, table[name].combine_chunks().flatten()
            else:
                expected = table[name]
            assert np.array_equal(values, expected.to_numpy()), (path, name)


def test_rows_keep_their_order_over_many_groups(tmp_path: Path) -> None:
    rows = 300_000
    path = tmp_path / "x.parquet"
    columns = {"i": np.arange(rows), "c": Names(["b", "a"], np.arange(rows) % 2)}
    path.write_bytes(packed(columns))
    assert pq.read_metadata(path).num_row_groups > 1
    found = read(path)
    assert np.array_equal(found["i"], np.arange(rows))
    names = found["c"]
    assert isinstance(names, Names)
    assert names.names == ["a", "b"]
    assert np.array_equal(names.codes, 1 - np.arange(rows) % 2)
    kept = np.arange(rows) % 3 == 0
    path.write_bytes(repacked(path, kept, ["i"]))
    assert np.array_equal(read(path)["i"], np.flatnonzero(kept))
    assert pq.read_table(path)["i"].to_pylist() == np.flatnonzero(kept).tolist()


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    none = np.empty(0, np.int64)
    lists = Lists(np.empty(0, np.float32), none)
    path.write_bytes(packed({"c": Names([], none), "i": none, "l": lists, "r": np.empty((0, 3))}))
    found = read(path)
    assert [len(column) for column in found.values()] == [0, 0, 0, 0]
    assert found["l"].values.dtype == np.float32  # type: ignore[union-attr]
    path.write_bytes(repacked(path))
    assert list(read(path)) == ["c", "i", "l", "r"]


# -- what is written ------------------------------------------------------------------------------

_ALONE = """
import os, sys
import numpy as np
from pathlib import Path
from bench.store import columnar
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
columnar.make_ready()
rows = np.arange(200_000)
columns = {"i": rows, "f": np.sin(rows), "l": np.sin(rows).reshape(-1, 1)}
data = columnar.packed(columns)
path = Path(sys.argv[1])
path.write_bytes(data)
columnar.read(path)
path.write_bytes(data + columnar.repacked(path))
print(before, threads(), {"pyarrow", "pandas"} & set(sys.modules))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="Linux tells a process's threads")
def test_the_bytes_are_the_same_in_each_process_and_no_thread_or_file_is_left(
    tmp_path: Path,
) -> None:
    found = []
    for name in ("one", "other"):
        home = tmp_path / name
        home.mkdir()
        path = tmp_path / f"{name}.parquet"
        done = subprocess.run(
            [sys.executable, "-c", _ALONE, str(path)],
            cwd=home,
            env={**os.environ, "HOME": str(home), "TMPDIR": str(home), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        before, after, others = done.stdout.split(maxsplit=2)
        assert before == after
        assert others.strip() == "set()"
        assert list(home.iterdir()) == []
        found.append(path.read_bytes())
    assert found[0] == found[1]


def test_files_are_no_larger_than_those_of_pyarrow(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 20_000
    latency_ns = (rng.lognormal(0, 0.1, rows) * 1e5).astype(np.int64)
    logits = rng.normal(0, 3, (rows, 10)).astype(np.float32)
    place = np.arange(rows, dtype=np.int32) // 100
    names = pa.DictionaryArray.from_arrays(place % 7, list("abcdefg"))
    tables: list[tuple[dict[str, Column], dict[str, Any]]] = [
        (
            {"c": Names(list("abcdefg"), place % 7), "p": place, "latency_ns": latency_ns},
            {"c": names, "p": place, "latency_ns": latency_ns},
        ),
        (
            {"label": logits.argmax(1), "logits": logits},
            {
                "label": logits.argmax(1),
                "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), 10),
            },
        ),
    ]
    for mine, theirs in tables:
        path = tmp_path / "x.parquet"
        pq.write_table(pa.table(theirs), path, compression="zstd")
        assert len(packed(mine)) < 1.1 * path.stat().st_size


def test_what_else_a_file_holds_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"i": [1, 2]}).replace_schema_metadata({"who": "secret"})
    pq.write_table(table, path)
    path.write_bytes(repacked(path))
    assert b"secret" not in path.read_bytes()
    assert not pq.read_metadata(path).metadata


def test_a_disk_without_room_is_told_from_a_broken_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def gone(**_: str) -> Iterator[str]:
        yield str(tmp_path / "gone")

    monkeypatch.setattr(columnar.tempfile, "TemporaryDirectory", gone)
    for write in (lambda: repacked(file), lambda: packed(COLUMNS)):
        with pytest.raises(OSError, match="gone"):
            write()


def test_a_file_that_says_it_is_longer_is_broken(tmp_path: Path) -> None:
    """DuckDB's errors about these are of the kind of those about a full disk."""
    path = tmp_path / "x.parquet"
    whole = packed({"i": np.arange(300)})
    causes = set()
    for place in range(4, 20):  # where the first page tells its size
        path.write_bytes(whole[:place] + b"\xfe\xff\x7f" + whole[place + 3 :])
        with pytest.raises(Unreadable) as caught:
            repacked(path)
        causes.add(type(caught.value.__cause__))
    assert duckdb.IOException in causes


_INTERRUPTED = """
import os, signal, threading
from bench.store import columnar
with columnar._database(os.getpid()).cursor() as cursor:
    # A shell that starts a job in the background has it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        columnar._fetched(cursor, "SELECT sum(range) FROM range(9000000000000)")
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_a_read_can_be_interrupted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "interrupted\n", done.stderr


# -- names of files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder",
    [
        *("a*b", "**", "a?b", "a[b]c", "[!a]x", "a{b,c}", "b]", "key=value", "cell_id=7"),
        *("qu'o\"te", "back\\slash", "new\nline", "é", "s3:", "file:", "http:", "a%20b", "$x"),
        *("-x", " ", "x;y"),
    ],
)
def test_a_path_is_a_path_whatever_is_in_it(
    folder: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "odd" / folder
    place.mkdir(parents=True)
    (tmp_path / "odd" / "axb").mkdir()  # what a pattern would match as well
    (tmp_path / "odd" / "axb" / "x.parquet").write_bytes(packed({"wrong": np.arange(3)}))
    (place / "x.parquet").write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path / "odd")
    for path in (place / "x.parquet", Path(folder, "x.parquet")):
        assert list(read(path)) == list(COLUMNS)
        assert columnar.claims(path).columns == len(COLUMNS)
        assert len(repacked(path, columns=["bool"])) < len(file.read_bytes())


def test_what_is_no_readable_file_is_told(file: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "y.parquet").mkdir(parents=True)
    (tmp_path / "deep" / "y.parquet" / "x.parquet").write_bytes(file.read_bytes())
    with pytest.raises(Unreadable, match="it is not a file"):
        read(tmp_path / "deep" / "y.parquet")
    with pytest.raises(Unreadable, match="there is no such file"):
        read(tmp_path / "lost.parquet")
    with pytest.raises(Unreadable, match="it has no column lost"):
        read(file, ["int32", "lost"])
    strange = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.parquet")
    Path(strange).write_bytes(file.read_bytes())
    with pytest.raises(Unreadable, match="UTF-8"):
        read(Path(strange))


@pytest.mark.parametrize(
    "column",
    [pa.array([[[1]]]), pa.array([{"a": 1}]), pa.array([[1, None]]), pa.array([b"x"])],
    ids=["lists of lists", "structs", "lists with gaps", "bytes"],
)
def test_columns_that_no_run_has_are_refused(column: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x": column}), path)
    with pytest.raises(Unreadable, match="x"):
        read(path)


def test_a_column_whose_name_is_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"x\0y": [1]}), path)
    with pytest.raises(Unreadable, match="name is damaged"):
        read(path)


# -- broken files ---------------------------------------------------------------------------------

_READ_ALL = """
import sys
from pathlib import Path
from bench.worker import resident
import test_columnar
path = Path(sys.argv[1])
print(test_columnar.damaged(path, int(sys.argv[2])), flush=True)
print(resident.peak_rss_bytes() // 2**20)
"""
#: MB. An undamaged file of this size needs 110.
_MOST_MB = 400


def damaged(path: Path, times: int) -> dict[str, int]:
    """Reads a file with damage of each kind; how often that went well, and how often not."""
    whole = path.read_bytes()
    found = {"read": 0, "refused": 0}
    for seed in range(times):
        path.write_bytes(_damage(whole, random.Random(seed)))
        for use in (columnar.claims, columnar.text_bytes, read, repacked):
            try:
                use(path)
                found["read"] += 1
            except Unreadable:
                found["refused"] += 1
    return found


def _damage(whole: bytes, rng: random.Random) -> bytes:
    """Flipped bits anywhere, other bytes in the description at the end, a cut, or a patch."""
    data = bytearray(whole)
    end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.choice([1, 2, 16])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        for _ in range(rng.choice([1, 2, 4])):
            data[rng.randrange(end, len(data))] = rng.randrange(256)
    elif kind == 2:
        cut = bytes(data[: rng.randrange(len(data))])
        return cut + whole[end:] if rng.random() < 0.5 else cut
    else:
        start, size = rng.randrange(len(data)), rng.randrange(1, 64)
        data[start : start + size] = bytes([rng.choice([0, 127, 128, 255])]) * size
    return bytes(data)


def _survives(path: Path, times: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(path), str(times)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=30 + times,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    counts, most_mb = done.stdout.splitlines()
    assert min(eval(counts).values()) > times // 2, counts
    assert int(most_mb) < _MOST_MB


def test_a_damaged_file_is_refused_or_read_and_costs_nothing_else(file: Path) -> None:
    _survives(file, 40)


@pytest.mark.faults
@pytest.mark.parametrize("who", ["bench", "pyarrow"])
def test_thousands_of_damaged_files_are_refused_or_read(who: str, file: Path) -> None:
    if who == "pyarrow":
        pq.write_table(pq.read_table(file), file, compression="zstd", use_dictionary=["names"])
    _survives(file, 2000)


def test_after_a_broken_file_others_are_read(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(file.read_bytes()[:-100])
    for _ in range(3):
        with pytest.raises(Unreadable):
            read(broken)
        assert list(read(file)) == list(COLUMNS)
