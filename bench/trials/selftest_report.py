"""The one file that a self-test leaves: Markdown to read, with the same facts as JSON at its end.

It is made to be sent to strangers: only facts of an explicit list go in, and texts lose the names
of the machine, of the user and of folders.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from bench import __version__
from bench.machine.facts import MachineFacts
from bench.trials.selftest import SelfTest, Step

MARKS = {"ok": "✓", "failed": "✗", "skipped": "–"}
#: What of the machine goes into the report.
_FACTS = (
    "cpu_model",
    "architecture",
    "physical_cores",
    "logical_cores",
    "memory_total_bytes",
    "memory_limit_bytes",
    "governor",
    "virtualisation",
    "container",
    "os",
    "kernel",
    "python",
    "packages",
)
#: Paths that belong to the system or a vendor and to no person; of others the last part is kept.
_PUBLIC_PATHS = ("/dev/", "/usr/", "/proc/", "/sys/")
_COMMON_NAMES = {"root", "localhost", "user", "bench"}


def as_data(test: SelfTest, facts: MachineFacts) -> dict[str, Any]:
    """All of the report as JSON-ready data, scrubbed."""
    machine = {name: value for name, value in facts.as_json().items() if name in _FACTS}
    data = {
        "report": "bench selftest",
        "report_version": 1,
        "bench_version": __version__,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "target": str(test.target),
        "ok": test.ok,
        "runtime_version": test.version,
        "device": asdict(test.device) if test.device is not None else None,
        "machine": machine,
        "steps": [asdict(step) for step in test.steps],
    }
    scrubbed: dict[str, Any] = _scrubbed(data)
    return scrubbed


def as_markdown(data: dict[str, Any]) -> str:
    """The report as one file."""
    passed = sum(step["outcome"] == "ok" for step in data["steps"])
    lines = [
        f"# bench debug selftest {data['target']}",
        "",
        f"{'Passed' if data['ok'] else 'FAILED'}: {passed} of {len(data['steps'])} steps ok. "
        f"bench {data['bench_version']}, runtime {data['runtime_version'] or 'unknown'}, "
        f"{data['created_at']}.",
        "",
        *_device_lines(data["device"]),
        *(f"- {name}: {_plain(value)}" for name, value in data["machine"].items() if value),
        "",
        "| | step | s | observed |",
        "| --- | --- | --- | --- |",
        *(_row(step) for step in data["steps"]),
        "",
    ]
    for step in data["steps"]:
        if step["log_tail"]:
            lines += [f"## What the worker of `{step['name']}` printed last", "", "```text"]
            lines += [step["log_tail"].replace("```", "'''"), "```", ""]
    body = json.dumps(data, indent=1, ensure_ascii=False)
    return "\n".join([*lines, "## The same for machines", "", "```json", body, "```", ""])


def line(step: Step) -> str:
    """A step as the terminal shows it."""
    return f"{MARKS[step.outcome]} {step.name}: {step.detail}"


def scrub(text: str) -> str:
    """``text`` without the names of this machine and its user, and without private folders."""
    text = re.sub(r"(?<![\w.])/[\w.@%+-]+(?:/[\w.@%+-]+)+/?", _scrub_path, text)
    host = socket.gethostname()
    for name, stand_in in (
        (host, "<host>"),
        (host.partition(".")[0], "<host>"),
        (_user(), "<user>"),
    ):
        if len(name) > 1 and name not in _COMMON_NAMES:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", stand_in, text)
    return text


def _scrub_path(match: re.Match[str]) -> str:
    path = match[0]
    return path if path.startswith(_PUBLIC_PATHS) else f"<…>/{path.rstrip('/').rpartition('/')[2]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {str(key): _scrubbed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(item) for item in value]
    return value


def _device_lines(device: dict[str, Any] | None) -> list[str]:
    if device is None:
        return ["- device: none"]
    words = " ".join(part for part in (device["vendor"], device["name"]) if part)
    notes = [f"- device: {device['id']}, {words}"]
    if device["driver"]:
        notes.append(f"- driver: {device['driver']}")
    if device["memory_bytes"]:
        notes.append(f"- device memory: {device['memory_bytes']} bytes")
    if device["simulated"]:
        notes.append("- simulated: its times are meaningless")
    return notes


def _row(step: dict[str, Any]) -> str:
    detail = step["detail"].replace("|", "\\|").replace("\n", " ")
    return f"| {MARKS[step['outcome']]} | {step['name']} | {step['seconds']:.1f} | {detail} |"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item)
    return str(value)
