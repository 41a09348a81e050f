"""A decoder with a static cache: buffers of a fixed length, written in place behind a position.

The other form of a language model, for what takes fixed shapes alone: a token's keys and values are
written at its own place, and a mask hides what isn't filled yet, so that one graph serves every
step. Windows are masked and not dropped: all buffers are as long as the longest text.
"""

from __future__ import annotations

import inspect
from typing import Any

from bench.cards.language.states import Plan, cache_argument
from bench.decoding import POSITION, Decoder
from bench.errors import Unsupported

#: Attributes of a cache's layer that buffers can stand for.
_WRITTEN = ("keys", "values")


def refuse_other_states(decoder: Decoder, plan: Plan) -> None:
    """Raise `Unsupported` for a state that is more than keys and values of each token."""
    for tensor, places in zip(decoder.state, plan.slots, strict=True):
        kept = all(len(place) == 2 and place[1] in _WRITTEN for place in places)
        if not kept or decoder.change(tensor) not in ("grows", "slides") or len(places) > 1:
            raise Unsupported(
                f"{decoder.architecture}: its state is more than keys and values ({tensor.input}), "
                "so it has no form with a static cache, and whole texts need one here."
            )


def buffered_module(model: Any, plan: Plan, decoder: Decoder) -> Any:
    """``model`` as a module of token ids, the position of the first, and buffers
    [batch, heads, capacity, width]; it gives logits and the buffers with the new tokens in."""
    import torch  # torch: optional
    from transformers import DynamicCache

    argument = cache_argument(model)
    names = [decoder.tokens, POSITION, *(tensor.input for tensor in decoder.state)]

    class Buffered(torch.nn.Module):  # type: ignore[misc]
        """One step: any number of new tokens from the position on."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            input_ids, position, *buffers = given
            cache = DynamicCache(config=model.config)
            plain = cache.layers
            cache.layers = [_layer(layer, position) for layer in plain]
            for places, tensor in zip(plan.slots, buffers, strict=True):
                number, attribute = places[0]
                setattr(cache.layers[number], attribute, tensor)
            found = self.model(
                input_ids=input_ids, use_cache=True, return_dict=True, **{argument: cache}
            )
            written = [getattr(cache.layers[p[0][0]], p[0][1]) for p in plan.slots]
            return (found["logits"], *written)

    Buffered.forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in ("self", *names)
        ]
    )
    module = Buffered().eval()
    module.decoder = decoder
    return module


def _layer(plain: Any, position: Any) -> Any:
    """In the place of a layer of a dynamic cache: buffers that are there from the beginning."""
    import torch  # torch: optional
    from transformers.cache_utils import CacheLayerMixin

    class Buffers(CacheLayerMixin):  # type: ignore[misc]
        keys: Any
        values: Any
        is_sliding = plain.is_sliding
        is_compileable = True

        def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
            raise AssertionError("the buffers are there from the beginning")

        def update(self, keys: Any, values: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            places = position + torch.arange(keys.shape[-2], device=keys.device)
            self.keys = self.keys.index_copy(-2, places, keys)
            self.values = self.values.index_copy(-2, places, values)
            return self.keys, self.values

        def get_mask_sizes(self, query_length: Any) -> tuple[Any, int]:
            return self.keys.shape[-2], 0

        def get_seq_length(self) -> Any:
            return position[0]

        def get_max_length(self) -> Any:
            return self.keys.shape[-2]

    layer = Buffers()
    layer.is_initialized = True
    return layer
