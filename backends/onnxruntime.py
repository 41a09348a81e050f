"""ONNX Runtime on the CPU, on NVIDIA GPUs where its CUDA build is installed, and on Huawei's NPUs
where its CANN build and CANN itself are.

Options behind ``?`` (see `_OPTIONS`): ``graph_optimization``, ``execution_mode``, ``arena``,
``spinning``, ``streams`` (offline alone) and, on CUDA, ``tf32``. The defaults are what a careful
user would ship: every graph optimisation, one inference at a time, no spinning threads, and fp32
that is fp32.
"""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import ModuleType
from typing import Any, Callable, ClassVar, Mapping, Optional

import numpy as np

from bench.backend import (
    QUERIES_PER_STREAM,
    Device,
    Feeds,
    ModelFile,
    Options,
    Placement,
    TensorSpec,
)
from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported

from . import tiny
from .checks import (
    ANY_NUMBER,
    Array,
    check_feeds,
    first_line,
    is_out_of_memory,
    read_extra,
    require_onnx,
)
from .descriptors import printed
from .host import cpu_device, nvidia_devices
from .onnxruntime_native import NativeLoop
from .onnxruntime_profile import computed_precision

_OPTIONS = {
    "graph_optimization": ("all", "extended", "basic", "disabled"),
    "execution_mode": ("sequential", "parallel"),
    "arena": ("1", "0"),
    "spinning": ("0", "1"),
    "streams": ANY_NUMBER,
}
#: More than a server holds: a provider that took any number would be asked for ever.
_MOST_NPUS = 16
#: The environment whose build has a provider: ``onnxruntime-...``.
_FLAVOURS = {"cuda": "gpu"}
_CUDA_OPTIONS = {"tf32": ("0", "1")}


class OnnxRuntime:
    """Adapter to the package ``onnxruntime``, or a flavour of it: ``onnxruntime-gpu`` and so on."""

    name: ClassVar[str] = "onnxruntime"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8-dynamic", "int8-static")
    preload: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        # Both start a thread on import, which the fork server must not have.
        "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    # All flavours provide the module onnxruntime, so no two of them can be installed together.
    requirements: ClassVar[Mapping[str, tuple[tuple[str, ...], ...]]] = {
        "onnxruntime-cann": (("onnxruntime-cann==1.24.4", "numpy<2"),),
        "onnxruntime-gpu": (("onnxruntime-gpu[cuda,cudnn]>=1.22", "numpy"),),
        "onnxruntime-openvino": (("onnxruntime-openvino>=1.22", "numpy"),),
    }

    def __init__(self) -> None:
        self._absent: dict[str, Unavailable] = {}

    def version(self) -> str:
        return str(_import().__version__)

    def devices(self) -> list[Device]:
        ort = _import()
        found = [cpu_device()] if _touches(ort, "cpu") else []
        if "CUDAExecutionProvider" in ort.get_available_providers():
            found += [gpu for gpu in nvidia_devices() if _touches(ort, gpu.id)]
        if "CANNExecutionProvider" in ort.get_available_providers():
            found += self._npus(ort)
        return found

    def absent_devices(self) -> dict[str, Unavailable]:
        """Why the devices that this flavour is for did not answer `devices`."""
        return self._absent

    def _npus(self, ort: ModuleType) -> list[Device]:
        """``cann:0``, ``cann:1`` and so on, as far as they answer. The provider is in the list
        without CANN too, and a session would then run on the CPU in silence."""
        found: list[Device] = []
        problem: Optional[str] = None
        while problem is None and len(found) < _MOST_NPUS:
            device = Device(f"cann:{len(found)}", "Huawei", "Ascend NPU")
            problem = _problem_with_npu(ort, device.id)
            found += [device] if problem is None else []
        if not found:
            self._absent["cann"] = Unavailable(
                f"onnxruntime:cann is not available: {problem}.",
                "Install Huawei's driver and CANN toolkit, and source its set_env.sh (in the "
                "shell, or as `setup` of the environment).",
            )
        return found

    def compile(self, model: ModelFile, device: Device, options: Options) -> OrtSession:
        ort = _import()
        target = f"{self.name}:{device.id}"
        known = dict(_OPTIONS, **(_CUDA_OPTIONS if device.id.startswith("cuda") else {}))
        extra = read_extra(target, options.extra, known)
        path = str(require_onnx(model, target))
        where = f"{model.name} on {target}"
        try:
            session = _create(ort, path, device.id, options.threads, options.allow_fallback, extra)
        except Exception as error:
            raise _explain(error, where, path) from error
        native = partial(NativeLoop, ort, path, options.threads, extra)

        def profile(feeds: Feeds) -> str:
            like_it = _session_options(ort, options.threads, extra)
            return computed_precision(partial(_on, ort, path, device.id, extra), like_it, feeds)

        made = OrtSession(ort, session, device.id, where, native, profile)
        nodes = made.placement().nodes
        if nodes and device.id not in nodes:  # --allow-fallback is for parts of a model
            elsewhere = ", ".join(nodes)
            raise Unsupported(f"{where}: every node would run on {elsewhere}. Use that device.")
        return made


