"""From a decoder as a PyTorch module to one checked ONNX graph for prompts and single tokens."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cards.card import Card
from bench.cards.export import OPSET, kept_place, place_in_model, root_cause, silence
from bench.cards.language.check import Checked, check
from bench.cards.language.exporter import quickened
from bench.cards.large import SINGLE_FILE_BYTES
from bench.cards.modules import Made, make
from bench.decoding import BATCH, METADATA_KEY, Decoder, Length
from bench.errors import ExportFailed, kind_and_line
from bench.files import making_in

#: The key of ``metadata_props`` that tells what the check of the file found.
CHECKED_KEY = "bench.checked"
#: More than any model is made for, and far enough from what an index may be.
_MOST = 2**20


def export_decoder(card: Card, cache: Path) -> Path:
    """The ONNX graph of ``card``'s decoder, with the description of its state in it.

    An earlier export of the same module is used again where it still computes what the module
    does. Raises `ExportFailed` with the numbers where a new one computes something else.
    """
    source = card.model_file().torch
    assert source is not None, "only a module can be exported"
    made = make(source)
    path = kept_place(card, made, cache)
    if path.is_file() and _still_computes(card, made, path):
        return path
    # Weights in a file of their own are named by the graph, so both have their last names at once.
    with making_in(path.parent) as folder:
        making = folder / path.name
        _write(card, made, making)
        _describe(made.module.decoder, making, check(card.name, made, making))
        for part in sorted(folder.iterdir(), key=lambda part: part == making):
            shutil.move(part, path.parent / part.name)  # the graph last: it says that all is there
    return path


def _still_computes(card: Card, made: Made, path: Path) -> bool:
    try:
        check(card.name, made, path, thorough=False)
    except ExportFailed:
        return False
    return True


def _write(card: Card, made: Made, path: Path) -> None:
    decoder: Decoder = made.module.decoder
    arguments, dynamic = _traced(decoder)
    try:
        with made.running() as module:
            write_graph(module, arguments, dynamic, list(made.parameters), path, made.state_bytes)
    except Exception as error:
        raise ExportFailed(
            f"{card.name}: PyTorch could not export {decoder.architecture} with its cache: "
            f"{kind_and_line(root_cause(error))}{place_in_model(error, card)}. Export it yourself, "
            "and name the .onnx file."
        ) from error


def write_graph(
    module: Any,
    arguments: tuple[Any, ...],
    dynamic: tuple[Any, ...],
    inputs: list[str],
    path: Path,
    weights_bytes: int,
) -> None:
    """A module that has a ``decoder`` as an ONNX file, with its inputs by these names."""
    import torch  # torch: optional

    decoder: Decoder = module.decoder
    with silence(), quickened(), torch.no_grad():
        program = torch.onnx.export(
            module,
            arguments,
            dynamo=True,
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            input_names=inputs,
            output_names=[decoder.logits, *(tensor.output for tensor in decoder.state)],
            verbose=False,
        )
        assert program is not None
        program.save(str(path), external_data=weights_bytes > SINGLE_FILE_BYTES)


def _traced(decoder: Decoder) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Example arguments, and their symbolic axes.

    The axes' bounds are such that every "are there enough?" that a class asks has one answer from
    the bounds alone: no condition on a size is left that the graph would have taken one side of.
    """
    import torch  # torch: optional
    from torch.export import Dim

    new = 2 * max((length.size for length in decoder.lengths.values()), default=1) + 3
    sizes = {name: _traced_size(length, new) for name, length in decoder.lengths.items()}
    axes = {name: Dim(name, min=low, max=high) for name, (low, _, high) in sizes.items()}
    batch = Dim(BATCH, min=2, max=_MOST)
    ids = torch.zeros((2, new), dtype=torch.long)
    arguments, dynamic = [ids], [{0: batch, 1: Dim("seq", min=new, max=_MOST)}]
    if decoder.mask:
        arguments.append(torch.ones((2, 3 * new), dtype=torch.long))
        dynamic.append({0: batch, 1: Dim("total", min=3 * new, max=2 * _MOST)})
    for tensor in decoder.state:
        shape = [
            2 if d == BATCH else d if isinstance(d, int) else sizes[d][1] for d in tensor.shape
        ]
        arguments.append(torch.zeros(shape, dtype=getattr(torch, tensor.dtype)))
        dynamic.append(
            {
                axis: batch if dim == BATCH else axes[dim]
                for axis, dim in enumerate(tensor.shape)
                if isinstance(dim, str)
            }
        )
    return tuple(arguments), tuple(dynamic)


def _traced_size(length: Length, new: int) -> tuple[int, int, int]:
    """Least, traced and largest size of an axis."""
    if length.kind == "slides":
        return min(2, length.size), length.size, length.size
    if length.kind == "rest":
        return min(2, length.size - 1), length.size - 1, length.size - 1
    return 2, 2 * new + 1, _MOST


def _describe(decoder: Decoder, path: Path, checked: Checked) -> None:
    """Put the description into the file, and its names for axes: the exporter's are numbers."""
    import onnx  # onnx: start-up

    model = onnx.load(str(path), load_external_data=False)
    onnx.helper.set_model_props(
        model, {METADATA_KEY: decoder.to_json(), CHECKED_KEY: json.dumps(asdict(checked))}
    )
    del model.graph.value_info[:]  # names axes after the exporter's numbers
    for node in model.graph.node:
        # Where each node came from: longer than the graph, with the paths of whoever exported.
        del node.metadata_props[:]
    shapes: dict[str, tuple[int | str, ...]]
    shapes = {decoder.tokens: (BATCH, "seq"), decoder.mask: (BATCH, "total")}
    shapes |= {tensor.input: tensor.shape for tensor in decoder.state}
    shapes |= {decoder.logits: (BATCH, "seq", decoder.vocabulary)}
    shapes |= {
        tensor.output: tuple(
            f"{dim}_next" if isinstance(dim, str) and dim != BATCH else dim for dim in tensor.shape
        )
        for tensor in decoder.state
    }
    for value in (*model.graph.input, *model.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            if isinstance(name, str):
                dim.dim_param = name
            else:
                dim.dim_value = name
    onnx.save(model, str(path))
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportFailed(
            f"{path.stem}: the exported file is not valid ONNX: {kind_and_line(error)}"
        ) from error
