"""Two cards of one file are two models: each is scored on its own labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_card import GOOD, save_model

from bench.__main__ import main
from bench.store.run import read_run

DATA = """
[dataset]
name = "{name}"
path = "{name}.npz"
classes = ["a", "b", "c", "d"]
"""


def a_card(folder: Path, name: str, labels: np.ndarray) -> str:
    """Of the model that puts out what comes in, so the class is where the one is."""
    np.savez(folder / f"{name}.npz", images=np.eye(4, dtype=np.float32), labels=labels)
    card = GOOD.replace('"mine"', f'"{name}"').replace('"raw"', '"classification"')
    (folder / f"{name}.toml").write_text(card + DATA.format(name=name))
    return f"{name}.toml"


def test_each_card_of_a_file_is_scored_on_its_own_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "m.onnx")
    right, wrong = (
        a_card(tmp_path, "right", np.arange(4)),
        a_card(tmp_path, "wrong", np.arange(4) ^ 1),
    )
    flags = ["--scenario", "single-stream", "--quick", "--max-time", "0.5", "--quiet"]
    flags += ["--min-invocations", "2", "--max-invocations", "2", "--results", "runs"]
    main(["run", "-m", right, "-m", wrong, "-m", "m.onnx", "-t", "onnx-reference:cpu", *flags])
    scores = {
        record.cell.model.name: record.accuracy and record.accuracy.value.value
        for record in read_run(tmp_path / "runs").records
    }
    assert scores == {"right": 1.0, "wrong": 0.0, "m": None}
