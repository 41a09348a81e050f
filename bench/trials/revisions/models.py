"""The models of two revisions in one plan, named ``NAME@REVISION``.

What is taken from a revision: the file that names a model (a card, an ONNX or GGUF file, a Python
file, a checkpoint folder), and with it all files that it names relative to itself. Labelled data
that git does not track is the present one for both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cards.card import Card
from bench.cards.catalog import is_factory
from bench.discover import card_paths
from bench.errors import BenchError, SpecError, as_sentence
from bench.measure.models import Named, find_models
from bench.trials.revisions.repository import Revision, tracked
from bench.validation import read_toml

_CARD = ".toml"
#: Tables of a card whose `path` is labelled data.
_DATA = ("dataset", "calibration")
_FEW = 4


@dataclass(frozen=True)
class Pairs:
    """The models to measure, and what has to be told: ``notes`` of what has no other side."""

    models: tuple[Named, ...]
    notes: tuple[str, ...]
    both: bool  #: whether any model is there in both revisions


def models_of(
    texts: Sequence[str],
    top: Path,
    folder: Path,
    base: Revision,
    head: Revision,
    shapes: Sequence[str] = (),
) -> Pairs:
    """Each model of ``texts`` (as named in ``folder``) that lies in the repository, of both.

    ``shapes`` are of the inputs of PyTorch modules. Raises `SpecError` where none does, and for a
    model that the head does not have.
    """
    inside = {text: place for text in texts if (place := _place(text, top, folder)) is not None}
    notes = [
        f"{text} is left out: it does not lie in this repository, so both revisions have the same."
        for text in texts
        if text not in inside
    ]
    if not inside:
        named = ", ".join(texts[:_FEW]) or "none is named"
        raise SpecError(
            f"no model to compare lies in the repository {top} ({named}). Name a file of it with "
            "-m, or in a suite."
        )
    before: dict[str, str] = {}
    for text, place in inside.items():
        _refuse_absent(text, place, base, head)
        if not (base.root / place.path).exists():
            notes.append(f"{text} is new: {base.words} does not have it. It is measured alone.")
            continue
        _link_data(place.path, top, base)
        _link_data(place.path, top, head)
        before[text] = place.below(base.root)
    after = [place.below(head.root) for place in inside.values()]
    found, more = _readable(before, base, shapes)
    models = [*_named(found, base), *_named(find_models(after, shapes), head)]
    return Pairs(_side_by_side(models), (*notes, *more), bool(found))


@dataclass(frozen=True)
class _Place:
    """A model's file within the repository, and the factory in it."""

    path: Path
    factory: str = ""

    def below(self, root: Path) -> str:
        return f"{root / self.path}{self.factory}"


def _place(text: str, top: Path, folder: Path) -> _Place | None:
    """None where it lies outside: an installed model of another project, or a file elsewhere."""
    file, factory = text, ""
    if ".py:" in text:
        file, _, name = text.rpartition(":")
        factory = f":{name}"
    elif not text.endswith((".onnx", ".gguf", _CARD)) and text in card_paths():
        file = str(card_paths()[text])
    path = Path(os.path.normpath(os.path.realpath(folder) / Path(file)))
    real_top = Path(os.path.realpath(top))
    return _Place(path.relative_to(real_top), factory) if path.is_relative_to(real_top) else None


def _refuse_absent(text: str, place: _Place, base: Revision, head: Revision) -> None:
    if (head.root / place.path).exists():
        return
    if (base.root / place.path).exists():
        raise SpecError(
            f"{text}: {base.words} has it and {head.words} has not: it was removed or renamed. "
            "Leave it out."
        )
    raise SpecError(f"{text}: neither {base.words} nor {head.words} has such a file.")


def _link_data(path: Path, top: Path, revision: Revision) -> None:
    """Let a card that is checked out find labelled data that git does not track."""
    if path.suffix != _CARD or revision.root == top:
        return
    tables = read_toml(revision.root / path, "model card")
    for name in _DATA:
        table = tables.get(name)
        given = table.get("path") if isinstance(table, dict) else None
        if not isinstance(given, str) or os.path.isabs(given):
            continue
        target = Path(os.path.normpath(revision.root / path.parent / given))
        if target.exists() or not target.is_relative_to(revision.root):
            continue
        present = top / target.relative_to(revision.root)
        if present.exists() and not tracked(top, present):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(present)


def _readable(
    texts: dict[str, str], base: Revision, shapes: Sequence[str]
) -> tuple[list[Named], list[str]]:
    """The base's models, without those that the present bench can't read."""
    try:
        return (find_models(list(texts.values()), shapes) if texts else []), []
    except BenchError:
        pass  # one at a time, to tell which
    found, notes = [], []
    for text, path in texts.items():
        try:
            found += find_models([path], shapes if is_factory(path) else ())
        except BenchError as error:
            notes.append(
                f"{text} can't be read as {base.words} has it, so it counts as new: "
                f"{as_sentence(str(error))}"
            )
    return found, notes


def _named(models: Sequence[Named], revision: Revision) -> list[Named]:
    """With the revision behind each name, also where cards name each other."""
    names = {one.card.name for one in models}

    def at(name: str | None) -> str | None:
        return f"{name}@{revision.name}" if name in names else name

    def renamed(card: Card) -> Card:
        relations = ("distilled_from", "control_of", "variant_of")
        return card.model_copy(update={key: at(getattr(card, key)) for key in ("name", *relations)})

    return [Named(renamed(one.card), one.error) for one in models]


def _side_by_side(models: Sequence[Named]) -> tuple[Named, ...]:
    """The two of a pair beside each other."""
    order = {one.card.name.rpartition("@")[0]: None for one in reversed(models)}
    place = {name: n for n, name in enumerate(reversed(order))}
    return tuple(sorted(models, key=lambda one: place[one.card.name.rpartition("@")[0]]))
