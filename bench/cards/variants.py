"""Variants: precision forms of one model, made with ONNX Runtime's own tools and kept in the cache.

| variant | ONNX form | PyTorch form |
| --- | --- | --- |
| fp32 | the file as it is | the module as it is |
| fp16 | `onnxruntime.transformers.float16`, inputs and outputs stay fp32 | ``module.to(float16)`` |
| bf16 | the fp32 file; the runtime is told to compute in bfloat16 | ``module.to(bfloat16)`` |
| int8-dynamic | `onnxruntime.quantization.quantize_dynamic` | none |
| int8-static | `onnxruntime.quantization.quantize_static`, QDQ, per channel | none |
| int4 | `onnxruntime.quantization.matmul_nbits_quantizer`, `MatMulNBits` | none |
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.apart import apart
from bench.arrays import Array
from bench.backend import ModelFile
from bench.cards.bodies import all_nodes
from bench.cards.files import content_sha256, external_data
from bench.cards.half import write_float16
from bench.cards.large import data_name, is_large, save
from bench.cards.stacked import shape_zero_points
from bench.discover import load_object
from bench.errors import BenchError, ExportFailed, SpecError, Unavailable, first_line
from bench.files import file_stem, making_in
from bench.variants import Variant, find_variant

#: Calibration samples that are run at once; the quantiser keeps every activation of a batch.
_CALIBRATION_BATCH = 16
#: From here on `DequantizeLinear` has an axis (onnx: Operator changelog).
_PER_CHANNEL_OPSET = 13
#: Weights of int4 that share a scale, and what their products are summed in (4: the activations in
#: 8 bits too), as ONNX Runtime GenAI's builder makes models for the CPU.
_BLOCK, _ACCURACY_LEVEL = 32, 4
#: Raised whenever the way that a variant is made changes, so that older files are not reused.
_RECIPE = 3


@dataclass(frozen=True)
class Calibration:
    """Inputs that the ranges of activations are taken from: ``batches`` are what is run at once,
    input name to an array, and hold ``samples`` samples together. ``words`` say what they are,
    ``sha256`` identifies them; ``notes`` tell a user what to know of them."""

    words: str
    batches: Sequence[Mapping[str, Array]]
    samples: int
    sha256: str
    notes: tuple[str, ...] = ()


def in_batches(inputs: Mapping[str, Array], fixed: int | None) -> list[Mapping[str, Array]]:
    """Samples, arrays of shape (samples, ...), as the model takes them: ``fixed`` at a time where
    its file insists on that, the last ones filled up with the first."""
    total = len(next(iter(inputs.values())))
    size = fixed or _CALIBRATION_BATCH
    ends = range(0, total, size)
    rows = [np.arange(start, start + size if fixed else min(start + size, total)) for start in ends]
    return [{name: array[each % total] for name, array in inputs.items()} for each in rows]


@dataclass(frozen=True)
class Form:
    """One variant of a model as files; ``method`` says how it was made, ``refused`` why it
    can't be had, ``notes`` what a user has to know of it."""

    file: ModelFile
    method: str = ""
    refused: BenchError | None = None
    notes: tuple[str, ...] = ()


def make_form(
    file: ModelFile, variant: str, cache: Path, calibrate: Callable[[], Calibration]
) -> Form:
    """``file`` in the precision ``variant``; a file made earlier from the same content is reused.

    ``calibrate`` is asked for calibration data where the variant needs them. Nothing is raised
    for a variant that can't be made: the form says why. Raises `SpecError` for an unknown one.
    """
    row = find_variant(variant)
    torch = file.torch if row.torch else None
    form = replace(file, variant=row.runs_as, torch=torch)
    if not row.maker:
        return Form(form, row.method)
    if file.onnx is None:
        return Form(form, row.method if torch else "")
    try:
        data = calibrate() if row.calibrated else None
        recipe = _maker(row)(file.onnx, data)
        onnx = _cached(file.name, file.onnx, variant, recipe, cache)
    except BenchError as error:
        return Form(replace(form, onnx=None), refused=error)
    return Form(replace(form, onnx=onnx), recipe.method, notes=data.notes if data else ())


@dataclass(frozen=True)
class Recipe:
    """How an ONNX file of a variant is made: ``write`` reads the first path and writes the second.
    ``method`` is what the record says of it."""

    method: str
    write: Callable[[Path, Path], None]
    key: str = ""  #: what besides the model and the method decides the result


Maker = Callable[[Path, Calibration | None], Recipe]


def _maker(row: Variant) -> Maker:
    return cast("Maker", load_object("maker of the variant", row.name, row.maker))


def float16(source: Path, data: Calibration | None) -> Recipe:
    """Every float32 becomes float16, but for the inputs and outputs."""
    version = _onnxruntime_version()
    return Recipe(
        f"onnxruntime {version} float16.convert_float_to_float16, keep_io_types", write_float16
    )


def int8_dynamic(source: Path, data: Calibration | None) -> Recipe:
    """Weights in 8 bits, activations too, at run time."""
    version = _onnxruntime_version()
    # ONNX Runtime's ConvInteger has no kernel for signed weights: such a model gets unsigned ones.
    signed = "Conv" not in _operators(source)
    # Two unsigned factors don't overflow: without VNNI their kernels widen before they multiply.
    reduced = signed and not _has_vnni()
    weights = (
        f"int{7 if reduced else 8} weights per channel" if signed else "uint8 weights per tensor"
    )

    def write(source: Path, target: Path) -> None:
        _write_dynamic(source, target, signed=signed, reduced=reduced)

    text = f"onnxruntime {version} quantize_dynamic: {weights}, activations quantised at run time"
    return Recipe(text, write)


