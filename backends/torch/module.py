"""From a Python file and safetensors weights to a module on a device, for every PyTorch adapter."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import sys
from types import ModuleType
from typing import Any, Iterable

from bench.backend import ModelFile, TorchSource
from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported
from bench.guest import guest, seed, stay

from ..shared.checks import first_line, is_out_of_memory, memory_error

#: How torch's dtypes are called among a model's variants.
_PRECISIONS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}

_module_numbers = itertools.count()


def import_torch(backend: str) -> ModuleType:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of it is missing
        raise Unavailable(
            f"{backend} is not available: {first_line(error)}.",
            "Install PyTorch: pip install 'infer-bench[torch]'.",
        ) from error
    return torch  # type: ignore[no-any-return]


def load_module(torch: ModuleType, model: ModelFile, backend: str, place: Any, threads: int) -> Any:
    """The model's module on a device, with its weights, ready for inference."""
    if model.torch is None:
        raise Unsupported(f"{model.name} has no PyTorch source, which {backend} needs.")
    try:
        module = _make_module(torch, model.torch)
        module = module.requires_grad_(False).to(place)
        torch.set_num_threads(threads)
        if model.variant != "fp32":
            _convert(torch, module, model, backend)
        return module
    except Exception as error:
        ran_out = memory_error(error)
        if ran_out is not None:
            where = f"{model.name} on {backend}:{place}"
            raise OutOfMemory(f"{where}: no memory to load it: {first_line(ran_out)}.") from error
        raise


_DTYPES = {"fp16": "float16", "bf16": "bfloat16"}


def _convert(torch: ModuleType, module: Any, model: ModelFile, backend: str) -> None:
    """Turn a module to another precision; its inputs and outputs stay what they were.

    So the casts are part of what is timed, as they are in an ONNX file of the same variant.
    """
    if model.variant not in _DTYPES:
        raise Unsupported(f"{model.name}: {backend} has no {model.variant} form for a module.")
    dtype = getattr(torch, _DTYPES[model.variant])
    module.to(dtype)

    def lower(_: Any, args: Any) -> Any:
        return tuple(_cast(torch, value, torch.float32, dtype) for value in args)

    def restore(_: Any, args: Any, result: Any) -> Any:
        return _cast(torch, result, dtype, torch.float32)

    module.register_forward_pre_hook(lower)
    module.register_forward_hook(restore)


def _cast(torch: ModuleType, value: Any, old: Any, new: Any) -> Any:
    """Tensors of type ``old`` as ``new``, in nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        return value.to(new) if value.dtype == old else value
    if isinstance(value, dict):
        return type(value)((key, _cast(torch, item, old, new)) for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return type(value)([_cast(torch, item, old, new) for item in value])
    return value


def _make_module(torch: ModuleType, source: TorchSource) -> Any:
    """Run the file, call its factory, load the weights: as a guest, but for what its own code needs
    later. Anything that goes wrong is the file's fault."""
    if not source.file.is_file():
        raise SpecError(f"{source.file}: no such file.")
    name = f"bench_model_{next(_module_numbers)}"
    spec = importlib.util.spec_from_file_location(name, source.file)
    if spec is None or spec.loader is None:
        raise SpecError(f"{source.file}: not a Python file (.py).")
    loaded = importlib.util.module_from_spec(spec)
    where = f"{source.file}:{source.factory}" if source.folder is None else str(source.folder)
    try:
        with guest(where, source.file):
            sys.modules[name] = loaded  # dataclasses and pickle look a class's module up there
            spec.loader.exec_module(loaded)
            seed()
            given = () if source.folder is None else (str(source.folder),)
            module = getattr(loaded, source.factory)(*given)
            if isinstance(module, torch.nn.Module):
                _load_weights(module, source)
                module.eval()  # which returns the module, unless its own `train` forgot to
    except BenchError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if source.folder is not None:
            raise SpecError(f"{where}: {first_line(error)}.") from error
        raise SpecError(
            f"{where}: {type(error).__name__}: {first_line(error)}. "
            "It must define a function that takes no arguments and returns a torch.nn.Module."
        ) from error
    stay(source.file)
    if not isinstance(module, torch.nn.Module):
        raise SpecError(f"{where}: returned a {type(module).__name__}, not a torch.nn.Module.")
    return module


def _load_weights(module: Any, source: TorchSource) -> None:
    if source.weights is None:
        return
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not source.weights.is_file():
        raise SpecError(f"{source.weights}: no such file.")
    try:
        module.load_state_dict(load_file(source.weights))
    except SafetensorError as error:
        reason = f"it is not a complete safetensors file: {first_line(error)}"
        raise SpecError(f"{source.weights}: {reason}.") from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        problems = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise SpecError(
            f"{source.weights}: it doesn't fit {source.file}:{source.factory}: {problems}"
        ) from error


def parameter_names(module: Any, where: str, given: Iterable[str] = ()) -> list[str]:
    """What ``forward`` must be given, in order: its positional parameters without a default, and
    those with one that are ``given``.

    Raises `Unsupported` for inputs that can't be told one by one.
    """
    names: list[str] = []
    left_out = None
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.default is not parameter.empty and parameter.name not in given:
            left_out = left_out or parameter.name
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY):
            raise Unsupported(
                f"{where}: its forward takes {parameter}; write each input as a parameter."
            )
        if left_out is not None:
            raise Unsupported(
                f"{where}: its forward takes {left_out!r} before {parameter.name!r}, but no value "
                "is given for it."
            )
        names.append(parameter.name)
    return names


def precision_of(module: Any) -> str:
    """The types of a module's floating parameters, as variants are called: ``fp32``."""
    names = {str(p.dtype).partition(".")[2] for p in module.parameters() if p.is_floating_point()}
    return "+".join(sorted(_PRECISIONS.get(name, name) for name in names))
