"""The data of language models: every shape that is read, and the sentence for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cards.card import Card
from bench.cards.datasets import load_dataset
from bench.cards.datasets.examples import Document, Prompt, Question
from bench.errors import SpecError


def read(path: Path) -> tuple[object, ...]:
    card = Card.model_validate(
        {
            "name": "m",
            "task": "text-generation",
            "source": {"onnx": "m.onnx"},
            "inputs": [],
            "dataset": {"name": "d", "path": path.name},
            "path": path.parent / "m.toml",
        }
    )
    return load_dataset(card).language


def test_a_text_file_is_a_document_and_a_folder_one_for_each(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes("\ufeffIn the beginning\n".encode())
    (tmp_path / "a.txt").write_text("é")
    assert read(tmp_path / "b.txt") == (Document("b.txt", "In the beginning\n"),)
    assert [one.document for one in read(tmp_path) if isinstance(one, Document)] == [
        "a.txt",
        "b.txt",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": "a b", "document": "Ruth 1"}', Document("Ruth 1", "a b")),
        ('{"text": "a"}', Document("line 2", "a")),
        (
            '{"context": "a", "choices": ["b", "c"], "answer": 1}',
            Question("line 2", "a", ("b", "c"), 1),
        ),
        (
            '{"query": "a", "choices": ["b", "c"], "gold": 0, "document": 7}',
            Question("7", "a", ("b", "c"), 0),
        ),
        ('{"prompt": "a", "answer": "b"}', Prompt("line 2", "a", ("b",))),
        ('{"question": "a", "answer": ["b", "c"]}', Prompt("line 2", "a", ("b", "c"))),
    ],
)
def test_a_line_is_an_example_by_its_keys(tmp_path: Path, line: str, expected: object) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(f"\n{line}\n")
    assert read(path) == (expected,)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "d.jsonl: it is empty"),
        ('{"text": ""}\n', "it is empty, so there is nothing to score"),
        ('{"text": "a"}\nnot json\n', "line 2 is not JSON"),
        ("[1]\n", "line 1 is not an object"),
        ('{"texts": "a"}\n', "line 1 has 'texts'; each line must be"),
        ('{"text": "a"}\n\n{"prompt": "a", "answer": "b"}\n', "line 3 differs in form"),
        ('{"text": 7}\n', "line 1: `text` must be a text"),
        ('{"context": "a", "choices": ["b"], "answer": 0}', "line 1: `choices` must be"),
        ('{"context": "a", "choices": ["b", ""], "answer": 0}', "line 1: `choices` must be"),
        ('{"context": "a", "choices": ["b", "c"], "answer": 2}', "correct choice, 0 to 1"),
        ('{"context": "a", "choices": ["b", "c"], "answer": "b"}', "correct choice, 0 to 1"),
        ('{"choices": ["b", "c"], "answer": 1}', "line 1: `context` must be a text"),
        ('{"prompt": "a"}', "line 1: `answer` must be a text, or a list"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(content)
    with pytest.raises(SpecError, match=words):
        read(path)


def test_text_in_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_bytes(b"one\ntw\xff\n")
    with pytest.raises(SpecError, match="line 2 is not UTF-8"):
        read(path)


def test_other_files_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b\n")
    with pytest.raises(SpecError, match=r"scored on a .txt file, a folder of them, or a .jsonl"):
        read(tmp_path / "d.csv")
    with pytest.raises(SpecError, match=r"no .txt file in this folder"):
        read(tmp_path)


def test_empty_texts_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "a"}\n{"text": ""}\n')
    assert len(read(path)) == 1
