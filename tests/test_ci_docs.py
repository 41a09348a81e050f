"""docs/ci.md stays true: its YAML is valid, and what it runs does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from service_shell import Shell, service_shell

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "ci.md").read_text()
ACTION, GITHUB, GITLAB = (
    yaml.safe_load(body) for body in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.M | re.S)
)
#: The same commands on a model that is measured in a second.
SHORT = "-m doubling.onnx -t stand-in:ok?us=20 --threads 1 --precision 50% --min-invocations 3"


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path, doubling_model: Path) -> Shell:
    """bash as the services run it (-e), with `bench` on the path, in a folder with a model."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "doubling.onnx").write_bytes(doubling_model.read_bytes())
    return service_shell(folder, tmp_path / "bin", environment)


def shortened(script: str) -> str:
    """Its run on the short model; that one has no labels, so no accuracy is asked for either."""
    script = re.sub(r"-m fashion-student -t onnxruntime:cpu --min-invocations 10", SHORT, script)
    script = script.replace("--max-time 10", "--max-time 1").replace(" --min-accuracy 85%", "")
    assert "fashion" not in script
    return script.replace("--max-slowdown 10%", "--max-slowdown 10000%")


def github_steps() -> dict[str, dict[str, Any]]:
    steps = GITHUB["jobs"]["benchmark"]["steps"]
    return {step["name"]: step for step in steps if "name" in step}


def test_the_workflow_has_what_a_workflow_needs() -> None:
    assert {"name", "jobs", "permissions"} <= set(GITHUB)
    assert True in GITHUB  # YAML 1.1 reads the key `on` as true
    for step in GITHUB["jobs"]["benchmark"]["steps"]:
        assert ("uses" in step) != ("run" in step)
    job = GITLAB["benchmark"]
    assert {"image", "script", "artifacts", "allow_failure"} <= set(job)
    assert all(isinstance(line, str) for line in (*job["script"], *job["after_script"]))


def test_the_example_of_the_action_gives_it_what_it_takes() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    (step,) = (s for s in ACTION["jobs"]["benchmark"]["steps"] if "infer-bench" in s["uses"])
    assert set(step["with"]) <= set(inputs)


@pytest.mark.parametrize("script", ["github", "gitlab"])
def test_every_bench_command_of_the_examples_parses(script: str) -> None:
    import shlex

    from test_docs import _parse

    lines = GITLAB["benchmark"]["script"]
    if script == "github":
        lines = [line for s in github_steps().values() for line in s.get("run", "").splitlines()]
    found = re.findall(r"\bbench ((?:run|gate|baseline) .*?)(?:;|\|\||$)", "\n".join(lines), re.M)
    assert len(found) >= 3
    for command in found:
        _parse(shlex.split(command))


@pytest.mark.slow
def test_the_steps_of_the_workflow_measure_gate_and_keep_a_baseline(
    shell: Shell, tmp_path: Path
) -> None:
    steps, folder = github_steps(), tmp_path / "checkout"
    measure, gate, keep = (
        steps[name]["run"] for name in ("Measure", "Gate", "Keep this run as the next baseline")
    )
    summary = tmp_path / "summary.md"
    done = shell(shortened(measure))
    assert done.returncode == 0, done.stderr
    # No baseline yet: the run is held against itself.
    done = shell(shortened(gate), GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### ✅ PASS" in summary.read_text()
    assert (folder / "series" / "smaller-is-better.json").is_file()
    assert shell(keep).returncode == 0
    # The next run: something that stopped working ends the step, after the summary is written.
    (run,) = (folder / "runs").iterdir()
    lines = (run / "records.jsonl").read_text().splitlines()
    broken = re.sub(r'"status":"ok","failure":null', _CRASH, lines[0])
    (folder / "runs" / "next").mkdir()
    for name in ("run.json", "invocations.jsonl"):
        (folder / "runs" / "next" / name).write_bytes((run / name).read_bytes())
    text = "\n".join([broken, *lines[1:]]) + "\n"
    (folder / "runs" / "next" / "records.jsonl").write_text(text)
    second = shortened(gate).replace("runs/*", "runs/next")
    done = shell(second, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1
    assert "### ❌ FAIL" in summary.read_text()
    assert "<error " in (folder / "junit.xml").read_text()


_CRASH = '"status":"failed","failure":{"kind":"crashed","message":"SIGSEGV","log_tail":""}'


@pytest.mark.long
def test_the_script_for_gitlab_gates_and_keeps_a_baseline(shell: Shell, tmp_path: Path) -> None:
    lines = [line for line in GITLAB["benchmark"]["script"] if not line.startswith("pip ")]
    script = "\n".join(shortened(line) for line in lines)
    done = shell(script, CI_COMMIT_BRANCH="main", CI_DEFAULT_BRANCH="main")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "checkout"
    assert (folder / "bench-baseline.json").is_file()
    assert "PASS" in (folder / "summary.md").read_text()
    assert GITLAB["benchmark"]["allow_failure"]["exit_codes"] == [3]


def test_exit_codes_in_the_document_are_those_of_the_gate() -> None:
    from bench.judge.finding import EXIT_CODES, Decision

    rows = dict(re.findall(r"^\| (\d) \| (\w+)", TEXT, re.M))
    for decision, code in EXIT_CODES.items():
        assert rows[str(code)] == decision.value
    assert set(rows) == {"0", "1", "2", "3"}
    assert set(Decision) == set(EXIT_CODES)
