"""The power of an NPU as `npu-smi` prints it, which a script of that name stands in for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.backends.shared import huawei

#: Two cards of two chips, as Huawei's reference of the command prints them.
MAPPING = """\
    NPU ID      Chip ID     Chip Logic ID     Chip Name
    4           0           0                 Ascend 910B4
    4           1           -                 Mcu
    5           0           1                 Ascend 910B4
"""
POWER = "        NPU Real-time Power(W)         : 93.4\n"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`npu-smi`, which notes what it was asked and prints what lies beside it."""
    (tmp_path / "mapping").write_text(MAPPING)
    (tmp_path / "power").write_text(POWER)
    script = tmp_path / "npu-smi"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f'case "$*" in "info -m") cat {tmp_path}/mapping ;;\n'
        f'"info -t power -i "*) cat {tmp_path}/power ;;\n*) exit 1 ;; esac\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
    huawei._place.cache_clear()
    yield tmp_path
    huawei._place.cache_clear()


def test_the_card_and_chip_of_a_device_are_looked_up_and_asked(tool: Path) -> None:
    assert huawei.energy(1) == {"scope": "npu", "meter": "npu-smi 5:0", "power_w": 93.4}
    huawei.energy(1)
    assert (tool / "asked").read_text().splitlines() == [
        "info -m",
        "info -t power -i 5 -c 0",
        "info -t power -i 5 -c 0",
    ]


@pytest.mark.parametrize(
    ("visible", "meters"),
    [
        (None, ["4:0", "5:0", None]),
        ("1", ["5:0", None]),
        ("0,1", ["4:0", "5:0", None]),
        ("0, 1", ["4:0", None]),
        ("0,8,1", ["4:0", None]),
        ("1,-1,0", ["5:0", None]),
        ("1,0", [None, None]),
        ("1,1", [None, None]),
        ("", [None, None]),
    ],
)
def test_visible_devices_are_numbered_anew_as_documented_and_else_unknown(
    tool: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, meters: list[str | None]
) -> None:
    if visible is not None:
        monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", visible)
    told = [huawei.energy(index).get("meter") for index in range(len(meters))]
    assert told == [each and f"npu-smi {each}" for each in meters]


@pytest.mark.parametrize("told", ["", "NPU Real-time Power(W) : NA\n"])
def test_an_npu_that_tells_no_power_says_what_was_asked(tool: Path, told: str) -> None:
    (tool / "power").write_text(told)
    why = "npu-smi info -t power -i 4 -c 0 prints no line 'NPU Real-time Power(W)'"
    assert huawei.energy(0) == {"missing": why}


def test_an_unknown_number_has_no_meter(tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "npu-smi info -m doesn't tell which card npu:7 is"
    assert huawei.energy(7) == {"missing": why}
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "1,0")
    huawei._place.cache_clear()
    why = "npu-smi info -m doesn't tell which card npu:0 is with ASCEND_RT_VISIBLE_DEVICES=1,0"
    assert huawei.energy(0) == {"missing": why}


def test_without_the_tool_that_is_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert huawei.energy(0) == {"missing": "the driver's tool npu-smi is not on the PATH"}
