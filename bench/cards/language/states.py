"""The state of a transformers cache, whatever its class: found by running it, taken out and put
back. Runs in workers too: needs torch and transformers, and of `bench` only `bench.decoding`.

No table of architectures: the model's skeleton (without weights, on torch's ``meta`` device) is run
at a few lengths, every tensor and count that its cache then holds is looked at, and the law that
its size follows is the one that fits all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.decoding import BATCH, Length, StateTensor

Path = tuple[Any, ...]
#: Two sizes of the batch show which axis it is.
_BATCHES = (3, 2)
#: Where the laws of most caches part already.
_FIRST_POSITIONS = (1, 5)
#: What can't be told apart after so many looks has no law that is known here.
_MOST_PROBES = 24
#: Of a class that doesn't say what it is made for.
_CONTEXT = 2**16


@dataclass(frozen=True)
class Plan:
    """How the state of a class is taken out of its cache and put back.

    ``slots`` are the places of each tensor, several where one tensor is in several places;
    ``counts`` the places of numbers that follow from the position alone; ``settled`` what a used
    cache says of itself (that it is initialised, for example).
    """

    tensors: tuple[StateTensor, ...]
    slots: tuple[tuple[Path, ...], ...]
    counts: Mapping[Path, Length]
    settled: Mapping[Path, Any]
    lengths: Mapping[str, Length]

    @property
    def counted(self) -> bool:
        """Whether no tensor tells the position, so that it has to be given."""
        grows = any(self.lengths[n].kind == "grows" for n in self.lengths)
        return not grows


def cache_argument(model: Any) -> str:
    """What ``forward`` calls its cache. Raises `ValueError` for a class that takes none."""
    names = inspect.signature(model.forward).parameters
    found = next((name for name in ("cache", "past_key_values") if name in names), None)
    if found is None or "input_ids" not in names:
        raise ValueError(
            f"{type(model).__name__} takes no key-value cache, so bench can't decode with "
            "it step by step. Export it yourself, and name the .onnx file."
        )
    return found


def plan_state(kind: Any, config: Any, fills: Mapping[str, float]) -> Plan:
    """How the state of the class ``kind`` is made up. ``fills`` are the values before the first
    token by the name of the attribute, where they aren't 0.

    Raises `ValueError`, in words for the user, where no law is found.
    """
    import torch  # torch: optional

    with torch.device("meta"):
        model = kind(config).eval()
    probes = _Probes(model)
    if probes.keeps_a_recurrent_state():
        raise ValueError(
            f"{kind.__name__} keeps a recurrent state (as Mamba and linear attention do), which "
            "its layers overwrite in place, and bench can't carry that from step to step. Export "
            "it yourself, and name the .onnx file."
        )
    numbers = {n for c in _numbers(config.to_dict()) for n in (c - 1, c)}
    # A window that is as wide as the context never slides.
    sizes = sorted(n for n in numbers if 1 < n < probes.context - 1)
    far = min(2 * max(sizes, default=2) + 1, probes.context)
    last = probes.at(far)
    if not last.tensors:
        raise ValueError(
            f"{kind.__name__} keeps nothing in a key-value cache, so bench can't decode "
            "with it step by step. Export it yourself, and name the .onnx file."
        )
    laws = {place: _law(place, probes, sizes) for place in last.sizes}
    lengths = {
        _symbol(law): law
        for place, law in laws.items()
        if isinstance(law, Length) and isinstance(place[-1], _Axis)
    }
    tensors, slots = [], []
    for places in last.tensors:
        path = places[0]
        axes = [laws[(*path, _Axis(axis))] for axis in range(len(last.shapes[path]))]
        batch_axis = probes.batch_axis(path, far)
        shape = tuple(
            BATCH if axis == batch_axis else law if isinstance(law, int) else _symbol(law)
            for axis, law in enumerate(axes)
        )
        name = _name(path)
        fill = fills.get(str(path[1]), 0.0)
        tensors.append(
            StateTensor(
                f"past_key_values_{name}", f"present_{name}", last.dtypes[path], shape, fill
            )
        )
        slots.append(tuple(places))
    counts = {
        place: law
        for place, law in laws.items()
        if isinstance(law, Length) and not isinstance(place[-1], _Axis)
    }
    return Plan(tuple(tensors), tuple(slots), counts, last.settled, lengths)


class _Axis(int):
    """The last step of the place of an axis' size."""


@dataclass(frozen=True)
class _Seen:
    """What a cache holds after some tokens: every size and count by its place, its tensors (one
    that is in several places once), and other settled values."""

    sizes: dict[Path, int]
    shapes: dict[Path, tuple[int, ...]]
    dtypes: dict[Path, str]
    tensors: list[list[Path]]
    settled: dict[Path, Any]


