"""All that makes a session of ONNX Runtime, as a value that can be used again.

Three things together keep a session off a device that nobody asked for: ``enable_fallback=0``
(else a provider that fails to start is replaced by the CPU in silence), the session option
``session.disable_cpu_ep_fallback``, and, after the fact, the session's own list of which provider
each node was given to.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Dict, List, Mapping, Tuple

from bench.errors import Unavailable

from ..shared.checks import ANY_NUMBER
from .plugins import ep_devices
from .provider import Asked, Provider, provider_list

#: what every device knows; the first value is the default
SESSION_OPTIONS: Dict[str, Tuple[str, ...]] = {
    "graph_optimization": ("all", "extended", "basic", "disabled"),
    "execution_mode": ("sequential", "parallel"),
    "arena": ("1", "0"),
    "spinning": ("0", "1"),
    "streams": ANY_NUMBER,
}
ERRORS_ALONE, INFORMATION = 3, 1  # ONNX Runtime's levels of logging


@dataclass(frozen=True)
class Settings:
    """What a session is made with besides its provider, through whichever API it is made."""

    threads: int  #: of a node
    nodes_at_once: int
    parallel: bool  #: whether nodes that don't need each other run at once
    optimization: str
    arena: bool
    entries: Mapping[str, str]  #: of the session's own configuration


@dataclass(frozen=True)
class Recipe:
    """All that makes a session: it can be made again, for a profile or to see what went wrong."""

    ort: ModuleType
    model: Any  #: a path, or the bytes of `tiny.ONNX`
    provider: Provider
    index: int
    extra: Mapping[str, str]
    threads: int = 1
    variant: str = "fp32"
    strict: bool = True
    sizes: Mapping[str, int] = field(default_factory=dict)  #: symbolic dimension -> its size
    where: str = ""
    stream: int = 0  #: address of the stream to compute in; 0: one of its own

    @property
    def target(self) -> str:
        number = f":{self.index}" if self.provider.numbered or self.index else ""
        return f"onnxruntime:{self.provider.kind}{number}"

    @property
    def ep(self) -> str:
        """The provider's name as the session tells it; a plugin chooses its own."""
        if self.provider.plugin is None:
            return self.provider.ep
        return str(self._plugin_device().ep_name)

    @property
    def settings(self) -> Settings:
        """What the options behind ``?`` make of a session."""
        extra = self.extra
        parallel = extra["execution_mode"] == "parallel"
        entries = {
            # Idle threads would spin for 50 ms after a call, on the core of another worker.
            "session.intra_op.allow_spinning": extra["spinning"],
            "session.inter_op.allow_spinning": extra["spinning"],
            "session.record_ep_graph_assignment_info": "1",
        }
        if self.strict and self.provider.kind != "cpu":
            entries["session.disable_cpu_ep_fallback"] = "1"
        return Settings(
            threads=self.threads,
            nodes_at_once=self.threads if parallel else 1,
            parallel=parallel,
            optimization=extra["graph_optimization"],
            arena=extra["arena"] == "1",
            entries=entries,
        )

    def session_options(self, log_level: int = ERRORS_ALONE) -> Any:
        """The options without the provider."""
        ort, settings = self.ort, self.settings
        options = ort.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.inter_op_num_threads = settings.nodes_at_once
        options.log_severity_level = log_level
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = {
            "all": levels.ORT_ENABLE_ALL,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "basic": levels.ORT_ENABLE_BASIC,
            "disabled": levels.ORT_DISABLE_ALL,
        }[settings.optimization]
        if settings.parallel:
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.enable_cpu_mem_arena = settings.arena
        if self.provider.kind == "dml":  # which refuses a session with them
            options.enable_mem_pattern = False
        for key, value in settings.entries.items():
            options.add_session_config_entry(key, value)
        for name, size in self.sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        return options

    def open(self, options: Any) -> Any:
        """An `InferenceSession` with the provider; raises whatever the runtime raises."""
        os.environ.update(self.provider.variables(self.extra))
        if self.provider.plugin is not None:
            settings = self.provider.settings(self.extra, self._asked())
            device = self._plugin_device()  # first: it says which releases know plugins
            options.add_provider_for_devices([device], settings)
            return self.ort.InferenceSession(self.model, options)
        if self.provider.vendor == "NVIDIA" and hasattr(self.ort, "preload_dlls"):
            self.ort.preload_dlls()  # finds CUDA and cuDNN in their pip packages
        providers = provider_list(self.provider, self.extra, self._asked(), not self.strict)
        return self.ort.InferenceSession(
            self.model, options, providers=providers, enable_fallback=0
        )

    def _asked(self) -> Asked:
        return Asked(self.index, self.threads, self.variant, self.stream)

    def _plugin_device(self) -> Any:
        devices = ep_devices(self.ort, self.provider)
        if self.index >= len(devices):
            raise Unavailable(f"{self.target} is not available: the plugin has {len(devices)}.")
        return devices[self.index]


def elsewhere(session: Any, recipe: Recipe) -> List[Tuple[str, str, str]]:
    """Name, operator and provider of each node that another provider has."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return []
    return [
        (node.name or node.op_type, node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != recipe.ep
        for node in part.get_nodes()
    ]
