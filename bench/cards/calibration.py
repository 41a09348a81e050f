"""Calibration data: what static quantisation takes the ranges of activations from."""

from __future__ import annotations

from bench.arrays import Array
from bench.cards.card import Card
from bench.cards.datasets import Dataset, load_dataset
from bench.cards.variants import Calibration
from bench.errors import SpecError
from bench.variants import INT8_DYNAMIC


def load_calibration(card: Card, dataset: Dataset | None, variant: str) -> Calibration:
    """The samples that ``card`` names for calibration, prepared like its data set.

    Raises `SpecError` where it names none, or where one of them is in the test set ``dataset``:
    a model that was tuned on what it is scored on would look better than it is.
    """
    named = card.calibration
    if named is None or card.dataset is None:
        raise SpecError(
            f"{card.name}: {variant} needs calibration data, and {card.path.name} names none. "
            "Add a [calibration] table with `name` and `path` of samples that are not in the test "
            f"set, or take a variant that needs none, like {INT8_DYNAMIC.name}."
        )
    like = card.dataset.model_copy(
        update={"name": named.name, "path": named.path, "split": named.split}
    )
    found = load_dataset(card.model_copy(update={"dataset": like}))
    inputs = {name: array[: named.samples] for name, array in found.inputs.items()}
    count = len(next(iter(inputs.values())))
    if count == 0:
        raise SpecError(f"{card.file(named.path)}: there is no sample to calibrate with.")
    shared = shared_samples(inputs, dataset.inputs) if dataset is not None else 0
    if shared:
        raise SpecError(
            f"{card.file(named.path)}: {shared} of {count} calibration samples are in the test set "
            f"{card.dataset.name} too, so the accuracy would be too good. Calibrate on training "
            "samples."
        )
    return Calibration(named.name, named.split, inputs, f"{found.sha256} {count}")


def shared_samples(one: dict[str, Array], other: dict[str, Array]) -> int:
    """How many samples of ``one`` are, value for value, in ``other``."""
    known = {_sample(other, row) for row in range(len(next(iter(other.values()))))}
    return sum(_sample(one, row) in known for row in range(len(next(iter(one.values())))))


def _sample(inputs: dict[str, Array], row: int) -> bytes:
    return b"".join(inputs[name][row].tobytes() for name in sorted(inputs))
