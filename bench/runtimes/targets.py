"""Targets: how they are written, which are present, and which ones a request means."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from bench.backend import Device, is_cpu
from bench.capabilities import declaration
from bench.config import ENVIRONMENT_NAME
from bench.discover import backend_entry_points, load_backend, unknown
from bench.errors import BenchError, NotInBuild, SpecError, Unavailable, every
from bench.machine.cores import choose_cores
from bench.machine.linux import allowed_cpus, cpu_quota
from bench.runtimes.environments.find import Environment, existing_environments, find_environment
from bench.runtimes.environments.interpreter import Interpreter
from bench.runtimes.handshake import Greeting
from bench.runtimes.probe import probe, why_absent
from bench.runtimes.processes import Launcher, launcher
from bench.runtimes.runtime import Runtime

#: A runtime that needs longer than this to list its devices is reported as hanging.
PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Target:
    """Backend, device id, options in the runtime's own terms, and the environment whose
    interpreter it runs in (empty: that of `bench`)."""

    backend: str
    device: str
    options: tuple[tuple[str, str], ...] = ()
    environment: str = ""

    @property
    def label(self) -> str:
        """``backend`` or ``backend@environment``."""
        return place_label(self.backend, self.environment)

    def __str__(self) -> str:
        tail = "&".join(f"{key}={value}" for key, value in self.options)
        device = "" if self.device == "*" else f":{self.device}"
        return f"{self.label}{device}" + (f"?{tail}" if tail else "")


def place_label(backend: str, environment: str) -> str:
    """How a backend in an environment is written; the environment may be empty."""
    return f"{backend}@{environment}" if environment else backend


@dataclass(frozen=True)
class BackendReport:
    """What a probe of a backend in one interpreter found: the devices that answered, or why there
    are none."""

    name: str
    runtime: Runtime | None
    version: str
    devices: tuple[Device, ...]
    unavailable: BenchError | None = None
    environment: str = ""  #: empty: the interpreter of `bench`
    #: by kind, or by id where others of its kind answer: why not there
    absent: Mapping[str, Unavailable] = field(default_factory=dict)
    greeting: Greeting | None = None

    @property
    def label(self) -> str:
        """``backend`` or ``backend@environment``."""
        return place_label(self.name, self.environment)


@dataclass(frozen=True)
class Choice:
    """A target that was asked for: its device, or the reason why it can't be had."""

    target: Target
    runtime: Runtime | None
    device: Device | None
    version: str = ""
    unavailable: BenchError | None = None
    named: bool = True  #: asked for by name, not by a wildcard
    greeting: Greeting | None = None  #: of the interpreter that its workers run in

    @property
    def static_shapes(self) -> bool:
        """Whether it takes graphs of fixed shapes alone."""
        if self.runtime is None or self.device is None:
            return False
        return self.device.id.partition(":")[0] in self.runtime.static_shapes

    @property
    def on_accelerator(self) -> bool:
        """Whether it computes on something else than the CPU; simulators compute on that."""
        device = self.device
        return device is not None and not on_host(device) and not device.simulated


def on_host(device: Device) -> bool:
    """Whether it is the CPU itself, whose memory is the machine's."""
    return is_cpu(device.id)


def parse_target(text: str) -> Target:
    """``backend[@environment][:device][?key=value&...]``.

    Without a device the device is ``*``: all that the backend has. Raises `SpecError`.
    """
    head, question, tail = text.partition("?")
    place, _, device = head.partition(":")
    backend, at, environment = place.partition("@")
    if not backend or any(c.isspace() for c in text) or set(head) & set("'\"`"):
        raise SpecError(
            f"target {text!r} is not of the form backend:device, for example onnxruntime:cpu."
        )
    if at and not ENVIRONMENT_NAME.fullmatch(environment):
        raise SpecError(
            f"target {text!r}: after `@` comes the name of one environment; `bench env list` "
            "shows them."
        )
    try:
        options = parse_qsl(tail, keep_blank_values=True, strict_parsing=True) if tail else []
    except ValueError:
        options = None
    if options is None or (question and not tail):
        raise SpecError(f"target {text!r}: after `?` come options as key=value, joined by `&`.")
    keys = [key for key, _ in options]
    if len(keys) != len(set(keys)):
        raise SpecError(f"target {text!r} gives an option twice; give it once.")
    return Target(backend, device or "*", tuple(sorted(options)), environment)


