"""The deal: points, standings and sentences from records alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from fake_records import (
    CONTROL,
    STUDENT,
    TEACHER,
    a_cell,
    a_record,
    an_accuracy,
    an_invocation,
)
from rich.cells import cell_len

from bench.cards.tasks.base import Change
from bench.cards.tasks.classification import Classification
from bench.cell import ModelIdentity
from bench.errors import SpecError
from bench.judge.alike import settings_in_words
from bench.judge.deal import cost_of, level_records, make_deal, subject
from bench.judge.pairs import Changed, compare, cost_ratio
from bench.present.deal import answer, deal_rows, deal_text, notes, point_name, sentences
from bench.record.result import Record

EXAMPLES = 10_000
#: of the examples, how many each model and variant gets wrong, from the first on
WRONG = {
    ("fashion-teacher", "fp32"): 600,
    ("fashion-teacher", "int8-static"): 602,
    ("fashion-student", "fp32"): 1100,
    ("fashion-student", "int8-static"): 1105,
    ("fashion-student-ce", "fp32"): 1400,
}


def change(confidence: float) -> Changed:
    def columns(record: Record) -> dict[str, np.ndarray]:
        predicted = np.zeros(EXAMPLES, np.int64)
        predicted[: WRONG[record.cell.model.name, record.cell.variant]] = 1
        return {"label": np.zeros(EXAMPLES, np.int64), "predicted": predicted}

    def compare(one: Record, other: Record) -> Change | None:
        return Classification().change(columns(one), columns(other), confidence)

    return compare


def measured(
    model: ModelIdentity, variant: str, median_ns: float, target: str = "onnxruntime:cpu"
) -> Record:
    cell = a_cell(model, target).model_copy(update={"variant": variant})
    noise = np.random.default_rng(int(median_ns)).normal(1, 0.005, 8)
    invocations = tuple(an_invocation(i, median_ns * x, cell) for i, x in enumerate(noise))
    accuracy = 1 - WRONG[model.name, variant] / EXAMPLES
    return a_record(cell, median_ns, invocations=invocations, accuracy=accuracy)


def records() -> list[Record]:
    return [
        measured(TEACHER, "fp32", 200e3),
        measured(TEACHER, "int8-static", 80e3),
        measured(STUDENT, "fp32", 20e3),
        measured(STUDENT, "int8-static", 22e3),
        measured(CONTROL, "fp32", 20.01e3),
    ]


def test_the_front_holds_the_fast_and_the_right() -> None:
    deal = make_deal(records(), change)
    states = {(p.cell.model.name, p.cell.variant): p.standing.state for p in deal.points}
    assert states["fashion-student", "fp32"] == "front"
    assert states["fashion-teacher", "int8-static"] == "front"
    assert states["fashion-teacher", "fp32"] == "dominated"
    assert states["fashion-student", "int8-static"] == "dominated"


def test_it_is_said_in_plain_words() -> None:
    said = [text.replace("\u00a0", " ") for text in sentences(make_deal(records(), change))]
    assert said[0].startswith("The fastest overall is fashion-student")
    assert "most accurate is fashion-teacher int8-static onnxruntime:cpu" in said[0]
    (offer,) = said[1:]
    assert offer.startswith("On onnxruntime:cpu the distilled fashion-student is 10.")
    assert "as fast as fashion-teacher and 5.0 points (4.6 to 5.4) less accurate" in offer
    assert "fashion-teacher in int8-static is 2.5" in offer
    assert "as fast and loses nothing measurable" in offer
    assert "fashion-student-ce" not in offer


def test_of_two_that_cost_the_same_the_more_accurate_is_named() -> None:
    tied = [measured(CONTROL, "fp32", 19.99e3), measured(STUDENT, "fp32", 20e3)]
    said = answer(make_deal([*tied, measured(TEACHER, "fp32", 200e3)], change))
    assert said.startswith(
        "The fastest overall is fashion-student onnxruntime:cpu (not distinguishable from it: "
        "fashion-student-ce onnxruntime:cpu); the fastest within 0.5 points"
    )


def test_one_that_is_the_cheapest_and_as_accurate_is_named_once() -> None:
    """Its rival costs 0.05% less and gets two examples more wrong: both are as accurate."""
    tied = [measured(TEACHER, "int8-static", 19.99e3), measured(TEACHER, "fp32", 20e3)]
    deal = make_deal([*tied, measured(TEACHER, "int8-static", 200e3, "slow:cpu")], change)
    said = answer(deal)
    assert said.startswith("The fastest is fashion-teacher onnxruntime:cpu"), said
    assert said.endswith("nothing is measurably more accurate.")


def test_each_winner_is_named_with_those_that_are_not_told_apart_from_it() -> None:
    slow = [measured(TEACHER, "fp32", 200e3 + n, f"t{n}:cpu") for n in range(6)]
    deal = make_deal([*records(), *slow], change)
    said = answer(deal)
    assert "overall is fashion-student onnxruntime:cpu (not distinguishable from it: " in said
    assert said.endswith("is fashion-teacher int8-static onnxruntime:cpu."), "alone, and so named"
    teachers = make_deal(slow, change)
    assert answer(teachers) == (
        "The fastest is fashion-teacher t0:cpu (not distinguishable from it: fashion-teacher "
        "t1:cpu, fashion-teacher t2:cpu, fashion-teacher t3:cpu and 2 more), and nothing is "
        "measurably more accurate."
    )
    rows = deal_rows(teachers)
    assert rows["cheapest"] == rows["as_accurate"]
    assert len(rows["cheapest_tied"]) == 5  # type: ignore[arg-type]
    assert rows["cheapest"] not in rows["cheapest_tied"]  # type: ignore[operator]


def test_the_truly_cheapest_is_among_those_that_are_named_as_often_as_stated() -> None:
    """Of five that take as long, whichever looks the fastest: the true one (the first) is named."""
    rng = np.random.default_rng(12)
    cells = [a_cell(TEACHER, f"t{n}:cpu") for n in range(5)]
    missed = 0
    for _ in range(400):
        found = [
            a_record(
                cell,
                1e5,
                invocations=tuple(
                    an_invocation(i, 1e5 * x, cell) for i, x in enumerate(rng.normal(1, 0.03, 4))
                ),
            )
            for cell in cells
        ]
        best = min(found, key=lambda r: np.mean([i.median_ns for i in r.invocations]))
        others = [record for record in found if record is not best]
        named = [best, *level_records(best, others, "latency")]
        missed += not any(record is found[0] for record in named)
    assert missed / 400 <= 0.05


def test_a_loss_that_the_examples_do_not_exclude_is_not_called_nothing() -> None:
    few = [r for r in records() if r.cell.model.name == "fashion-teacher"]

    def on_few_examples(confidence: float) -> Changed:
        def compare(one: Record, other: Record) -> Change | None:
            right = {"label": np.zeros(50, np.int64), "predicted": np.zeros(50, np.int64)}
            return Classification().change(right, right, confidence)

        return compare

    first, offer = sentences(make_deal(few, on_few_examples))
    assert "may lose up to" in offer
    assert "undecided: fashion-teacher onnxruntime:cpu may be more than 0.5 points worse" in first


@pytest.mark.parametrize("cost", ["latency", "throughput", "memory", "size"])
def test_each_cost_is_weighed_at_80_columns_and_as_json(cost: str) -> None:
    everything = [
        *records(),
        *(
            a_record(a_cell(model, "onnxruntime:cpu", "offline", 32), 1e6)
            for model in (TEACHER, STUDENT)
        ),
    ]
    deal = make_deal(everything, change, cost)  # type: ignore[arg-type]
    assert deal.points
    text = deal_text(deal, 80).plain
    assert max(map(cell_len, text.splitlines())) <= 80
    row = deal_rows(deal)
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def at_batch(model: ModelIdentity, scenario: str, batch: int, ns: float) -> Record:
    cell = a_cell(model, "onnxruntime:cpu", scenario, batch)
    return a_record(cell, ns)


def test_offers_of_a_run_of_throughputs_alone_are_told_by_these() -> None:
    found = [at_batch(model, "offline", 32, ns) for model, ns in ((TEACHER, 2e6), (STUDENT, 2e5))]
    said = sentences(make_deal(found, change, "throughput"))
    assert "as fast as fashion-teacher in throughput and " in said[1]


def test_throughputs_at_different_batches_are_compared_by_the_sample() -> None:
    """The student takes half as long for a sample, in queries of four times as many."""
    found = [at_batch(TEACHER, "offline", 8, 16e3), at_batch(STUDENT, "offline", 32, 32e3)]
    ratio = cost_ratio((found[0], found[1]), "throughput")
    assert ratio is not None
    assert ratio.value == pytest.approx(0.5, rel=0.02)


def test_latency_is_paid_at_the_smallest_batch_and_throughput_at_the_largest() -> None:
    for order in (1, -1):
        loads = [(scenario, b) for scenario in ("single-stream", "offline") for b in (1, 8)]
        everything = [at_batch(TEACHER, s, b, b * 1e5) for s, b in loads[::order]]
        (latency,) = make_deal(everything, change, "latency").points
        (throughput,) = make_deal(everything, change, "throughput").points
        assert (latency.cell.scenario, latency.cell.batch) == ("single-stream", 1)
        assert (throughput.cell.scenario, throughput.cell.batch) == ("offline", 8)


def test_a_cost_is_a_time_a_sample_bytes_resident_or_bytes_on_the_disk() -> None:
    record = at_batch(TEACHER, "offline", 8, 1e6)
    assert cost_of(record, "latency") == 1e6
    assert cost_of(record, "throughput") == pytest.approx(1e6 / 8)
    assert cost_of(record, "memory") == 117_000_000
    assert cost_of(record, "size") == TEACHER.file_bytes
    bare = record.model_copy(update={"latency": None, "throughput": None, "memory": None})
    assert [cost_of(bare, c) for c in ("latency", "throughput", "memory")] == [None] * 3
    unsized = a_record(a_cell(TEACHER.model_copy(update={"file_bytes": 0})))
    assert cost_of(unsized, "size") is None


def test_what_failed_or_is_simulated_is_no_point() -> None:
    ours = measured(STUDENT, "fp32", 20e3)
    failed = measured(TEACHER, "fp32", 200e3).model_copy(update={"status": "failed"})
    simulated = measured(CONTROL, "fp32", 20e3).model_copy(update={"simulated": True})
    deal = make_deal([ours, failed, simulated], change)
    assert [p.cell.model.name for p in deal.points] == [STUDENT.name]


def test_points_come_by_cost_and_the_last_record_of_a_cell_counts() -> None:
    again = measured(STUDENT, "fp32", 300e3)
    deal = make_deal([*records(), again], change)
    costs = [cost_of(p.record, "latency") for p in deal.points]
    assert costs == sorted(costs)
    assert costs[-1] == 300e3


def test_all_intervals_of_a_front_hold_together() -> None:
    """Two for each of the 10 pairs of 5 points, of price and of accuracy; offers on their own."""
    asked: list[float] = []

    def noted(confidence: float) -> Changed:
        asked.append(confidence)
        return change(confidence)

    make_deal(records(), noted, confidence=0.9)
    assert asked == pytest.approx([1 - 0.1 / 20, 0.9])


def test_what_is_surely_as_accurate_as_every_other_is_marked() -> None:
    marked = {
        (p.cell.model.name, p.cell.variant)
        for p in make_deal(records(), change).points
        if p.as_accurate
    }
    assert marked == {("fashion-teacher", "fp32"), ("fashion-teacher", "int8-static")}
    strict = make_deal(records(), change, loss=0.0)  # 2 of 10,000 examples are no certainty
    assert not any(p.as_accurate for p in strict.points)


def test_what_the_intervals_leave_undecided_is_told_by_the_two_that_are_too_near() -> None:
    strict = make_deal(records(), change, loss=0.0)
    assert answer(strict).endswith(
        "the most accurate is undecided: fashion-teacher onnxruntime:cpu may be worse than "
        "fashion-teacher int8-static onnxruntime:cpu."
    )
    assert make_deal(records(), change).undecided is None


# -- cells that differ in more than their load ----------------------------------------------------


def with_threads(record: Record, threads: int) -> Record:
    cell = record.cell.model_copy(update={"threads": threads})
    return record.model_copy(update={"cell": cell, "cell_id": cell.id})


@pytest.mark.parametrize("turned", [False, True])
def test_each_number_of_threads_is_a_point_and_is_told(turned: bool) -> None:
    slow, fast = measured(TEACHER, "fp32", 200e3), measured(TEACHER, "fp32", 50e3)
    found = [with_threads(slow, 1), with_threads(fast, 8)]
    deal = make_deal(found[::-1] if turned else found, change)
    assert [(p.cell.threads, cost_of(p.record, "latency")) for p in deal.points] == [
        (8, 50e3),
        (1, 200e3),
    ]
    names = [point_name(point) for point in deal.points]
    assert names == [f"fashion-teacher onnxruntime:cpu, {n}" for n in ("8 threads", "1 thread")]
    (alone,) = make_deal(found[:1], change).points
    assert point_name(alone) == "fashion-teacher onnxruntime:cpu"


def test_an_offer_is_of_two_that_were_measured_with_as_many_threads() -> None:
    teacher = [with_threads(measured(TEACHER, "fp32", 400e3), 1)]
    student = [with_threads(measured(STUDENT, "fp32", 10e3), 4)]
    assert make_deal([*teacher, *student], change).offers == {}
    teacher.append(with_threads(measured(TEACHER, "fp32", 100e3), 4))
    student.append(with_threads(measured(STUDENT, "fp32", 20e3), 1))
    deal = make_deal([*teacher, *student], change)
    offers = deal.offers["fashion-teacher", "onnxruntime:cpu"]
    assert [
        (settings_in_words(o.apart), round(o.pair.speedup.value)) for o in offers if o.pair.speedup
    ] == [
        ("4 threads", 10),
        ("1 thread", 20),
    ]
    said = " ".join(sentences(deal))
    for threads in ("4 threads", "1 thread"):
        assert f"On onnxruntime:cpu, {threads} the distilled fashion-student is" in said


@pytest.mark.parametrize("cost", ["latency", "throughput"])
def test_of_two_at_one_batch_the_later_counts(cost: str) -> None:
    scenario, batch = ("offline", 32) if cost == "throughput" else ("single-stream", 1)
    inputs = [{"input_sha256": digit * 64} for digit in "12"]
    both = [
        a_record(a_cell(TEACHER, scenario=scenario, batch=batch, **changes), time)
        for changes, time in zip(inputs, (200e3, 50e3), strict=True)
    ]
    for order in (both, both[::-1]):
        (point,) = make_deal(order, change, cost).points  # type: ignore[arg-type]
        assert point.record is order[-1]


def test_offers_are_of_each_original_on_each_target_the_distilled_first() -> None:
    elsewhere = [
        measured(TEACHER, "fp32", 300e3, "openvino:cpu"),
        measured(STUDENT, "fp32", 30e3, "openvino:cpu"),
    ]
    offers = make_deal([*records()[::-1], *elsewhere], change).offers
    found = {
        key: [(o.kind, o.pair.model, o.pair.variant, o.pair.other_variant) for o in offered]
        for key, offered in offers.items()
    }
    assert found == {
        ("fashion-teacher", "onnxruntime:cpu"): [
            ("distilled", "fashion-student", "fp32", "fp32"),
            ("variant", "fashion-teacher", "int8-static", "fp32"),
            ("distilled variant", "fashion-student", "int8-static", "fp32"),
        ],
        ("fashion-teacher", "openvino:cpu"): [("distilled", "fashion-student", "fp32", "fp32")],
    }


def test_a_distilled_model_without_its_original_is_weighed_against_itself() -> None:
    alone = [measured(STUDENT, "fp32", 20e3), measured(STUDENT, "int8-static", 10e3)]
    (offer,) = make_deal(alone, change).offers["fashion-student", "onnxruntime:cpu"]
    assert (offer.kind, offer.pair.relation, offer.pair.variant) == (
        "variant",
        "variant",
        "int8-static",
    )


def without_accuracy(found: Sequence[Record]) -> list[Record]:
    return [r.model_copy(update={"accuracy": None}) for r in found]


@pytest.mark.parametrize("cost", ["memory", "size"])
def test_what_is_no_time_is_known_of_an_offline_run_too(cost: str) -> None:
    offline = [a_record(a_cell(m, scenario="offline", batch=32)) for m in (TEACHER, STUDENT)]
    deal = make_deal(offline, change, cost)  # type: ignore[arg-type]
    assert len(deal.points) == 2
    single = [a_record(a_cell(m)) for m in (TEACHER, STUDENT)]
    for point in make_deal([*offline, *single], change, cost).points:  # type: ignore[arg-type]
        assert point.cell.scenario == "single-stream"


def test_without_a_score_there_is_nothing_to_weigh() -> None:
    with pytest.raises(SpecError, match="nothing to rank"):
        make_deal(without_accuracy(records()), change)


def test_predictions_that_are_lost_leave_it_open() -> None:
    deal = make_deal(records(), lambda confidence: lambda one, other: None)
    assert "dominated" not in {p.standing.state for p in deal.points}
    assert not any(p.as_accurate for p in deal.points)
    assert answer(deal).endswith(
        "the most accurate is undecided: without predictions fashion-teacher onnxruntime:cpu can't "
        "be compared with fashion-teacher int8-static onnxruntime:cpu."
    )
    assert len(sentences(deal)) == 1


def with_length(record: Record, length: int) -> Record:
    cell = record.cell.model_copy(update={"shapes": {"image": (1, length)}})
    return record.model_copy(update={"cell": cell, "cell_id": cell.id})


def scored_at(length: int, right: float, data: str) -> Record:
    record = with_length(measured(TEACHER, "fp32", 200e3), length)
    accuracy = an_accuracy(right).model_copy(update={"dataset_sha256": data * 64})
    return record.model_copy(update={"accuracy": accuracy})


def without_score(record: Record) -> Record:
    (without,) = without_accuracy([record])
    return without


def read_from(records: Sequence[Record]) -> dict[int, float | None]:
    """By the length of a point's input the accuracy that the deal reads for it."""
    points = make_deal(records, lambda confidence: lambda one, other: None).points
    return {p.cell.shapes["image"][1]: p.scored.accuracy.value.value for p in points}  # type: ignore[union-attr]


