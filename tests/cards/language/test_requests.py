"""bench/cards/language/requests.py: what a request costs before the model sees it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cards.language.requests import chat_template, request_times

TEMPLATE = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<bot>"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    tokenizers: Any = pytest.importorskip("tokenizers")
    words = {"a": 0, "b": 1, "?": 2}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def write_config(folder: Path, **values: object) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def test_each_prompt_is_timed_apart_and_its_first_time_is_not_kept(tokenizer: Path) -> None:
    ticks = itertools.accumulate(itertools.count(1))  # 1 ns, 3 ns, 6 ns: each takes one more
    found = request_times(tokenizer, np.array([[[0, 1, 0]], [[1, 1, 0]]]), lambda: next(ticks))
    assert found is not None
    assert found.ns == (3, 4, 5, 8, 9, 10)
    assert not found.templated


def test_a_chat_template_is_part_of_a_request_where_the_tokenizer_has_one(tokenizer: Path) -> None:
    write_config(tokenizer.parent, chat_template=TEMPLATE, bos_token={"content": "<s>"})
    render = chat_template(tokenizer.parent)
    assert render is not None
    assert render("a b") == "<s><user>a b<bot>"
    found = request_times(tokenizer, np.array([[[0, 1]]]))
    assert found is not None
    assert found.templated


def test_a_template_in_a_file_of_its_own_counts_before_that_in_the_configuration(
    tmp_path: Path,
) -> None:
    write_config(tmp_path, chat_template="old")
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    render = chat_template(tmp_path)
    assert render is not None
    assert render("x") == "x!"


@pytest.mark.parametrize(
    "template",
    ["{% if %}", "{{ raise_exception('no') }}", "{{ ''.__class__.__mro__ }}{{ nothing.here }}", 3],
)
def test_a_template_that_cannot_be_used_is_left_out(tmp_path: Path, template: object) -> None:
    write_config(tmp_path, chat_template=template)
    assert chat_template(tmp_path) is None


def test_of_several_templates_the_default_counts(tmp_path: Path) -> None:
    named = [{"name": "tool", "template": "no"}, {"name": "default", "template": "yes"}]
    write_config(tmp_path, chat_template=named)
    render = chat_template(tmp_path)
    assert render is not None
    assert render("x") == "yes"
