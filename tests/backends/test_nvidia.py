"""What is read of an NVIDIA GPU, against a stand-in for NVML."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bench.backends.onnxruntime.adapter import OnnxRuntime
from bench.backends.shared import nvidia
from bench.backends.shared.occupants import EVERY_S, Occupants
from bench.backends.torch.eager import TorchEager

from bench.backend import Device
from bench.capabilities import ReportsDeviceMemory

sys.path.insert(0, str(Path(__file__).parent))

from standin_nvml import GPU_IS_LOST, NO_PERMISSION, TOTAL_BYTES, Gpu, Nvml, NVMLError

Install = Callable[[Nvml], Nvml]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a stand-in where `pynvml` would be, in a process that has asked nothing yet."""
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def forget() -> None:
        nvidia._open.cache_clear()
        nvidia._handle.cache_clear()
        nvidia._uuid.cache_clear()
        nvidia._occupants.cache_clear()
        nvidia._default_clock.cache_clear()

    def put(made: Nvml) -> Nvml:
        monkeypatch.setitem(sys.modules, "pynvml", made)
        return made

    forget()
    yield put
    forget()


def test_a_gpu_tells_in_our_units(install: Install) -> None:
    nvml = install(Nvml(Gpu()))
    expected = {
        "power_w": 312.5,
        "clock_hz": 1.98e9,
        "default_clock_hz": 1.965e9,
        "throttled": [],
        "memory_bytes": 3 * 2**30,  # of this process, not of the other
        "memory_clock_hz": 3.201e9,
        "temperature_c": 41.0,
    }
    assert nvidia.telemetry(0) == expected
    assert nvidia.telemetry(0) == expected
    assert nvml.inits == 1


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x01, []),  # idle
        (0x02 | 0x04, []),  # clocks that were set; the power cap
        (0x08, ["hardware slowdown"]),
        (0x20, ["thermal slowdown by software"]),
        (0x08 | 0x40, ["thermal slowdown by hardware"]),
        (0x08 | 0x80 | 0x20, ["thermal slowdown by software", "power brake"]),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_reasons_for_a_low_clock_are_told_in_words(
    install: Install, bits: int, reasons: list[str], old: bool
) -> None:
    install(Nvml(Gpu(reasons=bits), old=old))
    assert nvidia.telemetry(0)["throttled"] == reasons


def test_what_a_gpu_does_not_support_is_left_out(install: Install) -> None:
    gpu = Gpu(
        milliwatts=None,
        reasons=None,
        default_mhz=None,
        memory_mhz=None,
        celsius=None,
        processes={1: None},
    )
    install(Nvml(gpu))
    assert nvidia.telemetry(0) == {"clock_hz": 1.98e9, "default_clock_hz": 1.98e9}


