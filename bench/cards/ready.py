"""A model made ready to be planned: files exported, data loaded, variants made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bench.backend import ModelFile
from bench.cards.calibration import load_calibration
from bench.cards.card import Card
from bench.cards.datasets import Dataset, load_dataset
from bench.cards.export import export
from bench.cards.files import stored_bytes
from bench.cards.variants import Form, make_form
from bench.variants import DEFAULT, find_variant


@dataclass(frozen=True)
class Loaded:
    """A model made ready: its card, its files after export, its data set if it has one, and the
    variants that were made of it (the default is ``file``)."""

    card: Card
    file: ModelFile
    dataset: Dataset | None
    variants: Mapping[str, Form] = field(default_factory=dict)

    def form(self, variant: str) -> Form:
        """The model's files in the precision ``variant``."""
        return self.variants.get(variant) or Form(
            replace(self.file, variant=find_variant(variant).runs_as)
        )


def batch_name(card: Card) -> str | None:
    """The symbolic dimension that is the batch: the first axis of the first input that names it."""
    first = (spec.shape[0] for spec in card.inputs if len(spec.shape) > 0)
    return next((dim for dim in first if isinstance(dim, str)), None)


def fixed_batch(card: Card) -> int | None:
    """The batch size that the model's file insists on; None when it is dynamic or has none."""
    if batch_name(card) is not None:
        return None
    first = [spec.shape[0] for spec in card.inputs if len(spec.shape) > 0]
    return next((dim for dim in first if isinstance(dim, int)), None)


def file_bytes(file: ModelFile) -> int:
    """Size of the ONNX file with its external data, or of the weights where there is no ONNX form;
    0 where neither is a file."""
    if file.onnx is not None:
        return stored_bytes(file.onnx)
    if file.torch is not None and file.torch.weights is not None:
        return file.torch.weights.stat().st_size
    return 0


def load(
    card: Card, cache: Path, say: Callable[[str], None], variants: Sequence[str] = (DEFAULT,)
) -> Loaded:
    """Export where needed, make the variants, read the data set where there is one.

    ``say`` is told what takes time while it is done.
    """
    file = card.model_file()
    if file.onnx is None and file.torch is not None:
        say(f"exporting {card.name} to ONNX")
        exported = export(card, cache)
        file = ModelFile(name=file.name, onnx=exported, torch=file.torch)
    dataset = load_dataset(card) if card.dataset is not None else None
    forms = {}
    for variant in variants:
        if variant != DEFAULT:
            say(f"making {card.name} {variant}")
        calibrate = partial(load_calibration, card, dataset, variant)
        forms[variant] = make_form(file, variant, cache, calibrate)
    return Loaded(card, file, dataset, forms)
