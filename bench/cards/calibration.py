"""Calibration data: what static quantisation takes the ranges of activations from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.arrays import Array
from bench.cards.card import CalibrationCard, Card, DatasetCard
from bench.cards.datasets import Dataset, load_dataset
from bench.cards.inputs import input_digest
from bench.cards.variants import Calibration, in_batches
from bench.errors import SpecError
from bench.variants import INT8_DYNAMIC, MADE_UP

#: Inputs that are made up where there are no samples; so many random ones reach the ranges that
#: further ones would reach, within a few percent.
_MADE_UP = 32

#: ``guess(number)``: the inputs of one query, others for every number.
Guess = Callable[[int], Mapping[str, Array]]


def load_calibration(
    card: Card, dataset: Dataset | None, variant: str, guess: Guess | None = None
) -> Calibration:
    """The samples that ``card`` names for calibration, prepared like its data set.

    A model without samples and without a data set is calibrated on inputs that ``guess`` makes up:
    its speed is that of the variant, and nobody can judge its outputs. Raises `SpecError` where it
    has a data set and names no samples, or where one of them is in the test set ``dataset``: a
    model that was tuned on what it is scored on would look better than it is.
    """
    if card.calibration is not None:
        return _of_samples(card, card.calibration, dataset)
    if card.dataset is None and guess is not None:
        return _made_up(card, variant, guess)
    scored = " that are not in the test set" if card.dataset is not None else ""
    raise SpecError(
        f"{card.name}: {variant} needs calibration data, but {card.path.name} names none. Add a "
        f"[calibration] table with `name` and `path` of samples{scored} to its card, or use a "
        f"variant that needs none, such as {INT8_DYNAMIC.name}."
    )


def _of_samples(card: Card, named: CalibrationCard, dataset: Dataset | None) -> Calibration:
    place = {"name": named.name, "path": named.path, "split": named.split}
    # Without a data set of its own nothing is scored, so that samples need no labels.
    like = card.dataset.model_copy(update=place) if card.dataset else DatasetCard(**place)
    if named.preprocessing is not None:
        like = like.model_copy(update={"preprocessing": named.preprocessing})
    task = card.task if card.dataset else "raw"
    found = load_dataset(card.model_copy(update={"dataset": like, "task": task}))
    inputs = {name: array[: named.samples] for name, array in found.inputs.items()}
    count = len(next(iter(inputs.values())))
    if count == 0:
        raise SpecError(f"{card.file(named.path)}: there is no sample to calibrate with.")
    shared = shared_samples(inputs, dataset.inputs) if dataset is not None else 0
    if shared and dataset is not None:
        raise SpecError(
            f"{card.file(named.path)}: {shared} of {count} calibration samples are also in the "
            f"test set {dataset.name}, so the accuracy would be too high. Calibrate on training "
            "samples."
        )
    split = f" ({named.split})" if named.split else ""
    return Calibration(
        f"{count} samples of {named.name}{split}",
        in_batches(inputs, fixed_size(card)),
        count,
        f"{found.sha256} {count}",
        tuple(f"calibration: {words}" for words in found.notes),
    )


def _made_up(card: Card, variant: str, guess: Guess) -> Calibration:
    different: dict[str, Mapping[str, Array]] = {}
    for number in range(1, _MADE_UP + 1):
        feeds = guess(number)
        different.setdefault(input_digest(feeds), feeds)
    count = len(different)
    return Calibration(
        f"{MADE_UP} ({count})",
        list(different.values()),
        count,
        " ".join(different),
        (
            f"its {variant} form is calibrated on {MADE_UP}: its speed is meaningful, its outputs "
            "are not. Name real data in a [calibration] table of its card",
        ),
    )


def fixed_size(card: Card) -> int | None:
    """How many samples the model's file takes at once; None where any number."""
    first = [tensor.shape[0] for tensor in card.inputs if tensor.shape]
    return next((dim for dim in first if isinstance(dim, int)), None)


def shared_samples(one: dict[str, Array], other: dict[str, Array]) -> int:
    """How many samples of ``one`` are, value for value, in ``other``."""
    known = {_sample(other, row) for row in range(len(next(iter(other.values()))))}
    return sum(_sample(one, row) in known for row in range(len(next(iter(one.values())))))


def _sample(inputs: dict[str, Array], row: int) -> bytes:
    return b"".join(inputs[name][row].tobytes() for name in sorted(inputs))
