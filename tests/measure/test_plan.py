"""Plans: stable ids, the right cells, and refusals before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bench.backend import Device
from bench.cards.card import card_for_onnx
from bench.cards.datasets import Dataset
from bench.cards.ready import Loaded
from bench.cell import Cell, ModelIdentity
from bench.errors import SpecError, Unavailable
from bench.judge.alike import sample_words
from bench.measure.plan import for_batch, make_plan
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, Target
from bench.spec import Suite


def model(folder: Path, name: str = "m", shape: tuple[Any, ...] = ("batch", 4)) -> Loaded:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        name,
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, shape)],
    )
    path = folder / f"{name}.onnx"
    onnx.save(helper.make_model(graph, ir_version=10), str(path))
    card = card_for_onnx(path)
    return Loaded(card, card.model_file(), None)


def choice(name: str = "ort", forms: tuple[str, ...] = ("onnx",), **changes: Any) -> Choice:
    device = Device(id="cpu", vendor="", name="")
    runtime = Runtime(name, "a:B", {}, forms)
    values: dict[str, Any] = {"target": Target(name, "cpu"), "runtime": runtime, "device": device}
    return Choice(**(values | changes))


def suite(**settings: Any) -> Suite:
    return Suite(**{"threads": 1, **settings})


IDENTITY = ModelIdentity(name="m", sha256="a" * 64, task="raw", file_bytes=10)
CELL: dict[str, Any] = {
    "model": IDENTITY,
    "target": "ort:cpu",
    "scenario": "offline",
    "batch": 8,
    "shapes": {"x": (8, 4)},
    "threads": 1,
    "input_sha256": "b" * 64,
}


@pytest.mark.parametrize(
    "change",
    [
        {"model": IDENTITY.model_copy(update={"sha256": "c" * 64})},
        {"model": IDENTITY.model_copy(update={"name": "other"})},
        {"target": "ort:cpu?x=1"},
        {"scenario": "multi-stream"},
        {"batch": 9},
        {"shapes": {"x": (8, 5)}},
        {"threads": 2},
        {"lane": "api"},
        {"input_sha256": "d" * 64},
        {"allow_fallback": True},
    ],
)
def test_the_id_changes_with_all_that_defines_a_cell(change: dict[str, Any]) -> None:
    assert Cell(**(CELL | change)).id != Cell(**CELL).id


def test_the_id_does_not_change_with_what_is_only_told_of_a_model() -> None:
    told = IDENTITY.model_copy(update={"file_bytes": 99, "distilled_from": "teacher"})
    assert Cell(**(CELL | {"model": told})).id == Cell(**CELL).id


def test_the_plan_is_the_cross_product_in_groups_that_are_comparable(tmp_path: Path) -> None:
    models = [model(tmp_path, "one"), model(tmp_path, "two")]
    plan = make_plan(suite(batch=(8, 32)), models, [choice("a"), choice("b")])
    assert len(plan.cells) == 2 * 2 * 3
    groups = [[(p.cell.scenario, p.cell.batch) for p in group] for group in plan.groups()]
    assert [set(group) for group in groups] == [
        {("single-stream", 1)},
        {("offline", 8)},
        {("offline", 32)},
    ]
    assert all(len(group) == 4 for group in groups)


def test_the_same_suite_makes_the_same_cells(tmp_path: Path) -> None:
    def ids(seed: int) -> list[str]:
        plan = make_plan(suite(seed=seed), [model(tmp_path)], [choice()])
        return [planned.cell.id for planned in plan.cells]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)  # other inputs


def test_a_wildcard_leaves_out_what_takes_no_form_of_the_model(tmp_path: Path) -> None:
    unable = choice("torch", ("torch",), named=False)
    plan = make_plan(suite(), [model(tmp_path)], [choice("ort", named=False), unable])
    assert {p.cell.target for p in plan.cells} == {"ort:cpu"}
    assert plan.left_out == ("torch:cpu is left out for m, which has no torch form.",)


def test_lengths_that_no_cell_has_are_said(tmp_path: Path) -> None:
    asked = suite(draft=(3,), prompt=(64,))
    said = " ".join(make_plan(asked, [model(tmp_path)], [choice()]).left_out)
    assert "--draft has no effect: it is for language models in verify." in said
    assert "--prompt has no effect" in said
    assert "--answer" not in said


def test_a_target_named_in_full_stays_though_it_will_fail(tmp_path: Path) -> None:
    absent = choice("cuda", unavailable=Unavailable("no driver."))
    plan = make_plan(suite(), [model(tmp_path)], [choice("torch", ("torch",)), absent])
    assert {p.cell.target for p in plan.cells} == {"torch:cpu", "cuda:cpu"}
    refused = {p.cell.target for p in plan.cells if p.refused is not None}
    assert refused == {"torch:cpu", "cuda:cpu"}


def test_a_fixed_batch_runs_alone_and_is_refused_at_other_sizes(tmp_path: Path) -> None:
    fixed = model(tmp_path, shape=(2, 4))
    single, same, other = make_plan(suite(batch=(2, 8)), [fixed], [choice()]).cells
    assert single.refused is None
    assert single.cell.batch == 2
    assert same.refused is None
    assert other.refused is not None
    assert "fixed at 2" in str(other.refused)


def test_where_nobody_asked_for_a_batch_a_fixed_one_is_measured_at_its_own(tmp_path: Path) -> None:
    plan = make_plan(suite(), [model(tmp_path, shape=(1, 4))], [choice()])
    assert [(p.cell.scenario, p.cell.batch, p.refused) for p in plan.cells] == [
        ("single-stream", 1, None),
        ("offline", 1, None),
    ]
    assert plan.assumed == ["m: its batch is fixed at 1, so a query has that many samples."]


def test_a_model_without_a_batch_is_measured_a_call_a_sample_or_refused(tmp_path: Path) -> None:
    loaded = model(tmp_path, shape=("rooms", 4))
    sized = {"shapes": {"rooms": 7}}
    for planned in make_plan(suite(**sized), [loaded], [choice()]).cells:
        assert (planned.cell.batch, planned.cell.shapes) == (1, {"x": (7, 4)})
        assert planned.sizes == {"rooms": 7}
    _, offline = make_plan(suite(**sized, batch=(8,)), [loaded], [choice()]).cells
    assert "--batch-axis" in str(offline.refused)
    _, named = make_plan(suite(batch=(8,), batch_axis="rooms"), [loaded], [choice()]).cells
    assert (named.refused, named.cell.shapes) == (None, {"x": (8, 4)})


@pytest.mark.parametrize(
    ("shape", "asked", "axes", "words"),
    [
        (("batch", 4), {}, {"x": 0}, "x 4"),
        ((9, "batch", 4), {}, {"x": 1}, "x 9x4"),
        (("batch", 8, 4), {}, {"x": 0}, "x 8x4"),
        ((8, "batch", 4), {}, {"x": 1}, "x 8x4"),
        (("rooms", 8, "columns"), {"batch_axis": "columns"}, {"x": 2}, "x 7x8"),
    ],
)
def test_a_cell_keeps_which_axis_counts_samples(
    tmp_path: Path, shape: tuple[Any, ...], asked: dict[str, str], axes: dict[str, int], words: str
) -> None:
    """As the graph, the card or the user say: others may be as long as the batch."""
    asking = suite(scenarios=("offline",), batch=(8,), shapes={"rooms": 7}, **asked)
    if "rooms" not in shape:
        asking = asking.model_copy(update={"shapes": {}})
    (planned,) = make_plan(asking, [model(tmp_path, shape=shape)], [choice()]).cells
    assert planned.cell.batch == 8
    assert planned.cell.batch_axes == axes
    assert sample_words(planned.cell) == words


def test_a_cell_of_a_call_a_sample_has_no_axis_that_counts_them(tmp_path: Path) -> None:
    loaded = model(tmp_path, shape=("rooms", 4))
    for planned in make_plan(suite(shapes={"rooms": 7}), [loaded], [choice()]).cells:
        assert planned.cell.batch_axes == {}
        assert sample_words(planned.cell) == "x 7x4"


def test_an_axis_that_no_model_has_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no axis 'romos'.* m has rooms, x_dim1"):
        make_plan(suite(batch_axis="romos"), [model(tmp_path, shape=("rooms", 4))], [choice()])


def test_a_size_that_the_labelled_data_does_not_have_is_refused(tmp_path: Path) -> None:
    bare = model(tmp_path, shape=("batch", "pixels"))
    data = Dataset("d", "test", {"x": np.ones((9, 4), np.float32)}, np.zeros(9, np.int64), "e" * 64)
    loaded = Loaded(bare.card, bare.file, data)
    with pytest.raises(SpecError, match="its data set has pixels=4"):
        make_plan(suite(shapes={"pixels": 5}), [loaded], [choice()])
    assert make_plan(suite(shapes={"pixels": 4}), [loaded], [choice()]).cells[0].sizes


def test_samples_come_from_the_data_set_where_there_is_one(tmp_path: Path) -> None:
    bare = model(tmp_path)
    images = np.arange(400, dtype=np.float32).reshape(100, 4)
    data = Dataset("d", "test", {"x": images}, np.zeros(100, np.int64), "e" * 64)
    (planned, _) = make_plan(suite(), [Loaded(bare.card, bare.file, data)], [choice()]).cells
    assert any((planned.feeds["x"] == row).all() for row in images)


def test_an_empty_plan_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="name one with -m"):
        make_plan(suite(), [], [choice()])
    with pytest.raises(SpecError, match="bench doctor"):
        make_plan(suite(), [model(tmp_path)], [])
    with pytest.raises(SpecError, match="two models are called 'm'"):
        make_plan(suite(), [model(tmp_path), model(tmp_path)], [choice()])


def test_another_batch_changes_the_shapes_alone(tmp_path: Path) -> None:
    (planned, _) = make_plan(suite(), [model(tmp_path)], [choice()]).cells
    assert for_batch(planned, 7).shapes == {"x": (7, 4)}
    assert for_batch(planned, 7).threads == planned.options.threads


def test_streams_count_offline_alone_and_take_a_core_each(tmp_path: Path) -> None:
    target = Target("ort", "cpu", (("streams", "3"),))
    plan = make_plan(suite(threads=2, batch=(8,)), [model(tmp_path)], [choice(target=target)])
    single, offline = plan.cells
    assert (single.streams, single.cores) == (1, 2)
    assert (offline.streams, offline.cores) == (3, 6)


def test_an_accelerator_has_one_host_thread_and_is_measured_in_turn_with_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless threads are asked for; a simulator computes on the CPU and has its threads, and so has
    a CPU that a runtime reaches through another's plugin."""
    monkeypatch.setattr("bench.measure.plan.default_threads", lambda: 6)
    gpu, pretended = Device("cuda:0", "", ""), Device("npu:0", "", "", simulated=True)
    choices = [
        choice("a"),
        choice("b", target=Target("b", "cuda:0"), device=gpu),
        choice("c", target=Target("c", "npu:0"), device=pretended),
        choice("d", target=Target("d", "openvino-cpu"), device=Device("openvino-cpu", "", "")),
    ]
    for asked, threads in ((None, [6, 1, 6, 6]), (2, [2, 2, 2, 2])):
        plan = make_plan(suite(threads=asked), [model(tmp_path)], choices)
        for group in plan.groups():
            assert [p.cell.threads for p in group] == threads
            assert [p.options.threads for p in group] == threads


