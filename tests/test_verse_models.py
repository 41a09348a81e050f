"""The language models that ship: their files, their figures, their text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bench.models.recipes import kjv

from bench.cards.card import Card
from bench.cards.catalog import find_model
from bench.cards.language.found import decoder_in
from bench.cards.language.prompts import first_past, step_feeds
from bench.spec import load_suite

MODELS = Path(__file__).parents[1] / "models"
FAMILY = ("verse-moe", "verse-student", "verse-student-ce")
DATA = MODELS / "data" / "verse-test.jsonl"
#: What a document is scored in at once.
WINDOW = 1024


@pytest.fixture(scope="module")
def cards() -> dict[str, Card]:
    return {name: find_model(name) for name in FAMILY}


def documents() -> list[dict[str, str]]:
    return [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]


# -- files ----------------------------------------------------------------------------------------


def test_all_weights_together_are_under_12_megabytes(cards: dict[str, Card]) -> None:
    files = {
        card.file(name)
        for card in cards.values()
        for name in card.named_files()
        if name.endswith((".onnx", ".safetensors"))
    }
    assert len(files) == 6
    assert sum(file.stat().st_size for file in files) < 12_000_000


def test_every_shipped_file_has_its_digest_in_the_card(cards: dict[str, Card]) -> None:
    for card in cards.values():
        assert set(card.named_files()) == set(card.provenance.sha256)


def test_one_tokenizer_is_all_threes(cards: dict[str, Card]) -> None:
    assert len({(MODELS / name / "tokenizer.json").read_bytes() for name in FAMILY}) == 1


def test_checkpoints_hold_16_bits_a_weight() -> None:
    safetensors = pytest.importorskip("safetensors")
    for name in FAMILY:
        with safetensors.safe_open(MODELS / name / "model.safetensors", "np") as weights:
            kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
        assert kinds == {"BF16"}


def test_the_exports_say_nothing_of_where_they_were_made() -> None:
    for name in FAMILY:
        assert b"site-packages" not in (MODELS / name / "model.onnx").read_bytes()


def test_the_original_is_of_deepseeks_architecture_and_the_others_dense() -> None:
    architectures = [
        json.loads((MODELS / name / "config.json").read_text("utf-8"))["architectures"]
        for name in FAMILY
    ]
    assert architectures == [["DeepseekV4ForCausalLM"], ["Qwen3ForCausalLM"], ["Qwen3ForCausalLM"]]


def test_the_control_differs_from_the_student_in_weights_alone(cards: dict[str, Card]) -> None:
    student, control = cards["verse-student"], cards["verse-student-ce"]
    assert control.control_of == student.name
    assert student.distilled_from == "verse-moe"
    assert student.inputs == control.inputs
    assert student.provenance.figures["steps"] == control.provenance.figures["steps"]
    files = [(MODELS / card.name / "config.json").read_bytes() for card in (student, control)]
    assert files[0] == files[1]
    assert student.content_sha256() != control.content_sha256()


def test_a_card_that_names_both_forms_takes_its_inputs_from_the_export(
    cards: dict[str, Card],
) -> None:
    for card in cards.values():
        decoder = decoder_in(card.file(card.source.onnx or ""))
        assert decoder is not None
        assert decoder.vocabulary == 1024
        assert (decoder.context or 0) >= 2048
        assert {tensor.input for tensor in decoder.state} < {tensor.name for tensor in card.inputs}


# -- figures --------------------------------------------------------------------------------------


def bits_per_byte(card: Card, texts: list[str]) -> float:
    """What ONNX Runtime gives, in windows half over each other, each text after the end of one."""
    onnxruntime = pytest.importorskip("onnxruntime")
    tokenizer = pytest.importorskip("tokenizers").Tokenizer.from_file(
        str(MODELS / card.name / "tokenizer.json")
    )
    path = card.file(card.source.onnx or "")
    decoder = decoder_in(path)
    assert decoder is not None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    bits = 0.0
    for text in texts:
        ids = np.array([0, *tokenizer.encode(text).ids])
        start = scored = 0
        while scored < len(ids) - 1:
            seen = ids[start : start + WINDOW + 1]
            feeds = step_feeds(decoder, seen[None, :-1], first_past(decoder, 1), 0)
            (logits,) = session.run([decoder.logits], feeds)
            kept = logits[0, scored - start :].astype(np.float64)
            wanted = seen[1 + scored - start :]
            likeliest = kept.max(1, keepdims=True)
            log_p = kept - likeliest - np.log(np.exp(kept - likeliest).sum(1, keepdims=True))
            bits -= log_p[np.arange(len(wanted)), wanted].sum() / np.log(2)
            start, scored = start + WINDOW // 2, scored + len(wanted)
    return bits / sum(len(text.encode()) for text in texts)


@pytest.mark.long
def test_the_cards_figures_are_what_the_exports_reach(cards: dict[str, Card]) -> None:
    texts = [row["text"] for row in documents()]
    for card in cards.values():
        said = card.provenance.figures["bits_per_byte"]
        # Where entries of the sparse attention tie, ONNX Runtime takes others than PyTorch.
        near = 1e-3 if card.name == "verse-moe" else 1e-5
        assert bits_per_byte(card, texts) == pytest.approx(said, rel=near), card.name


def test_the_original_needs_the_fewest_bits_a_byte_of_a_book(cards: dict[str, Card]) -> None:
    texts = [row["text"] for row in documents() if row["document"].startswith("Jonah")]
    found = {name: bits_per_byte(card, texts) for name, card in cards.items()}
    assert min(found, key=lambda name: found[name]) == "verse-moe"
    # 8 bits a byte is no knowledge; gzip needs 2.5 of this text.
    assert max(found.values()) < 2.5


@pytest.mark.slow
@pytest.mark.xdist_group("decoder")
@pytest.mark.parametrize("name", ["verse-moe", "verse-student"])
def test_the_export_computes_what_the_checkpoint_does(name: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    onnxruntime = pytest.importorskip("onnxruntime")
    from bench.cards.language import causal  # transformers: optional

    module = causal.load(str(MODELS / name))
    assert {weight.dtype for weight in module.parameters()} == {torch.float32}
    path = MODELS / name / "model.onnx"
    decoder = decoder_in(path)
    assert decoder is not None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    tokens = np.random.default_rng(0).integers(0, decoder.vocabulary, (1, 100))
    (found,) = session.run([decoder.logits], step_feeds(decoder, tokens, first_past(decoder, 1), 0))
    with torch.inference_mode():
        expected = module.model(input_ids=torch.from_numpy(tokens), use_cache=False).logits.numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


# -- text -----------------------------------------------------------------------------------------


def test_the_test_text_is_the_held_out_books_a_chapter_a_line() -> None:
    rows = documents()
    assert {row["document"].rpartition(" ")[0] for row in rows} == set(kjv.TEST.values())
    assert len({row["document"] for row in rows}) == len(rows) == 72
    assert 200_000 < sum(len(row["text"]) for row in rows) < 300_000


def test_no_book_is_both_learned_and_tested(tmp_path: Path) -> None:
    others = [f"Other{chr(97 + place // 9)}{chr(97 + place % 9)}" for place in range(53)]
    books = [*kjv.TEST, *others, *kjv.VALIDATION]
    text = tmp_path / "text"
    text.write_text("".join(f"{book}1:1 {book} alone.\n{book}1:2 Twice.\n" for book in books))
    corpus = kjv.read(text)
    parts = [corpus.training, corpus.validation, corpus.test]
    found = [{chapter.book for chapter in part} for part in parts]
    assert [len(part) for part in found] == [53, len(kjv.VALIDATION), len(kjv.TEST)]
    assert set().union(*found) == set(books)
    assert corpus.test[0].text == f"{corpus.test[0].book} alone.\nTwice.\n"


def test_a_text_that_is_not_the_whole_is_refused_with_how_to_get_it(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("Ge1:1 In the beginning\n")
    with pytest.raises(SystemExit, match="apt-get install bible-kjv"):
        kjv.read(text)


def test_openings_are_the_first_three_verses_of_each_test_chapter(tmp_path: Path) -> None:
    chapters = [
        kjv.Chapter("Ruth", place, document["text"]) for place, document in enumerate(documents())
    ]
    kjv.write_documents(map(kjv.opening, chapters), kjv.TEST, tmp_path / "openings.jsonl")
    made, shipped = (
        [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]
        for path in (tmp_path / "openings.jsonl", DATA.with_name("verse-openings.jsonl"))
    )
    assert made == shipped
    assert {text.count("\n") for text in shipped} == {3}


# -- suite ----------------------------------------------------------------------------------------


def test_the_suite_is_of_the_three_models() -> None:
    suite = load_suite(MODELS / "language.suite.toml")
    assert suite.models == FAMILY
    assert suite.targets == ("*",)
    assert suite.scenarios == ("prefill", "decode")


def test_the_suite_of_smollm2_takes_its_student_from_where_the_documentation_puts_it() -> None:
    suite = load_suite(MODELS / "smollm2.suite.toml")
    assert suite.models == ("smollm2-135m", "student/smollm2-135m-student.toml")
    text = (MODELS.parent / "docs/language-models.md").read_text("utf-8")
    assert "bench model distill smollm2-135m --text books.jsonl" in text
    assert "-o student\nbench run models/smollm2.suite.toml" in text
