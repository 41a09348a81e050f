"""Pairs as flat rows: the columns of published tables, and of tables in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.judge.pairs import Pair
from bench.present.pairs import pair_rows

_ESTIMATES = ("speedup", "floor_speedup", "throughput")
_RATIO_KEYS = ("value", "low", "high", "confidence", "paired", "invocations", "verdict")
_CHANGE_KEYS = (
    "metric",
    "accuracy",
    "other_accuracy",
    "difference",
    "low",
    "high",
    "confidence",
    "retained",
    "retained_low",
    "retained_high",
    "only_this_right",
    "only_other_right",
    "examples",
    "test",
    "p",
    "significant",
)
#: The columns in their order; units are those of `--json`.
PAIR_FIELDS = (
    "model",
    "variant",
    "other",
    "other_variant",
    "relation",
    "target",
    "settings",
    "size_ratio",
    "file_bytes",
    "other_file_bytes",
    *[f"{name}_{key}" for name in _ESTIMATES for key in _RATIO_KEYS],
    *[f"accuracy_{key}" for key in _CHANGE_KEYS],
    "missing",
    "sentence",
)


def flat_pair_rows(pairs: Sequence[Pair]) -> list[dict[str, object]]:
    """One row a pair, with the keys of `PAIR_FIELDS` that it has something for."""
    return [_flat(row) for row in pair_rows(pairs)]


def _flat(row: Mapping[str, object]) -> dict[str, object]:
    """Nested objects as columns: ``speedup_low``."""
    flat: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{inner}": found for inner, found in value.items()}
        else:
            flat[key] = value
    return flat
