"""What reading results costs, over plain pandas and pyarrow doing the same read in the same run.

``python tests/benchmarks/results.py`` makes two synthetic runs in a temporary folder (10,000
records and a million samples in all; ``--full`` makes ten times that), then reads them in turn with
`bench` and with the libraries alone. Only ratios are printed; the aim is at most 2. Then each
command reads them in a process of its own, as users start it: its time over that of `bench.load`,
for which the aim of ``show`` is at most 3, and its peak of memory, below 1 GB at ``--full``.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet

sys.path.insert(0, str(Path(__file__).parents[1]))
from compared_runs import a_header  # type: ignore[import-not-found]
from fake_records import TEACHER, a_cell, a_record  # type: ignore[import-not-found]

from bench import load
from bench.record.block import Block
from bench.record.result import Record
from bench.store.write import RunStore

CALLS = 20
INVOCATIONS = 5
CELLS_A_GENERATION = 500


def make_run(results: Path, cells: int, seed: int) -> Path:
    """A run of so many cells, five invocations of 20 calls each."""
    rng = np.random.default_rng(seed)
    records = [_record(number, rng) for number in range(cells)]
    store = RunStore.create(results, a_header([r.cell for r in records], command=str(seed)))
    lines = b"".join(r.model_dump_json().encode() + b"\n" for r in records)
    (store.path / "records.jsonl").write_bytes(lines)
    invocations = [i for r in records for i in r.invocations]
    lines = b"".join(i.model_dump_json().encode() + b"\n" for i in invocations)
    (store.path / "invocations.jsonl").write_bytes(lines)
    for start in range(0, cells, CELLS_A_GENERATION):
        part = records[start : start + CELLS_A_GENERATION]
        blocks = [
            Block(r.cell_id, i.index, 0, place, _samples(i.median_ns, rng))
            for place, r in enumerate(part)
            for i in r.invocations
        ]
        store.write_samples(f"g{start:06}", blocks)
    store.close()
    return store.path


def _record(number: int, rng: np.random.Generator) -> Record:
    model = TEACHER.model_copy(update={"name": f"model-{number // 20}"})
    cell = a_cell(model, target=f"onnxruntime:cpu?x={number % 20}")
    median_ns = float(rng.uniform(2e5, 3e5))
    record = a_record(cell, median_ns, None)
    noisy = [
        i.model_copy(update={"median_ns": i.median_ns * float(rng.lognormal(0, 0.02))})
        for i in record.invocations
    ]
    return record.model_copy(update={"invocations": tuple(noisy)})


def _samples(median_ns: float, rng: np.random.Generator) -> np.ndarray:
    return (median_ns * rng.lognormal(0, 0.05, CALLS)).astype(np.int64)


# -- what is timed --------------------------------------------------------------------------------


def pandas_records(runs: list[Path]) -> object:
    found = [pandas.read_json(run / "records.jsonl", lines=True) for run in runs]
    return pandas.concat(found)


def arrow_records(runs: list[Path]) -> object:
    found = [pj.read_json(run / "records.jsonl") for run in runs]
    return pa.concat_tables(found, promote_options="permissive").to_pandas()


def arrow_samples(runs: list[Path]) -> object:
    return pandas.concat([pandas.read_parquet(run / "samples") for run in runs])


def bench_records(runs: list[Path]) -> object:
    return load(runs)


def bench_samples(runs: list[Path]) -> object:
    return load(runs, "samples")


def bench_compare(runs: list[Path]) -> object:
    """The whole command but for starting Python: tables drawn at 80 columns."""
    from bench.commands.compare import command

    with contextlib.redirect_stdout(io.StringIO()) as shown:
        command.main([str(run) for run in runs], standalone_mode=False)
    return shown.getvalue()


PAIRS: tuple[tuple[str, Callable[[list[Path]], object], Callable[[list[Path]], object]], ...] = (
    ("load records / pandas.read_json", bench_records, pandas_records),
    ("load records / pyarrow.json to pandas", bench_records, arrow_records),
    ("load samples / pandas.read_parquet", bench_samples, arrow_samples),
    ("compare / pandas.read_json", bench_compare, pandas_records),
    ("compare / pyarrow.json", bench_compare, arrow_records),
)


def seconds(action: Callable[[list[Path]], object], runs: list[Path]) -> float:
    gc.collect()
    start = time.perf_counter()
    action(runs)
    return time.perf_counter() - start


def _in_turn(
    ours: Callable[[list[Path]], object],
    plain: Callable[[list[Path]], object],
    runs: list[Path],
    turn: int,
) -> tuple[float, float]:
    """Seconds of both, and who goes first alternates."""
    if turn % 2:
        return seconds(ours, runs), seconds(plain, runs)
    theirs = seconds(plain, runs)
    return seconds(ours, runs), theirs


# -- each in a process of its own -----------------------------------------------------------------

#: What is read, and by which words of the command line; `load` has none.
COMMANDS: dict[str, Callable[[list[str]], list[str]]] = {
    "load": lambda runs: [],
    "show": lambda runs: ["show", *runs],
    "show --json": lambda runs: ["show", "--json", *runs],
    "compare": lambda runs: ["compare", *runs],
    "gate": lambda runs: ["gate", runs[1], "--baseline", runs[0]],
    "history": lambda runs: ["show", "--history", *runs],
    "deal": lambda runs: ["show", "--deal", runs[0]],
    "report": lambda runs: ["report", *runs, "-o", f"{runs[0]}.html"],
}


def alone(name: str, runs: list[Path]) -> tuple[float, float]:
    """Seconds and the peak in MB of a process that does nothing else."""
    words = [sys.executable, __file__, "--alone", name, *map(str, runs)]
    start = time.perf_counter()
    told = subprocess.run(words, check=True, capture_output=True, text=True).stderr
    return time.perf_counter() - start, float(told.split()[-1])


def _alone(name: str, runs: list[str]) -> None:
    from bench.__main__ import main as bench_main

    if name == "load":
        load(runs)
    else:
        bench_main(COMMANDS[name](runs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, file=sys.stderr)


def print_alone(runs: list[Path]) -> None:
    of_load, _ = base = alone("load", runs)
    for name in COMMANDS:
        seconds_taken, peak = base if name == "load" else alone(name, runs)
        print(f"{name}: {seconds_taken / of_load:.2f}x of load, {peak:.0f} MB at most", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="100,000 records, 10 million samples")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        _alone(arguments.alone[0], arguments.alone[1:])
        return
    cells = 50_000 if arguments.full else 5_000
    with tempfile.TemporaryDirectory() as folder:
        runs = [make_run(Path(folder), cells, seed) for seed in (1, 2)]
        samples = 2 * cells * INVOCATIONS * CALLS
        size = sum(f.stat().st_size for run in runs for f in run.rglob("*") if f.is_file())
        print(f"{2 * cells} records, {samples} samples, {size / 2**20:.0f} MiB")
        for name, ours, plain in PAIRS:
            both = [_in_turn(ours, plain, runs, turn) for turn in range(arguments.rounds)]
            ratios = sorted(mine / theirs for mine, theirs in both)
            print(
                f"{name}: {statistics.median(ratios):.2f}x "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f}; ours {min(b[0] for b in both):.1f} s)",
                flush=True,
            )
        print_alone(runs)


if __name__ == "__main__":
    main()
