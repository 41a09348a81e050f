"""PyTorch's adapter and what modules do: write into inputs, set threads, take what is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.backend import ModelFile, Options, TorchSource
from bench.errors import SpecError, Unsupported

torch = pytest.importorskip("torch")

NETS = """
import os, sys
import torch
from torch import nn

print("building")
torch.set_num_threads(7)
os.environ["MODE_OF_A_NET"] = "double"
os.chdir("/")

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 3)
    def forward(self, x):
        return self.a(x)

class Writes(Base):
    def forward(self, x):
        x += 1
        return self.a(x)

class Clamps(Base):
    def forward(self, x):
        return self.a(x.clamp_(max=0.5))

class SetsThreads(Base):
    def forward(self, x):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return self.a(x)

class Optional(Base):
    def forward(self, x, scale=None, shift=None):
        y = self.a(x)
        y = y if scale is None else y * scale
        return y if shift is None else y + shift

class ReadsItsEnvironment(Base):
    def forward(self, x):
        return 2 * x if os.environ["MODE_OF_A_NET"] == "double" else x

class Forgetful(Base):
    def train(self, mode=True):
        super().train(mode)

def exits():
    sys.exit(0)
"""

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@contextmanager
def a_session(folder: Path, factory: str) -> Iterator[Any]:
    from bench.backends.torch.eager import TorchEager

    (folder / "nets.py").write_text(NETS)
    backend = TorchEager()
    model = ModelFile(factory, torch=TorchSource(folder / "nets.py", factory))
    threads = torch.get_num_threads()
    session = backend.compile(model, backend.devices()[0], Options(threads=1))
    try:
        yield session
    finally:
        session.close()
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODE_OF_A_NET", "single")


@pytest.mark.parametrize("factory", ["Writes", "Clamps"])
@pytest.mark.parametrize("lane", ["bind", "api_call"])
def test_a_module_that_writes_into_its_inputs_computes_the_same_in_each_call(
    tmp_path: Path, factory: str, lane: str
) -> None:
    with a_session(tmp_path, factory) as session:
        (want,) = session.run({"x": X})
        call = getattr(session, lane)({"x": X})
        call()
        session.placement()
        for _ in range(3):
            found = call()
        if lane == "bind":
            found = session.fetch()
        np.testing.assert_array_equal(found[0], want)
        again = session.bind({"x": X})
        again()
        again()
        np.testing.assert_array_equal(session.fetch()[0], want)


def test_a_module_that_writes_nothing_is_called_without_copies(tmp_path: Path) -> None:
    with a_session(tmp_path, "Base") as session:
        session.bind({"x": X})()
        session.placement()
        assert not session._writes


def test_the_threads_that_a_file_sets_do_not_count(tmp_path: Path) -> None:
    with a_session(tmp_path, "Base"):
        assert torch.get_num_threads() == 1


def test_a_forward_that_sets_threads_is_refused(tmp_path: Path) -> None:
    with a_session(tmp_path, "SetsThreads") as session:
        session.bind({"x": X})()
        with pytest.raises(Unsupported, match=r"sets torch's number of threads to \d"):
            session.placement()


def test_an_optional_input_that_is_given_is_used(tmp_path: Path) -> None:
    one = np.full((2, 1), 3, np.float32)
    with a_session(tmp_path, "Optional") as session:
        (plain,) = session.run({"x": X})
        (scaled,) = session.run({"scale": one, "x": X})
        np.testing.assert_allclose(scaled, 3 * plain, rtol=1e-6)
        with pytest.raises(Unsupported, match="takes 'scale' before 'shift'"):
            session.run({"x": X, "shift": one})


def test_a_worker_leaves_a_file_the_environment_that_it_set(tmp_path: Path) -> None:
    before = Path.cwd()
    with a_session(tmp_path, "ReadsItsEnvironment") as session:
        np.testing.assert_array_equal(session.run({"x": X})[0], 2 * X)
    assert Path.cwd() == before


def test_a_train_that_returns_nothing_does_not_matter(tmp_path: Path) -> None:
    with a_session(tmp_path, "Forgetful") as session:
        assert session.run({"x": X})[0].shape == (2, 3)


def test_a_factory_that_exits_is_one_sentence(tmp_path: Path) -> None:
    with (
        pytest.raises(SpecError, match=r"nets.py:exits: it ended the program"),
        a_session(tmp_path, "exits"),
    ):
        pass


def test_each_process_that_does_not_seed_makes_the_same_weights(tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with a_session(tmp_path, "Base") as session:
            found.append(session.run({"x": X})[0])
    np.testing.assert_array_equal(found[0], found[1])
