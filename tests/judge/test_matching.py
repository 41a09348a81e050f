"""Which cells are compared, what differs between them, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from compared_runs import MACHINE, in_memory
from fake_records import STUDENT, TEACHER, a_cell, a_failure, a_record
from hypothesis import given
from hypothesis import strategies as st

from bench.cell import LoadGen
from bench.errors import SpecError
from bench.judge.compare import compare
from bench.judge.differences import REFUSED, TOLD, check_allowed_kinds, differences, refuse
from bench.judge.matching import (
    Matched,
    match_cells,
    match_machines,
    match_runs,
    match_targets,
)
from bench.present.compare import only_notes, report_text
from bench.record.result import Record


def matched(one: Record, other: Record, **changes: Any) -> Matched:
    return match_runs(in_memory([one]), in_memory([other], "b", **changes))


def kinds(found: Matched) -> list[str]:
    return [d.kind for d in differences(found)]


# -- matching -------------------------------------------------------------------------------------


def test_runs_are_matched_by_what_a_reader_means_by_the_same_cell() -> None:
    ours = [a_record(a_cell(m, t)) for m in (TEACHER, STUDENT) for t in ("x:cpu", "y:cpu")]
    theirs = [a_record(a_cell(STUDENT, "y:cpu", threads=4)), a_record(a_cell(STUDENT, "z:cpu"))]
    found = match_runs(in_memory(ours), in_memory(theirs, "b"))
    ((a, b),) = [(m.a.cell, m.b.cell) for m in found.matches]
    assert (a.model.name, a.target) == (b.model.name, b.target) == (STUDENT.name, "y:cpu")
    assert len(found.only_a) == 3
    assert [side.cell.target for side in found.only_b] == ["z:cpu"]


def test_cells_that_are_defined_alike_find_each_other_first() -> None:
    one, four = a_record(a_cell(threads=1)), a_record(a_cell(threads=4))
    found = match_runs(in_memory([one, four]), in_memory([four, one], "b"))
    assert [m.a.cell.id == m.b.cell.id for m in found.matches] == [True, True]


def test_runs_without_a_common_cell_are_one_sentence() -> None:
    with pytest.raises(SpecError, match=r"no cell in common .* nothing to compare\.$"):
        matched(a_record(a_cell(TEACHER)), a_record(a_cell(STUDENT)))


def test_a_run_is_not_compared_with_itself() -> None:
    with pytest.raises(SpecError, match="are the same run"):
        match_runs(in_memory([a_record()]), in_memory([a_record()]))


def test_targets_are_compared_pairwise_within_a_model_and_load() -> None:
    targets = ("x:cpu", "y:cpu", "z:cpu")
    loads = (("single-stream", 1), ("offline", 32))
    cells = [a_cell(m, t, *load) for m in (TEACHER, STUDENT) for t in targets for load in loads]
    found = match_targets(in_memory([a_record(cell) for cell in cells]))
    assert len(found.matches) == 2 * 2 * 3
    for match in found.matches:
        assert match.a.cell.model == match.b.cell.model
        assert match.a.cell.scenario == match.b.cell.scenario
        assert match.same_group
    assert differences(found) == []


def test_one_target_alone_has_nothing_to_compare() -> None:
    with pytest.raises(SpecError, match="no model on two targets"):
        match_targets(in_memory([a_record()]))


@pytest.mark.parametrize("scenario", ["", "/single-stream"])
def test_two_cells_are_named_by_model_and_target(scenario: str) -> None:
    loads = (("single-stream", 1), ("offline", 32))
    run = in_memory(
        [a_record(a_cell(m, "x:cpu", *load)) for m in (TEACHER, STUDENT) for load in loads]
    )
    names = [f"{m.name}@x:cpu{scenario}" for m in (TEACHER, STUDENT)]
    found = match_cells(run, names)
    assert len(found.matches) == (1 if scenario else 2)
    assert kinds(found) == ["name"]


def test_two_cells_are_compared_in_the_same_variant_and_what_is_left_over_is_told() -> None:
    fp32, int8 = (a_record(a_cell(target="x:cpu", variant=v)) for v in ("fp32", "int8"))
    other = a_record(a_cell(target="y:cpu", variant="int8"))
    more = a_record(a_cell(target="y:cpu", variant="int8", batch=8))
    run = in_memory([fp32, int8, other, more])
    found = match_cells(run, ["fashion-teacher@x:cpu", "fashion-teacher@y:cpu"])
    ((a, b),) = [(m.a.record, m.b.record) for m in found.matches]
    assert (a, b) == (int8, other)
    assert [side.record for side in (*found.only_a, *found.only_b)] == [fp32, more]
    told = " ".join(report_text(compare(found), 200).plain.split())
    assert (
        "No counterpart for fashion-teacher x:cpu single-stream batch 1, "
        "fashion-teacher int8 y:cpu single-stream batch 8." in told
    )


def test_cells_in_one_variant_each_are_compared_whichever_they_are() -> None:
    loads = (("single-stream", 1), ("offline", 32))
    variants = {"x:cpu": "fp32", "y:cpu": "int8", "z:cpu": "fp16"}
    cells = [a_cell(TEACHER, t, *load, variant=v) for t, v in variants.items() for load in loads]
    names = [f"fashion-teacher@{target}" for target in variants]
    run = in_memory([a_record(cell) for cell in cells])
    assert len(match_cells(run, names).matches) == 3 * 2
    both = a_record(a_cell(target="x:cpu", variant="bf16"))
    with pytest.raises(SpecError, match="no variant, scenario and batch in common"):
        match_cells(in_memory([*run.records, both]), names)


@pytest.mark.parametrize("changed", [{}, {"sha256": "f" * 64}])
def test_cells_that_differ_in_threads_alone_find_those_with_the_same(changed: Any) -> None:
    def cells(target: str, *threads: int, **changes: Any) -> list[Record]:
        model = TEACHER.model_copy(update=changes)
        return [a_record(a_cell(model, target, threads=n)) for n in threads]

    here = in_memory(cells("x:cpu", 1, 4))
    there = in_memory(cells("x:cpu", 8, 4, 1, **changed), "b")
    both = in_memory([*cells("x:cpu", 1, 4), *cells("y:cpu", 4, 1)])
    names = ["fashion-teacher@x:cpu", "fashion-teacher@y:cpu"]
    for found in (match_runs(here, there), match_targets(both), match_cells(both, names)):
        threads = [(m.a.cell.threads, m.b.cell.threads) for m in found.matches]
        assert threads == [(1, 1), (4, 4)]


@pytest.mark.parametrize("changed", [{}, {"sha256": "f" * 64}])
def test_cells_find_each_other_that_differ_in_least(changed: Any) -> None:
    model = TEACHER.model_copy(update=changed)
    ways: tuple[dict[str, Any], ...] = (
        {"shapes": {"x": (1, 128)}},
        {"shapes": {"x": (1, 512)}},
        {"threads": 4, "lane": "api"},
        {"threads": 8, "lane": "native", "allow_fallback": True},
    )
    ours = [a_record(a_cell(**way)) for way in ways]
    # One more setting of the last two is another, and none is where the plan has it.
    others = (ways[1], ways[0], {**ways[3], "threads": 2}, {**ways[2], "threads": 2})
    theirs = [a_record(a_cell(model, **way)) for way in others]
    found = match_runs(in_memory(ours), in_memory(theirs, "b"))
    assert [m.b.cell for m in found.matches] == [theirs[n].cell for n in (1, 0, 3, 2)]


CHANGED_CELLS: dict[str, dict[str, Any]] = {
    "model": {"model": TEACHER.model_copy(update={"sha256": "f" * 64})},
    "shape": {"shapes": {"image": (1, 3, 28, 28)}},
    "input": {"input_sha256": "f" * 64},
    "threads": {"threads": 8},
    "lane": {"lane": "api"},
    "tool": {"loadgen": LoadGen()},
    "fallback": {"allow_fallback": True},
}
#: A setting that each run has at several values, and that no value of is like another.
SWEPT: dict[str, tuple[dict[str, Any], ...]] = {
    "lengths": tuple(
        {"shapes": {"ids": (1, n)}, "input_sha256": f"{n:064}"} for n in (128, 512, 1024)
    ),
    "threads": tuple({"threads": n} for n in (1, 4, 16)),
    "lanes": tuple({"lane": lane} for lane in ("prepared", "api", "native")),
    "bounds": tuple({"latency_bound_ns": n} for n in (None, 1_000_000, 2_000_000)),
    "drivers": ({}, {"loadgen": LoadGen(min_duration=1)}, {"loadgen": LoadGen(min_duration=2)}),
    "inputs": tuple({"input_sha256": digit * 64} for digit in "123"),
}


@pytest.mark.parametrize(
    "changed", [{}, {"model": TEACHER.model_copy(update={"sha256": "f" * 64})}]
)
@pytest.mark.parametrize("setting", SWEPT)
def test_values_of_a_setting_that_one_run_alone_has_are_missing_and_new(
    setting: str, changed: dict[str, Any]
) -> None:
    """128 and 512 against 512 and 1024: the lengths in common are compared, and the others are no
    cell that changed."""
    small, middle, large = SWEPT[setting]
    ours = [a_record(a_cell(**way)) for way in (small, middle)]
    theirs = [a_record(a_cell(**{**way, **changed})) for way in (large, middle)]
    found = match_runs(in_memory(ours), in_memory(theirs, "b"))
    assert [(m.a.record, m.b.record) for m in found.matches] == [(ours[1], theirs[1])]
    assert [side.record for side in found.only_a] == [ours[0]]
    assert [side.record for side in found.only_b] == [theirs[0]]
    assert set(kinds(found)) == set(changed)


@pytest.mark.parametrize("setting", SWEPT)
def test_a_setting_that_one_run_has_at_several_values_is_not_taken_for_changed(
    setting: str,
) -> None:
    """Which of two the third would be compared with is anybody's guess."""
    small, middle, large = ([a_record(a_cell(**way))] for way in SWEPT[setting])
    for ours, theirs in ((small, [*middle, *large]), ([*middle, *large], small)):
        with pytest.raises(SpecError, match="no cell in common"):
            match_runs(in_memory(ours), in_memory(theirs, "b"))


