"""What a forward pass makes on the CPU does not keep it from being captured as a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pretend_cuda import IDS, OTHERS, Gpu, captured, pretended  # noqa: E402

from bench.errors import Unsupported  # noqa: E402

Module = torch.nn.Module


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    with pretended(monkeypatch) as found:
        yield found


class Encoder(Module):
    """As people write them: positions, mask, factors and indices made on the CPU in the pass."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(16, 8)
        self.places = torch.nn.Embedding(8, 8)
        self.table = torch.linspace(0, 1, 8)  # no buffer: it stays where it was made

    def forward(self, ids: Any) -> Any:
        n = ids.shape[1]
        x = self.words(ids) + self.places(torch.arange(n).to(ids.device))
        x = x * self.table.to(ids.device) + torch.tensor(0.5)
        x = x * torch.tensor([1.0, 2.0]).to(ids.device).repeat(4)
        mask = torch.zeros(n, n, device=ids.device)
        mask.copy_(torch.full((n, n), -5.0).triu(1))
        x = torch.softmax(x @ x.transpose(1, 2) + mask, -1) @ x
        x = torch.where(x > 0, x, torch.tensor(-0.25))
        return x[:, torch.tensor([0, 3, 5])]


def expected(module: Any, ids: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(ids)))


def test_a_graph_computes_what_the_module_does_with_what_was_made_on_the_cpu(gpu: Gpu) -> None:
    torch.manual_seed(1)
    module = Encoder()
    right = expected(module, IDS)
    session, call = captured(module)
    before = gpu.copied
    for _ in range(3):
        call()
    assert gpu.copied == before, "a replay copies nothing from the CPU"
    np.testing.assert_allclose(session.fetch()[0], right, rtol=1e-5, atol=1e-6)
    session.close()


def test_a_graph_computes_on_other_inputs_too(gpu: Gpu) -> None:
    torch.manual_seed(1)
    module = Encoder()
    right = expected(module, OTHERS)
    session, call = captured(module)
    session._inputs_seen[0].copy_(torch.from_numpy(OTHERS))  # which the graph reads
    call()
    np.testing.assert_allclose(session.fetch()[0], right, rtol=1e-5, atol=1e-6)
    session.close()


class Accumulates(Module):
    """Writes into what it has just moved."""

    def forward(self, ids: Any) -> Any:
        total = torch.ones(8).to(ids.device)
        total.add_(ids.float()[0])
        return total + torch.ones(8).to(ids.device)


def test_what_the_pass_writes_into_is_new_in_each_replay(gpu: Gpu) -> None:
    session, call = captured(Accumulates())
    for _ in range(3):
        call()
    np.testing.assert_array_equal(session.fetch()[0], IDS[0] + 2.0)
    session.close()


class DecidesInCapture(Module):
    """Takes another way while a graph is captured, as transformers does with its masks."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = [gpu]

    def forward(self, ids: Any) -> Any:
        if self.gpu[0].capturing is None:
            return ids * 3
        return ids * torch.tensor([3]).to(ids.device) * torch.tensor([[1]]).to(ids.device)


def test_what_is_made_in_the_capture_alone_is_moved_before_another(gpu: Gpu) -> None:
    session, call = captured(DecidesInCapture(gpu))
    call()
    np.testing.assert_array_equal(session.fetch()[0], IDS * 3)
    session.close()


class Random(Module):
    def forward(self, ids: Any) -> Any:
        return ids + torch.rand(8).to(ids.device)


def test_what_differs_in_each_pass_is_refused(gpu: Gpu) -> None:
    with pytest.raises(Unsupported, match="other tensors to the device on each"):
        captured(Random())


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "MPNet"])
def test_an_encoder_of_hugging_face_is_captured(kind: str, gpu: Gpu) -> None:
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, Any] = {"vocab_size": 16}
    if kind == "DistilBert":
        sizes |= {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    else:
        sizes |= {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 8}
    torch.manual_seed(1)
    encoder = transformers.AutoModel.from_config(getattr(transformers, f"{kind}Config")(**sizes))

    class Whole(Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder.eval()

        def forward(self, ids: Any) -> Any:
            return self.encoder(input_ids=ids).last_hidden_state

    module = Whole()
    right = expected(module, IDS)
    session, call = captured(module)
    call()
    np.testing.assert_allclose(session.fetch()[0], right, rtol=1e-4, atol=1e-5)
    session.close()
