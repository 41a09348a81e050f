"""Messages inside sentences: what they quote stays as it is."""

from __future__ import annotations

import pytest

from bench.errors import as_sentence, without_stop


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("no room.", "no room"),
        ("no room", "no room"),
        ("can't open ../..", "can't open ../.."),
        ("still loading...", "still loading..."),
        ("", ""),
    ],
)
def test_only_a_full_stop_is_taken_away(text: str, bare: str) -> None:
    assert without_stop(text) == bare


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no room", "no room."),
        ("no room.", "no room."),
        ("is it there?", "is it there?"),
        ("still loading...", "still loading..."),
        ("cut sho…", "cut sho…"),
    ],
)
def test_a_sentence_ends_once(text: str, sentence: str) -> None:
    assert as_sentence(text) == sentence
