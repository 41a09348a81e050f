"""`bench model distill` of a language model: fewer layers learn what all of them say."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cards.card import Card, load_card
from bench.cards.distilling.language import (
    LanguageRecipe,
    _Training,
    distill_language,
    divergence,
)
from bench.cards.distilling.sampled import _to_its_end
from bench.cards.distilling.state import TrainingState
from bench.cards.distilling.students import kept_layers, student_of
from bench.cards.distilling.texts import Rows, read_texts, tokenised
from bench.cards.language.causal import load_for_training
from bench.cards.language.tokens import Encoded
from bench.errors import OutOfMemory, SpecError, Unavailable

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from tiny_decoders import CLASSES  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402

RECIPE = LanguageRecipe("pupil", layers=2, steps=20, batch=4, length=16, rate=2e-3)
#: Its layers are elsewhere; they differ by a list; they differ by a count.
QUICK = ("GPT2LMHeadModel", "Gemma3ForCausalLM", "DeepseekV3ForCausalLM")
LETTERS = "abcdefghijklmnopqrstuvwxyz .,"


def save_tokenizer(path: Path, letters: str = LETTERS) -> None:
    """One token for each letter; 0 is every other."""
    ids = {"?": 0, **{letter: number for number, letter in enumerate(letters, start=1)}}
    reader = Tokenizer(models.WordLevel(ids, unk_token="?"))
    reader.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    reader.decoder = decoders.Fuse()
    reader.save(str(path))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other gain nothing at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An original of four layers, its weights large enough that its answers differ."""
    path = tmp_path_factory.mktemp("original") / "master"
    name, values = CLASSES["LlamaForCausalLM"]
    config = getattr(transformers, name)(**{**values, "num_hidden_layers": 4, "vocab_size": 32})
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        model = transformers.LlamaForCausalLM(config)
        for weight in model.parameters():
            weight.add_((0.3 if weight.ndim < 2 else 0.1) * torch.randn_like(weight))
        model.save_pretrained(path)
    save_tokenizer(path / "tokenizer.json")
    (path / "chat_template.jinja").write_text("{{ messages }}")
    return path


