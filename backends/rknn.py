"""Rockchip's NPUs, in the simulator that comes with their compiler (package ``rknn-toolkit2``).

It computes what the chip would, in float16 (the compiler's ``float_dtype``), so it takes the
variant fp16; its latency means nothing, so every device is simulated. It has no options behind
``?``, and a session takes no other shapes than those that it is compiled for. It has never touched
a chip.

The toolkit wants old versions of numpy, onnx, protobuf and setuptools, so it lives in a private
environment. What it prints goes to the worker's log; a failure is an exception with a traceback in
its text, or a code that isn't 0.
"""

from __future__ import annotations

import os
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Callable, ClassVar, Mapping

import numpy as np

from bench.backend import Device, Feeds, ModelFile, Options, Placement, TensorSpec
from bench.errors import BenchError, OutOfMemory, Unavailable, Unsupported, without_stop

from .shared import tiny
from .shared.checks import (
    Array,
    check_feeds,
    first_line,
    is_out_of_memory,
    read_extra,
    require_onnx,
)
from .shared.onnx_file import Shapes, fix_shapes, read_onnx, require_known_operators, spec_of

#: Chips that the toolkit compiles for and simulates, by its own names for platforms.
_CHIPS = ("rk3562", "rk3566", "rk3568", "rk3576", "rk3588")


class Rknn:
    """Adapter to ``rknn.api``."""

    name: ClassVar[str] = "rknn"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("rknn-toolkit2",)
    # QDQ models (int8-static) run, but with other results than ONNX Runtime's.
    variants: ClassVar[tuple[str, ...]] = ("fp16",)
    static_shapes: ClassVar[tuple[str, ...]] = _CHIPS
    preload: ClassVar[tuple[str, ...]] = ("rknn.api",)
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # In two steps: the toolkit pins a torch that is older than its code needs, and an OpenCV that
    # is for pictures. setuptools: it imports pkg_resources.
    requirements: ClassVar[Mapping[str, tuple[tuple[str, ...], ...]]] = {
        "rknn": (
            ("--no-deps", "rknn-toolkit2==2.5.0"),
            (
                "numpy<=1.26.4",
                "onnx>=1.16.1,<=1.18.0",
                "protobuf>=4.21.6,<=4.25.4",
                "onnxruntime>=1.17",
                "torch==2.13.0",
                "scipy",
                "psutil",
                "ruamel.yaml",
                "tqdm",
                "fast-histogram",
                "opencv-python-headless",
                "setuptools<81",
            ),
        )
    }

    def version(self) -> str:
        _import()
        return metadata.version("rknn-toolkit2")

    def devices(self) -> list[Device]:
        _import()
        return [
            Device(chip, "Rockchip", f"{chip.upper()} in the toolkit's simulator", simulated=True)
            for chip in _CHIPS
            if _touches(chip)
        ]

    def compile(self, model: ModelFile, device: Device, options: Options) -> RknnSession:
        _import()
        target = f"{self.name}:{device.id}"
        if device.id not in _CHIPS:
            known = ", ".join(_CHIPS)
            raise Unavailable(f"{target} is not available: the simulator knows {known}.")
        read_extra(target, options.extra, {})
        path = require_onnx(model, target)
        return _make(path, device.id, f"{model.name} on {target}", options.shapes)


