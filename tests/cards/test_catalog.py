"""How models are called: links are kept, and two models of one name are told apart."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bench.cards.card import load_card
from bench.cards.catalog import find_model, told_apart, wherever
from bench.cards.export import run_onnx
from bench.cards.files import content_sha256, stored_bytes
from bench.cards.text import card_toml
from bench.errors import SpecError


def save(path: Path, width: int, data: str = "") -> Path:
    """``y = x @ w`` from 4 to ``width``, its weights in the file ``data`` beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    value = helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.ones((4, width), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["batch", 4])],
        [value("y", TensorProto.FLOAT, ["batch", width])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    external = {"save_as_external_data": True, "location": data, "size_threshold": 0}
    onnx.save(model, str(path), **(external if data else {}))
    return path


def link(path: Path, target: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def width_of(path: Path) -> int:
    (y,) = run_onnx(path, {"x": np.ones((1, 4), np.float32)})
    return int(y.shape[1])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_link_is_the_file_that_it_leads_to_not_one_of_its_name_there(tmp_path: Path) -> None:
    save(tmp_path / "store" / "model.onnx", 5)
    save(tmp_path / "store" / "model-v2.onnx", 7)
    path = link(tmp_path / "deploy" / "model.onnx", "../store/model-v2.onnx")
    card = find_model(str(path))
    assert card.model_file().onnx == path
    assert card.outputs[0].shape == ("batch", 7)
    assert card.content_sha256() != find_model(f"{tmp_path}/store/model.onnx").content_sha256()
    assert wherever(str(path)) == str(path)
    (tmp_path / "card.toml").write_text(card_toml(card, tmp_path))
    assert load_card(tmp_path / "card.toml").model_file().onnx == path


def test_a_folder_behind_a_link_and_back_is_where_the_system_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "real" / "model.onnx", 7)
    save(tmp_path / "model.onnx", 5)
    (tmp_path / "real" / "inner").mkdir()
    link(tmp_path / "shortcut", "real/inner")
    monkeypatch.chdir(tmp_path)
    card = find_model("shortcut/../model.onnx")
    assert width_of(card.model_file().onnx or Path()) == 7
    assert width_of(Path(wherever("shortcut/../model.onnx"))) == 7
    (tmp_path / "card.toml").write_text(card_toml(card, tmp_path))
    assert width_of(load_card(tmp_path / "card.toml").model_file().onnx or Path()) == 7


def test_a_card_behind_a_link_names_files_beside_the_link(tmp_path: Path) -> None:
    save(tmp_path / "a" / "m.onnx", 5)
    save(tmp_path / "b" / "m.onnx", 7)
    (tmp_path / "b" / "real.toml").write_text(
        'name = "x"\ntask = "raw"\n[source]\nonnx = "m.onnx"\n'
        '[[inputs]]\nname = "x"\nshape = ["batch", 4]\n'
    )
    card = load_card(link(tmp_path / "a" / "card.toml", "../b/real.toml"))
    assert width_of(card.model_file().onnx or Path()) == 5


def test_a_module_and_a_checkpoint_behind_links_keep_their_paths(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "aaaa").write_text(
        "import torch\ndef example_inputs(): return torch.ones(2, 4)\n"
        "def net(): return torch.nn.Linear(4, 3)\n"
    )
    card = find_model(f"{link(tmp_path / 'snapshot' / 'net.py', '../blobs/aaaa')}:net")
    source = card.model_file().torch
    assert source is not None
    assert source.file == tmp_path / "snapshot" / "net.py"
    (tmp_path / "blobs" / "bbbb").write_text('{"architectures": ["BertModel"], "vocab_size": 5}')
    link(tmp_path / "mine" / "config.json", "../blobs/bbbb")
    card = find_model(str(link(tmp_path / "latest", "mine")))
    assert (card.name, card.path) == ("latest", tmp_path / "latest" / "config.json")


def test_weights_behind_links_are_followed_as_in_hugging_faces_cache(
    tmp_path: Path, cache: Path
) -> None:
    save(tmp_path / "hub" / "tmp.onnx", 7, "big.onnx_data")
    (tmp_path / "hub" / "blobs").mkdir()
    (tmp_path / "hub" / "tmp.onnx").rename(tmp_path / "hub" / "blobs" / "aaaa")
    (tmp_path / "hub" / "big.onnx_data").rename(tmp_path / "hub" / "blobs" / "bbbb")
    snapshot = tmp_path / "hub" / "snapshots" / "rev"
    path = link(snapshot / "big.onnx", "../../blobs/aaaa")
    link(snapshot / "big.onnx_data", "../../blobs/bbbb")
    card = find_model(str(path))
    file = card.model_file().onnx
    assert file is not None
    assert not any(part.is_symlink() for part in file.parent.iterdir())
    assert width_of(file) == 7
    assert content_sha256(file) == content_sha256(path)
    assert stored_bytes(file) == stored_bytes(path)
    before = file
    (tmp_path / "hub" / "blobs" / "bbbb").unlink()
    save(tmp_path / "other.onnx", 7, "other.data")
    os.replace(tmp_path / "other.data", tmp_path / "hub" / "blobs" / "bbbb")
    assert find_model(str(path)).model_file().onnx != before  # the weights are other ones


@pytest.mark.parametrize("data", ["", "w.data"])
def test_a_link_to_nowhere_is_one_sentence(tmp_path: Path, data: str) -> None:
    path = save(tmp_path / "model.onnx", 5, data)
    broken = tmp_path / (data or "model.onnx")
    broken.unlink()
    link(broken, "gone")
    with pytest.raises(SpecError, match="a symbolic link to gone, which does not exist") as error:
        find_model(str(path))
    assert "\n" not in str(error.value)


def test_models_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [save(tmp_path / name / "model.onnx", 5) for name in ("v1", "v2", "a/v3", "b/v3")]
    names = [card.name for card in told_apart([find_model(str(path)) for path in paths])]
    assert names == ["v1/model", "v2/model", "a/v3/model", "b/v3/model"]
    assert [c.name for c in told_apart([find_model(str(paths[0]))])] == ["model"]


def test_a_model_that_says_its_own_name_keeps_it(tmp_path: Path) -> None:
    save(tmp_path / "v1" / "model.onnx", 5)
    (tmp_path / "v1" / "card.toml").write_text(
        'name = "model"\ntask = "raw"\n[source]\nonnx = "model.onnx"\n'
        '[[inputs]]\nname = "x"\nshape = ["batch", 4]\n'
    )
    cards = [find_model(f"{tmp_path}/v1/card.toml"), find_model(f"{tmp_path}/v1/model.onnx")]
    assert [card.name for card in told_apart(cards)] == ["model", "v1/model"]


def test_a_path_is_stored_so_that_another_folder_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("")
    (tmp_path / "fashion-student").mkdir()
    assert wherever("net.py:f") == f"{tmp_path}/net.py:f"
    assert wherever("fashion-student") == "fashion-student"  # the installed model wins
    assert wherever("no-such-model") == "no-such-model"
