"""Which cells have a roofline, and what is said of those that have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_plan import choice, model, suite

from bench.backend import ModelFile
from bench.errors import BenchError, OutOfMemory
from bench.measure import rooflines
from bench.measure.listener import QuietProgress
from bench.measure.pace.account import Account
from bench.measure.peaks import Peaks
from bench.measure.plan import PlannedCell, make_plan
from bench.measure.rooflines import Rooflines
from bench.measure.state import CellState

PEAKS = Peaks(operations_per_s=1e12, bytes_per_s=1e11, precision="fp32")


class Heard(QuietProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Target:
    """Stands for what measures peaks."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fault: BenchError | None = None

    def peaks_of(self, planned: PlannedCell, context: Any) -> Peaks:
        self.asked.append(planned.cell.target)
        if self.fault is not None:
            raise self.fault
        return PEAKS


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Target:
    made = Target()
    monkeypatch.setattr(rooflines, "peaks_of", made.peaks_of)
    return made


@pytest.fixture
def planned(tmp_path: Path) -> PlannedCell:
    (found,) = make_plan(
        suite(scenarios=("offline",), batch=(8,)), [model(tmp_path)], [choice()]
    ).cells
    return found


def without_onnx(planned: PlannedCell) -> PlannedCell:
    return replace(planned, model=replace(planned.model, file=ModelFile("m")))


def found_of(
    planned: PlannedCell, listener: Heard, *, asked: bool = True, times: int = 1, **changes: Any
) -> Any:
    """What cells alike get, the last of so many."""
    made = Rooflines(asked, listener, Account())
    context: Any = lambda planned: None  # noqa: E731
    return [made.of(replace(CellState(planned), **changes), context) for _ in range(times)][-1]


def test_a_roofline_holds_the_work_of_a_query_and_the_peaks_of_its_target(
    planned: PlannedCell, heard: Heard, target: Target
) -> None:
    roofline, why = found_of(planned, heard, times=2)
    assert (roofline.operations, roofline.bytes) == (8 * 4, 2 * 4 * 8 * 4), "a Relu"
    assert (roofline.peak_operations_per_s, roofline.peak_bytes_per_s) == (1e12, 1e11)
    assert (why, heard.notes) == ("", [])
    assert target.asked == ["ort:cpu"], "once for each target"


def test_a_model_without_an_onnx_file_is_told_as_that_once(
    planned: PlannedCell, heard: Heard, target: Target
) -> None:
    roofline, why = found_of(without_onnx(planned), heard, times=2)
    assert roofline is None
    assert why.startswith("operations are counted in an ONNX file")
    assert heard.notes == [f"{planned.cell.model.name} (offline) has no roofline: {why}"]
    assert target.asked == []


@pytest.mark.parametrize(("variant", "item"), [("fp32", 4), ("bf16", 2), ("int8-dynamic", 4)])
def test_weights_are_as_wide_as_the_cell_holds_them(
    variant: str, item: int, heard: Heard, target: Target, planned: PlannedCell, tmp_path: Path
) -> None:
    """There is no file in bf16."""
    path = tmp_path / "product.onnx"
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    made = helper.make_graph([node], "g", [value], [gives], [weight])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    loaded = replace(planned.model, file=replace(planned.model.file, onnx=path))
    cell = planned.cell.model_copy(update={"variant": variant})
    roofline, _ = found_of(replace(planned, model=loaded, cell=cell), heard)
    assert roofline.bytes == item * 16 + 4 * 2 * 8 * 4


def test_a_file_that_cannot_be_counted_costs_a_cell_its_roofline_alone(
    planned: PlannedCell, heard: Heard, target: Target, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no graph")
    file = replace(planned.model.file, onnx=broken)
    roofline, why = found_of(replace(planned, model=replace(planned.model, file=file)), heard)
    assert roofline is None
    assert why.startswith("the operations in broken.onnx can't be counted")
    assert target.asked == []


def test_whole_queries_are_told_to_have_none(
    planned: PlannedCell, heard: Heard, target: Target
) -> None:
    prompts: Any = np.zeros((1, 1, 4), np.int64)
    roofline, why = found_of(replace(planned, prompts=prompts), heard)
    assert roofline is None
    assert "whole queries" in why
    # Its prefill may well have one.
    assert heard.notes == [f"{planned.cell.model.name} (offline) has no roofline: {why}"]


def test_a_target_without_peaks_is_told_with_its_fault_and_asked_once(
    planned: PlannedCell, heard: Heard, target: Target
) -> None:
    target.fault = OutOfMemory("the device is full.")
    assert found_of(planned, heard, times=2) == (None, "the device is full.")
    assert heard.notes == ["ort:cpu has no roofline: the device is full."]
    assert target.asked == ["ort:cpu"]


def test_nothing_is_said_where_none_is_asked_for_or_the_cell_has_failed(
    planned: PlannedCell, heard: Heard, target: Target
) -> None:
    planned = without_onnx(planned)
    full = OutOfMemory("it is full.")
    assert found_of(planned, heard, asked=False) == (None, "")
    assert found_of(planned, heard, failure=full) == (None, "")
    assert found_of(planned, heard, stop="interrupted") == (None, "")
    assert heard.notes == []
