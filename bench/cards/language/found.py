"""Decoders in ONNX files: those described by their export, and those that others exported.

Others' are told by their names, optimum's and ONNX Runtime GenAI's: ``past_key_values.0.key``,
``present.0.key``; a ``genai_config.json`` beside the file may say others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.decoding import BATCH, METADATA_KEY, Decoder, Length, StateTensor
from bench.errors import SpecError

_GENAI = "genai_config.json"
#: What the axis of the tokens that were seen is called.
_PAST = "past"


@dataclass(frozen=True)
class _Names:
    """How a graph calls its tensors; ``{}`` is the layer's number."""

    tokens: str = "input_ids"
    mask: str = "attention_mask"
    positions: str = "position_ids"
    logits: str = "logits"
    past: tuple[str, str] = ("past_key_values.{}.key", "past_key_values.{}.value")
    present: tuple[str, str] = ("present.{}.key", "present.{}.value")
    context: int | None = None


def decoder_in(path: Path) -> Decoder | None:
    """The decoder that an ONNX file holds; None for every other model.

    Raises `SpecError` for one whose cache isn't understood.
    """
    # Importing onnx takes longer than this look, which rules nearly every other file out.
    if not _may_hold_one(path):
        return None
    import onnx  # onnx: start-up

    model = onnx.load(str(path), load_external_data=False)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                return Decoder.from_json(entry.value)
            except ValueError as error:
                raise SpecError(f"{path}: {METADATA_KEY}: {error}.") from error
    names = _genai_names(path.with_name(_GENAI)) or _Names()
    return _by_names(path, model.graph, names)


def _may_hold_one(path: Path) -> bool:
    if path.with_name(_GENAI).is_file():
        return True
    content = path.read_bytes()
    return METADATA_KEY.encode() in content or (b"past" in content and b"present" in content)


def _by_names(path: Path, graph: Any, names: _Names) -> Decoder | None:
    inputs = {value.name: value.type.tensor_type for value in graph.input}
    outputs = {value.name: value.type.tensor_type for value in graph.output}
    if names.tokens not in inputs or names.logits not in outputs:
        return None
    state = tuple(_state(path, inputs, outputs, names))
    if not state:
        return None
    known = {names.tokens, names.mask, names.positions, *(tensor.input for tensor in state)}
    for name in inputs.keys() - known:
        raise SpecError(
            f"{path}: it has a decoder's cache, but the purpose of its input {name!r} is unknown. "
            "bench feeds token ids, an attention mask, position ids, keys and values."
        )
    classes = [d.dim_value for d in outputs[names.logits].shape.dim][-1:]
    return Decoder(
        architecture="",
        vocabulary=classes[0] if classes and classes[0] else 0,
        state=state,
        lengths={_PAST: Length("grows")},
        context=names.context,
        tokens=names.tokens,
        mask=names.mask if names.mask in inputs else "",
        positions=names.positions if names.positions in inputs else "",
        logits=names.logits,
    )


def _state(
    path: Path, inputs: Mapping[str, Any], outputs: Mapping[str, Any], names: _Names
) -> Iterator[StateTensor]:
    """Keys and values of each layer: [batch, heads, tokens, width]."""
    from onnx import helper  # onnx: start-up

    layer = 0
    while names.past[0].format(layer) in inputs:
        for past, present in zip(names.past, names.present, strict=True):
            taken, given = past.format(layer), present.format(layer)
            if taken not in inputs or given not in outputs:
                missing = taken if taken not in inputs else given
                raise SpecError(f"{path}: a decoder with a cache, but {missing!r} is missing.")
            kind = inputs[taken]
            dims = [dim.dim_value for dim in kind.shape.dim]
            if len(dims) != 4 or not (dims[1] and dims[3]):
                raise SpecError(
                    f"{path}: {taken!r} must be [batch, heads, past tokens, width], with numbers "
                    f"for heads and width; it has {len(dims)} axes, {dims}."
                )
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
            yield StateTensor(taken, given, dtype, (BATCH, dims[1], _PAST, dims[3]))
        layer += 1


def _genai_names(path: Path) -> _Names | None:
    """What ONNX Runtime GenAI's description says; None where it isn't there."""
    if not path.is_file():
        return None
    try:
        model = json.loads(path.read_text("utf-8"))["model"]
        taken, given = model["decoder"].get("inputs", {}), model["decoder"].get("outputs", {})
        plain = _Names()
        return _Names(
            tokens=taken.get("input_ids", plain.tokens),
            mask=taken.get("attention_mask", plain.mask),
            positions=taken.get("position_ids", plain.positions),
            logits=given.get("logits", plain.logits),
            past=(
                _pattern(taken.get("past_key_names"), plain.past[0]),
                _pattern(taken.get("past_value_names"), plain.past[1]),
            ),
            present=(
                _pattern(given.get("present_key_names"), plain.present[0]),
                _pattern(given.get("present_value_names"), plain.present[1]),
            ),
            context=model.get("context_length"),
        )
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SpecError(f"{path}: not a valid description of a decoder: {error}.") from error


def _pattern(text: str | None, otherwise: str) -> str:
    """``past_key_values.%d.key`` in the form that `str.format` takes."""
    return re.sub(r"%d", "{}", text) if text else otherwise
