"""Export: dynamic, checked against PyTorch, cached, and refused when it computes something else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cards import export as exporting
from bench.cards.card import Card, load_card
from bench.cards.export import export, run_onnx
from bench.cards.modules import forget, make, outputs
from bench.errors import ExportFailed, SpecError, Unavailable

pytest.importorskip("torch")

NETS = """
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
    def forward(self, x):
        return torch.relu(self.linear(x)) + 1

class Inverse(nn.Module):
    def forward(self, x):
        return torch.linalg.eig(x @ x.T)[0].real

def scale():
    torch.manual_seed(0)
    return Scale()

def inverse():
    return Inverse()

def broken():
    raise RuntimeError("no weights today")
"""

CARD = """
name = "tiny"
task = "raw"
[source]
torch = "nets.py:{factory}"
[[inputs]]
name = "x"
shape = ["batch", 4]
[[outputs]]
name = "y"
shape = ["batch", 3]
"""


def tiny(folder: Path, factory: str = "scale") -> Card:
    (folder / "nets.py").write_text(NETS)
    (folder / "tiny.toml").write_text(CARD.format(factory=factory))
    return load_card(folder / "tiny.toml")


@pytest.mark.slow
def test_an_export_is_dynamic_named_and_reused_while_it_computes_the_same(tmp_path: Path) -> None:
    path = export(tiny(tmp_path), tmp_path / "cache")
    for size in (1, 6):
        (y,) = run_onnx(path, {"x": np.ones((size, 4), np.float32)})
        assert y.shape == (size, 3)
    written = path.stat().st_mtime_ns
    assert export(tiny(tmp_path), tmp_path / "cache") == path
    assert path.stat().st_mtime_ns == written
    path.write_bytes(path.read_bytes()[:200])  # damaged
    export(tiny(tmp_path), tmp_path / "cache")
    assert run_onnx(path, {"x": np.ones((1, 4), np.float32)})[0].shape == (1, 3)


@pytest.mark.slow
def test_an_earlier_export_is_compared_with_the_module_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What forward asks the environment for while it runs is in no hash."""
    card = tiny(tmp_path)
    monkeypatch.setattr(exporting, "content_key", lambda card, made: "0" * 16)
    code = NETS.replace("+ 1", "+ float(__import__('os').environ.get('ADDED', 1))")
    (tmp_path / "nets.py").write_text(code)
    for added in (1.0, 2.0):
        monkeypatch.setenv("ADDED", str(added))
        path = export(card, tmp_path / "cache")
        feeds = {"x": np.zeros((1, 4), np.float32)}
        (y,) = run_onnx(path, feeds)
        (want,) = outputs(make(card.model_file().torch), feeds)
        np.testing.assert_allclose(y, want.numpy(), atol=1e-5)
        assert y.min() >= added


def test_other_content_is_another_export(tmp_path: Path) -> None:
    def key() -> str:
        card = tiny(tmp_path)
        source = card.model_file().torch
        assert source is not None
        forget(source)
        return exporting.content_key(card, make(source))

    first = key()
    assert key() == first
    card = tiny(tmp_path)
    (tmp_path / "nets.py").write_text(NETS + "\n# changed\n")
    source = card.model_file().torch
    assert source is not None
    forget(source)
    assert exporting.content_key(load_card(card.path), make(source)) != first


@pytest.mark.parametrize(
    ("want", "got", "agrees"),
    [
        ([1.0, np.inf, -np.inf, np.nan], [1.0, np.inf, -np.inf, np.nan], True),
        ([1.0, np.inf], [1.0, -np.inf], False),
        ([1.0, np.inf], [1.0, 3e38], False),
        ([1.0, 1.0], [1.0, np.nan], False),
        ([900.0, 1000.0, 1e-3], [900.0, 1000.0, 2e-2], True),
        ([0.9, 1.0, 1e-3], [0.9, 1.0, 2e-2], False),
        ([-1e30, 1.0, 1.0], [-1e30, 1.0, 1.1], False),
    ],
)
def test_equal_infinities_agree_and_the_tolerance_grows_with_the_output(
    want: list[float], got: list[float], agrees: bool
) -> None:
    beyond = exporting.exceeds(np.array(want, np.float32), np.array(got, np.float32))
    assert (beyond is None) == agrees


@pytest.mark.slow
def test_a_failed_export_names_the_operation_and_the_line(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed) as caught:
        export(tiny(tmp_path, "inverse"), tmp_path / "cache")
    assert "eig" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.onnx*"))


@pytest.mark.slow
def test_an_export_that_computes_something_else_is_refused_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drifted(path: Path, arrays: dict[str, Any]) -> list[Any]:
        return [run_onnx(path, arrays)[0] + np.float32(0.25)]

    monkeypatch.setattr(exporting, "run_onnx", drifted)
    with pytest.raises(ExportFailed, match=r"differs from PyTorch by up to 0\.25"):
        export(tiny(tmp_path), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.onnx*"))


def test_a_factory_that_fails_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no weights today"):
        export(tiny(tmp_path, "broken"), tmp_path / "cache")
    with pytest.raises(SpecError, match="no usable factory absent"):
        export(tiny(tmp_path, "absent"), tmp_path / "cache")


def test_without_torch_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tiny(tmp_path)
    source = card.model_file().torch
    assert source is not None
    forget(source)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Unavailable, match="pip install"):
        export(card, tmp_path / "cache")
