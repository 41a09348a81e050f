"""bench/cards/language/gguf.py: language models as GGUF files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")

from tiny_gguf import save_gguf  # noqa: E402

from bench.cards.catalog import find_model  # noqa: E402
from bench.cards.language import gguf as reading  # noqa: E402
from bench.cards.language.prompts import prompt_tokens  # noqa: E402
from bench.cards.modules import make  # noqa: E402
from bench.cards.ready import load  # noqa: E402
from bench.cards.unpacked import stored_in  # noqa: E402
from bench.errors import SpecError, Unavailable  # noqa: E402
from bench.measure.language.steps import notes, tokenizer_of  # noqa: E402
from bench.measure.plan import _identity  # noqa: E402

# One worker of pytest-xdist, which imports transformers once.
pytestmark = pytest.mark.xdist_group("decoder")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def logits(folder: Path) -> np.ndarray:
    """Of a few tokens, by the class alone."""
    from bench.cards.language import causal

    module = causal.load(str(folder))
    with torch.no_grad():
        found = module.model(input_ids=torch.tensor([[5, 17, 99, 3]])).logits
    return found.numpy()


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen3ForCausalLM"])
def test_a_gguf_file_is_the_model_that_it_was_made_from(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.v1.gguf"
    source = save_gguf(name, path)
    card = find_model(str(path))
    assert (card.name, card.task) == ("tiny.v1", "text-generation")
    folder = card.checkpoint_folder()
    assert folder is not None
    with torch.no_grad():
        want = source(input_ids=torch.tensor([[5, 17, 99, 3]])).logits
    np.testing.assert_allclose(logits(folder), want.numpy(), rtol=1e-5, atol=1e-5)


def test_what_the_weights_were_is_recorded_and_said(tmp_path: Path) -> None:
    """Only the dequantised form is measured, and a reader has to know both."""
    path = tmp_path / "tiny.gguf"
    source = save_gguf("LlamaForCausalLM", path, kind="Q8_0")
    model = load(find_model(str(path)), tmp_path / "exports", lambda words: None, forms=("torch",))
    assert model.stored is not None
    assert model.stored.precision == "Q8_0"
    assert _identity(model, model.file).stored_as == "GGUF Q8_0"
    assert re.match(r"its weights were GGUF Q8_0.*, dequantised to float32 by ", notes(model)[0])
    folder = model.card.checkpoint_folder()
    assert folder is not None
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    with torch.no_grad():
        want = source(input_ids=torch.tensor([[5, 17, 99, 3]])).logits.numpy()
    got = logits(folder)
    assert 1e-4 < np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_its_tokenizer_makes_the_prompts(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    save_gguf("LlamaForCausalLM", path)
    model = load(find_model(str(path)), tmp_path / "exports", lambda words: None, forms=("torch",))
    found = tokenizer_of(model)
    assert found is not None
    assert model.decoder is not None
    tokens = prompt_tokens(model.decoder, found, batch=1, count=60, seed=1)
    assert 97 in tokens  # " the", which is made by two merges
    assert len(notes(model)) == 1


def test_it_is_unpacked_once_and_again_where_its_content_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny.gguf"
    save_gguf("LlamaForCausalLM", path)
    first = find_model(str(path))
    before = first.checkpoint_folder()
    with monkeypatch.context() as patch:
        patch.setattr(reading, "_unpack", lambda *given: pytest.fail("unpacked again"))
        assert find_model(str(path)).content_sha256() == first.content_sha256()
    save_gguf("LlamaForCausalLM", path, kind="Q8_0")
    second = find_model(str(path))
    assert second.content_sha256() != first.content_sha256()
    assert second.checkpoint_folder() != before


def test_a_card_may_name_one(tmp_path: Path) -> None:
    """So that it can be an original or a student of a pair."""
    save_gguf("LlamaForCausalLM", tmp_path / "tiny.gguf")
    text = 'name = "small"\ntask = "text-generation"\ndistilled_from = "large"\n'
    card = tmp_path / "card.toml"
    card.write_text(f'{text}[source]\ngguf = "tiny.gguf"\n')
    found = find_model(str(card))
    assert found.distilled_from == "large"
    assert found.inputs[0].name == "input_ids"
    folder = found.checkpoint_folder()
    assert folder is not None
    assert stored_in(folder) is not None
    card.write_text(card.read_text().replace("text-generation", "raw"))
    with pytest.raises(SpecError, match="a GGUF file is a language model"):
        find_model(str(card))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"architecture": "aurochs"}, "reads no GGUF file of the architecture 'aurochs'"),
        ({"parts": 3}, "one of 3 parts of a GGUF file"),
        ({"without": "blk.1.ffn_up.weight"}, r"no weights for model\.layers\.1\.mlp\.up_proj"),
        (
            {"further": {"rope_freqs.weight": np.ones(4, np.float32)}},
            r"leaves 4 of its weights out of LlamaForCausalLM \(rope_freqs\.weight\)",
        ),
    ],
)
def test_what_is_not_one_whole_language_model_is_refused_in_a_sentence(
    given: dict, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "tiny.gguf"
    save_gguf("LlamaForCausalLM", path, **given)
    with pytest.raises(SpecError, match=words) as caught:
        find_model(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache" / "gguf").glob("*"))


def test_a_file_that_ends_too_soon_is_refused(tmp_path: Path) -> None:
    """Wherever it does."""
    path = tmp_path / "tiny.gguf"
    save_gguf("LlamaForCausalLM", path)
    whole = path.read_bytes()
    for length in (4, 20, 200, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(SpecError, match="truncated, damaged"):
            reading._read(path)


def test_what_its_name_or_first_bytes_rule_out_needs_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_NEEDED", ("no_such_package",))
    path = tmp_path / "x.gguf"
    with pytest.raises(SpecError, match="no such file"):
        find_model(str(path))
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(SpecError, match="not a GGUF file"):
        find_model(str(path))
    part = tmp_path / "x-00001-of-00003.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(SpecError, match=r"one of 3 parts .* llama-gguf-split --merge"):
        find_model(str(part))
    path.write_bytes(b"GGUF")
    with pytest.raises(
        Unavailable, match="needs no_such_package, which is not installed"
    ) as caught:
        find_model(str(path))
    assert "infer-bench[gguf,torch]" in str(caught.value)


@pytest.mark.long
def test_it_is_exported_and_compared_like_any_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    save_gguf("Qwen3ForCausalLM", path, kind="Q4_1")
    model = load(find_model(str(path)), tmp_path / "exports", lambda words: None)
    assert model.refused is None
    assert model.file.onnx is not None
    assert model.file.torch is not None
    assert make(model.file.torch).sha256
