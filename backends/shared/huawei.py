"""What a system tells of Huawei's driver and toolkit without their libraries."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Optional

_DRIVER_VERSION = Path("/usr/local/Ascend/driver/version.info")


def driver_trouble() -> str:
    """What the system lacks of an NPU and its driver, as a sentence; empty where nothing."""
    if not glob.glob("/dev/davinci[0-9]*"):
        return (
            "there is no /dev/davinci*: the NPU driver is not loaded, or this container was "
            "started without the device."
        )
    if shutil.which("npu-smi") is None:
        return "the driver's tool npu-smi is not on the PATH."
    return ""


def soc_of(text: str) -> str:
    """The first chip in the output of ``npu-smi info``, as `atc` names it; empty where none is.

    Its rows read ``| 0     910B4   | OK  | ...``: Huawei's guide for `atc` puts "Ascend" before it.
    """
    row = re.search(r"^\|\s*\d+\s+(?:Ascend)?(\d\w+)\s*\|\s*[A-Z]\w+\s*\|", text, re.MULTILINE)
    return f"Ascend{row[1]}" if row else ""


def driver_version() -> str:
    """As its version file says; empty where there is none."""
    try:
        found = re.search(r"^Version=(\S+)", _DRIVER_VERSION.read_text(), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def npu_smi() -> str:
    tool = shutil.which("npu-smi")
    if tool is None:
        return ""
    try:
        done = subprocess.run(
            [tool, "info"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def cann_version(near: Optional[Path] = None) -> str:
    """The toolkit's version, from the files that its installer leaves; empty where none is found.

    ``near`` is a file of the toolkit (its `atc`), whose parents are searched first.
    """
    homes = [os.environ.get(name) for name in ("ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH")]
    folders = [*(near.resolve().parents if near else ()), *(Path(h) for h in homes if h)]
    folders += [Path("/usr/local/Ascend/ascend-toolkit/latest"), Path("/usr/local/Ascend/cann")]
    patterns = (
        ("version.cfg", r"^toolkit_(?:running|installed)_version=\[(?:[^\]:]*:)?([^\]]+)\]"),
        ("*-linux/ascend_toolkit_install.info", r"^version=(\S+)"),
    )
    for folder in folders:
        for name, pattern in patterns:
            for file in sorted(glob.glob(str(folder / name))):
                found = re.search(pattern, Path(file).read_text(errors="replace"), re.MULTILINE)
                if found:
                    return found[1].replace("CANN-", "")
    return ""
