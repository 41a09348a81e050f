"""bench/measure/static_form.py: what targets of fixed shapes load in a language model's place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from bench.backend import Device, ModelFile
from bench.cards.card import Card
from bench.cards.language.cards import tensors
from bench.cards.ready import Loaded
from bench.contract.made_decoders import DECODER, right, write_dynamic, write_static
from bench.errors import Unsupported
from bench.measure.plan import PlannedCell, make_plan
from bench.measure.prepare import static_forms
from bench.measure.static_form import in_static_form
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, parse_target
from bench.spec import Suite


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Loaded:
    card = Card.model_validate(
        {
            "name": "tiny",
            "task": "text-generation",
            "source": {"onnx": "decoder.onnx"},
            "path": tmp_path / "tiny.toml",
            **tensors(DECODER),
        }
    )
    file = ModelFile("tiny", write_dynamic(tmp_path / "decoder.onnx"))
    return Loaded(card, file, None, sha256="0" * 64, decoder=DECODER, state_bytes=1)


def choice(*static: str, device: str = "npu:0") -> Choice:
    runtime = Runtime("fake", "fake:Fake", {}, static_shapes=static)
    return Choice(parse_target(f"fake:{device}"), runtime, Device(device, "", ""), named=True)


def planned(model: Loaded, choice: Choice, scenario: str) -> PlannedCell:
    suite = Suite(scenarios=(scenario,), batch=(1,))
    (cell,) = make_plan(suite, [model], [choice]).cells
    return cell


def test_only_kinds_of_devices_that_declare_it_get_a_static_form(model: Loaded) -> None:
    for other in (choice(), choice("gpu"), choice("npu", device="cpu")):
        cell = planned(model, other, "prefill@5")
        assert in_static_form(cell) is cell
        assert cell.loads.file.onnx == model.file.onnx
    assert in_static_form(planned(model, choice("npu"), "prefill@5")).static is not None


@pytest.mark.parametrize("scenario", ["prefill@5", "decode@5"])
def test_a_worker_gets_the_graph_of_just_its_step(model: Loaded, scenario: str) -> None:
    cell = in_static_form(planned(model, choice("npu"), scenario))
    given = cell.loads
    assert given.file.onnx != model.file.onnx
    assert set(given.options.shapes) == set(given.feeds)
    assert ("past_key" in given.feeds) == (scenario == "decode@5")
    assert "past_key" in cell.feeds, "the reference gets the model as it is"
    assert [str(file.path) for file in given.file.files] == [str(given.file.onnx)]
    outputs = ReferenceEvaluator(str(given.file.onnx)).run(None, given.feeds)
    logits, key, _ = cell.given(outputs)
    if scenario == "prefill@5":
        want = right(cell.feeds["input_ids"])
        np.testing.assert_allclose(logits, want, rtol=1e-4, atol=1e-4)
    assert key.shape == (1, 1, 5 + (scenario == "decode@5"), 4)


def test_whole_texts_get_graphs_with_a_static_cache(model: Loaded, tmp_path: Path) -> None:
    model = replace(model, buffered=write_static(tmp_path / "static.onnx"))
    cell = in_static_form(planned(model, choice("npu"), "offline@8+4"))
    given = cell.loads
    assert [(s.batch, s.tokens, s.capacity) for s in given.file.static] == [
        (1, 1, 12),
        (1, 8, 12),
        (1, 0, 12),
    ]
    one, prompt, free = given.file.static
    assert given.file.onnx == one.path
    assert free.path == model.buffered
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.load(prompt.path).graph.input
    }
    assert shapes["input_ids"] == [1, 8]
    assert shapes["past_key"] == [1, 1, 12, 4]
    assert {file.path for file in given.file.files} == {one.path, prompt.path, free.path}
    assert given.options.shapes == {}
    outputs: list[Any] = [np.zeros(3), np.ones(2)]
    assert all(a is b for a, b in zip(cell.given(outputs), outputs, strict=True))


def test_whole_texts_without_a_static_cache_are_refused_with_the_reason(model: Loaded) -> None:
    cell = planned(model, choice("npu"), "offline@8+4")
    with pytest.raises(Unsupported, match=r"fake:npu:0 takes only fixed shapes.*Name that folder"):
        in_static_form(cell)
    known = replace(cell, model=replace(model, not_buffered=Unsupported("its state is more.")))
    with pytest.raises(Unsupported, match="its state is more"):
        in_static_form(known)


def test_a_static_cache_is_exported_where_a_text_is_asked_of_such_a_target() -> None:
    static, other = choice("npu"), choice()
    assert static_forms(Suite(scenarios=("offline@8+4",)), [static, other])
    assert not static_forms(Suite(scenarios=("offline@8+4",)), [other])
    assert not static_forms(Suite(scenarios=("decode@8",)), [static])
