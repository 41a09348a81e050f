"""bench/cards/language: from a checkpoint to a checked graph that carries its state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_decoders import CLASSES, save, tiny

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from bench.__main__ import main  # noqa: E402
from bench.cards.catalog import find_model  # noqa: E402
from bench.cards.language import check as checking  # noqa: E402
from bench.cards.language import export as exporting  # noqa: E402
from bench.cards.language.found import decoder_in  # noqa: E402
from bench.cards.language.prompts import first_past, step_feeds  # noqa: E402
from bench.cards.modules import make  # noqa: E402
from bench.cards.ready import load  # noqa: E402
from bench.errors import ExportFailed, SpecError  # noqa: E402

# One worker of pytest-xdist, so that the export that most look at is made once.
pytestmark = pytest.mark.xdist_group("decoder")


def quiet(words: str) -> None:
    pass


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a class whose cache slides and grows."""
    return save("Gemma3ForCausalLM", tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its export, the weights in a file of their own as those of large models are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "SINGLE_FILE_BYTES", 1000)
        model = load(find_model(str(checkpoint)), tmp_path_factory.mktemp("cache"), quiet)
    assert model.refused is None
    assert model.file.onnx is not None
    return model.file.onnx


def test_bench_export_writes_the_graph_with_its_cache(
    checkpoint: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(exported.parent.parent))  # where it is made already
    output = tmp_path / "decoder.onnx"
    assert main(["model", "export", str(checkpoint), "-o", str(output)]) == 0
    assert decoder_in(output) == decoder_in(exported)
    assert decoder_in(output) is not None
    assert output.read_bytes() == exported.read_bytes()


def greedy(path: Path, prompt: list[int], count: int) -> list[int]:
    """Token by token through the file, fed as its own description says."""
    decoder = decoder_in(path)
    assert decoder is not None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tokens, past, position, said = np.array([prompt]), first_past(decoder, 1), 0, []
    for _ in range(count):
        logits, *state = session.run(None, step_feeds(decoder, tokens, past, position))
        past = dict(zip([tensor.input for tensor in decoder.state], state, strict=True))
        position += tokens.shape[1]
        tokens = logits[:, -1:].argmax(-1)
        said.append(int(tokens[0, 0]))
    return said


def test_one_graph_says_what_transformers_generates(checkpoint: Path, exported: Path) -> None:
    """From a prompt and through a full window; by a path of transformers' own."""
    prompt = [5, 17, 99, 3]
    model = tiny("Gemma3ForCausalLM")
    ids = model.generate(
        torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=-1
    )
    assert greedy(exported, prompt, 16) == ids[0, len(prompt) :].tolist()


def test_the_file_tells_its_state_and_what_was_compared(exported: Path) -> None:
    model = onnx.load(str(exported), load_external_data=False)
    told = {entry.key: entry.value for entry in model.metadata_props}
    found = json.loads(told[exporting.CHECKED_KEY])
    assert found["steps"] > 25
    assert found["worst"] < 1e-4
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert shapes["past_key_values_0_key"] == ["batch", 2, "window_7", 8]
    assert shapes["present_1_value"] == ["batch", 2, "past_next", 8]
    assert shapes["logits"] == ["batch", "seq", 128]


def test_weights_beyond_what_one_file_holds_lie_beside_it(exported: Path) -> None:
    parts = sorted(path.name for path in exported.parent.iterdir())
    assert parts == [exported.name, f"{exported.name}.data"]


