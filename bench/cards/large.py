"""ONNX files that are too large for one protobuf: their weights lie in a file beside the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.cards.bodies import all_graphs
from bench.cards.files import stored_bytes

#: A protobuf holds 2 GiB at most (protobuf.dev/programming-guides/proto-limits); above this, which
#: leaves room for the graph, the weights lie in a file beside it.
SINGLE_FILE_BYTES = 3 * 2**29


def is_large(path: Path) -> bool:
    """Whether a file that is made from this one may be too large for one file."""
    return stored_bytes(path) > SINGLE_FILE_BYTES


def save(model: Any, path: Path) -> None:
    """Write ``model`` as one file, or as a graph with its weights in ``path``.data."""
    import onnx  # onnx: start-up

    held = sum(len(t.raw_data) for g in all_graphs(model.graph) for t in g.initializer)
    if held <= SINGLE_FILE_BYTES:
        onnx.save(model, str(path))
        return
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data_name(path),
    )


def data_name(path: Path) -> str:
    """What the file beside ``path`` is called."""
    return f"{path.name}.data"


def with_shapes(source: Path, folder: Path) -> Any:
    """The model in memory with the shapes of its values: inferred by path, since a model in memory
    has to fit one protobuf for that. ``folder`` takes what is written meanwhile."""
    import onnx  # onnx: start-up
    from onnx.external_data_helper import load_external_data_for_model

    inferred = folder / "shapes.onnx"
    onnx.shape_inference.infer_shapes_path(str(source), str(inferred))
    model = onnx.load(str(inferred), load_external_data=False)
    load_external_data_for_model(model, str(source.parent))
    inferred.unlink()
    return model
