"""A trained student on the disk: a checkpoint folder as Hugging Face's, and its card."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cards.card import Card
from bench.cards.files import relative_to
from bench.cards.language.cards import TASK
from bench.cards.text import table_toml, toml_text
from bench.errors import SpecError
from bench.files import write_text
from bench.unchanged import file_sha256

#: What a checkpoint says besides its network: how text becomes tokens, and a chat text.
_BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)


@dataclass(frozen=True)
class Trained:
    """What came of a training: how long it was, and the held-out text's bits per byte by whose
    they are."""

    steps: int
    tokens: int
    seconds: float
    device: str
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class Origin:
    """What a student was made of, in the words of its card: ``recipe`` is the command."""

    original: Card
    folder: Path
    learnt_from: str
    recipe: Sequence[str]
    relation: Mapping[str, str]


def write_student(
    student: Any, name: str, stem: str, origin: Origin, trained: Trained, out: Path
) -> Path:
    """Write the checkpoint ``STEM/`` and the card ``STEM.toml``; gives the card's path.

    Raises `SpecError` where the disk doesn't take them; what was there before stays.
    """
    folder = out / stem
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".making-") as making:
            whole = Path(making) / stem
            student.save_pretrained(whole)
            for weights in whole.glob("*.safetensors"):
                # safetensors makes them readable to their owner alone
                weights.chmod((whole / "config.json").stat().st_mode)
            for beside in _BESIDE:
                if (origin.folder / beside).is_file():
                    shutil.copyfile(origin.folder / beside, whole / beside)
            if folder.exists():
                shutil.rmtree(folder)
            whole.replace(folder)
    except Exception as error:  # safetensors has an error of its own where a disk is full
        raise SpecError(f"{folder}: the student can't be written: {error}.") from error
    card = out / f"{stem}.toml"
    write_text(card, "\n".join(_card(name, stem, origin, trained, out)))
    return card


def _card(name: str, stem: str, origin: Origin, trained: Trained, out: Path) -> Iterator[str]:
    original = origin.original
    yield f"name = {toml_text(name)}"
    yield f"task = {toml_text(TASK)}"
    for relation, other in origin.relation.items():
        yield f"{relation} = {toml_text(other)}"
    yield f"\n[source]\npretrained = {toml_text(stem)}\n"
    if original.dataset is not None:
        data = original.dataset.model_dump(mode="json", exclude_defaults=True)
        data["path"] = relative_to(original.file(original.dataset.path), out)
        yield table_toml("dataset", data)
    said = (
        f"{origin.learnt_from}; {trained.steps} steps, {trained.tokens} tokens, "
        f"{trained.seconds:.0f} s on {trained.device}"
    )
    yield "[provenance]"
    if original.provenance.licence:
        yield f"licence = {toml_text(original.provenance.licence)}"
    yield f"trained_on = {toml_text(said)}"
    yield f"recipe = {toml_text(shlex.join(origin.recipe))}"
    yield "\n[provenance.figures]"
    yield f"steps = {trained.steps}\ntokens = {trained.tokens}"
    for whose, bits in trained.held_out.items():
        yield f"{whose}_bits_per_byte = {bits:.4f}"
    yield "\n[provenance.sha256]"
    for path in sorted((out / stem).iterdir()):
        yield f"{toml_text(f'{stem}/{path.name}')} = {toml_text(file_sha256(path))}"
    yield ""
