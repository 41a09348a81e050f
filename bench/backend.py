"""The contract between `bench` and a runtime: what a backend gives and what it is given.

A backend is a class found through the entry-point group ``bench.backends``; one file, no base
class needed. What it may offer besides is in `bench.capabilities`. It is imported inside worker
processes only, possibly by another interpreter, so this module and every adapter use the standard
library, numpy and their own runtime alone (Python 3.9 and later, numpy 1.24 and later).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, ClassVar, Optional, Protocol

import numpy as np

Feeds = Mapping[str, "np.ndarray[Any, Any]"]
Arrays = Sequence["np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Device:
    """A thing that a backend can run on, as the runtime itself reports it."""

    id: str  #: how a target names it: ``cpu``, ``cuda:0``, ``npu:0``
    vendor: str
    name: str
    driver: str = ""
    memory_bytes: Optional[int] = None
    simulated: bool = False  #: its results count, its latency means nothing
    pci: str = ""  #: its address on the PCI bus, ``0000:06:00.0``, where the runtime tells


def is_cpu(device: str) -> bool:
    """Whether a device of that id, or that kind, is the machine's own CPU: ``cpu``, and
    ``openvino-cpu``, where a runtime reaches it through another's plugin."""
    kind = device.partition(":")[0]
    return kind == "cpu" or kind.endswith("-cpu")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, numpy dtype name, and shape (-1 is a dynamic dimension)."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TorchSource:
    """A PyTorch module: ``file`` defines ``factory()``; the weights are safetensors.

    A ``folder`` (a checkpoint with its configuration) is what the factory is called with.
    ``imports`` are modules that the factory is going to import, where that takes long.
    """

    file: Path
    factory: str
    weights: Optional[Path] = None
    folder: Optional[Path] = None
    imports: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class StoredFile:
    """A file of a model as it was when the run was planned; the ``signature`` is what the file
    system said of it."""

    path: Path
    sha256: str
    signature: tuple[int, ...]


@dataclass(frozen=True)
class StaticStep:
    """An ONNX file of fixed sizes that takes ``tokens`` new tokens of ``batch`` texts, whose keys
    and values lie in buffers for ``capacity`` tokens: its inputs and outputs are called as the
    decoder says, and `bench.decoding.POSITION` tells the place of the first new token.

    One of 0 tokens has no fixed sizes: for runtimes that compile it for several numbers at once."""

    path: Path
    batch: int
    tokens: int
    capacity: int


@dataclass(frozen=True)
class ModelFile:
    """A model as files. A backend takes the form that it understands and raises `Unsupported`
    when that form is None.

    ``variant`` is the precision form that is asked for. An ONNX file holds it already where ONNX
    can express it (fp16, int8); for ``bf16`` the file is the fp32 one and the runtime computes in
    bfloat16. A PyTorch source is always fp32, and the backend converts the module. ``files`` are
    all that it consists of, which each load finds unchanged. ``static`` are a language model's
    files for targets of fixed shapes (`bench.capabilities.DeclaresStaticShapes`), one of them for a
    single token.
    """

    name: str
    onnx: Optional[Path] = None
    torch: Optional[TorchSource] = None
    variant: str = "fp32"
    files: tuple[StoredFile, ...] = field(default=(), compare=False, repr=False)
    static: tuple[StaticStep, ...] = ()

    @property
    def imports(self) -> tuple[str, ...]:
        """What a worker that loads the module is going to import."""
        return () if self.torch is None else self.torch.imports


@dataclass(frozen=True)
class Options:
    """How to run a model on a device.

    ``threads`` is the number of compute threads of one inference. ``shapes`` holds the input
    shapes that the cell will time; a runtime that needs static shapes compiles for them.
    ``extra`` holds what the user wrote behind the ``?`` of a target, in the runtime's own terms;
    a backend raises `SpecError` for a key it doesn't know.
    """

    threads: int = 1
    allow_fallback: bool = False
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Placement:
    """Where the graph's nodes ran: a measured fact, not what was asked for.

    ``nodes`` counts nodes by device id or provider name; ``source`` says how that is known, for
    example ``onnxruntime: get_provider_graph_assignment_info``. ``off_device`` names nodes that
    ran elsewhere, with the reason where the runtime tells it. ``precision`` is the numeric type
    that the compiled model computes in, where it can be read back. ``time_share`` maps a device to
    its fraction (0 to 1) of the time that the nodes took, where that was measured.
    """

    nodes: Mapping[str, int]
    source: str
    off_device: tuple[str, ...] = ()
    precision: str = ""
    time_share: Mapping[str, float] = field(default_factory=dict)


class Session(Protocol):
    """A model compiled for a device, ready to run. What else it may offer: `bench.capabilities`."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]

    def bind(self, feeds: Feeds) -> Callable[[], object]:
        """Allocate, copy to the device, pre-bind; return one prepared, synchronous inference.

        The callable returned is what is timed: it takes no argument, returns when the outputs
        exist on the device, and what it returns is ignored. ``feeds`` maps every input name to an
        array of the right dtype. Binding again leaves earlier callables valid.
        """
        ...

    def fetch(self) -> list[np.ndarray[Any, Any]]:
        """Copy out what the most recently *bound* callable's last call left, in `outputs` order.

        So the outputs that are checked come from the buffers that were timed.
        """
        ...

    def run(self, feeds: Feeds) -> list[np.ndarray[Any, Any]]:
        """The checked path: one inference on ``feeds``, outputs in `outputs` order."""
        ...

    def api_call(self, feeds: Feeds) -> Callable[[], object]:
        """One inference the way the runtime's users usually write it (the ``api`` lane)."""
        ...

    def placement(self) -> Placement:
        """Which nodes ran where."""
        ...

    def close(self) -> None:
        """Release the session and everything bound to it. Calling it twice does nothing."""
        ...


class Backend(Protocol):
    """An adapter to one runtime. What else it may offer or declare: `bench.capabilities`."""

    name: ClassVar[str]
    #: which forms of a `ModelFile` it compiles: ``onnx``, ``torch``
    forms: ClassVar[tuple[str, ...]]
    #: modules the fork server imports before it forks workers; importing must start no threads
    preload: ClassVar[tuple[str, ...]]
    #: False where the runtime can't live through fork: each worker is then a fresh interpreter
    fork_safe: ClassVar[bool]
    #: variables set before the runtime is imported: thread pools that do not spin, no noise
    environment: ClassVar[Mapping[str, str]]

    def version(self) -> str:
        """The runtime's own version. Raises `Unavailable` where it is not installed."""
        ...

    def devices(self) -> list[Device]:
        """The devices that answered when touched. Raises `Unavailable` without the runtime."""
        ...

    def compile(self, model: ModelFile, device: Device, options: Options) -> Session:
        """Load and compile. Raises `Unsupported`, `Unavailable`, `OutOfMemory` or `SpecError`."""
        ...


def to_plain(value: object) -> Any:
    """A contract value as JSON-ready data (paths as strings)."""

    def plain(item: object) -> object:
        if isinstance(item, Path):
            return str(item)
        if isinstance(item, Mapping):
            return {str(k): plain(v) for k, v in item.items()}
        if isinstance(item, (list, tuple)):
            return [plain(v) for v in item]
        return item

    return plain(asdict(value))  # type: ignore[call-overload]
