"""What `bench tune` plans from its flags, and that the line it prints measures the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import onnx
import pytest
from compared_runs import a_header
from onnx import TensorProto, helper

from bench.backend import Device
from bench.cards.card import card_for_onnx
from bench.cards.ready import Loaded
from bench.commands import run, tune
from bench.commands.flags import METERING
from bench.errors import SpecError
from bench.measure.plan import make_plan
from bench.measure.prepare import Prepared
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, parse_target
from bench.spec import Suite, asked_suite
from bench.store.files import TUNE
from bench.store.run import StoredRun
from bench.store.write import RunStore
from bench.trials.tune import planning
from bench.trials.tune.kept import Asked, Tune
from bench.trials.tune.objective import find_objective
from bench.trials.tune.planning import TunePlan, plan_tune
from bench.trials.tune.report import command_line

#: The forms that the made-up target runs, unless a test says otherwise.
FORMS = ("fp32", "fp16", "int8-dynamic", "int8-static")


def a_model(folder: Path, shape: tuple[Any, ...]) -> Loaded:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "m",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, shape)],
    )
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, ir_version=10), str(path))
    card = card_for_onnx(path)
    return Loaded(card, card.model_file(), None)


def a_choice(target: str, forms: tuple[str, ...] = FORMS) -> Choice:
    device = Device(id="cpu", vendor="", name="")
    runtime = Runtime("onnxruntime", "a:B", {}, ("onnx",), forms)
    return Choice(target=parse_target(target), runtime=runtime, device=device, named=True)


def planned(
    model: Loaded, *flags: str, target: str = "onnxruntime:cpu", forms: tuple[str, ...] = FORMS
) -> TunePlan:
    """What the command plans where these flags are given."""
    words = ["-m", str(model.file.onnx), "-t", target, *flags]
    given = tune.command.make_context("tune", words).params
    objective = given.pop("objective")
    for name in ("model", "target", "results", "resumed", "retry_failed", "quiet", "as_json"):
        given.pop(name)
    given = {key: value for key, value in given.items() if value not in (None, (), {})}
    asked, suite = tune._asked(str(model.file.onnx), target, objective, given)
    return planned_for(model, asked, suite, target, forms)


def planned_for(
    model: Loaded, asked: Asked, suite: Suite, target: str, forms: tuple[str, ...] = FORMS
) -> TunePlan:
    choices = [a_choice(target, forms)]
    made: Any = Prepared(make_plan(suite, [model], choices), None, {}, choices, None)  # type: ignore
    return plan_tune(made, asked, find_objective(asked.objective, asked.latency_bound_ns))


def pasted(line: str, model: Loaded) -> tuple[Suite, list[Any]]:
    """The suite and the cells of a line ``bench run ...``."""
    words = shlex.split(line)
    assert words[:2] == ["bench", "run"]
    given = run.command.make_context("run", words[2:]).params
    flags = {k: v for k, v in given.items() if k in Suite.model_fields and run._given(v)}
    suite = asked_suite(None, None, flags)
    choices = [a_choice(target) for target in suite.targets]
    return suite, list(make_plan(suite, [model], choices).cells)


@pytest.mark.parametrize(
    ("shape", "flags"),
    [
        (("batch", 4), ("--for", "latency")),
        (("batch", 4), ("--for", "latency", "--seed", "7", "--cell-timeout", "20m")),
        (("batch", 4), ("--for", "throughput", "--batch", "1,8", "--latency-bound", "5ms")),
        (("batch", "seq"), ("--for", "latency", "--shape", "seq=5", "--variant", "fp32,fp16")),
        (("rows", "cols"), ("--for", "throughput", "--batch-axis", "cols", "--threads", "1")),
        ((32, 5), ("--for", "latency")),
        ((32, 5), ("--for", "throughput")),
        (
            ("batch", 4),
            (
                *("--for", "energy", "--batch", "4", "--energy-window", "5", "--wall-csv", "a b"),
                *("--wall-zone", "Europe/Berlin", "--wall-offset", "-2s"),
            ),
        ),
        (("batch", 4), ("--for", "energy", "--wall-command", "echo '40'", "--max-time", "1h")),
    ],
)
def test_the_line_to_paste_measures_what_was_tuned(
    shape: tuple[Any, ...],
    flags: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "check_meters", lambda *told: None)
    model = a_model(tmp_path, shape)
    found = planned(model, *flags).prepared.plan
    assert len(found.cells) > 1
    models = (str(model.file.onnx),)
    cells = tuple(one.cell for one in found.cells)
    header = a_header(cells=cells, models=models, suite=found.suite)
    stored = StoredRun(tmp_path, header, [], [], [])
    for cell in cells:
        suite, again = pasted(command_line(cell, stored), model)
        assert [one.cell.id for one in again] == [cell.id]
        for name in ("energy", *METERING, "seed"):
            assert getattr(suite, name) == getattr(found.suite, name), name
        assert suite.cell_timeout_s >= found.suite.cell_timeout_s


# -- the original ---------------------------------------------------------------------------------


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A model that passes for one with labelled data."""
    monkeypatch.setattr(planning, "_check_accuracy_is_known", lambda *told: None)
    return a_model(tmp_path, ("batch", 4))


