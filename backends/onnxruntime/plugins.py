"""Execution providers that are libraries of their own, loaded into any build of ONNX Runtime.

A plugin provider needs no code: where its library lies and which type of hardware it is for. That
of Qualcomm is listed here; a user adds others in a TOML file (see `user_file`), a table each:

    [my-npu]                                  # the target is onnxruntime:my-npu
    library = "my_package:get_library_path"   # or the path of the library
    ep = "MyExecutionProvider"                # its registration name; default: that of the table
    hardware = "npu"                          # on other hardware it emulates, and isn't timed
    vendor = "Mine"
    install = "pip install my-package"
    [my-npu.options]                          # provider options; a target may say ?cores=4
    cores = "2"
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, Mapping

from bench.backend import Device
from bench.errors import SpecError, Unavailable
from bench.folders import config_file

from ..shared.checks import ANY_NUMBER, ANY_TEXT, first_line
from .provider import Plugin, Provider
from .providers import PROVIDERS

VARIABLE = "BENCH_ONNXRUNTIME_PLUGINS"

#: docs: onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html. Its ``saver`` and
#: ``ir`` back ends compute nothing, and its ``cpu`` back end isn't in the package.
_QNN = Provider(
    kind="qnn",
    ep="QNNExecutionProvider",
    vendor="Qualcomm",
    hardware="Hexagon NPU",
    install="Install it: pip install 'infer-bench[qnn]'.",
    options={
        "backend_type": ("htp", "gpu"),
        # On by default in the provider, which would make an fp32 model an fp16 one.
        "enable_htp_fp16_precision": ("0", "1"),
        "htp_performance_mode": (
            "",
            "burst",
            "balanced",
            "default",
            "high_performance",
            "high_power_saver",
            "low_balanced",
            "low_power_saver",
            "power_saver",
            "sustained_high_performance",
        ),
        "htp_graph_finalization_optimization_mode": ("", *"0123"),
        "htp_arch": ANY_NUMBER,
        "soc_model": ANY_NUMBER,
        "vtcm_mb": ANY_NUMBER,
        "offload_graph_io_quantization": ("", "0", "1"),
    },
    numbered=False,
    lowers={("enable_htp_fp16_precision", "1"): "fp16"},
    plugin=Plugin("onnxruntime_qnn:get_library_path", hardware="npu"),
)

_KEYS = {"library", "ep", "hardware", "simulated", "vendor", "install", "options"}
_HARDWARE = ("cpu", "gpu", "npu")

#: library -> what registering it added; ONNX Runtime takes a library once in a process
_registered: Dict[str, List[Any]] = {}


def known_providers() -> Dict[str, Provider]:
    """Those of the build, Qualcomm's, and the user's; a user's table may replace a listed plugin.

    Raises `SpecError` for a file that isn't as it should be.
    """
    return {**PROVIDERS, _QNN.kind: _QNN, **_read_user_file(user_file())}


def user_file() -> Path:
    """The file named by $BENCH_ONNXRUNTIME_PLUGINS, or ``onnxruntime-plugins.toml`` in the folder
    of bench's configuration."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else config_file("onnxruntime-plugins.toml")


def ep_devices(ort: ModuleType, provider: Provider) -> List[Any]:
    """The plugin's devices as ONNX Runtime lists them, those of its own hardware alone where there
    are any. Raises `Unavailable` where the library is missing or can't be registered."""
    assert provider.plugin is not None
    if not hasattr(ort, "register_execution_provider_library"):
        raise Unavailable(
            f"onnxruntime:{provider.kind} is not available: plugin providers need ONNX Runtime "
            f"1.22, but this is {ort.__version__}.",
            "Install a newer version.",
        )
    library = _library(provider)
    if library not in _registered:
        before = {device.ep_name for device in ort.get_ep_devices()}
        try:
            ort.register_execution_provider_library(provider.ep, library)
        except Exception as error:
            raise Unavailable(
                f"onnxruntime:{provider.kind} is not available: {library} can't be registered: "
                f"{first_line(error)}.",
                provider.install,
            ) from error
        _registered[library] = [d for d in ort.get_ep_devices() if d.ep_name not in before]
    found = _registered[library]
    if not found:
        raise Unavailable(
            f"onnxruntime:{provider.kind} is not available: {library} offers no device here."
        )
    own = [device for device in found if _type(device) == provider.plugin.hardware]
    return own or found


