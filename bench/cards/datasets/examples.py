"""What language models are scored on, as text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """A text whose every token is predicted from those before it."""

    document: str
    text: str


@dataclass(frozen=True)
class Question:
    """A context and what may come after it, of which ``gold`` is the place of what is right."""

    document: str
    context: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True)
class Prompt:
    """What is to be gone on with, and what of it is right."""

    document: str
    text: str
    answers: tuple[str, ...]


Examples = tuple[Document, ...] | tuple[Question, ...] | tuple[Prompt, ...]
