"""Intel OpenVINO, on every device that its plugins find.

Options behind ``?``: ``hint`` (latency, throughput), ``streams`` and ``precision``. OpenVINO would
compute in bfloat16 or float16 in silence where the device is faster that way, so ``precision`` is
f32 on CPU and GPU unless the user says otherwise, and what ran is read back.

A model compiled for fixed shapes is a third faster at batch 1 than one with a dynamic batch, so
a session is compiled for the shapes that it is given; such a session takes no others.
"""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping

import numpy as np

from bench.backend import (
    Device,
    Feeds,
    ModelFile,
    Options,
    Placement,
    TensorSpec,
)
from bench.capabilities import QUERIES_PER_STREAM, Tunable
from bench.decoding import Decoder
from bench.errors import (
    BenchError,
    OutOfMemory,
    SpecError,
    Unavailable,
    Unsupported,
    as_sentence,
)

from .openvino_steps import OpenVinoSteps
from .shared import tiny
from .shared.absent import unanswered
from .shared.checks import (
    ANY_NUMBER,
    Array,
    check_feeds,
    check_shapes,
    first_line,
    is_out_of_memory,
    read_extra,
    require_onnx,
)
from .shared.host import cpu_device

_OPTIONS = {
    "hint": ("latency", "throughput"),
    "streams": ANY_NUMBER,
    "precision": ("default", "f32", "f16", "bf16"),
}

#: OpenVINO's names for types, as a model's variants are called. The rest (i64, boolean, ...) are
#: indices and masks, which say nothing of the precision.
_PRECISIONS = {
    "f32": "fp32",
    "f16": "fp16",
    "bf16": "bf16",
    "i8": "int8",
    "u8": "int8",
    "i4": "int4",
    "u4": "int4",
}
#: Layers that hold or move numbers and don't compute: their type is not the model's precision.
_STILL_LAYERS = ("Const", "Input", "Output")
_MOVING_LAYERS = (
    *("Reorder", "Convert", "Transpose", "Reshape", "Split", "Concatenation", "Gather"),
    *("GatherElements", "GatherND", "StridedSlice", "Pad", "Tile", "Broadcast", "ShapeOf"),
    *("ScatterUpdate", "ScatterElementsUpdate", "ScatterNDUpdate", "DepthToSpace", "SpaceToDepth"),
)
#: Layers that are quantised where a model is. Others whose type has 8 bits take booleans, masks
#: and images: a comparison says u8. GPUs name some in their own way.
_QUANTISED_LAYERS = (
    *("convolution", "deconvolution", "fullyconnected", "fully_connected", "matmul", "gemm"),
    *("rnncell", "rnnseq", "lstm_seq", "gru_seq"),
)


