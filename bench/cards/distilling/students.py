"""A student of a language model's own class with fewer layers, which begins as some of the
original's: Sanh et al. 2019, "DistilBERT" (arXiv 1910.01108), section 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.errors import SpecError

#: Settings that count how many of the first layers are of another kind (DeepSeek-V3 and V4).
_FIRST_LAYERS = ("first_k_dense_replace", "num_hash_layers")
#: Settings that list layers of another kind by number (Qwen3-MoE).
_LISTED_LAYERS = ("mlp_only_layers",)
#: Lists that may be as long as there are layers, and don't describe them.
_OTHER_LISTS = ("eos_token_id", "architectures")
_COUNT = "num_hidden_layers"


def kept_layers(layers: int, kept: int) -> tuple[int, ...]:
    """Which layers a student of ``kept`` layers begins as: the first, the last, and evenly between;
    of one layer alone the first."""
    return tuple(int(place) for place in np.linspace(0, layers - 1, kept).round())


def student_of(original: Any, layers: int, name: str) -> Any:
    """A model of the original's class with ``layers`` of its layers, and all that is around them.

    Raises `SpecError`, where ``name`` is what the original is called.
    """
    count = int(getattr(original.config, _COUNT))
    if not 0 < layers < count:
        raise SpecError(
            f"{name}: it has {count} layers, so its student can have 1 to {count - 1}, not "
            f"{layers}."
        )
    kept = kept_layers(count, layers)
    student = type(original)(_shortened(original.config, kept, count))
    _take_over(student, original, _layers_of(original, count, name), kept, name)
    return student


def _shortened(config: Any, kept: Sequence[int], count: int) -> Any:
    """The configuration of a model that has the ``kept`` layers alone."""
    values = config.to_dict()
    values.pop("quantization_config", None)
    for key, value in values.items():
        if key in _LISTED_LAYERS:
            values[key] = [place for place, layer in enumerate(kept) if layer in (value or ())]
        elif key in _FIRST_LAYERS:
            values[key] = sum(layer < value for layer in kept)
        elif key in _OTHER_LISTS:
            continue
        elif isinstance(value, (list, tuple)) and len(value) == count:
            values[key] = [value[layer] for layer in kept]
    values[config.attribute_map.get(_COUNT, _COUNT)] = len(kept)
    shortened = type(config).from_dict(values)
    for attribute in ("_attn_implementation", "_experts_implementation"):
        setattr(shortened, attribute, getattr(config, attribute, None))
    return shortened


def _layers_of(original: Any, count: int, name: str) -> str:
    """Where the layers are: ``model.layers``, ``transformer.h``."""
    import torch  # torch: optional

    found: list[str] = [
        place
        for place, part in original.named_modules()
        if isinstance(part, torch.nn.ModuleList) and len(part) == count
    ]
    if not found:
        raise SpecError(
            f"{name}: bench doesn't find the {count} layers of {type(original).__name__}, so it "
            "can't leave some out. Train your own student and give it a card."
        )
    return str(min(found, key=lambda place: place.count(".")))


def _take_over(student: Any, original: Any, place: str, kept: Sequence[int], name: str) -> None:
    """Give the student the weights of the original's layers that it keeps, and all others."""
    weights = original.state_dict()
    taken = {}
    for key, own in student.state_dict().items():
        source = key
        if key.startswith(f"{place}."):
            number, _, rest = key.removeprefix(f"{place}.").partition(".")
            source = f"{place}.{kept[int(number)]}.{rest}"
        given = weights.get(source)
        if given is None or given.shape != own.shape:
            raise SpecError(
                f"{name}: {key} of a student with {len(kept)} layers can't start from the "
                f"original's {source}: its layers differ in kind, by no rule that bench knows. "
                "Give another number of --layers."
            )
        taken[key] = given
    student.load_state_dict(taken)
