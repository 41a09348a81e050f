"""``bench doctor``: which targets are here, why others are not, and what the machine is like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench.targets import BackendReport

PACKAGES = ("infer-bench", "numpy", "onnx", "onnxruntime", "openvino", "torch")


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Say which targets are here, and why others are not.

    Every device is touched, so this takes some seconds. What is absent is no error: the exit code
    is 0.
    """
    from bench.machine import fingerprint, noise_warnings
    from bench.targets import discover_backends

    reports = discover_backends()
    facts = fingerprint(PACKAGES)
    warnings = noise_warnings(facts)
    if as_json:
        _print_json(reports, facts.to_plain(), warnings)
        return
    for title, lines in (
        ("Targets", _present(reports)),
        ("Not available", _absent(reports)),
        ("Machine", _facts(facts.to_plain())),
        ("This machine may disturb measurements", warnings),
    ):
        _print_section(title, lines)


def _present(reports: list[BackendReport]) -> list[str]:
    rows = [
        (f"{report.name}:{device.id}", _device_words(device), f"{report.name} {report.version}")
        for report in reports
        for device in report.devices
    ]
    if not rows:
        return ["none: install a runtime, for example `pip install 'infer-bench[cpu]'`"]
    width = max(len(target) for target, _, _ in rows)
    return [f"{target:<{width}}  {device}; {version}" for target, device, version in rows]


def _device_words(device: Any) -> str:
    from bench.numbers import size

    words = [device.name or device.vendor or "device"]
    if device.memory_bytes:
        words.append(size(device.memory_bytes))
    if device.driver:
        words.append(f"driver {device.driver}")
    if device.simulated:
        words.append("simulated: its latency means nothing")
    return ", ".join(words)


def _absent(reports: list[BackendReport]) -> list[str]:
    """One line each: the reason, and what to do about it."""
    return [
        f"{report.name}: {report.unavailable or 'it reports no device'}"
        for report in reports
        if not report.devices
    ]


def _facts(plain: dict[str, Any]) -> list[str]:
    """Facts one a line, nested ones by dotted names; long lists shortened."""
    lines: list[str] = []
    for name, value in plain.items():
        if isinstance(value, dict):
            words = ", ".join(f"{key} {item}" for key, item in value.items() if item)
        elif isinstance(value, (list, tuple)):
            words = ", ".join(map(str, value))
        else:
            words = "" if value is None else _fact_words(name, value)
        if words:
            lines.append(f"{_label(name)}: {words}")
    return lines


def _label(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_hz").replace("_", " ")


def _fact_words(name: str, value: object) -> str:
    from bench.numbers import significant, size

    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return size(value)
    if name.endswith("_hz") and isinstance(value, (int, float)):
        return f"{significant(value / 1e9)} GHz"
    return significant(value) if isinstance(value, float) else str(value)


def _print_section(title: str, lines: list[str]) -> None:
    from shutil import get_terminal_size

    from bench.numbers import printable
    from bench.table import wrap

    if not lines:
        return
    width = get_terminal_size((80, 24)).columns
    click.echo(click.style(title, bold=True))
    for line in lines:
        click.echo(wrap("  " + printable(line, limit=1000), width, indent=4))
    click.echo()


def _print_json(reports: list[BackendReport], facts: dict[str, Any], warnings: list[str]) -> None:
    import json

    from bench.backend import to_plain

    backends = [
        {
            "name": report.name,
            "version": report.version,
            "devices": [to_plain(device) for device in report.devices],
            "unavailable": None if report.unavailable is None else str(report.unavailable),
        }
        for report in reports
    ]
    value = {"backends": backends, "machine": facts, "warnings": warnings}
    click.echo(json.dumps(value, indent=1))