class OrtSession:
    """An `InferenceSession` whose calls are prepared through an `IOBinding`."""

    def __init__(
        self,
        ort: ModuleType,
        session: Any,
        device_id: str,
        where: str,
        native: Callable[..., NativeLoop],
        profile: Callable[[Feeds], str],
    ) -> None:
        self._ort = ort
        self._profile = profile
        self._make_native = native
        self._native: Optional[NativeLoop] = None
        self._pool: Optional[ThreadPoolExecutor] = None
        self._session = session
        self._kind, self._index = _split(device_id)
        self._device_id = device_id
        self._where = where
        self._binding: Any = None
        #: The arrays that are bound: release 1.24 keeps none alive, and was seen to compute on
        #: memory that was freed.
        self._bound: list[Array] = []
        self.inputs = [_spec(where, value) for value in session.get_inputs()]
        self.outputs = [_spec(where, value) for value in session.get_outputs()]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """An output is allocated on the device by the first call, and used again by later ones."""
        arrays = check_feeds(self._where, self.inputs, feeds)
        binding = self._session.io_binding()
        for spec, array in zip(self.inputs, arrays):
            # On the CPU an OrtValue wraps the array that it is given, so that has to be a copy.
            own = np.array(array, order="C", copy=True)
            value = self._ort.OrtValue.ortvalue_from_numpy(own, self._kind, self._index)
            self._bound.append(own)
            binding.bind_ortvalue_input(spec.name, value)
        for spec in self.outputs:
            binding.bind_output(spec.name, self._kind, self._index)
        self._binding = binding
        call = self._prepared(binding)
        if self._kind == "cpu":
            return call

        def synchronous() -> None:
            call()
            binding.synchronize_outputs()

        return synchronous

    def _prepared(self, binding: Any) -> Callable[[], object]:
        """The cheapest call: past the public method's checks, which cost 0.3 to 0.5 us a call."""
        try:
            return partial(self._session._sess.run_with_iobinding, binding._iobinding, None)
        except AttributeError:  # these names are private and may go
            return partial(self._session.run_with_iobinding, binding)

    def bind_streams(self, feeds: Feeds, streams: int) -> Callable[[], object]:
        """A thread for each stream; ONNX Runtime lets go of Python's lock while it computes."""
        calls = [self.bind(feeds) for _ in range(streams)]
        pool = self._pool = ThreadPoolExecutor(streams)

        def stream(call: Callable[[], object]) -> None:
            for _ in range(QUERIES_PER_STREAM):
                call()

        def all_streams() -> None:
            for future in [pool.submit(stream, call) for call in calls]:
                future.result()

        return all_streams

    def native_timer(self, feeds: Feeds) -> Callable[[int], Array]:
        """A loop of inferences through the C API, in a session of its own with the same options."""
        if self._kind != "cpu":
            raise Unsupported(f"{self._where}: the native lane is for the CPU alone.")
        check_feeds(self._where, self.inputs, feeds)
        loop = self._native = self._make_native(feeds, self.outputs, self.run(feeds))
        return loop.time

    def fetch(self) -> list[Array]:
        if self._native is not None:
            return [np.array(array) for array in self._native.outputs]
        values = self._binding.get_outputs() if self._binding is not None else []
        # Copying out what was never allocated would crash the process.
        if not values or not all(value.has_value() for value in values):
            raise BenchError(f"{self._where}: there is no output yet; bind inputs and call first.")
        return [np.array(value.numpy()) for value in values]

    def run(self, feeds: Feeds) -> list[Array]:
        check_feeds(self._where, self.inputs, feeds)
        try:
            return list(self._session.run(None, dict(feeds)))
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"{self._where}: {first_line(error)}. Use less.") from error
            if "INVALID_ARGUMENT" in str(error):
                names = ", ".join(feeds)
                raise SpecError(
                    f"{self._where}: the values of {names} are refused: {first_line(error)}."
                ) from error
            raise

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        check_feeds(self._where, self.inputs, feeds)
        return partial(self._session.run, None, {name: a.copy() for name, a in feeds.items()})

    def placement(self) -> Placement:
        """Old releases can't tell: there only the strict session option vouches, without counts."""
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            return Placement({}, "onnxruntime: session.disable_cpu_ep_fallback")
        nodes: Counter[str] = Counter()
        elsewhere = []
        for part in self._session.get_provider_graph_assignment_info():
            place = self._place(part.ep_name)
            nodes[place] += len(part.get_nodes())
            if place != self._device_id:
                elsewhere += [f"{node.name or node.op_type} ({place})" for node in part.get_nodes()]
        source = "onnxruntime: get_provider_graph_assignment_info"
        return Placement(dict(nodes), source, tuple(elsewhere))

    def computed_precision(self, feeds: Feeds) -> str:
        """From the profile of one inference of a further session with the same options."""
        check_feeds(self._where, self.inputs, feeds)
        return self._profile(feeds)

    def _place(self, provider: str) -> str:
        """The device that a provider stands for; one that nobody asked for keeps its name."""
        if provider == "CPUExecutionProvider":
            return "cpu"
        return self._device_id if provider == _provider(self._device_id) else provider

    def close(self) -> None:
        if self._native is not None:
            self._native.close()
        self._native = None
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = None
        self._binding = None
        self._bound = []
        self._session = None


