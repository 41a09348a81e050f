"""``bench doctor``: which targets are here, why others are not, and what the machine is like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import click

from bench import __version__
from bench.commands.env import environment_lines
from bench.commands.output import Row, print_json, print_rows
from bench.discover import backend_entry_points, unknown
from bench.machine.facts import machine_facts
from bench.machine.noise import noise_warnings
from bench.numbers import printable, significant, size

if TYPE_CHECKING:
    from bench.backend import Device
    from bench.machine.accelerators import Accelerator
    from bench.machine.facts import MachineFacts
    from bench.runtimes.targets import BackendReport

PACKAGES = ("infer-bench", "numpy", "onnx", "onnxruntime", "openvino", "torch")


@click.command(name="doctor")
@click.argument("names", metavar="[BACKENDS]...", nargs=-1)
@click.option("--targets", "only", flag_value="targets", help="Only list the targets.")
@click.option(
    "--backends", "only", flag_value="backends", help="Only list the installed backends; quick."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(names: tuple[str, ...], only: str | None, *, as_json: bool) -> None:
    """Show which targets are available, and why others are not.

    BACKENDS are the ones to look for; default: all. Every device is probed, so this takes some
    seconds. A missing target is not an error: the exit status is 0.
    """
    if only is not None:
        rows = backends(names) if only == "backends" else targets(names)
        if as_json:
            print_json(rows)
        else:
            print_rows(rows, f"no {only} found")
        return
    _diagnose(names, as_json=as_json)


def backends(names: Sequence[str] = ()) -> list[Row]:
    """Name and entry point of every backend, present or not; read without importing any."""
    found = backend_entry_points()
    for name in names:
        if name not in found:
            raise unknown("backend", name, found)
    return [{"name": name, "about": found[name]} for name in names or found]


def targets(names: Sequence[str] = ()) -> list[Row]:
    """Every device that answered, as a target."""
    from bench.runtimes.targets import discover_backends  # numpy: start-up

    return [
        {
            "name": f"{report.label}:{device.id}",
            "about": f"{device.name}{' (simulated)' if device.simulated else ''}",
        }
        for report in discover_backends(names or None)
        for device in report.devices
    ]


def _diagnose(names: Sequence[str], *, as_json: bool) -> None:
    """All that there is to say of the targets and this machine."""
    from bench.machine.accelerators import find_accelerators  # numpy: start-up
    from bench.runtimes.targets import discover_backends

    reports = discover_backends(names or None)
    present = [f"{report.name}:{device.id}" for report in reports for device in report.devices]
    accelerators = find_accelerators(present)
    facts = machine_facts(PACKAGES)
    warnings = noise_warnings(facts)
    if as_json:
        _print_json(reports, accelerators, facts.as_json(), warnings)
        return
    for title, lines in (
        ("Targets", _present(reports)),
        ("Not available", _absent(reports)),
        ("Accelerators that the system shows", _accelerators(accelerators)),
        ("Environments", _environments()),
        ("Machine", _facts(facts)),
        ("This machine may disturb measurements", warnings),
    ):
        _print_section(title, lines)


def _present(reports: list[BackendReport]) -> list[str]:
    rows = [
        (f"{report.label}:{device.id}", _device_words(device), f"{report.name} {report.version}")
        for report in reports
        for device in report.devices
    ]
    if not rows:
        return ["none: install a runtime, for example `pip install 'infer-bench[cpu]'`"]
    width = max(len(target) for target, _, _ in rows)
    return [f"{target:<{width}}  {device}; {version}" for target, device, version in rows]


def _device_words(device: Device) -> str:
    words = [device.name or device.vendor or "device"]
    if device.memory_bytes:
        words.append(size(device.memory_bytes))
    if device.driver:
        words.append(f"driver {device.driver}")
    if device.simulated:
        words.append("simulated: its latency is meaningless")
    return ", ".join(words)


def _absent(reports: list[BackendReport]) -> list[str]:
    """One line each: the reason, and what to do about it."""
    backends = [
        _labelled(report, report.unavailable or "it reports no device")
        for report in reports
        if not report.devices
    ]
    return backends + [_labelled(r, words) for r in reports for words in _absent_kinds(r)]


def _absent_kinds(report: BackendReport) -> list[str]:
    """Kinds of device that the runtime could have; of those with one remedy the first."""
    by_remedy: dict[str, str] = {}
    for error in report.absent.values():
        by_remedy.setdefault(error.remedy or str(error), str(error))
    return list(by_remedy.values())


def _labelled(report: BackendReport, reason: object) -> str:
    """The reason behind the name of what is absent, which most reasons begin with themselves."""
    name = rf"{re.escape(report.label)}(?::\S+)?"
    text = re.sub(rf"^({name}) is not available: ", r"\1: ", str(reason))
    return text if text.startswith(f"{report.label}:") else f"{report.label}: {text}"


def _environments() -> list[str]:
    """Those that were created or configured, as `bench env list` shows them."""
    from bench.runtimes.environments.find import existing_environments  # pydantic: start-up

    found = existing_environments()
    return environment_lines(found) if found else []


def _accelerators(found: list[Accelerator]) -> list[str]:
    """One line each: what it is, its driver, and who uses it or what to install."""
    return [_accelerator(one) for one in found] or [
        "none: nothing on the PCI bus or among the device files that bench knows"
    ]


def _accelerator(one: Accelerator) -> str:
    places = [*one.pci, *(f"/{node}" for node in one.nodes)]
    shown = ", ".join(places[:4]) + (f" and {len(places) - 4} more" if len(places) > 4 else "")
    words = [f"driver {one.driver}" if one.driver else "no driver found"]
    if one.runtime:
        words.append(f"runtime {one.runtime}")
    if one.trouble:
        words.append(one.trouble)
    use = f"used by {', '.join(one.present)}" if one.present else f"not in use. {one.install}"
    return f"{one.name} ({shown}): {'; '.join(words)}; {use}"


def _facts(facts: MachineFacts) -> list[str]:
    """What a person wants to know of the machine, one fact a line; what isn't known is left out."""
    cores = f"{facts.physical_cores or '?'} cores, {facts.logical_cores or '?'} threads"
    if facts.affinity is not None:
        cores += f", {len(facts.affinity)} usable"
    if facts.cpu_quota is not None:
        cores += f", limited to {significant(facts.cpu_quota)} CPUs"
    frequency = facts.max_frequency_hz or facts.frequency_hz
    memory = f"{size(facts.memory_total_bytes)}, {size(facts.memory_available_bytes)} available"
    versions = [f"{name} {found}" for name, found in facts.packages.items() if found]
    rows = {
        "CPU": facts.cpu_model and f"{facts.cpu_model}, {facts.architecture}; {cores}",
        "frequency": frequency and f"{significant(frequency / 1e9)} GHz",
        "governor": facts.governor,
        "memory": facts.memory_total_bytes and memory,
        "huge pages": _huge_pages(facts),
        "memory limit": facts.memory_limit_bytes and size(facts.memory_limit_bytes),
        "GPUs": ", ".join(f"{gpu.name} (driver {gpu.driver})" for gpu in facts.gpus or ()),
        "system": f"{facts.os} {facts.kernel}, {facts.python}",
        "virtualisation": facts.virtualisation,
        "container": facts.container,
        "packages": ", ".join(versions),
    }
    return [f"{name}: {value}" for name, value in rows.items() if value]