class RknnSession:
    """A model that the toolkit has built, in its simulator."""

    def __init__(
        self,
        runtime: Any,
        chip: str,
        nodes: int,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        where: str,
    ) -> None:
        self._runtime = runtime
        self._where = where
        source = "rknn: nodes of the file; the toolkit refuses a model that the chip can't run"
        self._placement = Placement({chip: nodes}, source, precision="fp16")
        self._results: list[list[Array]] = []
        self.inputs = list(inputs)
        self.outputs = list(outputs)

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        arrays = [np.array(a, order="C") for a in check_feeds(self._where, self.inputs, feeds)]
        results: list[list[Array]] = []
        self._results = results

        def call() -> None:
            results[:] = [self._infer(arrays)]

        return call

    def fetch(self) -> list[Array]:
        if not self._results:
            raise BenchError(f"{self._where}: no output yet; bind inputs and call first.")
        return [np.array(array) for array in self._results[0]]

    def run(self, feeds: Feeds) -> list[Array]:
        arrays = check_feeds(self._where, self.inputs, feeds)
        return self._infer([np.array(array, order="C") for array in arrays])

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        return self.bind(feeds)  # its users have no other way to call it

    def placement(self) -> Placement:
        return self._placement

    def close(self) -> None:
        runtime, self._runtime = self._runtime, None
        self._results = []
        if runtime is not None:
            runtime.release()

    def _infer(self, arrays: list[Array]) -> list[Array]:
        # The toolkit takes images as NHWC unless told, and looks at that for four dimensions alone.
        layouts = ["nchw" if array.ndim == 4 else "nhwc" for array in arrays]
        try:
            made = self._runtime.inference(inputs=arrays, data_format=layouts)
        except Exception as error:
            raise _explain(error, self._where, "the simulator failed") from error
        if made is None or len(made) != len(self.outputs):
            raise BenchError(f"{self._where}: the simulator returned no outputs; see its log.")
        return [np.asarray(a).astype(spec.dtype) for a, spec in zip(made, self.outputs)]


def _import() -> Any:
    try:
        from rknn.api import RKNN
    except (ImportError, OSError) as error:
        raise Unavailable(
            f"rknn is not available: {first_line(error)}.",
            "It needs an environment of its own: bench env create rknn.",
        ) from error
    return RKNN


def _make(path: Path, chip: str, where: str, shapes: Shapes) -> RknnSession:
    model = read_onnx(path)
    require_known_operators(model, where, "rknn")
    inputs = fix_shapes(model, where, "rknn", shapes)
    outputs = tuple(spec_of(value, where) for value in model.graph.output)
    runtime = _import()(verbose=False)
    try:
        _build(runtime, path, chip, where, inputs)
    except BaseException:
        runtime.release()
        raise
    return RknnSession(runtime, chip, len(model.graph.node), inputs, outputs, where)


def _build(runtime: Any, path: Path, chip: str, where: str, inputs: tuple[TensorSpec, ...]) -> None:
    path = path.absolute()
    names, sizes = [spec.name for spec in inputs], [list(spec.shape) for spec in inputs]
    steps: dict[str, Callable[[], Any]] = {
        "config": lambda: runtime.config(target_platform=chip),
        "load_onnx": lambda: runtime.load_onnx(str(path), inputs=names, input_size_list=sizes),
        "build": lambda: runtime.build(do_quantization=False),
        "init_runtime": runtime.init_runtime,  # without a target: the simulator
    }
    here = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="bench-rknn-") as folder:
        os.chdir(folder)  # a failing build leaves its intermediate models where it stands
        try:
            for name, step in steps.items():
                _check(step, name, where)
        finally:
            os.chdir(here)


def _check(step: Callable[[], Any], name: str, where: str) -> None:
    try:
        code = step()
    except Exception as error:
        raise _explain(error, where, f"{name} failed") from error
    if code != 0:
        raise Unsupported(f"{where}: rknn's {name} returned {code}; see the worker's log.")


def _touches(chip: str) -> bool:
    """Whether a tiny model is built for the chip and computes right."""
    with tempfile.TemporaryDirectory(prefix="bench-rknn-") as folder:
        path = Path(folder, "tiny.onnx")
        path.write_bytes(tiny.ONNX)
        shapes = {name: array.shape for name, array in tiny.FEEDS.items()}
        try:
            session = _make(path, chip, "a tiny model", shapes)
            right = tiny.is_right(session.run(tiny.FEEDS)[0])
            session.close()
        except BenchError:
            return False
    return right


def _explain(error: Exception, where: str, what: str) -> BenchError:
    """The toolkit's error holds a traceback; its last line is the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = without_stop(lines[-1][:300]) if lines else type(error).__name__
    kind = OutOfMemory if is_out_of_memory(error) else Unsupported
    return kind(f"{where}: rknn: {what}: {reason}.")
