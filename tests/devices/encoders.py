"""Two encoders of the sizes of BERT-base and DistilBERT: the larger pair of the device check.

Weights are random, so nothing is said of accuracy; times don't depend on them.
"""

from __future__ import annotations

from typing import Any

import torch

SEQUENCE = 128
VOCABULARY = 30_522  # of bert-base-uncased


class Encoder(torch.nn.Module):
    """Token ids of shape [batch, sequence] in, hidden states [batch, sequence, 768] out."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embedding = torch.nn.Embedding(VOCABULARY, 768)
        self.position = torch.nn.Embedding(512, 768)
        self.layers = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(
                768, 12, 3072, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(layers)
        )

    def forward(self, input_ids: Any) -> Any:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.embedding(input_ids) + self.position(places)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


def bert_base() -> torch.nn.Module:
    """Twelve layers of width 768: 108 M parameters."""
    return Encoder(12).eval()


def distilbert() -> torch.nn.Module:
    """Six layers of width 768: 66 M parameters."""
    return Encoder(6).eval()


def example_inputs() -> tuple[Any, ...]:
    """One sample of token ids."""
    return (torch.randint(0, VOCABULARY, (1, SEQUENCE)),)