def _huge_pages(facts: MachineFacts) -> str:
    reserved = f"{facts.huge_pages} reserved" if facts.huge_pages else ""
    transparent = facts.transparent_huge_pages
    return ", ".join(filter(None, [transparent and f"transparent: {transparent}", reserved]))


def _print_section(title: str, lines: list[str]) -> None:
    from bench.present.layout import TIED, wrap  # rich: start-up

    if not lines:
        return
    width = get_terminal_size((80, 24)).columns
    click.echo(click.style(title, bold=True))
    for line in lines:
        aligned = printable(line, limit=1000).replace("  ", 2 * TIED)
        click.echo(wrap("  " + aligned, width, indent=4))
    click.echo()


def _print_json(
    reports: list[BackendReport],
    accelerators: list[Accelerator],
    facts: dict[str, object],
    warnings: list[str],
) -> None:
    from bench.backend import to_plain  # numpy: start-up
    from bench.runtimes.targets import default_threads  # numpy: start-up

    backends = [
        {
            "name": report.name,
            "environment": report.environment or None,
            "version": report.version,
            "devices": [to_plain(device) for device in report.devices],
            "unavailable": None if report.unavailable is None else str(report.unavailable),
            "absent": {kind: str(error) for kind, error in report.absent.items()},
        }
        for report in reports
    ]
    value = {
        "bench_version": __version__,
        "threads": default_threads(),
        "backends": backends,
        "accelerators": [asdict(accelerator) for accelerator in accelerators],
        "machine": facts,
        "warnings": warnings,
    }
    print_json(value)
