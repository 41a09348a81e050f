"""What a language model takes in memory: foretold before loading, and measured beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_records import a_cell, a_record
from small_decoder import small_decoder

from bench.backend import Device, ModelFile
from bench.cards.card import Card
from bench.cards.language.cards import tensors
from bench.cards.ready import Loaded
from bench.decoding import Decoder, Length, StateTensor
from bench.errors import OutOfMemory
from bench.measure.feeds import Feeds
from bench.measure.language import pasts as measuring
from bench.measure.language.pasts import footprint, too_large, with_held
from bench.measure.plan import PlannedCell, make_plan
from bench.present.results import _heading
from bench.record.result import Footprint, Record
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, parse_target
from bench.spec import Suite
from bench.store.cached import token_bytes_held

#: As DeepSeek-V4's: a window, what waits to be compressed, what was compressed, a mark.
EVERY_LAW = Decoder(
    "Made",
    vocabulary=50,
    state=(
        StateTensor("a", "a_next", "float32", ("batch", 2, "past", 4)),
        StateTensor("b", "b_next", "float16", ("batch", "window", 8)),
        StateTensor("c", "c_next", "float32", ("batch", "waiting", 3)),
        StateTensor("d", "d_next", "float32", ("batch", "entries", 6)),
        StateTensor("e", "e_next", "bool", ("batch", 5)),
    ),
    lengths={
        "past": Length("grows"),
        "window": Length("slides", 7),
        "waiting": Length("rest", 4),
        "entries": Length("groups", 4),
    },
)


def test_the_state_is_as_large_as_its_laws_say() -> None:
    def by_hand(batch: int, n: int) -> int:
        floats = 2 * n * 4 + (n % 4) * 3 + (n // 4) * 6
        return batch * (4 * floats + 2 * min(n, 7) * 8 + 5)

    for batch, position in ((1, 0), (1, 3), (2, 7), (3, 100)):
        assert EVERY_LAW.state_bytes(batch, position) == by_hand(batch, position)
    # In the long run: what slides and what waits adds nothing.
    assert EVERY_LAW.token_bytes() == 4 * (2 * 4 + 6 / 4)
    grown = EVERY_LAW.state_bytes(1, 4008) - EVERY_LAW.state_bytes(1, 8)
    assert grown / 4000 == EVERY_LAW.token_bytes()


def plan(device: Device, *scenarios: str, decoder: Decoder | None = None) -> list[PlannedCell]:
    decoder = decoder or small_decoder(context=None)
    card = Card.model_validate(
        {
            "name": "small",
            "task": "text-generation",
            "source": {"onnx": "small.onnx"},
            "path": Path("/nowhere/small.toml"),
            **tensors(decoder),
        }
    )
    model = Loaded(
        card, ModelFile("small"), None, sha256="0" * 64, decoder=decoder, state_bytes=1000
    )
    target = parse_target(f"fake:{device.id}")
    choice = Choice(target, Runtime("fake", "fake:Fake", {}), device, named=True)
    return list(make_plan(Suite(scenarios=scenarios), [model], [choice]).cells)


CPU = Device("cpu", "", "a CPU")
TOKEN = 2 * 32 * 4  # keys and values


def test_a_prompt_is_foretold_with_the_logits_of_all_its_tokens() -> None:
    (planned,) = plan(CPU, "prefill@100")
    assert footprint(planned) == Footprint(
        weights_bytes=1000,
        cache_bytes=100 * TOKEN,
        cache_token_bytes=TOKEN,
        logits_bytes=100 * 64 * 4,
        needed_bytes=1000 + 100 * TOKEN + 100 * 64 * 4,
        cache_cuts=True,
    )


def test_a_token_is_foretold_with_the_state_before_and_after_and_what_filling_it_takes() -> None:
    (planned,) = plan(CPU, "decode@100", decoder=small_decoder(vocabulary=2, context=None))
    told = footprint(planned)
    assert told is not None
    assert told.cache_bytes == 101 * TOKEN
    assert told.logits_bytes == 2 * 4
    assert told.needed_bytes == 1000 + 100 * TOKEN + 101 * TOKEN + 2 * 4
    (planned,) = plan(CPU, "decode@100", decoder=small_decoder(vocabulary=5000, context=None))
    told = footprint(planned)
    assert told is not None
    assert told.needed_bytes == 100 * TOKEN + 100 * 5000 * 4  # the reference's file isn't there


def test_a_text_is_foretold_with_all_its_tokens_and_its_prompts_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (planned,) = plan(CPU, "generate@20+30")
    told = footprint(planned)
    assert told is not None
    assert told.cache_bytes == 50 * TOKEN
    assert told.logits_bytes == 20 * 64 * 4
    assert told.needed_bytes == 1000 + 50 * TOKEN + 20 * 64 * 4
    monkeypatch.setattr(measuring, "spare_bytes", lambda: 0)
    assert "Give a smaller --prompt or --answer, or" in str(too_large(planned))


def test_what_has_no_cache_has_no_footprint() -> None:
    (planned,) = plan(CPU, "decode@8")
    assert footprint(replace(planned, model=replace(planned.model, decoder=None))) is None
    (planned,) = plan(CPU, "multi-stream")
    assert footprint(planned) is None


def test_a_cache_that_does_not_fit_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (planned,) = plan(CPU, "decode@100")
    told = footprint(planned)
    assert told is not None
    monkeypatch.setattr(measuring, "spare_bytes", lambda: told.needed_bytes)
    assert too_large(planned) is None
    monkeypatch.setattr(measuring, "spare_bytes", lambda: told.needed_bytes - 1)
    refused = too_large(planned)
    assert isinstance(refused, OutOfMemory)
    assert str(refused) == (
        "small fake:cpu decode@100 batch 1: not loaded, because it needs at least 51.5 KiB of "
        "memory "
        "(1000 B of weights, a cache of 25.2 KiB (256 B a token), 25.0 KiB of logits), and "
        "51.5 KiB of this machine's memory is free. Give a smaller --depth, or free memory."
    )


def test_a_device_has_its_own_memory_and_the_host_only_fills_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = Device("cuda:0", "", "a GPU", memory_bytes=40_000)
    (planned,) = plan(small, "decode@100")
    filling = 100 * TOKEN + 100 * 64 * 4
    monkeypatch.setattr(measuring, "spare_bytes", lambda: filling)
    refused = too_large(planned)
    assert refused is not None
    assert "and a GPU has 39.1 KiB" in str(refused)
    (planned,) = plan(replace(small, memory_bytes=10**9), "decode@100")
    assert too_large(planned) is None
    monkeypatch.setattr(measuring, "spare_bytes", lambda: filling - 1)
    assert "of this machine's memory is free" in str(too_large(planned))


def held(depth: int, array: Any = None) -> Record:
    """The record of a cell whose bound state had real arrays."""
    (planned,) = plan(CPU, f"decode@{depth}")
    state = array if array is not None else np.zeros((1, 1, depth, 32), np.float32)
    feeds = {**planned.feeds, "past_k": state, "past_v": state}
    told = with_held(footprint(planned), replace(planned, inputs=Feeds.given(feeds)))
    return a_record(a_cell(scenario=f"decode@{depth}")).model_copy(update={"footprint": told})


def test_a_tokens_share_is_measured_between_two_depths() -> None:
    found = [held(8), held(32)]
    assert [r.footprint.cache_held_bytes for r in found if r.footprint] == [8 * TOKEN, 32 * TOKEN]
    assert token_bytes_held(found) == TOKEN
    assert token_bytes_held(found[:1]) is None
    # A runtime that kept its cache in half precision would show here.
    half = held(32, np.zeros((1, 1, 32, 32), np.float16))
    assert token_bytes_held([held(8), half]) == (32 * TOKEN / 2 - 8 * TOKEN) / 24


def test_the_table_says_what_a_token_takes() -> None:
    words = _heading([held(8), held(32)], several_variants=False, originals=set())
    assert "cache 256 B a token (measured: 256 B)" in words
    assert "cache 256 B a token" in _heading([held(8)], several_variants=False, originals=set())
    bare = a_record(a_cell())
    assert "cache" not in _heading([bare], several_variants=False, originals=set())
