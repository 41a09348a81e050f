"""What an execution provider of ONNX Runtime is to this adapter, and how it is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from bench.backend import Device
from bench.errors import NotInBuild, Unavailable

_MOST_DEVICES = 16  #: of a kind that can only be counted by touching one after the other


@dataclass(frozen=True)
class Asked:
    """What a session is wanted for, as far as a provider's settings depend on it."""

    index: int
    threads: int
    variant: str
    stream: int = 0  #: address of the device's stream to compute in; 0: one of its own


@dataclass(frozen=True)
class Plugin:
    """A provider in a library of its own: a path, or ``module:function`` that returns it.

    ``hardware`` is the type of device that it is for (``cpu``, ``gpu``, ``npu``); on a device of
    another type it emulates. ``simulated`` overrules that.
    """

    library: str
    hardware: str = ""
    simulated: Optional[bool] = None


@dataclass(frozen=True)
class Provider:
    """One execution provider, and how it is asked for."""

    kind: str  #: what stands before the number in a device id
    ep: str  #: ONNX Runtime's name of it
    vendor: str
    hardware: str  #: a device's name, where nothing tells a better one
    install: str  #: how to get a build that has it
    needs: str = ""  #: what such a build needs besides
    options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: option -> the provider's name of it; empty for one that isn't the provider's
    renamed: Mapping[str, str] = field(default_factory=dict)
    fixed: Callable[[Asked], Dict[str, str]] = lambda asked: {}
    devices: Callable[[ModuleType], List[Device]] = lambda ort: []  #: empty: touch and count
    numbered: bool = True
    memory: str = "cpu"  #: where inputs and outputs lie during a bound call
    stream: str = ""  #: its option for a stream to compute in
    asynchronous: bool = False  #: a kernel's own time in a profile is that of its launch
    compiles_shapes: bool = True  #: is given the cell's shapes when the session is made
    lowers: Mapping[Tuple[str, str], str] = field(default_factory=dict)  #: option -> computes in
    variables: Callable[[Mapping[str, str]], Dict[str, str]] = lambda extra: {}
    helpers: Tuple[str, ...] = ()  #: providers that take what this one leaves, where allowed
    plugin: Optional[Plugin] = None

    def require_in(self, ort: ModuleType, target: str) -> None:
        """Raise `NotInBuild` where this build of ONNX Runtime doesn't bring the provider."""
        if self.plugin is None and self.ep not in ort.get_available_providers():
            raise NotInBuild(
                f"{target} is not available: this build of ONNX Runtime has no {self.ep}.",
                self.install,
            )

    def settings(self, extra: Mapping[str, str], asked: Asked) -> Dict[str, str]:
        """The provider options: those that the user chose, and those that are always set."""
        names = {key: self.renamed.get(key, key) for key in self.options}
        chosen = {name: extra[key] for key, name in names.items() if name and extra[key]}
        stream = {self.stream: str(asked.stream)} if asked.stream else {}
        return {**self.fixed(asked), **chosen, **stream}

    def candidates(self, ort: ModuleType) -> Iterable[Device]:
        """Devices that may be there; where there are no ids to ask for, numbers from 0."""
        found = self.devices(ort)
        if found or self.kind == "cpu":
            return found
        if not self.numbered:
            return [Device(self.kind, self.vendor, self.hardware)]
        ids = (f"{self.kind}:{index}" for index in range(_MOST_DEVICES))
        return (Device(device_id, self.vendor, self.hardware) for device_id in ids)


def split(device_id: str, known: Mapping[str, Provider]) -> Tuple[Provider, int]:
    """``cuda:1`` -> the entry for ``cuda``, and 1. Raises `Unavailable` for what there isn't."""
    match = re.fullmatch(r"([a-z][a-z0-9_-]*)(?::(\d+))?", device_id)
    provider = known.get(match[1]) if match else None
    if match is None or provider is None or (match[2] is None and provider.numbered):
        names = [f"{one.kind}:0" if one.numbered else one.kind for one in known.values()]
        raise Unavailable(
            f"onnxruntime:{device_id} is not available: no such device.",
            f"Devices are {', '.join(names)}; `bench doctor` lists those present.",
        )
    return provider, int(match[2] or 0)


def lowered(provider: Provider, extra: Mapping[str, str]) -> str:
    """What the chosen options make an fp32 model compute in; empty where they leave it alone."""
    if provider.kind == "cann" and extra.get("precision_mode_v2"):
        extra = {**extra, "precision_mode": ""}
    found = [words for (key, value), words in provider.lowers.items() if extra.get(key) == value]
    return "+".join(sorted({word for words in found for word in words.split("+")}))


def provider_list(
    provider: Provider, extra: Mapping[str, str], asked: Asked, allow_fallback: bool
) -> List[Any]:
    """What `InferenceSession` takes as ``providers``."""
    settings = provider.settings(extra, asked)
    if settings.get("precision_mode_v2"):  # the two exclude each other
        settings.pop("precision_mode", None)
    first = (provider.ep, settings) if settings else provider.ep
    helpers = provider.helpers if allow_fallback else ()
    return [first, *((helper, {"device_id": str(asked.index)}) for helper in helpers)]