def test_each_length_keeps_the_accuracy_that_it_was_scored_with() -> None:
    both = [scored_at(64, 0.80, "1"), scored_at(512, 0.90, "2")]
    assert read_from(both) == read_from(both[::-1]) == {64: 0.80, 512: 0.90}


def test_a_cell_without_a_score_has_that_of_its_own_length() -> None:
    both = [scored_at(64, 0.80, "1"), scored_at(512, 0.90, "2")]
    offline = a_cell(TEACHER, scenario="offline", shapes={"image": (1, 64)})
    at_64 = without_score(a_record(offline, 100e3))
    for records in ([at_64, *both], [*both, at_64]):
        deal = make_deal(records, lambda confidence: lambda one, other: None, "throughput")
        assert [p.scored.accuracy.value.value for p in deal.points] == [0.80]  # type: ignore[union-attr]


def test_a_length_that_was_never_scored_has_an_accuracy_only_where_all_are_of_one_data() -> None:
    new = with_length(without_score(measured(TEACHER, "fp32", 300e3)), 128)
    alike = [scored_at(64, 0.90, "1"), scored_at(512, 0.90, "1"), new]
    assert read_from(alike) == {64: 0.90, 512: 0.90, 128: 0.90}
    apart = [scored_at(64, 0.80, "1"), scored_at(512, 0.90, "2"), new]
    assert read_from(apart) == {64: 0.80, 512: 0.90}


