"""Lineage of language models, on simulated texts: what they put first, and in which documents."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len

from bench.cards.tasks.base import Columns
from bench.errors import SpecError
from bench.judge.kin import NextTokens, kind_of
from bench.judge.lineage import FEWEST_CONTROLS, Lineage, lineage, sentences
from bench.present.lineage import lineage_row, lineage_text

VOCABULARY, TOKENS = 60, 100


class Texts:
    """Documents whose tokens some contexts foretell well; models differ in what they make of it."""

    def __init__(self, seed: int, documents: int = 40) -> None:
        self.rng = np.random.default_rng(seed)
        count = documents * TOKENS
        self.document = np.repeat(np.arange(documents), TOKENS)
        self.token = self.rng.integers(0, VOCABULARY, count)
        hard = np.repeat(self.rng.gamma(4, 0.25, documents), TOKENS)[:, np.newaxis]
        self.evidence = self.rng.normal(0, 1, (count, VOCABULARY))
        self.evidence[np.arange(count), self.token] += 2 / hard[:, 0]

    def trained(self) -> np.ndarray:
        deviation = self.rng.uniform(0.98, 1.02)
        return np.asarray(self.evidence + self.rng.normal(0, deviation, self.evidence.shape))

    def distilled(self, original: np.ndarray) -> np.ndarray:
        """As good as others, and wrong where the original is."""
        fresh = self.trained() - self.evidence
        own = original - self.evidence
        return np.asarray(self.evidence + 0.9 * own + np.sqrt(1 - 0.9**2) * fresh)

    def said(self, logits: np.ndarray) -> Columns:
        return {
            "document": self.document,
            "bytes": np.full(len(self.token), 3),
            "token": self.token,
            "vocabulary": np.full(len(self.token), VOCABULARY),
            "predicted": logits.argmax(axis=1),
        }

    def controls(self, count: int = FEWEST_CONTROLS) -> dict[str, Columns]:
        return {f"c{place + 1}": self.said(self.trained()) for place in range(count)}


def judge(a: Columns, b: Columns, controls: dict[str, Columns]) -> Lineage:
    """With somebody's word that the controls are of B's recipe."""
    return lineage(("a", a), ("b", b), controls, vouched_for=frozenset(controls))


def words(found: Lineage) -> str:
    return " ".join(sentences(found))


def test_what_is_distilled_agrees_more_and_the_words_accuse_nobody() -> None:
    texts = Texts(0)
    original = texts.trained()
    found = judge(texts.said(original), texts.said(texts.distilled(original)), texts.controls())
    assert found.finding == "more alike"
    assert found.deciding.key == "agreement"
    assert "b puts the same token first as a more than a new model trained independent" in words(
        found
    )
    assert "By documents, a agrees with b more than with any of the 5 controls" in words(found)
    assert "outputs alone can't tell which" in words(found)
    assert "independently of a" in words(found)


def test_independent_language_models_are_not_found_to_agree_more() -> None:
    found = []
    for seed in range(12):
        texts = Texts(100 + seed, documents=20)
        a, b = (texts.said(texts.trained()) for _ in range(2))
        found.append(judge(a, b, texts.controls()).finding)
    assert "more alike" not in found
    assert found.count("withheld") <= 2


def test_the_spread_between_models_counts_and_not_that_of_documents_alone() -> None:
    """B agrees with A a little more than any control does: in every document, so that documents
    alone are sure of it, and by less than the controls differ from each other."""
    texts = Texts(1)
    original = texts.trained()
    a = texts.said(original)

    def sharing(share: float) -> Columns:
        """As A on a share of the tokens, else as an independent model."""
        same = texts.rng.random(len(texts.token)) < share
        other = texts.said(texts.trained())
        return other | {"predicted": np.where(same, a["predicted"], other["predicted"])}

    controls = {f"c{n}": sharing(share) for n, share in enumerate((0.0, 0.1, 0.2, 0.3, 0.4))}
    found = judge(a, sharing(0.5), controls)
    assert len(found.controls) == FEWEST_CONTROLS
    assert max(found.beyond.values()) < 0.01
    assert found.finding == "inconclusive"


def test_what_documents_leave_open_with_one_control_is_inconclusive() -> None:
    texts = Texts(2)
    original = texts.trained()
    found = judge(texts.said(original), texts.said(texts.distilled(original)), texts.controls())
    excess = found.deciding.excess
    assert excess is not None
    assert excess.low > 0
    unsure = dict(found.beyond) | {"c3": 0.051}
    again = replace(found, beyond=unsure)
    assert again.finding == "inconclusive"
    assert "significantly more than with 4 of the 5 controls" in words(again)


def test_the_p_values_are_corrected_for_the_number_of_controls() -> None:
    texts = Texts(3, documents=9)
    a = b = texts.said(texts.trained())
    alone = NextTokens().beyond(a, b, texts.controls(1))
    assert alone == {"c1": pytest.approx(2 / 2**9)}  # all nine documents say the same
    corrected = NextTokens().beyond(a, b, texts.controls(5))
    assert list(corrected.values()) == pytest.approx([5 * 2 / 2**9] * 5)
    assert NextTokens().beyond(a, texts.controls(1)["c1"], {"b": b}) == {"b": 1.0}


def test_it_says_how_many_documents_it_takes() -> None:
    for documents, enough in ((7, False), (8, True)):
        texts = Texts(4, documents=documents)
        original = texts.trained()
        found = judge(texts.said(original), texts.said(texts.distilled(original)), texts.controls())
        assert (found.finding == "withheld") != enough
        if not enough:
            assert "7 documents, but with 5 controls at least 8" in words(found)


def test_a_control_that_foretells_less_is_named_and_not_counted() -> None:
    texts = Texts(5)
    a, b = (texts.said(texts.trained()) for _ in range(2))
    weak = texts.said(texts.trained() + texts.rng.normal(0, 3, texts.evidence.shape))
    found = judge(a, b, texts.controls(4) | {"weak": weak})
    assert found.finding == "withheld"
    assert "Not counted as a control: weak, because its next-token top-1 is" in words(found)


def test_models_of_other_tokenizers_and_texts_are_refused_with_the_reason() -> None:
    texts = Texts(6)
    a, b = (texts.said(texts.trained()) for _ in range(2))
    coarse = {key: values[::2] for key, values in b.items()}
    coarse["bytes"] = coarse["bytes"] * 2
    with pytest.raises(
        SpecError,
        match=r"b and a have different tokenizers.*can't be compared "
        r"one by one",
    ):
        judge(a, coarse, {})
    with pytest.raises(SpecError, match="b was scored on other texts than a"):
        judge(a, Texts(7, documents=30).controls(1)["c1"], {})
    with pytest.raises(SpecError, match="not models of the same kind"):
        judge(a, {"label": texts.token, "predicted": b["predicted"]}, {})
    with pytest.raises(SpecError, match="scored on questions or answers"):
        kind_of({"right": np.ones(3, bool), "answer": np.arange(3)})


def test_a_token_that_nothing_foretells_is_no_agreement() -> None:
    texts = Texts(8)
    first = np.arange(len(texts.token)) % TOKENS == 0
    both = [texts.said(texts.trained()) for _ in range(2)]
    asked = [each | {"predicted": np.where(first, -1, each["predicted"])} for each in both]
    found = NextTokens().statistic("agreement", *asked).estimate()
    same = both[0]["predicted"] == both[1]["predicted"]
    assert found == pytest.approx(np.mean(same[~first]))
    assert "3960 tokens of 40 documents" in lineage_text(judge(*asked, {})).plain


def test_a_single_text_without_bytes_is_resampled_in_stretches() -> None:
    texts = Texts(9)
    original = texts.trained()
    models = [texts.said(original), texts.said(texts.distilled(original))]
    models += texts.controls().values()
    bare = [
        {"document": m["document"] * 0, "token": m["token"], "predicted": m["predicted"]}
        for m in models
    ]
    found = judge(bare[0], bare[1], {f"c{n}": each for n, each in enumerate(bare[2:])})
    assert found.finding == "more alike"
    assert "tokens of 15 documents" in found.extent


@pytest.mark.parametrize("name", ["verse-student", "[red]x[/red]", "y" * 300])
def test_the_report_fits_80_columns_and_is_json(name: str) -> None:
    texts = Texts(10)
    original = texts.trained()
    a, b = texts.said(original), texts.said(texts.distilled(original))
    controls = texts.controls()
    found = lineage((name, a), ("b", b), controls, vouched_for=frozenset(controls))
    text = lineage_text(found, 80).plain
    assert max(map(cell_len, text.splitlines())) <= 80
    assert text.startswith("Next-token top-1 on the same 4000 tokens of 40 documents")
    row = lineage_row(found)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["compared"] == "next tokens"
    assert set(row["p_beyond_controls"]) == set(controls)  # type: ignore[call-overload]
