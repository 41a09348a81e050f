"""The peaks of a target: what its runtime is asked to compute, and what is kept of it."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from test_plan import choice, model, suite

from bench.backend import Device, ModelFile, Options
from bench.errors import BenchError, OutOfMemory, Unsupported
from bench.measure import peaks
from bench.measure.peaks import _bandwidth, _throughput, peaks_of
from bench.measure.plan import PlannedCell, make_plan


@dataclass
class Machine:
    """It multiplies and copies at these rates a second, and takes ``starting_ns`` to begin a call
    and to be waited for; ``holds`` are the numbers that fit into its memory."""

    operations: float
    bytes: float
    starting_ns: float
    holds: float = math.inf
    asked: list[tuple[int, int]] = field(default_factory=list)
    longest_ns: float = 0.0

    def products_ns(self, side: int, products: int) -> float:
        return self._call_ns(side * side, products, 2e9 * side**3 / self.operations)

    def copy_ns(self, count: int) -> float:
        return self._call_ns(count, 1, 8e9 * count / self.bytes)

    def _call_ns(self, numbers: int, times: int, each_ns: float) -> float:
        if numbers > self.holds:
            raise OutOfMemory("the device is full.")
        self.asked.append((numbers, times))
        took_ns = self.starting_ns + times * each_ns
        self.longest_ns = max(self.longest_ns, took_ns)
        return took_ns

    @property
    def sides(self) -> list[int]:
        return [math.isqrt(numbers) for numbers, _ in self.asked]


def h200() -> Machine:
    """A copy of 64 MiB takes it 31 us, and a product of the largest matrices 1.4 ms."""
    return Machine(operations=8e14, bytes=4.3e12, starting_ns=15e3)


def two_cores() -> Machine:
    return Machine(operations=1e11, bytes=1e10, starting_ns=1e3)


def test_the_throughput_of_a_fast_gpu_is_its_own() -> None:
    gpu = h200()
    assert _throughput(gpu.products_ns) == pytest.approx(gpu.operations, rel=0.005)
    assert gpu.longest_ns < 30e6


def test_the_bandwidth_of_a_fast_gpu_is_its_own() -> None:
    gpu = h200()
    assert _bandwidth(gpu.copy_ns, 2**30) == pytest.approx(gpu.bytes, rel=0.015)
    assert len(gpu.asked) == 2, "the first tells how much it has to be"


def test_a_slow_device_computes_no_more_than_it_has_to() -> None:
    cpu = two_cores()
    assert _throughput(cpu.products_ns) == pytest.approx(cpu.operations, rel=0.01)
    assert cpu.asked == [(512**2, 1), (1024**2, 1)], "each took long, and the second was no faster"
    cpu = two_cores()
    assert _bandwidth(cpu.copy_ns, 2**30) == pytest.approx(cpu.bytes, rel=0.01)
    assert cpu.asked == [(2**24, 1)]


def test_a_product_that_would_take_too_long_is_not_tried() -> None:
    slow = Machine(operations=2e9, bytes=1e9, starting_ns=1e3)  # 0.13 s, then 1.1
    assert _throughput(slow.products_ns) == pytest.approx(slow.operations, rel=0.01)
    assert slow.sides == [512]


def test_larger_products_are_tried_as_long_as_they_are_faster() -> None:
    late = Machine(operations=1e13, bytes=1e12, starting_ns=3e6)
    assert _throughput(late.products_ns) == pytest.approx(late.operations, rel=0.04)
    assert late.sides == [512, 1024, 2048, 4096, 8192]


def test_what_does_not_fit_ends_the_products() -> None:
    small = h200()
    small.holds = 4096**2
    assert _throughput(small.products_ns) == pytest.approx(small.operations, rel=0.01)
    assert small.sides == [512, 1024, 2048, 4096]


def test_where_only_short_products_fit_there_is_no_throughput() -> None:
    small = h200()
    small.holds = 1024**2
    with pytest.raises(OutOfMemory):
        _throughput(small.products_ns)


@pytest.mark.parametrize(
    ("most", "why"), [(2**25, "no larger copy fits in memory"), (2**30, "no larger copy is tried")]
)
def test_a_copy_that_is_too_short_is_no_bandwidth(most: int, why: str) -> None:
    faster = Machine(operations=1e15, bytes=1e14, starting_ns=15e3)
    with pytest.raises(
        BenchError, match=rf"takes only .* µs, much of which is starting it.* {why}"
    ):
        _bandwidth(faster.copy_ns, most)
    assert max(numbers for numbers, _ in faster.asked) == most


#: What a product in a variant is made of.
OPERATORS = {"fp32": "MatMul", "fp16": "MatMul", "bf16": "MatMul"}
OPERATORS |= {"int8-dynamic": "MatMulInteger", "int8-static": "MatMul"}


class Target:
    """Stands for the workers of a target. It looks at what they are given: an ONNX file and its
    inputs, or a module with operands of its own."""

    def __init__(self) -> None:
        self.machine = Machine(operations=1e11, bytes=1e10, starting_ns=50)
        self.loaded: list[tuple[str, int]] = []
        self.variants: list[str] = []
        self.calls: list[int] = []
        self.refuses = ""  #: a variant of which it runs no product

    @contextlib.contextmanager
    def loaded_worker(
        self, launcher: Any, runtime: Any, device: Any, file: ModelFile, options: Options, **_: Any
    ) -> Iterator[tuple[Any, None]]:
        assert (file.torch is None) == ("onnx" in runtime.forms)
        assert options.extra == {"mode": "fast"}
        op, numbers, products = of_graph(file) if file.torch is None else of_module(file)
        if file.variant == self.refuses:
            raise Unsupported(f"no kernel for {op}.")
        if op == "MatMul":
            self.variants.append(file.variant)
            time_ns = self.machine.products_ns(math.isqrt(numbers), products)
        else:
            time_ns = self.machine.copy_ns(numbers)
        self.loaded.append((op, numbers))

        def bind(feeds: Mapping[str, np.ndarray]) -> None:
            assert {name: array.shape for name, array in feeds.items()} == options.shapes
            (fed,) = feeds.values()
            assert fed.size == (numbers if file.torch is None else 1), "a module casts what it gets"
            assert fed.dtype == (np.float16 if file.variant == "fp16" else np.float32)

        def block(calls: int, discard: int) -> np.ndarray:
            self.calls.append(calls)
            return np.array([time_ns * (1 + n % 3) for n in range(calls)])

        warm_up = lambda budget_s: SimpleNamespace(latency_ns=time_ns)  # noqa: E731
        yield SimpleNamespace(bind=bind, block=block, warm_up=warm_up), None


def of_graph(file: ModelFile) -> tuple[str, int, int]:
    """The operator of a file, the numbers that it takes, and how often it is there."""
    graph = onnx.load(str(file.onnx)).graph
    names = [node.op_type for node in graph.node]
    (numbers,) = (
        math.prod(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in graph.input
    )
    if "Neg" in names:
        assert names == ["Neg"], "several become one where operators are fused"
        return "Neg", numbers, 1
    products = names.count(OPERATORS[file.variant])
    assert products
    if file.variant in ("fp32", "fp16"):
        assert names == ["MatMul"] * products, "nothing is cast"
    return "MatMul", numbers, products


def of_module(file: ModelFile) -> tuple[str, int, int]:
    assert file.torch is not None
    code = file.torch.file.read_text()
    found = re.search(r"SIDE, PRODUCTS, COPIED = (\d+), (\d+), (\d+)", code)
    assert found is not None
    side, products, copied = map(int, found.groups())
    if file.torch.factory == "Copy":
        return "Neg", copied, 1
    return "MatMul", side * side, products


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Target:
    made = Target()
    monkeypatch.setattr(peaks, "loaded_worker", made.loaded_worker)
    # Small ones take no time to make.
    monkeypatch.setattr(peaks, "_SIDES", (64, 128))
    monkeypatch.setattr(peaks, "_COPIED", 2**12)
    monkeypatch.setattr(peaks, "_LONG_ENOUGH_NS", 3_000)
    monkeypatch.setattr(peaks, "_PRODUCTS_NS", 100_000)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def planned(tmp_path: Path) -> PlannedCell:
    named = choice(version="1.2")
    (found,) = make_plan(suite(scenarios=("offline",)), [model(tmp_path)], [named]).cells
    return replace(found, options=replace(found.options, extra={"mode": "fast"}))


class Cpus(dict[int, tuple[int, ...]]):
    def beside(self, cores: int, near: Any) -> tuple[int, ...]:
        return (0,)


CONTEXT: Any = SimpleNamespace(suite=suite(), launcher=None, cpus=Cpus({1: (0,)}))


def of_torch(planned: PlannedCell, place: str = "cpu") -> PlannedCell:
    runtime, device = choice(forms=("torch",)).runtime, Device(place, "", "a torch device")
    return replace(planned, choice=replace(planned.choice, runtime=runtime, device=device))


def test_peaks_are_those_of_the_fastest_call(target: Target, planned: PlannedCell) -> None:
    for cell in (planned, of_torch(planned)):
        found = peaks_of(cell, CONTEXT)
        assert found.operations_per_s == pytest.approx(target.machine.operations, rel=0.02)
        assert found.bytes_per_s == pytest.approx(target.machine.bytes, rel=0.05)
    assert max(target.calls) == 50
    assert max(times for _, times in target.machine.asked) > 1


def test_peaks_are_measured_once_for_each_machine_version_and_target(
    target: Target, planned: PlannedCell
) -> None:
    first = peaks_of(planned, CONTEXT)
    count = len(target.loaded)
    assert peaks_of(planned, CONTEXT) == first
    assert len(target.loaded) == count
    newer = replace(planned, choice=replace(planned.choice, version="1.3"))
    peaks_of(newer, CONTEXT)
    assert len(target.loaded) == 2 * count


def test_what_was_measured_in_another_way_is_not_used(
    target: Target, planned: PlannedCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks_of(planned, CONTEXT)
    count = len(target.loaded)
    monkeypatch.setattr(peaks, "_METHOD", peaks._METHOD + 1)
    peaks_of(planned, CONTEXT)
    assert len(target.loaded) == 2 * count


@pytest.mark.parametrize(
    ("of_cell", "fits"),
    [
        (lambda planned: planned, False),
        (of_torch, False),
        (lambda planned: of_torch(planned, "cuda:0"), True),  # its operands are on the device alone
    ],
)
def test_a_copy_is_no_larger_than_memory_allows(
    of_cell: Any, fits: bool, target: Target, planned: PlannedCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.machine = Machine(operations=8e14, bytes=4.3e12, starting_ns=1)
    monkeypatch.setattr(peaks, "spare_bytes", lambda: 8 * 4 * 2**14)
    refused = pytest.raises(BenchError, match="no larger copy fits in memory")
    with contextlib.nullcontext() if fits else refused:
        peaks_of(of_cell(planned), CONTEXT)
    copied = [numbers for op, numbers in target.loaded if op == "Neg"]
    assert copied == [2**12, 2**14] if not fits else copied[-1] > 2**14


def test_what_is_kept_and_broken_is_measured_again(target: Target, planned: PlannedCell) -> None:
    first = peaks_of(planned, CONTEXT)
    for broken in ("", "[]", '{"per_s": -1.0}', '{"per_s": "fast"}', '{"operations_per_s": 1}'):
        for kept in (peaks.cache_folder() / "peaks").iterdir():
            kept.write_text(broken)
        count = len(target.loaded)
        assert peaks_of(planned, CONTEXT) == first
        assert len(target.loaded) == 2 * count
        del target.loaded[count:]


@pytest.mark.parametrize("variant", ["fp16", "bf16", "int8-dynamic", "int8-static"])
def test_the_product_is_in_the_precision_of_the_cell_and_the_copy_is_measured_once(
    target: Target, planned: PlannedCell, variant: str
) -> None:
    first = peaks_of(planned, CONTEXT)
    found = peaks_of(in_form(planned, variant), CONTEXT)
    assert (first.precision, found.precision) == ("fp32", variant)
    assert target.variants == ["fp32"] * 2 + [variant] * 2
    assert found.operations_per_s is not None
    assert [op for op, _ in target.loaded].count("Neg") == 1
    assert found.bytes_per_s == first.bytes_per_s


def test_a_runtime_without_such_a_product_has_its_bandwidth_and_says_why(
    target: Target, planned: PlannedCell
) -> None:
    target.refuses = "int8-dynamic"
    found = peaks_of(in_form(planned, "int8-dynamic"), CONTEXT)
    assert found.operations_per_s is None
    assert "no kernel for" in found.why_not
    assert found.bytes_per_s > 0
    # It isn't kept: the next version, or the next run, may have one.
    target.refuses = ""
    assert peaks_of(in_form(planned, "int8-dynamic"), CONTEXT).operations_per_s is not None


def in_form(planned: PlannedCell, variant: str) -> PlannedCell:
    return replace(planned, cell=planned.cell.model_copy(update={"variant": variant}))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_module_multiplies_as_often_as_it_is_asked_and_casts_no_matrix(
    precision: str, planned: PlannedCell, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    tensors = pytest.importorskip("bench.backends.torch.tensors")
    tried = peaks._Tried(of_torch(planned), CONTEXT, tmp_path)
    product = loaded(replace(tried._module("Product", side=64, products=3), variant=precision))
    with torch.inference_mode(), tensors.recording(torch) as record:
        result = product(torch.zeros(1, 1))
    operators = [name for name, _ in record]
    assert operators.count("aten.matmul.default") == 3
    assert result.numel() == 64, "what is cast back is a row"
    assert torch.isfinite(result).all()
    assert product.a.numel() == product.b.numel() == 64**2
    assert product.a.dtype == product.b.dtype == getattr(torch, DTYPES[precision])


DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def test_a_module_copies_what_it_has_to_where_it_has_copied_it(
    planned: PlannedCell, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    copy = loaded(peaks._Tried(of_torch(planned), CONTEXT, tmp_path)._module("Copy", copied=4096))
    with torch.inference_mode():
        results = [copy(torch.zeros(1, 1)) for _ in range(2)]
    assert results[0].data_ptr() == results[1].data_ptr() != copy.source.data_ptr()
    assert copy.source.numel() == 4096
    assert (results[1] == -1).all()


def loaded(file: ModelFile) -> Any:
    import torch
    from bench.backends.torch.module import load_module

    return load_module(torch, file, "torch", torch.device("cpu"), torch.get_num_threads())
