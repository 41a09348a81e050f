"""The decoder of `made_decoders.py` with a static cache, in files of fixed sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from bench.backend import ModelFile, StaticStep
from bench.cards.language.fixed import fixed
from bench.contract.decoders import DecoderExample
from bench.contract.made_decoders import DECODER, TABLE, right, write_static
from bench.decoding import POSITION

#: Batch, new tokens and capacity of each file: those that the checks ask for, and a larger step.
SIZES = ((2, 1, 14), (2, 4, 14), (1, 1, 14))


@dataclass(frozen=True)
class StaticDecoderExample(DecoderExample):
    """With files for `SIZES`; the first is loaded like any other model."""

    def right(self, tokens: np.ndarray) -> np.ndarray:
        return right(tokens)[:, -1]


def write_static_decoder(folder: Path) -> StaticDecoderExample:
    path = write_static(folder / "static_decoder.onnx")
    steps = []
    for batch, tokens, capacity in SIZES:
        shapes = {DECODER.tokens: (batch, tokens), POSITION: (1,)}
        shapes |= {t.input: DECODER.buffer(t, batch, capacity) for t in DECODER.state}
        made = fixed(onnx.load(path), shapes, "it").model
        target = folder / f"static_decoder-{batch}-{tokens}-{capacity}.onnx"
        onnx.save(made, target)
        steps.append(StaticStep(target, batch, tokens, capacity))
    # For those that compile one file for several numbers of tokens.
    steps += [StaticStep(path, batch, 0, 14) for batch in (2, 1)]
    file = ModelFile("decoder", steps[0].path, static=tuple(steps))
    return StaticDecoderExample(file, DECODER, TABLE)