@pytest.mark.parametrize("variants", ["int8-static", "fp16,int8-static", "fp32,fp16"])
def test_accuracies_are_compared_with_the_model_as_it_is_whichever_forms_are_named(
    variants: str, labelled: Loaded
) -> None:
    flags = ("--for", "latency", "--within", "0.5points", "--variant", variants)
    found = planned(labelled, *flags)
    assert found.original is not None
    assert found.original.cell.variant == "fp32"
    assert found.original.cell.target == "onnxruntime:cpu"
    raced = {one.cell.variant for one in found.prepared.plan.cells}
    assert raced == set(variants.split(","))
    assert planned(labelled, "--for", "latency").original is None


def test_a_target_that_can_not_run_the_model_as_it_is_is_refused(labelled: Loaded) -> None:
    flags = ("--for", "latency", "--within", "0.5points", "--variant", "int8-static,fp16")
    with pytest.raises(SpecError, match=r"the model as it is \(fp32\).*fp32.*Leave out --within"):
        planned(labelled, *flags, forms=("fp16", "int8-static"))


# -- resumed --------------------------------------------------------------------------------------


def kept_on_disk(found: TunePlan, model: Loaded, folder: Path) -> Path:
    """The run directory of a tune that measured nothing yet."""
    plan = found.prepared.plan
    cells = tuple(one.cell for one in plan.cells)
    header = a_header(cells=cells, models=(str(model.file.onnx),), suite=plan.suite)
    store = RunStore.create(folder, header)
    store.write_atomically(TUNE, found.tune.model_dump_json().encode())
    store.close()
    return store.path


def ids(found: TunePlan) -> list[str]:
    return [one.cell.id for one in found.prepared.plan.cells]


@pytest.mark.parametrize(
    ("batch", "batches"),
    [((), set(planning.BATCHES)), (("--batch", "32"), {32}), (("--batch", "1,8"), {1, 8})],
)
def test_the_batches_to_choose_from_are_those_that_were_named(
    batch: tuple[str, ...], batches: set[int], tmp_path: Path
) -> None:
    found = planned(a_model(tmp_path, ("batch", 4)), "--for", "throughput", *batch)
    assert {one.cell.batch for one in found.prepared.plan.cells} == batches


