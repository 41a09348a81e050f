"""`bench run` on a small decoder that answers whole queries: a batch together, and under load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.contract.decoders import write_decoder
from bench.store.derive import derived
from bench.store.run import StoredRun, read_run

PROMPT, ANSWER, BATCH = 6, 5, 3


def ran(bench: Any, folder: Path, *arguments: str) -> tuple[Any, StoredRun]:
    write_decoder(folder)
    result = bench(
        *("run", "-m", str(folder / "decoder.onnx"), "-t", "onnxruntime:cpu", "--threads", "1"),
        *("--prompt", str(PROMPT), "--answer", str(ANSWER), "--no-accuracy", *arguments),
        *("--precision", "50%", "--min-invocations", "2", "--max-time", "1"),
    )
    (path,) = (folder / "results" / "runs").iterdir()
    return result, read_run(path)


def test_a_batch_is_answered_together_and_a_bound_that_cannot_hold_fails_its_row(
    bench: Any, tmp_path: Path
) -> None:
    result, run = ran(
        bench,
        tmp_path,
        *("--scenario", "offline", "--batch", str(BATCH)),
        *("--scenario", "server", "--ttft-bound", "10s", "--tpot-bound", "1us"),
    )
    assert result.returncode == 1, result.stdout + result.stderr
    offline, server = run.records
    assert offline.cell.scenario == f"offline@{PROMPT}+{ANSWER}"
    assert offline.parity is not None
    assert offline.parity.ok, "the last step's logits are the reference's behind the same tokens"
    assert offline.parity.samples == BATCH
    queries, throughput = offline.queries, offline.throughput
    assert queries is not None
    assert throughput is not None
    assert queries.prompt_per_s is not None
    assert queries.new_per_s is not None
    # Both parts of a query are faster alone than the whole in which they come one after the other.
    assert queries.prompt_per_s.value > throughput.value * PROMPT
    assert queries.new_per_s.value > throughput.value * (ANSWER - 1)
    assert server.failure is not None
    assert "a TPOT bound of 1.00 µs does not hold at any rate" in server.failure.message
    assert "generated tokens/s over whole queries" in " ".join(result.stdout.split())
    assert derived(run).run.records == run.records


@pytest.mark.long
@pytest.mark.alone
def test_the_rate_that_keeps_to_both_bounds_is_found(bench: Any, tmp_path: Path) -> None:
    result, run = ran(
        bench, tmp_path, "--scenario", "server", "--ttft-bound", "200ms", "--tpot-bound", "50ms"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (record,) = run.records
    assert record.throughput is not None
    assert record.queries is not None
    assert record.queries.bounds == "met"
    assert "both bounds are met" in " ".join(result.stdout.split())
    assert derived(run).run.records == run.records
