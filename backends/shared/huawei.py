"""What a system tells of Huawei's driver and toolkit without their libraries."""

from __future__ import annotations

import functools
import glob
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Container, Optional

from bench.capabilities import EnergyReading
from bench.programs import ask

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


def npu_smi(*arguments: str) -> str:
    """What ``npu-smi info`` prints; empty where the tool is absent, fails or hangs."""
    tool = shutil.which("npu-smi")
    if tool is None:
        return ""
    try:
        return ask([tool, "info", *arguments], 30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def energy(index: int) -> EnergyReading:
    """The power of an NPU now, by ``npu-smi info -t power -i CARD -c CHIP`` (Huawei, "npu-smi
    command reference": "NPU Real-time Power(W)"); it has no counter of energy.

    Written after that reference and tried on a stand-in alone.
    """
    if shutil.which("npu-smi") is None:
        return {"missing": "the driver's tool npu-smi is not on the PATH"}
    place = _place(index)
    if place is None:
        visible = os.environ.get("ASCEND_RT_VISIBLE_DEVICES")
        shown = f" with ASCEND_RT_VISIBLE_DEVICES={visible}" if visible is not None else ""
        return {"missing": f"npu-smi info -m doesn't tell which card npu:{index} is{shown}"}
    card, chip = place
    told = npu_smi("-t", "power", "-i", card, "-c", chip)
    watts = re.search(r"^\s*NPU Real-time Power\(W\)\s*:\s*(\d+(?:\.\d+)?)\s*$", told, re.MULTILINE)
    if watts is None:
        asked = f"npu-smi info -t power -i {card} -c {chip}"
        return {"missing": f"{asked} prints no line 'NPU Real-time Power(W)'"}
    return {"scope": "npu", "meter": f"npu-smi {card}:{chip}", "power_w": float(watts[1])}


@functools.lru_cache(maxsize=None)
def _place(index: int) -> Optional[tuple[str, str]]:
    """Card and chip of the NPU that runtimes call ``npu:index``, from ``npu-smi info -m``, whose
    rows are NPU ID, Chip ID, Chip Logic ID and a name; None where that isn't told."""
    rows = re.findall(r"^\s*(\d+)\s+(\d+)\s+(\d+)\s+\S", npu_smi("-m"), re.MULTILINE)
    places = {int(number): (card, chip) for card, chip, number in rows}
    visible = os.environ.get("ASCEND_RT_VISIBLE_DEVICES")
    if visible is None:
        return places.get(index)
    shown = _shown(visible, places)
    return places[shown[index]] if index < len(shown) else None


def _shown(visible: str, logic_ids: Container[int]) -> list[int]:
    """The NPUs that ASCEND_RT_VISIBLE_DEVICES shows, in the order of their new numbers (CANN
    "Environment Variables": logical IDs in ascending order; the list ends at what is none, as at
    one behind a space). Empty where the order is another, which newer versions don't support: which
    NPU a number means isn't documented then."""
    found: list[int] = []
    for text in visible.split(","):
        if not re.fullmatch("[0-9]+", text) or int(text) not in logic_ids:
            break
        found.append(int(text))
    return found if found == sorted(set(found)) else []


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
