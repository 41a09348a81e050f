"""`bench run --scenario generate`: whole queries of a small decoder, through real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contract.decoders import VOCABULARY, write_decoder
from bench.store.derive import derived
from bench.store.run import read_run

PROMPT, ANSWER = 6, 5


def write_tokenizer(folder: Path) -> None:
    tokenizers: Any = pytest.importorskip("tokenizers")
    words = {"God": 0, "created": 1, "the": 2, "heaven": 3, "and": 4, "of": 5, "earth": 6}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words | {"?": VOCABULARY - 1}, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))


def test_whole_queries_are_timed_token_by_token(bench: Any, tmp_path: Path) -> None:
    write_decoder(tmp_path)
    write_tokenizer(tmp_path)
    result = bench(
        *("run", "-m", str(tmp_path / "decoder.onnx"), "-t", "onnxruntime:cpu"),
        *("--scenario", f"generate@{PROMPT}+{ANSWER}", "--threads", "1", "--no-accuracy"),
        *("--precision", "50%", "--min-invocations", "2", "--max-time", "1"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for word in ("TTFT", "TPOT", "ITL", "tokenising"):
        assert word in result.stdout
    (path,) = (tmp_path / "results" / "runs").iterdir()
    run = read_run(path)
    (record,) = run.records
    assert record.parity is not None
    assert record.parity.ok, "the last step's logits are the reference's behind the same tokens"
    queries = record.queries
    assert queries is not None
    assert (queries.prompt_tokens, queries.new_tokens) == (PROMPT, ANSWER)
    assert queries.tpot is not None
    assert queries.itl is not None
    assert queries.ttft_request_ns is not None
    assert queries.ttft_request_ns.value > queries.ttft.median_ns.value
    samples, first = run.samples(record.cell_id), run.ttft_samples(record.cell_id)
    for index, gaps_ns in run.gap_samples(record.cell_id).items():
        assert gaps_ns.shape == (len(samples[index]), ANSWER - 1)
        assert (first[index] + gaps_ns.sum(axis=1) <= samples[index]).all()
        # What is behind the last token is a line of Python.
        spent = (first[index] + gaps_ns.sum(axis=1)) / samples[index]
        assert np.median(spent) > 0.8
    assert derived(run).run.records == run.records