def find_runtime(name: str, interpreter: Interpreter | None = None) -> Runtime:
    """How to start the backend called ``name``. Raises `SpecError` for an unknown one."""
    adapter: Any = load_backend(name)
    reference, declared = backend_entry_points()[name], declaration(adapter)
    return Runtime(
        name,
        reference,
        environment=dict(adapter.environment),
        forms=tuple(adapter.forms),
        variants=declared.variants,
        interpreter=interpreter,
        requirable=tuple(declared.requirements),
        static_shapes=declared.static_shapes,
        imports_to_load=declared.imports_to_load,
        moves=declared.moves,
    )


@dataclass(frozen=True)
class Place:
    """A backend in one interpreter."""

    backend: str
    environment: Environment | None = None

    @property
    def label(self) -> str:
        """``backend`` or ``backend@environment``."""
        return place_label(self.backend, self.environment.name if self.environment else "")


def runtime_of(target: Target) -> Runtime:
    """How to start the workers of a target. Raises `SpecError` for an unknown backend
    or environment, else what is wrong with the environment."""
    named = target.environment
    environment = find_environment(named, target.backend) if named else None
    found = _runtime_of(Place(target.backend, environment))
    if isinstance(found, BenchError):
        raise found
    return found


def discover_backends(
    names: Iterable[str] | None = None, using: Launcher | None = None, threads: int = 1
) -> list[BackendReport]:
    """Probe backends (all, or those named) in the interpreter of `bench` and in every environment
    of theirs, by touching their devices, each in a process of its own.

    Nothing is raised for a backend that is absent or broken: the report says so.
    """
    chosen = list(names) if names is not None else list(backend_entry_points())
    places = [Place(name) for name in chosen]
    places += _places_in(existing_environments(), chosen)
    return probe_places(places, using, threads)


def discover_for(
    requested: Sequence[str], further: Iterable[str], using: Launcher, threads: int
) -> dict[str, BackendReport]:
    """Reports by their labels: of what ``requested`` targets may mean, and of the ``further``
    backends in the interpreter of `bench`.

    Environments are looked into where they are named, where a wildcard may mean them, and for a
    device that the interpreter of `bench` doesn't have. Raises `SpecError` for an unknown backend
    or environment.
    """
    main = backends_here(requested, further)
    targets = [parse_target(text) for text in requested if text != "*"]
    ours = [target for target in targets if not target.environment]
    first = [Place(name) for name in main]
    first += every(
        lambda t: Place(t.backend, find_environment(t.environment, t.backend)),
        [target for target in targets if target.environment],
    )
    open_ended = main if "*" in requested else [t.backend for t in ours if t.device == "*"]
    if open_ended:
        first += _places_in(existing_environments(), open_ended)
    reports = {report.label: report for report in probe_places(first, using, threads)}
    missing = [t.backend for t in ours if not _matching(t.device, reports[t.backend])]
    if missing:
        more = [p for p in _places_in(existing_environments(), missing) if p.label not in reports]
        reports |= {report.label: report for report in probe_places(more, using, threads)}
    return reports


def _places_in(environments: Iterable[Environment], backends: Iterable[str]) -> list[Place]:
    wanted = set(backends)
    return [Place(b, e) for e in environments for b in e.backends if b in wanted]


