"""Modules of the user's: made once, called with copies, and refused in words where they must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.backend import TorchSource
from bench.cards import modules
from bench.cards.catalog import find_model
from bench.cards.modules import Made, examples, for_shapes, make, outputs
from bench.cards.ready import load
from bench.errors import ExportFailed, SpecError

torch = pytest.importorskip("torch")

NETS = """
import os, random
import numpy as np
import torch
from torch import nn

def example_inputs():
    return torch.randn(2, 16)

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(16, 4)
    def forward(self, x):
        return self.a(x)

class Writes(Base):
    def forward(self, x):
        x += 1
        return self.a(x)

class Noise(Base):
    def forward(self, x):
        return self.a(x) + torch.randn(4)

class Counts(Base):
    calls = 0
    def forward(self, x):
        self.calls += 1
        return self.a(x) * self.calls

class Nans(Base):
    def forward(self, x):
        return self.a(x) * float("nan")

class Nested(Base):
    def forward(self, x):
        return {"a": self.a(x), "more": [None, (self.a(-x), "words", 3)]}

class Frozen(Base):
    def train(self, mode=True):
        super().train(False)  # and forgets to return itself

class BatchNormAlwaysTrains(Base):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
    def train(self, mode=True):
        super().train(mode)
        self.norm.train(True)
        return self

class Optional(Base):
    def forward(self, x, scale=None, shift=None):
        return self.a(x) if scale is None else self.a(x) * scale

class Splat(Base):
    def forward(self, *given):
        return self.a(given[0])

class NoForward(nn.Module):
    pass

class Branches(Base):
    def forward(self, x):
        return self.a(x) if x.sum().item() > 0 else self.a(-x)

def meta():
    with torch.device("meta"):
        return Base()

def from_the_system():
    torch.manual_seed(int.from_bytes(os.urandom(4), "big"))
    return Base()

def three_seeds():
    net = Base()
    net.scale = (random.random(), np.random.rand())
    return net

def words():
    return "a state dict"
