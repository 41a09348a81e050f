"""From a card's data set on disk to arrays that its model takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.cards.card import GENERATES, Card
from bench.cards.datasets import images, npz, saved, tables
from bench.cards.datasets.base import Dataset, Stored
from bench.cards.datasets.documents import read_language
from bench.cards.datasets.labels import places_of
from bench.cards.datasets.prepared import gap_notes, prepared
from bench.cards.datasets.room import refuse_too_large
from bench.cards.datasets.text import tokenize
from bench.errors import SpecError


def load_dataset(card: Card, spare_bytes: int | None = None) -> Dataset:
    """The data set that ``card`` names.

    Raises `SpecError` when it can't be read or does not fit the card, `Unavailable` where a
    package that reads it is not installed, `OutOfMemory` where ``spare_bytes`` can't hold it.
    """
    if card.dataset is None:
        raise SpecError(f"{card.path}: the card has no data set.")
    path = card.file(card.dataset.path)
    try:
        refuse_too_large(path, card, spare_bytes)
        found = _found(path, card)
    except OSError as error:
        raise SpecError(f"{path}: can't be read: {error}.") from error
    return replace(found, notes=tuple(f"{path.name}: {words}" for words in found.notes))


def _found(path: Path, card: Card) -> Dataset:
    assert card.dataset is not None
    if card.task == GENERATES:
        return read_language(path, card.dataset)
    stored = _read(path, card)
    return _of_texts(stored, card, path) if stored.texts else _of_arrays(stored, card, path)


def _of_arrays(stored: Stored, card: Card, path: Path) -> Dataset:
    assert card.dataset is not None
    wanted = {tensor.name: stored.arrays[tensor.name] for tensor in card.inputs}
    inputs = prepared(wanted, card, path)
    examples = len(next(iter(inputs.values())))
    found = Dataset(
        name=card.dataset.name,
        split=card.dataset.split,
        inputs=inputs,
        labels=places_of(stored, examples, card.dataset, path),
        sha256=stored.sha256,
        notes=(*stored.notes, *gap_notes(inputs)),
    )
    if card.task == "embedding" and path.suffix.lower() == ".npz":
        return _with_relations(found, npz.retrieval(path), path)
    return found


def _read(path: Path, card: Card) -> Stored:
    """By the format that ``path`` is in."""
    file, _, function = str(path).rpartition(":")
    if file.endswith(".py"):
        return tables.read_function(Path(file), function, card)
    if path.is_dir():
        return _read_folder(path, card)
    if path.suffix.lower() in tables.SUFFIXES:
        return tables.read_file(path, card)
    if path.suffix.lower() == ".npz":
        return npz.read(path, card)
    raise SpecError(
        f"{path}: unsupported format (.npz, {', '.join(tables.SUFFIXES)}, a folder, or "
        "file.py:function); convert it to one of these."
    )


def _read_folder(path: Path, card: Card) -> Stored:
    if saved.is_saved_to_disk(path):
        return saved.read(path, card)
    if saved.is_folder_of_parquet(path):
        return saved.read_parquet_files(path, card)
    if images.holds_images(path):
        return images.read(path, card)
    raise SpecError(
        f"{path}: expected images in one folder per class, a data set saved with Hugging Face's "
        "save_to_disk, or Parquet files."
    )


# -- texts and pairs ------------------------------------------------------------------------------


def _of_texts(stored: Stored, card: Card, path: Path) -> Dataset:
    """Texts as token ids. With labels each row is one example, of one text or of two together;
    else each different text is one, and pairs say which belong together."""
    assert card.dataset is not None
    data = card.dataset
    if data.tokenizer is None:
        raise SpecError(
            f"{card.path}: text needs `dataset.tokenizer`, a tokenizer.json or the folder of one."
        )
    labelled = stored.labels is not None and stored.scores is None
    columns = stored.texts if labelled else ([text for column in stored.texts for text in column],)
    rows = list(zip(*columns, strict=True))
    texts = rows if labelled else list(dict.fromkeys(rows))
    names = [tensor.name for tensor in card.inputs]
    inputs, cut = tokenize(texts, card.file(data.tokenizer), data.max_length, names)
    notes = list(stored.notes)
    if cut:
        notes.append(
            f"{len(cut)} of {len(texts)} texts are longer than `max_length` = "
            f"{data.max_length} tokens and were cut; the first begins {texts[cut[0]][0][:40]!r}"
        )
    found = Dataset(
        name=data.name,
        split=data.split,
        inputs=inputs,
        labels=places_of(stored, len(texts), data, path) if labelled else None,
        sha256=stored.sha256,
        notes=tuple(notes),
    )
    if labelled or stored.scores is None or len(stored.texts) != 2:
        return found
    place = {text: number for number, (text,) in enumerate(texts)}
    pairs = np.array([[place[text] for text in column] for column in stored.texts]).T
    return replace(found, pairs=pairs, scores=_gold(stored.scores, path))


def _gold(scores: Array, path: Path) -> Array:
    """Gold similarities. Raises `SpecError` for NaN and Inf, which have no rank."""
    odd = np.flatnonzero(~np.isfinite(scores))
    if len(odd):
        raise SpecError(
            f"{path}: the score {scores[odd[0]]} in row {odd[0]} ({len(odd)} of "
            f"{len(scores)} rows) is not a similarity; remove those rows."
        )
    return scores


def _with_relations(found: Dataset, extra: dict[str, Array], path: Path) -> Dataset:
    """Checks that pairs, queries and items are places among the examples."""
    for name in ("pairs", "queries", "items"):
        places = extra.get(name)
        if places is not None and (places.dtype.kind not in "iu" or _outside(places, found)):
            raise SpecError(
                f"{path}: `{name}` must hold indices of the {found.examples} examples, from 0."
            )
    pairs, scores = extra.get("pairs"), extra.get("scores")
    if pairs is not None and (
        scores is None or pairs.shape != (scores.size, 2) or scores.ndim != 1
    ):
        raise SpecError(
            f"{path}: `pairs` must be (pairs, 2) and `scores` must have one number per pair."
        )
    relevant = extra.get("relevant")
    if relevant is not None:
        sides = tuple(len(extra.get(name, ())) for name in ("queries", "items"))
        if relevant.shape != sides or not relevant.astype(bool).any(axis=1).all():
            raise SpecError(
                f"{path}: `relevant` must be (queries, items) with at least one relevant item per "
                "query."
            )
    return replace(
        found,
        pairs=pairs,
        scores=None if scores is None else _gold(scores.astype(np.float64), path),
        queries=extra.get("queries"),
        items=extra.get("items"),
        relevant=None if relevant is None else relevant.astype(bool),
    )


def _outside(places: Array, found: Dataset) -> bool:
    return bool(places.size) and bool(places.min() < 0 or places.max() >= found.examples)