@pytest.mark.parametrize("setting", SWEPT)
def test_where_each_run_has_one_cell_what_changed_in_it_is_told(setting: str) -> None:
    small, _, large = SWEPT[setting]
    found = matched(a_record(a_cell(**small)), a_record(a_cell(**large)))
    assert len(found.matches) == 1
    assert kinds(found)


def test_what_changed_in_all_cells_is_told_beside_what_tells_them_apart() -> None:
    """Both lengths run on more threads now, and one length is new."""
    lengths = SWEPT["lengths"]
    ours = [a_record(a_cell(**way)) for way in lengths[:2]]
    theirs = [a_record(a_cell(**way, threads=4)) for way in lengths]
    found = match_runs(in_memory(ours), in_memory(theirs, "b"))
    assert [(m.a.record, m.b.record) for m in found.matches] == list(
        zip(ours, theirs[:2], strict=True)
    )
    assert [side.record for side in found.only_b] == theirs[2:]
    assert set(kinds(found)) == {"threads"}


def test_cells_of_one_id_are_matched_though_one_run_keeps_more_of_what_their_axes_mean() -> None:
    """Two lengths, and the batch is the second axis, which an older run did not keep."""
    lengths = [{"batch": 8, "shapes": {"x": (length, 8, 64)}} for length in (32, 96)]
    ours = [a_record(a_cell(scenario="offline", **way)) for way in lengths]
    theirs = [a_record(a_cell(scenario="offline", **way, batch_axes={"x": 1})) for way in lengths]
    found = match_runs(in_memory(ours), in_memory(theirs, "b"))
    assert [(m.a.id, m.b.id) for m in found.matches] == [(r.cell_id, r.cell_id) for r in ours]


