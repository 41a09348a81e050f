"""What the Ascend adapter compiles, computes and says; all on the stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.backends.ascend.acl import Acl, brief
from bench.backends.ascend.adapter import Ascend
from bench.backends.ascend.atc import Job, compile_om, explain, read_gears
from bench.backends.ascend.device import PROCESS
from bench.backends.shared import huawei
from bench.backends.shared.huawei import cann_version, soc_of

from bench.backend import Device, Options
from bench.contract.models import Example, write_conv, write_many, write_unknown_op
from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported

from .scenario import X, write_nonzero


@pytest.fixture
def conv(tmp_path: Path) -> Example:
    return write_conv(tmp_path)


@pytest.fixture
def device(acl: Any) -> Device:
    return Ascend().devices()[0]


def compile_conv(conv: Example, device: Device, **extra: str) -> Any:
    return Ascend().compile(conv.file, device, Options(shapes=conv.shapes(3), extra=extra))


def test_a_device_is_described_as_the_runtime_names_it(acl: Any) -> None:
    (device,) = Ascend().devices()
    assert (device.id, device.vendor, device.name) == ("npu:0", "Huawei", "StandIn910B4")
    assert device.memory_bytes == 2**30


def test_several_devices_are_numbered_and_one_that_does_not_answer_is_left_out(acl: Any) -> None:
    acl.machine.devices = 3
    acl.machine.fail("rt.create_context", 2, 507033)
    backend = Ascend()
    assert [device.id for device in backend.devices()] == ["npu:0", "npu:2"]
    (absent,) = backend.absent_devices().items()
    assert absent[0] == "npu:1"
    assert str(absent[1]).startswith("ascend:npu:1 is not available: ")


def test_a_device_that_cannot_be_opened_is_unavailable_with_a_remedy(acl: Any) -> None:
    acl.machine.fail("rt.create_context", 1, 507033, "EL9999: open device 0 failed")
    with pytest.raises(Unavailable) as caught:
        Ascend().devices()
    assert "507033 (the device can't be opened)" in str(caught.value)
    assert "open device 0 failed" in str(caught.value)
    assert "npu-smi info" in str(caught.value)


def test_a_machine_without_a_device_is_told(acl: Any) -> None:
    acl.machine.devices = 0
    with pytest.raises(Unavailable, match="finds no device") as caught:
        Ascend().devices()
    assert "/dev/davinci" in str(caught.value)


def test_a_device_that_changes_bytes_is_not_listed(
    acl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acl.util, "ptr_to_bytes", lambda _, size: bytes(size))
    with pytest.raises(Unavailable, match="came back changed"):
        Ascend().devices()


def test_init_that_fails_is_unavailable(acl: Any) -> None:
    acl.machine.fail("init", 1, 507899, "EL9999: drv init failed")
    with pytest.raises(Unavailable, match="drv init failed"):
        Ascend().devices()


def test_who_did_not_initialise_does_not_finalise(
    acl: Any, monkeypatch: pytest.MonkeyPatch, conv: Example
) -> None:
    monkeypatch.setenv("ACL_STAND_IN_OWNED", "1")
    machine = acl.reset()
    session = compile_conv(conv, Ascend().devices()[0])
    session.run(conv.feeds(3, 0))
    session.close()
    PROCESS.end()
    assert machine.calls["finalize"] == 0


def test_it_finalises_what_it_initialised_once_and_not_while_a_session_lives(
    acl: Any, conv: Example, device: Device
) -> None:
    session = compile_conv(conv, device)
    PROCESS.end()
    assert acl.machine.calls["finalize"] == 0
    session.close()


def test_gears_take_several_batch_sizes_and_refuse_others(
    acl: Any, conv: Example, device: Device
) -> None:
    session = compile_conv(conv, device, gears="1,3,8")
    assert session.inputs[0].shape == (-1, 3, 16, 16)
    assert session.outputs[0].shape == (-1, 10)
    first = session.bind(conv.feeds(8, 0))
    for batch in (1, 3, 8, 1):
        feeds = conv.feeds(batch, batch)
        np.testing.assert_allclose(session.run(feeds)[0], conv.right(feeds)[0], atol=1e-4)
    first()  # the batch that was set last must not be what an earlier binding runs with
    np.testing.assert_allclose(session.fetch()[0], conv.right(conv.feeds(8, 0))[0], atol=1e-4)
    with pytest.raises(SpecError, match=r"'x' has a batch of 2.*1, 3, 8"):
        session.run(conv.feeds(2, 0))
    session.close()


def test_gears_need_two_sizes_shapes_and_the_batch_among_them(
    acl: Any, conv: Example, device: Device
) -> None:
    for text in ("4", "4,4", "a,b", "0,1", "1,,2"):
        with pytest.raises(SpecError, match="two or more"):
            read_gears("ascend:npu:0", text)
    with pytest.raises(SpecError, match="batch of 3 is not in"):
        compile_conv(conv, device, gears="1,2")
    with pytest.raises(SpecError, match="shapes"):
        Ascend().compile(conv.file, device, Options(extra={"gears": "1,2"}))


def test_an_output_whose_size_the_data_decides_is_read_each_time(
    acl: Any, tmp_path: Path, device: Device
) -> None:
    session = Ascend().compile(write_nonzero(tmp_path), device, Options())
    assert session.outputs[0].shape == (2, -1)
    for x in (X, np.zeros_like(X), np.ones_like(X)):
        (found,) = session.run({"x": x})
        np.testing.assert_array_equal(found, np.array(np.nonzero(x)))
    session.close()


@pytest.mark.parametrize(
    ("variant", "asked", "told"),
    [
        ("fp32", "origin", "fp32"),
        ("fp16", "origin", "fp16"),
        ("fp32", "fp16", "fp16"),
        ("fp32", "mixed_float16", "fp16+fp32"),
    ],
)
def test_the_placement_states_the_precision_that_was_compiled(
    acl: Any, conv: Example, device: Device, variant: str, asked: str, told: str
) -> None:
    from dataclasses import replace

    file = replace(conv.file, variant=variant)
    options = Options(shapes=conv.shapes(3), extra={"precision": asked})
    session = Ascend().compile(file, device, options)
    assert session.placement().precision == told
    session.close()


def test_atc_keeps_float32_unless_asked(acl: Any, conv: Example, device: Device) -> None:
    feeds = conv.feeds(3, 0)
    errors = []
    for precision in ("origin", "fp16"):
        session = compile_conv(conv, device, precision=precision)
        errors.append(float(np.abs(session.run(feeds)[0] - conv.right(feeds)[0]).max()))
        session.close()
    assert errors[0] < 1e-5 < errors[1]


def test_copies_are_timed_apart(acl: Any, conv: Example, device: Device) -> None:
    session = compile_conv(conv, device)
    times = session.copy_times(conv.feeds(3, 0), 4)
    assert {name: len(values) for name, values in times.items()} == {
        "h2d_ns": 4,
        "compute_ns": 4,
        "d2h_ns": 4,
    }
    assert all(value >= 0 for values in times.values() for value in values)
    session.close()


def test_memory_that_runs_out_is_typed_and_leaves_the_session_usable(
    acl: Any, conv: Example, device: Device
) -> None:
    session = compile_conv(conv, device)
    acl.machine.fail("rt.malloc", 1, 207001)
    with pytest.raises(OutOfMemory, match="smaller batch"):
        session.bind(conv.feeds(3, 0))
    assert session.run(conv.feeds(3, 0))
    session.close()


def test_a_model_larger_than_the_device_is_out_of_memory(
    acl: Any, conv: Example, device: Device
) -> None:
    acl.machine.capacity = 100
    with pytest.raises(OutOfMemory):
        compile_conv(conv, device)


def test_a_model_for_another_chip_is_refused_with_the_chip_to_name(
    acl: Any, conv: Example, device: Device
) -> None:
    with pytest.raises(SpecError) as caught:
        compile_conv(conv, device, soc="StandIn310P3")
    assert "compiled for StandIn310P3, but the device is a StandIn910B4" in str(caught.value)
    assert "?soc=StandIn910B4" in str(caught.value)


def test_a_call_in_a_thread_without_a_context_is_a_typed_error(
    acl: Any, conv: Example, device: Device
) -> None:
    session = compile_conv(conv, device)
    call = session.bind(conv.feeds(3, 0))
    errors: list[BaseException] = []

    def other() -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)
        session.run(conv.feeds(3, 0))  # sets the context itself

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert isinstance(errors[0], BenchError)
    assert "107002 (no context in this thread)" in str(errors[0])
    session.close()


def test_an_error_while_it_runs_is_typed(acl: Any, conv: Example, device: Device) -> None:
    session = compile_conv(conv, device)
    call = session.bind(conv.feeds(3, 0))
    acl.machine.fail("rt.synchronize_stream", 1, 507011, "EZ9999: aicore exception")
    with pytest.raises(BenchError, match=r"507011 \(the model failed while it ran\): EZ9999"):
        call()
    session.close()


def test_a_compiled_model_is_kept_and_made_anew_when_what_decides_it_changes(
    acl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = write_conv(tmp_path)
    count = tmp_path / "count"
    monkeypatch.setenv("ATC_STAND_IN_COUNT", str(count))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    job = {"model": conv.file.onnx, "where": "conv", "soc": "StandIn910B4"}
    first = compile_om(Job(**job, shapes=conv.shapes(3)))
    assert compile_om(Job(**job, shapes=conv.shapes(3))) == first
    others = [
        compile_om(Job(**job, shapes=conv.shapes(4))),
        compile_om(Job(**job, shapes=conv.shapes(3), precision="fp16")),
        compile_om(Job(**{**job, "soc": "StandIn310P3"}, shapes=conv.shapes(3))),
    ]
    assert len({first, *others}) == 4
    assert len(count.read_text().splitlines()) == 4
    assert [file.suffix for file in first.parent.iterdir()] == [".om"] * 4


def test_a_file_name_with_system_and_architecture_is_found(
    acl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = write_many(tmp_path)
    monkeypatch.setenv("ATC_STAND_IN_HOST_CODE", "1")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    job = Job(many.file.onnx, "many", "StandIn910B4", shapes=many.shapes(2))
    assert compile_om(job).read_bytes().startswith(b"STAND-IN")


def test_the_command_line_of_atc(tmp_path: Path) -> None:
    shapes = {"a": (4, 3), "table": (7, 2)}
    assert Job(tmp_path / "m.onnx", "m", "Ascend910B4", "origin", shapes, (1, 4)).options() == [
        "--framework=5",
        "--soc_version=Ascend910B4",
        "--precision_mode_v2=origin",
        "--log=error",
        "--input_shape=a:-1,3;table:7,2",
        "--dynamic_batch_size=1,4",
    ]


def test_an_operator_without_a_parser_is_named(acl: Any, tmp_path: Path, device: Device) -> None:
    with pytest.raises(Unsupported, match="does not know the operator Frobnicate: E19010"):
        Ascend().compile(write_unknown_op(tmp_path), device, Options())


#: As printed by atc for users (ModelZoo-PyTorch issue 6; the second after hicann/ge's words).
NO_PARSER = """ATC start working now, please wait for a moment...
ATC run failed, Please check the detail log, Try 'atc --help' for more information
E19010: No parser is registered for Op [/a/FindMax, optype [ai.onnx::11::FindMax]].
        Solution: Check the version of the installation package and reinstall the package.
        TraceBack (most recent call last):
        No parser is registered for Op [/a/TomeMerged, optype [ai.onnx::11::TomeMerged]].
