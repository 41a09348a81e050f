"""What language models are timed on: a prompt after nothing, or one token after others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.inputs import input_digest
from bench.cards.language.prompts import first_past, prompt_tokens, step_feeds
from bench.cards.language.tokens import TOKENIZER
from bench.cards.ready import Loaded
from bench.errors import BenchError, Unsupported
from bench.scenarios import Scenario


@dataclass(frozen=True)
class Step:
    """One timed step: its inputs, and the prompt that has to be in the cache before it."""

    feeds: dict[str, Array]
    prompt: Array | None
    sha256: str


def refusal(model: Loaded, scenario: Scenario) -> BenchError | None:
    """Why a scenario can't be asked of a model."""
    name = model.card.name
    if model.decoder is None:
        if scenario.counts:
            return Unsupported(
                f"{name} keeps no cache of tokens, which {scenario.name} is about. Use "
                "--scenario single-stream."
            )
        return None
    if not scenario.counts:
        return Unsupported(
            f"{name} generates text, and {scenario.name} knows no cache, so its figure would mean "
            "nothing. Use --scenario prefill or --scenario decode."
        )
    context = model.decoder.context
    if context is not None and scenario.tokens > context:
        return Unsupported(
            f"{name}: {scenario.name} takes {scenario.tokens} tokens, and its context holds "
            f"{context}. Give a smaller --{scenario.counts}."
        )
    return None


def step_of(model: Loaded, scenario: Scenario, batch: int, seed: int) -> Step:
    """What a language model's cell is timed on; the cache's contents are made later."""
    decoder = model.decoder
    assert decoder is not None
    tokens = prompt_tokens(decoder, tokenizer_of(model), batch, scenario.tokens, seed)
    digest = input_digest({"tokens": tokens})
    if scenario.counts == "prompt":
        return Step(step_feeds(decoder, tokens, first_past(decoder, batch), 0), None, digest)
    depth = tokens.shape[1] - 1
    past = {
        tensor.input: np.broadcast_to(
            np.zeros(1, tensor.dtype), decoder.shape(tensor, batch, depth)
        )
        for tensor in decoder.state
    }
    return Step(step_feeds(decoder, tokens[:, depth:], past, depth), tokens[:, :depth], digest)


def notes(model: Loaded) -> list[str]:
    """What a reader has to know of the inputs."""
    if model.decoder is None or tokenizer_of(model) is not None:
        return []
    return ["it has no tokenizer.json, so its token ids are drawn, and are no text"]


def tokenizer_of(model: Loaded) -> Path | None:
    """The tokenizer beside the model's files, where there is one."""
    torch = model.file.torch
    folder = torch.folder if torch is not None and torch.folder is not None else None
    if folder is None and model.file.onnx is not None:
        folder = model.file.onnx.parent
    path = folder / TOKENIZER if folder is not None else None
    return path if path is not None and path.is_file() else None
