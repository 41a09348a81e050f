"""Labelled data as arrays that a model takes: npz files, images by class, tables, Hugging Face data
sets saved to disk. One module a format; `bench.cards.datasets.load` chooses and checks."""

from bench.cards.datasets.base import Dataset
from bench.cards.datasets.load import load_dataset

__all__ = ["Dataset", "load_dataset"]
