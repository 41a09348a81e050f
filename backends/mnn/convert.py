"""From an ONNX file to MNN's own form.

The converter is called in a process of its own: it reports failures by printing, and some models
crash it. It is called as ``_tools``, not as ``MNN.tools``: importing that would install a package
for telemetry with the first pip on the path, and report to the vendor.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from bench.errors import Unsupported, as_sentence


def convert(path: Path, converted: Path, where: str) -> None:
    """Write MNN's form of an ONNX file. Raises `Unsupported` with what the converter printed.

    It leaves files of its own in the current folder (``.__convert_external_data.bin``), so that is
    the folder of ``converted``.
    """
    code = "import sys, _tools; _tools.mnnconvert(sys.argv)"
    arguments = ["-f", "ONNX", "--modelFile", str(path.resolve())]
    arguments += ["--MNNModel", str(converted.resolve())]
    command = [sys.executable, "-c", code, *arguments, "--bizCode", "bench"]
    done = subprocess.run(
        command,
        cwd=converted.parent,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0 and converted.is_file():
        return
    text = done.stdout + done.stderr
    lacking = re.search(r"These Op Not Support: (.+)", text)
    if lacking:
        ops = ", ".join(name.partition("::")[2] or name for name in lacking[1].split())
        raise Unsupported(f"{where}: the operator {ops} is not supported by mnn.")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise Unsupported(f"{where}: mnn's converter crashed on this model ({name}).")
    lines = [line for line in text.splitlines() if "rror" in line or "failed" in line.lower()]
    reason = re.sub(r"^\[[\d:]+\] :\d+: ", "", lines[0]) if lines else "no reason given"
    raise Unsupported(f"{where}: mnn's converter refused it: {as_sentence(reason.strip())}")
