"""A model that can't be made ready costs its own rows; a run of nothing else ends in a sentence."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from small_card import GOOD, save_model

from bench.backend import Device
from bench.cards.ready import Loaded, load
from bench.errors import SpecError, Unavailable
from bench.measure.models import find_models, made_ready
from bench.measure.plan import Plan, make_plan
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, Target
from bench.spec import Suite

DATA = '[dataset]\nname = "d"\npath = "data.py:rows"\n'
CHOICES = [
    Choice(Target(name, "cpu"), Runtime(name, "a:B", {}, (form,)), Device("cpu", "", ""))
    for name, form in (("ort", "onnx"), ("torch", "torch"))
]


def ready(folder: Path, *names: str) -> list[Loaded]:
    """The models of those files, as a run makes them ready."""
    read = partial(load, cache=folder / "cache", say=lambda _: None, forms={"onnx"})
    return [made_ready(named, read) for named in find_models([str(folder / n) for n in names])]


def plan(models: list[Loaded]) -> Plan:
    return make_plan(Suite(threads=1, scenarios=("single-stream",)), models, CHOICES[:1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good model, one of a size that nothing suggests, one whose data set exits."""
    save_model(tmp_path / "m.onnx")
    save_model(tmp_path / "odd.onnx", ("batch", "zz", "qq", "vv", "uu", "xx"))
    text = GOOD.replace('"mine"', '"exits"').replace('"raw"', '"classification"')
    (tmp_path / "exits.toml").write_text(text + DATA)
    (tmp_path / "data.py").write_text("def rows():\n    raise SystemExit(4)\n")
    return tmp_path


@pytest.mark.parametrize(
    ("bad", "says"),
    [("odd.onnx", "'zz', whose size is unknown"), ("exits.toml", "SystemExit: 4")],
)
def test_a_bad_model_costs_its_rows_and_the_others_are_planned(
    folder: Path, bad: str, says: str
) -> None:
    first, second = plan(ready(folder, bad, "m.onnx")).cells
    assert isinstance(first.refused, SpecError)
    assert says in str(first.refused)
    assert second.refused is None
    assert second.cell.shapes == {"x": (1, 4)}


def test_where_every_model_is_bad_the_first_sentence_is_raised(folder: Path) -> None:
    for models in (["odd.onnx"], ["exits.toml"], ["odd.onnx", "exits.toml"]):
        with pytest.raises(SpecError, match="zz" if models[0] == "odd.onnx" else "SystemExit"):
            plan(ready(folder, *models))


def test_a_target_that_is_absent_is_a_row_also_beside_no_other(folder: Path) -> None:
    absent = Choice(Target("ort", "cpu"), None, None, unavailable=Unavailable("it is absent."))
    suite = Suite(threads=1, scenarios=("single-stream",))
    (planned,) = make_plan(suite, ready(folder, "m.onnx"), [absent]).cells
    assert isinstance(planned.refused, Unavailable)


def test_a_bad_model_has_a_row_on_every_target_that_is_asked_for(folder: Path) -> None:
    suite = Suite(threads=1, scenarios=("single-stream",))
    cells = make_plan(suite, ready(folder, "exits.toml", "m.onnx"), CHOICES).cells
    told = [(p.cell.model.name, p.cell.target) for p in cells if "SystemExit" in str(p.refused)]
    assert told == [("exits", "ort:cpu"), ("exits", "torch:cpu")]


@pytest.mark.parametrize("ending", ["sys.exit(5)", "os._exit(5)", "os.kill(os.getpid(), 15)"])
def test_a_module_that_ends_the_process_costs_its_rows(folder: Path, ending: str) -> None:
    pytest.importorskip("torch")
    (folder / "net.py").write_text(f"import os, sys\ndef made_badly(): {ending}\n")
    bad, good = find_models([str(folder / "net.py:made_badly"), str(folder / "m.onnx")])
    assert bad.card.name == "made-badly"
    assert isinstance(bad.error, SpecError)
    assert good.error is None

    def unasked(_: object) -> Loaded:
        raise AssertionError("it is not made a second time")

    assert made_ready(bad, unasked).unfit is bad.error


@pytest.mark.parametrize("name", ["nowhere.py:build", "nowhere.onnx", "nowhere.toml"])
def test_a_file_that_is_not_there_ends_the_run(folder: Path, name: str) -> None:
    with pytest.raises(SpecError, match="nowhere"):
        find_models([str(folder / name), str(folder / "m.onnx")])