class _Probes:
    """Looks at the cache after so many tokens, each taken once."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._argument = cache_argument(model)
        self.context = int(getattr(model.config, "max_position_embeddings", None) or _CONTEXT)
        self._seen: dict[tuple[int, int], _Seen] = {}
        self._fresh = dict(walk(self._new()))

    def keeps_a_recurrent_state(self) -> bool:
        """Whether a layer has what transformers' LinearAttentionCacheLayerMixin has."""
        return any(hasattr(layer, "update_recurrent_state") for layer in self._new().layers)

    def at(self, position: int, batch: int = _BATCHES[0]) -> _Seen:
        if (position, batch) not in self._seen:
            self._seen[position, batch] = self._look(position, batch)
        return self._seen[position, batch]

    def values(self, place: Path) -> dict[int, int]:
        """What was seen at a place, by position."""
        return {
            position: seen.sizes[place]
            for (position, batch), seen in self._seen.items()
            if batch == _BATCHES[0] and place in seen.sizes
        }

    def positions(self) -> set[int]:
        return {position for position, batch in self._seen if batch == _BATCHES[0]}

    def batch_axis(self, path: Path, position: int) -> int | None:
        one, other = (self.at(position, batch).shapes[path] for batch in _BATCHES)
        return next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), None)

    def _new(self) -> Any:
        from transformers import DynamicCache  # transformers: optional

        return DynamicCache(config=self._model.config)

    def _look(self, position: int, batch: int) -> _Seen:
        import torch  # torch: optional

        cache = self._new()
        ids = torch.zeros(batch, position, dtype=torch.long, device="meta")
        try:
            with torch.no_grad():
                self._model(input_ids=ids, use_cache=True, **{self._argument: cache})
        except Exception as error:
            raise ValueError(
                f"{type(self._model).__name__} can't be run without its weights, which bench does "
                f"to find what it keeps in its cache: {type(error).__name__}: {error}"
            ) from error
        return self._described(cache)

    def _described(self, cache: Any) -> _Seen:
        import torch  # torch: optional

        seen = _Seen({}, {}, {}, [], {})
        held: dict[int, list[Path]] = {}
        for place, value in walk(cache):
            if isinstance(value, torch.Tensor):
                if isinstance(self._fresh.get(place), torch.Tensor):
                    continue  # a constant of the class
                if id(value) in held:
                    held[id(value)].append(place)
                    continue
                held[id(value)] = [place]
                seen.tensors.append(held[id(value)])
                seen.shapes[place] = tuple(value.shape)
                seen.dtypes[place] = str(value.dtype).removeprefix("torch.")
                for axis, size in enumerate(value.shape):
                    seen.sizes[(*place, _Axis(axis))] = size
            elif isinstance(value, int) and not isinstance(value, bool):
                seen.sizes[place] = value
            elif isinstance(value, (bool, torch.dtype)) and self._fresh.get(place) != value:
                seen.settled[place] = value
        return seen


def walk(cache: Any) -> Iterator[tuple[Path, Any]]:
    """Every value in the layers of a cache with its place: layer, attribute, keys from there."""
    for number, layer in enumerate(cache.layers):
        for name, value in vars(layer).items():
            yield from _inside((number, name), value)


def _inside(place: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inside((*place, key), item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _inside((*place, index), item)
    else:
        yield place, value


def put(cache: Any, place: Path, value: Any) -> None:
    """Set what ``walk`` found at ``place``."""
    number, name, *keys = place
    owner, last = cache.layers[number], name
    if not keys:
        setattr(owner, last, value)
        return
    owner = getattr(owner, name)
    for key in keys[:-1]:
        owner = owner[key]
    owner[keys[-1]] = value


# -- laws ------------------------------------------------------------------------------------------


def _law(place: Path, probes: _Probes, sizes: list[int]) -> int | Length:
    """What a size follows: the same number always, or a length of the position."""
    for position in _FIRST_POSITIONS:
        probes.at(position)
    for _ in range(_MOST_PROBES):
        values = probes.values(place)
        laws = _fitting(values, sizes)
        if not laws:
            break
        further = _parting(laws, probes.positions(), probes.context)
        if further is None:
            return laws[0]
        probes.at(further)
    raise ValueError(
        f"the cache of {type(probes._model).__name__} has something at "
        f"{'.'.join(map(str, place))} whose size follows no rule that bench knows, so it can't be "
        "described. Export the model yourself, and name the .onnx file."
    )


def _fitting(values: Mapping[int, int], sizes: list[int]) -> list[int | Length]:
    """The laws that agree with all that was seen, the plainest first."""
    candidates: list[int | Length] = [next(iter(values.values())), Length("grows")]
    candidates += [Length(kind, s) for kind in ("slides", "rest", "groups") for s in sizes]
    return [law for law in candidates if all(_of(law, p) == v for p, v in values.items())]


def _parting(laws: list[int | Length], known: Collection[int], most: int) -> int | None:
    """A position not looked at yet, at which the laws that are left don't all say the same."""
    sizes = {law.size for law in laws if isinstance(law, Length)} - {0}
    positions = {p for size in sizes for p in (size - 1, size, size + 1, 2 * size + 1)} | {2, 3}
    for position in sorted(positions, reverse=True):
        if (
            0 < position <= most
            and position not in known
            and len({_of(w, position) for w in laws}) > 1
        ):
            return position
    return None


def _of(law: int | Length, position: int) -> int:
    return law if isinstance(law, int) else law.of(position)


def _symbol(law: Length) -> str:
    names = {"grows": "past", "slides": "window", "rest": "rest", "groups": "groups"}
    return names[law.kind] + (f"_{law.size}" if law.size else "")


def _numbers(value: Any) -> Iterator[int]:
    """Every whole number in a configuration: windows and rates are among them."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def _name(path: Path) -> str:
    """``0_key``, ``1_buffer_kv_compressor``."""
    number, attribute, *keys = path
    plain = {"keys": "key", "values": "value"}.get(attribute, str(attribute))
    return "_".join(map(str, [number, plain, *keys]))
