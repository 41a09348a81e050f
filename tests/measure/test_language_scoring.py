"""Scoring language models: what is asked of a session, and what is made of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import bigrams
import numpy as np
import pytest
from bigram_cells import lines, planned

from bench.backend import ModelFile, Options, Session, TensorSpec
from bench.cards.language.tokens import Tokens
from bench.cards.tasks import find_task
from bench.errors import AccuracyFailed, SpecError
from bench.measure.language import questions, texts
from bench.measure.language.texts import Window, windows
from bench.measure.scoring import predictions
from bench.runtimes.processes import Launcher
from bench.worker import messages as m
from bench.worker.work import Work

TEXT = bigrams.genesis()
TASK = find_task("text-generation")
NOBODY = cast(Launcher, None)


class Bigrams:
    """A session whose next token depends on the last by a table, and notes what it was asked."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table
        self.asked: list[tuple[int, ...]] = []
        self.inputs: list[TensorSpec] = []
        self.outputs = [
            TensorSpec(name, "float32", (-1,))
            for name in ("present.0.key", "logits", "present.0.value")
        ]

    def run(self, feeds: Any) -> list[np.ndarray]:
        ids = feeds["input_ids"]
        past = feeds["past_key_values.0.key"]
        assert past.shape[2] == 0 or (past[0, 0, :, 0] == self.seen).all()
        self.asked.append(ids.shape)
        present = np.concatenate([past, ids[:, None, :, None].astype(np.float32)], axis=2)
        self.seen = present[0, 0, :, 0]
        return [present, self.table[ids], present]

    def close(self) -> None:
        pass


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bigrams:
    """The worker is this process, and the session one of bigrams learned from the first half."""
    ids = Tokens(bigrams.tokenizer(tmp_path / "any" / "tokenizer.json")).ids(TEXT[: len(TEXT) // 2])
    ids = np.concatenate([[bigrams.END], ids, [bigrams.END]])
    found = Bigrams(bigrams.table(ids))
    work = Work(cast(Any, None))
    work.session = cast(Session, found)

    class Here:
        def score_tokens(self, asked: m.ScoreTokens) -> m.TokenScores:
            return work.score_tokens(asked)

        def go_on(self, asked: m.GoOn) -> np.ndarray:
            return work.go_on(asked).tokens

    @contextmanager
    def loaded(*given: object, cpus: Sequence[int]) -> Iterator[tuple[Here, m.LoadedInfo]]:
        assert isinstance(given[3], ModelFile)
        options = given[4]
        assert isinstance(options, Options)
        assert options.threads == 3
        yield Here(), m.LoadedInfo(1, None, (), tuple(found.outputs))

    monkeypatch.setattr(texts, "loaded_worker", loaded)
    monkeypatch.setattr(questions, "loaded_worker", loaded)
    return found


# -- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride"), [(8, 4), (8, 8), (8, 1), (5, 3), (40, 20), (1, 1)])
def test_every_token_is_scored_once_with_as_many_before_it_as_the_window_allows(
    size: int, stride: int
) -> None:
    ids = np.arange(100, 130)
    seen: list[int] = []
    for number, window in enumerate(windows(ids, size, stride)):
        assert isinstance(window, Window)
        assert len(window.tokens) == len(window.targets) <= size
        for place, target in enumerate(window.targets):
            if target >= 0:
                assert window.tokens[place] == target - 1
                assert place + 1 >= (size - stride if number else 0) + 1
                seen.append(int(target))
    assert seen == list(range(101, 130))


def test_a_single_token_has_no_window() -> None:
    assert list(windows(np.array([7]), 8, 4)) == []


# -- texts ----------------------------------------------------------------------------------------


def held_out() -> list[str]:
    half = len(TEXT) // 2
    return [TEXT[start : start + 150] for start in range(half, len(TEXT), 150)]


def test_bits_per_byte_are_those_of_the_formula(session: Bigrams, tmp_path: Path) -> None:
    rows = [{"text": text, "document": f"d{n}"} for n, text in enumerate(held_out())]
    columns = predictions(planned(tmp_path, lines(*rows), window=64), NOBODY)
    log_p = np.concatenate(
        [
            session.table[[bigrams.END, *_ids(text)[:-1]], _ids(text)].astype(np.float64)
            for text in held_out()
        ]
    )
    expected = -log_p.sum() / np.log(2) / sum(len(t.encode()) for t in held_out())
    scores = {score.metric.name: score for score in TASK.scores(columns, 0.95)}
    assert scores["bits per byte"].value.estimate == pytest.approx(expected, rel=1e-5)
    assert scores["perplexity"].value.estimate == pytest.approx(np.exp(-log_p.mean()), rel=1e-5)
    assert scores["bits per byte"].examples == len(held_out())
    assert scores["bits per byte"].metric.better == "lower"
    assert (columns["predicted"] >= 0).all()
    # One shape for every call, of full windows.
    assert len(set(session.asked)) == 1
    assert session.asked[0][1] == 64


def _ids(text: str) -> np.ndarray:
    alphabet = bigrams_alphabet()
    return np.array([alphabet[byte] for byte in text.encode()])


def bigrams_alphabet() -> dict[int, int]:
    """The id of each byte: ids follow the characters that byte-level tokenizers write for them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    return {byte: n for n, byte in enumerate(sorted(characters, key=characters.__getitem__))}


def test_without_a_beginning_the_first_token_costs_what_a_blind_guess_does(
    session: Bigrams, tmp_path: Path
) -> None:
    data = lines({"text": "In the beginning"}, {"text": "G"})
    columns = predictions(planned(tmp_path, data, end=False), NOBODY)
    first = [0, len("In the beginning")]
    assert (columns["predicted"][first] == -1).all()
    np.testing.assert_allclose(columns["log_p"][first], -np.log(257), rtol=1e-6)
    assert (columns["top_ids"][first] == -1).all()
    assert columns["bytes"].sum() == len("In the beginningG")
    assert (columns["predicted"] >= 0).sum() == len("In the beginning") - 1


def test_every_byte_is_some_tokens(tmp_path: Path) -> None:
    tokens = Tokens(bigrams.tokenizer(tmp_path / "tokenizer.json", merges=60))
    for text in ("God said: é — 神 🙂!", TEXT[:300], "x"):
        found = tokens.encoded(text)
        assert found.bytes.sum() == len(text.encode())
        assert (found.bytes >= 0).all()
        assert (found.ids == tokens.ids(text)).all()
    assert len(tokens.ids(TEXT)) < len(TEXT.encode()) * 0.8


def test_distributions_are_kept_of_some_tokens_only(
    session: Bigrams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "KEPT_DISTRIBUTIONS", 100)
    columns = predictions(planned(tmp_path, TEXT[:350]), NOBODY)
    kept = columns["top_ids"][:, 0] >= 0
    assert 80 <= kept.sum() <= 100
    assert (columns["log_p"] < 0).all()
    np.testing.assert_array_equal(columns["top_ids"][kept, 0], columns["predicted"][kept])
    everything = np.exp(columns["top_log_p"][kept]).sum(axis=1) + np.exp(
        columns["tail_log_p"][kept]
    )
    np.testing.assert_allclose(everything, 1, atol=1e-5)


# -- questions and answers ------------------------------------------------------------------------


def test_a_choice_has_the_probability_of_its_tokens_after_the_context(
    session: Bigrams, tmp_path: Path
) -> None:
    data = lines(
        {"context": "God said", "choices": ["Let", "zq"], "answer": 0},
        {"query": "And the ", "choices": ["earth", "xxxx"], "gold": 1, "document": "a"},
    )
    columns = predictions(planned(tmp_path, data), NOBODY)

    def of(before: str, choice: str) -> float:
        ids = _ids(before + choice)
        seen = len(_ids(before))
        return float(session.table[ids[seen - 1 : -1], ids[seen:]].sum())

    expected = [
        of("God said", " Let"),
        of("God said", " zq"),
        of("And the", " earth"),
        of("And the", " xxxx"),
    ]
    np.testing.assert_allclose(columns["log_p"], expected, rtol=1e-5)
    assert columns["bytes"].tolist() == [3, 2, 5, 4]
    assert columns["gold"].tolist() == [True, False, False, True]
    scores = {s.metric.name: s.value.estimate for s in TASK.scores(columns, 0.95)}
    assert scores == {"acc_norm": 0.5, "acc": 0.5}


def test_an_answer_is_the_likeliest_text_up_to_the_end_of_the_line(
    session: Bigrams, tmp_path: Path
) -> None:
    session.table = np.full((257, 257), -9.0, np.float32)
    for one, after in zip("Q: abc", "Q: abc\n"[1:], strict=True):
        session.table[_ids(one)[0], _ids(after)[0]] = 0
    session.table[_ids("z")[0], bigrams.END] = 0
    session.table[_ids("y")[0], _ids("y")[0]] = 0
    data = lines(
        {"prompt": "Q:", "answer": "abc"},
        {"question": "a", "answer": ["x", "bc "]},
        {"prompt": "z", "answer": "other"},
        {"prompt": "y", "answer": "yyyyy"},
    )
    columns = predictions(planned(tmp_path, data, max_tokens=5), NOBODY)
    assert columns["right"].tolist() == [True, True, False, True]
    assert columns["tokens"].tolist() == [5, 3, 1, 5]
    (score,) = TASK.scores(columns, 0.95)
    assert (score.metric.name, score.correct) == ("exact match", 3)
    # The prompt at once, then a token at a time.
    assert session.asked[:3] == [(1, 3), (1, 1), (1, 1)]


def test_what_a_token_holds_behind_the_end_of_a_line_is_no_part_of_the_answer(
    session: Bigrams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def text(tokens: Tokens, ids: np.ndarray) -> str:
        assert len(ids)
        return " abc\nmore"

    monkeypatch.setattr(Tokens, "text", text)
    data = lines({"prompt": "a", "answer": "abc"}, {"prompt": "a", "answer": "abc\nmore"})
    assert predictions(planned(tmp_path, data), NOBODY)["right"].tolist() == [True, False]


# -- what is wrong with the input -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "given", "words"),
    [
        (TEXT, {"tokenizer": False}, "no tokenizer.json, so it can't be scored on text"),
        (
            TEXT,
            {"vocabulary": 90},
            "but the model's vocabulary is 90. The tokenizer belongs to another model",
        ),
        ("G", {"end": False}, "single token each, so there is nothing to predict"),
        ("G", {}, "single token each"),
        (
            lines({"prompt": "a", "answer": "b"}),
            {"context": 40},
            "line 1: it needs 66 tokens, but the context holds 40",
        ),
        (
            lines({"context": "a" * 60, "choices": ["b", "c"], "answer": 0}),
            {"context": 40},
            "line 1: it needs 62 tokens, but the context holds 40",
        ),
        (TEXT, {"window": 400, "context": 40}, "`dataset.window` is 400 tokens"),
    ],
)
def test_what_cannot_be_scored_is_said(
    session: Bigrams, tmp_path: Path, data: str, given: dict[str, Any], words: str
) -> None:
    context = given.pop("context", None)
    asked = planned(tmp_path, data, **given)
    if context is not None:
        decoder = asked.model.decoder
        assert decoder is not None
        asked = replace(asked, model=replace(asked.model, decoder=replace(decoder, context=40)))
    with pytest.raises(AccuracyFailed, match=words):
        predictions(asked, NOBODY)


def test_an_impossible_token_is_no_score(session: Bigrams, tmp_path: Path) -> None:
    session.table[:, _ids("e")[0]] = -np.inf
    with pytest.raises(AccuracyFailed, match="probability 0"):
        predictions(planned(tmp_path, TEXT[:200]), NOBODY)


def test_a_stride_beyond_the_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="`stride` can't be larger"):
        planned(tmp_path, TEXT[:200], window=8, stride=9)