"""
NO_KERNEL = """ATC run failed, Please check the detail log
EZ3002: [PID: 9] 2026-11-24-10:00:00.000.001 No supported Ops kernel and engine are found for [e],
 optype [Erf].
        Solution: See the operator specifications.
"""


def test_what_atc_prints_becomes_a_typed_error(tmp_path: Path) -> None:
    job = Job(tmp_path / "m.onnx", "m on ascend:npu:0", "Ascend310P3")
    parser = explain(job, 1, NO_PARSER)
    assert isinstance(parser, Unsupported)
    assert "the operator FindMax, TomeMerged" in str(parser)
    kernel = explain(job, 1, NO_KERNEL)
    assert isinstance(kernel, Unsupported)
    assert "Ascend310P3 has no kernel for the operator Erf" in str(kernel)
    assert isinstance(explain(job, -9, ""), OutOfMemory)
    other = explain(job, 1, "E10016: Opname [y] is not found.\n  TraceBack (most recent call last)")
    assert isinstance(other, SpecError)
    assert "Opname [y] is not found" in str(other)
    for error in (parser, kernel, other):
        assert "\n" not in str(error)
        assert "Solution" not in str(error)


def test_without_atc_the_remedy_is_the_set_up_script(
    acl: Any, conv: Example, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match=r"atc.*not on the PATH.*set_env\.sh"):
        compile_conv(conv, device)


def test_an_atc_that_cannot_be_started_is_told_as_that(
    acl: Any, conv: Example, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not as a cache that can't be written."""
    atc = tmp_path / "atc"
    atc.write_bytes(b"\0")
    atc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match=r"atc can't be started: Exec format error"):
        compile_conv(conv, device)


