"""Models that come without a card: checkpoint folders, factories, and the cards made for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cards.card import load_card
from bench.cards.catalog import find_model
from bench.errors import SpecError

CONFIG = {"architectures": ["BertModel"], "vocab_size": 50, "hidden_size": 8}


def a_checkpoint(folder: Path, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize(
    ("config", "task", "output"),
    [
        ({}, "embedding", ("batch", "seq", 8)),
        ({"architectures": ["BertForMaskedLM"]}, "raw", ("batch", "seq", 50)),
        ({"architectures": []}, "embedding", ("batch", "seq", 8)),
        (
            {"architectures": ["XForTokenClassification"], "id2label": {"0": "a", "1": "b"}},
            "raw",
            ("batch", "seq", 2),
        ),
        ({"architectures": ["XForQuestionAnswering"]}, "raw", ("batch", "seq")),
        (
            {"architectures": ["XForSequenceClassification"], "id2label": {"0": "a", "1": "b"}},
            "classification",
            ("batch", 2),
        ),
    ],
)
def test_config_json_tells_task_inputs_and_outputs(
    tmp_path: Path, config: dict[str, Any], task: str, output: tuple[Any, ...]
) -> None:
    card = find_model(str(a_checkpoint(tmp_path / "mine", **config)))
    assert (card.name, card.task) == ("mine", task)
    assert [tensor.name for tensor in card.inputs] == ["input_ids", "attention_mask"]
    assert card.outputs[0].shape == output
    source = card.model_file().torch
    assert source is not None
    assert source.folder == tmp_path / "mine"


def test_a_checkpoint_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    folder.mkdir()
    config = {"architectures": ["ViTForImageClassification"], "image_size": 32, "id2label": {}}
    (folder / "config.json").write_text(json.dumps(config))
    card = find_model(str(folder))
    assert card.inputs[0].shape == ("batch", 3, 32, 32)


def test_the_content_follows_the_checkpoints_files(tmp_path: Path) -> None:
    first = find_model(str(a_checkpoint(tmp_path / "mine"))).content_sha256()
    assert find_model(str(tmp_path / "mine")).content_sha256() == first
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"others")
    assert find_model(str(tmp_path / "mine")).content_sha256() != first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config.json: can't be read"),
        ('{"is_encoder_decoder": true}', "an encoder-decoder takes its own outputs"),
        ('{"architectures": ["GPT2DoubleHeadsModel"]}', "generates text"),
        ('{"architectures": ["BertForMultipleChoice"]}', "BertForMultipleChoice has a head that"),
        ('{"hidden_size": 4}', "none of `vocab_size`, `image_size`"),
    ],
)
def test_checkpoints_that_cannot_be_fed_are_one_sentence(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SpecError, match=words) as caught:
        find_model(str(tmp_path))
    assert "\n" not in str(caught.value)


FACTORY = """
import torch

def example_inputs():
    return torch.ones(2, 8), torch.zeros(2, 3, dtype=torch.int64)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(5, 8)

    def forward(self, x, ids):
        return x + self.table(ids).mean(1)

def make_net():
    return Net()

class Alone(torch.nn.Module):
    example_input_array = torch.ones(1, 4)

    def forward(self, x):
        return x.relu()
