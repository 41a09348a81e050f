"""Greedy answers beside the reference's, and texts that two tokenizers split otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from bench.cards.tasks import find_task
from bench.cards.tasks.base import Task
from bench.judge.certify.decisions import decisions_of
from bench.judge.certify.running import TIE, running_of
from bench.judge.certify.verdict import judge
from bench.present.certificate import running_words
from bench.record.certificate import Decisions


def answers(first: list[int], gap: list[float]) -> dict[str, np.ndarray]:
    return {
        "tokens": np.full(len(first), 64),
        "first": np.array(first),
        "gap": np.array(gap, np.float64),
    }


def test_the_share_of_same_answers_the_places_and_the_ties_are_told() -> None:
    nan = np.nan
    rows = answers([-1, 9, -1, 3, 20], [nan, TIE / 2, nan, 0.4, TIE * 2])
    again = [answers([-1] * 5, [nan] * 5), answers([-1, -1, 4, -1, -1], [nan, nan, 0, nan, nan])]
    found = running_of(rows, again, 0.95)
    assert (found.prompts, found.tokens, found.ties) == (5, 320, 1)
    assert found.same.value == pytest.approx(0.4)
    assert found.same.low < 0.4 < found.same.high
    assert (found.first["least"], found.first["p50"]) == (3, 9)
    assert found.same_again == pytest.approx(0.8), "the least like of the reference's own"
    told = running_words(found)
    assert told.startswith("of 5 greedy answers (320 tokens) 40.0%")
    assert "80.0% of the reference's own when repeated" in told
    assert "part after 9 tokens (median), at the earliest after 3, 1 where" in told


def test_where_all_answers_are_the_same_nothing_is_said_of_where_they_part() -> None:
    found = running_of(answers([-1, -1], [np.nan, np.nan]), [], 0.95)
    assert found.first == {}
    assert found.same_again is None
    assert running_words(found).endswith("are the same throughout")


def texts(tokens_each: int, bits: float) -> dict[str, np.ndarray]:
    """Eight documents of 12 bytes in two groups, in so many tokens each."""
    count = 8 * tokens_each
    wobble = np.tile(np.repeat([0.9, 1.1], tokens_each), 4)
    document = np.repeat(np.arange(8), tokens_each)
    return {
        "document": document,
        "bytes": np.full(count, 12 // tokens_each),
        "token": np.zeros(count, np.int64),
        "vocabulary": np.full(count, 100),
        "log_p": -bits * np.log(2) * 12 / tokens_each * wobble,
        "predicted": np.zeros(count, np.int64),
        "group": document // 4,
    }


def wobbling(task: Task) -> Decisions | None:
    """Documents of which every other is better, and the rest are worse."""
    mine = texts(4, 1.5)
    mine["log_p"] = mine["log_p"] * np.repeat([1.1, 0.9, 1.1, 1.0] * 2, 4)
    return decisions_of(task, mine, texts(4, 1.5), 0.01, 0.95)


def test_texts_in_other_tokens_are_held_together_group_by_group() -> None:
    task = find_task("text-generation")
    found = decisions_of(task, texts(4, 1.6), texts(3, 1.5), 0.01, 0.95, ("Ruth", "Ezra"))
    assert found is not None
    assert found.gain.value == pytest.approx(-0.1)
    assert [(group.name, group.examples) for group in found.groups] == [("Ruth", 4), ("Ezra", 4)]
    assert all(group.gain.value == pytest.approx(-0.1) for group in found.groups)
    unsure = judge(None, (), wobbling(task), "token")
    assert unsure.verdict == "inconclusive"
    assert "more documents like these would decide" in unsure.reasons[-1]
    same = decisions_of(task, texts(4, 1.5), texts(3, 1.5), 0.01, 0.95, ("Ruth", "Ezra"))
    apart = "Its tokenizer isn't the reference's."
    judged = judge(None, (), same, "token", apart=apart)
    assert judged.verdict == "equivalent", "without numbers nobody is the same"
    assert judged.reasons[0] == apart
    assert judge(None, (), None, "token", apart=apart).verdict == "inconclusive"