def test_a_cache_that_cannot_be_written_is_told(
    acl: Any, conv: Example, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(SpecError, match="BENCH_CACHE"):
        compile_conv(conv, device)


def probe(tmp_path: Path, name: str, text: str) -> str:
    """What a fresh interpreter says of a module acl that holds ``text``."""
    (tmp_path / f"{name}.py").write_text(text)
    program = (
        "from bench.backends.ascend.adapter import Ascend\n"
        "from bench.errors import Unavailable\n"
        "try: Ascend().devices()\n"
        "except Unavailable as error: print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_without_pyacl_it_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    said = probe(tmp_path, "unrelated", "")
    assert "No module named 'acl'" in said
    assert "set_env.sh" in said
    assert "/dev/davinci" in said


def test_a_missing_library_is_named_with_the_package_that_has_it(tmp_path: Path) -> None:
    words = "raise ImportError('{}: cannot open shared object file: No such file or directory')"
    said = probe(tmp_path, "acl", words.format("libascendcl.so"))
    assert "libascendcl.so" in said
    assert "comes with CANN" in said
    said = probe(tmp_path, "acl", words.format("libascend_hal.so"))
    assert "libascend_hal.so" in said
    assert "comes with the NPU driver" in said


def test_another_package_of_that_name_is_not_taken_for_pyacl(tmp_path: Path) -> None:
    assert "not Huawei's pyACL" in probe(tmp_path, "acl", "class ACL: pass")


def test_an_old_pyacl_that_lacks_a_call_is_told() -> None:
    from types import SimpleNamespace

    acl = Acl(SimpleNamespace(rt=SimpleNamespace()))  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"no acl\.rt\.malloc"):
        acl.get("rt.malloc", 1, 0)


def test_the_chip_is_read_from_npu_smi() -> None:
    text = """
| npu-smi 23.0.rc2                 Version: 23.0.rc2                                             |
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 93.7        36                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3161 / 65536         |
"""
    assert soc_of(text) == "Ascend910B3"
    assert soc_of("npu-smi: command failed") == ""


def test_the_toolkit_version_is_read_from_either_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(tmp_path))
    monkeypatch.delenv("ASCEND_HOME_PATH", raising=False)
    folder = tmp_path / "x86_64-linux"
    folder.mkdir()
    (folder / "ascend_toolkit_install.info").write_text("package_name=toolkit\nversion=8.0.RC3\n")
    assert cann_version() == "8.0.RC3"
    config = "runtime_running_version=[7.7:1]\ntoolkit_running_version=[7.7.T20.0.B210:8.1.RC1]\n"
    (tmp_path / "version.cfg").write_text(config)
    assert cann_version() == "8.1.RC1"


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (207001, OutOfMemory, "smaller batch"),
        (107001, Unavailable, "npu-smi info"),
        (207004, Unavailable, "/dev/davinci"),
        (207006, Unavailable, "HwHiAiUser"),
        (507033, Unavailable, "driver and firmware"),
        (107003, BenchError, "the stream belongs to another context"),
        (507014, BenchError, "an AI Core timed out"),
        (507999, BenchError, "internal error"),
        (599, BenchError, "unknown"),
    ],
)
def test_a_code_becomes_a_typed_error_with_its_meaning_and_a_remedy(
    acl: Any, code: int, kind: type[BenchError], words: str
) -> None:
    error = Acl(acl, "m on ascend:npu:0").error("rt.malloc", code)
    assert type(error) is kind
    assert str(error).startswith(f"m on ascend:npu:0: acl.rt.malloc failed with {code} (")
    assert words in str(error)


def test_a_message_is_cut_to_what_happened() -> None:
    text = (
        "EE1001: [PID: 12] 2026-01-01-00:00:00.000.000 The argument is invalid.Reason: x is NULL\n"
        "        Solution: 1.Check\n        TraceBack (most recent call last):\n        rtX failed"
    )
    assert brief(text) == "EE1001: The argument is invalid.Reason: x is NULL"
    assert len(brief("a" * 1000)) == 300


def test_the_driver_version_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "version.info"
    file.write_text("Version=24.1.rc2\nascendhal_version=7.35.23\n")
    monkeypatch.setattr(huawei, "_DRIVER_VERSION", file)
    assert huawei.driver_version() == "24.1.rc2"
