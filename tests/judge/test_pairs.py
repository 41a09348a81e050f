"""Original and distilled model on each target: speed-up, size, accuracy, and plain sentences."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_records import (
    CONTROL,
    STUDENT,
    TEACHER,
    a_cell,
    a_failure,
    a_record,
    a_run,
    an_invocation,
)
from rich.cells import cell_len
from scipy import stats

from bench.cards.tasks.base import Change
from bench.cards.tasks.classification import Classification
from bench.cell import LoadGen, ModelIdentity
from bench.judge.pairs import Changed, Pair, Ratio, compare, relations
from bench.present.agreeing import pair_sentences
from bench.present.ci.tables import pairs_table
from bench.present.pair_fields import PAIR_FIELDS, flat_pair_rows
from bench.present.pairs import pair_rows, pair_table, sentence
from bench.record.result import Record

EXAMPLES = 10_000


def right_counts(lost: int = 700, gained: int = 190) -> Changed:
    """The teacher has all but ``gained`` examples right, the others lose ``lost`` of those."""

    def columns(record: Record) -> dict[str, np.ndarray]:
        right = np.ones(EXAMPLES, dtype=bool)
        if record.cell.model.name == TEACHER.name:
            right[:gained] = False
        else:
            right[gained : gained + lost] = False
        return predictions(right)

    def change(record: Record, other: Record) -> Change | None:
        return Classification().change(columns(record), columns(other), 0.95)

    return change


def predictions(right: np.ndarray) -> dict[str, np.ndarray]:
    return {"label": np.zeros(len(right), np.int64), "predicted": np.where(right, 0, 1)}


def measured(model_medians: dict[int, float], model: object = TEACHER) -> Record:
    """A record with these invocation medians by index."""
    cell = a_cell(model)  # type: ignore[arg-type]
    invocations = tuple(an_invocation(i, m, cell) for i, m in model_medians.items())
    return a_record(cell, invocations=invocations)


def only_pair(*records: Record, change: Changed | None = None) -> Pair:
    (pair,) = compare(records, change or right_counts())
    return pair


def drifting(base_ns: float, count: int = 8) -> dict[int, float]:
    """Medians on a machine that gets twice as slow, with a little noise of their own."""
    noise = np.random.default_rng(int(base_ns)).normal(1, 0.01, count)
    return {i: base_ns * (1 + i / count) * noise[i] for i in range(count)}


def test_students_and_controls_are_paired_with_the_original_and_with_each_other() -> None:
    models = {m.name: m for m in (CONTROL, STUDENT, TEACHER)}
    assert relations(models) == [
        ("fashion-student", "fashion-teacher", "original"),
        ("fashion-student-ce", "fashion-teacher", "original"),
        ("fashion-student", "fashion-student-ce", "control"),
    ]


def test_a_control_that_also_names_its_original_is_paired_once() -> None:
    control = CONTROL.model_copy(update={"distilled_from": TEACHER.name})
    models = {m.name: m for m in (TEACHER, STUDENT, control)}
    assert len(relations(models)) == 3


def test_a_model_without_its_original_has_no_pair() -> None:
    assert compare([a_record(a_cell(STUDENT))], right_counts()) == []
    assert pair_table([]).plain == ""


def test_drift_that_hits_both_cancels_in_the_speedup() -> None:
    pair = only_pair(measured(drifting(271e3)), measured(drifting(27.6e3), STUDENT))
    assert pair.speedup is not None
    assert pair.speedup.paired
    assert pair.speedup.value == pytest.approx(271 / 27.6, rel=0.02)
    assert pair.speedup.low > 9.4
    assert pair.speedup.high < 10.2
    assert pair.speedup.verdict == "faster"


def test_models_measured_in_turn_are_compared_round_by_round() -> None:
    """A neighbour hits other rounds of one than of the other, and the medians wander."""
    rng = np.random.default_rng(8)
    records = []
    for model, base_ns in ((STUDENT, 1e5), (TEACHER, 3e5)):
        plain = measured({i: base_ns * (1 + rng.random()) for i in range(4)}, model)
        rounds = []
        for _ in plain.invocations:
            hit = rng.integers(8)
            rounds.append({n: base_ns * (9 if n == hit else 1) for n in range(8)})
        invocations = (
            one.model_copy(update={"round_ns": ns})
            for one, ns in zip(plain.invocations, rounds, strict=True)
        )
        records.append(plain.model_copy(update={"invocations": tuple(invocations)}))
    speedup = only_pair(*records).speedup
    assert speedup is not None
    assert (speedup.value, speedup.paired) == (pytest.approx(3.0), True)
    elsewhere = records[1].model_copy(update={"group": "another"})
    apart = only_pair(records[0], elsewhere).speedup
    assert apart is not None
    assert apart.value != pytest.approx(3.0, rel=0.01)
    later = (i.model_copy(update={"index": i.index + 3}) for i in records[1].invocations)
    of_another_run = records[1].model_copy(update={"invocations": tuple(later)})
    medians = only_pair(records[0], of_another_run).speedup
    assert medians is not None, "one invocation in common makes no pairs"
    assert not medians.paired


@pytest.mark.parametrize(("common", "paired"), [(2, False), (5, True)])
def test_a_model_that_was_set_apart_is_paired_by_what_it_shares_where_that_is_enough(
    common: int, paired: bool
) -> None:
    """After so many of its eight processes it ran out of memory beside its original."""
    teacher, student = measured(drifting(3e5)), measured(drifting(1e5), STUDENT)
    rounds = dict.fromkeys(range(8), 1.0)
    records = []
    for record, later in ((teacher, 0), (student, 20)):
        invocations = tuple(
            one.model_copy(
                update={
                    "index": one.index + (later if one.index >= common else 0),
                    "round_ns": {n: one.median_ns * ns for n, ns in rounds.items()},
                }
            )
            for one in record.invocations
        )
        records.append(record.model_copy(update={"invocations": invocations}))
    speedup = only_pair(*records).speedup
    assert speedup is not None
    assert (speedup.paired, speedup.invocations) == (paired, common if paired else 8)
    assert speedup.high / speedup.low < (1.1 if paired else 2)


def test_the_floors_are_compared_as_floors() -> None:
    def with_floor(record: Record, share: float) -> Record:
        found = tuple(
            i.model_copy(update={"floor_ns": i.median_ns * share}) for i in record.invocations
        )
        return record.model_copy(update={"invocations": found})

    teacher = with_floor(measured(drifting(271e3)), 0.9)
    student = with_floor(measured(drifting(27.6e3), STUDENT), 0.45)
    pair = only_pair(teacher, student)
    assert pair.speedup is not None
    assert pair.floor_speedup is not None
    assert pair.floor_speedup.value == pytest.approx(2 * pair.speedup.value)


def test_different_invocations_are_compared_unpaired() -> None:
    pair = only_pair(
        measured({0: 270e3, 1: 272e3, 2: 271e3}),
        measured({1: 27.5e3, 2: 27.6e3, 3: 27.7e3, 4: 27.6e3}, STUDENT),
    )
    assert pair.speedup is not None
    assert not pair.speedup.paired
    assert pair.speedup.invocations == 3
    assert pair.speedup.value == pytest.approx(9.8, rel=0.02)


A, B = [270e3, 280e3, 260e3, 275e3], [27e3, 29e3, 27.5e3, 26e3]


def test_a_speedup_is_the_other_ones_time_over_its_own_generation_by_generation() -> None:
    pair = only_pair(measured(dict(enumerate(A))), measured(dict(enumerate(B)), STUDENT))
    logs = np.log(np.array(A) / B)
    low, high = np.exp(stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs)))
    assert pair.speedup is not None
    found = pair.speedup
    assert (found.low, found.value, found.high) == pytest.approx((low, np.exp(logs.mean()), high))
    assert (found.confidence, found.paired, found.invocations) == (0.95, True, 4)
    assert (found.interval.low, found.interval.estimate, found.interval.high) == (
        found.low,
        found.value,
        found.high,
    )


def test_invocations_are_paired_by_their_index_and_not_by_their_place() -> None:
    turned = measured(dict(reversed(list(enumerate(B)))), STUDENT)
    straight = measured(dict(enumerate(B)), STUDENT)
    teacher = measured(dict(enumerate(A)))
    assert only_pair(teacher, turned).speedup == only_pair(teacher, straight).speedup


def test_an_interval_that_touches_1_says_nothing() -> None:
    def verdict(low: float, high: float) -> str:
        return Ratio(1.0, low, high, 0.95, True, 5).verdict

    assert [verdict(1.0, 1.2), verdict(1.001, 1.2)] == ["unclear", "faster"]
    assert [verdict(0.8, 1.0), verdict(0.8, 0.999)] == ["unclear", "slower"]


def test_two_invocations_are_enough_and_one_that_measured_nothing_does_not_count() -> None:
    teacher, student = measured({0: 270e3, 1: 271e3}), measured({0: 27e3, 1: 27.1e3}, STUDENT)
    assert only_pair(teacher, student).speedup is not None
    one, other = student.invocations
    empty = student.model_copy(update={"invocations": (one, other.model_copy(update={"calls": 0}))})
    assert only_pair(teacher, empty).speedup is None
    nothing = student.model_copy(
        update={"invocations": (one, other.model_copy(update={"median_ns": 0.0}))}
    )
    assert only_pair(teacher, nothing).speedup is None


def loaded(model: object, batch: int, scenario: str, ns: float) -> Record:
    cell = a_cell(model, "onnxruntime:cpu", scenario, batch)  # type: ignore[arg-type]
    found = tuple(an_invocation(i, ns * (1 + i / 1000), cell) for i in range(4))
    return a_record(cell, invocations=found)


def test_latency_is_compared_at_the_smallest_batch_of_both_and_throughput_at_the_largest() -> None:
    records = [
        loaded(model, batch, scenario, factor * batch * 1e5)
        for model, factor in ((TEACHER, 10), (STUDENT, 1))
        for scenario in ("single-stream", "offline")
        for batch in (1, 2)
    ]
    records += [loaded(STUDENT, 4, "offline", 1.0), loaded(TEACHER, 8, "offline", 1.0)]
    (pair,) = compare(records, right_counts())
    assert pair.speedup is not None
    assert pair.throughput is not None
    assert pair.speedup.value == pytest.approx(10)
    assert pair.throughput.value == pytest.approx(10)
    fewer = [r for r in records if (r.cell.scenario, r.cell.batch) != ("offline", 2)]
    slower = [*fewer, loaded(TEACHER, 2, "offline", 3e5), loaded(STUDENT, 2, "offline", 1e5)]
    (pair,) = compare(slower, right_counts())
    assert pair.throughput is not None
    assert pair.throughput.value == pytest.approx(3)
    without = [r for r in records if r.cell.scenario != "offline"]
    assert compare(without, right_counts())[0].throughput is None


@pytest.mark.parametrize(
    "other", [{"threads": 4}, {"lane": "api"}, {"allow_fallback": True}, {"target": "openvino:cpu"}]
)
def test_only_the_same_target_with_the_same_settings_is_compared(other: dict) -> None:
    changed = {"target": "onnxruntime:cpu", **other}
    assert compare([a_record(), a_record(a_cell(STUDENT, **changed))], right_counts()) == []


def at_lengths(model: ModelIdentity, *lengths: int, **changes: Any) -> list[Record]:
    return [a_record(a_cell(model, shapes={"ids": (1, n)}, **changes)) for n in lengths]


def test_a_student_at_a_length_of_its_own_is_told_beside_a_teacher_at_two() -> None:
    """Which of the two it would be compared with is anybody's guess, and silence would hide it."""
    records = [*at_lengths(TEACHER, 128, 512), *at_lengths(STUDENT, 64)]
    pair = only_pair(*records)
    assert (pair.speedup, pair.floor_speedup, pair.throughput, pair.accuracy) == (None,) * 4
    assert pair.missing == "no input size in common: ids 64 against ids 128 or ids 512"
    assert pair.size_ratio == pytest.approx(TEACHER.file_bytes / STUDENT.file_bytes)
    assert sentence(pair) == (
        f"On onnxruntime:cpu no speed is compared ({pair.missing}); accuracy was not compared."
    )
    assert pair.missing in " ".join(pair_table([pair]).plain.split())
    assert pair_rows([pair])[0]["missing"] == pair.missing


