"""From text to token ids, by the tokenizer that the model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError, Unavailable

#: What a tokenizer's encodings hold, by the names that models give to their inputs.
_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def tokenize(
    texts: Sequence[tuple[str, ...]], tokenizer: Path, max_length: int, names: Sequence[str]
) -> tuple[dict[str, Array], list[int]]:
    """An array for each of ``names``, int64 of shape (texts, tokens), padded to the longest text;
    and the places of the texts that were cut at ``max_length`` tokens.

    Each of ``texts`` is one text, or a pair that the tokenizer puts together. ``tokenizer`` is a
    ``tokenizer.json`` or a folder that holds one. Raises `Unavailable` without the package
    ``tokenizers``, `SpecError` for a file that is none, or an input that no tokenizer fills.
    """
    strange = [name for name in names if name not in _FIELDS]
    if strange:
        raise SpecError(
            f"the input {strange[0]!r} can't be made from text; a tokenizer fills "
            f"{', '.join(_FIELDS)}."
        )
    loaded = _load(tokenizer)
    loaded.enable_truncation(max_length)
    loaded.enable_padding(**_padding(loaded))
    encodings = loaded.encode_batch([text if len(text) > 1 else text[0] for text in texts])
    cut = [place for place, encoding in enumerate(encodings) if encoding.overflowing]
    arrays = {
        name: np.array([getattr(e, _FIELDS[name]) for e in encodings], dtype=np.int64)
        for name in names
    }
    return arrays, cut


def _load(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer  # tokenizers: optional
    except ImportError as error:
        raise Unavailable(
            "text needs the package tokenizers, which is not installed.",
            "pip install 'infer-bench[hf]'",
        ) from error
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise SpecError(
            f"{file}: no such tokenizer file. Save it with `tokenizer.save_pretrained(folder)`."
        )
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the Rust side raises plain exceptions
        raise SpecError(f"{file}: not a readable tokenizer: {error}.") from error


def _padding(loaded: Any) -> dict[str, Any]:
    """The model's own padding token, to the longest text whatever the file says."""
    known = loaded.padding or {}
    for token in ("[PAD]", "<pad>", "<|endoftext|>"):
        number = loaded.token_to_id(token)
        if number is not None and "pad_token" not in known:
            known = {"pad_id": number, "pad_token": token}
    return {key: known[key] for key in ("pad_id", "pad_token", "direction") if key in known}
