"""What holds in a process that has the stand-in; `test_torch_npu.py` starts it.

In a process of its own, since torch can't forget a device type.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch_npu
from bench.backends.torch.compiled import CompiledSession, Compiler
from bench.backends.torch.graph import GraphSession
from bench.backends.torch.module import load_module
from bench.backends.torch.npu import TorchNpu

from bench.backend import Device, ModelFile, Options, TorchSource
from bench.contract.subject import Subject
from bench.contract.suite import CHECKS
from bench.errors import BenchError, OutOfMemory, SpecError, Unavailable, Unsupported

STATE = torch_npu.STATE


class Graphs(TorchNpu):
    """The adapter's sessions as ``torch:cuda:N?cuda_graph=1`` makes them."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        super().compile(model, device, options).close()  # its refusals
        module = load_module(torch, model, self.name, torch.device(device.id), options.threads)
        where = f"{model.name} on torch:{device.id}"
        return GraphSession(torch, module, torch.device(device.id), where)


class GraphMode(TorchNpu):
    """The adapter with ``mode=graph``."""

    def compile(self, model: ModelFile, device: Device, options: Options) -> Any:
        extra = {"mode": "graph", **options.extra}
        return super().compile(model, device, dataclasses.replace(options, extra=extra))


@pytest.fixture(autouse=True)
def gradients_of_torch_left_as_found() -> None:
    """Not here: the session of a `Subject` stays open from its first test to its last."""


KINDS = {"eager": TorchNpu, "graph-mode": GraphMode, "cuda-graph": Graphs}


