"""The execution providers that come inside a build of ONNX Runtime, as a table.

Each entry says how a target names the provider's devices, which options it knows, what is always
set, and where inputs and outputs lie. Option names are the provider's own
(onnxruntime.ai/docs/execution-providers), but for those that mean the same with several of them:
``fp16``, ``tf32``, ``cuda_graph``. Where a provider would compute in less than the model's
precision unasked, its default is overruled here.

Left out on purpose: CoreML, which picks among CPU, GPU and neural engine without saying so, and
ROCm, which ONNX Runtime 1.23 dropped for MIGraphX. Providers that are libraries of their own are
in `plugins`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import ModuleType
from typing import Callable, Dict, List

from bench.backend import Device
from bench.errors import Unavailable
from bench.folders import cache_folder

from ..shared.checks import ANY_NUMBER, ANY_TEXT
from ..shared.host import cpu_device, nvidia_devices
from .provider import Asked, Provider

_OFF_ON = ("0", "1")
_DEFAULT_OFF_ON = ("", "0", "1")


def _nvidia(kind: str) -> Callable[[ModuleType], List[Device]]:
    def devices(ort: ModuleType) -> List[Device]:
        try:
            found = nvidia_devices()
        except Unavailable as why:
            reason = f"onnxruntime:{kind} is not available: {why.reason}"
            raise Unavailable(reason, why.remedy) from why
        return [replace(device, id=device.id.replace("cuda", kind)) for device in found]

    return devices


def _numbered(asked: Asked) -> Dict[str, str]:
    return {"device_id": str(asked.index)}


def _tensorrt(asked: Asked) -> Dict[str, str]:
    """A quantised or float16 model needs the builder's flag; an fp32 one must not have it."""
    folder = cache_folder()
    flags = {"fp16": "trt_fp16_enable", "int8-static": "trt_int8_enable"}
    return {
        **_numbered(asked),
        **{flag: "1" for variant, flag in flags.items() if variant == asked.variant},
        "trt_engine_cache_path": str(folder / "tensorrt"),
        "trt_timing_cache_path": str(folder / "tensorrt"),
    }


def _cann(asked: Asked) -> Dict[str, str]:
    # Otherwise every compiled graph is left as a file in the current folder.
    return {**_numbered(asked), "dump_om_model": "0"}


def _migraphx(asked: Asked) -> Dict[str, str]:
    return {
        **_numbered(asked),
        **({"migraphx_fp16_enable": "1"} if asked.variant == "fp16" else {}),
    }


def _openvino(plugin: str) -> Provider:
    def fixed(asked: Asked) -> Dict[str, str]:
        name = f"{plugin}.{asked.index}" if asked.index else plugin
        threads = {"num_of_threads": str(asked.threads)} if plugin == "CPU" else {}
        exact = (
            {"precision": "FP32"} if plugin in ("CPU", "GPU") and asked.variant != "fp16" else {}
        )
        return {"device_type": name, **threads, **exact}

    def devices(ort: ModuleType) -> List[Device]:
        try:
            names = ort.capi._pybind_state.get_available_openvino_device_ids()
        except AttributeError:
            return []
        mine = [name for name in names if re.fullmatch(rf"{plugin}(\.\d+)?", name)]
        ids = [f"openvino-{name.lower()}".replace(".0", "").replace(".", ":") for name in mine]
        host = cpu_device()
        if plugin == "CPU":
            return [replace(host, id=device_id) for device_id in ids]
        return [Device(device_id, "Intel", f"{plugin} as OpenVINO reports it") for device_id in ids]

    return Provider(
        kind=f"openvino-{plugin.lower()}",
        ep="OpenVINOExecutionProvider",
        vendor="Intel",
        hardware=f"{plugin} as OpenVINO reports it",
        install="Create an environment for that build: bench env create onnxruntime-openvino.",
        needs=f"For {plugin}, install the driver that OpenVINO's {plugin} plugin needs.",
        options={
            "precision": ("", "FP32", "FP16", "ACCURACY"),
            "num_streams": ANY_NUMBER,
            "cache_dir": ANY_TEXT,
            "load_config": ANY_TEXT,
            "enable_qdq_optimizer": ("", "True", "False"),
        },
        fixed=fixed,
        devices=devices,
        numbered=False,
        lowers={("precision", "FP16"): "fp16"},
    )


_CUDA_INSTALL = "Create an environment for that build: bench env create onnxruntime-gpu."
_CUDA_NEEDS = (
    "Install NVIDIA's driver and the CUDA and cuDNN libraries that this build needs: "
    "pip install 'onnxruntime-gpu[cuda,cudnn]'."
)

CPU = Provider(
    kind="cpu",
    ep="CPUExecutionProvider",
    vendor="",
    hardware="CPU",
    install="",
    devices=lambda ort: [cpu_device()],
    numbered=False,
    compiles_shapes=False,  # its kernels take any shape, and gain nothing from knowing it
)

