"""``bench results import FILE...``: the results of another tool as a run, marked foreign."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

FORMATS = (
    "pytest-benchmark",
    "benchmark_app",
    "llama-bench",
    "onnxruntime_perf_test",
    "lm-evaluation-harness",
)


@click.command(name="import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format", "name", type=click.Choice(FORMATS), help="Format of the files; default: guessed."
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results/runs"),
    show_default=True,
    help="Folder for the new runs.",
)
def command(files: tuple[Path, ...], name: str | None, results: Path) -> None:
    """Read results of other benchmark tools; each FILE becomes its own run.

    \b
    pytest-benchmark        --benchmark-json, --benchmark-save
    benchmark_app           -report_type no_counters -report_folder D [-json_stats]
    llama-bench             -o json, -o jsonl
    onnxruntime_perf_test   its result file, or its profile (-p)
    lm-evaluation-harness   --output_path, --log_samples

    Their records are marked foreign: they have no intervals and none of bench's checks.
    """
    from bench.store.interchange.foreign import read_foreign, store  # numpy: start-up
    from bench.store.interchange.formats import READERS

    found = [read_foreign(path, READERS, name) for path in files]
    for path, run in zip(files, found, strict=True):
        written = store(run, results, shlex.join(["bench", *sys.argv[1:]]))
        count = len(run.results)
        click.echo(f"{path}: {count} {_plural(count)} of {run.tool} written to {written}")


def _plural(count: int) -> str:
    return "result" if count == 1 else "results"
