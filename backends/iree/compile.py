"""From an ONNX file to an IREE module for one device, kept between runs.

IREE's compiler is a program of its own, which takes the model as MLIR; its importer needs the
package ``onnx``. Compiling takes seconds, so a module is kept under a hash of all that decides it:
the model's file, the shapes, the compiler's version, its flags, and the CPU that it compiles for.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

from bench.backend import TensorSpec
from bench.errors import BenchError, OutOfMemory, Unsupported
from bench.folders import cache_folder

from ..shared.checks import first_line, is_out_of_memory
from ..shared.host import cpu_device
from ..shared.onnx_file import Shapes, fix_shapes, read_onnx, require_known_operators, spec_of


@dataclass(frozen=True)
class Compiled:
    """A module as bytes; how many dispatches to the device it has; what goes in and out."""

    module: bytes
    dispatches: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def compile_onnx(
    path: Path, where: str, shapes: Shapes, flags: Sequence[str], keep: bool
) -> Compiled:
    """Compile ``path`` for fixed shapes with the compiler's ``flags``.

    With ``keep`` a module compiled before is taken, and this one kept. Raises `SpecError` for a
    file that is no model or shapes that don't fit, `Unsupported` for what IREE can't compile.
    """
    model = read_onnx(path)
    require_known_operators(model, where, "iree")
    # All shapes: IREE doesn't check at run time whether inputs agree in a dimension that it
    # compiled as dynamic, and reads behind the end of the smaller one.
    inputs = fix_shapes(model, where, "iree", shapes)
    model = _inferred(model, where)
    outputs = tuple(spec_of(value, where) for value in model.graph.output)
    kept = _kept_at(path, shapes, flags) if keep else None
    if kept is not None and kept.is_file():
        head, _, module = kept.read_bytes().partition(b"\n")
        return Compiled(module, json.loads(head)["dispatches"], inputs, outputs)
    module, dispatches = _compile(_to_mlir(model, where), where, flags)
    if kept is not None:
        _keep(kept, json.dumps({"dispatches": dispatches}).encode() + b"\n" + module)
    return Compiled(module, dispatches, inputs, outputs)


def _inferred(model: Any, where: str) -> Any:
    """The model with all shapes inferred anew: those in the file may be in terms of symbols."""
    import onnx

    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise Unsupported(f"{where}: onnx can't infer its shapes: {first_line(error)}.") from error


def _to_mlir(model: Any, where: str) -> bytes:
    from iree.compiler import ir
    from iree.compiler.extras import onnx_importer

    try:
        info = onnx_importer.ModelInfo(model)
        module = info.create_module(context=ir.Context()).operation
        onnx_importer.NodeImporter.define_function(info.main_graph, module).import_all()
        module.verify()
        text = io.BytesIO()
        module.write_bytecode(text)
    except Exception as error:
        raise Unsupported(f"{where}: iree can't import it: {first_line(error)}.") from error
    return text.getvalue()


def _compile(mlir: bytes, where: str, flags: Sequence[str]) -> tuple[bytes, int]:
    """The module, and the compiler's own count of dispatches."""
    from iree.compiler import tools

    with tempfile.TemporaryDirectory(prefix="bench-iree-") as folder:
        told = Path(folder, "statistics.json")
        extra = [
            *flags,
            "--iree-scheduling-dump-statistics-format=json",
            f"--iree-scheduling-dump-statistics-file={told}",
        ]
        try:
            module = tools.compile_str(mlir, input_type="onnx", extra_args=extra)
            statistics = json.loads(told.read_text())["stream-aggregate"]["execution"]
        except Exception as error:
            raise _explain(error, where) from error
    assert module is not None
    return bytes(module), int(statistics["dispatch-count"])


def _explain(error: Exception, where: str) -> BenchError:
    """The compiler prints its errors as those of a C compiler do; the first is the cause."""
    if is_out_of_memory(error):
        return OutOfMemory(
            f"{where}: iree-compile ran out of memory. Use a smaller batch or model."
        )
    found = re.search(r"error: (?:loc\(.*?\): )?(.+)", str(error))
    reason = found[1].rstrip(". ") if found else first_line(error)
    lacking = re.search(r'name = "onnx\.([\w.]+)"', reason)
    if lacking:
        return Unsupported(f"{where}: iree doesn't support this use of {lacking[1]}.")
    return Unsupported(f"{where}: iree can't compile it: {reason[:300]}.")


def _kept_at(path: Path, shapes: Shapes, flags: Sequence[str]) -> Path:
    from iree.compiler import version

    facts = {name: list(shape) for name, shape in shapes.items()}
    digest = hashlib.sha256(json.dumps([version.VERSION, list(flags), facts]).encode())
    digest.update(_host().encode())
    digest.update(path.read_bytes())
    return cache_folder() / "iree" / f"{digest.hexdigest()[:32]}.module"


def _host() -> str:
    """What ``host`` means here: two models of one name differ in their flags under a hypervisor."""
    flags = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^(?:flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.M)
        flags = found[0] if found else ""
    return cpu_device().name + flags


def _keep(kept: Path, contents: bytes) -> None:
    """Written as a whole or not at all; a folder that can't be written costs time, nothing else."""
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{os.getpid()}.partial")
        partial.write_bytes(contents)
        partial.replace(kept)
