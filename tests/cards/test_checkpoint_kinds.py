"""Checkpoints of networks for images, of two towers and of experts, by what their files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.cards import pretrained
from bench.cards.catalog import find_model
from bench.errors import SpecError


def a_folder(folder: Path, prepared: dict[str, Any] | None = None, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"weights")
    if prepared is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder


@pytest.mark.parametrize(
    ("prepared", "size"),
    [
        (None, (224, 224)),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 192, "width": 160}}, (192, 160)),
        ({"size": {"shortest_edge": 256}, "crop_size": 192, "do_center_crop": False}, (256, 256)),
        ({"size": 300}, (300, 300)),
        ({"size": {"longest_edge": 800}}, (224, 224)),
    ],
)
def test_a_network_of_convolutions_takes_images_of_the_size_they_are_prepared_to(
    tmp_path: Path, prepared: dict[str, Any] | None, size: tuple[int, int]
) -> None:
    folder = a_folder(
        tmp_path / "resnet",
        prepared,
        architectures=["ResNetForImageClassification"],
        num_channels=3,
        hidden_sizes=[8, 16],
        id2label={"0": "a", "1": "b", "2": "c"},
    )
    card = find_model(str(folder))
    assert (card.task, card.outputs[0].shape) == ("classification", ("batch", 3))
    (taken,) = card.inputs
    assert (taken.name, taken.shape) == ("pixel_values", ("batch", 3, *size))


def test_its_own_size_goes_before_what_images_are_prepared_to(tmp_path: Path) -> None:
    folder = a_folder(
        tmp_path / "vit", {"size": 300}, architectures=["ViTModel"], image_size=[32, 64]
    )
    assert find_model(str(folder)).inputs[0].shape == ("batch", 3, 32, 64)


def test_a_bare_network_of_convolutions_gives_maps(tmp_path: Path) -> None:
    folder = a_folder(
        tmp_path / "m", architectures=["RegNetModel"], num_channels=1, hidden_sizes=[8]
    )
    card = find_model(str(folder))
    assert card.inputs[0].shape == ("batch", 1, 224, 224)
    assert len(card.outputs[0].shape) == 4


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("CLIPModel", "CLIPVisionModel"),
        ("SiglipModel", "SiglipVisionModel"),
        ("ChineseCLIPModel", "ChineseCLIPVisionModel"),
        ("Siglip2ForImageClassification", "Siglip2VisionModel"),
    ],
)
def test_two_networks_in_one_are_refused_with_how_to_save_one(
    tmp_path: Path, name: str, half: str
) -> None:
    folder = a_folder(
        tmp_path / "clip", architectures=[name], text_config={}, vision_config={"image_size": 32}
    )
    with pytest.raises(SpecError, match=rf"{name} is two networks.*transformers\.{half}\.from"):
        find_model(str(folder))


@pytest.mark.parametrize(
    ("name", "fed", "output"),
    [
        ("CLIPVisionModelWithProjection", {"image_size": 32, "num_channels": 3}, "image_embeds"),
        ("CLIPTextModelWithProjection", {"vocab_size": 50}, "text_embeds"),
    ],
)
def test_a_half_with_its_projection_is_an_embedding(
    tmp_path: Path, name: str, fed: dict[str, Any], output: str
) -> None:
    folder = a_folder(tmp_path / "half", architectures=[name], projection_dim=8, **fed)
    card = find_model(str(folder))
    assert (card.task, card.outputs[0].name) == ("embedding", output)
    assert card.outputs[0].shape == ("batch", 8)


@pytest.mark.parametrize(
    ("config", "experts"),
    [
        ({"num_experts": 4}, True),
        ({"num_local_experts": 8}, True),
        ({"n_routed_experts": 16}, True),
        ({"num_experts": 0}, False),
        ({"hidden_size": 8}, False),
    ],
)
def test_experts_are_known_by_their_count(
    tmp_path: Path, config: dict[str, int], experts: bool
) -> None:
    assert pretrained.has_experts(str(a_folder(tmp_path / "m", **config))) is experts


def test_an_encoder_decoder_is_refused_with_a_way_to_its_encoder(tmp_path: Path) -> None:
    folder = a_folder(
        tmp_path / "t5", architectures=["T5Model"], vocab_size=50, is_encoder_decoder=True
    )
    with pytest.raises(SpecError, match="T5EncoderModel"):
        find_model(str(folder))


@pytest.mark.slow
def test_experts_compute_with_products_that_onnx_has(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    transformers.MixtralModel(config).save_pretrained(tmp_path / "moe")
    module = pretrained.load(str(tmp_path / "moe"))
    assert module.model.config._experts_implementation == "batched_mm"