#: every kind of device that a build of ONNX Runtime may bring
PROVIDERS: Dict[str, Provider] = {
    provider.kind: provider
    for provider in (
        CPU,
        Provider(
            kind="cuda",
            ep="CUDAExecutionProvider",
            vendor="NVIDIA",
            hardware="CUDA device",
            install=_CUDA_INSTALL,
            needs=_CUDA_NEEDS,
            options={
                "tf32": _OFF_ON,
                "cuda_graph": _OFF_ON,
                "cudnn_conv_algo_search": ("", "EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
                "prefer_nhwc": _DEFAULT_OFF_ON,
                "arena_extend_strategy": ("", "kNextPowerOfTwo", "kSameAsRequested"),
                "gpu_mem_limit": ANY_NUMBER,
            },
            renamed={"tf32": "use_tf32", "cuda_graph": "enable_cuda_graph"},
            fixed=_numbered,
            devices=_nvidia("cuda"),
            memory="cuda",
            stream="user_compute_stream",
            asynchronous=True,
        ),
        Provider(
            kind="tensorrt",
            ep="TensorrtExecutionProvider",
            vendor="NVIDIA",
            hardware="CUDA device",
            install=_CUDA_INSTALL,
            needs="Install TensorRT, and the driver and CUDA libraries that this build asks for.",
            options={
                "fp16": _DEFAULT_OFF_ON,
                "bf16": _DEFAULT_OFF_ON,
                "tf32": _OFF_ON,
                "cuda_graph": _OFF_ON,
                "engine_cache": ("1", "0"),
                "timing_cache": ("1", "0"),
                "builder_optimization_level": ("", *"012345"),
                "min_subgraph_size": ANY_NUMBER,
                "max_workspace_size": ANY_NUMBER,
                "auxiliary_streams": ANY_NUMBER,
                "layer_norm_fp32_fallback": _DEFAULT_OFF_ON,
            },
            renamed={
                "tf32": "",  # by `variables`
                "fp16": "trt_fp16_enable",
                "bf16": "trt_bf16_enable",
                "cuda_graph": "trt_cuda_graph_enable",
                "engine_cache": "trt_engine_cache_enable",
                "timing_cache": "trt_timing_cache_enable",
                "builder_optimization_level": "trt_builder_optimization_level",
                "min_subgraph_size": "trt_min_subgraph_size",
                "max_workspace_size": "trt_max_workspace_size",
                "auxiliary_streams": "trt_auxiliary_streams",
                "layer_norm_fp32_fallback": "trt_layer_norm_fp32_fallback",
            },
            fixed=_tensorrt,
            devices=_nvidia("tensorrt"),
            memory="cuda",
            asynchronous=True,
            lowers={("fp16", "1"): "fp16+fp32", ("bf16", "1"): "bf16+fp32"},
            # The provider has no option for it; NVIDIA's libraries all heed this variable.
            variables=lambda extra: {"NVIDIA_TF32_OVERRIDE": "0"} if extra["tf32"] == "0" else {},
            helpers=("CUDAExecutionProvider",),
        ),
        Provider(
            kind="cann",
            ep="CANNExecutionProvider",
            vendor="Huawei",
            hardware="Ascend NPU",
            install="Install Huawei's CANN toolkit, then bench env create onnxruntime-cann.",
            needs="Install Huawei's driver and CANN toolkit, and source its set_env.sh.",
            options={
                # The provider's own default, force_fp16, would make an fp32 model an fp16 one.
                "precision_mode": (
                    "must_keep_origin_dtype",
                    "force_fp16",
                    "force_fp32",
                    "cube_fp16in_fp32out",
                    "allow_fp32_to_fp16",
                    "allow_mix_precision",
                    "allow_mix_precision_fp16",
                ),
                "precision_mode_v2": ANY_TEXT,
                "enable_cann_graph": _DEFAULT_OFF_ON,
                "enable_cann_subgraph": _DEFAULT_OFF_ON,
                "op_select_impl_mode": ("", "high_precision", "high_performance"),
                "optypelist_for_implmode": ANY_TEXT,
                "dynamic_batch_size": ANY_TEXT,
                "npu_mem_limit": ANY_NUMBER,
                "arena_extend_strategy": ("", "kNextPowerOfTwo", "kSameAsRequested"),
                "dump_graphs": _DEFAULT_OFF_ON,
                "dump_om_model": _DEFAULT_OFF_ON,
            },
            fixed=_cann,
            memory="cann",
            asynchronous=True,
            lowers={
                ("precision_mode", "force_fp16"): "fp16",
                # Matrix products take float16 inputs where they can, says CANN's manual.
                ("precision_mode", "force_fp32"): "fp16+fp32",
                ("precision_mode", "cube_fp16in_fp32out"): "fp16+fp32",
                ("precision_mode", "allow_fp32_to_fp16"): "fp16+fp32",
                ("precision_mode", "allow_mix_precision"): "fp16+fp32",
                ("precision_mode", "allow_mix_precision_fp16"): "fp16+fp32",
                ("precision_mode_v2", "fp16"): "fp16",
                ("precision_mode_v2", "mixed_float16"): "fp16+fp32",
                ("precision_mode_v2", "cube_fp16in_fp32out"): "fp16+fp32",
            },
        ),
        *(_openvino(plugin) for plugin in ("CPU", "GPU", "NPU")),
        Provider(
            kind="migraphx",
            ep="MIGraphXExecutionProvider",
            vendor="AMD",
            hardware="ROCm device",
            install="Install AMD's onnxruntime-migraphx in place of onnxruntime.",
            needs="Install ROCm and MIGraphX.",
            options={"fp16": _DEFAULT_OFF_ON, "exhaustive_tune": _DEFAULT_OFF_ON},
            renamed={"fp16": "migraphx_fp16_enable", "exhaustive_tune": "migraphx_exhaustive_tune"},
            fixed=_migraphx,
            asynchronous=True,
            lowers={("fp16", "1"): "fp16+fp32"},
        ),
        Provider(
            kind="dml",
            ep="DmlExecutionProvider",
            vendor="Microsoft",
            hardware="DirectX 12 adapter",
            install="On Windows, install onnxruntime-directml in place of onnxruntime.",
            fixed=_numbered,
            asynchronous=True,
        ),
    )
}