@pytest.mark.parametrize("batch", [(), ("--batch", "32"), ("--batch", "1,8")])
@pytest.mark.parametrize("objective", ["throughput", "energy"])
def test_a_tune_that_is_resumed_plans_what_it_planned(
    objective: str, batch: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever batches were named, if any: a suite that is read back has all of its fields."""
    monkeypatch.setattr(planning, "check_meters", lambda *told: None)
    model = a_model(tmp_path, ("batch", 4))
    before = planned(model, "--for", objective, *batch)
    run = kept_on_disk(before, model, tmp_path / "runs")
    asked, suite = tune._gone_on_with(run, {"max_time_s": 900.0})
    again = planned_for(model, asked, suite, "onnxruntime:cpu")
    assert ids(again) == ids(before)
    assert again.tune.entrants == before.tune.entrants


def test_the_batches_that_an_older_bench_kept_in_the_suite_alone_are_planned(
    tmp_path: Path,
) -> None:
    model = a_model(tmp_path, ("batch", 4))
    before = planned(model, "--for", "throughput", "--batch", "1,8")
    run = kept_on_disk(before, model, tmp_path / "runs")
    older = before.tune.model_dump(mode="json")
    del older["asked"]["batches"]
    (run / TUNE).write_text(Tune.model_validate(older).model_dump_json())
    assert ids(planned_for(model, *tune._gone_on_with(run, {}), "onnxruntime:cpu")) == ids(before)


# -- what the pick is compared with ---------------------------------------------------------------


def test_a_batch_to_compare_with_is_refused_where_a_query_has_one_sample(tmp_path: Path) -> None:
    model = a_model(tmp_path, ("batch", 4))
    with pytest.raises(SpecError, match=r"--against threads=1,batch=8: batch only applies"):
        planned(model, "--for", "latency", "--against", "threads=1,batch=8")
    assert planned(model, "--for", "latency", "--against", "batch=1").tune.against
    found = planned(model, "--for", "throughput", "--batch", "1", "--against", "batch=8")
    assert [one.words for one in found.tune.against] == ["batch=8"]


@pytest.mark.parametrize(
    ("against", "words"), [("arena=0", "the default"), ("arena=0,spinning=1", "spinning=1")]
)
def test_settings_to_compare_with_that_change_nothing_are_refused(
    against: str, words: str, tmp_path: Path
) -> None:
    """The report would call one configuration by the name of the other."""
    model, target = a_model(tmp_path, ("batch", 4)), "onnxruntime:cpu?arena=0"
    with pytest.raises(SpecError, match=f"--against {against}: this measures the same as {words}."):
        planned(model, "--for", "throughput", "--against", against, target=target)


def test_what_is_compared_with_has_its_place_among_the_simplest(tmp_path: Path) -> None:
    """Of those that cost as little the simplest is picked, whoever named it."""
    model = a_model(tmp_path, ("batch", 4))
    found = planned(model, "--for", "latency", "--against", "threads=1000,arena=0").tune
    counts = [len(one.departures) for one in found.entrants]
    assert counts == sorted(counts)
    assert found.entrants[0].departures == ()
    (against,) = found.against
    assert against in found.entrants[: counts.index(3)]


def test_what_is_named_twice_is_compared_once(tmp_path: Path) -> None:
    model = a_model(tmp_path, ("batch", 4))
    twice = ("--against", "threads=1", "--against", "threads=1")
    found = planned(model, "--for", "latency", *twice)
    assert [one.words for one in found.tune.against] == ["threads=1"]
    cells = [one.cell_id for one in found.tune.entrants]
    assert len(cells) == len(set(cells))


@pytest.mark.parametrize(
    ("target", "against"),
    [
        ("onnxruntime:cpu?streams=2", ()),
        ("onnxruntime:cpu", ("--against", "streams=2")),
    ],
)
def test_streams_are_refused_where_a_query_s_latency_is_bounded(
    target: str, against: tuple[str, ...], tmp_path: Path
) -> None:
    """What is timed is then several queries at once."""
    model = a_model(tmp_path, ("batch", 4))
    flags = ("--for", "throughput", "--threads", "1", *against)
    assert planned(model, *flags, target=target).tune.entrants
    with pytest.raises(SpecError, match=r"streams=\d: queries of several streams are timed togeth"):
        planned(model, *flags, "--latency-bound", "5ms", target=target)


# -- settings that the target names ---------------------------------------------------------------


@pytest.mark.parametrize("objective", ["throughput", "energy"])
def test_the_default_is_what_run_measures_where_the_target_names_its_streams(
    objective: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where threads times streams are more than the cores."""
    monkeypatch.setattr(planning, "check_meters", lambda *told: None)
    monkeypatch.setattr(planning, "default_threads", lambda: 2)
    model = a_model(tmp_path, ("batch", 4))
    flags = ("--for", objective, "--threads", "2")
    found = planned(model, *flags, target="onnxruntime:cpu?streams=2")
    run = f"bench run -m m -t onnxruntime:cpu?streams=2 --scenario offline --threads 2 --batch {32}"
    _, (cell,) = pasted(run, model)
    assert found.tune.default == cell.cell.id
    assert found.tune.entrants[0].departures == ()


def test_threads_that_stay_busy_are_waited_for_though_the_target_names_the_option(
    tmp_path: Path,
) -> None:
    """It isn't chosen then, but its threads take the next configuration's time as before."""
    model = a_model(tmp_path, ("batch", 4))
    found = planned(model, "--for", "latency", target="onnxruntime:cpu?spinning=1")
    assert not any("spinning" in one.words for one in found.tune.entrants)
    chosen = planned(model, "--for", "latency")
    assert any("spinning=1" in one.words for one in chosen.tune.entrants)
    assert found.tunables == chosen.tunables
    assert found.tunables["spinning"].lingers_s["1"] > 0
