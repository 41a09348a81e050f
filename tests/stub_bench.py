"""A package called bench that does what it is told at once: for tests of what runs its commands."""

from __future__ import annotations

from pathlib import Path

_MAIN = """
import json, os, sys, time
from pathlib import Path

name, *words = sys.argv[1:]
given = lambda flag: [words[i + 1] for i, word in enumerate(words) if word == flag]
if name == "doctor":
    print("a line that is no JSON", file=sys.stderr)
    print(json.dumps(json.loads(Path(__file__).with_name("doctor.json").read_text())))
elif name == "run":
    if "--energy" in words:
        time.sleep(float(os.environ.get("STUB_SLEEPS", "0")))
    folder = Path(given("--results")[0]) / f"{time.time_ns()}-bench"
    folder.mkdir(parents=True)
    batches = (1, 2) if "auto" in given("--batch") else (1,)
    records = [
        {
            "cell_id": f"{model}{target}{scenario}{batch}",
            "cell": {"model": {"name": Path(model).stem}, "target": target,
                     "scenario": scenario, "batch": batch},
            "status": "ok", "stop": "precision", "failure": None, "checks": [], "parity": None,
            "energy": [{"scope": "gpu-board", "gross_j": {"value": 1.0}, "missing": ""}],
            "roofline": {"operations": 1}, "device_ns": {"value": 1.0},
        }
        for model in given("-m") for target in given("-t")
        for scenario in given("--scenario") for batch in batches
    ]
    (folder / "run.json").write_text(json.dumps({"cells": [r["cell"] for r in records]}))
    lines = [json.dumps(record) for record in records]
    (folder / "records.jsonl").write_text("\\n".join(lines) + "\\n{half a li")
    sys.stdout.buffer.write(b"a byte that is not UTF-8: \\xff\\n")
elif name == "certify":
    sys.exit(3)
"""
_CONTRACT = """
import os, time, pytest
from bench import HERE

@pytest.mark.parametrize("target", ["onnxruntime:cuda:0", "torch:cuda:0", "onnxruntime:cpu"])
def test_it(target):
    assert "cuda" in target

@pytest.mark.parametrize("kind", ["OnnxRuntime:tensorrt"])
def test_what_takes_long(kind):
    time.sleep(float(os.environ.get("STUB_TESTS_SLEEP", "0")))
"""
_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--bench-target")
"""


def write_stub(folder: Path, doctor: str) -> None:
    """Put the package into ``folder``; ``doctor`` is what `bench doctor --json` prints."""
    for name, text in {
        "__init__.py": "HERE = __file__\n",
        "__main__.py": _MAIN,
        "doctor.json": doctor,
        "commands/__init__.py": "",
        "commands/cli.py": "",
        "backends/__init__.py": "",
        "contract/__init__.py": "",
        "contract/conftest.py": _CONFTEST,
        "contract/test_contract.py": _CONTRACT,
    }.items():
        path = folder / "bench" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