"""


def test_a_factory_is_described_by_its_example(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    card = find_model(f"{tmp_path}/net.py:make_net")
    assert card.name == "make-net"
    assert [(t.name, t.dtype, t.shape) for t in card.inputs] == [
        ("x", "float32", ("batch", 8)),
        ("ids", "int64", ("batch", 3)),
    ]
    assert find_model(f"{tmp_path}/net.py:Alone").inputs[0].shape == ("batch", 4)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def f():\n    import torch\n    return torch.nn.ReLU()", "define `example_inputs"),
        ("def f():\n    raise OSError('no weights')", "can't be created: OSError: no weights"),
        ("x = 1", "no usable factory f"),
        ("import sys; sys.exit('trained')", "net.py:f: it ended the program"),
        ("def f():\n    quit()", "net.py:f: it ended the program"),
        (
            FACTORY.replace("torch.ones(2, 8), ", "torch.ones(2, 8), 1, ") + "\nf = make_net",
            "a batch axis",
        ),
    ],
)
def test_factories_that_say_too_little_are_one_sentence(
    tmp_path: Path, code: str, words: str
) -> None:
    (tmp_path / "net.py").write_text(code)
    with pytest.raises(SpecError, match=words) as caught:
        find_model(f"{tmp_path}/net.py:f")
    assert "\n" not in str(caught.value)


def test_the_card_that_is_written_is_the_one_that_was_found(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    a_checkpoint(tmp_path / "mine")
    for model in ("net.py:make_net", "mine"):
        done = bench("model", "card", model, "-o", "card.toml", "--force")
        assert done.returncode == 0, done.stderr
        written = load_card(tmp_path / "card.toml")
        found = find_model(str(tmp_path / model))
        assert (written.name, written.task) == (found.name, found.task)
        assert written.inputs == found.inputs
        assert written.model_file() == found.model_file()
        assert written.provenance.sha256
    assert "already exists" in bench("model", "card", "mine", "-o", "card.toml").stderr
    assert "[source]" in bench("model", "card", "mine").stdout


def test_a_card_from_an_onnx_file_scores_once_its_data_is_filled_in(
    bench: Any, tmp_path: Path, doubling_model: Path
) -> None:
    done = bench("model", "card", str(doubling_model), "-o", "card.toml")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "card.toml").read_text()
    assert 'task = "raw"' in text
    assert "# [dataset]" in text
    done = bench("run", "-m", "card.toml", "-t", "onnxruntime:cpu", "--dry-run")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_real_checkpoint_is_exported_with_dynamic_batch_and_sequence(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import numpy as np
    import torch

    from bench.cards.export import export, run_onnx

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    model = transformers.BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path / "mine")
    path = export(find_model(str(tmp_path / "mine")), tmp_path / "cache")
    for batch, length in ((1, 7), (3, 20)):
        ids = np.random.default_rng(batch).integers(0, 60, (batch, length))
        mask = np.ones_like(ids)
        mask[:, length // 2 :] = 0
        (found,) = run_onnx(path, {"input_ids": ids, "attention_mask": mask})
        with torch.inference_mode():
            wanted = model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small checkpoints that `save_pretrained` wrote, by what they are."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("saved")
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        num_labels=5,
    )
    transformers.BertForTokenClassification(config).save_pretrained(folder / "tokens")
    config.num_labels = 2
    transformers.BertForQuestionAnswering(config).save_pretrained(folder / "answers")
    transformers.BertModel(config).save_pretrained(folder / "bare")
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder / "unpooled")
    return folder


def changed(saved: Path, name: str, folder: Path, **config: Any) -> Path:
    """A copy of a checkpoint with another configuration."""
    import shutil

    shutil.copytree(saved / name, folder)
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**found, **config}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("tokens", [(2, 7, 5)]),
        ("answers", [(2, 7), (2, 7)]),
        ("bare", [(2, 7, 16)]),
        ("unpooled", [(2, 7, 16)]),
    ],
)
def test_a_checkpoint_is_the_class_that_it_names_with_all_of_its_outputs(
    saved: Path, name: str, shapes: list[tuple[int, ...]]
) -> None:
    import numpy as np

    from bench.cards.modules import make, outputs

    card = find_model(str(saved / name))
    source = card.model_file().torch
    assert source is not None
    feeds = {tensor.name: np.ones((2, 7), np.int64) for tensor in card.inputs}
    assert [tuple(tensor.shape) for tensor in outputs(make(source), feeds)] == shapes
    assert [len(tensor.shape) for tensor in card.outputs] == [len(shape) for shape in shapes]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("bare", {"architectures": ["BertForSequenceClassification"]}, "no weights for classifier"),
        ("tokens", {"architectures": ["BertModel"]}, "weights that BertModel doesn't use, class"),
        ("tokens", {"architectures": []}, "weights that BertModel doesn't use, class"),
        ("tokens", {"id2label": {"0": "a", "1": "b"}}, r"has the shape \(5,\) in the checkpoint"),
        ("bare", {"num_hidden_layers": 2}, "no weights for encoder.layer.1.*which would be random"),
        (
            "bare",
            {"architectures": ["MineModel"], "auto_map": {"AutoModel": "evil.Mine"}},
            "has no MineModel, and code that comes with a checkpoint is never run",
        ),
    ],
)
def test_a_checkpoint_of_other_weights_than_it_names_is_refused_by_name(
    saved: Path, tmp_path: Path, name: str, config: dict[str, Any], words: str
) -> None:
    from bench.cards.modules import make

    folder = changed(saved, name, tmp_path / "mine", **config)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    source = find_model(str(folder)).model_file().torch
    assert source is not None
    with pytest.raises(SpecError, match=words) as caught:
        make(source)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
