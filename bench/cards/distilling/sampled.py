"""What the original itself goes on to say: more text to learn from, drawn from its own
distributions, as DeepSeek-R1's students learnt from its answers (arXiv 2501.12948, section 2.4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.cards.language.states import cache_argument
from bench.cards.language.tokens import Encoded
from bench.errors import SpecError
from bench.files import write_text

#: Tokens of a document that the original goes on from.
PROMPT = 16
#: Continued at once: more gain little on a GPU, and take memory for the cache.
_AT_ONCE = 128


def sampled(
    original: Any,
    documents: Sequence[Encoded],
    kept: Path,
    *,
    count: int,
    length: int,
    seed: int,
    say: Callable[[str], None],
) -> list[Encoded]:
    """``count`` texts of ``length`` tokens at most: the beginnings of ``documents`` in turn, each
    with another continuation. They are drawn once and lie in ``kept``, where a training that is
    taken up again finds them.

    Raises `SpecError` for documents that are all too short.
    """
    asked = [one.ids[:PROMPT] for one in documents if len(one.ids) >= PROMPT]
    if not asked or length <= PROMPT:
        raise SpecError(
            f"--sample takes documents, and rows, of more than {PROMPT} tokens, because the "
            "original continues from that many."
        )
    settings = {"count": count, "length": length, "seed": seed}
    found = _read(kept, settings)
    if found is None:
        found = []
        for start in range(0, count, _AT_ONCE):
            prompts = [asked[n % len(asked)] for n in range(start, min(start + _AT_ONCE, count))]
            found += _continued(original, np.stack(prompts), length, [seed, start])
            say(f"{len(found)} of {count} texts drawn from the original")
        content = {**settings, "ids": [ids.tolist() for ids in found]}
        write_text(kept, json.dumps(content))
    return [Encoded(ids, np.zeros(len(ids), np.int64)) for ids in found]


def _read(kept: Path, settings: dict[str, int]) -> list[Array] | None:
    """What was drawn before with the same settings."""
    try:
        content = json.loads(kept.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    ids = content.pop("ids", None)
    return [np.array(one, np.int64) for one in ids] if content == settings else None


def _continued(original: Any, prompts: Array, length: int, seed: list[int]) -> list[Array]:
    """Each prompt with tokens drawn behind it, to the end of the text or of the row."""
    import torch  # torch: optional

    ends = original.config.eos_token_id
    ends = np.array([] if ends is None else ends).reshape(-1)
    device = next(original.parameters()).device
    drawn = torch.Generator(device).manual_seed(int(np.random.default_rng(seed).integers(2**62)))
    ids = torch.from_numpy(prompts).to(device)
    argument, cache, new = cache_argument(original), None, ids
    with torch.no_grad():
        while ids.shape[1] < length:
            given = original(input_ids=new, use_cache=True, **{argument: cache})
            cache = given.past_key_values
            chances = torch.softmax(given.logits[:, -1].float(), -1)
            new = torch.multinomial(chances, 1, generator=drawn)
            ids = torch.cat([ids, new], 1)
    return [_to_its_end(row, ends) for row in ids.cpu().numpy()]


def _to_its_end(ids: Array, ends: Array) -> Array:
    """Without what was drawn behind the end of the text."""
    (places,) = np.nonzero(np.isin(ids[PROMPT:], ends))
    found: Array = ids[: PROMPT + places[0] + 1] if len(places) else ids
    return found