def test_an_export_is_made_once(
    checkpoint: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_write", lambda *args: pytest.fail("exported again"))
    again = load(find_model(str(checkpoint)), exported.parent.parent, quiet)
    assert again.file.onnx == exported
    assert again.decoder == decoder_in(exported)


@pytest.mark.parametrize("output", [0, 1], ids=["logits", "state"])
def test_a_file_that_computes_something_else_is_refused_with_the_numbers(
    checkpoint: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, output: int
) -> None:
    card = find_model(str(checkpoint))
    right = checking._runner

    def wrong(name: str, path: Path) -> checking.Runner:
        def run(feeds: Any) -> list[Any]:
            found = right(name, path)(feeds)
            if output == 0 or found[output].shape[2] == 7:  # the window is full
                found[output] = found[output] + 0.01
            return found

        return run

    monkeypatch.setattr(checking, "_runner", wrong)
    source = card.model_file().torch
    assert source is not None
    with pytest.raises(ExportFailed, match=r"differs from PyTorch by up to 0\.01"):
        checking.check(card.name, make(source), exported)


def test_a_tie_is_told_from_an_error() -> None:
    """The third of four new tokens has a second and third candidate that only rounding parts."""
    scores = np.array([[[9, 5, 1], [9, 5, 1], [9, 5, 5 - 1e-6], [9, 5, 1]]], np.float32)
    assert checking._first_tie((scores, 2), batch=1, count=4) == 2
    assert checking._first_tie((scores, 1), batch=1, count=4) == 4
    assert checking._first_tie((scores, 3), batch=1, count=4) == 4, "all are chosen"
    never = np.full((1, 4, 3), -np.inf, np.float32)
    assert checking._first_tie((never, 2), batch=1, count=4) == 4, "what may not be chosen"


@pytest.mark.parametrize("lost", ["lm_head.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_missing_head_or_weight_is_refused_and_never_made_up(tmp_path: Path, lost: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = save("LlamaForCausalLM", tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    card = find_model(str(folder))
    source = card.model_file().torch
    assert source is not None
    with pytest.raises(SpecError, match=lost):
        make(source)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["NonesuchForCausalLM"]}, "NonesuchForCausalLM"),
        ({"is_encoder_decoder": True}, "decoder-only"),
    ],
    ids=["unknown", "encoder and decoder"],
)
def test_a_class_that_is_not_supported_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = save("LlamaForCausalLM", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(SpecError, match=words):
        find_model(str(folder))


def test_a_checkpoint_that_names_no_class_is_not_taken_for_one_without_a_head(
    tmp_path: Path,
) -> None:
    """Its head is its embedding, so that all weights of the network without one are there."""
    folder = save("GPT2LMHeadModel", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": None}))
    source = find_model(str(folder)).model_file().torch
    assert source is not None
    with pytest.raises(SpecError, match=r'names no architecture.*"GPT2LMHeadModel"'):
        make(source)


def test_code_that_comes_with_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    folder = save("LlamaForCausalLM", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    theirs = {
        "architectures": ["MineForCausalLM"],
        "model_type": "mine",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Mine"},
    }
    (folder / "config.json").write_text(json.dumps(config | theirs))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(
        SpecError, match=r"has no MineForCausalLM, and code.*is never run"
    ) as caught:
        find_model(str(folder))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_class_whose_state_does_not_carry_on_is_refused_when_it_is_loaded(
    tmp_path: Path,
) -> None:
    """It looks at words to come, so what its cache holds of a beginning is not what it uses."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(**sizes, vocab_size=128, intermediate_size=64)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)  # of other weights some hardly tell
        model = transformers.BertLMHeadModel(config)
        for weight in model.parameters():
            weight.mul_(5)
    model.save_pretrained(tmp_path / "bert")
    source = find_model(str(tmp_path / "bert")).model_file().torch
    assert source is not None
    with pytest.raises(SpecError, match="BertLMHeadModel gives other answers"):
        make(source)


def test_a_card_of_a_language_model_need_not_list_its_state(checkpoint: Path) -> None:
    card = checkpoint.parent / "mine.toml"
    card.write_text(
        f'name = "mine"\ntask = "text-generation"\n[source]\npretrained = "{checkpoint.name}"\n'
    )
    names = [tensor.name for tensor in find_model(str(card)).inputs]
    assert names[:2] == ["input_ids", "past_key_values_0_key"]


@pytest.mark.long
@pytest.mark.parametrize("name", CLASSES)
def test_every_architecture_is_exported_with_its_whole_state(name: str, tmp_path: Path) -> None:
    model = load(find_model(str(save(name, tmp_path))), tmp_path / "cache", quiet)
    assert model.refused is None
    assert model.decoder is not None
