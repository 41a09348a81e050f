"""What a user says that a module takes: ``1x3x64x64``, or ``ids=1x128:int64``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.arrays import Array
from bench.cards.inputs import random_inputs
from bench.cards.modules import Made, outputs
from bench.errors import BenchError, SpecError, kind_and_line, with_trace

_FORM = re.compile(r"(?:([^=:]+)=)?(\d+(?:x\d+)*)(?::([A-Za-z]\w*))?")
_DTYPE = "float32"


@dataclass(frozen=True)
class Shaped:
    """One input. Its first axis counts samples; the size there is an example's."""

    text: str
    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def as_card(self) -> dict[str, object]:
        """Below ``[[inputs]]``."""
        return {"name": self.name, "dtype": self.dtype, "shape": ["batch", *self.shape[1:]]}


def read_shapes(texts: Sequence[str]) -> list[Shaped]:
    """Each of ``texts``; one that names no input has an empty name. Raises `SpecError`."""
    return [_read(text) for text in texts]


def _read(text: str) -> Shaped:
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise SpecError(
            f"--input {text}: write sizes with x between them, the batch first, for example "
            "1x3x64x64; of several inputs ids=1x128:int64."
        )
    name, sizes, dtype = found.groups()
    shape = tuple(map(int, sizes.split("x")))
    if min(shape) < 1:
        raise SpecError(f"--input {text}: every size has to be 1 or more.")
    return Shaped(text, (name or "").strip(), shape, _known(dtype or _DTYPE, text))


def _known(dtype: str, text: str) -> str:
    try:
        return str(np.dtype(dtype))
    except TypeError as error:
        raise SpecError(
            f"--input {text}: {dtype} is not a type of numbers, such as float32 or int64."
        ) from error


def inputs_of(
    made: Made, given: Sequence[Shaped], examples: Mapping[str, Array] | None
) -> list[dict[str, object]]:
    """The inputs of a module as a card has them: each of ``given`` by its name, or the next
    parameter of forward.

    Raises `SpecError` for more of them than it has, one given twice, one that has another number of
    dimensions than in the module's own examples, and shapes that the module refuses.
    """
    parameters = list(made.parameters)
    named: dict[str, Shaped] = {}
    for each in given:
        free = [name for name in parameters if name not in named]
        name = each.name or next(iter(free), "")
        if name not in parameters or name in named:
            raise SpecError(
                f"--input {each.text}: {made.name} takes {', '.join(parameters) or 'no input'}; "
                "give each at most once."
            )
        example = (examples or {}).get(name)
        if example is not None and example.ndim != len(each.shape):
            own = "x".join(map(str, example.shape))
            raise SpecError(
                f"--input {each.text}: {name} of {made.name} has {example.ndim} dimensions "
                f"({own} in its example), and {len(each.shape)} are given. The batch comes first."
            )
        named[name] = replace(each, name=name)
    _refuse_what_it_refuses(made, named)
    return [named[name].as_card for name in parameters if name in named]


def _refuse_what_it_refuses(made: Made, given: Mapping[str, Shaped]) -> None:
    """Call the module with seeded values of these shapes, as they are given."""
    shapes = {name: each.shape for name, each in given.items()}
    feeds = random_inputs(shapes, {name: each.dtype for name, each in given.items()}, {}, 0)
    try:
        outputs(made, feeds)
    except BenchError:
        raise
    except Exception as error:
        said = " --input ".join(each.text for each in given.values())
        wrong = SpecError(f"--input {said}: {made.name} refuses it: {kind_and_line(error)}.")
        raise with_trace(wrong, error) from error
