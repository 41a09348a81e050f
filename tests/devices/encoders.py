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


class HuggingFace(torch.nn.Module):
    """BERT as transformers has it, small. Its mask is made in the forward pass, while a graph is
    captured in another way than otherwise."""

    def __init__(self) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        torch.manual_seed(1)
        sizes = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
        self.bert = BertModel(BertConfig(num_hidden_layers=4, **sizes), add_pooling_layer=False)

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def hugging_face() -> torch.nn.Module:
    """Four layers of width 256: 11 M parameters."""
    return HuggingFace().eval()