def int8_static(source: Path, data: Calibration | None) -> Recipe:
    """Weights and activations in 8 bits, the ranges taken from ``data``."""
    assert data is not None
    version = _onnxruntime_version()
    reduced, opset = not _has_vnni(), _opset(source)
    per_channel = opset >= _PER_CHANNEL_OPSET

    def write(source: Path, target: Path) -> None:
        _write_static(source, target, data, reduced=reduced, per_channel=per_channel)

    each = "channel" if per_channel else f"tensor (opset {opset} has no other)"
    return Recipe(
        f"onnxruntime {version} quantize_static: QDQ, int{7 if reduced else 8} weights per "
        f"{each}, uint8 activations, MinMax over {data.words}",
        write,
        data.sha256,
    )


def int4(source: Path, data: Calibration | None) -> Recipe:
    """The constant matrices of products in 4 bits: those of linear layers, the head's too. What is
    looked up, an embedding, stays as it is."""
    version = _onnxruntime_version()
    return Recipe(
        f"onnxruntime {version} MatMulNBitsQuantizer: 4 bits, symmetric, a scale for {_BLOCK} "
        f"weights, accuracy_level {_ACCURACY_LEVEL}; embeddings as they were",
        _write_int4,
    )


def _cached(name: str, source: Path, variant: str, recipe: Recipe, cache: Path) -> Path:
    """The variant's file, made whole or not at all."""
    key = json.dumps([content_sha256(source), recipe.key, recipe.method, _RECIPE])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = cache / "variants" / f"{file_stem(name)}-{file_stem(variant)}-{digest}.onnx"
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with making_in(path.parent) as folder:
            made = folder / path.name  # which the graph calls the file of its weights after
            with _silence():
                apart(f"{name} {variant}", partial(recipe.write, source, made))
            _check(made)
            for part in (*external_data(made), made):  # the graph last: it says that all is there
                shutil.move(part, path.parent / part.name)
    except BenchError:
        raise
    except OSError as error:
        raise SpecError(
            f"{path.parent}: variants can't be kept there: {error.strerror or error}. Set "
            "BENCH_CACHE to a writable folder."
        ) from error
    except Exception as error:
        raise ExportFailed(
            f"{name}: its {variant} form can't be created: {first_line(error)}. Leave the "
            "variant out, or create it yourself and name the file with -m."
        ) from error
    return path


def _write_dynamic(source: Path, target: Path, *, signed: bool, reduced: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # an extra

    quantize_dynamic(
        _prepared(source, target),
        target,
        per_channel=signed,
        reduce_range=reduced,
        weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
        use_external_data_format=is_large(source),
    )
    shape_zero_points(target)


def _write_static(
    source: Path, target: Path, data: Calibration, *, reduced: bool, per_channel: bool
) -> None:
    from onnxruntime.quantization import (  # an extra
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    quantize_static(
        _prepared(source, target),
        target,
        _reader(data),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        reduce_range=reduced,
        calibrate_method=CalibrationMethod.MinMax,
        use_external_data_format=is_large(source),
    )


def _write_int4(source: Path, target: Path) -> None:
    import onnx  # onnx: start-up
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # an extra

    quantizer = MatMulNBitsQuantizer(
        onnx.load(str(_prepared(source, target))),
        bits=4,
        block_size=_BLOCK,
        is_symmetric=True,
        accuracy_level=_ACCURACY_LEVEL,
    )
    quantizer.process()
    model = quantizer.model.model
    if all(node.op_type != "MatMulNBits" for node in all_nodes(model.graph)):
        raise ExportFailed(
            "no node multiplies by a constant matrix (MatMul), the only weights that int4 stores "
            "in 4 bits. Leave the variant out."
        )
    save(model, target)


def _prepared(source: Path, target: Path) -> Path:
    """The quantiser's own first step: shapes inferred, the graph simplified."""
    from onnxruntime.quantization.shape_inference import quant_pre_process  # an extra

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(
        source,
        prepared,
        skip_symbolic_shape=True,
        # Else it looks for weights beside the file in a folder of its own.
        save_as_external_data=bool(external_data(source)),
        all_tensors_to_one_file=True,
        external_data_location=data_name(prepared),
    )
    return prepared


def _reader(data: Calibration) -> Any:
    """The batches, as the quantiser asks for them."""
    from onnxruntime.quantization import CalibrationDataReader  # an extra

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = iter(data.batches)

        def get_next(self) -> dict[str, Array] | None:
            batch = next(self._batches, None)
            return None if batch is None else dict(batch)

    return Reader()


def _operators(path: Path) -> set[str]:
    import onnx  # onnx: start-up

    return {node.op_type for node in onnx.load(str(path), load_external_data=False).graph.node}


def _opset(path: Path) -> int:
    import onnx  # onnx: start-up

    imports = onnx.load(str(path), load_external_data=False).opset_import
    return max((each.version for each in imports if each.domain in ("", "ai.onnx")), default=1)


def _has_vnni() -> bool:
    """Whether this CPU multiplies unsigned by signed bytes without overflow.

    Sums of two products of 8 bits overflow the 16 bits that x86 has for them without VNNI: ONNX
    Runtime's documentation ("Quantize ONNX models") then asks for weights of 7 bits.
    """
    import cpuinfo  # runs other programs

    flags = cpuinfo.get_cpu_info().get("flags", [])
    return any("vnni" in flag for flag in flags)


def _check(path: Path) -> None:
    import onnx  # onnx: start-up

    onnx.checker.check_model(str(path))


def _onnxruntime_version() -> str:
    """Raises `Unavailable` where the package, under any of its names, is not installed."""
    for package in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    raise Unavailable(
        "the variants are made with onnxruntime's tools, but it is not installed.",
        "Install it: pip install 'infer-bench[onnxruntime]'.",
    )


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The quantiser logs advice that is followed here already."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(disabled)
