"""Targets: how they are written, which are present, and which ones a request means."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from bench.backend import Device
from bench.discover import backend_entry_points, load_backend, unknown
from bench.errors import BenchError, SpecError, Unavailable
from bench.launch import Launcher, Runtime, launcher, probe

#: A runtime that needs longer than this to list its devices is reported as hanging.
PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Target:
    """Backend, device id, and options in the runtime's own terms."""

    backend: str
    device: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        tail = "&".join(f"{key}={value}" for key, value in self.options)
        return f"{self.backend}:{self.device}" + (f"?{tail}" if tail else "")


@dataclass(frozen=True)
class BackendReport:
    """What a probe found: the devices that answered, or why there are none."""

    name: str
    runtime: Runtime | None
    version: str
    devices: tuple[Device, ...]
    unavailable: BenchError | None = None
    #: kind of device -> why none of it answered, as far as the backend tells
    absent: Mapping[str, Unavailable] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """A target that was asked for: its device, or the reason why it can't be had."""

    target: Target
    runtime: Runtime | None
    device: Device | None
    version: str = ""
    unavailable: BenchError | None = None
    named: bool = True  #: asked for by name, not by a wildcard


def parse_target(text: str) -> Target:
    """``backend``, ``backend:device`` or ``backend:device?key=value&...``.

    Without a device the device is ``*``: all that the backend has. Raises `SpecError`.
    """
    head, question, tail = text.partition("?")
    backend, _, device = head.partition(":")
    if not backend or any(c.isspace() for c in text):
        raise SpecError(
            f"target {text!r} is not of the form backend:device, for example onnxruntime:cpu."
        )
    try:
        options = parse_qsl(tail, keep_blank_values=True, strict_parsing=True) if tail else []
    except ValueError:
        options = None
    if options is None or (question and not tail):
        raise SpecError(f"target {text!r}: after `?` come options as key=value, joined by `&`.")
    keys = [key for key, _ in options]
    if len(keys) != len(set(keys)):
        raise SpecError(f"target {text!r} gives an option twice; give each once.")
    return Target(backend, device or "*", tuple(sorted(options)))


def find_runtime(name: str) -> Runtime:
    """How to start the backend called ``name``. Raises `SpecError` for an unknown one."""
    adapter: Any = load_backend(name)
    reference = backend_entry_points()[name]
    return Runtime(
        name,
        reference,
        environment=dict(adapter.environment),
        forms=tuple(adapter.forms),
        variants=tuple(getattr(adapter, "variants", ("fp32",))),
    )


def discover_backends(
    names: Iterable[str] | None = None, using: Launcher | None = None, threads: int = 1
) -> list[BackendReport]:
    """Probe backends (all, or those named) by touching their devices, each in a process of its own.

    Nothing is raised for a backend that is absent or broken: the report says so.
    """
    if using is None:
        with (
            tempfile.TemporaryDirectory(prefix="bench-probe-") as folder,
            launcher(Path(folder), PROBE_TIMEOUT_S) as started,
        ):
            return discover_backends(names, started, threads)
    chosen = list(names) if names is not None else list(backend_entry_points())
    runtimes: dict[str, Runtime | BenchError] = {}
    for name in chosen:
        try:
            runtime = find_runtime(name)
            using.prepare(runtime, threads)
            runtimes[name] = runtime
        except SpecError:
            raise
        except BenchError as error:
            runtimes[name] = error
        except Exception as error:
            # A third party's adapter that can't be imported must not take the others with it.
            runtimes[name] = Unavailable(
                f"the backend {name} could not be loaded: {error}.", "Reinstall its package."
            )
    return [_probe(name, runtimes[name], using, threads) for name in chosen]


def _probe(
    name: str, runtime: Runtime | BenchError, using: Launcher, threads: int
) -> BackendReport:
    if isinstance(runtime, BenchError):
        return BackendReport(name, None, "", (), runtime)
    try:
        worker = using.worker(runtime, threads)
        try:
            version, devices, absent = probe(worker)
        finally:
            worker.end()
    except BenchError as error:
        return BackendReport(name, runtime, "", (), error)
    return BackendReport(name, runtime, version, tuple(devices), absent=absent)


def choose_targets(requested: Sequence[str], reports: Mapping[str, BackendReport]) -> list[Choice]:
    """The targets that ``requested`` means, in order, each once.

    ``*`` is every device present that is not simulated; ``backend`` the same of one backend, or its
    simulated ones where it has no other; a target named in full that is absent stays in the list
    with its reason.
    """
    choices: dict[str, Choice] = {}
    for text in requested:
        for choice in _expand(text, reports):
            choices.setdefault(str(choice.target), choice)
    return list(choices.values())


def requested_backends(requested: Sequence[str], known: Sequence[str]) -> list[str]:
    """Which backends have to be probed for ``requested``. Raises `SpecError` for an unknown one."""
    if "*" in requested:
        return list(known)
    names = dict.fromkeys(parse_target(text).backend for text in requested)
    for name in names:
        if name not in known:
            raise unknown("backend", name, known)
    return list(names)


def _expand(text: str, reports: Mapping[str, BackendReport]) -> list[Choice]:
    if text == "*":
        return [
            Choice(
                Target(report.name, device.id),
                report.runtime,
                device,
                report.version,
                named=False,
            )
            for report in reports.values()
            for device in report.devices
            if not device.simulated
        ]
    target = parse_target(text)
    report = reports[target.backend]
    if report.unavailable is not None:
        device_id = "cpu" if target.device == "*" else target.device
        absent = Target(target.backend, device_id, target.options)
        return [Choice(absent, report.runtime, None, "", report.unavailable)]
    found = [d for d in report.devices if target.device in ("*", d.id)]
    if target.device == "*":  # a simulator among real devices takes hours to score a data set
        found = [d for d in found if not d.simulated] or found
    if not found:  # `cuda` alone means every cuda:N
        found = [d for d in report.devices if target.device == d.id.partition(":")[0]]
    if not found:
        return [Choice(target, report.runtime, None, report.version, _no_device(target, report))]
    return [
        Choice(Target(report.name, d.id, target.options), report.runtime, d, report.version)
        for d in found
    ]


def _no_device(target: Target, report: BackendReport) -> Unavailable:
    kind = target.device.partition(":")[0]
    if kind in report.absent:
        return report.absent[kind]
    present = ", ".join(f"{report.name}:{device.id}" for device in report.devices)
    return Unavailable(
        f"{target.backend}:{target.device} is not available: {report.name} found no such device.",
        f"Present: {present}." if present else "It found none; see `bench doctor`.",
    )


def default_threads() -> int:
    """The physical cores that this process may use, which is what runtimes take by default."""
    from bench.machine import choose_cores, cpu_quota

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = max(1, len(choose_cores(usable or 1)))
    quota = cpu_quota()
    # A container that may use less than it sees would be stopped in the middle of a block.
    return cores if quota is None else min(cores, max(1, int(quota)))
