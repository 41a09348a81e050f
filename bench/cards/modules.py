"""A PyTorch module of the user's: made once, fed with its own examples, and known by what it is."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench.arrays import Array
from bench.backend import TorchSource
from bench.cards.digest import module_digest, state_bytes
from bench.errors import BenchError, SpecError, Unavailable, kind_and_line, with_trace
from bench.guest import guest, seed

#: A factory is called a second time, to see whether it makes the same weights, up to this size.
_MADE_TWICE_BYTES = 2**30


@dataclass(frozen=True)
class Made:
    """A module in evaluation mode with its weights, and the hash of what it computes with."""

    source: TorchSource
    module: Any
    file: ModuleType  #: the Python file as it was imported
    sha256: str
    state_bytes: int
    parameters: Mapping[str, inspect.Parameter] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call it."""
        return source_name(self.source)

    @contextmanager
    def running(self) -> Iterator[Any]:
        """The module, while its code is the guest of the process."""
        with guest(self.name, self.source.file):
            yield self.module


_made: dict[TorchSource, Made] = {}


def make(source: TorchSource) -> Made:
    """The module of ``source``, made when it is first asked for.

    Raises `Unavailable` without torch, `SpecError` for a file, factory or weights that don't fit.
    """
    if source not in _made:
        _made[source] = _make(source)
    return _made[source]


def forget(source: TorchSource) -> None:
    """Give a module's memory back; asked for again, it is made again."""
    _made.pop(source, None)


def source_name(source: TorchSource) -> str:
    """``nets.py:factory``, or a checkpoint's folder."""
    return f"{source.file}:{source.factory}" if source.folder is None else str(source.folder)


def import_torch() -> Any:
    """The module torch. Raises `Unavailable` where it is not installed."""
    try:
        import torch  # torch: optional
    except ImportError as error:
        raise Unavailable(
            "exporting needs PyTorch, which is not installed.", "pip install 'infer-bench[torch]'"
        ) from error
    return torch


def _make(source: TorchSource) -> Made:
    torch = import_torch()
    if not source.file.is_file():
        raise SpecError(f"{source.file}: no such Python file.")
    name = source_name(source)
    with guest(name, source.file), torch.inference_mode(False), torch.enable_grad():
        file = _imported(source.file, name)
        seed()
        module = _called(file, source)
        _refuse_what_cannot_run(module, name)
        sha256 = module_digest(module, source.file)
        if source.folder is None and source.weights is None:
            _refuse_other_weights(file, source, sha256, state_bytes(module))
        parameters = dict(inspect.signature(module.forward).parameters)
    return Made(source, module, file, sha256, state_bytes(module), parameters)


def _imported(path: Path, name: str) -> ModuleType:
    """The Python file, run anew."""
    called = f"bench_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(called, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path}: not a Python file (.py).")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[called] = loaded  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(loaded)
    except BenchError:
        raise
    except Exception as error:
        raise SpecError(f"{name}: the module can't be created: {kind_and_line(error)}.") from error
    return loaded


def _called(file: ModuleType, source: TorchSource) -> Any:
    """What the factory returns, in evaluation mode, with the weights that the card names."""
    import torch  # torch: optional

    name = source_name(source)
    factory = getattr(file, source.factory, None)
    if not callable(factory):
        raise SpecError(f"{source.file}: has no usable factory {source.factory}.")
    try:
        module = factory() if source.folder is None else factory(str(source.folder))
        if not isinstance(module, torch.nn.Module):
            raise SpecError(f"{name}: returned a {type(module).__name__}, not a torch.nn.Module.")
        if source.weights is not None:
            from safetensors.torch import load_file  # torch: optional

            module.load_state_dict(load_file(str(source.weights)))
        module.eval()  # what it returns is the module, unless its own `train` forgot to
    except BenchError:
        raise
    except ImportError as error:
        if source.folder is None:
            unmade = SpecError(f"{name}: the module can't be created: {kind_and_line(error)}.")
            raise with_trace(unmade, error) from error
        raise Unavailable(
            f"{name}: {kind_and_line(error)}, needed for checkpoints.",
            "pip install 'infer-bench[hf]'",
        ) from error
    except Exception as error:
        made = f"the module can't be created: {kind_and_line(error)}."
        words = str(error) if source.folder else made
        raise with_trace(SpecError(f"{name}: {words}"), error) from error
    return module


