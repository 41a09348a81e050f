"""Cells of models of bigrams, as a plan has them, for tests in whose process the session is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bigrams
import numpy as np

from bench.backend import Device, ModelFile
from bench.cards.card import load_card
from bench.cards.datasets import load_dataset
from bench.cards.language.cards import completed
from bench.cards.language.found import decoder_in
from bench.cards.ready import Loaded
from bench.measure.plan import PlannedCell, make_plan
from bench.runtimes.runtime import Runtime
from bench.runtimes.targets import Choice, parse_target
from bench.spec import Suite


def planned(folder: Path, data: str, *, tokenizer: bool = True, **more: Any) -> PlannedCell:
    """A model of bigrams in ``folder``, with ``data`` as its JSONL (or text)."""
    vocabulary = more.pop("vocabulary", bigrams.VOCABULARY)
    end, merges = more.pop("end", True), more.pop("merges", 0)
    bigrams.save(folder / "model.onnx", np.zeros((vocabulary, vocabulary), np.float32))
    if tokenizer:
        where = folder if vocabulary == bigrams.VOCABULARY else folder / "other"
        bigrams.tokenizer(where / "tokenizer.json", end=end, merges=merges)
        more |= {} if where == folder else {"tokenizer": '"other/tokenizer.json"'}
    name = "held.jsonl" if data.startswith("{") or not data else "held.txt"
    (folder / name).write_text(data, "utf-8")
    path = bigrams.card(folder, "tiny", folder / name)
    with path.open("a") as file:
        file.writelines(f"{key} = {value}\n" for key, value in more.items())
    card = completed(load_card(path))
    model = Loaded(
        card,
        ModelFile("tiny", onnx=folder / "model.onnx"),
        load_dataset(card),
        sha256="0" * 64,
        decoder=decoder_in(folder / "model.onnx"),
    )
    runtime = Runtime("fake", "fake:Fake", {})
    choice = Choice(parse_target("fake:cpu"), runtime, Device("cpu", "", "a CPU"), named=True)
    suite = Suite(scenarios=("prefill",), prompt=(4,), threads=3)
    (found,) = make_plan(suite, [model], [choice]).cells
    return found


def lines(*rows: object) -> str:
    return "\n".join(json.dumps(row) for row in rows)
