"""A language model's state as tensors: what one step takes from the last, and how long each is.

A decoder is one graph for prompts and for single tokens: it takes token ids and a *past*, and gives
logits and a *present*, which is the next step's past. `Decoder` says which input is which, and how
the size of each follows from the number of tokens seen. It is stored as JSON in the ONNX file, and
read by whatever feeds that, workers too: standard library alone, Python 3.9.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

#: The key of an ONNX file's ``metadata_props`` that a `Decoder` is stored under.
METADATA_KEY = "bench.decoder"
#: The one symbolic axis that isn't a length.
BATCH = "batch"
#: In the form with a static cache: the input [1] that tells the place of the first new token, and
#: what the axis of places is called. Its other inputs and outputs are called as in the dynamic one.
POSITION, CAPACITY = "position", "capacity"


@dataclass(frozen=True)
class Length:
    """How long an axis is after ``position`` tokens, by ``kind``:

    ``grows`` by each token; ``slides``: grows up to ``size`` tokens, then drops the oldest;
    ``rest``: what is left over from groups of ``size`` tokens; ``groups``: one for each whole group
    of ``size`` tokens.
    """

    kind: str
    size: int = 0

    def of(self, position: int) -> int:
        if self.kind == "grows":
            return position
        if self.kind == "slides":
            return min(position, self.size)
        if self.kind == "rest":
            return position % self.size
        if self.kind == "groups":
            return position // self.size
        raise ValueError(f"unknown kind of length {self.kind!r}")


@dataclass(frozen=True)
class StateTensor:
    """One tensor of the state: the input that takes it, and the output that gives the next.

    An axis of ``shape`` given as text is `BATCH` or a name among the decoder's ``lengths``.
    ``fill`` is what the values are before the first token, where the tensor isn't empty then.
    """

    input: str
    output: str
    dtype: str
    shape: tuple[int | str, ...]
    fill: float = 0.0

    @property
    def axis(self) -> int | None:
        """The axis whose length changes; None where the values alone do."""
        symbols = [i for i, d in enumerate(self.shape) if isinstance(d, str) and d != BATCH]
        return symbols[0] if symbols else None


@dataclass(frozen=True)
class Decoder:
    """A decoder's inputs and outputs. An empty name is an input that the graph doesn't have.

    ``mask`` is all ones, [batch, past and new tokens]: nothing is padded; where no tensor of the
    state grows with every token, its length tells the position. ``positions`` are [batch, new
    tokens]. ``context`` is the most tokens that the model is made for.
    """

    architecture: str
    vocabulary: int
    state: tuple[StateTensor, ...]
    lengths: Mapping[str, Length]
    context: int | None = None
    tokens: str = "input_ids"
    mask: str = ""
    positions: str = ""
    logits: str = "logits"
    #: what is chosen by rank, in words: where two candidates tie, right answers may differ
    chooses: tuple[str, ...] = ()

    def shape(self, tensor: StateTensor, batch: int, position: int) -> tuple[int, ...]:
        """The tensor's shape after ``position`` tokens."""
        return tuple(
            dim
            if isinstance(dim, int)
            else batch
            if dim == BATCH
            else self.lengths[dim].of(position)
            for dim in tensor.shape
        )

    def buffer(self, tensor: StateTensor, batch: int, capacity: int) -> tuple[int, ...]:
        """The tensor's shape in the form with a static cache."""
        return tuple(
            dim if isinstance(dim, int) else batch if dim == BATCH else capacity
            for dim in tensor.shape
        )

    def change(self, tensor: StateTensor) -> str:
        """How a step changes it: the kind of its length; ``replaced`` where only values change."""
        axis = tensor.axis
        return "replaced" if axis is None else self.lengths[str(tensor.shape[axis])].kind

    @property
    def cuts(self) -> bool:
        """Whether the state behind fewer tokens is a part of the state: each has entries of its own
        in every tensor."""
        return all(self.change(tensor) == "grows" for tensor in self.state)

    def state_bytes(self, batch: int, position: int) -> int:
        """Bytes of the whole state after ``position`` tokens."""
        return sum(
            math.prod(self.shape(tensor, batch, position)) * _item_bytes(tensor.dtype)
            for tensor in self.state
        )

    def token_bytes(self) -> float:
        """What a token of one sample adds to the state in the long run: a whole entry of what grows
        with every token, a share of what grows with every group, nothing of what slides."""
        return sum(
            math.prod(self.shape(tensor, 1, 1)[: tensor.axis])
            * math.prod(self.shape(tensor, 1, 1)[tensor.axis + 1 :])
            * _item_bytes(tensor.dtype)
            / max(1, self.lengths[str(tensor.shape[tensor.axis])].size)
            for tensor in self.state
            if tensor.axis is not None and self.change(tensor) in ("grows", "groups")
        )

    def boundaries(self) -> tuple[int, ...]:
        """Positions at which something of the state begins to behave otherwise: a window is full,
        a group of tokens is whole."""
        return tuple(sorted({length.size for length in self.lengths.values() if length.size}))

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, default=str)

    @classmethod
    def from_json(cls, text: str) -> Decoder:
        """Raises `ValueError` for text that is no description of a decoder."""
        try:
            data: dict[str, Any] = json.loads(text)
            data["state"] = tuple(
                StateTensor(**{**each, "shape": tuple(each["shape"])}) for each in data["state"]
            )
            data["lengths"] = {k: Length(**v) for k, v in data["lengths"].items()}
            data["chooses"] = tuple(data["chooses"])
            return cls(**data)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a valid description of a decoder: {error}") from error


def _item_bytes(dtype: str) -> int:
    """Of a value: ``float16`` has 2."""
    bits = re.search(r"\d+$", dtype)
    return int(bits[0]) // 8 if bits else 1
