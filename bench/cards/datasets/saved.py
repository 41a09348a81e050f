"""Hugging Face data sets on disk: what ``save_to_disk`` writes, and folders of Parquet files.

The first is Arrow streams with JSON files that say which of them count, and which of their rows.
`pyarrow` reads both; the package ``datasets`` is not needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cards.card import Card
from bench.cards.datasets import tables
from bench.cards.datasets.base import Stored, counted, folder_sha256
from bench.cards.datasets.images import SPLITS
from bench.errors import SpecError, first_line

_AGAIN = "Save the data set again."


def is_saved_to_disk(path: Path) -> bool:
    """Whether ``path`` is what Hugging Face's ``save_to_disk`` writes."""
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def read(path: Path, card: Card) -> Stored:
    """One split of what ``save_to_disk`` wrote, as ``load_from_disk`` gives it. Raises
    `SpecError`."""
    tables.require_pyarrow(path)
    import pyarrow as pa  # pyarrow: start-up

    assert card.dataset is not None
    if (path / "dataset_dict.json").is_file():
        splits = _json(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list):
            raise SpecError(f"{path / 'dataset_dict.json'}: it lists no splits. {_AGAIN}")
        path = path / _chosen([str(name) for name in splits], path, card)
    state = _json(path / "state.json")
    if not state.get("_data_files"):
        raise SpecError(f"{path / 'state.json'}: it lists no data file. {_AGAIN}")
    if any(step.get("transforms") for step in state.get("_inplace_history") or ()):
        raise SpecError(
            f"{path}: it was saved by datasets before 1.6, which applies some changes on loading; "
            "load it with that version and save it again."
        )
    files = _entries(path, state, "_data_files")
    chosen = _entries(path, state, "_indices_data_files")
    try:
        table = pa.concat_tables([_part(file, entry) for file, entry in files])
        if chosen:  # the rows that count, and their order
            places = pa.concat_tables([_part(file, entry) for file, entry in chosen])
            table = table.take(places.column(0))
    except (OSError, pa.ArrowException, IndexError) as error:
        reason = first_line(error)
        raise SpecError(f"{path}: the data set can't be read: {reason}. {_AGAIN}") from error
    features = _json(path / "dataset_info.json").get("features") or {}
    used = [file for file, _ in (*files, *chosen)]
    notes = _notes(path, used, state, card)
    return tables.stored(table, features, folder_sha256(path, used), path, card, notes)


def _chosen(splits: Sequence[str], path: Path, card: Card) -> str:
    """The card's split. Raises `SpecError` where ``splits`` lack it."""
    assert card.dataset is not None
    if card.dataset.split not in splits:
        raise SpecError(
            f"{path}: it has the splits {', '.join(splits)}; name one in `dataset.split` "
            f"of {card.path.name}."
        )
    return card.dataset.split


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: can't be read: {error}. {_AGAIN}") from error
    if not isinstance(found, dict):
        raise SpecError(f"{path}: it is not a table of names and values. {_AGAIN}")
    return found


def _entries(
    path: Path, state: Mapping[str, Any], key: str
) -> list[tuple[Path, Mapping[str, Any]]]:
    entries = state.get(key) or []
    try:
        return [(path / str(entry["filename"]), entry) for entry in entries]
    except (KeyError, TypeError) as error:
        raise SpecError(f"{path / 'state.json'}: `{key}` names no files. {_AGAIN}") from error


def _part(file: Path, entry: Mapping[str, Any]) -> Any:
    """The rows of one file; versions before 1.6 may have saved that only some of them count."""
    skip, take = entry.get("skip") or 0, entry.get("take")
    return tables.arrow_table(file).slice(skip, None if take in (None, -1) else take)


def _notes(path: Path, used: Sequence[Path], state: Mapping[str, Any], card: Card) -> Iterator[str]:
    assert card.dataset is not None
    unused = sorted(set(path.glob("*.arrow")) - set(used))
    if unused:
        number = counted(len(unused), "Arrow file is", "Arrow files are")
        yield f"{number} left out, not in state.json's list; the first is {unused[0].name}"
    own = state.get("_split")
    if own and card.dataset.split and own != card.dataset.split:
        yield f"the data set is the split {own}, but the card says {card.dataset.split}"


# -- folders of Parquet files ---------------------------------------------------------------------


def is_folder_of_parquet(path: Path) -> bool:
    return any(path.glob("*.parquet"))


def read_parquet_files(path: Path, card: Card) -> Stored:
    """All Parquet files of a folder, or those of the card's split, as one table. Raises
    `SpecError`, also where one of a numbered series is missing."""
    tables.require_pyarrow(path)
    import pyarrow as pa  # pyarrow: start-up

    visible = [file for file in sorted(path.glob("*.parquet")) if not file.name.startswith(".")]
    by_split: dict[str, list[Path]] = {}
    for file in visible:
        first = re.split(r"[-_.]", file.stem)[0].lower()
        by_split.setdefault(first if first in SPLITS else "", []).append(file)
    files = visible if set(by_split) == {""} else by_split[_chosen(sorted(by_split), path, card)]
    _refuse_missing(files, path)
    try:
        table = pa.concat_tables([tables.parquet_table(file) for file in files])
    except (OSError, pa.ArrowException) as error:
        reason = first_line(error)
        raise SpecError(f"{path}: its Parquet files can't be read as one: {reason}.") from error
    others = [file for file in sorted(path.rglob("*")) if file.is_file() and file not in visible]
    number = counted(len(others), "file is", "files are")
    notes = [f"{number} left out; the first is {others[0].name}"] if others else []
    return tables.stored(table, {}, folder_sha256(path, files), path, card, notes)


def _refuse_missing(files: Sequence[Path], path: Path) -> None:
    found = [shard for file in files if (shard := tables.SHARD.search(file.stem))]
    for wanted in {int(shard[2]) for shard in found}:
        absent = set(range(wanted)) - {int(s[1]) for s in found if int(s[2]) == wanted}
        if absent:
            raise SpecError(
                f"{path}: {counted(len(absent), 'file')} of {wanted} "
                f"{'is' if len(absent) == 1 else 'are'} missing (number {min(absent)}); copy all "
                "files."
            )