def plugin_devices(ort: ModuleType, provider: Provider) -> List[Device]:
    """The plugin's devices, ``qnn``, ``qnn:1`` and so on."""
    assert provider.plugin is not None
    plugin, devices = provider.plugin, []
    for index, found in enumerate(ep_devices(ort, provider)):
        emulates = bool(plugin.hardware) and _type(found) != plugin.hardware
        simulated = emulates if plugin.simulated is None else plugin.simulated
        name = f"{provider.hardware}, emulated on this {_type(found).upper()}"
        devices.append(
            Device(
                id=f"{provider.kind}:{index}" if index else provider.kind,
                vendor=provider.vendor or str(found.ep_vendor),
                name=name if emulates else provider.hardware or str(found.ep_name),
                driver=_package_version(plugin.library),
                simulated=simulated,
            )
        )
    return devices


def _type(device: Any) -> str:
    """``OrtHardwareDeviceType.NPU`` -> ``npu``."""
    return str(device.device.type).rpartition(".")[2].lower()


def _library(provider: Provider) -> str:
    """The path of the plugin's library, which is there."""
    assert provider.plugin is not None
    named = provider.plugin.library
    module, colon, function = named.rpartition(":")
    path = named
    if colon and module.replace(".", "").replace("_", "").isalnum():
        try:
            path = str(getattr(importlib.import_module(module), function)())
        except Exception as error:  # whatever a stranger's package raises
            raise Unavailable(
                f"onnxruntime:{provider.kind} is not available: {named} provides no library: "
                f"{first_line(error)}.",
                provider.install,
            ) from error
    if not Path(path).is_file():
        raise Unavailable(
            f"onnxruntime:{provider.kind} is not available: there is no library {path}.",
            provider.install,
        )
    return path


def _package_version(library: str) -> str:
    """``onnxruntime-qnn 2.7.0`` for a library that a package brings; else empty."""
    module, colon, _ = library.rpartition(":")
    name = module.partition(".")[0].replace("_", "-")
    try:
        return f"{name} {importlib.metadata.version(name)}" if colon and name else ""
    except importlib.metadata.PackageNotFoundError:
        return ""


def _read_user_file(path: Path) -> Dict[str, Provider]:
    if not path.is_file():
        if os.environ.get(VARIABLE):
            raise SpecError(f"{path}: no such file, but {VARIABLE} names it.")
        return {}
    try:
        import tomllib
    except ImportError as error:  # Python 3.10 and before
        if not os.environ.get(VARIABLE):
            return {}  # a vendor's older interpreter; the file is there for others
        raise SpecError(f"{path}: plugin providers in TOML need Python 3.11 or later.") from error
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path} can't be read: {first_line(error)}.") from error
    return {kind: _from_table(f"{path}: [{kind}]", kind, table) for kind, table in tables.items()}


def _from_table(where: str, kind: str, table: Any) -> Provider:
    """A provider as the user describes it. Raises `SpecError` that names what is wrong."""
    if not isinstance(table, dict):
        raise SpecError(f"{where} is not a table; describe each plugin in a table with its name.")
    if kind in PROVIDERS or not kind.replace("-", "").isalnum() or kind != kind.lower():
        raise SpecError(
            f"{where}: the name must consist of lower-case letters, digits and dashes, and not be "
            "one of "
            f"{', '.join(PROVIDERS)}."
        )
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise SpecError(f"{where} has no key {unknown[0]!r}. It knows: {', '.join(sorted(_KEYS))}.")
    texts = ("library", "ep", "hardware", "vendor", "install")
    wrong = [key for key in texts if not isinstance(table.get(key, ""), str)]
    if wrong or not table.get("library"):
        raise SpecError(f"{where}: {(wrong or ['library'])[0]} must be a text.")
    if table.get("hardware", "cpu") not in _HARDWARE:
        raise SpecError(f"{where}: hardware must be one of {', '.join(_HARDWARE)}.")
    if not isinstance(table.get("simulated", False), bool):
        raise SpecError(f"{where}: simulated must be true or false.")
    return Provider(
        kind=kind,
        ep=table.get("ep", kind),
        vendor=table.get("vendor", ""),
        hardware=table.get("ep", kind),
        install=table.get("install", ""),
        options=dict.fromkeys(_options(where, table), ANY_TEXT),
        fixed=lambda asked: dict(_options(where, table)),
        numbered=False,
        plugin=Plugin(table["library"], table.get("hardware", ""), table.get("simulated")),
    )


def _options(where: str, table: Mapping[str, Any]) -> Dict[str, str]:
    options = table.get("options", {})
    if not isinstance(options, dict) or not all(isinstance(v, str) for v in options.values()):
        raise SpecError(f"{where}: options must be a table of texts.")
    return dict(options)