def probe_places(
    places: Sequence[Place], using: Launcher | None = None, threads: int = 1
) -> list[BackendReport]:
    """Probe each place once, all of them at the same time."""
    if using is None:
        with (
            tempfile.TemporaryDirectory(prefix="bench-probe-") as folder,
            launcher(Path(folder), PROBE_TIMEOUT_S) as started,
        ):
            return probe_places(places, started, threads)
    different = {place.label: place for place in places}
    runtimes: dict[str, Runtime | BenchError] = {}
    for label, place in different.items():
        runtimes[label] = runtime = _runtime_of(place)
        if isinstance(runtime, Runtime):
            using.prepare(runtime, threads)
    # Most of it is waiting for drivers and compilers, each in a process of its own.
    pool = ThreadPoolExecutor(max(1, len(different)), "probe")
    try:
        asked = [
            pool.submit(_probe, place, runtimes[label], using, threads)
            for label, place in different.items()
        ]
        return [one.result() for one in asked]
    finally:
        # Interrupted, a driver that hangs is not waited for: it ends with its process.
        pool.shutdown(wait=False, cancel_futures=True)


def _runtime_of(place: Place) -> Runtime | BenchError:
    """How to start a place's workers, or why they can't be. Raises `SpecError`."""
    environment = place.environment
    if environment is not None and environment.interpreter is None:
        return environment.unusable or Unavailable(f"{place.label} is not available.")
    try:
        return find_runtime(place.backend, environment.interpreter if environment else None)
    except SpecError:
        raise
    except BenchError as error:
        return error
    except Exception as error:
        # A third party's adapter that can't be imported must not take the others with it.
        return Unavailable(
            f"the backend {place.backend} could not be loaded: {error}.", "Reinstall its package."
        )


def _probe(
    place: Place, runtime: Runtime | BenchError, using: Launcher, threads: int
) -> BackendReport:
    environment = place.environment.name if place.environment is not None else ""
    if isinstance(runtime, BenchError):
        return BackendReport(place.backend, None, "", (), runtime, environment)
    try:
        worker = using.worker(runtime, threads)
        # A cell may take long; a driver that lists its devices may not.
        worker.timeout_s = min(worker.timeout_s, PROBE_TIMEOUT_S)
        try:
            found = probe(worker)
        finally:
            worker.end()
    except BenchError as error:
        return BackendReport(place.backend, runtime, "", (), error, environment)
    return BackendReport(
        place.backend,
        runtime,
        found.version,
        tuple(found.devices),
        environment=environment,
        absent=found.absent,
        greeting=found.greeting,
    )


def choose_targets(requested: Sequence[str], reports: Mapping[str, BackendReport]) -> list[Choice]:
    """The targets that ``requested`` means, in order, each once; ``reports`` are by label.

    ``*`` is every device present that is not simulated; ``backend`` the same of one backend, or its
    simulated ones where it has no other; ``backend:cuda`` every ``cuda:N``. Of an environment that
    isn't named those devices are meant that the interpreter of `bench` doesn't have. A target named
    in full that is absent stays in the list with its reason. Raises `SpecError` for a device in two
    environments.
    """
    choices: dict[str, Choice] = {}
    for text in requested:
        for choice in _expand(text, reports):
            choices.setdefault(str(choice.target), choice)
    return list(choices.values())


def backends_here(requested: Sequence[str], further: Iterable[str] = ()) -> list[str]:
    """Which backends are looked for in the interpreter of `bench`: those of ``requested`` targets
    that name no environment, and the ``further`` ones that are installed."""
    known = list(backend_entry_points())
    wanted = requested_backends(requested, known)
    if "*" not in requested:
        targets = [parse_target(text) for text in requested]
        wanted = [target.backend for target in targets if not target.environment]
    return list(dict.fromkeys([*wanted, *(name for name in further if name in known)]))


def requested_backends(requested: Sequence[str], known: Sequence[str]) -> list[str]:
    """Which backends have to be probed for ``requested``. Raises `SpecError` for an unknown one."""
    if "*" in requested:
        return list(known)

    def backend_of(text: str) -> str:
        name = parse_target(text).backend
        if name not in known:
            raise unknown("backend", name, known)
        return name

    return list(dict.fromkeys(every(backend_of, requested)))