def test_without_a_driver_nothing_is_read_and_the_log_says_so_once(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install(Nvml(driver=False))
    assert nvidia.telemetry(0) == nvidia.telemetry(0) == {}
    unread = "the GPU's power, clocks and memory aren't read"
    assert capfd.readouterr().err == f"{unread}: NVML: Driver Not Loaded.\n"
    assert nvidia.energy(0) == {"missing": "NVML: Driver Not Loaded"}


def test_without_the_package_the_log_says_how_to_get_it(
    install: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvidia.telemetry(0) == {}
    assert "pip install 'infer-bench[cuda]'" in capfd.readouterr().err
    assert nvidia.energy(0)["missing"].endswith("install it: pip install 'infer-bench[cuda]'")


TWO = (
    Gpu("GPU-aaaa-1", milliwatts=100_000, bus=0x06),
    Gpu("GPU-bbbb-2", milliwatts=200_000, bus=0xC6),
)


@pytest.mark.parametrize(
    ("visible", "index", "power_w"),
    [
        (None, 1, 200.0),
        ("1", 0, 200.0),
        ("1,0", 1, 100.0),
        ("GPU-bbbb", 0, 200.0),
        ("GPU-bbbb-2,GPU-aaaa-1", 1, 100.0),
        ("1,-1", 0, 200.0),
    ],
)
@pytest.mark.parametrize("gpus", [TWO, TWO[::-1]])
def test_the_gpu_is_the_one_that_cuda_calls_by_that_number(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    index: int,
    power_w: float,
    gpus: tuple[Gpu, ...],
) -> None:
    """Whatever NVML lists first."""
    install(Nvml(*gpus))
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia.telemetry(index)["power_w"] == power_w


@pytest.mark.parametrize("visible", ["", "-1", "0", "0,7", "GPU-cccc", "MIG-aaaa", "GPU-", "7,7"])
def test_a_gpu_that_cannot_be_told_apart_is_not_read(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    install(Nvml(*TWO))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia.telemetry(1 if visible in ("0", "0,7", "7,7") else 0) == {}
    assert "aren't read: cuda:" in capfd.readouterr().err


def test_in_another_order_numbers_are_not_trusted(
    install: Install, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    install(Nvml(*TWO))
    assert nvidia.telemetry(0) == {}
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in capfd.readouterr().err
    nvidia._open.cache_clear()
    install(Nvml(Gpu()))
    assert nvidia.telemetry(0)["power_w"] == 312.5  # one GPU is unmistakable


def test_where_a_gpu_is_divided_no_number_is_trusted(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install(Nvml(TWO[0], replace(TWO[1], mig=True)))
    assert nvidia.telemetry(0) == {}
    part = "it is a part of a GPU (MIG), which the driver doesn't list"
    assert nvidia.energy(1) == {"missing": f"cuda:1: {part}"}
    assert "it is a part of a GPU (MIG)" in capfd.readouterr().err


def test_gpus_that_may_not_be_touched_are_not_counted(install: Install) -> None:
    """As in a job of a cluster, which is given some of the machine's."""
    install(Nvml(replace(TWO[0], refuses=NO_PERMISSION), TWO[1]))
    assert nvidia.telemetry(0)["power_w"] == 200.0


def test_beside_one_that_is_lost_no_number_is_trusted(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install(Nvml(replace(TWO[0], refuses=GPU_IS_LOST), TWO[1]))
    assert nvidia.telemetry(0) == {}
    assert "cuda:0: GPU is lost." in capfd.readouterr().err


@pytest.mark.parametrize("backend", [TorchEager, OnnxRuntime])
def test_backends_number_gpus_as_the_driver_does_and_ask_no_cpu(backend: type) -> None:
    made = backend()
    assert made.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert made.telemetry(Device("cpu", "", "")) == {}


@pytest.mark.parametrize("device_id", ["cuda:0", "tensorrt:0"])
def test_onnx_runtime_asks_the_gpu_that_it_computes_on(install: Install, device_id: str) -> None:
    install(Nvml(Gpu()))
    assert OnnxRuntime().telemetry(Device(device_id, "", ""))["power_w"] == 312.5


def test_an_environment_for_nvidias_build_has_what_reads_the_gpu() -> None:
    (packages,) = OnnxRuntime.requirements["onnxruntime-gpu"]
    assert "nvidia-ml-py" in packages


@pytest.mark.parametrize("mig", [False, None])
def test_the_memory_of_a_gpu_is_told_whoever_uses_it(install: Install, mig: bool | None) -> None:
    install(Nvml(Gpu(free_bytes=100 * 2**30, mig=mig)))
    told = (100 * 2**30, TOTAL_BYTES)
    assert nvidia.memory(0) == told
    backend = OnnxRuntime()
    assert isinstance(backend, ReportsDeviceMemory)
    assert backend.device_memory(Device("cuda:0", "", "")) == told
    assert backend.device_memory(Device("tensorrt:0", "", "")) == told
    assert backend.device_memory(Device("cpu", "", "")) is None
    assert backend.device_memory(Device("cann:0", "", "")) is None


@pytest.mark.parametrize(
    "nvml", [Nvml(driver=False), Nvml(Gpu(free_bytes=None)), Nvml(Gpu(mig=True)), Nvml()]
)
def test_memory_that_is_not_told_is_none(install: Install, nvml: Nvml) -> None:
    """Of a GPU in parts NVML tells the whole, of which CUDA has one part."""
    install(nvml)
    assert nvidia.memory(0) is None


def test_the_meter_of_a_board_tells_joules_and_watts_and_which_gpu_it_is(install: Install) -> None:
    install(Nvml(*TWO))
    found = nvidia.energy(1)
    processes = {"present": [os.getpid(), 1], "computing": []}
    expected = {"scope": "gpu-board", "meter": "GPU-bbbb-2", "energy_j": 13189.151}
    assert found == expected | {"power_w": 200.0} | processes
    found = nvidia.energy(1)
    assert found == expected | {"power_w": 200.0}, "not asked for so soon again"
    assert OnnxRuntime().energy(Device("cuda:1", "NVIDIA", "x", "d")) == found
    assert TorchEager().energy(Device("cuda:1", "NVIDIA", "x", "d")) == found
    assert OnnxRuntime().energy(Device("cpu", "x", "x", "d")) == {}


def test_a_gpu_without_a_counter_of_energy_tells_its_power(install: Install) -> None:
    install(Nvml(Gpu(millijoules=None, processes=None)))
    assert nvidia.energy(0) == {
        "scope": "gpu-board",
        "meter": "GPU-8f5c7b1e-0000",
        "power_w": 312.5,
    }


def test_a_gpu_that_tells_neither_has_no_meter(install: Install) -> None:
    install(Nvml(Gpu(millijoules=None, milliwatts=None)))
    assert nvidia.energy(0) == {}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def nvml() -> Nvml:
    made = Nvml(Gpu(processes={7: 1, 8: 1}))
    made.nvmlInit()
    return made


def asked(nvml: Nvml) -> Callable[..., object]:
    def ask(function: str, *arguments: object) -> object:
        try:
            return getattr(nvml, function)(*arguments)
        except NVMLError:
            return None

    return ask


def test_processes_that_computed_since_they_were_asked_for_last_are_told(nvml: Nvml) -> None:
    clock, gpu = Clock(), nvml.gpus[0]
    occupants = Occupants(asked(nvml), clock)
    gpu.utilization = [nvml.used(7, 1000, 50)]
    first = occupants.told(gpu)
    assert first == {"present": [7, 8], "computing": []}, "that was before anybody asked"
    clock.now_s += EVERY_S
    assert occupants.told(gpu) == first, "the same sample is nothing new"
    gpu.utilization += [nvml.used(7, 2000, 9), nvml.used(8, 2000, 0), nvml.used(9, 2000, 4 * 10**9)]
    assert occupants.told(gpu) == {}, "it was asked a moment ago"
    clock.now_s += EVERY_S
    assert occupants.told(gpu) == {"present": [7, 8], "computing": [7]}
    clock.now_s += EVERY_S
    assert occupants.told(gpu)["computing"] == []


def test_a_gpu_that_tells_of_no_processes_tells_nothing(nvml: Nvml) -> None:
    nvml.gpus[0].processes = None
    assert Occupants(asked(nvml), Clock()).told(nvml.gpus[0]) == {}
