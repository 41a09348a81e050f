"""The native lane of ONNX Runtime times a session with the options that its label says."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.backends.onnxruntime import native
from bench.backends.onnxruntime.adapter import OnnxRuntime
from bench.backends.onnxruntime.native import NativeLoop
from bench.backends.onnxruntime.providers import PROVIDERS
from bench.backends.onnxruntime.recipe import SESSION_OPTIONS, Recipe
from bench.backends.shared.checks import ANY_NUMBER

from bench.backend import Device, ModelFile, Options
from bench.errors import BenchError, Unsupported
from bench.worker import messages as m
from bench.worker.work import Work

CPU = Device("cpu", "", "CPU")
DECLARED = {**SESSION_OPTIONS, **PROVIDERS["cpu"].options}
THREADS = 2


def choices() -> list[tuple[str, str]]:
    """Each value but the default of each option that the CPU knows."""
    return [
        (name, value)
        for name, values in DECLARED.items()
        for value in (["2"] if values is ANY_NUMBER else values[1:])
    ]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is called of the C API: its place, and numbers and texts that it is given."""
    found: list[tuple[Any, ...]] = []
    do = NativeLoop._do

    def noted(self: NativeLoop, place: int, *arguments: Any) -> None:
        plain = [one.value if isinstance(one, ctypes.c_int) else one for one in arguments]
        found.append((place, *(one for one in plain if isinstance(one, (int, bytes)))))
        do(self, place, *arguments)

    monkeypatch.setattr(NativeLoop, "_do", noted)
    return found


def bound(model: Path, extra: Mapping[str, str]) -> None:
    """A worker with the native lane in it, in as many streams as are asked for."""
    work = Work(OnnxRuntime())
    work.load(m.Load(ModelFile("m", onnx=model), CPU, Options(THREADS, extra=extra), ()))
    feeds = {"x": np.ones((1, 4), np.float32)}
    work.bind(m.Bind(feeds, "native", int(extra.get("streams", "1"))))
    work.close(m.Close())


@pytest.mark.parametrize(("name", "value"), choices())
def test_each_declared_option_is_applied_or_refused(
    doubling_model: Path, made: list[tuple[Any, ...]], name: str, value: str
) -> None:
    bound(doubling_model, {})
    default = [call for call in made if call[0] in SETTING]
    made.clear()
    if name == "streams":
        with pytest.raises(Unsupported, match="streams"):
            bound(doubling_model, {name: value})
        return
    bound(doubling_model, {name: value})
    assert [call for call in made if call[0] in SETTING] != default


#: Functions that set something of a session.
SETTING = {
    native._SET_EXECUTION_MODE,
    native._SET_OPTIMIZATION_LEVEL,
    native._SET_INTRA_OP_THREADS,
    native._SET_INTER_OP_THREADS,
    native._DISABLE_CPU_MEM_ARENA,
    native._ADD_SESSION_CONFIG_ENTRY,
}


@pytest.mark.parametrize(("name", "value"), [("arena", "1"), *choices()])
def test_the_session_is_made_like_that_of_the_prepared_lane(
    doubling_model: Path, made: list[tuple[Any, ...]], name: str, value: str
) -> None:
    if name == "streams":
        pytest.skip("no matter of the session")
    bound(doubling_model, {name: value})
    calls = {call[0]: call[1:] for call in made}
    entries = [call[1:] for call in made if call[0] == native._ADD_SESSION_CONFIG_ENTRY]
    theirs = options_of(doubling_model, {name: value})
    assert calls[native._SET_INTRA_OP_THREADS] == (theirs.intra_op_num_threads,)
    assert calls[native._SET_INTER_OP_THREADS] == (theirs.inter_op_num_threads,)
    assert calls[native._SET_EXECUTION_MODE] == (int(theirs.execution_mode),)
    level = calls[native._SET_OPTIMIZATION_LEVEL]
    assert level == (int(theirs.graph_optimization_level),)
    assert (native._DISABLE_CPU_MEM_ARENA in calls) == (not theirs.enable_cpu_mem_arena)
    assert len(entries) >= 3
    for key, text in entries:
        assert theirs.get_session_config_entry(key.decode()) == text.decode()


def options_of(model: Path, extra: Mapping[str, str]) -> Any:
    """What the prepared lane's session is made with."""
    import onnxruntime

    full = {key: values[0] if values else "" for key, values in DECLARED.items()} | dict(extra)
    provider = PROVIDERS["cpu"]
    return Recipe(onnxruntime, str(model), provider, 0, full, THREADS).session_options()


def test_the_place_of_the_execution_mode_in_the_table_is_right(
    doubling_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_SEQUENTIAL", 7)
    with pytest.raises(BenchError, match="execution_mode"):
        bound(doubling_model, {})


def test_a_parallel_session_runs_its_nodes_as_one(
    doubling_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the pool between nodes runs them, and not the thread that calls: ONNX Runtime's own
    profile of the native loop tells which did."""
    create, profile = NativeLoop._create_session, str(tmp_path / "profile").encode()

    def profiled(self: NativeLoop, model: str, settings: Any) -> Any:
        do = self._do

        def also(place: int, *arguments: Any) -> None:
            do(place, *arguments)
            if place == native._SET_OPTIMIZATION_LEVEL:
                do(ENABLE_PROFILING, arguments[0], profile)

        monkeypatch.setattr(self, "_do", also)
        return create(self, model, settings)

    monkeypatch.setattr(NativeLoop, "_create_session", profiled)
    on_the_caller = {}
    for mode in DECLARED["execution_mode"]:
        bound(doubling_model, {"execution_mode": mode})
        (file,) = tmp_path.glob("profile*.json")
        events = json.loads(file.read_text())
        nodes, calls = ({e["tid"] for e in events if of(e)} for of in (is_node, is_call))
        on_the_caller[mode] = nodes <= calls
        file.unlink()
    assert on_the_caller == {"sequential": True, "parallel": False}


def is_node(event: Mapping[str, Any]) -> bool:
    return event["cat"] == "Node"


def is_call(event: Mapping[str, Any]) -> bool:
    return event["name"] == "model_run"


ENABLE_PROFILING = 14  # of the same table
