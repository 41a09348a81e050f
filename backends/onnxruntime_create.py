"""Makes ONNX Runtime sessions that are on the device asked for, and says why one can't be made.

Three things together keep a session off a device that nobody asked for: ``enable_fallback=0``
(else a provider that fails to start is replaced by the CPU in silence), the session option
``session.disable_cpu_ep_fallback``, and, after the fact, the session's own list of which provider
each node was given to.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported

from . import tiny
from .captured import captured_stderr
from .checks import ANY_NUMBER, first_line, is_out_of_memory, read_extra
from .onnxruntime_plugins import ep_devices
from .onnxruntime_providers import Asked, Provider, provider_list

#: what every device knows; the first value is the default
SESSION_OPTIONS: Dict[str, Sequence[str]] = {
    "graph_optimization": ("all", "extended", "basic", "disabled"),
    "execution_mode": ("sequential", "parallel"),
    "arena": ("1", "0"),
    "spinning": ("0", "1"),
    "streams": ANY_NUMBER,
}
ERRORS_ALONE, INFORMATION = 3, 1  # ONNX Runtime's levels of logging


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

    def session_options(self, log_level: int = ERRORS_ALONE) -> Any:
        """The options without the provider."""
        ort, extra = self.ort, self.extra
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = log_level
        levels = ort.GraphOptimizationLevel
        options.graph_optimization_level = {
            "all": levels.ORT_ENABLE_ALL,
            "extended": levels.ORT_ENABLE_EXTENDED,
            "basic": levels.ORT_ENABLE_BASIC,
            "disabled": levels.ORT_DISABLE_ALL,
        }[extra["graph_optimization"]]
        if extra["execution_mode"] == "parallel":
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
            options.inter_op_num_threads = self.threads
        options.enable_cpu_mem_arena = extra["arena"] == "1"
        if self.provider.kind == "dml":  # which refuses a session with them
            options.enable_mem_pattern = False
        # Idle threads would spin for 50 ms after a call, on the core of another worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", extra["spinning"])
        options.add_session_config_entry("session.inter_op.allow_spinning", extra["spinning"])
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if self.strict and self.provider.kind != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        for name, size in self.sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        return options

    def open(self, options: Any) -> Any:
        """An `InferenceSession` with the provider; raises whatever the runtime raises."""
        os.environ.update(self.provider.variables(self.extra))
        if self.provider.plugin is not None:
            settings = self.provider.settings(self.extra, self._asked())
            options.add_provider_for_devices([self._plugin_device()], settings)
            return self.ort.InferenceSession(self.model, options)
        if self.provider.vendor == "NVIDIA" and hasattr(self.ort, "preload_dlls"):
            self.ort.preload_dlls()  # finds CUDA and cuDNN in their pip packages
        providers = provider_list(self.provider, self.extra, self._asked(), not self.strict)
        return self.ort.InferenceSession(
            self.model, options, providers=providers, enable_fallback=0
        )

    def _asked(self) -> Asked:
        return Asked(self.index, self.threads, self.variant)

    def _plugin_device(self) -> Any:
        devices = ep_devices(self.ort, self.provider)
        if self.index >= len(devices):
            raise Unavailable(f"{self.target} is not available: the plugin has {len(devices)}.")
        return devices[self.index]


def create(recipe: Recipe) -> Any:
    """The session, started on its provider. Raises a `BenchError` that says why there is none."""
    provider, ort = recipe.provider, recipe.ort
    if provider.plugin is None and provider.ep not in ort.get_available_providers():
        raise Unavailable(
            f"{recipe.target} is not available: this build of ONNX Runtime has no {provider.ep}.",
            provider.install,
        )
    try:
        session = recipe.open(recipe.session_options())
    except Exception as error:
        raise explain(error, recipe) from error
    if recipe.ep not in session.get_providers():
        raise _why_not_started(recipe)
    return session


def touch(recipe: Recipe) -> None:
    """Raise `Unavailable` unless the device computes the smallest model right, all of it there."""
    small = replace(recipe, model=tiny.ONNX, strict=True, sizes={}, where=recipe.target)
    try:
        session = create(small)
        outputs = session.run(None, tiny.FEEDS)
    except Unavailable:
        raise
    except Exception as error:
        raise Unavailable(f"{recipe.target} is not available: {first_line(error)}.") from error
    if not tiny.is_right(outputs[0]):
        raise Unavailable(f"{recipe.target} is not available: it computes max(x, 0) wrong.")
    if elsewhere(session, small):  # whatever the strict option let pass
        raise Unavailable(f"{recipe.target} is not available: it takes not even a Relu.")


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


def _node_count(session: Any) -> int:
    return sum(len(part.get_nodes()) for part in session.get_provider_graph_assignment_info())


#: How ONNX Runtime names an operator that it lacks: as a whole, and for the types at hand.
_LACKS = re.compile(
    r"error: (\S+?)\(\S*\) is not a registered|(\S+?)\(-?\d+\) is not a registered|"
    r"No Op registered for (\S+)|find an implementation for (\w+)",
    re.IGNORECASE,
)


def explain(error: Exception, recipe: Recipe) -> BaseException:
    """What an error during creation means to a user."""
    where = recipe.where
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
    if isinstance(error, BenchError):
        return error
    if is_out_of_memory(error):
        return OutOfMemory(f"{where}: no memory to load it: {reason}. Use a smaller model.")
    lacking = _LACKS.search(str(error))
    if lacking:
        op = next(group for group in lacking.groups() if group)
        return Unsupported(f"{where}: the operator {op} is not supported: {reason}.")
    if "fallback to CPU EP has been explicitly disabled" in str(error):
        return _why_not_all(recipe)
    if recipe.model == tiny.ONNX:
        return _why_not_started(recipe, reason)
    bad_file = any(code in str(error) for code in _BAD_FILE)
    if recipe.provider.kind != "cpu" and not bad_file:
        return _why_not_compiled(recipe, reason)
    return SpecError(f"{recipe.model}: onnxruntime can't load it: {reason}. Is the file whole?")


#: ONNX Runtime's codes for what is wrong with a model whatever the provider.
_BAD_FILE = ("INVALID_PROTOBUF", "INVALID_GRAPH", "NO_SUCHFILE", "NO_MODEL")


def _why_not_compiled(recipe: Recipe, reason: str) -> BenchError:
    """The device is absent, or the provider refuses an option, or it can't compile this model."""
    try:
        touch(recipe)
    except BenchError as absent:
        plain = read_extra(recipe.target, {}, {**SESSION_OPTIONS, **recipe.provider.options})
        if plain == recipe.extra:
            return absent
        try:
            touch(replace(recipe, extra=plain))
        except BenchError as still_absent:
            return still_absent
        reason = getattr(absent, "reason", str(absent)).partition(" is not available: ")[2]
        return SpecError(f"{recipe.target} refuses its options: {reason}")
    return Unsupported(
        f"{recipe.where}: {recipe.ep} can't compile it: {reason}. Try another target."
    )


