"""What a graph can't branch on: a cache's ways of counting, written without conditions.

A traced graph has one path. Where a class asks "is the window full?" or "is a group of tokens
whole?" of its cache, what it does then is written here so that one path is right in both cases.
Each export is compared with the class itself before, at and after every such boundary.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

#: What is in the state of a cache before the first token, by the attribute's name, where it isn't
#: 0: a gate of minus infinity weighs nothing (transformers' DeepseekV4CSACompressor).
FILLS = {"overlap_gate": float("-inf")}
_V4 = "transformers.models.deepseek_v4.modeling_deepseek_v4"


@contextlib.contextmanager
def branchless() -> Iterator[None]:
    """While it lasts, caches count without branches."""
    with contextlib.ExitStack() as stack:
        cache_utils = importlib.import_module("transformers.cache_utils")
        sliding = cache_utils.DynamicSlidingWindowLayer
        stack.enter_context(_replaced(sliding, "get_mask_sizes", _mask_sizes))
        stack.enter_context(_replaced(sliding, "update", _sliding_update))
        with contextlib.suppress(ImportError):
            v4 = importlib.import_module(_V4)
            _compressing(stack, v4)
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    missing = object()
    before = vars(owner).get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _mask_sizes(layer: Any, query_length: Any) -> tuple[Any, Any]:
    """Keys that are seen, and the position of the first of them."""
    held = layer.keys.shape[-2]
    return held + query_length, layer.cumulative_length - held


def _last(tensor: Any, most: int) -> Any:
    """The last ``most`` along the tokens' axis, or all where there are fewer."""
    import torch  # torch: optional

    size = tensor.shape[-2]
    kept = torch.sym_min(size, most)
    return tensor.narrow(-2, size - kept, kept)


def _sliding_update(layer: Any, keys: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
    import torch  # torch: optional

    layer.cumulative_length += keys.shape[-2]
    keys = torch.cat([layer.keys, keys], dim=-2)
    values = torch.cat([layer.values, values], dim=-2)
    layer.keys = _last(keys, layer.sliding_window - 1)
    layer.values = _last(values, layer.sliding_window - 1)
    return keys, values


# -- DeepSeek-V4's compressors ---------------------------------------------------------------------


def _compressing(stack: contextlib.ExitStack, v4: Any) -> None:
    """Behind the windows that are whole, one of zeros goes through the compressor and is dropped
    again, so that there always is one."""
    import torch  # torch: optional

    stack.enter_context(_replaced(v4, "min", torch.sym_min))
    hca, csa = v4.DeepseekV4HCACache, v4.DeepseekV4CSACache
    stack.enter_context(_replaced(hca, "update", _shared_update))
    stack.enter_context(_replaced(hca, "store_compression_weights", _store))
    stack.enter_context(_replaced(hca, "update_compressor_states", _append))
    stack.enter_context(_replaced(csa, "update_overlap_state", _overlap))


def _shared_update(layer: Any, keys: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
    """Keys are the values (transformers' DeepseekV4HCACache.update)."""
    import torch  # torch: optional

    layer.cumulative_length += keys.shape[-2]
    full = torch.cat([layer.keys, keys], dim=-2)
    layer.keys = layer.values = _last(full, layer.sliding_window - 1)
    return full, full


def _store(layer: Any, name: str, kv: Any, gate: Any) -> tuple[Any, Any, Any]:
    """What is whole windows by now, and one of zeros behind them; the rest waits."""
    import torch  # torch: optional

    rate = layer.compress_rate
    first = layer.entry_count[name] * rate
    chunks = []
    for waiting, new in ((layer.buffer_kv, kv), (layer.buffer_gate, gate)):
        held = torch.cat([waiting[name], new], dim=1)
        total = held.shape[1]
        usable = (total // rate) * rate
        waiting[name] = held.narrow(1, usable, total - usable)
        zeros = held.new_zeros((held.shape[0], rate, held.shape[2]))
        chunks.append(torch.cat([held.narrow(1, 0, usable), zeros], dim=1))
    return chunks[0], chunks[1], first


def _append(layer: Any, name: str, compressed: Any) -> Any:
    """All that was compressed so far, without the window of zeros."""
    import torch  # torch: optional

    new = compressed[:, :-1]
    layer.compressed_kv[name] = torch.cat([layer.compressed_kv[name], new], dim=1)
    layer.entry_count[name] = layer.entry_count[name] + new.shape[1]
    return layer.compressed_kv[name]


def _overlap(layer: Any, name: str, kv: Any, gate: Any, width: int) -> tuple[Any, Any]:
    """What overlaps from the step before; that of the last whole window is kept, where there is
    one."""
    import torch  # torch: optional

    prior = []
    for kept, new in ((layer.overlap_kv, kv), (layer.overlap_gate, gate)):
        prior.append(kept[name])
        kept[name] = torch.cat([kept[name].unsqueeze(1), new[..., :width]], dim=1)[:, -2]
    return prior[0], prior[1]
