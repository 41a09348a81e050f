"""bench/cards/language/causal.py: steps that keep the cache of the class between them."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from bench.backends.torch.session import TorchSession  # noqa: E402
from tiny_decoders import tiny  # noqa: E402

from bench.cards.language.causal import decoding_module, prepared  # noqa: E402
from bench.cards.language.states import plan_state  # noqa: E402
from bench.cards.language.tracing import FILLS  # noqa: E402


def test_they_say_what_steps_from_the_state_say_past_every_boundary_of_it() -> None:
    model = tiny("DeepseekV4ForCausalLM")
    module = decoding_module(model, plan_state(type(model), prepared(model.config), FILLS))
    session = TorchSession(torch, module, torch.device("cpu"), "a module")
    try:
        kept = session.decoding(module.decoder, 2, 24)
        carried = session._steps(module, module.decoder, 2, 24)
        ids = np.random.default_rng(0).integers(0, module.decoder.vocabulary, (2, 24))
        for text in (ids, ids[:, ::-1]):
            kept.reset(), carried.reset()
            for count in (3, 1, 1, 1, 1, 1, 5, 1, 1, 9):
                new = text[:, kept.position : kept.position + count]
                np.testing.assert_allclose(kept.step(new), carried.step(new), rtol=1e-4, atol=1e-4)
            assert kept.position == carried.position == 24
    finally:
        session.close()
