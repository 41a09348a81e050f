"""A stand-in for a build of ONNX Runtime with CUDA, TensorRT and CANN providers, on a machine
that has none of them.

It computes on the CPU through the real package, and holds callers to the contract of devices:
options have the providers' own names (read from the libraries of onnxruntime-gpu 1.31.1 and
onnxruntime-cann 1.24.4, and the providers' documents), an output exists only after
synchronisation, a captured graph replays the addresses that it was captured with, a device's
memory is not the host's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real
from standin_cudart import Gpu, Stream

KNOWN_OPTIONS = {
    "CUDAExecutionProvider": {
        "device_id",
        "use_tf32",
        "enable_cuda_graph",
        "cudnn_conv_algo_search",
        "prefer_nhwc",
        "arena_extend_strategy",
        "gpu_mem_limit",
        "user_compute_stream",
    },
    "TensorrtExecutionProvider": {
        "device_id",
        "trt_fp16_enable",
        "trt_bf16_enable",
        "trt_int8_enable",
        "trt_cuda_graph_enable",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
        "trt_builder_optimization_level",
        "trt_min_subgraph_size",
        "trt_max_workspace_size",
        "trt_auxiliary_streams",
        "trt_layer_norm_fp32_fallback",
    },
    "CANNExecutionProvider": {
        "device_id",
        "precision_mode",
        "precision_mode_v2",
        "enable_cann_graph",
        "enable_cann_subgraph",
        "op_select_impl_mode",
        "optypelist_for_implmode",
        "dynamic_batch_size",
        "npu_mem_limit",
        "arena_extend_strategy",
        "dump_graphs",
        "dump_om_model",
    },
}
#: Of onnxruntime_run_options_config_keys.h.
KNOWN_RUN_OPTIONS = {"gpu_graph_id", "disable_synchronize_execution_providers"}
GRAPH_OPTIONS = ("enable_cuda_graph", "trt_cuda_graph_enable")
STRICT = "session.disable_cpu_ep_fallback"

#: What the real packages print and raise where the vendor's libraries are missing.
MISSING = {
    "CUDAExecutionProvider": (
        "\x1b[1;31m2026-11-24 18:01:24.58 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 "
        "operator()] /onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 "
        "onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL :"
        " Failed to load library /x/libonnxruntime_providers_cuda.so with error: "
        "libcublasLt.so.13: cannot open shared object file: No such file or directory\n\x1b[m\n",
        "",
    ),
    "TensorrtExecutionProvider": (
        "\x1b[1;31m2026-11-28 23:54:31.59 [E:onnxruntime:Default, provider_bridge_ort.cc:2430 "
        "operator()] /onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 "
        "onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL :"
        " Failed to load library /x/libonnxruntime_providers_tensorrt.so with error: "
        "libnvinfer.so.10: cannot open shared object file: No such file or directory\n\x1b[m\n",
        "/onnxruntime_src/onnxruntime/python/onnxruntime_pybind_state.cc:729 void onnxruntime::"
        "python::RegisterTensorRTPluginsAsCustomOps(PySessionOptions&, const onnxruntime::"
        "ProviderOptions&) Please install TensorRT libraries as mentioned in the GPU requirements "
        "page, make sure they're in the PATH or LD_LIBRARY_PATH, and that your GPU is supported.\n",
    ),
    "CANNExecutionProvider": (
        "\x1b[1;31m2026-11-24 18:01:05.67 [E:onnxruntime:Default, provider_bridge_ort.cc:2387 "
        "TryGetProviderInfo_CANN] /root/Ascend-CI/onnxruntime/onnxruntime/core/session/"
        "provider_bridge_ort.cc:1952 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() "
        "[ONNXRuntimeError] : 1 : FAIL : Failed to load library /x/libonnxruntime_providers_cann.so"
        " with error: libascendcl.so: cannot open shared object file: No such file or directory\n"
        "\x1b[m\n",
        "/root/Ascend-CI/onnxruntime/onnxruntime/python/onnxruntime_pybind_state.cc:1189 "
        "std::shared_ptr<onnxruntime::IExecutionProviderFactory> onnxruntime::python::"
        "CreateExecutionProviderFactoryInstance(const onnxruntime::SessionOptions&, const "
        "std::string&, const onnxruntime::ProviderOptionsMap&) create CANN ExecutionProvider fail",
    ),
}


@dataclass
class StandIn:
    """What is passed off as the module ``onnxruntime``. ``sessions`` records what was asked."""

    providers: tuple[str, ...] = tuple(KNOWN_OPTIONS)
    devices: int = 2
    missing: tuple[str, ...] = ()  #: providers whose vendor's libraries are absent
    on_cpu: tuple[str, ...] = ()  #: operators that no provider but the CPU's takes
    memory_bytes: int = 1 << 40
    full: tuple[str, ...] = ()  #: devices of which another process holds all memory
    gpu: Gpu = field(default_factory=Gpu)  #: on which streams are
    kernels: int = 10  #: that a run launches
    kernel_us: float = 2.0  #: that each of them takes
    first_us: float = 0.0  #: that the host takes for a session's first run besides
    waits: bool = False  #: a run waits for the device although it is told not to
    replay_waits: bool = False  #: so does one that replays a graph, as before 28686
    keeps_its_stream: bool = False  #: what it is told of a stream is lost
    sessions: list[Session] = field(default_factory=list)

    __version__ = "1.31.1"
    GraphOptimizationLevel = real.GraphOptimizationLevel
    ExecutionMode = real.ExecutionMode

    def __post_init__(self) -> None:
        self.OrtValue = Value
        self.RunOptions = RunOptions
        self.SessionOptions = SessionOptions
        self.OrtDevice = OrtDevice
        state = SimpleNamespace(OrtValueVector=OrtValueVector, OrtValue=InnerValue)
        self.capi = SimpleNamespace(onnxruntime_pybind11_state=state)
        self.preloaded = False

    def get_available_providers(self) -> list[str]:
        return [*self.providers, "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.preloaded = True

    def InferenceSession(self, model: Any, options: SessionOptions, **asked: Any) -> Session:
        assert asked["enable_fallback"] == 0, "a provider that fails would be replaced in silence"
        session = Session(self, model, options, asked["providers"])
        self.sessions.append(session)
        return session


class SessionOptions:
    def __init__(self) -> None:
        object.__setattr__(self, "inner", real.SessionOptions())
        object.__setattr__(self, "entries", {})
        object.__setattr__(self, "sizes", {})

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value
        if key != STRICT:  # the session in truth is on the CPU
            self.inner.add_session_config_entry(key, value)

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        self.sizes[name] = size
        self.inner.add_free_dimension_override_by_name(name, size)


class RunOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        assert key in KNOWN_RUN_OPTIONS, key
        self.entries[key] = value


class Value:
    """An `OrtValue` on a device: its numbers are a copy, in memory of its own."""

    def __init__(self, array: np.ndarray, device: str, index: int) -> None:
        self.array, self.device, self.index = array, device, index

    @classmethod
    def ortvalue_from_numpy(cls, array: np.ndarray, device: str, index: int) -> Value:
        return cls(array.copy() if device != "cpu" else array, device, index)

    @classmethod
    def ortvalue_from_shape_and_type(
        cls, shape: list[int], dtype: Any, device: str, index: int
    ) -> Value:
        return cls(np.full(shape, 77).astype(dtype), device, index)

    def has_value(self) -> bool:
        return True

    def shape(self) -> list[int]:
        return list(self.array.shape)

    def numpy(self) -> np.ndarray:
        return self.array.copy()

    def update_inplace(self, array: np.ndarray) -> None:
        assert array.flags["C_CONTIGUOUS"]
        self.array[...] = array


class OrtDevice:
    """Where a value lies: ``cuda``, 1."""

    def __init__(self, device: str, index: int) -> None:
        self.place = (device, index)

    @classmethod
    def make(cls, device: str, index: int) -> OrtDevice:
        return cls(device, index)

    def _get_c_device(self) -> OrtDevice:
        return self

    def device_type(self) -> int:
        """As of the extension module: CUDA devices are of the kind GPU, CANN's of the kind NPU."""
        return {"cpu": 0, "cuda": 1, "cann": 3}[self.place[0]]