class OpenVino:
    """Adapter to the package ``openvino``."""

    name: ClassVar[str] = "openvino"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = ("openvino",)
    variants: ClassVar[tuple[str, ...]] = (
        *("fp32", "fp16", "bf16"),
        *("int8-dynamic", "int8-static", "int4"),
    )
    tunables: ClassVar[Mapping[str, Tunable]] = {
        "hint": Tunable(_OPTIONS["hint"]),
        "streams": Tunable(),
    }
    # docs.openvino.ai, NPU device: "models with static shapes only".
    static_shapes: ClassVar[tuple[str, ...]] = ("npu",)
    preload: ClassVar[tuple[str, ...]] = ("openvino",)
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        # The documented way to switch off its telemetry, which reports each import over the
        # network, from a thread that the fork server must not have.
        "CI": "true",
        "OPENBLAS_NUM_THREADS": "1",  # numpy's, which would start threads on import
    }

    def __init__(self) -> None:
        self._absent: Mapping[str, Unavailable] = {}

    def version(self) -> str:
        return str(_import().get_version()).partition("-")[0]

    def devices(self) -> list[Device]:
        core = _import().Core()
        found: list[Device] = []
        silent: dict[str, Unavailable] = {}
        for name in core.available_devices:
            why = _trouble(core, name)
            if not why:
                found.append(_describe(core, name))
                continue
            device_id = _device_id(name)
            silent[device_id] = Unavailable(
                f"openvino:{device_id} is not available: {as_sentence(why)}",
                f"OpenVINO lists it: look at its driver, and at what else uses {name}.",
            )
        self._absent = unanswered(found, silent)
        return found

    def absent_devices(self) -> Mapping[str, Unavailable]:
        """Why devices that a plugin lists did not answer when `devices` was called last."""
        return self._absent

    def compile(self, model: ModelFile, device: Device, options: Options) -> OpenVinoSession:
        ov = _import()
        target = f"{self.name}:{device.id}"
        extra = read_extra(target, options.extra, _OPTIONS)
        core = ov.Core()
        name = _find_device(core, device.id)
        path = require_onnx(model, target)
        where = f"{model.name} on {target}"
        try:
            graph = core.read_model(str(path))
        except Exception as error:
            raise _explain(error, where, f"{path}: openvino can't read it") from error
        names, unused = _input_names(ov, path, graph, options.shapes)
        shapes = {key: shape for key, shape in options.shapes.items() if key not in unused}
        if options.shapes:
            check_shapes(where, list(map(_spec, graph.inputs, names)), shapes)
        settings = _settings(name, options.threads, extra, model.variant)
        try:
            if options.shapes:
                places = {names.index(key): list(shape) for key, shape in shapes.items()}
                graph.reshape(places)
            compiled = core.compile_model(graph, name, settings)
        except Exception as error:
            raise _explain(error, where, f"{where}: it can't be compiled") from error
        _check_precision(compiled, settings, target)
        inputs = list(map(_spec, compiled.inputs, names))
        inputs += [TensorSpec(own, "", ()) for own in unused]
        return OpenVinoSession(ov, compiled, name, where, inputs)