def _refuse_what_cannot_run(module: Any, name: str) -> None:
    """Raise `SpecError` for a module that no inference can be made with."""
    training = [called or "itself" for called, part in module.named_modules() if part.training]
    if training:
        raise SpecError(
            f"{name}: it stays in training mode after eval() ({training[0]}), so what it gives "
            "depends on the other samples of its batch, or on chance. Fix its `train`."
        )
    for called, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.device.type == "meta":
            raise SpecError(f"{name}: {called} has no values (it is on the device `meta`).")
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            what = "it defines no forward" if parameter.name == "input" else f"takes {parameter}"
            raise SpecError(f"{name}: {what}; its forward must name each input as a parameter.")


def _refuse_other_weights(file: ModuleType, source: TorchSource, sha256: str, size: int) -> None:
    """Raise `SpecError` where the factory, called again, makes another module: each process that
    measures it would have weights of its own."""
    if size > _MADE_TWICE_BYTES:
        return
    seed()
    try:
        again = module_digest(_called(file, source), source.file)
    except SpecError:  # one that can be called but once
        return
    if again != sha256:
        raise SpecError(
            f"{source_name(source)}: it creates different weights on each call, although Python, "
            "numpy and torch were seeded alike. Load the weights from "
            "a file."
        )


# -- feeding --------------------------------------------------------------------------------------


def arguments(made: Made, names: Sequence[str]) -> list[str]:
    """``names`` of inputs in the order of forward's parameters.

    Raises `SpecError` for a name that isn't one of them, and for a parameter left out in between.
    """
    positional = [
        p.name for p in made.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for name in names:
        if name not in positional:
            raise SpecError(
                f"{made.name}: its forward has no parameter {name!r}; it has "
                f"{', '.join(positional)}. Inputs are named after the parameters."
            )
    needed = positional[: max(map(positional.index, names), default=-1) + 1]
    missing = [name for name in needed if name not in names]
    if missing:
        raise SpecError(
            f"{made.name}: its forward takes {missing[0]!r} before {needed[-1]!r}, but no value "
            "is given for it. Give an example of it too."
        )
    return needed


def outputs(made: Made, feeds: Mapping[str, Array]) -> list[Any]:
    """The module's tensors for ``feeds``, of which it gets copies.

    It is called twice. Raises `SpecError` where it gives another answer each time.
    """
    import torch  # torch: optional

    with made.running() as module, torch.inference_mode():
        first, second = (list(flatten(module(*tensors(made, feeds)))) for _ in range(2))
    if len(first) != len(second) or any(
        a.shape != b.shape or not torch.equal(_no_nan(a), _no_nan(b))
        for a, b in zip(first, second, strict=True)
    ):
        raise SpecError(
            f"{made.name}: it gives a different output each time for the same input, so outputs "
            "can't be checked. Remove randomness (dropout, noise, sampling) and state kept "
            "between calls from its forward."
        )
    return first


def refuse_chance(made: Made, feeds: Mapping[str, Array]) -> None:
    """Raise `SpecError` for a module whose outputs no one can tell right from wrong.

    One that can't be called with ``feeds`` isn't judged here.
    """
    try:
        outputs(made, feeds)
    except BenchError:
        raise
    except Exception:
        return


def index_limits(made: Made, feeds: Mapping[str, Array]) -> dict[str, int]:
    """Rows of the table that each integer input indexes: of the embeddings that get it as it is."""
    import torch  # torch: optional

    given = {n: a for n, a in feeds.items() if a.dtype.kind in "iu"}
    if not given:
        return {}
    limits: dict[str, int] = {}

    def note(table: Any, indices: tuple[Any, ...]) -> None:
        for name, array in given.items():
            if np.array_equal(to_array(indices[0]), array):
                limits[name] = min(table.num_embeddings, limits.get(name, table.num_embeddings))

    tables = [part for part in made.module.modules() if isinstance(part, torch.nn.Embedding)]
    hooks = [table.register_forward_pre_hook(note) for table in tables]
    try:
        refuse_chance(made, feeds)
    finally:
        for hook in hooks:
            hook.remove()
    return limits


def computes_in(made: Made) -> str:
    """The types of the floating parameters, as in `bench.backend.Placement.precision`."""
    names = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}
    kinds = (str(p.dtype).removeprefix("torch.") for p in made.module.parameters())
    return "+".join(sorted({names[kind] for kind in kinds if kind in names})) or "fp32"


