"""bench/worker/speculation.py: drafts change no token, whatever is rejected and wherever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compressing_decoder import (
    COMPRESSING,
    GROUP,
    GROWING,
    right_compressing,
    write_compressing,
    write_growing,
)

from bench.backend import Device, ModelFile, Options
from bench.decoding import Decoder
from bench.discover import load_backend
from bench.errors import AccuracyFailed, Unsupported
from bench.stats.speculation import checks, walk
from bench.worker.speculation import alone, read, speculate

MOST = 41
WRITTEN = {"compressing": (write_compressing, COMPRESSING), "growing": (write_growing, GROWING)}
PROMPT = np.random.default_rng(4).integers(0, 11, 2 * GROUP + 1)


class Seen:
    """A stream, with the number of tokens of each step behind its prompt."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.sizes: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def reset(self) -> None:
        self.sizes = []
        self._stream.reset()

    def step(self, tokens: np.ndarray) -> np.ndarray:
        if self._stream.position:
            self.sizes.append(tokens.shape[1])
        return np.asarray(self._stream.step(tokens))

    def step_each(self, tokens: np.ndarray) -> np.ndarray:
        self.sizes.append(tokens.shape[1])
        return np.asarray(self._stream.step_each(tokens))

    # A protocol is kept by having its members in the class.
    cuts = property(lambda self: self._stream.cuts)
    keep = put_back = cut = None


for _name in ("keep", "put_back", "cut"):
    setattr(Seen, _name, lambda self, *given, name=_name: getattr(self._stream, name)(*given))


@pytest.fixture(scope="module", params=list(WRITTEN))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An original whose state can't be cut, or can, and a draft that often says the same."""
    write, decoder = WRITTEN[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return (
        Seen(stream_of(write(folder / "original.onnx"), decoder)),
        stream_of(write(folder / "draft.onnx", scale=0.9), decoder),
    )


def stream_of(path: Path, decoder: Decoder) -> Any:
    pytest.importorskip("onnxruntime")
    backend = load_backend("onnxruntime")()
    session = backend.compile(
        ModelFile("made", path), Device("cpu", "", "a CPU"), Options(threads=1)
    )
    return session.decoding(decoder, 1, 64)


@pytest.mark.parametrize("length", [1, 2, 3, 8])
def test_no_token_is_another_one_wherever_a_draft_is_rejected(pair: Any, length: int) -> None:
    """Prompts of every length up to two groups, so that drafts end before, on and behind the end of
    a window and of a group."""
    original, draft = pair
    rejected_at = set()
    for count in range(1, len(PROMPT) + 1):
        prompt = PROMPT[:count]
        right = alone(original, prompt, MOST)
        text = np.append(prompt, right.tokens)[np.newaxis]
        assert right_compressing(text)[0, count - 1 : -1].argmax(-1).tolist() == right.tokens
        said = speculate(original, draft, prompt, MOST, length)
        assert said.tokens == right.tokens
        place = count + 1
        for drafted, accepted in zip(said.drafted, said.accepted, strict=True):
            place += accepted + 1
            if accepted < drafted:
                rejected_at.add(place % GROUP)
    assert rejected_at == set(range(GROUP))


@pytest.mark.parametrize("length", [1, 2, 4, 8])
def test_the_iterations_are_those_that_are_foretold_from_what_the_draft_puts_first(
    pair: Any, length: int
) -> None:
    original, draft = pair
    right = alone(original, PROMPT, MOST)
    agreed = read(draft, PROMPT, np.array(right.tokens[:-1]), 1).predicted == right.tokens[1:]
    said = speculate(original, draft, PROMPT, MOST, length)
    walked = walk(agreed, length)
    assert walked.drafted.tolist() == said.drafted
    assert walked.accepted.tolist() == said.accepted
    assert original.sizes == checks(walked, length, cuts=original.cuts).tolist()


def test_a_text_that_is_read_at_once_says_what_one_that_is_read_token_by_token_does(
    pair: Any,
) -> None:
    original, _ = pair
    text = np.array(alone(original, PROMPT, MOST).tokens)
    one_by_one = read(original, PROMPT, text, 1)
    assert len(one_by_one.step_ns) == MOST
    for at_once in (2, 5, 9):
        found = read(original, PROMPT, text, at_once)
        assert len(found.step_ns) == MOST // at_once
        assert (found.predicted == one_by_one.predicted[: len(found.predicted)]).all()


class Scripted:
    """A stream on a clock that its own steps advance."""

    cuts = True
    vocabulary = 7

    def __init__(self, ns: int, made: list[int]) -> None:
        self.ns, self.made, self.position = ns, made, 0

    def reset(self) -> None:
        self.position = 0

    def step(self, tokens: np.ndarray) -> np.ndarray:
        return self.step_each(tokens)[:, -1]

    def step_each(self, tokens: np.ndarray) -> np.ndarray:
        begin = self.position
        self.position += tokens.shape[1]
        NOW[0] += self.ns * tokens.shape[1]
        chosen = self.made[begin : self.position]
        return np.eye(self.vocabulary, dtype=np.float32)[chosen][np.newaxis]

    def keep(self) -> object:
        return self.position

    def put_back(self, kept: int) -> None:
        self.position = kept

    def cut(self, position: int) -> None:
        assert position < self.position
        self.position = position


NOW = [0]


def test_the_time_of_the_prompt_is_both_models_and_apart_from_the_rest() -> None:
    original, draft = Scripted(100, [1, 2, 3, 4, 5, 6]), Scripted(1, [1, 2, 3, 0, 5, 6])
    said = speculate(original, draft, np.array([0, 1]), 5, 2, lambda: NOW[0])
    assert said.tokens == [2, 3, 4, 5, 6]
    assert (said.drafted, said.accepted) == ([2, 1], [1, 1])
    assert said.prompt_ns == 202
    # Two tokens of the draft, three of the original; then one, and two.
    assert said.rest_ns == 2 + 300 + 1 + 200
    whole = alone(original, np.array([0, 1]), 5, lambda: NOW[0])
    assert (whole.tokens, whole.prompt_ns, whole.rest_ns) == (said.tokens, 200, 400)


def test_a_near_tie_is_told_by_its_margin() -> None:
    class Tied(Scripted):
        def step_each(self, tokens: np.ndarray) -> np.ndarray:
            logits = 4 * super().step_each(tokens)
            logits[..., 6] = 3
            return logits

    said = alone(Tied(1, [1, 2, 3]), np.array([0]), 3, lambda: NOW[0])
    assert said.margins == [0.25] * 3


def test_what_can_not_be_drafted_for_says_so() -> None:
    class Plain:
        position = 0
        reset = step = None

    with pytest.raises(Unsupported, match="can't be undone"):
        speculate(Plain(), Scripted(1, []), np.array([1]), 3, 2)  # type: ignore[arg-type]

    class Nothing(Scripted):
        def step(self, tokens: np.ndarray) -> np.ndarray:
            return np.full((1, 7), np.nan, np.float32)

    with pytest.raises(AccuracyFailed, match="NaN"):
        alone(Nothing(1, []), np.array([1]), 2)