class InnerValue:
    """The `OrtValue` of the extension module: on the host it looks at the caller's memory and
    doesn't own it; on a device it can't be read as an array of the host."""

    def __init__(self, array: np.ndarray, place: tuple[str, int]) -> None:
        self.array, self.place = array, place

    @classmethod
    def ortvalue_from_numpy(cls, array: np.ndarray, device: OrtDevice) -> InnerValue:
        assert array.flags["C_CONTIGUOUS"]
        return cls(array if device.place[0] == "cpu" else array.copy(), device.place)

    def data_type(self) -> str:
        return {"float32": "tensor(float)", "float16": "tensor(float16)"}[self.array.dtype.name]

    def shape(self) -> list[int]:
        return list(self.array.shape)

    def data_ptr(self) -> int:
        assert self.place[0] == "cpu", "memory of a device was read by the host"
        return int(self.array.ctypes.data)

    def numpy(self) -> np.ndarray:
        assert self.place[0] == "cpu", "memory of a device was read by the host"
        return self.array.copy()


class OrtValueVector(list):  # type: ignore[type-arg]
    """Values in order."""

    def push_back(self, value: InnerValue) -> None:
        self.append(value)


class Binding:
    """Work is queued by a run and done by `synchronize_outputs`, as on a stream."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value | None] = {}
        self.places: dict[str, tuple[str, int]] = {}
        self.queued = False

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        self.inputs[name] = value

    def bind_output(self, name: str, device: str, index: int) -> None:
        self.outputs[name], self.places[name] = None, (device, index)

    def bind_ortvalue_output(self, name: str, value: Value) -> None:
        self.outputs[name], self.places[name] = value, (value.device, value.index)

    def synchronize_outputs(self) -> None:
        if self.queued:
            self.session.compute(self)
        self.queued = False

    def get_outputs(self) -> list[Any]:
        assert not self.queued, "outputs were read before the stream was synchronised"
        return [
            value if value is not None else SimpleNamespace(has_value=lambda: False)
            for value in self.outputs.values()
        ]


class Session:
    def __init__(self, module: StandIn, model: Any, options: SessionOptions, asked: list) -> None:
        self.options, self.module, self.model = options, module, model
        first = asked[0]
        self.name, self.settings = first if isinstance(first, tuple) else (first, {})
        self.asked = [one[0] if isinstance(one, tuple) else one for one in asked]
        self.graphs: dict[str, tuple] = {}
        self.stream = self._given_stream()
        self.has_run = False
        self.captures = any(self.settings.get(key) == "1" for key in GRAPH_OPTIONS)
        self.started = self.name == "CPUExecutionProvider" or self._start()
        self.inner = real.InferenceSession(
            model, options.inner, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        if options.entries.get(STRICT) == "1" and self._on_cpu():
            raise RuntimeError(
                "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are "
                "assigned to the default CPU EP, but fallback to CPU EP has been explicitly "
                "disabled by the user."
            )

    def _start(self) -> bool:
        """The provider's own checks; False where it is left out in silence, as CUDA is."""
        if self.name in self.module.missing:
            printed, raised = MISSING[self.name]
            os.write(2, printed.encode())
            if raised:
                raise RuntimeError(raised)
            return False
        unknown = set(self.settings) - KNOWN_OPTIONS[self.name]
        if unknown:
            raise RuntimeError(f"Unknown provider option: {unknown.pop()}")
        assert all(isinstance(value, str) for value in self.settings.values())
        if self.settings["device_id"] in self.module.full:
            raise RuntimeError(
                "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 bool "
                "onnxruntime::CudaCall(...) CUDA failure 2: out of memory ; GPU=0 ; "
                "hostname=a ; expr=cudaSetDevice(info_.device_id);"
            )
        if int(self.settings["device_id"]) >= self.module.devices:
            raise RuntimeError(
                "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 bool "
                "onnxruntime::CudaCall(...) CUDA failure 101: invalid device ordinal ; GPU=0 ; "
                "hostname=h ; file=cuda_execution_provider.cc ; line=282 ; expr=cudaSetDevice();"
            )
        size = len(self.model) if isinstance(self.model, bytes) else os.stat(self.model).st_size
        if size > self.module.memory_bytes:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1073741824")
        return True

    def _given_stream(self) -> Stream | None:
        """The stream that it is to compute in, an address as a decimal number; 0 counts as none."""
        address = self.settings.get("user_compute_stream", "0")
        assert address.isdecimal(), "an address of another form reads as a number of its own"
        if address == "0" or self.module.keeps_its_stream:
            return None
        return self.module.gpu.streams[int(address)]

    def _on_cpu(self) -> list[Any]:
        taken = self.started and self.name != "CPUExecutionProvider"
        nodes = [
            node
            for part in self.inner.get_provider_graph_assignment_info()
            for node in part.get_nodes()
        ]
        return [node for node in nodes if not taken or node.op_type in self.module.on_cpu]

    def get_providers(self) -> list[str]:
        started = [self.name] if self.started else []
        return list(dict.fromkeys([*started, *self.asked[1:], "CPUExecutionProvider"]))

    def get_provider_graph_assignment_info(self) -> list[Any]:
        on_cpu = self._on_cpu()
        elsewhere = {node.op_type for node in on_cpu}
        mine = [
            node
            for part in self.inner.get_provider_graph_assignment_info()
            for node in part.get_nodes()
            if node.op_type not in elsewhere
        ]
        parts = [(self.name, mine), ("CPUExecutionProvider", on_cpu)]
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda nodes=nodes: nodes)
            for name, nodes in parts
            if nodes
        ]

    def get_inputs(self) -> list[Any]:
        return self.inner.get_inputs()

    def get_outputs(self) -> list[Any]:
        return self.inner.get_outputs()

    def end_profiling(self) -> str:
        return str(self.inner.end_profiling())

    def io_binding(self) -> Binding:
        return Binding(self)

    def run(self, names: Any, feeds: dict, options: RunOptions | None = None) -> list[np.ndarray]:
        if self.captures and _graph_of(options) != "-1":
            raise RuntimeError("a session with CUDA graphs captures the host's memory")
        return list(self.inner.run(names, feeds))

    def run_with_iobinding(self, binding: Binding, options: RunOptions | None) -> None:
        places = [(v.device, v.index) for v in binding.inputs.values()]
        if self.name != "CPUExecutionProvider":
            assert {*places, *binding.places.values()} == {self._place()}, "not on the device"
        graph = _graph_of(options)
        if self.captures and graph != "-1":
            addresses = tuple(id(v) for v in (*binding.inputs.values(), *binding.outputs.values()))
            assert all(v is not None for v in binding.outputs.values()), "no buffer to capture"
            captured = self.graphs.setdefault(graph, addresses)
            assert captured == addresses, "a graph was replayed for other buffers"
        binding.queued = True
        self._launch(options, replays=self.captures and graph != "-1")
        if self.name == "CPUExecutionProvider":
            binding.synchronize_outputs()

    def _launch(self, options: RunOptions | None, *, replays: bool) -> None:
        """The run on the device: kernel by kernel, or a whole graph; it ends when they are done,
        unless it is told not to wait."""
        module, stream = self.module, self.stream or Stream()
        module.gpu.host_us += 0.0 if self.has_run else module.first_us
        self.has_run = True
        takes_us = [module.kernel_us] * module.kernels
        for each_us in [sum(takes_us)] if replays else takes_us:
            module.gpu.launch(stream, each_us)
        assert not module.gpu.last_error, "a launch takes an error of before for its own"
        entries = options.entries if options is not None else {}
        told = entries.get("disable_synchronize_execution_providers") == "1"
        if not told or module.waits or (replays and module.replay_waits):
            module.gpu.wait(stream)

    def _place(self) -> tuple[str, int]:
        memory = {"CANNExecutionProvider": "cann"}.get(self.name, "cuda")
        return memory, int(self.settings.get("device_id", 0))

    def run_with_ortvaluevector(
        self,
        options: RunOptions,
        takes: list[str],
        given: OrtValueVector,
        gives: list[str],
        found: OrtValueVector,
        devices: list[OrtDevice],
    ) -> None:
        """Synchronous, as the real one is; what is given may be on the host, which the real one
        copies to the device. The first output is what the caller looks at; all others are handed
        to the next run, so they have to stay where they are computed."""
        if self.name != "CPUExecutionProvider":
            assert {device.place for device in devices[1:]} == {self._place()}, "not on the device"
        assert not self.captures, "a session with CUDA graphs captures fixed lengths"
        assert not found, "outputs are put into an empty vector"
        feeds = {name: value.array for name, value in zip(takes, given, strict=True)}
        outputs = self.inner.run(list(gives), feeds)
        for array, device in zip(outputs, devices, strict=True):
            found.push_back(InnerValue(np.ascontiguousarray(array), device.place))

    def compute(self, binding: Binding) -> None:
        feeds = {name: value.array for name, value in binding.inputs.items()}
        outputs = self.inner.run(list(binding.outputs), feeds)
        for (name, value), array in zip(list(binding.outputs.items()), outputs, strict=True):
            if value is None:
                binding.outputs[name] = Value(array, *binding.places[name])
            else:
                value.array[...] = array


def _graph_of(options: RunOptions | None) -> str:
    return "0" if options is None else options.entries.get("gpu_graph_id", "0")