@pytest.fixture
def card(folder: Path, tmp_path: Path) -> Card:
    path = tmp_path / "master.toml"
    path.write_text(
        f'name = "master"\ntask = "text-generation"\n[source]\npretrained = "{folder}"\n'
        '[provenance]\nlicence = "MIT"\n'
    )
    return load_card(path)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Forty documents, no two alike."""
    drawn = np.random.default_rng(1)
    path = tmp_path / "text.jsonl"
    lines = ["".join(drawn.choice(list(LETTERS), 120)) for _ in range(40)]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


def weights(card: Path) -> Mapping[str, Any]:
    from safetensors.numpy import load_file

    loaded = load_card(card)
    return load_file(loaded.file(loaded.source.pretrained or "") / "model.safetensors")


def silent(text: str) -> None: ...


def test_a_student_learns_what_its_original_says_and_can_be_run(
    card: Card, text: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    path = distill_language(card, [text], RECIPE, tmp_path / "out", said.append)
    with open(tmp_path / "out/pupil.log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["10", "20"]
    assert float(rows[1]["loss"]) < 0.8 * float(rows[0]["loss"])
    made = load_card(path)
    assert (made.distilled_from, made.task) == ("master", "text-generation")
    assert made.provenance.licence == "MIT"
    assert "the distributions of master on 38 documents of text.jsonl" in made.provenance.trained_on
    assert "--layers 2 --steps 20" in made.provenance.recipe
    assert made.provenance.figures["tokens"] == 20 * 4 * 16
    assert {p.name for p in (tmp_path / "out/pupil").iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
    }
    assert set(made.provenance.sha256) >= {"pupil/model.safetensors", "pupil/tokenizer.json"}
    assert sum("held-out bits per byte" in words for words in said) == 2
    assert not list((tmp_path / "out").glob("*.training.*"))
    from bench.cards.language.causal import load

    module = load(str(tmp_path / "out/pupil"))
    assert len(module.model.model.layers) == 2


def test_an_interrupted_training_ends_with_the_same_weights(
    card: Card, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = weights(distill_language(card, [text], RECIPE, tmp_path / "whole", silent))
    keep = TrainingState.keep

    def die_after(state: TrainingState, kept: Mapping[str, Any]) -> None:
        keep(state, kept)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "keep", die_after)
        with pytest.raises(KeyboardInterrupt):
            distill_language(card, [text], RECIPE, tmp_path / "cut", silent, keep_every_s=1e-9)
    # What a kill leaves while the state is written is never read.
    (tmp_path / "cut/pupil.training.partial").write_bytes(b"half")
    said: list[str] = []
    cut = weights(distill_language(card, [text], RECIPE, tmp_path / "cut", said.append))
    assert "pupil: resuming after step 10" in said
    for name, values in whole.items():
        np.testing.assert_array_equal(values, cut[name])
    other = replace(RECIPE, seed=2)
    elsewhere = weights(distill_language(card, [text], other, tmp_path / "other", silent))
    assert any(not np.array_equal(values, elsewhere[name]) for name, values in whole.items())


def test_a_training_with_other_settings_or_text_is_not_mixed_in(
    card: Card, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = TrainingState.keep

    def die_after(state: TrainingState, kept: Mapping[str, Any]) -> None:
        keep(state, kept)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "keep", die_after)
        with pytest.raises(KeyboardInterrupt):
            distill_language(card, [text], RECIPE, tmp_path, silent, keep_every_s=1e-9)
    with pytest.raises(SpecError, match="another rate was started"):
        distill_language(card, [text], replace(RECIPE, rate=1e-4), tmp_path, silent)
    text.write_text(text.read_text() + '{"text": "one more"}\n')
    with pytest.raises(SpecError, match="another text was started"):
        distill_language(card, [text], RECIPE, tmp_path, silent)


def test_a_control_begins_as_the_student_and_learns_from_the_text_alone(
    card: Card, text: Path, tmp_path: Path
) -> None:
    taught = distill_language(card, [text], replace(RECIPE, steps=1), tmp_path, silent)
    recipe = replace(RECIPE, name="alone", steps=1, control_of="pupil")
    alone = load_card(distill_language(card, [text], recipe, tmp_path, silent))
    assert (alone.control_of, alone.distilled_from) == ("pupil", None)
    assert alone.provenance.trained_on.startswith("38 documents of text.jsonl")
    figures = [load_card(path).provenance.figures for path in (taught, alone.path)]
    assert figures[0]["untrained_bits_per_byte"] == figures[1]["untrained_bits_per_byte"]
    losses = [(tmp_path / f"{n}.log.csv").read_text() for n in ("pupil", "alone")]
    assert losses[0] != losses[1]


def test_a_time_ends_the_training_and_the_rate_falls_with_it(
    card: Card, text: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, steps=None, max_time_s=0.4)
    path = distill_language(card, [text], recipe, tmp_path, silent)
    with open(tmp_path / "pupil.log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["step"]) == load_card(path).provenance.figures["steps"] >= 1
    assert recipe.progress(10**9, 0.2) == 0.5
    assert recipe.rate_at(0.0) < recipe.rate_at(0.04) < recipe.rate_at(0.05) == recipe.rate
    assert recipe.rate_at(0.525) == pytest.approx(recipe.rate / 2)
    assert recipe.rate_at(1.0) == pytest.approx(0)
    both = replace(RECIPE, steps=100, max_time_s=10.0)
    assert both.progress(50, 1.0) == 0.5
    assert both.progress(1, 9.0) == 0.9


def test_a_step_in_parts_gives_the_gradient_of_the_whole(
    card: Card, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, steps=2, batch=3)
    whole = weights(distill_language(card, [text], recipe, tmp_path / "whole", silent))
    monkeypatch.setattr("bench.cards.distilling.language._LOGITS_AT_ONCE", 2 * 16 * 32)
    parts = weights(distill_language(card, [text], recipe, tmp_path / "parts", silent))
    for name, values in whole.items():
        np.testing.assert_allclose(values, parts[name], atol=1e-4)


def test_the_loss_is_the_divergence_of_the_student_from_the_original() -> None:
    drawn = np.random.default_rng(1)
    mine, theirs = (drawn.normal(size=(3, 5)) for _ in range(2))
    for t in (1.0, 2.0):
        p, q = (np.exp(x / t) / np.exp(x / t).sum(1, keepdims=True) for x in (theirs, mine))
        expected = t**2 * (p * np.log(p / q)).sum(1).mean()
        found = divergence(torch.from_numpy(mine), torch.from_numpy(theirs), t)
        assert float(found) == pytest.approx(expected)


def test_steps_go_as_far_as_the_rate_says(
    card: Card, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LanguageRecipe, "rate_at", lambda recipe, progress: 0.0)
    path = distill_language(card, [text], replace(RECIPE, steps=2), tmp_path, silent)
    figures = load_card(path).provenance.figures
    assert figures["trained_bits_per_byte"] == figures["untrained_bits_per_byte"]


def test_a_model_that_guesses_needs_the_bits_of_a_guess(folder: Path) -> None:
    with torch.inference_mode(False):
        original = load_for_training(str(folder))
        student = student_of(original, 1, "master")
    with torch.no_grad():
        student.lm_head.weight.zero_()
    documents = [Encoded(np.arange(n) % 32, np.ones(n, np.int64)) for n in (120, 33, 2)]
    training = _Training(original, student, {"training": documents, "held out": documents}, RECIPE)
    assert training.bits_per_byte(student) == pytest.approx(5.0)  # one of 32 for each byte


# -- students --------------------------------------------------------------------------------------


def test_the_first_and_last_layer_stay_and_the_others_are_evenly_spaced() -> None:
    assert kept_layers(30, 1) == (0,)
    assert kept_layers(30, 2) == (0, 29)
    assert kept_layers(9, 5) == (0, 2, 4, 6, 8)
    assert kept_layers(30, 4) == (0, 10, 19, 29)
    assert len(set(kept_layers(30, 29))) == 29


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in CLASSES],
)
def test_a_student_of_each_class_begins_as_layers_of_its_original(name: str) -> None:
    config_name, values = CLASSES[name]
    count = "n_layer" if "n_layer" in values else "num_hidden_layers"
    values = {**values, count: 4, "eos_token_id": [1, 2, 3, 4]}
    if "layer_types" in values:
        values["layer_types"] = values["layer_types"] * 2
    with torch.inference_mode(False), torch.random.fork_rng():
        torch.manual_seed(1)
        original = getattr(transformers, name)(getattr(transformers, config_name)(**values)).eval()
        student = student_of(original, 3, name).eval()
    kept = kept_layers(4, 3)
    assert type(student) is type(original)
    assert student.config.num_hidden_layers == 3
    assert student.config.eos_token_id == [1, 2, 3, 4]
    if "layer_types" in values:
        assert student.config.layer_types == [values["layer_types"][layer] for layer in kept]
    mine, theirs = student.state_dict(), original.state_dict()
    body = "transformer.h." if name == "GPT2LMHeadModel" else "model.layers."
    for key, value in mine.items():
        place, _, rest = key.removeprefix(body).partition(".")
        source = f"{body}{kept[int(place)]}.{rest}" if key.startswith(body) else key
        assert torch.equal(value, theirs[source]), key
    assert torch.isfinite(student(input_ids=torch.arange(20)[None]).logits).all()


def test_a_number_of_layers_that_is_no_students_is_refused(
    card: Card, text: Path, tmp_path: Path
) -> None:
    for layers in (4, 7):
        with pytest.raises(SpecError, match=f"has 4 layers, .* 1 to 3, not {layers}"):
            distill_language(card, [text], replace(RECIPE, layers=layers), tmp_path, silent)


def test_layers_that_differ_in_kind_by_no_known_rule_are_refused() -> None:
    config_name, values = CLASSES["Qwen3MoeForCausalLM"]
    values = {**values, "num_hidden_layers": 4, "decoder_sparse_step": 2}
    original = transformers.Qwen3MoeForCausalLM(getattr(transformers, config_name)(**values))
    with pytest.raises(SpecError, match="its layers differ in kind"):
        student_of(original, 3, "mixed")


# -- text ------------------------------------------------------------------------------------------


def test_documents_come_from_files_folders_and_lines_and_some_are_held_out(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "more").mkdir()
    for name in "abc":
        (tmp_path / "more" / f"{name}.txt").write_text(f"folder {name}")
    lines = "".join(json.dumps({"text": f"line {n}", "document": n}) + "\n" for n in range(16))
    (tmp_path / "lines.jsonl").write_text(lines + "\n" + '{"text": "  "}\n')
    paths = [tmp_path / "one.txt", tmp_path / "more", tmp_path / "lines.jsonl"]
    found = read_texts(paths, 0.1, seed=1)
    assert (len(found.training), len(found.held_out)) == (18, 2)
    everything = {"one", *(f"folder {n}" for n in "abc"), *(f"line {n}" for n in range(16))}
    assert {*found.training, *found.held_out} == everything
    assert read_texts(paths, 0.1, seed=1) == found
    other = read_texts(paths, 0.1, seed=2)
    assert other.held_out != found.held_out
    assert other.sha256 == found.sha256


def test_lines_of_one_document_are_held_out_together(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"{n} {part}", "document": n}) for n in range(6) for part in "ab"]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    found = read_texts([tmp_path / "lines.jsonl"], 0.2, seed=1)
    assert len(found.training) == 10
    assert len({text.split()[0] for text in found.held_out}) == 1
    assert len(found.held_out) == 2


def test_text_that_cannot_be_learnt_from_is_refused_in_a_sentence(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(SpecError) as refused:
            read_texts([path], 0.05, seed=1)
        return str(refused.value)

    assert "No such file" in refusal(tmp_path / "none.txt")
    (tmp_path / "empty").mkdir()
    assert "no .txt file in this folder" in refusal(tmp_path / "empty")
    (tmp_path / "one.txt").write_text("one document")
    assert "1 documents; at least 4 are needed" in refusal(tmp_path / "one.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refusal(tmp_path / "bad.txt")
    (tmp_path / "bad.jsonl").write_text('{"text": "good"}\n{"other": 1}\n')
    assert "bad.jsonl: line 2 has 'other'" in refusal(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}\n')
    assert "a student learns from texts" in refusal(tmp_path / "bad.jsonl")


def test_a_document_is_read_behind_the_token_that_begins_one(tmp_path: Path) -> None:
    save_tokenizer(tmp_path / "tokenizer.json")
    (alone,) = tokenised(["abcé"], tmp_path / "tokenizer.json", 32)
    assert alone.ids.tolist() == [1, 2, 3, 0]
    assert alone.bytes.tolist() == [1, 1, 1, 2]
    reader = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    reader.add_special_tokens(["<begin>"])
    reader.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<begin>"}')
    (behind,) = tokenised(["abcé"], tmp_path / "tokenizer.json", 32)
    assert behind.ids.tolist() == [len(LETTERS) + 1, 1, 2, 3, 0]
    assert behind.bytes.tolist() == [0, 1, 1, 1, 2]


def test_a_tokenizer_that_is_missing_or_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"tokenizer\.json: no such file"):
        tokenised(["abc"], tmp_path / "tokenizer.json", 32)
    save_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(SpecError, match="gives the id 3, but the model's vocabulary is 3"):
        tokenised(["abc"], tmp_path / "tokenizer.json", 3)


def test_each_pass_reads_the_whole_text_in_another_order() -> None:
    documents = [Encoded(np.full(4, n), np.ones(4, np.int64)) for n in range(12)]
    rows = Rows(documents, length=4, batch=3, seed=1)
    assert rows.steps_a_pass == 4
    passes = [np.concatenate([rows.of_step(s) for s in range(a, a + 4)]) for a in (0, 4)]
    for found in passes:
        assert sorted(found[:, 0].tolist()) == list(range(12))
    assert (passes[0] != passes[1]).any()
    again = Rows(documents, length=4, batch=3, seed=1)
    np.testing.assert_array_equal(again.of_step(6), rows.of_step(6))
    with pytest.raises(SpecError, match="48 tokens to learn from, but a step needs 64"):
        Rows(documents, length=16, batch=4, seed=1)


def test_the_original_writes_more_text_once_and_a_training_that_goes_on_finds_it(
    card: Card, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, sample=70, length=40)
    whole = weights(distill_language(card, [text], recipe, tmp_path / "whole", silent))
    keep = TrainingState.keep

    def die_after(state: TrainingState, kept: Mapping[str, Any]) -> None:
        keep(state, kept)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "keep", die_after)
        with pytest.raises(KeyboardInterrupt):
            distill_language(card, [text], recipe, tmp_path / "cut", silent, keep_every_s=1e-9)
    drawn = json.loads((tmp_path / "cut/pupil.sampled.json").read_text())["ids"]
    assert len(drawn) == 70
    assert all(17 <= len(ids) <= 40 for ids in drawn)
    # The same beginnings go on in other ways.
    assert drawn[0][:16] == drawn[38][:16]
    assert drawn[0][16:] != drawn[38][16:]
    said: list[str] = []
    path = distill_language(card, [text], recipe, tmp_path / "cut", said.append)
    assert not any("drawn" in words for words in said)
    for name, values in weights(path).items():
        np.testing.assert_array_equal(values, whole[name])
    assert "and 70 texts that master continued" in load_card(path).provenance.trained_on
    assert not list((tmp_path / "cut").glob("*.sampled.*"))
    with pytest.raises(SpecError, match="more than 16 tokens"):
        distill_language(card, [text], replace(recipe, length=16), tmp_path / "short", silent)


def test_a_text_that_the_original_ended_ends_there() -> None:
    ids = np.array([*range(16), 7, 2, 9])
    assert _to_its_end(ids, np.array([2, 5])).tolist() == [*range(16), 7, 2]
    assert _to_its_end(ids, np.array([])).tolist() == ids.tolist()


# -- what goes wrong -------------------------------------------------------------------------------


def test_a_gpu_that_is_not_there_is_said(card: Card, text: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"cuda:99: PyTorch .* sees"):
        distill_language(card, [text], RECIPE, tmp_path, silent, device="cuda:99")
    with pytest.raises(SpecError, match="give cpu, cuda, or cuda:N"):
        distill_language(card, [text], RECIPE, tmp_path, silent, device="npu")


def test_memory_that_runs_out_is_said(
    card: Card, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("bench.cards.distilling.language._Training.step", full)
    with pytest.raises(OutOfMemory, match="Give a smaller --batch"):
        distill_language(card, [text], RECIPE, tmp_path, silent)


def test_a_full_disk_is_said_and_keeps_what_was_there(
    card: Card, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        (tmp_path / "pupil.training.partial").write_bytes(b"half")
        with pytest.raises(SpecError, match=r"can't be written: .*No space left"):
            distill_language(card, [text], RECIPE, tmp_path, silent, keep_every_s=1e-9)
    assert not list(tmp_path.glob("*.training.*"))
    monkeypatch.setattr(transformers.LlamaForCausalLM, "save_pretrained", full)
    with pytest.raises(SpecError, match=r"the student can't be written: .*No space left"):
        distill_language(card, [text], RECIPE, tmp_path, silent)
    assert not list(tmp_path.glob("pupil*.toml"))


def test_a_loss_that_is_no_number_ends_the_training(card: Card, text: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"the loss is not a number any more. Give a --rate below"):
        distill_language(card, [text], replace(RECIPE, rate=1e30), tmp_path, silent)


def test_a_graph_without_weights_to_train_is_refused(
    card: Card, text: Path, tmp_path: Path
) -> None:
    graph = card.model_copy(update={"source": card.source.model_copy(update={"pretrained": None})})
    with pytest.raises(SpecError, match="an ONNX graph alone can't be trained"):
        distill_language(graph, [text], RECIPE, tmp_path, silent)