def _why_not_all(recipe: Recipe) -> BenchError:
    """Strictly refused: the provider did not start, or did not take all nodes. Which ones?"""
    relaxed = replace(recipe, strict=False)
    try:
        with captured_stderr() as lines:
            session = relaxed.open(relaxed.session_options(INFORMATION))
    except Exception as error:
        return Unavailable(_sentence(recipe, lines, first_line(error)), recipe.provider.needs)
    if recipe.ep not in session.get_providers():
        return Unavailable(_sentence(recipe, lines, "it did not start"), recipe.provider.needs)
    missing = elsewhere(session, recipe)
    if recipe.model == tiny.ONNX:
        return Unavailable(
            f"{recipe.target} is not available: {recipe.ep} starts and takes not even a Relu."
        )
    free = any(not isinstance(dim, int) for spec in session.get_inputs() for dim in spec.shape)
    hint = " Its inputs have no fixed shapes, which some providers need." if free else ""
    if missing and len(missing) == _node_count(session):
        return Unsupported(
            f"{recipe.where}: {recipe.ep} takes none of its {len(missing)} nodes.{hint}"
        )
    # Old releases can't name them.
    named = ", ".join(describe(node, reasons(lines)) for node in missing[:3]) or "it can't be told"
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return Unsupported(
        f"{recipe.where}: some nodes can run on the CPU alone: {named}{more}.{hint} "
        "Use --allow-fallback to run them there and have them counted."
    )


def _why_not_started(recipe: Recipe, reason: str = "it did not start") -> Unavailable:
    """The true cause stands on file descriptor 2 only, so what failed is tried once more."""
    with captured_stderr() as lines:
        try:
            recipe.open(recipe.session_options())
        except Exception as error:
            reason = first_line(error)
    return Unavailable(_sentence(recipe, lines, reason), recipe.provider.needs)


def _sentence(recipe: Recipe, lines: Sequence[str], otherwise: str) -> str:
    cause = cause_in(lines) or cause_in([otherwise]) or _without_place(otherwise)
    cause = cause.strip().rstrip(".")
    return f"{recipe.target} is not available: {cause}."


_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
#: What a provider's own words follow, in the order of how much they tell.
_CAUSES = (
    re.compile(r"with error: (.+)"),
    re.compile(r"(CUDA failure \d+: [^;]+)"),
    re.compile(r"(libc?\S+\.so\S*: cannot open shared object file.*)"),
    re.compile(r"\[[EF]:onnxruntime:[^\]]*\] (.+)"),
)


def cause_in(lines: Sequence[str]) -> str:
    """Why a provider did not start, among the lines that it printed; empty where none tells."""
    plain = [_ESCAPES.sub("", line).strip() for line in lines]
    for pattern in _CAUSES:
        for line in plain:
            found = pattern.search(line)
            if found and "fallback to CPU EP" not in line:
                return _without_place(found[1])
    return ""


def _without_place(text: str) -> str:
    """The words without where in ONNX Runtime's source they were written."""
    text = re.sub(r"^/?\S+\.(cc|h):\d+ .*?(?=\[|\bfail|\bPlease|\bcreate |\bInvalid )", "", text)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |^\[ERROR\] (\[\w+\] )?", "", text)
    return text.strip()


#: What ONNX Runtime logs on the nodes that a provider doesn't get (fallback_cpu_capability.cc and
#: the GetCapability of its providers), and how it is said here.
_REASONS = (
    (re.compile(r"Force fallback to CPU execution for node: (\S+)"), "kept on the CPU by design"),
    (re.compile(r"kernel not found in registries for Op type: \S+ node name: (\S+)"), "no kernel"),
)


def reasons(lines: Sequence[str]) -> Dict[str, str]:
    """Node -> why it is not where it was wanted, for those on which the log says so."""
    found: Dict[str, str] = {}
    for line in lines:
        for pattern, words in _REASONS:
            match = pattern.search(_ESCAPES.sub("", line))
            if match:
                found[match[1]] = words
    return found


def describe(node: Tuple[str, str, str], why: Mapping[str, str]) -> str:
    """``odd (Shrink, on cpu: no kernel)``."""
    name, op, provider = node
    place = "cpu" if provider == "CPUExecutionProvider" else provider
    operator = f"{op}, " if op != name else ""
    reason = f": {why[name]}" if name in why else ""
    return f"{name} ({operator}on {place}{reason})"
