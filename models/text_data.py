"""Labelled text that installed packages carry, as tables for model cards (extra ``text``)."""

import sys
from pathlib import Path


def lee():
    """Pairs of 50 news articles and how alike 83 people found them (Lee, Pincombe & Welsh 2005,
    "An empirical evaluation of models of text document similarity", CogSci 27): 1,225 pairs."""
    folder = _gensim() / "test" / "test_data"
    articles = (folder / "lee.cor").read_text("utf-8").splitlines()
    rows = (folder / "similarities0-1.txt").read_text().splitlines()
    alike = [[float(value) for value in row.split()] for row in rows]
    places = [(i, j) for i in range(len(articles)) for j in range(i + 1, len(articles))]
    return {
        "one": [articles[i] for i, _ in places],
        "other": [articles[j] for _, j in places],
        "similarity": [alike[i][j] for i, j in places],
    }


def _gensim() -> Path:
    """The package's folder; importing it would take seconds."""
    for entry in sys.path:
        if (Path(entry) / "gensim" / "test" / "test_data").is_dir():
            return Path(entry) / "gensim"
    raise FileNotFoundError("gensim is not installed: pip install 'infer-bench[text]'")
