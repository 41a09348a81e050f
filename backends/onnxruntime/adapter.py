"""ONNX Runtime on every execution provider that its build, or a plugin, brings.

Options behind ``?`` are those of every device (`recipe.SESSION_OPTIONS`) and the
provider's own (`providers`, `plugins`). The defaults are what a careful
user would ship: every graph optimisation, one inference at a time, no spinning threads, and fp32
that is fp32.
"""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar, Dict, List, Mapping, Optional, Tuple, Type

from bench.backend import Device, ModelFile, Options
from bench.capabilities import EnergyReading, Reading, ReferenceRole, Tunable
from bench.errors import Unavailable, Unsupported

from ..shared import nvidia, visible
from ..shared.absent import kind_of
from ..shared.checks import first_line, read_extra, require_onnx
from ..shared.onnx_inputs import free_dimensions
from .busy import StreamedSession
from .create import create, touch
from .plugins import known_providers, plugin_devices
from .provider import Provider, split
from .recipe import SESSION_OPTIONS, Recipe
from .session import OnDeviceSession, OrtSession


class OnnxRuntime:
    """Adapter to the package ``onnxruntime``, whichever of its builds is installed."""

    name: ClassVar[str] = "onnxruntime"
    forms: ClassVar[tuple[str, ...]] = ("onnx",)
    distributions: ClassVar[tuple[str, ...]] = (
        "onnxruntime",
        "onnxruntime-gpu",
        "onnxruntime-openvino",
        "onnxruntime-cann",
        "onnxruntime-qnn",
        "onnxruntime-directml",
        "onnxruntime-migraphx",
    )
    #: Where ONNX's own evaluator lacks an operator; what isn't optimised isn't fused either.
    reference: ClassVar[ReferenceRole] = ReferenceRole(20, {"graph_optimization": "disabled"})
    variants: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "int8-dynamic", "int8-static", "int4")
    tunables: ClassVar[Mapping[str, Tunable]] = {
        "graph_optimization": Tunable(SESSION_OPTIONS["graph_optimization"][:3]),
        "execution_mode": Tunable(SESSION_OPTIONS["execution_mode"], kinds=("cpu",), pooled=True),
        "arena": Tunable(SESSION_OPTIONS["arena"], kinds=("cpu",)),
        # Its threads spin for 45 to 58 ms after a call (docs/method.md).
        "spinning": Tunable(
            SESSION_OPTIONS["spinning"], kinds=("cpu",), pooled=True, lingers_s={"1": 0.06}
        ),
        "cuda_graph": Tunable(("0", "1"), kinds=("cuda",)),
        "streams": Tunable(),
    }
    # docs: onnxruntime.ai/docs/execution-providers, QNN and OpenVINO.
    static_shapes: ClassVar[tuple[str, ...]] = ("qnn", "openvino-npu")
    preload: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    fork_safe: ClassVar[bool] = True
    environment: ClassVar[Mapping[str, str]] = {
        # Both start a thread on import, which the fork server must not have.
        "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1",
        **visible.ORDER,
    }
    # All flavours provide the module onnxruntime, so no two of them can be installed together.
    requirements: ClassVar[Mapping[str, tuple[tuple[str, ...], ...]]] = {
        "onnxruntime-cann": (("onnxruntime-cann==1.24.4", "numpy<2"),),
        "onnxruntime-gpu": (("onnxruntime-gpu[cuda,cudnn]>=1.22", "numpy", "nvidia-ml-py"),),
        "onnxruntime-openvino": (("onnxruntime-openvino>=1.22", "numpy"),),
    }

    def __init__(self) -> None:
        self._absent: Dict[str, Unavailable] = {}

    def version(self) -> str:
        return str(_import().__version__)

    def devices(self) -> list[Device]:
        ort = _import()
        found: List[Device] = []
        for provider in known_providers().values():
            found += self._answering(ort, provider)
        return found

    def absent_devices(self) -> Mapping[str, Unavailable]:
        """Why devices did not answer when `devices` was called last: by kind, where none of it did,
        else by id."""
        return self._absent

    def _answering(self, ort: ModuleType, provider: Provider) -> List[Device]:
        """The devices of one provider that compute; their names in a list prove nothing."""
        kind = provider.kind
        self._absent = {key: why for key, why in self._absent.items() if kind_of(key) != kind}
        try:
            # What lists devices may be slow or hang: only a build that can use them asks it.
            provider.require_in(ort, f"{self.name}:{kind}")
            listed = plugin_devices(ort, provider) if provider.plugin else provider.devices(ort)
        except Unavailable as absent:
            self._absent[kind] = absent
            return []
        found: List[Device] = []
        silent: List[Tuple[Device, Unavailable]] = []
        for device in listed or provider.candidates(ort):
            try:
                touch(_probe(ort, provider, device.id))
                found.append(device)
            except Unavailable as absent:
                silent.append((device, absent))
                if not listed:  # they are counted, up to the first that isn't there
                    break
        if silent and not found:  # then none of that kind is, whichever number was tried
            first = silent[0][1]
            reason = first.reason.replace(f":{kind}:0 ", f":{kind} ")
            self._absent[kind] = type(first)(reason, first.remedy)
        elif found:
            # Of a number that its driver lists no device for nobody knows whether there is one.
            self._absent.update((d.id, _beside_others(d, why)) for d, why in silent if d.pci)
        return found

    def telemetry(self, device: Device) -> Reading:
        """What an NVIDIA GPU tells of itself; of other devices nothing is known."""
        index = _nvidia_index(device)
        return {} if index is None else nvidia.telemetry(index)

    def energy(self, device: Device) -> EnergyReading:
        """What the board of an NVIDIA GPU used."""
        index = _nvidia_index(device)
        return {} if index is None else nvidia.energy(index)

    def device_memory(self, device: Device) -> Optional[tuple[int, int]]:
        """Free and total bytes of an NVIDIA GPU; the other providers tell of no device's memory."""
        index = _nvidia_index(device)
        return None if index is None else nvidia.memory(index)

    def compile(self, model: ModelFile, device: Device, options: Options) -> OrtSession:
        ort = _import()
        target = f"{self.name}:{device.id}"
        provider, index = split(device.id, known_providers())
        extra = read_extra(target, options.extra, {**SESSION_OPTIONS, **provider.options})
        path = require_onnx(model, target)
        where = f"{model.name} on {target}"
        fixes = provider.compiles_shapes and bool(options.shapes)
        recipe = Recipe(
            ort=ort,
            model=str(path),
            provider=provider,
            index=index,
            extra=extra,
            threads=options.threads,
            variant=model.variant,
            strict=not options.allow_fallback,
            sizes=free_dimensions(path, options.shapes, where) if fixes else {},
            where=where,
        )
        made = _session_class(provider)(recipe, create(recipe), device.id)
        nodes = made.placement().nodes
        if nodes and device.id not in nodes:  # --allow-fallback is for parts of a model
            elsewhere = ", ".join(nodes)
            raise Unsupported(f"{where}: every node would run on {elsewhere}. Use that device.")
        return made


def _beside_others(device: Device, why: Unavailable) -> Unavailable:
    """The same of a device of which others of its kind answer: what these need is installed."""
    return type(why)(why.reason, f"Look at what else uses that {device.name} ({device.pci}).")


def _nvidia_index(device: Device) -> Optional[int]:
    """The number by which CUDA knows the device; None for one that isn't NVIDIA's."""
    kind, _, index = device.id.partition(":")
    return int(index) if kind in ("cuda", "tensorrt") else None


def _probe(ort: ModuleType, provider: Provider, device_id: str) -> Recipe:
    known = {**SESSION_OPTIONS, **provider.options}
    extra = read_extra(f"onnxruntime:{device_id}", {}, known)
    _, index = split(device_id, {provider.kind: provider})
    return Recipe(ort, b"", provider, index, extra)


def _session_class(provider: Provider) -> Type[OrtSession]:
    if provider.stream:
        return StreamedSession
    return OrtSession if provider.memory == "cpu" else OnDeviceSession


def _import() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise Unavailable(
            f"onnxruntime is not available: {first_line(error)}.",
            "Install it: pip install 'infer-bench[onnxruntime]'.",
        ) from error
    return onnxruntime  # type: ignore[no-any-return]