def test_two_targets_that_share_one_length_are_compared_at_it() -> None:
    small, middle, large = SWEPT["lengths"]
    ways = {"x:cpu": (small, middle), "y:cpu": (middle, large)}
    cells = [a_cell(target=target, **way) for target, some in ways.items() for way in some]
    run = in_memory([a_record(cell) for cell in cells])
    names = [f"fashion-teacher@{target}" for target in ways]
    for found in (match_targets(run), match_cells(run, names)):
        assert [(m.a.cell, m.b.cell) for m in found.matches] == [(cells[1], cells[2])]


def test_what_runs_have_at_other_values_alone_is_told_with_them() -> None:
    ours, theirs = ([a_record(a_cell(threads=n)) for n in some] for some in ((1, 4), (2, 8)))
    with pytest.raises(SpecError, match="no cell in common") as told:
        match_runs(in_memory(ours), in_memory(theirs, "b"))
    assert str(told.value) == (
        "runs/a and runs/b have no cell in common: the first has fashion-teacher onnxruntime:cpu "
        "single-stream batch 1 with 1 thread or 4 threads, the second with 2 threads or 8 threads. "
        "To compare two such cells, give `bench compare` the id of each with --cell."
    )
    found = match_runs(
        in_memory(ours), in_memory(theirs, "b"), [ours[0].cell_id, theirs[1].cell_id]
    )
    assert [(m.a.record, m.b.record) for m in found.matches] == [(ours[0], theirs[1])]
    assert kinds(found) == ["threads"]


