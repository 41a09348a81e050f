"""Messages inside sentences: what they quote stays as it is."""

from __future__ import annotations

import pytest
from bench.backends.shared import checks

from bench.errors import as_sentence, first_line, kind_and_line, without_stop


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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("no room.", "no room"),
        ("\n   \n  no room.  \nnor time", "no room"),
        ("can't open ../..", "can't open ../.."),
        ("", "RuntimeError"),
        (" \n ", "RuntimeError"),
    ],
)
def test_the_first_line_of_an_error_says_something(text: str, line: str) -> None:
    error = RuntimeError(text)
    assert first_line(error) == line
    assert kind_and_line(error) == (line if line == "RuntimeError" else f"RuntimeError: {line}")
    assert checks.first_line is first_line, "adapters say the same"
