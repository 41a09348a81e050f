"""What stands beside the flags of `bench run`: a suite, models, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.discover import card_paths, suite_paths
from bench.errors import SpecError

#: The table that every model card has and no suite.
_OF_CARDS = "source"


@dataclass(frozen=True)
class Given:
    """The suite's file, if there is one, and the models as they are called."""

    suite: Path | None
    models: tuple[str, ...]


def sort_given(texts: Sequence[str]) -> Given:
    """Which of ``texts`` is the suite. A ``.toml`` file with a table ``[source]`` is a model card.

    Raises `SpecError` for two suites.
    """
    suites = {text: path for text in texts if (path := _suite(text)) is not None}
    if len(suites) > 1:
        raise SpecError(
            f"a run has one suite, but you named {len(suites)}: {' and '.join(suites)}."
        )
    models = tuple(dict.fromkeys(text for text in texts if text not in suites))
    return Given(next(iter(suites.values()), None), models)


def _suite(text: str) -> Path | None:
    """The file of the suite that is called so; None for a model."""
    if not text.endswith(".toml"):
        return None if text in card_paths() else suite_paths().get(text)
    return None if _is_card(Path(text)) else Path(text)


def _is_card(path: Path) -> bool:
    from bench.validation import read_toml  # pydantic: start-up

    try:
        return _OF_CARDS in read_toml(path, "suite file")
    except SpecError:  # whoever reads it as a suite says what is wrong
        return False
