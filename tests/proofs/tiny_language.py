"""Tiny language models by the hundred, for the proof of `bench debug lineage` on them.

Each is a transformer of two layers, trained in a few seconds on the King James Bible by
`models/recipes/kjv.py`'s split, with the tokenizer of the language models that ship. What a trial's
models said is kept in a folder whose name is made of this file, of the text and of the tokenizer:
a proof that was interrupted goes on, and one of changed models starts anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from engine import HERE
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from bench.arrays import Array
from bench.cards.tasks.base import Columns
from bench.folders import cache_folder

MODELS = HERE.parents[1] / "models"
sys.path.insert(0, str(MODELS / "recipes"))
import kjv  # noqa: E402  (no package: it stands beside the recipes)

HIDDEN, HEADS, LAYERS = 48, 4, 2
WINDOW, BATCH, STEPS, RATE = 48, 16, 230, 5e-3
WARM_UP = 20
#: What is compared: so many tokens of the beginning of each of the 72 test chapters.
COMPARED = 512
#: Tokens of a training set; all that may be trained on is about twelve times as much.
TRAINED_ON = 100_000
#: Models of a trial: a pair, and six that may be its controls.
OF_A_TRIAL = 8
#: What is made of the first model, in the order of `_derived`.
DERIVED = ("quantised to 8 bits", "fine-tuned", "distilled")
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Text:
    """Tokens to train on, and the documents to compare on: ids after what comes before them."""

    training: Tensor
    documents: tuple[Array, ...]
    sizes: tuple[int, ...]  #: bytes of each id
    vocabulary: int
    digest: str


@cache
def text() -> Text:
    path = MODELS / "verse-student" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    end = tokenizer.token_to_id("<|endoftext|>")
    chapters = [chapter.text for chapter in kjv.read(None).training]
    held = (MODELS / "data" / "verse-test.jsonl").read_text("utf-8")
    documents = [json.loads(line)["text"] for line in held.splitlines()]
    joined = [i for each in tokenizer.encode_batch(chapters) for i in [end, *each.ids]]
    seen = [np.array([end, *e.ids[:COMPARED]]) for e in tokenizer.encode_batch(documents)]
    digest = hashlib.sha256(path.read_bytes() + "".join(chapters).encode() + held.encode())
    vocabulary = tokenizer.get_vocab_size()
    sizes = tuple(len(tokenizer.decode([i]).encode()) or 1 for i in range(vocabulary))
    return Text(torch.tensor(joined), tuple(seen), sizes, vocabulary, digest.hexdigest())


# -- the model ------------------------------------------------------------------------------------


def begun(generator: torch.Generator) -> Weights:
    """First weights; the embedding is the head too."""

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.05

    found = {"embedding": drawn(text().vocabulary, HIDDEN), "place": drawn(WINDOW, HIDDEN)}
    for layer in range(LAYERS):
        found[f"mix{layer}"] = drawn(3 * HIDDEN, HIDDEN)
        found[f"join{layer}"] = drawn(HIDDEN, HIDDEN)
        found[f"up{layer}"] = drawn(4 * HIDDEN, HIDDEN)
        found[f"down{layer}"] = drawn(HIDDEN, 4 * HIDDEN)
    return found


def logits(weights: Weights, ids: Tensor) -> Tensor:
    """Of windows (n, tokens): (n, tokens, vocabulary)."""
    count, length = ids.shape
    x = weights["embedding"][ids] + weights["place"][:length]
    for layer in range(LAYERS):
        mixed = functional.linear(_normed(x), weights[f"mix{layer}"])
        parts = mixed.view(count, length, 3, HEADS, HIDDEN // HEADS).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + functional.linear(seen.transpose(1, 2).flatten(2), weights[f"join{layer}"])
        raised = functional.gelu(functional.linear(_normed(x), weights[f"up{layer}"]))
        x = x + functional.linear(raised, weights[f"down{layer}"])
    return functional.linear(_normed(x), weights["embedding"])


def _normed(x: Tensor) -> Tensor:
    return functional.layer_norm(x, (HIDDEN,))


def trained(
    ids: Tensor,
    seed: int,
    begin: Weights | None = None,
    steps: int = STEPS,
    rate: float = RATE,
    teach: Callable[[Tensor], Tensor] | None = None,
) -> Weights:
    """Adam, its rate rising first and then falling to 0. ``teach`` gives logits whose distribution
    is learned instead of the tokens that come (Hinton et al. 2015, at temperature 1)."""
    generator = torch.Generator().manual_seed(seed)
    first = begin or begun(generator)
    weights = {name: w.detach().clone().requires_grad_() for name, w in first.items()}
    optimiser = torch.optim.Adam(weights.values(), lr=rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / WARM_UP) * (1 - step / steps)
    )
    for _ in range(steps):
        starts = torch.randint(len(ids) - WINDOW, (BATCH, 1), generator=generator)
        windows = ids[starts + torch.arange(WINDOW + 1)]
        found = logits(weights, windows[:, :-1]).flatten(0, 1)
        if teach is None:
            loss = functional.cross_entropy(found, windows[:, 1:].flatten())
        else:
            wanted = functional.softmax(teach(windows[:, :-1]).flatten(0, 1), 1)
            loss = functional.cross_entropy(found, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return {name: w.detach() for name, w in weights.items()}


def said(weights: Weights) -> Array:
    """The most probable id at each place of the documents, in windows that follow each other."""
    found = []
    with torch.inference_mode():
        for document in text().documents:
            ids = torch.from_numpy(document)[:-1]
            padded = functional.pad(ids, (0, -len(ids) % WINDOW)).view(-1, WINDOW)
            found.append(logits(weights, padded).argmax(-1).flatten()[: len(ids)].numpy())
    return np.concatenate(found).astype(np.int16)


def columns(predicted: Array) -> Columns:
    """As `bench` stores them, less the probabilities, which models behind an API don't tell."""
    documents = text().documents
    token = np.concatenate([document[1:] for document in documents])
    return {
        "document": np.repeat(np.arange(len(documents)), [len(d) - 1 for d in documents]),
        "bytes": np.array(text().sizes)[token],
        "token": token,
        "vocabulary": np.full(len(token), text().vocabulary),
        "predicted": predicted.astype(np.int64),
    }


