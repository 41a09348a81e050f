"""Where the content of a GGUF file lies unpacked: a checkpoint folder in the cache, with a note of
how the weights were stored."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from bench.errors import SpecError
from bench.files import file_stem
from bench.folders import cache_folder
from bench.unchanged import file_sha256

SUFFIX = ".gguf"
#: Beside config.json, written last: it says that all is there.
_NOTE = "gguf.json"
#: What decides how a file is unpacked.
_PACKAGES = ("gguf", "transformers")
#: Raised whenever the way that a file is unpacked changes, so that older folders are not reused.
_RECIPE = 1
#: Types of fewer of the weights than this are norms and the like, and aren't named.
_NAMED_SHARE = 0.01


@dataclass(frozen=True)
class Stored:
    """How a file stored its weights: ``precision`` as llama.cpp calls it (``Q4_1``), ``shares`` of
    the weights by type. ``reader`` is what dequantised them, ``no_tokenizer`` why there is none."""

    precision: str
    shares: Mapping[str, float]
    reader: str
    no_tokenizer: str = ""

    @property
    def label(self) -> str:
        return f"GGUF {self.precision}"

    @property
    def words(self) -> str:
        """``GGUF Q4_1 (79% Q4_1, 21% Q8_0), dequantised to float32 by transformers 5.24.0``."""
        named = {name: share for name, share in self.shares.items() if share >= _NAMED_SHARE}
        parts = ", ".join(f"{share:.0%} {name}" for name, share in named.items())
        mixed = f" ({parts})" if list(named) != [self.precision] else ""
        return f"{self.label}{mixed}, dequantised to float32 by {self.reader}"

    def write(self, folder: Path) -> None:
        (folder / _NOTE).write_text(json.dumps(asdict(self), indent=1), "utf-8")


def unpacked_folder(path: Path) -> Path:
    """Where the checkpoint of a GGUF file belongs, whether it is there or not.

    Raises `SpecError` for a file that isn't there.
    """
    try:
        content = file_sha256(path)
    except OSError as error:
        raise SpecError(f"{path}: no such file.") from error
    key = json.dumps([content, versions(), _RECIPE])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "gguf" / f"{file_stem(path.stem)}-{digest}"


def versions() -> list[str]:
    """Of the packages that read GGUF, those that are installed."""
    found = []
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return found


def stored_in(folder: Path) -> Stored | None:
    """How the weights of an unpacked checkpoint were stored; None where nothing is unpacked."""
    try:
        return Stored(**json.loads((folder / _NOTE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
