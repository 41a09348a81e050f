"""Outputs as numbers: types that numpy lacks are decoded.

What is no tensor of numbers (text, a sequence, a map, an optional) has no array and isn't compared.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .checks import Array

#: Types by ONNX's names in small letters, and what numpy calls them where that is another name.
_PLAIN: Mapping[str, str] = {
    "float": "float32",
    "double": "float64",
    **{name: name for name in ("float16", "bool", "complex64", "complex128")},
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


class _Float8(NamedTuple):
    exponent_bits: int
    bias: int
    #: whether the largest exponent holds Inf and NaN as in IEEE 754
    ieee: bool
    #: whether there is but one zero, and NaN in the place of the negative one
    one_zero: bool


#: https://onnx.ai/onnx/technical/float8.html
_FLOAT8: Mapping[str, _Float8] = {
    "float8e4m3fn": _Float8(4, 7, ieee=False, one_zero=False),
    "float8e4m3fnuz": _Float8(4, 8, ieee=False, one_zero=True),
    "float8e5m2": _Float8(5, 15, ieee=True, one_zero=False),
    "float8e5m2fnuz": _Float8(5, 16, ieee=False, one_zero=True),
}
_BFLOAT16 = "bfloat16"


def array_type(kind: str) -> str:
    """The numpy type in which an output of the ONNX type ``kind`` is handed out; empty where it
    isn't."""
    return "float32" if is_decoded(kind) else _PLAIN.get(kind, "")


def is_decoded(kind: str) -> bool:
    """Whether numpy lacks the type, and its bytes have to be decoded."""
    return kind == _BFLOAT16 or kind in _FLOAT8


def decoded(raw: Array, kind: str) -> Array:
    """The numbers that bytes hold, as float32."""
    if kind == _BFLOAT16:
        wide = raw.view(np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32)
    values: Array = _table(kind)[raw.view(np.uint8)]
    return values


@functools.lru_cache(maxsize=None)
def _table(kind: str) -> Array:
    """The value of each byte."""
    form = _FLOAT8[kind]
    codes = np.arange(256)
    fraction_bits = 7 - form.exponent_bits
    exponent = codes >> fraction_bits & (1 << form.exponent_bits) - 1
    fraction = (codes & (1 << fraction_bits) - 1) / float(1 << fraction_bits)
    normal = exponent > 0
    value = (fraction + normal) * 2.0 ** (np.maximum(exponent, 1) - form.bias)
    top = exponent == (1 << form.exponent_bits) - 1
    if form.ieee:
        value = np.where(top, np.where(fraction == 0, np.inf, np.nan), value)
    elif not form.one_zero:
        value = np.where(top & (fraction == fraction.max()), np.nan, value)
    value = np.where(codes >= 128, -value, value)
    if form.one_zero:
        value[128] = np.nan
    return np.asarray(value, np.float32)
