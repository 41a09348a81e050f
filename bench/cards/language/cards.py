"""Cards of language models that come without one, and what their card leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.apart import apart
from bench.cards.card import Card
from bench.cards.language import causal
from bench.cards.language.found import decoder_in
from bench.cards.modules import import_torch
from bench.decoding import BATCH, Decoder
from bench.errors import SpecError, Unavailable
from bench.validation import first_problem

TASK = "text-generation"


def card_for_decoder(folder: Path) -> Card:
    """The card of a checkpoint whose class gives logits of the next token.

    Raises `SpecError` for a class that isn't supported, `Unavailable` without transformers.
    """
    path = folder.absolute() / "config.json"
    name = path.parent.name or path.parent.resolve().name
    return card_of_decoder(path, folder, {"pretrained": "."}, name)


def card_of_decoder(path: Path, folder: Path, source: Mapping[str, str], name: str = "") -> Card:
    """The card of a decoder whose checkpoint is in ``folder``; ``path`` is what it is made from,
    and what its name is taken from where none is given. Raises `SpecError`."""
    data = {
        "name": name or path.stem,
        "task": TASK,
        "source": source,
        **tensors(described(folder)),
        "path": path.absolute(),
    }
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, [])}") from error


def completed(card: Card) -> Card:
    """The card of a language model with what it need not say: its inputs and outputs, and that an
    ONNX file with a cache is one."""
    decoder = None
    if card.source.onnx is not None and card.task in ("raw", TASK):
        decoder = decoder_in(card.file(card.source.onnx))
        card = card if decoder is None else card.model_copy(update={"task": TASK})
    folder = card.checkpoint_folder()
    if card.task != TASK or card.inputs or folder is None:
        return card
    found = tensors(decoder or described(folder))
    return Card.model_validate({**card.model_dump(), **found})


def described(folder: Path) -> Decoder:
    """What the checkpoint's class takes and gives: found in a process of its own, since threads
    that PyTorch starts here would be missing in those that are forked from here."""
    import_torch()
    return apart(str(folder), lambda: _described(folder))


def _described(folder: Path) -> Decoder:
    with reading(folder):
        return causal.describe(str(folder))


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """What `causal` raises of a checkpoint, as errors that name it: `SpecError`, `Unavailable`."""
    try:
        yield
    except ImportError as error:
        raise Unavailable(
            f"{folder}: {error}, needed for language models.",
            "pip install 'infer-bench[hf,torch]'",
        ) from error
    except (OSError, ValueError) as error:
        raise SpecError(f"{folder}: {error}") from error


def tensors(decoder: Decoder) -> dict[str, Any]:
    """The inputs and outputs of a decoder, as a card lists them."""
    tokens = [BATCH, "seq"]
    inputs = [
        _tensor(decoder.tokens, "int64", tokens),
        *([_tensor(decoder.mask, "int64", [BATCH, "total"])] if decoder.mask else []),
        *([_tensor(decoder.positions, "int64", tokens)] if decoder.positions else []),
        *(_tensor(tensor.input, tensor.dtype, tensor.shape) for tensor in decoder.state),
    ]
    outputs = [
        _tensor(decoder.logits, "float32", [*tokens, decoder.vocabulary]),
        *(_tensor(tensor.output, tensor.dtype, _next(tensor.shape)) for tensor in decoder.state),
    ]
    return {"inputs": inputs, "outputs": outputs}


def _tensor(name: str, dtype: str, shape: Sequence[int | str]) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape}


def _next(shape: tuple[int | str, ...]) -> list[int | str]:
    return [f"{dim}_next" if isinstance(dim, str) and dim != BATCH else dim for dim in shape]
