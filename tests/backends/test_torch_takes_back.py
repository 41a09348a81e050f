"""PyTorch's steps, with the class's own cache: several tokens at once, kept, put back and cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tiny_decoders import tiny

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from bench.backends.torch.steps import TorchSteps  # noqa: E402

from bench.cards.language.causal import decoding_module, prepared  # noqa: E402
from bench.cards.language.states import plan_state  # noqa: E402
from bench.cards.language.tracing import FILLS  # noqa: E402

TOKENS = 24


def explain(error: Exception, what: str) -> Any:
    raise AssertionError(what) from error


@pytest.fixture(
    scope="module", params=["LlamaForCausalLM", "MistralForCausalLM", "DeepseekV4ForCausalLM"]
)
def module(request: pytest.FixtureRequest) -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        model = tiny(request.param)
        plan = plan_state(type(model), prepared(model.config), FILLS)
        yield decoding_module(model, plan)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("cached", [True, False])
def test_what_was_rejected_leaves_nothing_behind(module: Any, cached: bool) -> None:
    decoder = module.decoder
    names = [*filter(None, [decoder.tokens, decoder.mask]), *(t.input for t in decoder.state)]
    steps = TorchSteps(
        *(torch, module, module.cached_steps if cached else None, names),
        *(torch.device("cpu"), explain, "here", decoder, 1, 2 * TOKENS),
    )
    text, other = np.random.default_rng(5).integers(0, decoder.vocabulary, (2, 1, TOKENS))
    right = module.model(input_ids=torch.from_numpy(text), use_cache=False).logits.numpy()
    nothing = steps.keep()
    steps.step(text[:, :5])
    for place, count in ((5, 3), (6, 1), (7, 5), (8, 9), (17, 4)):
        assert steps.position == place
        kept = steps.keep()
        steps.step_each(other[:, place : place + 4])
        steps.put_back(kept)
        found = steps.step_each(text[:, place : place + count])
        assert np.allclose(found, right[:, place : place + count], atol=1e-4), (place, count)
        if decoder.cuts:
            steps.cut(place + 1 if count < 9 else place + count)
        elif count < 9:
            steps.put_back(kept)
            steps.step(text[:, place : place + 1])
    assert steps.cuts == decoder.cuts
    steps.put_back(nothing)
    assert np.allclose(steps.step(text[:, :9]), right[:, 8], atol=1e-4)