@pytest.mark.parametrize("student", [(64,), (512,), (64, 512), (512, 1024)])
@pytest.mark.parametrize("teacher", [(128,), (512,), (128, 512)])
def test_models_are_compared_at_each_length_that_both_have(
    student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    found = compare(
        [*at_lengths(TEACHER, *teacher), *at_lengths(STUDENT, *student)], right_counts()
    )
    both = {*student} & {*teacher}
    if not both and len(student) == len(teacher) == 1:  # the length that each was made for
        both = {*student}
    assert len([pair for pair in found if not pair.missing]) == len(both)
    assert len([pair for pair in found if pair.missing]) == (0 if both else 1)


def test_a_variant_is_not_compared_with_its_model_at_another_length() -> None:
    records = [*at_lengths(TEACHER, 512), *at_lengths(TEACHER, 128, variant="int8")]
    pair = only_pair(*records)
    assert (pair.relation, pair.speedup) == ("variant", None)
    assert pair.missing == "no input size in common: ids 128 against ids 512"


@pytest.mark.parametrize("setting", ["threads", "lengths", "lanes", "fallback", "drivers"])
def test_pairs_of_one_target_are_told_apart(setting: str) -> None:
    ways: tuple[dict[str, Any], ...]
    ways, words = {
        "threads": (({"threads": 1}, {"threads": 4}), ("1 thread", "4 threads")),
        "lengths": (
            ({"shapes": {"ids": (1, 8)}}, {"shapes": {"ids": (1, 16)}}),
            ("ids 8", "ids 16"),
        ),
        "lanes": (({}, {"lane": "api"}), ("", "user API")),
        "fallback": (({}, {"allow_fallback": True}), ("", "fallback allowed")),
        "drivers": (({}, {"loadgen": LoadGen()}), ("", "through LoadGen")),
    }[setting]
    models = (TEACHER, STUDENT)
    pairs = compare([a_record(a_cell(m, **way)) for m in models for way in ways], right_counts())
    where = [", ".join(filter(None, ("onnxruntime:cpu", word))) for word in words]
    assert [pair.where for pair in pairs] == where
    assert [pair.target for pair in pairs] == ["onnxruntime:cpu"] * 2
    table = [" ".join(line.split()) for line in pair_table(pairs, 200).plain.splitlines()]
    assert [line.partition(" 1.00x")[0] for line in table[-2:]] == where
    assert [row["settings"] for row in pair_rows(pairs)] == list(words)
    assert [row["settings"] for row in flat_pair_rows(pairs)] == list(words)
    assert "settings" in PAIR_FIELDS
    assert [row[2] for row in pairs_table(pairs).rows] == where
    places = [f"onnxruntime:cpu ({word})" if word else "onnxruntime:cpu" for word in words]
    for pair, place in zip(pairs, places, strict=True):
        assert sentence(pair).startswith(f"On {place} no speed difference")
    (said,) = pair_sentences(pairs)
    assert said.startswith(f"On {places[0]} and {places[1]} no speed difference")


def test_sizes_are_compared_as_the_others_over_its_own() -> None:
    pair = only_pair(a_record(), a_record(a_cell(STUDENT)))
    assert (pair.file_bytes, pair.other_file_bytes) == (STUDENT.file_bytes, TEACHER.file_bytes)
    assert pair.size_ratio == pytest.approx(TEACHER.file_bytes / STUDENT.file_bytes)
    unknown = STUDENT.model_copy(update={"file_bytes": 0})
    assert np.isnan(only_pair(a_record(), a_record(a_cell(unknown))).size_ratio)


def test_a_variant_is_compared_with_the_same_of_the_other_and_with_its_own_fp32() -> None:
    records = [
        a_record(a_cell(model).model_copy(update={"variant": variant}))
        for model in (TEACHER, STUDENT)
        for variant in ("fp32", "int8-static")
    ]
    found = [
        (p.model, p.variant, p.other, p.other_variant, p.relation)
        for p in compare(records, lambda one, other: None)
    ]
    assert found == [
        ("fashion-student", "fp32", "fashion-teacher", "fp32", "original"),
        ("fashion-student", "int8-static", "fashion-teacher", "int8-static", "original"),
        ("fashion-teacher", "int8-static", "fashion-teacher", "fp32", "variant"),
        ("fashion-student", "int8-static", "fashion-student", "fp32", "variant"),
    ]
    alone = [records[1], records[2]]
    assert compare(alone, lambda one, other: None) == []


def test_a_form_that_others_made_is_compared_with_the_model_itself() -> None:
    form = TEACHER.model_copy(update={"name": "small", "variant_of": TEACHER.name})
    assert relations({"small": form, TEACHER.name: TEACHER}) == [
        ("small", "fashion-teacher", "variant")
    ]
    itself = TEACHER.model_copy(update={"variant_of": TEACHER.name})
    assert relations({TEACHER.name: itself}) == []


def test_medians_and_floors_have_to_disagree_for_sure_to_be_contended() -> None:
    faster, slower, unclear = (
        Ratio(1.0, *ends, 0.95, True, 5) for ends in ((1.1, 1.2), (0.8, 0.9), (0.9, 1.1))
    )
    plain = only_pair(a_record(), a_record(a_cell(STUDENT)))

    def contended(speedup: Ratio | None, floor: Ratio | None) -> bool:
        return replace(plain, speedup=speedup, floor_speedup=floor).contended

    assert contended(faster, slower)
    assert contended(slower, faster)
    for pair in ((faster, faster), (faster, unclear), (faster, None), (None, slower)):
        assert not contended(*pair)


def test_one_invocation_is_too_few_for_a_speedup() -> None:
    pair = only_pair(measured({0: 270e3}), measured({0: 27e3}, STUDENT))
    assert pair.speedup is None
    assert "no speed is compared (too few invocations)" in sentence(pair)


def rates(model: object, times_ns: dict[int, float]) -> Record:
    cell = a_cell(model, scenario="offline", batch=32)  # type: ignore[arg-type]
    invocations = tuple(an_invocation(i, m, cell) for i, m in times_ns.items())
    return a_record(cell, invocations=invocations, accuracy=None)


def test_where_throughputs_alone_were_measured_they_are_told() -> None:
    pair = only_pair(rates(TEACHER, drifting(270e4)), rates(STUDENT, drifting(27e4)))
    assert (pair.speedup, pair.missing) == (None, "")
    assert re.fullmatch(
        r"On onnxruntime:cpu fashion-student is (9\.\d|10\.\d)x \([\d.]+–[\d.]+\) as fast as "
        r"fashion-teacher in throughput; accuracy was not compared\.",
        sentence(pair),
    )
    (row,) = pair_rows([pair])
    assert "in throughput" in str(row["sentence"])
    assert not row["missing"]


def test_throughputs_that_can_not_be_told_apart_are_called_so() -> None:
    pair = only_pair(
        rates(TEACHER, {0: 270e3, 1: 240e3, 2: 300e3}),
        rates(STUDENT, {0: 250e3, 1: 290e3, 2: 260e3}),
    )
    assert "no throughput difference was established between fashion-student and" in sentence(pair)


def test_why_no_latency_is_compared_is_said_beside_the_throughput() -> None:
    alone = a_failure(a_cell(TEACHER)), measured(drifting(27e3), STUDENT)
    offline = rates(TEACHER, drifting(270e4)), rates(STUDENT, drifting(27e4))
    said = sentence(only_pair(*alone, *offline))
    assert " in throughput (no latency is compared: fashion-teacher failed); " in said


def test_a_failure_is_the_reason_whatever_the_load() -> None:
    failed = a_failure(a_cell(TEACHER, scenario="offline", batch=32))
    pair = only_pair(failed, rates(STUDENT, drifting(27e4)))
    assert pair.missing == "fashion-teacher failed"


def test_the_sentence_of_a_faster_and_less_accurate_student() -> None:
    pair = only_pair(measured(drifting(271e3)), measured(drifting(27.6e3), STUDENT))
    text = sentence(pair).replace("\u00a0", " ")
    assert text.startswith("On onnxruntime:cpu fashion-student is 9.")
    assert "as fast as fashion-teacher and 5.1 points (4.5 to 5.7) less accurate" in text
    assert text.endswith("(McNemar p < 1e-9).")


def test_the_sentence_of_a_slower_model() -> None:
    pair = only_pair(measured(drifting(27e3)), measured(drifting(270e3), STUDENT))
    assert pair.speedup is not None
    assert pair.speedup.verdict == "slower"
    assert "is 0.101x (" in sentence(pair)
    assert "as fast as fashion-teacher" in sentence(pair)


def test_an_interval_that_includes_1_establishes_nothing() -> None:
    pair = only_pair(
        measured({0: 270e3, 1: 240e3, 2: 300e3}), measured({0: 250e3, 1: 290e3, 2: 260e3}, STUDENT)
    )
    start = "On onnxruntime:cpu no speed difference was established between fashion-student and "
    assert sentence(pair).startswith(f"{start}fashion-teacher (1.0")
    assert "fashion-student is 5.1 points" in sentence(pair).replace("\u00a0", " ")


def test_a_small_accuracy_difference_is_not_established() -> None:
    pair = only_pair(
        measured(drifting(271e3)),
        measured(drifting(27e3), STUDENT),
        change=right_counts(lost=60, gained=55),
    )
    assert pair.accuracy is not None
    assert not pair.accuracy.significant
    assert "; no accuracy difference was established (" in sentence(pair)


def test_medians_and_floors_that_disagree_are_called_so() -> None:
    teacher, student = measured(drifting(100e3)), measured(drifting(80e3), STUDENT)
    slow_floor = tuple(i.model_copy(update={"floor_ns": 200e3}) for i in student.invocations)
    pair = only_pair(teacher, student.model_copy(update={"invocations": slow_floor}))
    assert pair.contended
    assert "it depends on the machine's load" in sentence(pair)


def test_accuracy_is_counted_example_by_example() -> None:
    change = only_pair(a_record(), a_record(a_cell(STUDENT))).accuracy
    assert change is not None
    assert (change.only_other_right, change.only_this_right) == (700, 190)
    assert change.difference.estimate == pytest.approx(-0.051)
    assert change.difference.low < -0.051 < change.difference.high
    assert change.retained is not None
    assert change.retained.estimate == pytest.approx(9300 / 9810)


def test_predictions_that_are_lost_or_on_other_data_are_not_compared() -> None:
    def lost(record: Record, other: Record) -> None:
        return None

    pair = only_pair(a_record(), a_record(a_cell(STUDENT)), change=lost)
    assert pair.accuracy is None
    assert "accuracy was not compared" in sentence(pair)

    other = a_record(a_cell(STUDENT))
    assert other.accuracy is not None
    elsewhere = other.accuracy.model_copy(update={"dataset_sha256": "f" * 64})
    pair = only_pair(a_record(), other.model_copy(update={"accuracy": elsewhere}))
    assert pair.accuracy is None


def test_models_that_are_never_right_do_not_crash() -> None:
    def wrong(record: Record, other: Record) -> Change | None:
        never = predictions(np.zeros(EXAMPLES, dtype=bool))
        return Classification().change(never, never, 0.95)

    pair = only_pair(a_record(), a_record(a_cell(STUDENT)), change=wrong)
    assert pair.accuracy is not None
    assert pair.accuracy.retained is None
    assert pair_table([pair]).plain


def test_a_failed_or_simulated_side_has_no_speedup() -> None:
    pair = only_pair(a_failure(), a_record(a_cell(STUDENT)))
    assert pair.speedup is None
    assert pair.missing == "fashion-teacher failed"
    simulated = [
        a_record(a_cell(m, "ascend:npu:0"), 9e9, simulated=True) for m in (TEACHER, STUDENT)
    ]
    pair = only_pair(*simulated)
    assert pair.speedup is None
    assert pair.missing == "simulated"
    assert pair.accuracy is not None


def test_targets_are_compared_with_themselves_only() -> None:
    records = [a_record(), a_record(a_cell(STUDENT, "openvino:cpu"))]
    assert compare(records, right_counts()) == []


def test_the_pair_table_at_80_columns() -> None:
    text = pair_table(compare(a_run(), right_counts())).plain
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "fashion-student / fashion-teacher  11.9x smaller: 102 KiB against 1.18 MiB" in text
    assert "fashion-student / fashion-student-ce  effect of distillation" in text
    (line,) = [
        line
        for line in text.splitlines()
        if line.split()[:2] == ["onnxruntime:cpu", "9.8x"] and "-5.1 ±" in line
    ][:1]
    assert line.split()[-3:] == ["<", "1e-9", "94.8%"]


def test_pairs_as_rows_are_json() -> None:
    rows = pair_rows(compare(a_run(), right_counts()))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows[0]["speedup"]["verdict"] == "faster"  # type: ignore[index]
    assert rows[0]["accuracy"]["significant"] is True  # type: ignore[index]


@pytest.mark.parametrize("name", ["[red]x[/red]", "a\x1b[31mb", "x" * 3000])
def test_hostile_names_are_shown_as_text(name: str) -> None:
    student = STUDENT.model_copy(update={"name": name})
    text = pair_table([only_pair(a_record(), a_record(a_cell(student)))]).plain
    assert text.replace("\n", "").isprintable()
    assert max(map(cell_len, text.splitlines())) <= 80
