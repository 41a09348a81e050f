"""What the system shows of accelerators, on made-up file systems."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.machine.accelerators import Accelerator, find_accelerators, kinds


def card(root: Path, address: str, vendor: str, device: str, group: str) -> None:
    folder = root / "sys/bus/pci/devices" / address
    folder.mkdir(parents=True)
    for name, value in (("vendor", vendor), ("device", device), ("class", group)):
        (folder / name).write_text(f"0x{value}\n")


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def no_tool(command: Sequence[str]) -> str:
    raise FileNotFoundError(command[0])


def found(root: Path, *targets: str, run: object = no_tool) -> list[Accelerator]:
    return find_accelerators(targets, root, run)  # type: ignore[arg-type]


def test_a_machine_without_accelerators_shows_none(tmp_path: Path) -> None:
    card(tmp_path, "0000:00:02.0", "1af4", "1041", "020000")  # a network card
    assert found(tmp_path) == []


def test_a_card_with_its_driver_is_in_use_where_a_target_answered(tmp_path: Path) -> None:
    card(tmp_path, "0000:17:00.0", "10de", "2330", "030200")
    card(tmp_path, "0000:17:00.1", "10de", "22ba", "040300")  # its sound device
    write(tmp_path, "dev/nvidia0")
    write(tmp_path, "sys/module/nvidia/version", "550.54.15\n")
    write(tmp_path, "usr/local/cuda/version.json", '{"cuda": {"version": "12.4.1"}}')
    (one,) = found(tmp_path, "onnxruntime:cpu", "onnxruntime:cuda:0", "torch:cuda:0")
    assert one.name == "NVIDIA GPU"
    assert one.pci == ("0000:17:00.0 10de:2330",)
    assert one.nodes == ("dev/nvidia0",)
    assert (one.driver, one.runtime) == ("550.54.15", "12.4.1")
    assert one.present == ("onnxruntime:cuda:0", "torch:cuda:0")


def test_a_card_without_a_driver_is_shown_with_what_to_install(tmp_path: Path) -> None:
    card(tmp_path, "0000:81:00.0", "19e5", "d802", "120000")
    (one,) = found(tmp_path, "onnxruntime:cpu")
    assert one.name == "Huawei Ascend NPU"
    assert one.driver is None
    assert one.present == ()
    assert "set_env.sh" in one.install


def test_in_a_container_that_hides_the_bus_a_device_file_is_enough(tmp_path: Path) -> None:
    write(tmp_path, "dev/davinci0")
    assert [one.name for one in found(tmp_path)] == ["Huawei Ascend NPU"]


def test_a_device_file_of_any_vendor_proves_no_vendor(tmp_path: Path) -> None:
    write(tmp_path, "dev/dri/renderD128")
    write(tmp_path, "dev/accel/accel0")
    assert found(tmp_path) == []


def test_a_soc_without_a_bus_shows_its_npu_by_its_device_file(tmp_path: Path) -> None:
    write(tmp_path, "dev/rknpu0")
    (one,) = found(tmp_path)
    assert one.name == "Rockchip NPU"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            subprocess.TimeoutExpired("npu-smi", 10),
            "did not answer within 10 s: its driver seems to hang",
        ),
        (subprocess.CalledProcessError(1, "npu-smi", "", "dcmi failed\nmore"), "dcmi failed"),
        (PermissionError(13, "Permission denied"), "can't be started: Permission denied"),
    ],
)
def test_a_tool_that_does_not_answer_is_told_and_ends_nothing(
    tmp_path: Path, error: Exception, words: str
) -> None:
    card(tmp_path, "0000:81:00.0", "19e5", "d802", "120000")

    def run(command: Sequence[str]) -> str:
        raise error

    (one,) = found(tmp_path, run=run)
    assert words in one.trouble


def test_the_tools_own_word_on_the_driver_wins(tmp_path: Path) -> None:
    write(tmp_path, "dev/davinci0")
    write(tmp_path, "usr/local/Ascend/driver/version.info", "Version=23.0.1\n")
    (one,) = found(tmp_path, run=lambda command: "npu-smi version: 24.1.0")
    assert one.driver == "24.1.0"


def test_every_entry_can_be_found_and_says_what_to_do(tmp_path: Path) -> None:
    for kind in kinds():
        assert kind.install.endswith(".")
        assert kind.nodes
        assert kind.pci is None or kind.pci.classes or kind.pci.devices