def _no_nan(tensor: Any) -> Any:
    """NaN equals nothing; a module that gives it twice does the same twice."""
    return tensor.nan_to_num(0.5) if tensor.is_floating_point() else tensor


def tensors(made: Made, feeds: Mapping[str, Array]) -> list[Any]:
    """Copies of the arrays as tensors, in the order of forward's parameters."""
    import torch  # torch: optional

    return [torch.from_numpy(np.array(feeds[name])) for name in arguments(made, list(feeds))]


def flatten(value: Any) -> Iterator[Any]:
    """Every tensor in nested tuples, lists and mappings; None and plain values are left out."""
    import torch  # torch: optional

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from flatten(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from flatten(item)


def to_array(tensor: Any) -> Array:
    """A copy as numpy has it; types that numpy lacks (bfloat16, float8) as float32."""
    import torch  # torch: optional

    plain = tensor.detach().cpu()
    try:
        return np.array(plain.numpy())
    except TypeError:  # torch knows which; numpy's own list grows by what ml_dtypes registers
        return np.array(plain.to(torch.float32).numpy())


def examples(made: Made) -> dict[str, Array] | None:
    """What the file says that the module takes: its ``example_inputs()``, or the module's attribute
    ``example_input_array`` (Lightning's), by the names of forward's parameters.

    None where neither is there; `SpecError` for what is no tensor with a batch axis.
    """
    with guest(made.name, made.source.file):
        try:
            found = _examples(made)
        except BenchError:
            raise
        except Exception as error:
            failed = SpecError(f"{made.name}: `example_inputs()` failed: {kind_and_line(error)}.")
            raise with_trace(failed, error) from error
    return found


def _examples(made: Made) -> dict[str, Array] | None:
    import torch  # torch: optional

    given = getattr(made.module, "example_input_array", None)
    if given is None and hasattr(made.file, "example_inputs"):
        given = made.file.example_inputs()
    if given is None:
        return None
    named = given if isinstance(given, Mapping) else None
    listed = [given] if isinstance(given, (torch.Tensor, np.ndarray)) else list(given)
    values = list(named.values()) if named is not None else listed
    values = [torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in values]
    if not values or not all(isinstance(v, torch.Tensor) and v.ndim > 0 for v in values):
        raise SpecError(f"{made.name}: `example_inputs()` must return tensors with a batch axis.")
    names = list(named) if named is not None else list(made.parameters)[: len(values)]
    if len(names) < len(values):
        raise SpecError(
            f"{made.name}: `forward` takes {len(names)} inputs and the example has {len(values)}."
        )
    arrays = {name: to_array(value) for name, value in zip(names, values, strict=True)}
    return {name: arrays[name] for name in arguments(made, names)}


def for_shapes(
    examples: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array] | None:
    """The examples' values in ``shapes``: their rows again and again, or the first of them.

    None where they don't fit otherwise than in the number of rows.
    """
    if set(examples) != set(shapes):
        return None
    found = {}
    for name, shape in shapes.items():
        example = examples[name]
        if example.shape[1:] != shape[1:] or not shape or not len(example):
            return None
        found[name] = np.ascontiguousarray(example[np.arange(shape[0]) % len(example)])
    return found
