"""text-generation: scores by document, paired comparisons, likeness, and what is told apart."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import cohen_kappa_score

from bench.cards.tasks import find_task
from bench.judge.fidelity import fidelity
from bench.stats.proportion import clopper_pearson, mcnemar_exact

TASK = find_task("text-generation")
VOCABULARY = 20
Columns = dict[str, np.ndarray]


def texts(logits: np.ndarray, token: np.ndarray, document: np.ndarray, size: int = 3) -> Columns:
    """What is stored of texts whose tokens take ``size`` bytes each."""
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    order = np.argsort(-log_p, axis=1)[:, :8]
    best = np.take_along_axis(log_p, order, axis=1)
    return {
        "document": document,
        "bytes": np.full(len(token), size),
        "token": token,
        "vocabulary": np.full(len(token), VOCABULARY),
        "log_p": log_p[np.arange(len(token)), token].astype(np.float32),
        "predicted": order[:, 0],
        "top_ids": order,
        "top_log_p": best.astype(np.float32),
        "tail_log_p": np.log(1 - np.exp(best).sum(axis=1)).astype(np.float32),
    }


def models(documents: int = 25) -> dict[str, Columns]:
    """An original, one like it, and one that is less like it and worse."""
    rng = np.random.default_rng(0)
    count = documents * 40
    token, document = rng.integers(0, VOCABULARY, count), np.repeat(np.arange(documents), 40)
    original = rng.normal(0, 1, (count, VOCABULARY))
    original[np.arange(count), token] += 2
    noise = rng.normal(0, 1, (count, VOCABULARY))
    return {
        "original": texts(original, token, document),
        "student": texts(original + 0.3 * noise, token, document),
        "control": texts(0.4 * original + noise, token, document),
    }


MODELS = models()


def questions(gold: list[int], log_p: list[list[float]], sizes: list[list[int]]) -> Columns:
    rows = [(q, c) for q, each in enumerate(log_p) for c in range(len(each))]
    return {
        "document": np.array([q for q, _ in rows]),
        "question": np.array([q for q, _ in rows]),
        "choice": np.array([c for _, c in rows]),
        "gold": np.array([gold[q] == c for q, c in rows]),
        "log_p": np.array([log_p[q][c] for q, c in rows]),
        "bytes": np.array([sizes[q][c] for q, c in rows]),
    }


def answers(right: np.ndarray, answer: np.ndarray) -> Columns:
    return {
        "document": np.arange(len(right)),
        "right": right,
        "answer": answer,
        "tokens": np.ones(len(right), int),
    }


# -- texts ----------------------------------------------------------------------------------------


def test_texts_are_scored_in_bits_per_byte_perplexity_and_next_tokens() -> None:
    columns = MODELS["original"]
    bits, perplexity, right = TASK.scores(columns, 0.95)
    nats = -columns["log_p"].astype(np.float64)
    assert bits.value.estimate == pytest.approx(nats.sum() / math.log(2) / (3 * len(nats)))
    assert perplexity.value.estimate == pytest.approx(np.exp(nats.mean()))
    assert right.value.estimate == pytest.approx(np.mean(columns["predicted"] == columns["token"]))
    assert [s.metric.better for s in (bits, perplexity, right)] == ["lower", "lower", "higher"]
    for score in (bits, perplexity, right):
        assert score.value.low < score.value.estimate < score.value.high
        assert score.examples == 25


def test_a_first_token_that_nothing_predicts_costs_bits_and_is_in_no_other_figure() -> None:
    whole = MODELS["original"]
    first = np.r_[True, np.diff(whole["document"]) != 0]
    columns = whole | {
        "predicted": np.where(first, -1, whole["predicted"]),
        "log_p": np.where(first, -math.log(VOCABULARY), whole["log_p"]),
    }
    bits, perplexity, right = TASK.scores(columns, 0.95)
    later = -whole["log_p"][~first].astype(np.float64)
    expected = (later.sum() + 25 * math.log(VOCABULARY)) / math.log(2) / (3 * len(first))
    assert bits.value.estimate == pytest.approx(expected)
    assert perplexity.value.estimate == pytest.approx(np.exp(later.mean()))
    hits = (whole["predicted"] == whole["token"])[~first]
    assert right.value.estimate == pytest.approx(hits.mean())


def test_a_change_is_paired_by_document_and_less_is_better() -> None:
    change = TASK.change(MODELS["control"], MODELS["student"], 0.95)
    assert change is not None
    assert change.this > change.other
    assert change.difference.low > 0
    assert change.gain.high < 0
    assert change.p < 0.01
    assert change.test == "sign flips"
    alone = [TASK.scores(MODELS[name], 0.95)[0].value for name in ("control", "student")]
    widths = [interval.high - interval.low for interval in alone]
    assert change.difference.high - change.difference.low < sum(widths)
    same = TASK.change(MODELS["control"], MODELS["control"], 0.95)
    assert same is not None
    assert (same.p, same.difference.estimate) == (1, 0)


def test_models_of_other_tokenizers_are_compared_in_bits_and_not_in_distributions() -> None:
    fine, coarse = MODELS["original"], {k: v[::2] for k, v in MODELS["student"].items()}
    coarse["bytes"] = coarse["bytes"] * 2
    change = TASK.change(coarse, fine, 0.95)
    assert change is not None
    assert change.this < change.other
    found = fidelity(TASK, coarse, fine, MODELS["control"])
    (bits,) = found.measures
    assert bits.key == "bits"
    # The products behind them have other shapes, so the last digit may differ.
    assert dataclasses.astuple(bits.value) == pytest.approx(dataclasses.astuple(change.difference))
    assert bits.gained == "more"
    (why,) = found.limits
    assert "into other tokens, so their distributions can't be compared" in why
    other = MODELS["student"] | {"vocabulary": np.full(1000, 24)}
    assert "have 20 and 24 tokens" in fidelity(TASK, other, fine).limits[0]
    assert fidelity(TASK, MODELS["student"], fine).limits == ()


def test_other_texts_are_not_compared() -> None:
    other = MODELS["student"] | {"bytes": MODELS["student"]["bytes"] + 1}
    assert TASK.change(other, MODELS["original"], 0.95) is None
    assert TASK.change(answers(np.ones(3, bool), np.arange(3)), MODELS["original"], 0.95) is None


def test_a_single_document_is_cut_into_stretches_that_tokenizers_share() -> None:
    alone = {k: (v * 0 if k == "document" else v) for k, v in MODELS["original"].items()}
    bits = TASK.scores(alone, 0.95)[0]
    assert bits.value.low < bits.value.estimate < bits.value.high
    assert bits.examples == 3000 // 256
    halves = {k: v[::2] for k, v in alone.items()}
    halves["bytes"] = halves["bytes"] * 2
    assert TASK.scores(halves, 0.95)[0].examples == bits.examples
    assert TASK.change(halves, alone, 0.95) is not None


def test_a_model_that_knows_nothing_is_doubted() -> None:
    columns = MODELS["original"]
    blind = columns | {"log_p": np.full(1000, -math.log(VOCABULARY))}
    (words,) = TASK.doubts(blind, TASK.scores(blind, 0.95)[0])
    assert "not reliably below the 1.44 of blind guessing" in words
    assert TASK.doubts(columns, TASK.scores(columns, 0.95)[0]) == []


# -- likeness -------------------------------------------------------------------------------------

OF_DRAFTS = ["acceptance", "acceptance_most"]
OF_TOKENS = [
    "same_token",
    "probability_change",
    "perplexity_ratio",
    "error_consistency",
    "flips",
]


def test_the_likeness_of_distributions_is_told_with_its_effect_against_a_control() -> None:
    found = fidelity(TASK, MODELS["student"], MODELS["original"], MODELS["control"])
    measures = {measure.key: measure for measure in found.measures}
    assert list(measures) == [*("same_token", "divergence", "tail"), *OF_DRAFTS, *OF_TOKENS[1:]]
    mine, theirs = MODELS["student"], MODELS["original"]
    same = measures["same_token"]
    assert same.value is not None
    assert same.value.estimate == pytest.approx(np.mean(mine["predicted"] == theirs["predicted"]))
    assert same.gained == "more"
    assert measures["divergence"].gained == "more"
    ratio = measures["perplexity_ratio"].value
    assert ratio is not None
    assert ratio.estimate == pytest.approx(np.mean(theirs["log_p"] - mine["log_p"]), abs=1e-6)
    flips = measures["flips"].value
    hits = [each["predicted"] == each["token"] for each in (mine, theirs)]
    assert flips is not None
    assert flips.estimate == pytest.approx(np.mean(hits[0] != hits[1]))
    kappa = measures["error_consistency"].value
    assert kappa is not None
    assert kappa.estimate == pytest.approx(cohen_kappa_score(*hits))
    moved = measures["probability_change"].value
    p, q = (np.exp(each["log_p"].astype(np.float64)) for each in (mine, theirs))
    assert moved is not None
    assert moved.estimate == pytest.approx(np.sqrt(np.mean((p - q) ** 2)))
    assert all(measures[key].gained == "more" for key in OF_DRAFTS)
    assert measures["probability_change"].gained == "more"


def test_the_acceptance_of_drafts_lies_between_what_is_told() -> None:
    rng = np.random.default_rng(4)
    token, document = rng.integers(0, VOCABULARY, 600), np.repeat(np.arange(30), 20)
    whole = [rng.normal(0, 2, (600, VOCABULARY)) for _ in range(2)]
    whole[1] += whole[0]
    one, other = (texts(logits, token, document) for logits in whole)
    measures = {m.key: m.value for m in fidelity(TASK, other, one).measures}
    least, most = (measures[key] for key in OF_DRAFTS)
    p, q = (np.exp(log_softmax(logits, axis=1)) for logits in whole)
    truth = float(np.minimum(p, q).sum(axis=1).mean())
    assert least is not None
    assert most is not None
    assert least.estimate < truth < most.estimate
    assert most.estimate - least.estimate < 0.1


def test_the_interval_of_a_perplexity_ratio_takes_in_what_documents_have_in_common() -> None:
    """Some documents are harder for both: that leaves the ratio as it is."""
    mine, theirs = MODELS["student"], MODELS["original"]
    hard = np.repeat(np.random.default_rng(3).normal(0, 3, 25), 40)
    harder = [each | {"log_p": each["log_p"] - abs(hard)} for each in (mine, theirs)]
    widths = []
    for one, other in ((mine, theirs), harder):
        measures = {m.key: m.value for m in fidelity(TASK, one, other).measures}
        found = measures["perplexity_ratio"]
        assert found is not None
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0], rel=1e-4)


def test_a_model_is_like_itself() -> None:
    found = fidelity(TASK, MODELS["original"], MODELS["original"])
    values = {m.key: m.value.estimate for m in found.measures if m.value is not None}
    assert (tail := values.pop("tail")) > 0
    assert values.pop("acceptance") + tail == pytest.approx(1, abs=1e-6)
    alike = {"same_token", "acceptance_most", "error_consistency"}
    expected = {key: float(key in alike) for key in values}
    assert values == pytest.approx(expected, abs=1e-6)


def test_without_distributions_the_rest_is_told() -> None:
    small = {
        name: {k: v for k, v in columns.items() if k not in TASK.bulky}
        for name, columns in MODELS.items()
    }
    found = fidelity(TASK, small["student"], small["original"])
    assert [m.key for m in found.measures] == OF_TOKENS


# -- questions and answers ------------------------------------------------------------------------


def test_a_choice_is_right_by_its_probability_and_by_that_of_a_byte() -> None:
    columns = questions([0, 1, 1], [[-6, -5], [-3, -4], [-4, -2]], [[12, 2], [3, 8], [1, 1]])
    normalised, plain = TASK.scores(columns, 0.95)
    assert (normalised.metric.name, normalised.correct) == ("acc_norm", 3)
    assert (plain.metric.name, plain.correct) == ("acc", 1)
    assert normalised.value == clopper_pearson(3, 3, 0.95)


def test_decisions_are_compared_by_the_questions_that_one_alone_has_right() -> None:
    rng = np.random.default_rng(2)
    mine, theirs = rng.random(60) < 0.8, rng.random(60) < 0.5
    one, other = (answers(right, rng.integers(0, 9, 60)) for right in (mine, theirs))
    change = TASK.change(one, other, 0.95)
    assert change is not None
    lost, gained = int((theirs & ~mine).sum()), int((mine & ~theirs).sum())
    assert (change.only_other_right, change.only_this_right) == (lost, gained)
    assert (change.test, change.p) == ("McNemar", mcnemar_exact(lost, gained))
    measures = {m.key: m.value for m in fidelity(TASK, one, other).measures}
    assert set(measures) == {"same_answer", "error_consistency", "flips"}
    kappa = measures["error_consistency"]
    assert kappa is not None
    assert kappa.estimate == pytest.approx(cohen_kappa_score(mine, theirs))
    assert measures["flips"] is not None
    assert measures["flips"].estimate == pytest.approx((lost + gained) / 60)


def test_a_few_questions_that_are_all_alike_leave_room_for_others() -> None:
    one = answers(np.ones(6, bool), np.arange(6))
    values = {measure.key: measure.value for measure in fidelity(TASK, one, one).measures}
    assert values == {
        "same_answer": clopper_pearson(6, 6, 0.95),
        "error_consistency": None,  # there is no chance to correct for
        "flips": clopper_pearson(0, 6, 0.95),
    }


def test_questions_of_one_document_are_no_independent_evidence() -> None:
    right = np.repeat(np.random.default_rng(1).random(30) < 0.5, 10)
    alone = answers(right, np.arange(300))
    together = alone | {"document": np.repeat(np.arange(30), 10)}
    widths = [
        score.value.high - score.value.low
        for columns in (alone, together)
        for score in TASK.scores(columns, 0.95)
    ]
    assert widths[1] > 2 * widths[0]


def test_choosing_no_better_than_blindly_is_doubted() -> None:
    columns = questions([0, 1] * 6, [[-1, -2]] * 12, [[1, 1]] * 12)
    (words,) = TASK.doubts(columns, TASK.scores(columns, 0.95)[0])
    assert "50.0% of choosing blindly" in words
    surely = questions([0] * 12, [[-1, -2]] * 12, [[1, 1]] * 12)
    assert TASK.doubts(surely, TASK.scores(surely, 0.95)[0]) == []


def test_a_single_question_has_a_score_and_no_likeness() -> None:
    one = questions([0], [[-1, -2]], [[1, 1]])
    assert TASK.scores(one, 0.95)[0].correct == 1
    assert fidelity(TASK, one, one).measures == ()
    assert TASK.change(one, one, 0.95) is not None


def test_lineage_is_for_models_whose_items_have_one_right_class() -> None:
    assert not TASK.one_class
