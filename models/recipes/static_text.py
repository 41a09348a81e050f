"""Distils a *static* sentence encoder from a real one: a table of vectors, no network to run.

    python models/recipes/static_text.py -o FOLDER [--original minilm-l6] [--width 128]

Every entry of the tokenizer's vocabulary is run through the original once; its vector, on fewer
axes (PCA) and weighted by how rare the entry is, becomes a row of the table. A text is the mean of
its tokens' rows. After model2vec (Tulkens & van Dongen 2024, "Model2Vec: fast state-of-the-art
static embeddings"); the weights are those of Arora, Liang & Ma 2017, "A simple but tough-to-beat
baseline for sentence embeddings" (SIF), with frequencies by Zipf's law from the rank in the
vocabulary. Needs the extra ``text``. Nothing is random.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from bench.cards.card import Card
from bench.cards.catalog import find_model
from bench.cards.export import export
from bench.cards.text import table_toml, tensors_toml, toml_text
from bench.errors import BenchError
from bench.folders import cache_folder
from bench.unchanged import file_sha256

NETWORK = '''"""A text as the mean of its tokens' vectors; made by models/recipes/static_text.py."""

import torch
from torch import nn


class StaticEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding({rows}, {width})

    def forward(self, input_ids, attention_mask):
        mask = attention_mask.unsqueeze(-1).to(torch.float32)
        total = (self.table(input_ids) * mask).sum(dim=1)
        return total / mask.sum(dim=1).clamp(min=1.0)


def static():
    return StaticEncoder()
'''
#: SIF's a: between 1e-3 and 1e-4 in the paper.
SIF = 1e-3
_BATCH = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--original", default="minilm-l6")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--name", default="minilm-static")
    arguments = parser.parse_args()
    try:
        card = make(find_model(arguments.original), arguments.width, arguments.name, arguments.out)
    except BenchError as error:
        sys.exit(f"static_text: {error}")
    print(f"wrote {card}; try it: bench run -m {arguments.original} -m {card}")


def make(original: Card, width: int, name: str, out: Path) -> Path:
    """Write the network, its table and a card to ``out``; gives the card's path."""
    from safetensors.numpy import save_file  # safetensors: optional

    out.mkdir(parents=True, exist_ok=True)
    vectors, special = vocabulary_vectors(original)
    table = reduced(vectors, width) * rarity(len(vectors))[:, np.newaxis]
    table[special] = 0  # marks of begin, end and padding mean nothing
    (out / f"{name}.py").write_text(NETWORK.format(rows=len(table), width=width))
    save_file({"table.weight": table.astype(np.float32)}, str(out / f"{name}.safetensors"))
    path = out / f"{name}.toml"
    path.write_text(card_text(original, width, name, out))
    return path


def vocabulary_vectors(original: Card) -> tuple[np.ndarray, list[int]]:
    """The original's vector for each vocabulary entry, float32 (entries, width), and the places of
    the special ones. Tokens are pooled by their mean, as the card says."""
    import onnxruntime  # onnxruntime, tokenizers: optional
    from tokenizers import Tokenizer

    assert original.dataset is not None
    assert original.dataset.tokenizer is not None
    path = original.file(original.dataset.tokenizer)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json" if path.is_dir() else path))
    tokenizer.no_padding()
    begin, end = tokenizer.encode("").ids
    session = onnxruntime.InferenceSession(str(export(original, cache_folder())))
    entries = tokenizer.get_vocab_size()
    found = []
    for start in range(0, entries, _BATCH):
        rows = np.arange(start, min(start + _BATCH, entries))
        ids = np.stack([np.full_like(rows, begin), rows, np.full_like(rows, end)], axis=1)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        (states,) = session.run(None, feeds)
        found.append(states.mean(axis=1))
        print(f"\r{rows[-1] + 1} of {entries} entries", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    special = sorted(tokenizer.get_added_tokens_decoder())
    return np.concatenate(found), special


def reduced(vectors: np.ndarray, width: int) -> np.ndarray:
    """On the ``width`` axes of largest variance (PCA)."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    return centred @ axes[:, ::-1][:, :width]


def rarity(entries: int) -> np.ndarray:
    """SIF's weight of each entry: a / (a + p), with p by Zipf's law from its rank."""
    p = 1 / np.arange(1, entries + 1)
    return SIF / (SIF + p / p.sum())


def card_text(original: Card, width: int, name: str, out: Path) -> str:
    assert original.dataset is not None
    data = original.dataset.model_dump(mode="json", exclude_defaults=True)
    data.pop("output", None)
    data["pooling"] = ""
    inputs = [t for t in original.inputs if t.name in ("input_ids", "attention_mask")]
    files = [f"{name}.py", f"{name}.safetensors"]
    digests = "\n".join(f"{toml_text(f)} = {toml_text(file_sha256(out / f))}" for f in files)
    said = f"the vectors that {original.name} gives its vocabulary, on {width} axes; no text"
    return (
        f'name = {toml_text(name)}\ntask = "embedding"\n'
        f"distilled_from = {toml_text(original.name)}\n\n[source]\n"
        f"torch = {toml_text(files[0] + ':static')}\nweights = {toml_text(files[1])}\n\n"
        + "\n".join(tensors_toml("inputs", tuple(inputs)))
        + f'\n[[outputs]]\nname = "sentence_embedding"\nshape = ["batch", {width}]\n\n'
        + table_toml("dataset", data)
        + f"[provenance]\nlicence = {toml_text(original.provenance.licence)}\n"
        f'trained_on = {toml_text(said)}\nrecipe = "python models/recipes/static_text.py"\n\n'
        f"[provenance.sha256]\n{digests}\n"
    )


if __name__ == "__main__":
    main()