def test_cells_of_one_run_at_other_values_alone_are_told_with_them() -> None:
    threads = {"x:cpu": range(1, 7), "y:cpu": (8,)}
    cells = [a_cell(target=t, threads=n) for t, some in threads.items() for n in some]
    run = in_memory([a_record(cell) for cell in cells])
    with pytest.raises(SpecError) as told:
        match_cells(run, ["fashion-teacher@x:cpu", "fashion-teacher@y:cpu"])
    assert str(told.value) == (
        "'fashion-teacher@x:cpu' and 'fashion-teacher@y:cpu' have no cells to compare in runs/a: "
        "the first has fashion-teacher x:cpu single-stream batch 1 with 1 thread or 2 threads or "
        "3 threads or 4 threads or 2 other ways, the second with 8 threads. To compare two such "
        "cells, give `bench compare` the id of each with --cell."
    )


def test_machines_that_have_cells_at_other_values_alone_are_told_by_name() -> None:
    ours, theirs = (
        [a_record(a_cell(**SWEPT["lanes"][n])) for n in some] for some in ((0, 1), (2,))
    )
    machines = {"pi": [in_memory(ours)], "server": [in_memory(theirs, "b")]}
    words = "pi has .* with the usual settings or user API, server with native loop"
    with pytest.raises(SpecError, match=f"pi has no cell in common with server: {words}"):
        match_machines(machines, "pi")


def test_cells_without_a_counterpart_are_told_once_however_many_are_named() -> None:
    loads = {"x": (1, 8), "y": (1, 16), "z": (1, 32)}
    run = in_memory(
        [a_record(a_cell(target=f"{t}:cpu", batch=b)) for t, some in loads.items() for b in some]
    )
    found = match_cells(run, [f"fashion-teacher@{target}:cpu" for target in loads])
    assert only_notes(found) == [
        "No counterpart for fashion-teacher x:cpu single-stream batch 8, fashion-teacher y:cpu "
        "single-stream batch 16, fashion-teacher z:cpu single-stream batch 32."
    ]


def test_a_cell_is_named_by_the_beginning_of_its_id() -> None:
    one, other = a_record(), a_record(a_cell(STUDENT))
    assert one.cell_id[:5] != other.cell_id[:5]
    found = match_cells(in_memory([one, other]), [one.cell_id[:5], other.cell_id])
    assert found.matches[0].a.cell == one.cell


@pytest.mark.parametrize(
    ("selectors", "words"),
    [
        (["fashion-teacher@onnxruntime:cpu"], "name two with --cell"),
        (["fashion-teacher@onnxruntime:cp", "x"], "Did you mean fashion-teacher@onnxruntime:cpu"),
        (["", "x"], "no such cell"),
        (["fashion-teacher@onnxruntime:cpu"] * 2, "mean the same cell"),
    ],
)
def test_a_selector_that_means_nothing_is_told(selectors: list[str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        match_cells(in_memory([a_record()]), selectors)


def test_a_prefix_of_several_ids_is_refused() -> None:
    records = [a_record(a_cell(threads=n)) for n in range(1, 40)]
    first = [r.cell_id[0] for r in records]
    shared = next(c for c in first if first.count(c) > 1)
    with pytest.raises(SpecError, match=r"\d+ cells match"):
        match_cells(in_memory(records), [shared, "x"])


def test_two_runs_are_narrowed_to_the_cells_named() -> None:
    records = [a_record(a_cell(m)) for m in (TEACHER, STUDENT)]
    found = match_runs(
        in_memory(records), in_memory(records, "b"), ["fashion-student@onnxruntime:cpu"]
    )
    assert [m.a.cell.model.name for m in found.matches] == ["fashion-student"]
    assert found.only_a == found.only_b == ()


@given(
    st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from([1, 2]), st.integers(1, 3))),
    st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from([1, 2]), st.integers(1, 3))),
)
def test_no_cell_is_lost_or_matched_twice(ours: Any, theirs: Any) -> None:
    def run(points: Any, name: str) -> Any:
        cells = [a_cell(target=f"{t}:cpu", batch=b, threads=n) for t, b, n in dict.fromkeys(points)]
        return in_memory([a_record(cell) for cell in cells], name)

    a, b = run(ours, "a"), run(theirs, "b")
    try:
        found = match_runs(a, b)
    except SpecError:
        return
    for letter, stored in (("a", a), ("b", b)):
        used = [getattr(m, letter).cell.id for m in found.matches]
        used += [side.id for side in getattr(found, f"only_{letter}")]
        assert sorted(used) == sorted(r.cell_id for r in stored.records)


