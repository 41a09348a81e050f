"""Precision variants: the numeric forms of one model. One row says all of one.

A distribution adds a row of its own through the entry-point group ``bench.variants``, which maps
its name to ``module:ROW``.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.discover import Catalogue


@dataclass(frozen=True)
class Tolerance:
    """Each value within ``absolute + relative * |reference|``; or, where ``cosine`` is given, each
    output's cosine similarity to the reference's at least that. ``source`` says whose limit it is.
    """

    source: str
    absolute: float = 0.0
    relative: float = 0.0
    cosine: float | None = None


@dataclass(frozen=True)
class Variant:
    """One precision form. ``tolerance`` is how far its outputs may be from the reference's.

    ``maker`` is ``module:function`` of what makes its ONNX file, from the default's file and a
    `bench.cards.variants.Calibration` where the variant is ``calibrated``, else None, to a
    `bench.cards.variants.Recipe`; without one the file stays as it is.
    """

    name: str
    tolerance: Tolerance
    #: what it has to compute in, at least in part, in the words of
    #: `bench.backend.Placement.precision`; empty where only half precision unasked is wrong
    computes_in: str = ""
    maker: str = ""
    calibrated: bool = False
    #: whether a PyTorch module has this form: the backend converts it
    torch: bool = False
    #: what a record says of the form where no file is made
    method: str = ""
    #: the variant as which runtimes are asked to run it; empty where that is itself
    like: str = ""

    @property
    def runs_as(self) -> str:
        """What a backend has to name among its `variants`."""
        return self.like or self.name


_DIRECTION = Tolerance("cosine >= 0.99 (below it Huawei's ait suspects an operator)", cosine=0.99)

FP32 = Variant(
    "fp32",
    Tolerance(
        "rtol = atol = 1e-4 (ONNX Runtime's transformer tests, fp32)", absolute=1e-4, relative=1e-4
    ),
    torch=True,
)
FP16 = Variant(
    "fp16",
    Tolerance(
        "rtol = 5e-2, atol = 1e-1 (ONNX Runtime's transformer tests, fp16)",
        absolute=1e-1,
        relative=5e-2,
    ),
    computes_in="fp16",
    maker="bench.cards.variants:float16",
    torch=True,
    method="the module in float16",
)
BF16 = Variant(
    "bf16",
    _DIRECTION,
    computes_in="bf16",
    torch=True,
    method="the runtime computes in bfloat16; the file is the fp32 one",
)
INT8_DYNAMIC = Variant(
    "int8-dynamic",
    _DIRECTION,
    computes_in="int8",
    maker="bench.cards.variants:int8_dynamic",
)
INT8_STATIC = Variant(
    "int8-static",
    _DIRECTION,
    computes_in="int8",
    maker="bench.cards.variants:int8_static",
    calibrated=True,
)
INT4 = Variant(
    "int4",
    Tolerance(
        # Rounding normal weights in blocks of 32 to 16 levels moves a product by 8% (cosine 0.996),
        # and that adds up: 0.96 after 3 layers of a small model, 0.93 after SmolLM2's 30.
        "cosine >= 0.9 (bench's own: weights that are merely rounded stay above it)",
        cosine=0.9,
    ),
    computes_in="int4",
    maker="bench.cards.variants:int4",
)
VARIANTS = Catalogue(
    "variant", "bench.variants", (FP32, FP16, BF16, INT8_DYNAMIC, INT8_STATIC, INT4)
)
#: The model as it is, which the others are compared with, and which goes without saying.
DEFAULT = FP32.name
#: What a form is calibrated on where nobody gave samples; stands in the record's `variant_method`.
MADE_UP = "made-up inputs"
#: What the default must not be turned into in silence.
HALVES = (FP16, BF16)


def find_variant(name: str) -> Variant:
    """The variant called ``name``. Raises `SpecError` for a name that isn't there."""
    return VARIANTS.find(name)


def held_to(variant: str, file: str) -> Variant:
    """The variant whose tolerance holds for a file that computes in ``file`` (types joined by
    ``+``, as in `bench.backend.Placement.precision`).

    A file that others made in int8 or in half precision is called the default for want of a better
    word. What a runtime turns an fp32 file into unasked is no excuse.
    """
    parts = file.split("+")
    own = (row for row in (INT4, INT8_STATIC, BF16, FP16) if row.computes_in in parts)
    return next(own, FP32) if variant == DEFAULT else find_variant(variant)


def suffix(variant: str) -> str:
    """`` int8-static`` behind a model's name; nothing for the default."""
    return "" if variant == DEFAULT else f" {variant}"


def in_words(variant: str) -> str:
    """`` in int8-static`` behind a model's name in a sentence; nothing for the default."""
    return "" if variant == DEFAULT else f" in {variant}"