"""


def source(folder: Path, factory: str) -> TorchSource:
    (folder / "nets.py").write_text(NETS)
    return TorchSource(folder / "nets.py", factory)


def made(folder: Path, factory: str) -> Made:
    found = source(folder, factory)
    modules.forget(found)
    return make(found)


FEEDS = {"x": np.ones((2, 16), np.float32)}


def test_a_module_is_made_once_until_it_is_forgotten(tmp_path: Path) -> None:
    found = make(source(tmp_path, "Base"))
    assert make(found.source) is found
    modules.forget(found.source)
    assert make(found.source) is not found


def test_a_factory_that_does_not_seed_makes_the_same_weights_again(tmp_path: Path) -> None:
    for factory in ("Base", "three_seeds"):
        assert made(tmp_path, factory).sha256 == made(tmp_path, factory).sha256


def test_a_factory_that_seeds_from_the_system_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="from_the_system: it creates different weights on each"):
        made(tmp_path, "from_the_system")


@pytest.mark.parametrize("factory", ["Noise", "Counts"])
def test_a_module_of_another_output_each_time_is_found_out(tmp_path: Path, factory: str) -> None:
    with pytest.raises(SpecError, match=f"{factory}: it gives a different output each time"):
        outputs(made(tmp_path, factory), FEEDS)
    with pytest.raises(SpecError, match=f"{factory}: it gives a different output each time"):
        load(find_model(f"{tmp_path}/nets.py:{factory}"), tmp_path, str, forms=("torch",))


def test_nan_twice_is_the_same_twice(tmp_path: Path) -> None:
    (found,) = outputs(made(tmp_path, "Nans"), FEEDS)
    assert found.isnan().all()


def test_a_forward_that_writes_into_its_input_gets_a_copy(tmp_path: Path) -> None:
    outputs(made(tmp_path, "Writes"), FEEDS)
    assert (FEEDS["x"] == 1).all()


def test_outputs_are_all_tensors_in_whatever_they_are_returned(tmp_path: Path) -> None:
    found = outputs(made(tmp_path, "Nested"), FEEDS)
    assert [tuple(tensor.shape) for tensor in found] == [(2, 4), (2, 4)]


def test_a_train_that_returns_nothing_does_not_matter(tmp_path: Path) -> None:
    assert not made(tmp_path, "Frozen").module.training


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("BatchNormAlwaysTrains", r"stays in training mode after eval\(\) \(norm\)"),
        ("Splat", "takes \\*given; its forward must name each input"),
        ("NoForward", "it defines no forward"),
        ("meta", "a.weight has no values"),
        ("words", "returned a str, not a torch.nn.Module"),
        ("absent", "has no usable factory absent"),
        ("nn", "has no usable factory nn"),
    ],
)
def test_what_is_no_module_to_measure_is_refused(tmp_path: Path, factory: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        made(tmp_path, factory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("torch.ones(2, 16)", ["x"]),
        ("np.ones((2, 16), np.float32)", ["x"]),
        ("(torch.ones(2, 16), torch.ones(2, 1))", ["x", "scale"]),
        ("{'scale': torch.ones(2, 1), 'x': torch.ones(2, 16)}", ["x", "scale"]),
    ],
)
def test_examples_are_read_in_every_form_by_the_parameters_names(
    tmp_path: Path, code: str, names: list[str]
) -> None:
    found = made(tmp_path, "Optional")
    found.file.example_inputs = eval(f"lambda: {code}", {"torch": torch, "np": np})
    given = examples(found)
    assert given is not None
    assert list(given) == names
    assert (given["x"] == 1).all()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("torch.tensor(3.0)", "tensors with a batch axis"),
        ("[1, 2]", "tensors with a batch axis"),
        ("{'y': torch.ones(2)}", "no parameter 'y'; it has x, scale, shift"),
        ("{'x': torch.ones(2, 16), 'shift': torch.ones(2)}", "takes 'scale' before 'shift'"),
        ("1 / 0", "failed: ZeroDivisionError"),
        ("exit()", "ended the program"),
    ],
)
def test_examples_that_cannot_be_fed_are_one_sentence(
    tmp_path: Path, code: str, words: str
) -> None:
    found = made(tmp_path, "Optional")
    found.file.example_inputs = eval(f"lambda: {code}", {"torch": torch})
    with pytest.raises(SpecError, match=words):
        examples(found)


def test_the_rows_of_examples_make_every_batch() -> None:
    given = {"x": np.arange(6).reshape(2, 3)}
    found = for_shapes(given, {"x": (5, 3)})
    assert found is not None
    assert found["x"][:, 0].tolist() == [0, 3, 0, 3, 0]
    assert for_shapes(given, {"x": (5, 4)}) is None
    assert for_shapes(given, {"y": (5, 3)}) is None


# -- what a module is -----------------------------------------------------------------------------


def test_the_identity_follows_what_is_computed(tmp_path: Path, monkeypatch: Any) -> None:
    """The environment, a number in forward, an imported file, and a file of weights."""
    net = tmp_path / "net.py"
    net.write_text(
        "import os, sys, torch\n"
        "sys.path.insert(0, os.path.dirname(__file__))\n"
        "from shape_of_a_net import KIND\n"
        "SCALE = float(os.environ.get('SCALE', 1))\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.bias = float(os.environ.get('BIAS', 0))\n"
        "        self.w = torch.load(os.path.join(os.path.dirname(__file__), 'w.pt'))\n"
        "    def forward(self, x):\n"
        "        return scaled(x) @ self.w + self.bias\n"
        "def scaled(x):\n"
        "    return x * SCALE\n"
    )
    (tmp_path / "shape_of_a_net.py").write_text("KIND = 1\n")
    torch.save(torch.ones(16, 4), tmp_path / "w.pt")

    def identity() -> str:
        modules.forget(TorchSource(net, "Net"))
        return make(TorchSource(net, "Net")).sha256

    seen = [identity()]
    assert identity() == seen[0]
    for name in ("SCALE", "BIAS"):
        monkeypatch.setenv(name, "2")
        seen.append(identity())
        monkeypatch.delenv(name)
    (tmp_path / "shape_of_a_net.py").write_text("KIND = 2\n")
    seen.append(identity())
    torch.save(torch.zeros(16, 4), tmp_path / "w.pt")
    seen.append(identity())
    assert len(set(seen)) == 5


def test_the_identity_is_the_same_wherever_the_file_lies(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    assert made(tmp_path / "here", "Base").sha256 == made(tmp_path / "there", "Base").sha256


# -- made ready -----------------------------------------------------------------------------------


def test_no_export_is_made_where_no_target_needs_it(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    said: list[str] = []
    model = load(
        find_model(f"{tmp_path}/nets.py:Branches"), tmp_path / "cache", said.append, forms=["torch"]
    )
    assert (model.file.onnx, model.refused) == (None, None)
    assert not (tmp_path / "cache").exists()
    assert said == ["making Branches"]
    assert model.examples is not None
    assert model.state_bytes == (16 * 4 + 4) * 4


@pytest.mark.slow
def test_a_failed_export_leaves_the_module_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    card = find_model(f"{tmp_path}/nets.py:Branches")
    model = load(card, tmp_path, str, ("fp32", "int8-dynamic", "bf16"))
    assert isinstance(model.refused, ExportFailed)
    for variant in ("fp32", "int8-dynamic", "bf16"):
        assert model.form(variant).refused is model.refused
    assert model.form("fp32").file.torch is not None


def test_the_rows_that_a_token_indexes_are_known_without_a_graph(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.table = torch.nn.Embedding(500, 8)\n"
        "    def forward(self, ids, mask):\n"
        "        return self.table(ids).mean(1) * mask[:, :1]\n"
    )
    (tmp_path / "net.toml").write_text(
        'name = "net"\ntask = "raw"\n[source]\ntorch = "net.py:Net"\n'
        '[[inputs]]\nname = "ids"\ndtype = "int64"\nshape = ["batch", 5]\n'
        '[[inputs]]\nname = "mask"\ndtype = "int64"\nshape = ["batch", 4]\n'
    )
    model = load(find_model(f"{tmp_path}/net.toml"), tmp_path, str, forms=["torch"])
    assert model.index_limits == {"ids": 500}
