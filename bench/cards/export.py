"""From a PyTorch module to one checked, self-contained ONNX file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.backend import TorchSource
from bench.cards.card import Card
from bench.cards.inputs import random_inputs
from bench.cards.modules import (
    Made,
    arguments,
    examples,
    for_shapes,
    make,
    outputs,
    tensors,
    to_array,
)
from bench.errors import BenchError, ExportFailed, SpecError, kind_and_line, with_trace
from bench.files import being_made, file_stem
from bench.variants import FP32

#: ONNX Runtime, OpenVINO and the ONNX reference evaluator all read it; dynamo emits it natively.
OPSET = 18
#: Tracing with a batch of 1 would specialise the graph to 1.
TRACED_SIZE = 2
#: Two batch sizes prove that the batch is really dynamic, one of them not the traced one.
_COMPARED_SIZES = (1, 5)
TOLERANCE = FP32.tolerance


def export(card: Card, cache: Path) -> Path:
    """The ONNX form of ``card``'s model, dynamic in every symbolic dimension.

    An ONNX file that the card names is used as it is. An earlier export is used again from
    ``cache`` where it is of the same module and still computes what the module does. Raises
    `ExportFailed` with what to try, or with the numbers when the exported model computes something
    else; `Unavailable` where torch is not installed.
    """
    if card.source.onnx is not None:
        return card.file(card.source.onnx)
    source = card.model_file().torch
    if source is None:
        raise SpecError(f"{card.path}: the card has neither an ONNX nor a PyTorch source.")
    made = make(source)
    path = kept_place(card, made, cache)
    if path.is_file() and _still_computes(card, made, path):
        return path
    return export_module(card, source, path)


def kept_place(card: Card, made: Made, cache: Path) -> Path:
    """Where the export of a module as it is now is kept, in a folder that is there.

    Raises `SpecError` where it can't be made.
    """
    key = content_key(card, made)[:16]
    path = cache / "exports" / f"{file_stem(card.name)}-{key}.onnx"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"{path.parent}: exports can't be kept there: {error.strerror}. Set BENCH_CACHE to a "
            "writable folder."
        ) from error
    return path


def export_module(card: Card, source: TorchSource, path: Path) -> Path:
    """Export, check and compare, then write ``path`` as a whole."""
    made = make(source)
    with being_made(path) as making:
        _write_onnx(card, made, making)
        _check(card, making)
        for size in _COMPARED_SIZES:
            _compare(card, made, making, size)
    return path


def _still_computes(card: Card, made: Made, path: Path) -> bool:
    """Whether an earlier export gives what the module gives now: the module may depend on more
    than its weights and code, and a file may be damaged."""
    try:
        for size in _COMPARED_SIZES:
            _compare(card, made, path, size)
    except ExportFailed:
        return False
    return True


def feeds_for(card: Card, made: Made, size: int, seed: int = 0) -> dict[str, Array]:
    """Inputs with every symbolic dimension at ``size``: the module's own examples where they have
    that form and the card gives no value, else `example_inputs`."""
    feeds = example_inputs(card, size, seed)
    given = for_shapes(examples(made) or {}, {name: array.shape for name, array in feeds.items()})
    filled = [tensor.name for tensor in card.inputs if tensor.fill is not None]
    return (given or feeds) | {name: feeds[name] for name in filled}


def example_inputs(card: Card, size: int, seed: int = 0) -> dict[str, Array]:
    """Seeded, non-zero inputs with every symbolic dimension at ``size``."""
    shapes = {
        tensor.name: tuple(dim if isinstance(dim, int) else size for dim in tensor.shape)
        for tensor in card.inputs
    }
    feeds = random_inputs(shapes, {tensor.name: tensor.dtype for tensor in card.inputs}, {}, seed)
    filled = {tensor.name: tensor.fill for tensor in card.inputs if tensor.fill is not None}
    return feeds | {n: np.full_like(feeds[n], value) for n, value in filled.items()}


def content_key(card: Card, made: Made) -> str:
    """Hash of all that is known to decide the export."""
    versions = []
    for package in ("torch", "onnxscript", "transformers"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    outputs = [tensor.name for tensor in card.outputs]
    text = json.dumps([card.content_sha256(), made.sha256, outputs, versions, OPSET])
    return hashlib.sha256(text.encode()).hexdigest()


def _write_onnx(card: Card, made: Made, path: Path) -> None:
    import torch  # torch: optional

    feeds = feeds_for(card, made, TRACED_SIZE)
    names = arguments(made, list(feeds))
    symbolic = {
        tensor.name: [axis for axis, dim in enumerate(tensor.shape) if isinstance(dim, str)]
        for tensor in card.inputs
    }
    dynamic = tuple(dict.fromkeys(symbolic[name], torch.export.Dim.DYNAMIC) for name in names)
    try:
        with silence(), made.running() as module:
            program = torch.onnx.export(
                module,
                tuple(tensors(made, feeds)),
                dynamo=True,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                input_names=names,
                output_names=[tensor.name for tensor in card.outputs] or None,
                verbose=False,
            )
            assert program is not None
            program.save(str(path), external_data=False)
    except Exception as error:
        raise ExportFailed(
            f"{card.name}: PyTorch could not export it: {kind_and_line(root_cause(error))}"
            f"{place_in_model(error, card)}. Replace that operation with one that ONNX has, or "
            "export the model yourself and name the .onnx file in the card."
        ) from error


def _check(card: Card, path: Path) -> None:
    """The file is valid ONNX, its shapes agree, and the symbolic dimensions stayed symbolic."""
    import onnx  # onnx: start-up

    try:
        onnx.checker.check_model(str(path), full_check=True)
        graph = onnx.load(str(path)).graph
    except Exception as error:
        raise ExportFailed(
            f"{card.name}: the exported file is not valid ONNX: {kind_and_line(error)}"
        ) from error
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in graph.input
    }
    for tensor, dim in _fixed(card, sizes):
        raise ExportFailed(
            f"{card.name}: the dimension {dim!r} of {tensor!r} became fixed during the export: the "
            "module's code depends on its size. Remove that dependence, or write a number in the "
            "card."
        )


def _fixed(card: Card, sizes: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, str]]:
    """Inputs and their dimensions that the card names and the file has a size for (0 is none)."""
    for tensor in card.inputs:
        found = sizes.get(tensor.name, ())
        for dim, size in zip_longest(tensor.shape, found[: len(tensor.shape)], fillvalue=1):
            if isinstance(dim, str) and size > 0:
                yield tensor.name, dim


def _compare(card: Card, made: Made, path: Path, size: int) -> None:
    """Refuse a file that computes something else than the module."""
    feeds = feeds_for(card, made, size, seed=size)
    expected = _expected(card, made, feeds)
    try:
        actual = run_onnx(path, feeds)
    except Exception as error:
        raise ExportFailed(
            f"{card.name}: the exported model can't be run at batch {size}: "
            f"{kind_and_line(error)}. Name an .onnx file of your own."
        ) from error
    if len(actual) != len(expected):
        raise ExportFailed(
            f"{card.name}: the exported model has {len(actual)} outputs and the module gives "
            f"{len(expected)} tensors, so they can't be compared. Let forward return only tensors."
        )
    for position, (want, got) in enumerate(zip(expected, actual, strict=True)):
        beyond = exceeds(to_array(want), got, _rounding(want))
        if beyond is not None:
            raise ExportFailed(
                f"{card.name}: at batch {size} output {position} of the exported model differs "
                f"from PyTorch by up to {beyond:.3g} (allowed: {TOLERANCE.absolute:g} relative or "
                "absolute), so it is not timed. Report it to the exporter, or name an .onnx file "
                "of your own."
            )


def _expected(card: Card, made: Made, feeds: dict[str, Array]) -> list[Any]:
    """What the module gives."""
    try:
        return outputs(made, feeds)
    except BenchError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
        refused = ExportFailed(
            f"{card.name}: the module refused {shapes}: {kind_and_line(error)}"
            f"{place_in_model(error, card)}."
        )
        raise with_trace(refused, error) from error


def _rounding(tensor: Any) -> float:
    """Relative size of a last bit of the tensor's type, which two right answers may differ in."""
    import torch  # torch: optional

    return float(torch.finfo(tensor.dtype).eps) if tensor.is_floating_point() else 0.0