@pytest.fixture(scope="module", params=KINDS)
def subject(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    backend = KINDS[request.param]()
    made = Subject(backend, backend.devices()[1], tmp_path_factory.mktemp("models"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def eager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    backend = TorchNpu()
    made = Subject(backend, backend.devices()[0], tmp_path_factory.mktemp("models"))
    yield made
    made.close()


@pytest.mark.parametrize("check", CHECKS)
def test_each_kind_of_session_keeps_the_contract(subject: Subject, check: str) -> None:
    CHECKS[check](subject)


def test_a_bound_call_ends_when_its_stream_has(subject: Subject) -> None:
    call = subject.session(subject.conv).bind(subject.conv.feeds(3, 0))
    stream = torch_npu.current_stream(subject.device.id)
    for _ in range(2):
        call()
        assert not stream.pending


def test_copies_are_timed_apart_and_leave_what_is_bound(subject: Subject) -> None:
    session = subject.session(subject.many)
    feeds = subject.many.feeds(3, 1)
    call = session.bind(feeds)
    call()
    STATE.copies_in_flight = 0
    times = session.copy_times(subject.many.feeds(3, 2), 4)
    assert STATE.copies_in_flight == 4 * (2 + 3)
    assert {name: len(values) for name, values in times.items()} == {"h2d_ns": 4, "d2h_ns": 4}
    assert all(isinstance(ns, int) and ns > 0 for values in times.values() for ns in values)
    for have, want in zip(session.fetch(), subject.many.right(feeds), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-4)


def test_streams_share_the_device(eager: Subject) -> None:
    feeds = eager.conv.feeds(3, 0)
    call = eager.session(eager.conv).bind_streams(feeds, 3)
    STATE.streams_used.clear()
    call()
    assert len(STATE.streams_used) == 3


def test_the_devices_own_time_is_that_of_one_stream_and_unknown_of_several(eager: Subject) -> None:
    session, feeds = eager.session(eager.conv), eager.conv.feeds(3, 0)
    session.bind(feeds)()
    assert session.device_time(2).gaps  # this device can't be kept asleep
    session.bind_streams(feeds, 2)()
    with pytest.raises(BenchError, match="in several streams has no common start and end"):
        session.device_time(2)


def test_fp32_is_fp32(eager: Subject) -> None:
    torch.npu.conv.allow_hf32 = torch.npu.matmul.allow_hf32 = True
    eager.compile(eager.conv.file).close()
    assert not torch.npu.conv.allow_hf32
    assert not torch.npu.matmul.allow_hf32


def test_it_describes_its_devices_and_their_memory(eager: Subject) -> None:
    backend = TorchNpu()
    assert [(d.id, d.vendor, d.name) for d in backend.devices()] == [
        ("npu:0", "Huawei", "StandIn910B4-0"),
        ("npu:1", "Huawei", "StandIn910B4-1"),
    ]
    assert eager.device.memory_bytes == torch_npu.MEMORY_BYTES
    free, total = backend.device_memory(eager.device) or (0, 0)
    assert 0 < free < total == torch_npu.MEMORY_BYTES
    assert backend.telemetry(eager.device) == {"memory_bytes": 2 * 2**20}


@pytest.mark.parametrize(
    ("extra", "words"),
    [({"mode": "fast"}, "eager, graph"), ({"streams": "0"}, "above 0"), ({"x": "1"}, "mode")],
)
def test_bad_options_are_refused(eager: Subject, extra: dict[str, str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        eager.compile(eager.conv.file, extra=extra)


@pytest.mark.parametrize("device_id", ["npu:2", "npu", "cuda:0", "cpu"])
def test_a_device_that_is_not_there_is_unavailable(eager: Subject, device_id: str) -> None:
    with pytest.raises(Unavailable, match="torch sees npu:0, npu:1"):
        TorchNpu().compile(eager.conv.file, Device(device_id, "", ""), Options())


def test_graph_mode_gives_torchair_the_whole_model(eager: Subject) -> None:
    session = eager.compile(eager.conv.file, extra={"mode": "graph"}, shapes=eager.conv.shapes(2))
    with contextlib.closing(session):
        session.bind(eager.conv.feeds(2, 0))()
        placement = session.placement()
        assert "torchair in 1 graph" in placement.source
        assert set(placement.nodes) == {"npu:0"}


def test_graph_mode_without_torchair_says_so(
    eager: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = ModuleType("torchair")  # as torch_npu puts it there: it fails when it is used
    for there in (None, lazy):
        monkeypatch.setitem(sys.modules, "torchair", there)
        assert_no_graph_mode(eager)


def assert_no_graph_mode(eager: Subject) -> None:
    with pytest.raises(Unavailable, match=r"mode=graph is not available.*leave mode=graph out"):
        eager.compile(eager.conv.file, extra={"mode": "graph"})


def test_out_of_memory_is_named(eager: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise RuntimeError("NPU out of memory. Tried to allocate 20.00 GiB (NPU 0; ...)")

    call = eager.session(eager.conv).bind(eager.conv.feeds(3, 0))
    monkeypatch.setattr(torch_npu, "compute", full)
    with pytest.raises(OutOfMemory, match="smaller batch"):
        call()
    monkeypatch.setattr(torch_npu, "copy", full)
    with pytest.raises(OutOfMemory, match="no memory to load it"):
        eager.compile(eager.conv.file)


NETS = """
import torch
from torch import nn

class Asks(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x

class Twice(nn.Module):
    def forward(self, x):
        return {"double": x * 2, "both": (x, x + 1)}
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


def graph_session(nets: Path, factory: str) -> GraphSession:
    model = ModelFile(factory, torch=TorchSource(nets, factory))
    device = torch.device("npu:0")
    return GraphSession(torch, load_module(torch, model, "torch", device, 1), device, factory)


def test_a_forward_pass_that_asks_the_device_is_no_graph(nets: Path) -> None:
    with contextlib.closing(graph_session(nets, "Asks")) as session:
        feeds = {"x": np.ones((1, 4), np.float32)}
        for attempt in (session.bind, session.api_call):
            with pytest.raises(Unsupported, match=r"capturing. Leave cuda_graph=1 out"):
                attempt(feeds)
        assert session.run(feeds)[0].tolist() == [[2, 2, 2, 2]]


def test_a_graph_computes_when_it_is_replayed_and_not_before(nets: Path) -> None:
    with contextlib.closing(graph_session(nets, "Twice")) as session:
        first = session.bind({"x": np.full((1, 2), 3, np.float32)})
        second = session.bind({"x": np.full((1, 2), 5, np.float32)})
        first()
        second()
        assert session.fetch()[0].tolist() == [[10, 10]]
        assert [spec.name for spec in session.outputs] == ["double", "both_0", "both_1"]
        first()  # it stays valid
        with pytest.raises(Unsupported, match="several streams"):
            session.bind_streams({"x": np.ones((1, 2), np.float32)}, 2)


class Trees:
    """Inductor's CUDA graphs, as to its caller: outputs in one buffer, which the next step takes;
    a step that nobody began leaves the last one's outputs alone and fails."""

    def __init__(self) -> None:
        self.begun = False

    def build(self, graph: Any, example_inputs: Any) -> Any:
        buffers: list[Any] = []

        def replay(*inputs: Any) -> Any:
            assert self.begun, "nobody called cudagraph_mark_step_begin"
            self.begun = False
            results = graph.forward(*inputs)
            if not buffers:
                buffers.extend(results)
            for buffer, result in zip(buffers, results, strict=True):
                buffer.copy_(result)
            return tuple(buffers)

        return replay


def test_a_compiler_that_overwrites_its_outputs_is_stepped(
    eager: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = Trees()
    monkeypatch.setattr(
        torch.compiler, "cudagraph_mark_step_begin", lambda: setattr(trees, "begun", True)
    )
    model, place = eager.conv.file, torch.device("npu:0")
    compiler = Compiler("trees", trees.build, overwrites=True)
    module = load_module(torch, model, "torch-compile", place, 1)
    with contextlib.closing(CompiledSession(torch, module, place, "m", compiler, False)) as session:
        feeds, others = eager.conv.feeds(3, 0), eager.conv.feeds(3, 1)
        call = session.bind(feeds)
        call()
        call()
        run = session.run(others)
        np.testing.assert_allclose(run[0], eager.conv.right(others)[0], rtol=1e-4, atol=1e-4)
        session.copy_times(others, 2)
        kept = session.fetch()
        np.testing.assert_allclose(kept[0], eager.conv.right(feeds)[0], rtol=1e-4, atol=1e-4)
        with pytest.raises(Unsupported, match="several streams"):
            session.bind_streams(feeds, 2)