def test_lengths_are_points_of_their_own_and_only_equal_ones_are_on_offer() -> None:
    teacher = with_length(measured(TEACHER, "fp32", 200e3), 128)
    short = with_length(measured(STUDENT, "fp32", 20e3), 128)
    long = with_length(measured(STUDENT, "fp32", 90e3), 512)
    for found in ([teacher, short, long], [long, short, teacher]):
        deal = make_deal(found, change)
        assert [point_name(point) for point in deal.points] == [
            "fashion-student onnxruntime:cpu, image 128",
            "fashion-student onnxruntime:cpu, image 512",
            "fashion-teacher onnxruntime:cpu",
        ]
        ((offer,),) = deal.offers.values()
        assert offer.pair.speedup is not None
        assert round(offer.pair.speedup.value) == 10
        assert settings_in_words(offer.apart) == "image 128"
        assert [note for note in notes(deal) if "shape" in note] == [
            "Inputs differ in shape, so costs are not all of the same work: fashion-student and "
            "fashion-teacher image 128; fashion-student image 512."
        ]
        (pair,) = compare([short, long, teacher], change(0.95))
        assert pair.speedup is not None
        assert round(pair.speedup.value) == 10


def test_models_made_for_inputs_of_other_shapes_are_compared_and_that_is_told() -> None:
    teacher = with_length(measured(TEACHER, "fp32", 200e3), 384)
    student = with_length(measured(STUDENT, "fp32", 20e3), 224)
    deal = make_deal([teacher, student], change)
    ((offer,),) = deal.offers.values()
    assert offer.pair.speedup is not None
    assert any("fashion-student image 224; fashion-teacher image 384" in n for n in notes(deal))
    assert not any("shape" in note for note in notes(make_deal([teacher], change)))