def _import() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise Unavailable(
            f"onnxruntime is not available: {first_line(error)}.",
            "Install it: pip install 'infer-bench[onnxruntime]'.",
        ) from error
    return onnxruntime  # type: ignore[no-any-return]


def _split(device_id: str) -> tuple[str, int]:
    """``cuda:1`` -> ``("cuda", 1)``."""
    match = re.fullmatch(r"(cpu)|(cuda|cann):(\d+)", device_id)
    if match is None:
        raise Unavailable(
            f"onnxruntime:{device_id} is not available: there is no such device.",
            "Devices are cpu and cuda:0, cuda:1 and so on; `bench doctor` lists those present.",
        )
    return ("cpu", 0) if match[1] else (match[2], int(match[3]))


def _provider(device_id: str) -> str:
    return f"{_split(device_id)[0].upper()}ExecutionProvider"


def _create(
    ort: ModuleType,
    model: Any,
    device_id: str,
    threads: int,
    allow_fallback: bool,
    extra: Mapping[str, str],
) -> Any:
    """An `InferenceSession` that is on ``device_id``, or an error."""
    kind, _ = _split(device_id)
    provider = _provider(device_id)
    if provider not in ort.get_available_providers():
        flavour = f"onnxruntime-{_FLAVOURS.get(kind, kind)}"
        raise Unavailable(
            f"onnxruntime:{device_id} is not available: this build has no {provider}.",
            f"Use the flavour that has it: bench env create {flavour}.",
        )
    options = _session_options(ort, threads, extra)
    if kind == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds CUDA and cuDNN in their pip packages
    if kind != "cpu" and not allow_fallback:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = _on(ort, model, device_id, extra, options)
    if session.get_providers()[0] != provider:
        raise Unavailable(
            f"onnxruntime:{device_id} is not available: {provider} did not start.",
            "The runtime's own output says why; often CUDA or cuDNN is missing.",
        )
    return session


