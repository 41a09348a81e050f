"""The peaks of a target: what its runtime is asked to compute, and what is kept of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from test_plan import choice, model, suite

from bench.backend import ModelFile, Options
from bench.errors import Unsupported
from bench.measure import peaks
from bench.measure.peaks import peaks_of
from bench.measure.plan import PlannedCell, make_plan

#: What a product in a variant is made of.
OPERATORS = {"fp32": "MatMul", "fp16": "MatMul", "bf16": "MatMul"}
OPERATORS |= {"int8-dynamic": "MatMulInteger", "int8-static": "DequantizeLinear"}


class Target:
    """Stands for workers on a device that multiplies at 1e13 operations/s and copies 1e11 bytes/s,
    and takes 0.1 ms to begin; it looks at what it is given."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, int]] = []
        self.variants: list[str] = []
        self.calls: list[int] = []
        self.refuses = ""  #: a variant of which it runs no product

    @contextlib.contextmanager
    def loaded_worker(
        self, launcher: Any, runtime: Any, device: Any, file: ModelFile, options: Options, **_: Any
    ) -> Iterator[tuple[Any, None]]:
        assert file.onnx is not None
        names = [node.op_type for node in onnx.load(str(file.onnx)).graph.node]
        op = "Neg" if "Neg" in names else "MatMul"
        if file.variant == self.refuses:
            raise Unsupported(f"no kernel for {names}.")
        if op == "MatMul":
            self.variants.append(file.variant)
            assert OPERATORS[file.variant] in names
        assert options.extra == {"mode": "fast"}
        time_ns = 0.0

        def bind(feeds: Mapping[str, np.ndarray]) -> None:
            nonlocal time_ns
            assert {name: array.shape for name, array in feeds.items()} == options.shapes
            assert all(array.dtype == np.float32 for array in feeds.values())
            size = feeds["a"].size
            self.loaded.append((op, size))
            work_ns = 2 * size**1.5 / 1e4 if op == "MatMul" else 8 * size / 1e2
            time_ns = 1e5 + work_ns

        def block(calls: int, discard: int) -> np.ndarray:
            self.calls.append(calls)
            return np.array([time_ns * (1 + n % 3) for n in range(calls)])

        warm_up = lambda budget_s: SimpleNamespace(latency_ns=time_ns)  # noqa: E731
        yield SimpleNamespace(bind=bind, block=block, warm_up=warm_up), None


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Target:
    made = Target()
    monkeypatch.setattr(peaks, "loaded_worker", made.loaded_worker)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def planned(tmp_path: Path) -> PlannedCell:
    named = choice(version="1.2")
    (found,) = make_plan(suite(scenarios=("offline",)), [model(tmp_path)], [named]).cells
    return replace(found, options=replace(found.options, extra={"mode": "fast"}))


CONTEXT: Any = SimpleNamespace(suite=suite(), launcher=None, cpus={1: (0,)})


def test_peaks_come_from_the_first_size_that_takes_long_enough(
    target: Target, planned: PlannedCell
) -> None:
    found = peaks_of(planned, CONTEXT)
    sides = [round(size**0.5) for op, size in target.loaded if op == "MatMul"]
    assert sides == [512, 1024, 2048]  # 0.1, 0.3 and 1.8 ms
    assert [size for op, size in target.loaded if op == "Neg"] == [2**24]  # 1.4 ms
    # The fastest call, its beginning included: no correction of what is measured.
    assert found.operations_per_s == pytest.approx(2 * 2048**3 / 1.818e-3, rel=1e-3)
    assert found.bytes_per_s == pytest.approx(8 * 2**24 / 1.442e-3, rel=1e-3)
    assert max(target.calls) == 50


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


def test_what_is_kept_and_broken_is_measured_again(target: Target, planned: PlannedCell) -> None:
    first = peaks_of(planned, CONTEXT)
    for broken in ("", "[]", '{"per_s": -1.0}', '{"per_s": "fast"}', '{"operations_per_s": 1}'):
        for kept in (peaks.cache_folder() / "peaks").iterdir():
            kept.write_text(broken)
        count = len(target.loaded)
        assert peaks_of(planned, CONTEXT) == first
        assert len(target.loaded) == count + 4, "three sides and one copy"


@pytest.mark.parametrize("variant", ["fp16", "bf16", "int8-dynamic", "int8-static"])
def test_the_product_is_in_the_precision_of_the_cell_and_the_copy_is_measured_once(
    target: Target, planned: PlannedCell, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peaks, "_SIDES", (64, 128))
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