# -- a trial's models -----------------------------------------------------------------------------


def models_of(seed: int, *, shared: bool, derive: bool) -> Mapping[str, Columns]:
    """Eight independent models, ``model 0`` and on, and where ``derive`` says so what is derived of
    the first. Each has a training set of its own; ``shared`` gives all the same one."""
    torch.set_num_threads(1)
    file = _kept(seed, shared=shared, derive=derive)
    if not file.exists():
        found = _trial(seed, shared=shared, derive=derive)
        partial = file.with_name(f"{file.name}.partial.npz")
        np.savez_compressed(partial, **found)
        partial.replace(file)
    with np.load(file) as stored:
        return {name: columns(stored[name]) for name in stored.files}


def _kept(seed: int, *, shared: bool, derive: bool) -> Path:
    source = Path(__file__).read_bytes() + text().digest.encode()
    folder = cache_folder() / "proof" / hashlib.sha256(source).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{seed}-{'shared' if shared else 'own'}{'-derived' * derive}.npz"


def _trial(seed: int, *, shared: bool, derive: bool) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    sets = [_training_set(rng) for _ in range(OF_A_TRIAL)]
    models = [
        trained(sets[0 if shared else place], 100 * seed + place) for place in range(OF_A_TRIAL)
    ]
    if derive:
        models += _derived(models[0], rng, 100 * seed + OF_A_TRIAL)
    names = [*(f"model {place}" for place in range(OF_A_TRIAL)), *DERIVED]
    return {name: said(weights) for name, weights in zip(names, models, strict=False)}


def _derived(original: Weights, rng: np.random.Generator, seed: int) -> list[Weights]:
    """Other seeds, and training sets that the original wasn't trained on on purpose."""

    def teach(ids: Tensor) -> Tensor:
        with torch.no_grad():
            return logits(original, ids)

    quantised = {name: _rounded(weights) for name, weights in original.items()}
    tuned = trained(_training_set(rng), seed, original, STEPS // 3, RATE / 2)
    return [quantised, tuned, trained(_training_set(rng), seed + 1, teach=teach)]


def _rounded(values: Tensor) -> Tensor:
    """To 255 steps of one scale, as weights are by symmetric 8-bit quantisation."""
    scale = values.abs().max() / 127
    return torch.round(values / scale) * scale


def _training_set(rng: np.random.Generator) -> Tensor:
    """Stretches of the training text, anywhere in it."""
    ids, stretch = text().training, 2_000
    starts = rng.integers(0, len(ids) - stretch, TRAINED_ON // stretch)
    return torch.cat([ids[start : start + stretch] for start in starts])
