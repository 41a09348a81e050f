"""A module that returns bfloat16, which numpy lacks, is exported and compared like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cards.catalog import find_model
from bench.cards.export import export

torch = pytest.importorskip("torch")
NET = """import torch
from torch import nn
def example_inputs(): return torch.randn(2, 16)
class Net(nn.Module):
    def __init__(self): super().__init__(); torch.manual_seed(0); self.a = nn.Linear(16, 4)
    def forward(self, x): return self.a(x).to(torch.bfloat16)
"""


def test_an_output_of_bfloat16_is_exported(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    card = find_model(f"{tmp_path / 'net.py'}:Net")
    assert export(card, tmp_path / "cache").is_file()
