"""ONNX's own tests as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bench.errors import SpecError
from bench.trials.portability import cases
from bench.trials.portability.cases import Case, NodeTests, node_tests, since_version


def named(tests: NodeTests, name: str) -> Case:
    return next(case for case in tests.cases if case.name == name)


def test_the_tests_are_those_of_the_installed_onnx(onnx_tests: NodeTests) -> None:
    assert onnx_tests.version == onnx.__version__
    assert len(onnx_tests.cases) > 1500
    assert sum(case.runnable for case in onnx_tests.cases) > 1300


def test_a_case_says_its_operator_and_since_when_it_is_defined_so(onnx_tests: NodeTests) -> None:
    case = named(onnx_tests, "test_basic_conv_with_padding")
    assert (case.operator, case.domain, case.inputs) == ("Conv", "", ("x", "W"))
    assert case.opset == onnx.defs.get_schema("Conv").since_version
    assert (case.rtol, case.atol) == (1e-3, 1e-7)


def test_an_expanded_test_belongs_to_the_operator_that_it_expands(onnx_tests: NodeTests) -> None:
    expanded = [case for case in onnx_tests.cases if case.expanded]
    assert {case.operator for case in expanded} >= {"Softmax", "LayerNormalization", "Clip"}
    assert all("_expanded" in case.name for case in expanded)


def test_arrays_and_model_belong_together(onnx_tests: NodeTests) -> None:
    case = named(onnx_tests, "test_add")
    feeds, (expected,) = onnx_tests.arrays(case)
    assert np.allclose(feeds["x"] + feeds["y"], expected)
    model = onnx.load(str(onnx_tests.model_file(case)))
    assert [value.name for value in model.graph.input] == list(case.inputs)


def test_a_scalar_input_stays_a_scalar(onnx_tests: NodeTests) -> None:
    case = named(onnx_tests, "test_clip")
    feeds, _ = onnx_tests.arrays(case)
    assert feeds["min"].shape == ()


def test_tests_of_random_numbers_are_left_out_as_onnx_leaves_them_out(
    onnx_tests: NodeTests,
) -> None:
    random = {case.name for case in onnx_tests.cases if case.random}
    assert {"test_bernoulli", "test_bernoulli_seed_expanded", "test_training_dropout"} <= random
    assert not named(onnx_tests, "test_dropout_default").random
    assert not named(onnx_tests, "test_training_dropout_zero_ratio").random


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("test_sequence_insert_at_back", "sequence"),
        ("test_string_concat", "STRING"),
        ("test_cast_FLOAT_to_BFLOAT16", "BFLOAT16"),
        ("test_dequantizelinear_int4", "INT4"),
    ],
)
def test_what_a_worker_cannot_be_given_is_named(
    onnx_tests: NodeTests, name: str, kind: str
) -> None:
    case = named(onnx_tests, name)
    assert case.inexpressible == kind
    assert not case.runnable


@pytest.mark.parametrize("broken", ["index.json", "arrays.npz", "models/test_abs.onnx"])
def test_files_that_are_broken_are_made_again(
    onnx_tests: NodeTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    made = tmp_path / "portability" / onnx_tests.folder.name

    def few() -> object:
        yield from list(original())[:3]

    original = cases._all_cases
    monkeypatch.setattr(cases, "_all_cases", few)
    node_tests(tmp_path)
    path = made / broken
    if path.suffix == ".onnx":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:40])
    again = node_tests(tmp_path)
    assert len(again.cases) == 3
    assert again.arrays(again.cases[0])[0]


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "portability"
    in_the_way.write_text("")
    with pytest.raises(SpecError, match=r"can't be written there.*BENCH_CACHE"):
        node_tests(tmp_path)


def test_a_version_of_an_operator_is_found_for_every_opset() -> None:
    assert since_version("Conv", "", 18) == 11
    assert since_version("NoSuchThing", "my.domain", 3) == 3
