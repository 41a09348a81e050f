"""What the contract suite doesn't ask of tract: symbols, states, and errors without a backtrace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.backends.tract import Tract
from onnx import helper
from small_models import write

from bench.backend import ModelFile, Options
from bench.errors import SpecError, Unsupported

pytest.importorskip("tract", reason="tract is not installed: pip install 'infer-bench[tract]'")


def compiled(model: ModelFile, **shapes: tuple[int, ...]):
    backend = Tract()
    return backend.compile(model, backend.devices()[0], Options(shapes=shapes))


def test_dimensions_without_a_name_get_their_sizes(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["a", "b"], ["y"])
    shapes = {"a": [None, 4], "b": [None, 4]}
    model = write(tmp_path / "nameless.onnx", [add], shapes, {"y": [None, 4]})
    session = compiled(model, a=(3, 4), b=(3, 4))
    assert [spec.shape for spec in session.inputs] == [(3, 4), (3, 4)]
    (y,) = session.run({name: np.ones((3, 4), np.float32) for name in shapes})
    np.testing.assert_array_equal(y, np.full((3, 4), 2))


def test_a_size_that_two_inputs_share_must_be_one(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["a", "b"], ["y"])
    shapes = {"a": ["n", 4], "b": ["n", 4]}
    model = write(tmp_path / "shared.onnx", [add], shapes, {"y": ["n", 4]})
    session = compiled(model, a=(3, 4), b=(5, 4))
    feeds = {"a": np.ones((3, 4), np.float32), "b": np.ones((5, 4), np.float32)}
    with pytest.raises(SpecError, match="'a'"):
        session.run(feeds)


def test_a_recurrent_network_begins_anew_in_each_call(tmp_path: Path) -> None:
    """tract's `State.run` would go on where the last call ended."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((1, 16, 3), np.float32),
        "r": rng.standard_normal((1, 16, 4), np.float32),
    }
    lstm = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)
    outputs = {"y": ["seq", 1, 1, 4]}
    model = write(tmp_path / "lstm.onnx", [lstm], {"x": ["seq", 1, 3]}, outputs, weights)
    feeds = {"x": rng.standard_normal((5, 1, 3), np.float32)}
    session = compiled(model, x=(5, 1, 3))
    call = session.bind(feeds)
    call()
    first = session.fetch()[0]
    call()
    np.testing.assert_array_equal(session.fetch()[0], first)
    np.testing.assert_array_equal(session.run(feeds)[0], first)


def test_what_tract_refuses_is_one_sentence_without_its_backtrace(tmp_path: Path) -> None:
    reshape = helper.make_node("Reshape", ["x", "shape"], ["y"])
    weights = {"shape": np.array([5, 5], np.int64)}
    model = write(tmp_path / "misfit.onnx", [reshape], {"x": [2, 4]}, {"y": [5, 5]}, weights)
    with pytest.raises((SpecError, Unsupported)) as caught:
        compiled(model, x=(2, 4))
    text = str(caught.value)
    assert text.startswith("misfit on tract:cpu: it can't be compiled: ")
    assert "backtrace" not in text
    assert "\n" not in text
    assert len(text) < 300


def test_outputs_of_many_calls_do_not_pile_up(tmp_path: Path) -> None:
    """The adapter releases what the C function makes."""
    from bench.worker.resident import current_rss_bytes

    add = helper.make_node("Add", ["a", "a"], ["y"])
    model = write(tmp_path / "large.onnx", [add], {"a": [2**20]}, {"y": [2**20]})
    session = compiled(model, a=(2**20,))
    call = session.bind({"a": np.ones(2**20, np.float32)})
    call()
    before = current_rss_bytes()
    for _ in range(100):  # 4 MiB each
        call()
    after = current_rss_bytes()
    assert before is not None
    assert after is not None
    assert after - before < 100 * 2**20
