"""Labelled data as arrays that a model takes: npz files, images by class, tables, Hugging Face data
sets on disk. One module a format; `bench.cards.datasets.load` chooses and checks. No file and no
row is left out in silence: `Dataset.notes`."""

from bench.cards.datasets.base import Dataset
from bench.cards.datasets.load import load_dataset

__all__ = ["Dataset", "load_dataset"]