class OpenVinoSession:
    """A `CompiledModel`; each bound call has an `InferRequest` of its own."""

    def __init__(
        self, ov: ModuleType, compiled: Any, name: str, where: str, inputs: list[TensorSpec]
    ) -> None:
        """``inputs`` are the compiled ones in their order, then those that it has no use for."""
        self._ov = ov
        self._compiled = compiled
        self._name = name
        self._where = where
        self._request: Any = None
        self.inputs = inputs
        self.outputs = [_spec(port) for port in compiled.outputs]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Copies into the request's own tensors, which lie where the device likes them."""
        self._request = request = self._prepare(feeds)
        raw = getattr(getattr(self._ov, "_pyopenvino", None), "InferRequest", None)
        signature = "inputs: dict, share_outputs: bool, decode_strings: bool"
        if raw is not None and signature in (raw.infer.__doc__ or ""):
            # The C++ method under the Python one, whose look at each argument costs 1 us a call.
            return partial(raw.infer, request, {}, True, True)
        return partial(request.infer, share_outputs=True)

    def bind_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        """Asynchronous requests, each of which starts its next query when it has ended one."""
        requests = [self._prepare(feeds) for _ in range(streams)]
        self._request = requests[0]

        def call() -> None:
            for _ in range(QUERIES_PER_STREAM):
                for request in requests:
                    request.wait()
                    request.start_async()
            for request in requests:
                request.wait()

        for request in requests:  # `wait` needs a query to wait for
            request.start_async()
        return call

    def decoding(self, decoder: Decoder, batch: int, capacity: int) -> OpenVinoSteps:
        """Two requests in turn, each of which reads what the other has left."""
        for spec, port in zip(self.inputs, self._compiled.inputs):
            if spec.name == decoder.tokens and port.get_partial_shape().is_static:
                raise Unsupported(
                    f"{self._where}: it is compiled for fixed lengths, but texts grow. Compile it "
                    "without shapes."
                )
        return OpenVinoSteps(
            self._ov,
            self._compiled,
            [spec.name for spec in self.inputs[: len(self._compiled.inputs)]],
            lambda error, what: _explain(error, self._where, f"{self._where}: {what}"),
            self._where,
            decoder,
            batch,
            capacity,
        )

    def fetch(self) -> list[Array]:
        if self._request is None or self._request.latency == 0:
            raise BenchError(f"{self._where}: no output yet; bind inputs and call first.")
        return [np.array(tensor.data) for tensor in self._request.output_tensors]

    def run(self, feeds: Feeds) -> list[Array]:
        request = self._prepare(feeds)
        try:
            request.infer(share_outputs=True)
        except Exception as error:
            raise _explain(error, self._where, f"{self._where}: inference failed") from error
        return [np.array(tensor.data) for tensor in request.output_tensors]

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        check_feeds(self._where, self.inputs, feeds)
        return partial(self._compiled, {name: array.copy() for name, array in feeds.items()})

    def placement(self) -> Placement:
        executing = self._compiled.get_property("EXECUTION_DEVICES")
        # The first GPU is asked for as GPU and may be told as GPU.0.
        same = (self._name, f"{self._name}.0")
        places = [_device_id(self._name if name in same else name) for name in executing]
        place = "+".join(places)
        layers = []
        types = set()
        for node in self._compiled.get_runtime_model().get_ops():
            facts = node.get_rt_info()
            kind = facts["layerType"].astype(str)
            if kind in _STILL_LAYERS:
                continue
            layers.append(node.get_friendly_name())
            if kind == "Subgraph":
                # A fused layer tells the type of its outputs and not the one it computes in: with
                # bf16 asked for it says f32, and its numbers are bf16's.
                types.add(self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
            elif kind not in _MOVING_LAYERS:
                types.add(_type_of(kind, facts["runtimePrecision"].astype(str)))
        elsewhere = () if place == _device_id(self._name) else tuple(layers)
        precision = "+".join(sorted({_PRECISIONS[name] for name in types if name in _PRECISIONS}))
        source = "openvino: EXECUTION_DEVICES and get_runtime_model"
        # One device executes the whole model, so there is no share of time to measure; of several
        # OpenVINO doesn't tell which layer is where.
        share = {place: 1.0} if len(places) == 1 else {}
        return Placement({place: len(layers)}, source, elsewhere, precision, share)

    def close(self) -> None:
        self._request = None
        self._compiled = None

    def _prepare(self, feeds: Feeds) -> Any:
        """A request whose input tensors hold ``feeds``."""
        arrays = check_feeds(self._where, self.inputs, feeds)
        try:
            request = self._compiled.create_infer_request()
            for index, array in enumerate(arrays[: len(self._compiled.inputs)]):
                tensor = request.get_input_tensor(index)
                tensor.shape = list(array.shape)
                tensor.data[...] = array
        except Exception as error:
            raise _explain(error, self._where, f"{self._where}: binding failed") from error
        return request


def _type_of(layer: str, precision: str) -> str:
    """The type that a layer computes in; empty where its 8 bits are none of a quantised model's."""
    quantised = layer.lower() in _QUANTISED_LAYERS
    return precision if quantised or _PRECISIONS.get(precision) not in ("int8", "int4") else ""


def _import() -> ModuleType:
    try:
        import openvino
    except ImportError as error:
        raise Unavailable(
            f"openvino is not available: {first_line(error)}.",
            "Install it: pip install 'infer-bench[openvino]'.",
        ) from error
    return openvino  # type: ignore[no-any-return]


def _device_id(name: str) -> str:
    """``GPU.1`` -> ``gpu:1``."""
    return name.lower().replace(".", ":")


def _find_device(core: Any, device_id: str) -> str:
    """The runtime's own name of a device."""
    names = {_device_id(name): name for name in core.available_devices}
    if device_id not in names:
        plugin = device_id.partition(":")[0].upper()
        raise Unavailable(
            f"openvino:{device_id} is not available: the runtime finds {', '.join(names)}.",
            f"For {plugin}, install the driver that OpenVINO's {plugin} plugin needs.",
        )
    return str(names[device_id])


def _trouble(core: Any, name: str) -> str:
    """Why no model compiles and computes there, empty where one does; its name in a list proves
    nothing."""
    try:
        compiled = core.compile_model(core.read_model(io.BytesIO(tiny.ONNX)), name)
        right = tiny.is_right(compiled(tiny.FEEDS)[0])
    except Exception as error:
        return _reason(error)
    return "" if right else "it computes max(x, 0) incorrectly"


def _describe(core: Any, name: str) -> Device:
    full_name = str(core.get_property(name, "FULL_DEVICE_NAME"))
    if name == "CPU":
        host = cpu_device()
        return Device("cpu", host.vendor, full_name, memory_bytes=host.memory_bytes)
    try:
        memory_bytes = int(core.get_property(name, "GPU_DEVICE_TOTAL_MEM_SIZE"))
    except Exception:  # only GPUs know this property
        memory_bytes = None
    return Device(_device_id(name), "Intel", full_name, memory_bytes=memory_bytes)


#: The type of floats that each variant computes in; that of int8 ones is what isn't quantised.
_HINTS = {"fp16": "f16", "bf16": "bf16"}


def _settings(name: str, threads: int, extra: Mapping[str, str], variant: str) -> dict[str, Any]:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": extra["hint"].upper()}
    if name == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads * int(extra["streams"] or 1)
    if extra["streams"]:
        settings["NUM_STREAMS"] = int(extra["streams"])
    if extra["precision"] != "default":
        settings["INFERENCE_PRECISION_HINT"] = extra["precision"]
    elif name.startswith(("CPU", "GPU")):
        settings["INFERENCE_PRECISION_HINT"] = _HINTS.get(variant, "f32")
    return settings


def _check_precision(compiled: Any, settings: Mapping[str, Any], target: str) -> None:
    """Refuse another precision than asked for: a CPU takes bf16 where f16 was said, in silence."""
    asked = settings.get("INFERENCE_PRECISION_HINT")
    if asked is None:
        return
    got = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if got != asked:
        raise Unsupported(
            f"{target} can't compute in {asked}: it would use {got}. Use ?precision={got} or the "
            f"variant {_PRECISIONS.get(got, got)}."
        )


def _input_names(
    ov: ModuleType, path: Path, graph: Any, fed: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """What the file calls the graph's inputs, in their order; and inputs of the file that the graph
    has no use for.

    A tensor that is passed on unchanged has several names, of which some are dropped.
    """
    names = [port.node.get_friendly_name() for port in graph.inputs]
    if set(fed) <= set(names):
        return names, []
    front_end = ov.frontend.FrontEndManager().load_by_framework("onnx")
    declared = [
        name for place in front_end.load(str(path)).get_inputs() for name in place.get_names()
    ]
    if len(declared) == len(names):
        return declared, []
    return names, [name for name in declared if name not in names]


def _spec(port: Any, name: str = "") -> TensorSpec:
    """``name`` where the port has lost its own."""
    dims = tuple(-1 if dim.is_dynamic else dim.get_length() for dim in port.get_partial_shape())
    return TensorSpec(name or port.get_any_name(), port.get_element_type().to_dtype().name, dims)


def _explain(error: Exception, where: str, what: str) -> BenchError:
    """What an error means to a user; ``what`` begins the sentence about a bad model."""
    reason = _reason(error)
    if is_out_of_memory(error):
        return OutOfMemory(f"{where}: {reason}. Use a smaller batch or model.")
    lacking = re.search(
        r"(?:No conversion rule found for operations|Conversion is failed for): (.+)", str(error)
    )
    if lacking:
        ops = ", ".join(re.sub(r"-\d+$", "", op) for op in lacking[1].split(", "))
        return Unsupported(f"{where}: it can't convert the operator {ops} of this model.")
    return SpecError(f"{what}: {reason}.")


#: How the lines begin that tell where in OpenVINO something was noticed.
_NOISE = (
    "Exception from ",
    "Check '",
    "FrontEnd API failed",
    "Summary",
    "Model wasn't fully converted",
    "While validating ",
)


def _reason(error: Exception) -> str:
    """The line that says what is wrong, past those that say where in OpenVINO it was noticed."""
    for line in str(error).splitlines():
        if line.strip() and not line.startswith(_NOISE) and "with a message:" not in line:
            return line.strip().lstrip("- ").rstrip(".: ")
    return first_line(error)
