"""The text of the language models: the King James Bible, its books split into three.

    python models/recipes/kjv.py books.jsonl

writes the chapters that are trained on, a chapter a line, for `bench model distill --text`. With
`--openings FILE` the first verses of each test chapter are written too.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

HOW = (
    "Install Debian's packages bible-kjv and bible-kjv-text (`apt-get install bible-kjv`), or "
    "give a file with a verse a line (`Ge1:1 In the beginning ...`) with --text."
)
#: All 66 books, by the program's abbreviations, as Debian's bible-kjv 4.38 writes them.
_COMMAND = ("bible", "-f", "-l", "100000", "Gen1:1-Rev22:21")
_VERSE = re.compile(r"(\d?[A-Za-z]+)(\d+):(\d+) (.*)")
#: Never seen by the tokenizer or in training. Books whose text is repeated in others (Mark in
#: Matthew and Luke, Kings in Chronicles and Isaiah) would not be held out, and aren't here.
TEST = {
    "Ruth": "Ruth",
    "Est": "Esther",
    "Eccl": "Ecclesiastes",
    "Dan": "Daniel",
    "Jonah": "Jonah",
    "John": "John",
    "Phi": "Philippians",
    "Jas": "James",
}
#: Neither trained nor tested on: what training is watched by.
VALIDATION = {
    "Lam": "Lamentations",
    "Amos": "Amos",
    "Gal": "Galatians",
    "1Pet": "1 Peter",
    "Titus": "Titus",
}


#: Verses of a chapter's opening: all 72 openings are some 7,000 tokens, which a model of 100
#: million parameters scores in about a minute on two cores.
OPENING = 3


@dataclass(frozen=True)
class Chapter:
    """A document: a chapter, a verse a line, without its numbers."""

    book: str
    number: int
    text: str


@dataclass(frozen=True)
class Corpus:
    """The chapters by what they are for."""

    training: tuple[Chapter, ...]
    validation: tuple[Chapter, ...]
    test: tuple[Chapter, ...]


def read(path: Path | None) -> Corpus:
    """The text from a file, or from the program `bible`."""
    text = path.read_text("utf-8") if path else _from_program()
    chapters = tuple(_chapters(text.splitlines()))
    if len({chapter.book for chapter in chapters}) != 66:
        raise SystemExit(f"This isn't the whole Bible. {HOW}")
    held = TEST.keys() | VALIDATION.keys()
    return Corpus(
        tuple(chapter for chapter in chapters if chapter.book not in held),
        tuple(chapter for chapter in chapters if chapter.book in VALIDATION),
        tuple(chapter for chapter in chapters if chapter.book in TEST),
    )


def _from_program() -> str:
    try:
        return subprocess.run(
            _COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"The text isn't here ({error}). {HOW}") from error


def _chapters(lines: Iterable[str]) -> Iterator[Chapter]:
    verses: dict[tuple[str, int], list[str]] = {}
    for line in lines:
        if match := _VERSE.fullmatch(line):
            book, chapter, _, verse = match.groups()
            verses.setdefault((book, int(chapter)), []).append(verse)
    for (book, number), found in verses.items():
        yield Chapter(book, number, "\n".join(found) + "\n")


def opening(chapter: Chapter) -> Chapter:
    """The first verses of a chapter."""
    return replace(chapter, text="".join(chapter.text.splitlines(keepends=True)[:OPENING]))


def write_documents(chapters: Iterable[Chapter], names: dict[str, str], path: Path) -> None:
    """JSON lines, a chapter a line; a book that ``names`` lacks keeps its abbreviation."""
    lines = (
        json.dumps(
            {
                "text": chapter.text,
                "document": f"{names.get(chapter.book, chapter.book)} {chapter.number}",
            }
        )
        for chapter in chapters
    )
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="file for the chapters, .jsonl")
    parser.add_argument("--openings", type=Path, help="file for the test chapters' beginnings")
    parser.add_argument("--text", type=Path, help="the Bible, a verse a line; else program bible")
    given = parser.parse_args()
    corpus = read(given.text)
    write_documents(corpus.training, {}, given.output)
    if given.openings:
        write_documents(map(opening, corpus.test), TEST, given.openings)


if __name__ == "__main__":
    main()
