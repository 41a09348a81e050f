"""Driving the real engine from a proof, and writing down what came of it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine.facts import machine_facts
from bench.measure.listener import QuietProgress
from bench.measure.prepare import prepare
from bench.measure.run import start
from bench.record.result import Record
from bench.spec import make_suite, with_flags
from bench.store.run import StoredRun, read_run

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "results" / "proof"


def use_scratch_results() -> None:
    """What a trial with small sizes finds is not worth publishing."""
    global RESULTS
    RESULTS = Path(tempfile.mkdtemp(prefix="bench-proof-results-"))


@dataclass(frozen=True)
class Finding:
    """One claim, the figure that was found, and whether the goal was met."""

    claim: str
    figure: str
    goal: str
    met: bool | None  #: None where there is no goal, as for a peer


@dataclass(frozen=True)
class Measured:
    """A run that is over: what it stored, and the seconds from its start-up to its end."""

    run: StoredRun
    seconds: float

    def by_target(self, model: str | None = None) -> dict[str, Record]:
        return {
            record.cell.target: record
            for record in self.run.records
            if model in (None, record.cell.model.name)
        }


@contextmanager
def plugin() -> Iterator[None]:
    """Install the `altered` backend for this process and its workers."""
    with tempfile.TemporaryDirectory(prefix="bench-proof-") as folder:
        source = HERE / "plugin" / "altered.py"
        (Path(folder) / "altered.py").write_bytes(source.read_bytes())
        info = Path(folder) / "altered-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: altered\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[bench.backends]\naltered = altered:Altered\n")
        before = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, before]))
        sys.path.insert(0, folder)
        try:
            yield
        finally:
            sys.path.remove(folder)
            os.environ["PYTHONPATH"] = before


def measure(models: Sequence[str], targets: Sequence[str], **settings: Any) -> Measured:
    """Run a suite, single-stream on one thread unless said otherwise, in a scratch folder."""
    base = {
        "name": "proof",
        "models": models,
        "targets": targets,
        "scenarios": ["single-stream"],
        "threads": 1,
        "accuracy": False,
    }
    suite = with_flags(make_suite(base, "the proof"), settings, "the proof")
    listener = QuietProgress()
    folder = Path(tempfile.mkdtemp(prefix="bench-proof-runs-"))
    with prepare(suite, listener, folder / "cache") as prepared:
        outcome = start(prepared, folder, listener)
        seconds = outcome.account.total_s - outcome.account.startup_s
    stored = read_run(outcome.path)
    for record in stored.records:
        if record.failure is not None:
            raise SystemExit(f"proof: {record.cell.label} failed: {record.failure.message}")
    return Measured(stored, seconds)


def report(name: str, findings: Sequence[Finding], details: dict[str, Any]) -> None:
    """Print a proof's figures and write them to ``results/proof/NAME.json``."""
    for finding in findings:
        mark = {True: "met   ", False: "MISSED", None: "      "}[finding.met]
        print(f"{mark} {finding.claim}: {finding.figure} (goal: {finding.goal})", flush=True)
    facts = machine_facts(("numpy", "onnxruntime", "openvino", "torch"))
    RESULTS.mkdir(parents=True, exist_ok=True)
    value = {
        "proof": name,
        "command": f"python tests/proofs {name}",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": facts.cpu_model,
            "physical_cores": facts.physical_cores,
            "virtualisation": facts.virtualisation,
            "packages": dict(facts.packages or {}),
        },
        "findings": [asdict(finding) for finding in findings],
        "details": details,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
    write_summary()


def write_summary() -> None:
    """``results/proof/README.md`` from all proofs that have run."""
    lines = [
        "# What the measuring engine was found to do",
        "",
        "Written by `make proof`; not edited by hand. Each row names the command that made it.",
        "",
        "| claim | found | goal | met | command | at |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    machines = set()
    for path in sorted(RESULTS.glob("*.json")):
        value = json.loads(path.read_text())
        machine = value["machine"]
        kind = machine["virtualisation"] or "no hypervisor seen"
        machines.add(f"{machine['cpu']}, {machine['physical_cores']} cores, {kind}")
        for finding in value["findings"]:
            met = {True: "yes", False: "**no**", None: "-"}[finding["met"]]
            row = (finding["claim"], finding["figure"], finding["goal"], met)
            lines.append(f"| {' | '.join(row)} | `{value['command']}` | {value['at'][:10]} |")
    lines += ["", f"Machine: {'; '.join(sorted(machines))}.", ""]
    (RESULTS / "README.md").write_text("\n".join(lines))
