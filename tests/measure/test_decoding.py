"""bench/measure/language/steps.py and pasts.py: what the cells of language models are timed on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.backend import Device, ModelFile
from bench.cards.card import Card
from bench.cards.language.cards import tensors
from bench.cards.language.prompts import prompt_tokens
from bench.cards.ready import Loaded
from bench.decoding import Decoder, Length, StateTensor
from bench.errors import BenchError, SpecError, Unsupported
from bench.measure.language.pasts import footprint, names_to_fill, with_past
from bench.measure.language.steps import refusal
from bench.measure.plan import PlannedCell, make_plan
from bench.record.parity import Reference
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, parse_target
from bench.scenarios import find_scenario
from bench.spec import Suite

DECODER = Decoder(
    "Made",
    vocabulary=50,
    state=(
        StateTensor("past_key", "present_key", "float32", ("batch", 2, "past", 4)),
        StateTensor("past_gate", "present_gate", "float32", ("batch", 3), fill=-1.0),
    ),
    lengths={"past": Length("grows")},
    context=64,
    mask="attention_mask",
)
RUNTIME = Runtime("fake", "fake:Fake", {})


def model(decoder: Decoder | None = DECODER) -> Loaded:
    shape = {"inputs": [{"name": "x", "shape": ["batch", 4]}]}
    card = Card.model_validate(
        {
            "name": "tiny",
            "task": "text-generation" if decoder else "raw",
            "source": {"onnx": "tiny.onnx"},
            "path": Path("/nowhere/tiny.toml"),
            **(tensors(decoder) if decoder else shape),
        }
    )
    file = ModelFile("tiny")
    return Loaded(card, file, None, sha256="0" * 64, decoder=decoder, state_bytes=1)


def plan(suite: Suite, loaded: Loaded) -> list[PlannedCell]:
    choice = Choice(parse_target("fake:cpu"), RUNTIME, Device("cpu", "", "a CPU"), named=True)
    return list(make_plan(suite, [loaded], [choice]).cells)


def test_a_language_model_is_measured_by_prefill_and_decode_unless_told_otherwise() -> None:
    cells = plan(Suite(prompt=(16, 24), depth=(8,)), model())
    assert [p.cell.scenario for p in cells] == ["prefill@16", "prefill@24", "decode@8"]
    assert len({p.cell.id for p in cells}) == 3
    assert [p.cell.scenario for p in plan(Suite(), model(None))] == ["single-stream", "offline"]


def test_a_prompt_comes_after_nothing() -> None:
    (planned,) = plan(Suite(scenarios=("prefill",), prompt=(16,)), model())
    assert planned.prompt is None
    assert planned.cell.shapes == {
        "input_ids": (1, 16),
        "attention_mask": (1, 16),
        "past_key": (1, 2, 0, 4),
        "past_gate": (1, 3),
    }
    assert (planned.feeds["past_gate"] == -1).all()


class FakeReferences:
    """Knows one state, and notes what it was asked."""

    def __init__(self, outputs: tuple[np.ndarray[Any, Any], ...] | None) -> None:
        self.outputs = outputs
        self.asked: list[PlannedCell] = []

    def of(self, planned: PlannedCell) -> Reference:
        self.asked.append(planned)
        return Reference("fake", self.outputs, "it is a fake")


def test_a_token_is_decoded_after_a_state_that_the_prompt_left() -> None:
    (planned,) = plan(Suite(scenarios=("decode@8",)), model())
    key = np.arange(64, dtype=np.float32).reshape(1, 2, 8, 4)
    gate = np.full((1, 3), 5, np.float32)
    references = FakeReferences((np.zeros((1, 8, 50), np.float32), key, gate))
    ready = with_past(planned, references)  # type: ignore[arg-type]
    (asked,) = references.asked
    assert asked.feeds["input_ids"].shape == (1, 8)
    assert asked.feeds["past_key"].shape == (1, 2, 0, 4)
    assert asked.options.shapes["input_ids"] == (1, 8)
    assert asked.cell.input_sha256 != planned.cell.input_sha256
    assert ready.cell == planned.cell
    assert ready.feeds["input_ids"].shape == (1, 1)
    assert ready.feeds["attention_mask"].shape == (1, 9)
    assert (ready.feeds["past_key"] == key).all()
    assert (ready.feeds["past_gate"] == gate).all()
    shapes = {name: array.shape for name, array in ready.feeds.items()}
    assert shapes == planned.cell.shapes


def test_a_draft_is_checked_with_the_token_before_it_behind_the_same_state() -> None:
    suite = Suite(scenarios=("verify",), depth=(8, 16), draft=(1, 4))
    cells = plan(suite, model())
    assert [p.cell.scenario for p in cells] == [
        *("verify@8+1", "verify@8+4", "verify@16+1", "verify@16+4"),
    ]
    for planned, depth, tokens in zip(cells, (8, 8, 16, 16), (2, 5, 2, 5), strict=True):
        assert planned.prompt is not None
        assert planned.prompt.shape == (1, depth)
        assert planned.feeds["input_ids"].shape == (1, tokens)
        assert planned.feeds["attention_mask"].shape == (1, depth + tokens)
        assert planned.feeds["past_key"].shape == (1, 2, depth, 4)
        told = footprint(planned)
        assert told is not None
        assert told.logits_bytes == 4 * 50 * tokens
        assert told.cache_bytes == DECODER.state_bytes(1, depth + tokens)
        assert told.cache_cuts is False, "the gate is replaced"
    one = plan(Suite(scenarios=("decode@8",)), model())[0]
    assert (one.prompt == cells[0].prompt).all()
    assert (one.feeds["input_ids"][0] == cells[0].feeds["input_ids"][0, :1]).all()


def test_a_cache_that_is_filled_is_told_of_once() -> None:
    assert names_to_fill(plan(Suite(scenarios=("decode@8", "decode@16")), model())) == ["tiny"]
    assert names_to_fill(plan(Suite(scenarios=("prefill@8",)), model())) == []


def test_a_cache_that_nothing_can_fill_fails_its_cell() -> None:
    (planned,) = plan(Suite(scenarios=("decode@8",)), model())
    with pytest.raises(BenchError, match=r"its cache can't be filled .* it is a fake"):
        with_past(planned, FakeReferences(None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scenario", "decoder", "words"),
    [
        ("multi-stream", DECODER, "uses no cache"),
        ("decode@64", DECODER, "65 tokens, but its context holds 64"),
        ("prefill@65", DECODER, "a smaller --prompt"),
        ("verify@60+4", DECODER, "65 tokens, but its context holds 64. Give a smaller --depth or"),
        ("decode@8", None, "has no token cache"),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_sentence(
    scenario: str, decoder: Decoder | None, words: str
) -> None:
    cells = plan(Suite(scenarios=(scenario,)), model(decoder))
    assert cells
    for planned in cells:
        assert isinstance(planned.refused, Unsupported)
        assert words in str(planned.refused)


def test_a_context_that_is_just_enough_is_not_refused() -> None:
    for name in ("decode@63", "prefill@64"):
        assert refusal(model(), find_scenario(name), Suite()) is None


@pytest.mark.parametrize(
    "name", ["offline@3", "decode@", "decode@0", "decode@x", "decode@-1", "verify@8", "decode@8+1"]
)
def test_a_length_belongs_to_what_counts_tokens(name: str) -> None:
    with pytest.raises(SpecError, match="prefill@128"):
        find_scenario(name)


def tokenizer(folder: Path, words: int) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({f"w{i}": i for i in range(words - 1)} | {"?": words - 1}, "?")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_prompts_are_of_the_tokenizers_text_and_seeded(tmp_path: Path) -> None:
    path = tokenizer(tmp_path, 50)
    found = prompt_tokens(DECODER, path, 2, 40, seed=3)
    assert set(found.flat) == {49}, "what all words of the text are to this tokenizer"
    drawn = prompt_tokens(DECODER, None, 2, 40, seed=3)
    assert (drawn == prompt_tokens(DECODER, None, 2, 40, seed=3)).all()
    assert (drawn != prompt_tokens(DECODER, None, 2, 40, seed=4)).any()
    assert drawn.max() < 50


def test_another_models_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tokenizer(tmp_path, 50)
    with pytest.raises(SpecError, match="belongs to another model"):
        prompt_tokens(replace(DECODER, vocabulary=49), path, 1, 4, seed=0)
