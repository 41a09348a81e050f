"""From a PyTorch module to one checked, self-contained ONNX file."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import sys
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
from bench.errors import ExportFailed, SpecError, Unavailable
from bench.variants import FP32

#: ONNX Runtime, OpenVINO and the ONNX reference evaluator all read it; dynamo emits it natively.
OPSET = 18
#: Tracing with a batch of 1 would specialise the graph to 1.
_TRACED_SIZE = 2
#: Two batch sizes prove that the batch is really dynamic, one of them not the traced one.
_COMPARED_SIZES = (1, 5)
TOLERANCE = FP32.tolerance


def export(card: Card, cache: Path) -> Path:
    """The ONNX form of ``card``'s model, dynamic in every symbolic dimension.

    An ONNX file that the card names is used as it is; an earlier export of the same content is
    reused from ``cache``. Raises `ExportFailed` with what to try, or with the numbers when the
    exported model computes something else; `Unavailable` where torch is not installed.
    """
    if card.source.onnx is not None:
        return card.file(card.source.onnx)
    source = card.model_file().torch
    if source is None:
        raise SpecError(f"{card.path}: the card has neither an ONNX nor a PyTorch source.")
    path = cache / "exports" / f"{card.name}-{_content_key(card)[:16]}.onnx"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"{path.parent}: exports can't be kept there: {error.strerror}. Set BENCH_CACHE to a "
            "writable folder."
        ) from error
    return export_module(card, source, path)


def export_module(card: Card, source: TorchSource, path: Path) -> Path:
    """Export, check and compare, then write ``path`` as a whole."""
    module = load_module(source)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        _write_onnx(card, module, partial)
        _check(card, partial)
        for size in _COMPARED_SIZES:
            _compare(card, module, partial, size)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_module(source: TorchSource) -> Any:
    """The PyTorch module in evaluation mode, with its weights.

    Raises `Unavailable` without torch, `SpecError` for a file, factory or weights that don't fit.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise Unavailable(
            "PyTorch is not installed, which exporting needs.", "pip install 'infer-bench[torch]'"
        ) from error
    name = module_name(source.file)
    spec = importlib.util.spec_from_file_location(name, source.file)
    if spec is None or spec.loader is None or not source.file.is_file():
        raise SpecError(f"{source.file}: there is no such Python file.")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    try:
        spec.loader.exec_module(loaded)
        given = () if source.folder is None else (str(source.folder),)
        module = getattr(loaded, source.factory)(*given)
        if source.weights is not None:
            from safetensors.torch import load_file  # torch: optional

            module.load_state_dict(load_file(str(source.weights)))
    except AttributeError as error:
        raise SpecError(
            f"{source.file}: has no usable factory {source.factory}: {error}."
        ) from error
    except Exception as error:
        raise SpecError(
            f"{source.file}:{source.factory}: the module can't be made: {_first_line(error)}"
        ) from error
    return module.eval()


def module_name(file: Path) -> str:
    """Under which name a model's file is imported."""
    return f"bench_export_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"


def example_inputs(card: Card, size: int, seed: int = 0) -> dict[str, Array]:
    """Seeded, non-zero inputs with every symbolic dimension at ``size``."""
    shapes = {
        tensor.name: tuple(dim if isinstance(dim, int) else size for dim in tensor.shape)
        for tensor in card.inputs
    }
    feeds = random_inputs(shapes, {tensor.name: tensor.dtype for tensor in card.inputs}, {}, seed)
    filled = {tensor.name: tensor.fill for tensor in card.inputs if tensor.fill is not None}
    return feeds | {n: np.full_like(feeds[n], value) for n, value in filled.items()}


def _content_key(card: Card) -> str:
    """Hash of all that decides the export; torch's version is read without importing torch."""
    versions = []
    for package in ("torch", "onnxscript"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions.append(f"{package} {metadata.version(package)}")
    outputs = [tensor.name for tensor in card.outputs]
    text = json.dumps([card.content_sha256(), outputs, versions, OPSET])
    return hashlib.sha256(text.encode()).hexdigest()


def _write_onnx(card: Card, module: Any, path: Path) -> None:
    import torch  # torch: optional

    arrays = example_inputs(card, _TRACED_SIZE)
    dynamic = tuple(
        {
            axis: torch.export.Dim.DYNAMIC
            for axis, dim in enumerate(tensor.shape)
            if isinstance(dim, str)
        }
        for tensor in card.inputs
    )
    try:
        with _silence():
            program = torch.onnx.export(
                module,
                tuple(torch.from_numpy(array) for array in arrays.values()),
                dynamo=True,
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                input_names=list(arrays),
                output_names=[tensor.name for tensor in card.outputs] or None,
                verbose=False,
            )
            assert program is not None
            program.save(str(path), external_data=False)
    except Exception as error:
        raise ExportFailed(
            f"{card.name}: PyTorch could not export it: {_first_line(_root(error))}"
            f"{_place_in_model(error, card)}. Replace that operation by one that ONNX has, or "
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
            f"{card.name}: the exported file is not valid ONNX: {_first_line(error)}"
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


def _compare(card: Card, module: Any, path: Path, size: int) -> None:
    """Refuse a file that computes something else than the module."""
    import torch  # torch: optional

    arrays = example_inputs(card, size, seed=size)
    with torch.inference_mode():
        made = module(*(torch.from_numpy(array) for array in arrays.values()))
    expected = [made] if isinstance(made, torch.Tensor) else list(made)
    actual = run_onnx(path, arrays)
    for position, (want, got) in enumerate(zip(expected, actual, strict=True)):
        error = _exceeds(want.numpy(), got)
        if error is not None:
            raise ExportFailed(
                f"{card.name}: at batch {size} output {position} of the exported model differs "
                f"from PyTorch by up to {error:.3g} (allowed: {TOLERANCE.absolute:g} relative or "
                "absolute), so it is not timed. Report it to the exporter, or name an .onnx file "
                "of your own."
            )


def run_onnx(path: Path, arrays: dict[str, Array]) -> Sequence[Array]:
    """Outputs by ONNX Runtime where it is installed, else by ONNX's reference evaluator."""
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime  # onnxruntime: optional

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return list(session.run(None, arrays))
    from onnx.reference import ReferenceEvaluator  # onnx: start-up

    return list(ReferenceEvaluator(str(path)).run(None, arrays))


def _exceeds(want: Array, got: Array) -> float | None:
    """The largest difference, where any lies beyond the tolerance; None where all agree."""
    if want.shape != got.shape:
        return float("inf")
    difference = np.abs(want.astype(np.float64) - got.astype(np.float64))
    allowed = TOLERANCE.absolute + TOLERANCE.relative * np.abs(want.astype(np.float64))
    # Written so that a NaN counts as beyond it.
    return None if bool((difference <= allowed).all()) else float(np.nanmax(difference))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
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


def _root(error: BaseException) -> BaseException:
    """The exception that began it: the exporter wraps the one that names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _place_in_model(error: BaseException, card: Card) -> str:
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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