# -- differences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CHANGED_CELLS)
def test_a_cell_that_is_defined_otherwise_is_refused_unless_allowed(kind: str) -> None:
    found = differences(matched(a_record(), a_record(a_cell(**CHANGED_CELLS[kind]))))
    assert [d.kind for d in found] == [kind]
    with pytest.raises(SpecError, match=rf"not comparable: .*--allow {kind}\.$"):
        refuse(found, ())
    refuse(found, [kind])
    refuse(found, ["all"])
    other = next(k for k in REFUSED if k != kind)
    with pytest.raises(SpecError):
        refuse(found, [other])


def test_other_settings_of_loadgen_are_told() -> None:
    one = a_record(a_cell(loadgen=LoadGen(min_duration=500)))
    other = a_record(a_cell(loadgen=LoadGen()))
    (found,) = differences(matched(one, other))
    assert (found.kind, found.a, found.b) == ("settings", "min_duration=500", "its own")
    assert not found.refused


@pytest.mark.parametrize("kind", ["scenario", "batch"])
def test_cells_of_other_loads_are_refused_unless_allowed(kind: str) -> None:
    load = {"scenario": ("offline", 1), "batch": ("single-stream", 2)}[kind]
    one, other = a_record(), a_record(a_cell(TEACHER, "onnxruntime:cpu", *load))
    found = match_cells(in_memory([one, other]), [one.cell_id, other.cell_id])
    assert kind in kinds(found)
    with pytest.raises(SpecError, match=f"--allow {kind}"):
        refuse(differences(found), [k for k in REFUSED if k != kind])


def test_another_device_behind_the_same_target_is_refused() -> None:
    found = matched(a_record(), a_record(device_name="AMD EPYC 9"))
    assert kinds(found) == ["device"]


@pytest.mark.parametrize("other_id", ["ba9876543210", None])
def test_another_or_unknown_machine_is_refused_and_told_how_it_differs(other_id: Any) -> None:
    facts = {**MACHINE, "machine_id": other_id, "cpu_model": "Kunpeng 920"}
    (found,) = differences(matched(a_record(), a_record(), facts=facts))
    assert found.kind == "machine"
    assert found.detail == "cpu model AMD EPYC / Kunpeng 920"
    with pytest.raises(SpecError, match="--allow machine"):
        refuse([found], ())


def test_two_machines_that_nobody_recorded_are_not_taken_for_the_same() -> None:
    runs = [in_memory([a_record()], name, facts={}) for name in "ab"]
    assert kinds(match_runs(*runs)) == ["machine"]


def test_a_new_runtime_is_told_and_not_refused() -> None:
    facts = {**MACHINE, "kernel": "6.2", "packages": {"numpy": "2.0"}}
    found = differences(
        matched(a_record(), a_record(runtime_version="1.33"), facts=facts, bench_version="1")
    )
    assert [d.kind for d in found] == ["runtime", "bench", "kernel", "package"]
    assert (found[0].a, found[0].b, found[0].subjects) == ("1.32.0", "1.33", ("onnxruntime:cpu",))
    refuse(found, ())


def test_what_differs_in_many_cells_is_told_once() -> None:
    ours = [a_record(a_cell(target=f"x:{n}")) for n in range(5)]
    theirs = [a_record(a_cell(target=f"x:{n}", threads=2)) for n in range(5)]
    (found,) = differences(match_runs(in_memory(ours), in_memory(theirs, "b")))
    assert found.kind == "threads"
    assert len(found.subjects) == 5


def test_failed_cells_still_tell_what_differs() -> None:
    assert kinds(matched(a_failure(), a_record(a_cell(threads=2)))) == ["threads"]


def test_a_planned_cell_without_a_record_is_matched(tmp_path: Path) -> None:
    planned = in_memory([a_record()])
    planned.records.clear()
    found = match_runs(planned, in_memory([a_record()], "b"))
    assert found.matches[0].a.record is None


@pytest.mark.parametrize("kind", ["thread", "", "\x1b[31m", *TOLD])
def test_a_kind_that_needs_no_permission_or_does_not_exist_is_told(kind: str) -> None:
    with pytest.raises(SpecError, match="--allow"):
        check_allowed_kinds([kind])
    check_allowed_kinds([*REFUSED, "all"])


def test_threads_that_launch_are_not_held_against_those_that_compute() -> None:
    cpu = a_record(a_cell(target="x:cpu", threads=6))
    gpu, two = (a_record(a_cell(target=t, threads=n)) for t, n in (("x:cuda:0", 1), ("y:cpu", 2)))
    assert "threads" not in kinds(match_targets(in_memory([cpu, gpu])))
    assert "threads" in kinds(match_targets(in_memory([cpu, two])))
