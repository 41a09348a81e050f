"""``text-generation``: a language model. Its logits and state are compared with the reference's."""

from __future__ import annotations

from typing import ClassVar

from bench.cards.tasks.raw import Raw


class TextGeneration(Raw):
    """Parity alone, for now: there is no labelled text yet."""

    name: ClassVar[str] = "text-generation"