#: Types that ONNX Runtime's Python interface can't hand over, as it calls them.
_NUMPY_LACKS = frozenset(
    f"tensor({name})"
    for name in ("bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz")
)


def run_onnx(path: Path, arrays: dict[str, Array]) -> Sequence[Array]:
    """Outputs by ONNX Runtime where it is installed and can, else by ONNX's reference evaluator."""
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime  # onnxruntime: optional

        with contextlib.suppress(onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented):
            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            if _NUMPY_LACKS.isdisjoint(output.type for output in session.get_outputs()):
                return list(session.run(None, arrays))
    from onnx.reference import ReferenceEvaluator  # onnx: start-up

    return list(ReferenceEvaluator(str(path)).run(None, arrays))


def exceeds(want: Array, got: Array, rounding: float = 0.0) -> float | None:
    """The largest difference, where any lies beyond the tolerance; None where all agree.

    Values that are the same, infinities and NaN too, agree. What is allowed absolutely grows with
    the output: the terms of a sum near 1000 are rounded to thousandths of what is allowed near 1.
    """
    if want.shape != got.shape:
        return float("inf")
    mine, theirs = want.astype(np.float64), got.astype(np.float64)
    sizes = np.abs(mine[np.isfinite(mine)])
    usual = max(1.0, float(np.median(sizes))) if sizes.size else 1.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(mine - theirs)
        allowed = TOLERANCE.absolute * usual + (TOLERANCE.relative + 2 * rounding) * np.abs(mine)
        near = np.isfinite(mine) & (difference <= allowed)  # a NaN is near nothing
    agree = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs)) | near
    if bool(agree.all()):
        return None
    beyond = difference[~agree]
    return float(np.inf if np.isnan(beyond).all() else np.nanmax(beyond))


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """The exporter logs and prints about packages that nobody asked for."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def root_cause(error: BaseException) -> BaseException:
    """The exception that began it: the exporter wraps the one that names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def place_in_model(error: BaseException, card: Card) -> str:
    """``, at nets.py line 12`` where the traceback passes through the model's own file."""
    source = card.model_file().torch
    if source is None:
        return ""
    for frame in _frames(error):
        if Path(frame.filename) == source.file:
            return f", at {source.file.name} line {frame.lineno} ({frame.line})"
    return ""


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    """Of the error and of what caused it, each from the innermost outwards."""
    cause: BaseException | None = error
    while cause is not None:
        yield from reversed(traceback.extract_tb(cause.__traceback__))
        cause = cause.__cause__
