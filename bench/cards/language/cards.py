"""Cards of language models that come without one, and what their card leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.cards.card import Card
from bench.cards.language import causal
from bench.decoding import BATCH, Decoder
from bench.errors import SpecError, Unavailable
from bench.validation import first_problem

TASK = "text-generation"


def card_for_decoder(folder: Path) -> Card:
    """The card of a checkpoint whose class gives logits of the next token.

    Raises `SpecError` for a class that isn't supported, `Unavailable` without transformers.
    """
    decoder = described(folder)
    where = folder.absolute()
    data = {
        "name": where.name or where.resolve().name,
        "task": TASK,
        "source": {"pretrained": "."},
        **tensors(decoder),
        "path": where / "config.json",
    }
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{folder}: {first_problem(error, [])}") from error


def described(folder: Path) -> Decoder:
    """What the checkpoint's class takes and gives."""
    try:
        return causal.describe(str(folder))
    except ImportError as error:
        raise Unavailable(
            f"{folder}: {error}, which language models need.",
            "pip install 'infer-bench[hf,torch]'",
        ) from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{folder}: {error}") from error


def tensors(decoder: Decoder) -> dict[str, Any]:
    """The inputs and outputs of a decoder, as a card lists them."""
    inputs = [{"name": decoder.tokens, "dtype": "int64", "shape": [BATCH, "seq"]}]
    if decoder.mask:
        inputs.append({"name": decoder.mask, "dtype": "int64", "shape": [BATCH, "total"]})
    if decoder.positions:
        inputs.append({"name": decoder.positions, "dtype": "int64", "shape": [BATCH, "seq"]})
    inputs += [
        {"name": tensor.input, "dtype": tensor.dtype, "shape": list(tensor.shape)}
        for tensor in decoder.state
    ]
    outputs = [{"name": decoder.logits, "shape": [BATCH, "seq", decoder.vocabulary]}]
    outputs += [
        {"name": tensor.output, "dtype": tensor.dtype, "shape": _next(tensor.shape)}
        for tensor in decoder.state
    ]
    return {"inputs": inputs, "outputs": outputs}


def _next(shape: tuple[int | str, ...]) -> list[int | str]:
    return [f"{dim}_next" if isinstance(dim, str) and dim != BATCH else dim for dim in shape]
