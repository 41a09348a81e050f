"""`bench debug selftest`: what it tries, what it notices, and what it tells nobody."""

from __future__ import annotations

import getpass
import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from bench.trials.sample_models import write_samples
from bench.trials.selftest_report import scrub


def report_of(path: Path) -> dict[str, Any]:
    """The JSON at the end of a report."""
    (body,) = re.findall(r"^```json\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    data: dict[str, Any] = json.loads(body)
    return data


def outcomes(data: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["outcome"] for step in data["steps"]}


def test_a_runtime_that_works_passes_every_step(bench: Any, tmp_path: Path) -> None:
    result = bench("debug", "selftest", "onnxruntime:cpu")
    assert result.returncode == 0, result.stdout + result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "passed; the report is in selftest-onnxruntime.md" in result.stdout
    data = report_of(tmp_path / "selftest-onnxruntime.md")
    assert data["ok"]
    assert set(outcomes(data).values()) == {"ok", "skipped"}
    assert outcomes(data)["reports running out of memory"] == "skipped"  # it is this machine's own
    run = next(step for step in data["steps"] if step["name"] == "run encoder")
    assert run["facts"]["median_ns"] > 0
    assert run["facts"]["placement"]["nodes"].keys() == {"cpu"}


def test_the_report_names_neither_machine_nor_user_nor_folders(bench: Any, tmp_path: Path) -> None:
    bench("debug", "selftest", "onnxruntime:cpu", "-o", "report.md")
    text = (tmp_path / "report.md").read_text()
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert str(tmp_path) not in text
    assert "/tmp/" not in text
    assert str(Path.home()) + "/" not in text
    assert "hostname" not in text


def test_texts_lose_private_names_and_keep_those_of_the_system() -> None:
    text = (
        "no /home/ann/models/secret/x.onnx on this, but /dev/davinci0 and 1/2 of /usr/lib/libx.so"
    )
    assert scrub(text) == "no <…>/x.onnx on this, but /dev/davinci0 and 1/2 of /usr/lib/libx.so"
    assert scrub(f"at {socket.gethostname()}: no") == "at <host>: no"
    if getpass.getuser() != "root":
        assert "<user>" in scrub(f"user {getpass.getuser()} lacks rights")


def test_a_backend_that_is_absent_leaves_a_report_with_the_reason(
    bench: Any, tmp_path: Path
) -> None:
    result = bench("debug", "selftest", "missing")
    assert result.returncode == 1
    data = report_of(tmp_path / "selftest-missing.md")
    assert outcomes(data) == {"probe": "failed"}
    assert "Install the missing runtime" in data["steps"][0]["detail"]


def test_a_device_that_is_not_there_is_told_with_those_that_are(bench: Any, tmp_path: Path) -> None:
    assert bench("debug", "selftest", "onnxruntime:npu:7").returncode == 1
    (step,) = report_of(tmp_path / "selftest-onnxruntime.md")["steps"]
    assert "devices: cpu" in step["detail"]


def test_wrong_numbers_fail_the_steps_that_they_are_in(bench: Any, tmp_path: Path) -> None:
    result = bench("debug", "selftest", "skewed")  # its Relu leaks
    assert result.returncode == 1
    data = report_of(tmp_path / "selftest-skewed.md")
    assert outcomes(data)["run perceptron"] == "failed"
    (step,) = (step for step in data["steps"] if step["name"] == "run perceptron")
    assert "differ from the reference by" in step["detail"]


@pytest.mark.parametrize(
    ("device", "words"), [("segfaults", "SIGSEGV"), ("hangs", "did not finish within 1 s")]
)
def test_a_crash_or_a_hang_is_one_steps_result_and_the_rest_goes_on(
    bench: Any, tmp_path: Path, device: str, words: str
) -> None:
    result = bench("debug", "selftest", f"stand-in:{device}", "--timeout", "1", timeout=240)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    steps = report_of(tmp_path / "selftest-stand-in.md")["steps"]
    runs = [step for step in steps if step["name"].startswith(("run ", "batch "))]
    assert len(runs) == 5
    assert all(words in step["detail"] for step in runs)
    assert any(step["log_tail"] for step in runs) == (device == "segfaults")


def test_a_device_that_loses_memory_and_one_with_much_memory_are_noticed(
    bench: Any, tmp_path: Path
) -> None:
    bench("debug", "selftest", "forgetful")
    steps = {s["name"]: s for s in report_of(tmp_path / "selftest-forgetful.md")["steps"]}
    assert "2.0 MiB more device memory" in steps["load and unload"]["detail"]
    # 80 MiB fitted into "64 MiB": they lie in the host's memory.
    assert "where are they?" in steps["reports running out of memory"]["detail"]
    assert steps["with speed=high"]["outcome"] == "ok"


def test_a_backend_without_onnx_is_refused_in_a_sentence(bench: Any) -> None:
    result = bench("debug", "selftest", "torch")
    assert result.returncode == 2
    assert "takes no ONNX models" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_backend_is_refused(bench: Any) -> None:
    result = bench("debug", "selftest", "onnxruntimee")
    assert result.returncode == 2
    assert "onnxruntime" in result.stderr


def test_the_sample_models_are_valid_grow_and_mean_the_same_everywhere(tmp_path: Path) -> None:
    sizes = []
    for sample in write_samples(tmp_path):
        onnx.checker.check_model(str(sample.file.onnx), full_check=True)
        session = onnxruntime.InferenceSession(
            str(sample.file.onnx), providers=["CPUExecutionProvider"]
        )
        for batch in (1, 3):
            feeds = sample.feeds(batch)
            right = ReferenceEvaluator(str(sample.file.onnx)).run(None, feeds)
            np.testing.assert_allclose(session.run(None, feeds)[0], right[0], atol=1e-4)
            assert np.ptp(right[0]) > 0.01  # not all alike: an error would show
        assert sample.file.onnx
        sizes.append(sample.file.onnx.stat().st_size)
    assert len(sizes) == 3