def _expand(text: str, reports: Mapping[str, BackendReport]) -> list[Choice]:
    if text == "*":
        return [
            replace(choice, named=False)
            for backend in dict.fromkeys(report.name for report in reports.values())
            for choice in _every_device(Target(backend, "*"), _of(backend, reports))
            if choice.device is not None and not choice.device.simulated
        ]
    target = parse_target(text)
    places = [reports[target.label]] if target.environment else _of(target.backend, reports)
    if target.device == "*":
        return _every_device(target, places) or [_absent(target, places)]
    having = [report for report in places if _matching(target.device, report)]
    if not having:
        return [_absent(target, places)]
    if having[0].environment and len(having) > 1:
        spellings = " or ".join(f"{report.label}:{target.device}" for report in having)
        raise SpecError(
            f"target {text!r}: several environments have this device; say which: {spellings}."
        )
    return [_choice(target, having[0], device) for device in _matching(target.device, having[0])]


def _of(backend: str, reports: Mapping[str, BackendReport]) -> list[BackendReport]:
    """The reports of one backend, that of the interpreter of `bench` first."""
    mine = [report for report in reports.values() if report.name == backend]
    return sorted(mine, key=lambda report: report.environment)


def _matching(wanted: str, report: BackendReport) -> list[Device]:
    """The device of that id, else all of that kind (``cuda`` is every ``cuda:N``)."""
    if wanted == "*":
        return list(report.devices)
    exact = [device for device in report.devices if device.id == wanted]
    return exact or [d for d in report.devices if d.id.startswith(f"{wanted}:")]


def _every_device(target: Target, places: Sequence[BackendReport]) -> list[Choice]:
    """Each device once, from the first place that has it; simulated ones where there is no other,
    since a simulator takes hours to score a data set."""
    found: dict[str, Choice] = {}
    for report in places:
        for device in report.devices:
            found.setdefault(device.id, _choice(target, report, device))
    real = [c for c in found.values() if c.device is not None and not c.device.simulated]
    return real or list(found.values())


def _choice(target: Target, report: BackendReport, device: Device) -> Choice:
    found = Target(report.name, device.id, target.options, report.environment)
    return Choice(found, report.runtime, device, report.version, greeting=report.greeting)


def _absent(target: Target, places: Sequence[BackendReport]) -> Choice:
    """A target that can't be had, with the cause that says most: why this device, or all of its
    kind, did not answer where the runtime is for it; else what is wrong with an environment, which
    is there for a reason, or with the runtime of `bench` itself; else what is there."""
    told = [(report, why_absent(report.absent, target.device)) for report in places]
    explained = [(report, why) for report, why in told if why is not None]
    if explained:
        report, error = min(explained, key=lambda both: isinstance(both[1], NotInBuild))
        return Choice(target, report.runtime, None, report.version, error)
    broken = [report for report in reversed(places) if report.unavailable is not None]
    report = [*broken, places[0]][0]
    found = report.unavailable or _no_device(target, report)
    return Choice(target, report.runtime, None, report.version, found)


def _no_device(target: Target, report: BackendReport) -> Unavailable:
    present = ", ".join(f"{report.label}:{device.id}" for device in report.devices)
    return Unavailable(
        f"{replace(target, options=())} is not available: {report.label} found no such device.",
        f"Available: {present}.{_makeable(report)}" if present else "See `bench doctor`.",
    )


def _makeable(report: BackendReport) -> str:
    """Where else a device could be: the flavours of a runtime each know some."""
    names = report.runtime.requirable if report.runtime is not None else ()
    if not names or report.environment:
        return ""
    return f" Other devices may need an environment ({', '.join(names)}): `bench env create NAME`."


def default_threads() -> int:
    """The physical cores that this process may use, which is what runtimes take by default."""
    usable = allowed_cpus() or range(os.cpu_count() or 1)
    cores = max(1, len(choose_cores(len(usable))))
    quota = cpu_quota()
    # A container that may use less than it sees would be stopped in the middle of a block.
    return cores if quota is None else min(cores, max(1, int(quota)))
