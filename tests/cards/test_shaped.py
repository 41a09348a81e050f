"""`--input`: what a PyTorch module takes, where the user says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cards.catalog import find_model
from bench.errors import SpecError
from bench.measure.models import find_models

CODE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(5, 8)

    def forward(self, x, ids):
        return x + self.table(ids).mean(1)

class Image(torch.nn.Module):
    example_input_array = torch.ones(1, 3, 8, 8)

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 2)

class Bare(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 2)
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return str(path)


def test_a_shape_is_of_the_next_parameter_and_its_first_axis_is_the_batch(file: str) -> None:
    card = find_model(f"{file}:Net", ["2x8", "2x3:int64"])
    assert [(t.name, t.dtype, t.shape) for t in card.inputs] == [
        ("x", "float32", ("batch", 8)),
        ("ids", "int64", ("batch", 3)),
    ]
    assert find_model(f"{file}:Net", ["ids=1x3:int64", "1x8"]).inputs == card.inputs


def test_a_shape_wins_over_the_modules_example(file: str) -> None:
    card = find_model(f"{file}:Image", ["1x3x32x16"])
    assert card.inputs[0].shape == ("batch", 3, 32, 16)


@pytest.mark.parametrize(
    ("model", "shapes", "words"),
    [
        ("Image", ["3x8"], r"x of .*Image has 4 dimensions \(1x3x8x8 in its example\), and 2"),
        ("Bare", ["8"], "--input 8: .*:Bare refuses it: "),
        ("Bare", ["y=1x3x8x8"], "--input y=1x3x8x8: .*:Bare takes x;"),
        ("Bare", ["1x3x8x8", "1x3"], "--input 1x3: .*:Bare takes x;"),
        ("Bare", ["1,3"], "write sizes with x between them"),
        ("Bare", ["0x3"], "every size has to be 1 or more"),
        ("Bare", ["1x3:floaty"], "floaty is not a type of numbers"),
        ("Bare", [], "for example --input 1x3x224x224"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    file: str, model: str, shapes: list[str], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        find_model(f"{file}:{model}", shapes)


def test_a_module_that_refuses_its_shape_costs_its_own_rows(file: str) -> None:
    named = find_models([f"{file}:Bare", f"{file}:Image"], ["1x3x8x8"])
    assert [one.error for one in named] == [None, None]
    wrong, right = find_models([f"{file}:Bare", f"{file}:Net"], ["1x8", "1x3:int64"])
    assert "takes x; give each at most once" in str(wrong.error)
    assert right.error is None


def test_a_shape_that_no_model_takes_is_refused() -> None:
    with pytest.raises(SpecError, match="no model of the run is one"):
        find_models(["fashion-student"], ["1x3"])
    with pytest.raises(SpecError, match="write sizes"):
        find_models(["net.py:f"], ["wide"])
