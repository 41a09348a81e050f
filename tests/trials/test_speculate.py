"""bench/trials/speculate.py: figures from answers, and words; and a real loop through processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from compressing_decoder import write_compressing, write_growing
from rich.cells import cell_len

from bench.decoding import Decoder
from bench.errors import SpecError
from bench.stats.speculation import checks, walk
from bench.trials.speculate import (
    Answers,
    Asked,
    check_answer,
    check_vocabularies,
    found_in,
    known_sizes,
)
from bench.trials.speculate_report import speculation_rows, speculation_text
from bench.worker.messages import Speculated, TextRead

MOST, LENGTHS, PROMPTS = 41, (1, 4), 6
ASKED = Asked(np.zeros((PROMPTS, 3), np.int64), MOST, LENGTHS, turns=2, seed=0)
#: ns of a step of so many tokens, and of the draft's
ONE, MORE, DRAFT = 1000.0, 50.0, 100.0


def answers(seed: int, *, cuts: bool = True, slower: float = 1.0) -> Answers:
    """Of a loop that takes just what its steps do, times ``slower``."""
    rng = np.random.default_rng(seed)
    text = rng.integers(0, 9, MOST)
    agreed = rng.random(MOST - 1) < 0.7
    foreseen = np.where(agreed, text[1:], 9)

    def made(length: int) -> Speculated:
        walked = walk(agreed, length)
        sizes = checks(walked, length, cuts=cuts)
        ns = (ONE + MORE * (sizes - 1)).sum() + DRAFT * walked.drafted.sum()
        return Speculated(
            text, 500, int(ns * slower), walked.drafted, walked.accepted, np.empty(0), cuts
        )

    none = np.empty(0, np.int64)
    alone = Speculated(text, 400, int(ONE * (MOST - 1)), none, none, np.full(MOST, 0.5), cuts)
    read = {
        size: TextRead(
            text[1:], np.full((MOST - 1) // size, int(ONE + MORE * (size - 1)), np.int64)
        )
        for size in known_sizes(ASKED, cuts=cuts)
    }
    said = {0: alone, **{length: made(length) for length in LENGTHS}}
    return Answers(said, TextRead(foreseen, np.full(MOST - 1, int(DRAFT), np.int64)), read)


@pytest.mark.parametrize("cuts", [True, False])
def test_a_loop_that_takes_what_its_steps_take_is_foretold(cuts: bool) -> None:
    turn = [answers(seed, cuts=cuts) for seed in range(PROMPTS)]
    found = found_in("here:cpu", ASKED, [turn, turn])
    assert found.cuts == cuts
    assert found.draft_step is not None
    assert found.draft_step.estimate == pytest.approx(DRAFT / ONE)
    assert found.checks[5].estimate == pytest.approx(1.2)
    for at in found.at:
        assert at.measured.estimate == pytest.approx(at.predicted.estimate, rel=1e-3)
        assert at.fit.estimate == pytest.approx(1, rel=1e-3)
        assert at.measured.low < at.measured.estimate < at.measured.high
        assert at.whole.estimate < at.measured.estimate, "the draft reads the prompt, too"
    assert found.splits == ()
    assert found.answers == 2 * PROMPTS * len(LENGTHS)


def test_the_best_of_several_lengths_is_sure_only_where_all_intervals_hold_together() -> None:
    turn = [answers(seed) for seed in range(PROMPTS)]
    (alone,) = found_in("here:cpu", replace(ASKED, lengths=(1,)), [turn]).at
    both = found_in("here:cpu", ASKED, [turn]).at
    assert alone.measured.confidence == 0.95
    for name in ("measured", "predicted", "whole", "fit"):
        assert getattr(both[0], name).confidence == pytest.approx(0.975)
    assert both[0].measured.low < alone.measured.low


def test_a_loop_that_takes_longer_is_told_of() -> None:
    turn = [answers(seed, slower=1.5) for seed in range(PROMPTS)]
    found = found_in("here:cpu", ASKED, [turn])
    text = " ".join(speculation_text([found], "large", "small").plain.split())
    assert "The prediction differs from the measurement" in text
    assert "speed-up is 0.667x (0.66" in text
    fine = found_in("here:cpu", ASKED, [[answers(seed) for seed in range(PROMPTS)]])
    assert "within 10%" in speculation_text([fine], "large", "small").plain


@pytest.mark.parametrize(("margin", "words"), [(1e-6, "near tie"), (0.01, "NOT lossless")])
def test_another_answer_is_a_tie_or_a_fault(margin: float, words: str) -> None:
    turn = [answers(seed) for seed in range(PROMPTS)]
    said = turn[2].said
    tokens = said[4].tokens.copy()
    tokens[7] += 1
    margins = np.where(np.arange(MOST) == 7, margin, 0.5)
    changed = {**said, 0: replace(said[0], margins=margins), 4: replace(said[4], tokens=tokens)}
    turn[2] = replace(turn[2], said=changed)
    found = found_in("here:cpu", ASKED, [turn])
    (split,) = found.splits
    assert (split.length, split.prompt, split.token) == (4, 2, 7)
    assert bool(found.wrong) == (margin > 1e-3)
    drawn = speculation_text([found], "large", "small").plain
    assert words in " ".join(drawn.split())
    assert max(map(cell_len, drawn.splitlines())) <= 80
    row = speculation_rows(found)
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_answers_have_room_for_the_longest_step() -> None:
    check_answer(19, (1, 8))
    with pytest.raises(SpecError, match="19 or more"):
        check_answer(18, (1, 8))


def test_other_vocabularies_are_refused() -> None:
    def planned(name: str, vocabulary: int | None) -> Any:
        decoder = None if vocabulary is None else Decoder("X", vocabulary, (), {})
        file = SimpleNamespace(torch=None, onnx=None)
        card = SimpleNamespace(name=name)
        return SimpleNamespace(model=SimpleNamespace(card=card, decoder=decoder, file=file))

    check_vocabularies(planned("a", 9), planned("b", 9))
    with pytest.raises(SpecError, match="9 and 10 tokens"):
        check_vocabularies(planned("a", 9), planned("b", 10))
    with pytest.raises(SpecError, match="token cache"):
        check_vocabularies(planned("a", 9), planned("b", None))


@pytest.mark.parametrize(
    "write", [pytest.param(write_compressing, marks=pytest.mark.long), write_growing]
)
def test_a_real_loop_is_lossless_whether_its_state_can_be_cut_or_not(
    bench: Any, tmp_path: Path, write: Any
) -> None:
    pytest.importorskip("onnxruntime")
    for name, scale in (("large", 1.0), ("small", 0.9)):
        write(tmp_path / f"{name}.onnx", scale)
    pair = (str(tmp_path / "large.onnx"), "--draft", str(tmp_path / "small.onnx"))
    done = bench(
        *("model", "speculate", *pair),
        *("-t", "onnxruntime:cpu", "--threads", "1", "--length", "1,3", "--prompts", "3"),
        *("--prompt", "5", "--answer", "24", "--turns", "1", "--json"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["original"], found["draft"]) == ("large", "small")
    (row,) = found["targets"]
    assert row["failure"] == ""
    assert row["splits"] == []
    assert row["answers"] == 6
    assert row["cuts"] == (write is write_growing)
    assert [at["length"] for at in row["lengths"]] == [1, 3]
    assert all(0 < at["accepted"] < 1 for at in row["lengths"])
    refused = bench(
        *("model", "speculate", *pair),
        *("-t", "openvino:cpu", "--threads", "1", "--length", "1", "--prompts", "2"),
        *("--prompt", "5", "--answer", "8", "--turns", "1"),
    )
    assert refused.returncode in (1, 2)
    if "can't be undone" not in refused.stdout + refused.stderr:
        assert "openvino" in refused.stderr, "where it isn't installed"