def lanes(folder: Path, lane: str, streams: str, **settings: Any) -> dict[str, str]:
    """Why each scenario of a model can't be measured in a lane and so many streams; empty where it
    can."""
    target = Target("ort", "cpu", (("streams", streams),))
    scenarios = ("single-stream", "offline", "server")
    asked = suite(lane=lane, scenarios=scenarios, latency_bound="5ms", **settings)
    plan = make_plan(asked, [model(folder)], [choice(target=target)])
    return {p.cell.scenario: str(p.refused or "") for p in plan.cells}


@pytest.mark.parametrize("lane", ["api", "native"])
def test_a_lane_of_single_calls_refuses_streams_where_they_would_count(
    tmp_path: Path, lane: str
) -> None:
    several, one = lanes(tmp_path, lane, "2"), lanes(tmp_path, lane, "1")
    assert several["offline"] == (
        f"m: the {lane} lane makes one call at a time, so ort:cpu?streams=2 can't use streams. "
        "Leave out --lane or streams."
    )
    assert several["single-stream"] == one["single-stream"] == one["offline"] == ""
    assert set(lanes(tmp_path, "prepared", "2").values()) == {""}


def test_the_native_lane_is_refused_where_queries_arrive_one_by_one(tmp_path: Path) -> None:
    """Each would be a loop of one, started from Python."""
    assert lanes(tmp_path, "native", "1")["server"] == (
        "m: the native lane only runs calls back to back, but server sends each query when it "
        "arrives. Leave out --lane."
    )
    assert lanes(tmp_path, "api", "1")["server"] == ""
