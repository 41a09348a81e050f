"""What the contract suite doesn't ask of MNN: its converter's failures, its memory, its types."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench.backends.mnn.adapter import Mnn
from bench.backends.mnn.convert import convert
from bench.backends.shared.host import cpu_device
from onnx import TensorProto, helper
from small_models import write

from bench.backend import ModelFile, Options
from bench.errors import SpecError, Unsupported

pytest.importorskip("MNN", reason="not installed: pip install 'infer-bench[mnn]'")


def compiled(model: ModelFile, **shapes: tuple[int, ...]) -> Any:
    return Mnn().compile(model, cpu_device(), Options(shapes=shapes))


def test_each_call_computes_the_same_although_mnn_reuses_the_inputs_memory(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["ab"]),
        helper.make_node("Add", ["ab", "a"], ["y"]),
    ]
    model = write(tmp_path / "m.onnx", nodes, {"a": [3, 4], "b": [3, 4]}, {"y": [3, 4]})
    session = compiled(model)
    a, b = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    call = session.bind({"a": a, "b": b})
    for _ in range(3):
        call()
        np.testing.assert_allclose(session.fetch()[0], a * b + a, rtol=1e-5)
    assert sum(session.placement().nodes.values()) > 0
    np.testing.assert_allclose(session.fetch()[0], a * b + a, rtol=1e-5)


def test_a_number_beyond_32_bits_is_refused(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)],
        "g",
        [value("x", TensorProto.INT64, [3])],
        [value("y", TensorProto.FLOAT, [3])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "cast.onnx")
    session = compiled(ModelFile("cast", tmp_path / "cast.onnx"))
    np.testing.assert_array_equal(session.run({"x": np.array([1, -2, 3])})[0], [1, -2, 3])
    with pytest.raises(SpecError, match=r"'x'.*32 bits"):
        session.run({"x": np.array([1, 2**40, 3])})


def test_a_dimension_without_a_size_is_refused(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["a", "a"], ["y"])
    model = write(tmp_path / "add.onnx", [add], {"a": ["n", 4]}, {"y": ["n", 4]})
    with pytest.raises(SpecError, match=r"'a'.*--shape"):
        compiled(model)


def test_a_converter_that_crashes_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    add = helper.make_node("Add", ["a", "a"], ["y"])
    model = write(tmp_path / "add.onnx", [add], {"a": [2, 4]}, {"y": [2, 4]})
    with pytest.raises(Unsupported, match=r"mnn:cpu: mnn's converter crashed .*SIGSEGV"):
        compiled(model)


def test_converting_installs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``MNN.tools`` runs ``pip install`` when it is imported, for the vendor's telemetry."""
    called = tmp_path / "pip-was-called"
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f"#!/bin/sh\ntouch '{called}'\n")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(pip.parent), prepend=os.pathsep)
    add = helper.make_node("Add", ["a", "a"], ["y"])
    compiled(write(tmp_path / "add.onnx", [add], {"a": [2, 4]}, {"y": [2, 4]}))
    assert not called.exists()


def test_the_converter_leaves_nothing_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which it writes files of its own to, and may be anything, read-only too."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "_tools.py").write_text(
        "import pathlib, shutil\n"
        "def mnnconvert(words):\n"
        "    pathlib.Path('.__convert_external_data.bin').touch()\n"
        "    named = dict(zip(words[1::2], words[2::2]))\n"
        "    shutil.copyfile(named['--modelFile'], named['--MNNModel'])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tools))
    users, scratch = tmp_path / "users", tmp_path / "scratch"
    for folder in (users, scratch):
        folder.mkdir()
    (users / "m.onnx").write_bytes(b"a model")
    monkeypatch.chdir(users)
    convert(Path("m.onnx"), scratch / "m.mnn", "m on mnn:cpu")
    assert (scratch / "m.mnn").read_bytes() == b"a model"
    assert [path.name for path in users.iterdir()] == ["m.onnx"]
