"""A decoder with a static cache: buffers of a fixed length, written in place behind a position.

The other form of a language model, for what takes fixed shapes alone: a token's keys and values are
written at its own place, and a mask hides what isn't filled yet, so that one graph serves every
step. Windows are masked and not dropped: all buffers are as long as the longest text.
"""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

from bench.cards.card import Card
from bench.cards.export import kept_place, place_in_model, root_cause
from bench.cards.language.check import check_buffered
from bench.cards.language.export import write_graph
from bench.cards.language.states import Plan, cache_argument, plan_state
from bench.cards.language.tracing import FILLS
from bench.cards.modules import Made, make
from bench.decoding import BATCH, CAPACITY, POSITION, Decoder
from bench.errors import ExportFailed, Unsupported, kind_and_line
from bench.files import making_in

#: Attributes of a cache's layer that buffers can stand for.
_WRITTEN = ("keys", "values")
#: Least capacity of a graph; traced with twice as many, so that no size equals another.
_TRACED = 8
#: More than any model is made for, and far enough from what an index may be.
_MOST = 2**20


def refuse_other_states(decoder: Decoder, plan: Plan) -> None:
    """Raise `Unsupported` for a state that is more than keys and values of each token."""
    for tensor, places in zip(decoder.state, plan.slots, strict=True):
        kept = all(len(place) == 2 and place[1] in _WRITTEN for place in places)
        if not kept or decoder.change(tensor) not in ("grows", "slides") or len(places) > 1:
            raise Unsupported(
                f"{decoder.architecture}: its state is more than keys and values "
                f"({tensor.input}), so it has no form with a static cache, which whole texts need "
                "here."
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


def export_buffered(card: Card, cache: Path) -> Path:
    """The ONNX graph of ``card``'s decoder with a static cache: any batch, number of new tokens and
    capacity. It gives what the module does, or isn't kept.

    Raises `Unsupported` for a class that has no such form, `ExportFailed` with the numbers.
    """
    source = card.model_file().torch
    assert source is not None, "only a module can be exported"
    made = make(source)
    decoder: Decoder = made.module.decoder
    plain = kept_place(card, made, cache)
    path = plain.with_name(f"{plain.stem}-static.onnx")
    if path.is_file():
        return path
    plan = plan_state(type(made.module.model), made.module.model.config, FILLS)
    refuse_other_states(decoder, plan)
    # Weights in a file of their own are named by the graph, so both have their last names at once.
    with making_in(path.parent) as folder:
        making = folder / path.name
        _write(card, made, buffered_module(made.module.model, plan, decoder), making)
        check_buffered(card.name, made, making)
        for part in sorted(folder.iterdir(), key=lambda part: part == making):
            shutil.move(part, path.parent / part.name)  # the graph last: it says that all is there
    return path


def _write(card: Card, made: Made, module: Any, path: Path) -> None:
    import torch  # torch: optional
    from torch.export import Dim

    decoder: Decoder = module.decoder
    batch, seq = (Dim(name, min=2, max=_MOST) for name in (BATCH, "seq"))
    capacity = Dim(CAPACITY, min=_TRACED, max=_MOST)
    arguments = [torch.zeros((2, 3), dtype=torch.long), torch.tensor([5])]
    dynamic: list[dict[int, Any]] = [{0: batch, 1: seq}, {}]
    for tensor in decoder.state:
        shape = decoder.buffer(tensor, 2, 2 * _TRACED)
        arguments.append(torch.zeros(shape, dtype=getattr(torch, tensor.dtype)))
        dynamic.append(
            {
                axis: batch if dim == BATCH else capacity
                for axis, dim in enumerate(tensor.shape)
                if isinstance(dim, str)
            }
        )
    names = [decoder.tokens, POSITION, *(tensor.input for tensor in decoder.state)]
    try:
        write_graph(module, tuple(arguments), tuple(dynamic), names, path, made.state_bytes)
    except Exception as error:
        raise ExportFailed(
            f"{card.name}: PyTorch could not export {decoder.architecture} with a static cache: "
            f"{kind_and_line(root_cause(error))}{place_in_model(error, card)}. Whole texts on "
            "targets of fixed shapes can't be measured."
        ) from error


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
            raise AssertionError("the buffers exist from the start")

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