def _on(ort: ModuleType, model: Any, device_id: str, extra: Mapping[str, str], options: Any) -> Any:
    """A session with the provider of a device."""
    kind, index = _split(device_id)
    chosen: Any = _provider(device_id)
    if kind == "cuda":
        chosen = (chosen, {"device_id": str(index), "use_tf32": extra["tf32"]})
    elif kind == "cann":
        chosen = (chosen, {"device_id": str(index)})
    # enable_fallback=0: else a provider that fails to start is replaced by the CPU in silence.
    return ort.InferenceSession(model, options, providers=[chosen], enable_fallback=0)


def _session_options(ort: ModuleType, threads: int, extra: Mapping[str, str]) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = {
        "all": levels.ORT_ENABLE_ALL,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "basic": levels.ORT_ENABLE_BASIC,
        "disabled": levels.ORT_DISABLE_ALL,
    }[extra["graph_optimization"]]
    if extra["execution_mode"] == "parallel":
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.inter_op_num_threads = threads
    options.enable_cpu_mem_arena = extra["arena"] == "1"
    # Idle threads would spin for 50 ms after a call, on the core that another worker is timed on.
    options.add_session_config_entry("session.intra_op.allow_spinning", extra["spinning"])
    options.add_session_config_entry("session.inter_op.allow_spinning", extra["spinning"])
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _spec(where: str, value: Any) -> TensorSpec:
    """``tensor(float)`` and dimensions that are numbers, names or None."""
    match = re.fullmatch(r"tensor\((\w+)\)", value.type)
    dtype = {"float": "float32", "double": "float64", "bfloat16": ""}.get(
        match[1] if match else "", match[1] if match else ""
    )
    if not dtype or dtype == "string":
        raise Unsupported(f"{where}: {value.name!r} is a {value.type}, which numpy does not have.")
    shape = tuple(dim if isinstance(dim, int) else -1 for dim in value.shape)
    return TensorSpec(value.name, dtype, shape)


#: How ONNX Runtime names an operator that it lacks: as a whole, and for the types at hand.
_LACKS = re.compile(
    r"error: (\S+?)\(\S*\) is not a registered|(\S+?)\(-?\d+\) is not a registered|"
    r"No Op registered for (\S+)|find an implementation for (\w+)",
    re.IGNORECASE,
)


def _explain(error: Exception, where: str, path: str) -> BaseException:
    """What an error during creation means to a user."""
    text = str(error)
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
    if isinstance(error, BenchError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory(f"{where}: no memory to load it: {reason}. Use a smaller model.")
    lacking = _LACKS.search(text)
    if lacking:
        op = next(group for group in lacking.groups() if group)
        return Unsupported(f"{where}: the operator {op} is not supported: {reason}.")
    if "fallback to CPU EP has been explicitly disabled" in text:
        return Unsupported(
            f"{where}: some nodes can run on the CPU alone. "
            "Use --allow-fallback to run them there and have them counted."
        )
    if "CUDA failure" in text or "invalid device ordinal" in text:
        return Unavailable(f"{where.partition(' on ')[2]} is not available: {reason}.")
    return SpecError(f"{path}: onnxruntime can't load it: {reason}. Is the file whole?")


def _touches(ort: ModuleType, device_id: str) -> bool:
    """Whether a session on the device computes; its name in a list proves nothing."""
    extra = {key: values[0] for key, values in {**_OPTIONS, **_CUDA_OPTIONS}.items()}
    try:
        session = _create(ort, tiny.ONNX, device_id, 1, False, extra)
        return tiny.is_right(session.run(None, tiny.FEEDS)[0])
    except Exception:
        return False


def _problem_with_npu(ort: ModuleType, device_id: str) -> Optional[str]:
    """None for an NPU that computes; else why it does not, which the provider only prints."""
    extra = {key: values[0] for key, values in _OPTIONS.items()}
    said: list[str] = []
    try:
        with printed(said):
            session = _create(ort, tiny.ONNX, device_id, 1, False, extra)
            right = tiny.is_right(session.run(None, tiny.FEEDS)[0])
    except Exception as error:
        missing = re.search(r"with error: (.+)", "".join(said))
        return missing[1].strip() if missing else first_line(error)
    return None if right else "it computes a tiny model wrongly"
