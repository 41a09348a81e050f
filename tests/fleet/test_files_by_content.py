"""Models that are named by paths travel by content, and are the same models where they arrive."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_card import GOOD, save_model

from bench.cards.catalog import find_model, told_apart
from bench.errors import SpecError
from bench.fleet.arrived import places
from bench.fleet.files import Packed, pack


def an_onnx(path: Path, *, external: str = "") -> Path:
    """``y = x + w``; the weight in a file of its own where ``external`` names one."""
    import numpy as np

    weight = numpy_helper.from_array(np.ones((4,), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        model,
        str(path),
        save_as_external_data=bool(external),
        location=external or None,
        size_threshold=0,
    )
    return path


def carried(packed: Packed, store: Path) -> None:
    """What a transport does with the contents."""
    store.mkdir(parents=True, exist_ok=True)
    for sha256, path in packed.contents.items():
        shutil.copyfile(path, store / sha256)


def test_models_that_arrive_have_the_names_and_hashes_that_they_had(tmp_path: Path) -> None:
    texts = [
        str(an_onnx(tmp_path / "v1" / "model.onnx")),
        str(an_onnx(tmp_path / "v2" / "model.onnx", external="model.weights")),
    ]
    before = [(c.name, c.content_sha256()) for c in told_apart([find_model(t) for t in texts])]
    packed = pack(texts)
    carried(packed, tmp_path / "store")
    there = places(packed.trees, tmp_path / "store")
    shutil.rmtree(tmp_path / "v1")
    shutil.rmtree(tmp_path / "v2")
    after = told_apart([find_model(there[text]) for text in texts])
    assert [(c.name, c.content_sha256()) for c in after] == before
    assert len({card.name for card in after}) == 2
    onnx.checker.check_model(there[texts[1]])  # which follows no link to the weights


def test_a_cards_data_and_files_beside_it_come_along(tmp_path: Path) -> None:
    here = tmp_path / "models" / "here"
    here.mkdir(parents=True)
    save_model(here / "m.onnx")
    (tmp_path / "models" / "data.csv").write_text("x,label\n1,0\n")
    card = here / "card.toml"
    data = '[dataset]\nname = "d"\npath = "../data.csv"\n'
    card.write_text(GOOD.replace("[source]", f"{data}[source]"))
    packed = pack([str(card)])
    carried(packed, tmp_path / "store")
    there = Path(places(packed.trees, tmp_path / "store")[str(card)])
    shutil.rmtree(tmp_path / "models")
    found = find_model(str(there))
    for name in found.named_files():
        assert found.file(name).is_file()


def test_the_same_content_travels_once_and_an_installed_model_not_at_all(tmp_path: Path) -> None:
    one = an_onnx(tmp_path / "a" / "x.onnx")
    two = tmp_path / "b" / "y.onnx"
    two.parent.mkdir()
    shutil.copyfile(one, two)
    packed = pack([str(one), str(two), "fashion-student"])
    assert len(packed.contents) == 1
    assert set(packed.trees) == {str(one), str(two)}
    carried(packed, tmp_path / "store")
    there = places(packed.trees, tmp_path / "store")
    assert Path(there[str(one)]).read_bytes() == Path(there[str(two)]).read_bytes()
    # A second lease, in the same store.
    assert places(packed.trees, tmp_path / "store") == there


def test_a_content_that_has_not_come_is_named(tmp_path: Path) -> None:
    packed = pack([str(an_onnx(tmp_path / "a" / "x.onnx"))])
    with pytest.raises(SpecError, match=r"x\.onnx: its content .* has not arrived"):
        places(packed.trees, tmp_path / "store")


@pytest.mark.parametrize("name", ["../outside", "/etc/cron.d/x", "a/../../b"])
def test_a_path_that_leads_out_of_the_store_is_refused(name: str, tmp_path: Path) -> None:
    tree = {"m": {"root": "m.onnx", "files": {name: "00"}, "cache": {}}}
    with pytest.raises(SpecError, match="not a path inside"):
        places(tree, tmp_path / "store")


def test_code_beside_somebodys_home_does_not_travel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.fleet.files._MOST_FILES", 2)
    for name in ("model.py", "a.py", "b.py", "c.py"):
        (tmp_path / name).write_text("")
    with pytest.raises(SpecError, match="in its own folder"):
        pack([f"{tmp_path / 'model.py'}:make"])
