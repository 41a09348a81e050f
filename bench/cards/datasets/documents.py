"""Data of language models: texts, questions with choices, and prompts with their answers.

A ``.txt`` file is one text, a folder of them a text each; a ``.jsonl`` file has an example a line,
all of one shape:

- ``{"text": "..."}``;
- ``{"context": "...", "choices": ["...", ...], "answer": 1}``: the number of the right choice, from
  0 (``query`` and ``gold`` are other names for ``context`` and ``answer``);
- ``{"prompt": "...", "answer": "..."}``: one right answer or a list (``question`` for ``prompt``).

``"document"`` names what an example is part of: examples of one document are no independent
evidence. Where it is left out each example is a document of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cards.card import DatasetCard
from bench.cards.datasets.base import Dataset, counted, folder_sha256
from bench.cards.datasets.examples import Document, Prompt, Question
from bench.errors import SpecError
from bench.unchanged import file_sha256

_SHAPES = (
    '{"text": ...}, {"context": ..., "choices": [...], "answer": number} or '
    '{"prompt": ..., "answer": ...}'
)


def read_language(path: Path, data: DatasetCard) -> Dataset:
    """The examples in ``path``. Raises `SpecError` for what is of no shape that is known, naming
    the line."""
    if path.is_dir():
        files = sorted(path.glob("*.txt"))
        if not files:
            raise SpecError(f"{path}: there is no .txt file in this folder.")
        found: list[Any] = [Document(file.name, _text(file)) for file in files]
        sha256 = folder_sha256(path, files)
    elif path.suffix.lower() == ".txt":
        found, sha256 = [Document(path.name, _text(path))], file_sha256(path)
    elif path.suffix.lower() == ".jsonl":
        found, sha256 = _lines(path), file_sha256(path)
    else:
        raise SpecError(
            f"{path}: a language model is scored on a .txt file, a folder of them, or a .jsonl "
            f"file with lines of the form {_SHAPES}."
        )
    kept = [one for one in found if not isinstance(one, Document) or one.text]
    if not kept:
        raise SpecError(f"{path}: it is empty, so there is nothing to score.")
    left_out = len(found) - len(kept)
    notes = (f"{counted(left_out, 'text is', 'texts are')} empty",) if left_out else ()
    return Dataset(data.name, data.split, {}, None, sha256, notes=notes, language=tuple(kept))


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpecError(
            f"{path}: line {line} is not UTF-8, which scoring a language model needs; save the "
            "file as UTF-8."
        ) from error


def _lines(path: Path) -> list[Any]:
    """An example a line, all of the shape of the first."""
    found: list[Any] = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SpecError(
                f"{where} is not JSON ({error}); each line must be {_SHAPES}."
            ) from error
        if not isinstance(row, dict):
            raise SpecError(f"{where} is not an object; each line must be {_SHAPES}.")
        example = _reader(row, where)(row, str(row.get("document", f"line {number}")), where)
        if found and type(example) is not type(found[0]):
            raise SpecError(
                f"{where} differs in form from the first example; put them in separate files."
            )
        found.append(example)
    return found


_Reader = Callable[[Mapping[str, Any], str, str], Document | Question | Prompt]


def _reader(row: Mapping[str, Any], where: str) -> _Reader:
    """By the keys that an example has."""
    if "choices" in row:
        return _question
    if "prompt" in row or "question" in row:
        return _prompt
    if "text" in row:
        return lambda row, document, where: Document(document, _string(row, ("text",), where))
    raise SpecError(
        f"{where} has {', '.join(map(repr, row)) or 'nothing'}; each line must be {_SHAPES}."
    )


def _question(row: Mapping[str, Any], document: str, where: str) -> Question:
    choices, gold = row["choices"], _first(row, ("answer", "gold"))
    if not _are_texts(choices) or len(choices) < 2 or not all(choices):
        raise SpecError(f"{where}: `choices` must be a list of two or more texts, none empty.")
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
        raise SpecError(
            f"{where}: `answer` must be the number of the correct choice, 0 to {len(choices) - 1}."
        )
    context = _string(row, ("context", "query", "question", "prompt"), where)
    return Question(document, context, tuple(choices), gold)


def _prompt(row: Mapping[str, Any], document: str, where: str) -> Prompt:
    answers: Any = row.get("answer")
    answers = [answers] if isinstance(answers, str) else answers
    if not _are_texts(answers) or not any(text.strip() for text in answers):
        raise SpecError(f"{where}: `answer` must be a text, or a list of correct texts.")
    return Prompt(document, _string(row, ("prompt", "question"), where), tuple(answers))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _first(row: Mapping[str, Any], names: Sequence[str]) -> object:
    return next((row[name] for name in names if name in row), None)


def _string(row: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    value = _first(row, names)
    if not isinstance(value, str):
        raise SpecError(f"{where}: `{names[0]}` must be a text.")
    return value
