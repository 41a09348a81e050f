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
from bench.measure import peaks
from bench.measure.peaks import peaks_of
from bench.measure.plan import PlannedCell, make_plan


class Target:
    """Stands for workers on a device that multiplies at 1e13 operations/s and copies 1e11 bytes/s,
    and takes 0.1 ms to begin; it looks at what it is given."""

    def __init__(self) -> None:
        self.loaded: list[tuple[str, int]] = []
        self.calls: list[int] = []

    @contextlib.contextmanager
    def loaded_worker(
        self, launcher: Any, runtime: Any, device: Any, file: ModelFile, options: Options, **_: Any
    ) -> Iterator[tuple[Any, None]]:
        assert file.onnx is not None
        (node,) = onnx.load(str(file.onnx)).graph.node
        assert options.extra == {"mode": "fast"}
        time_ns = 0.0

        def bind(feeds: Mapping[str, np.ndarray]) -> None:
            nonlocal time_ns
            assert {name: array.shape for name, array in feeds.items()} == options.shapes
            assert all(array.dtype == np.float32 for array in feeds.values())
            size = feeds["a"].size
            self.loaded.append((node.op_type, size))
            work_ns = 2 * size**1.5 / 1e4 if node.op_type == "MatMul" else 8 * size / 1e2
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
    (kept,) = (peaks.cache_folder() / "peaks").iterdir()
    for broken in ("", "[]", '{"operations_per_s": 1}'):
        kept.write_text(broken)
        assert peaks_of(planned, CONTEXT) == first
