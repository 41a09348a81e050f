"""What a training needs to go on after an interruption, in one file that is whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import SpecError


class TrainingState:
    """A file with the state of ``parts`` (a network, its optimiser) and how far they have come.

    ``recipe`` is what the training was begun with: another one is refused, not mixed in.
    """

    def __init__(self, path: Path, recipe: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
        self._path = path
        self._recipe = dict(recipe)
        self._parts = parts

    def resume(self) -> dict[str, Any]:
        """Bring the parts to where they were, and return what was kept with them; nothing where
        there is no file. Raises `SpecError` for a file that can't be read or has another recipe."""
        import torch  # torch: optional

        if not self._path.is_file():
            return {}
        try:
            # On the CPU first: each part puts its own where it is.
            stored = torch.load(self._path, map_location="cpu", weights_only=True)
            recipe, kept = json.loads(stored["recipe"]), json.loads(stored["kept"])
            found = [(part, stored["parts"][name]) for name, part in self._parts.items()]
        except Exception as error:
            raise SpecError(
                f"{self._path}: can't be read; delete it to start again: {error}."
            ) from error
        if recipe != self._recipe:
            changed = [key for key, value in self._recipe.items() if value != recipe.get(key)]
            raise SpecError(
                f"{self._path}: a training with another {', '.join(changed)} was started there. "
                "Delete the file to start again, or give the same settings to resume."
            )
        for part, state in found:
            part.load_state_dict(state)
        assert isinstance(kept, dict)
        return kept

    def keep(self, kept: Mapping[str, Any]) -> None:
        """Write how far the parts have come, with ``kept``, what else the training goes on from.

        Raises `SpecError` where the disk doesn't take it; what was kept before stays.
        """
        import torch  # torch: optional

        partial = self._path.with_suffix(".partial")
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        content = {"recipe": json.dumps(self._recipe), "kept": json.dumps(kept), "parts": parts}
        try:
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer has words of its own
            partial.unlink(missing_ok=True)
            raise SpecError(
                f"{self._path}: the state of the training can't be written: {error}. Free space, "
                "then run the same command to resume."
            ) from error

    def forget(self) -> None:
        """The training is done."""
        self._path.unlink(missing_ok=True)