def test_batches_of_one_sample_are_one_point_wherever_the_batch_axis_is() -> None:
    for axes in ((1, 128, 64), (128, 1, 64)):
        one, many = (
            a_cell(TEACHER, scenario=scenario, batch=batch, shapes={"x": shape}, batch_axes=known)
            for scenario, batch in (("single-stream", 1), ("offline", 32))
            for shape in [tuple(batch if size == 1 else size for size in axes)]
            for known in [{"x": axes.index(1)}]
        )
        assert subject(one) == subject(many)


@pytest.mark.parametrize("turned", [False, True])
def test_offers_are_told_apart_by_how_they_were_measured_and_never_by_their_load(
    turned: bool,
) -> None:
    """Whichever scenario of each is stored first, and bounds are of a scenario."""

    def one(model: ModelIdentity, threads: int, scenario: str) -> Record:
        bound = {"latency_bound_ns": 5_000_000} if scenario == "server" else {}
        return a_record(a_cell(model, threads=threads, scenario=scenario, **bound), 1e5)

    found = [
        one(model, *way)
        for model in (TEACHER, STUDENT)
        for way in ((1, "server"), (1, "single-stream"), (4, "single-stream"), (4, "server"))
    ]
    (offers,) = make_deal(found[::-1] if turned else found, change).offers.values()
    assert {settings_in_words(offer.apart) for offer in offers} == {"1 thread", "4 threads"}


def test_throughputs_under_the_same_bounds_are_compared() -> None:
    def under(model: ModelIdentity, ms: int, time: float) -> Record:
        cell = a_cell(model, scenario="single-stream", latency_bound_ns=ms * 1_000_000)
        return a_record(cell, time)

    ours = [under(STUDENT, 5, 10e3), under(STUDENT, 10, 20e3)]
    (pair,) = compare([*ours, under(TEACHER, 5, 100e3)], change(0.95))
    assert pair.speedup is not None
    assert round(pair.speedup.value) == 10
    (pair,) = compare([ours[1], under(TEACHER, 5, 100e3)], change(0.95))
    assert pair.speedup is None
