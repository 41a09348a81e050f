"""What the contract suite doesn't ask of IREE: what is kept on the disk, pools, fixed shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.backends.iree.adapter import Iree
from onnx import helper
from small_models import write

from bench.backend import ModelFile, Options
from bench.errors import SpecError, Unsupported

pytest.importorskip("iree.runtime", reason="not installed: pip install 'infer-bench[iree]'")
pytest.importorskip("iree.compiler", reason="not installed: pip install 'infer-bench[iree]'")


@pytest.fixture
def adding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFile:
    """``y = a + b`` with a dynamic batch, and an empty cache."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    add = helper.make_node("Add", ["a", "b"], ["y"])
    return write(tmp_path / "adding.onnx", [add], {"a": ["n", 4], "b": ["n", 4]}, {"y": ["n", 4]})


def compiled(model: ModelFile, batch: int = 3, threads: int = 1, **extra: str) -> Any:
    from bench.backends.shared.host import cpu_device

    shapes = {"a": (batch, 4), "b": (batch, 4)}
    return Iree().compile(model, cpu_device(), Options(threads, shapes=shapes, extra=extra))


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "iree").glob("*"))


def assert_adds(session: Any, batch: int = 3) -> None:
    feeds = {name: np.full((batch, 4), 2, np.float32) for name in "ab"}
    np.testing.assert_array_equal(session.run(feeds)[0], np.full((batch, 4), 4))


def test_a_module_is_kept_and_found_again(adding: ModelFile, tmp_path: Path) -> None:
    assert_adds(compiled(adding))
    (module,) = kept(tmp_path)
    before = module.stat().st_mtime_ns
    session = compiled(adding)
    assert_adds(session)
    assert sum(session.placement().nodes.values()) == 1
    assert kept(tmp_path) == [module]
    assert module.stat().st_mtime_ns == before


def test_other_shapes_and_flags_are_other_modules(adding: ModelFile, tmp_path: Path) -> None:
    assert_adds(compiled(adding, batch=3), 3)
    assert_adds(compiled(adding, batch=5), 5)
    assert_adds(compiled(adding, batch=3, data_tiling="1"), 3)
    assert len(kept(tmp_path)) == 3


def test_without_the_cache_nothing_is_read_or_kept(adding: ModelFile, tmp_path: Path) -> None:
    assert_adds(compiled(adding, cache="0"))
    assert kept(tmp_path) == []


def test_a_cache_that_cannot_be_written_costs_time_alone(adding: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert_adds(compiled(adding))


def test_both_drivers_compute_the_same(adding: ModelFile) -> None:
    assert_adds(compiled(adding, driver="local-sync"))
    assert_adds(compiled(adding, driver="local-task"))


def test_a_second_pool_of_threads_is_refused(adding: ModelFile) -> None:
    """A process has one; a session that asks for another size would get the first in silence."""
    # By itself one thread makes no pool, and no other test has to have made one before.
    assert_adds(compiled(adding, threads=1, driver="local-task"))
    with pytest.raises(Unsupported, match="1; 2 need another process"):
        compiled(adding, threads=2)


def test_a_dimension_without_a_size_is_refused(adding: ModelFile) -> None:
    from bench.backends.shared.host import cpu_device

    with pytest.raises(SpecError, match=r"'b'.*--shape"):
        Iree().compile(adding, cpu_device(), Options(shapes={"a": (3, 4)}))


def test_inputs_of_type_bool_are_taken(tmp_path: Path) -> None:
    import onnx
    from bench.backends.shared.host import cpu_device
    from onnx import TensorProto

    value = helper.make_tensor_value_info
    node = helper.make_node("Not", ["x"], ["y"])
    given, made = value("x", TensorProto.BOOL, [2, 2]), value("y", TensorProto.BOOL, [2, 2])
    graph = helper.make_graph([node], "g", [given], [made])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "not.onnx")
    session = Iree().compile(
        ModelFile("not", tmp_path / "not.onnx"), cpu_device(), Options(shapes={"x": (2, 2)})
    )
    x = np.array([[True, False], [False, True]])
    (y,) = session.run({"x": x})
    assert y.dtype == bool
    np.testing.assert_array_equal(y, ~x)


def test_what_the_compiler_refuses_is_one_sentence(tmp_path: Path) -> None:
    node = helper.make_node("StringNormalizer", ["x"], ["y"])
    model = write(tmp_path / "text.onnx", [node], {"x": [4]}, {"y": [4]})
    from bench.backends.shared.host import cpu_device

    with pytest.raises(Unsupported) as caught:
        Iree().compile(model, cpu_device(), Options(extra={"cache": "0"}))
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
