"""What language models are timed on: a prompt after nothing, one token or a draft after others, or
prompts that are answered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.bounds import PRESETS
from bench.cards.inputs import input_digest
from bench.cards.language.prompts import first_past, prompt_tokens, step_feeds
from bench.cards.language.tokens import TOKENIZER
from bench.cards.ready import Loaded
from bench.decoding import Decoder
from bench.errors import BenchError, Unsupported
from bench.runtimes.targets import Choice
from bench.scenarios import Scenario
from bench.spec import Suite

#: Prompts that the queries of a cell take in turn: a cache of prompts would be of little use.
PROMPTS = 8

_NO_TOKENIZER = "it has no tokenizer.json"


@dataclass(frozen=True)
class Step:
    """One timed step: its inputs, and the prompt that has to be in the cache before it."""

    feeds: dict[str, Array]
    prompt: Array | None
    sha256: str
    prompts: Array | None = None  #: of whole queries, [prompts, batch, tokens]; the feeds are one


def refusal(model: Loaded, scenario: Scenario, suite: Suite) -> BenchError | None:
    """Why a scenario can't be asked of a model."""
    if model.decoder is None:
        return _refused_without_cache(model.card.name, scenario, suite)
    name, context = model.card.name, model.decoder.context
    if not scenario.counts:
        return Unsupported(
            f"{name} generates text, but {scenario.name} uses no cache, so its figure would be "
            "meaningless. Use --scenario prefill or --scenario decode."
        )
    if context is not None and scenario.tokens > context:
        return Unsupported(
            f"{name}: {scenario.name} needs {scenario.tokens} tokens, but its context holds "
            f"{context}. Give a smaller {scenario.flags}."
        )
    return _refused_text(name, scenario, suite) if scenario.counts == "text" else None


def _refused_without_cache(name: str, scenario: Scenario, suite: Suite) -> BenchError | None:
    if scenario.size is not None or not scenario.for_all:
        return Unsupported(
            f"{name} has no token cache, which {scenario.name} measures. Use "
            "--scenario single-stream."
        )
    if scenario.bounded and suite.latency_bound is None:
        return Unsupported(
            f"{name} generates no tokens, so TTFT and TPOT don't apply to it. Give --latency-bound."
        )
    return None


def _refused_text(name: str, scenario: Scenario, suite: Suite) -> BenchError | None:
    """Why whole queries can't be asked of a language model."""
    if suite.lane != "prepared":
        return Unsupported(f"{name}: whole queries only have one lane. Leave out --lane.")
    if not scenario.bounded:
        return None
    if scenario.answer == 1:
        return Unsupported(
            f"{name}: a query of one token has no TPOT, the time between its tokens. Ask for 2 or "
            "more with --answer."
        )
    if suite.ttft_bound_ns is None:
        return Unsupported(
            f"{name} generates text, so {scenario.name} needs two bounds. Give --ttft-bound and "
            f"--tpot-bound, or both by name: --bounds {PRESETS[0].name}."
        )
    return None


def refused_streams(name: str, choice: Choice) -> BenchError | None:
    """Why a target can't answer a language model's queries as its options say."""
    if dict(choice.target.options).get("streams", "1") == "1":
        return None
    return Unsupported(
        f"{name}: whole queries are answered one after the other, so {choice.target} can't use "
        "streams. Leave them out, or give a larger --batch."
    )


def step_of(model: Loaded, scenario: Scenario, batch: int, seed: int) -> Step:
    """What a language model's cell is timed on; the cache's contents are made later."""
    decoder = model.decoder
    assert decoder is not None
    if scenario.counts == "text":
        return _text(model, decoder, scenario, batch, seed)
    tokens = prompt_tokens(decoder, tokenizer_of(model), batch, scenario.tokens, seed)
    if scenario.counts == "prompt":
        return prompt_step(decoder, tokens)
    return token_step(decoder, tokens, scenario.new_tokens)


def prompt_step(decoder: Decoder, tokens: Array) -> Step:
    """A prompt, [batch, tokens], after nothing."""
    feeds = step_feeds(decoder, tokens, first_past(decoder, len(tokens)), 0)
    return Step(feeds, None, input_digest({"tokens": tokens}))


def token_step(decoder: Decoder, tokens: Array, new: int = 1) -> Step:
    """The last ``new`` of the tokens, [batch, tokens], after all others, whose past is all zeros
    yet."""
    batch, depth = tokens.shape[0], tokens.shape[1] - new
    past = {
        tensor.input: np.broadcast_to(
            np.zeros(1, tensor.dtype), decoder.shape(tensor, batch, depth)
        )
        for tensor in decoder.state
    }
    feeds = step_feeds(decoder, tokens[:, depth:], past, depth)
    return Step(feeds, tokens[:, :depth], input_digest({"tokens": tokens}))


def _text(model: Loaded, decoder: Decoder, scenario: Scenario, batch: int, seed: int) -> Step:
    """Prompts to be answered, all of one length: nothing is padded."""
    length = scenario.size or 0
    drawn = prompt_tokens(decoder, tokenizer_of(model), PROMPTS * batch, length, seed)
    prompts = drawn.reshape(PROMPTS, batch, length)
    feeds = step_feeds(decoder, prompts[0], first_past(decoder, batch), 0)
    return Step(feeds, None, input_digest({"tokens": prompts}), prompts)


def notes(model: Loaded) -> list[str]:
    """What a reader has to know of the inputs."""
    if model.decoder is None:
        return []
    stored = model.stored
    found = []
    if stored is not None:
        found.append(f"its weights were {stored.words}; this form is timed, not llama.cpp's")
    if tokenizer_of(model) is None:
        why = stored.no_tokenizer if stored is not None and stored.no_tokenizer else _NO_TOKENIZER
        found.append(f"{why}, so its token ids are random, not text")
    return found


def tokenizer_of(model: Loaded) -> Path | None:
    """The tokenizer beside the model's files, where there is one."""
    torch = model.file.torch
    folder = torch.folder if torch is not None and torch.folder is not None else None
    if folder is None and model.file.onnx is not None:
        folder = model.file.onnx.parent
    path = folder / TOKENIZER if folder is not None else None
    return path if path is not None and path.is_file() else None
