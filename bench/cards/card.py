"""Model cards: what a model is, where it comes from, and what right means for it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator

from bench.backend import ModelFile, TorchSource
from bench.cards.files import content_sha256, without_links
from bench.cards.packages import PREFIX, in_packages
from bench.cards.pretrained import imports_of
from bench.cards.unpacked import unpacked_folder
from bench.cell import AxisName, Frozen
from bench.discover import task_names
from bench.errors import SpecError
from bench.unchanged import file_sha256
from bench.validation import first_problem, read_toml

Positive = Annotated[int, Field(gt=0)]
Deviation = Annotated[float, Field(gt=0)]
Dimension = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]


#: Loads a checkpoint folder, in the exporter and in workers.
_LOADER = Path(__file__).with_name("pretrained.py")
#: The same for what generates text.
_DECODER_LOADER = Path(__file__).parent / "language" / "causal.py"
#: The task of language models.
GENERATES = "text-generation"
#: Characters of what ONNX's checker says that are shown: its sentences are shorter.
_LONGEST_WORDS = 300
#: What a checkpoint consists of.
_CHECKPOINT_FILES = (".json", ".safetensors", ".bin", ".txt", ".model")


class Tensor(Frozen):
    """An input or output; a dimension given as text is symbolic.

    ``fill`` is the one value that an input has where the labelled data do not give it, for example
    a sample rate.
    """

    name: str
    dtype: str = "float32"
    shape: tuple[Dimension, ...]
    fill: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _unnamed(cls, data: Any) -> Any:
        """A dimension without a name gets one by its place: two of them need not be alike."""
        if not isinstance(data, dict) or not isinstance(data.get("shape"), (list, tuple)):
            return data
        called = data.get("name", "")
        shape = [f"{called}_dim{n}" if d in ("", "?") else d for n, d in enumerate(data["shape"])]
        return {**data, "shape": shape}

    @field_validator("dtype")
    @classmethod
    def _is_a_type(cls, value: str) -> str:
        try:
            return np.dtype(value).name
        except TypeError as error:
            raise ValueError("must be a numpy type name, for example float32") from error


class Source(Frozen):
    """Files of the model, relative to the card. With both, ``onnx`` is the export of the other;
    ``pretrained`` is a Hugging Face checkpoint folder, ``gguf`` llama.cpp's form of one."""

    onnx: str | None = None
    pretrained: str | None = None
    gguf: str | None = Field(None, pattern=r"\.gguf$")
    torch: str | None = Field(None, pattern=r"^[^:]+\.py:[A-Za-z_]\w*$")
    weights: str | None = None

    @model_validator(mode="after")
    def _something(self) -> Source:
        modules = [n for n in ("torch", "pretrained", "gguf") if getattr(self, n) is not None]
        if self.onnx is None and not modules:
            raise ValueError(
                'needs `onnx = "file.onnx"`, `torch = "file.py:factory"`, `pretrained = "folder"` '
                'or `gguf = "file.gguf"`'
            )
        if len(modules) > 1:
            raise ValueError(f"takes `{modules[0]}` or `{modules[1]}`, not both")
        return self

    @property
    def is_checkpoint(self) -> bool:
        """Whether transformers knows the class."""
        return self.pretrained is not None or self.gguf is not None


class Preprocessing(Frozen):
    """From stored samples to what the network takes: ``(x * scale - mean) / std``, reshaped.

    For image files before that: the shorter side to ``resize`` pixels, or the whole to ``size``;
    then the centre of ``crop`` (height, width). ``layout = "nchw"`` moves the channels forward.
    """

    resize: Positive | None = None
    size: tuple[Positive, Positive] | None = None
    crop: tuple[Positive, Positive] | None = None
    colour: Literal["rgb", "grey"] = "rgb"
    scale: float = 1.0
    mean: float | tuple[float, ...] = 0.0
    std: Deviation | tuple[Deviation, ...] = 1.0
    layout: Literal["", "nchw", "nhwc"] = ""
    shape: tuple[int, ...] = ()


class ColumnsCard(Frozen):
    """Which column of a table is what: ``inputs`` maps an input's name to its column or columns,
    ``text`` names one column of texts, or two whose similarity ``score`` tells."""

    label: str | None = None
    inputs: dict[str, str | tuple[str, ...]] = Field({})
    text: tuple[str, ...] = Field((), max_length=2)
    score: str | None = None


class DatasetCard(Frozen):
    """Labelled examples: an npz file, a CSV, TSV or Parquet table, a folder of images by class, or
    a Hugging Face data set saved to disk."""

    name: str
    path: str
    split: str = ""
    output: str | None = None  #: which output is scored; the first where none is named
    threshold: float | None = None  #: of a single output, above which it means class 1
    pooling: Literal["", "mean", "cls"] = ""  #: of an embedding's tokens
    classes: tuple[str, ...] = ()
    columns: ColumnsCard | None = None
    tokenizer: str | None = None
    max_length: Positive = 128  #: tokens of a text
    window: Positive | None = None  #: tokens that a language model sees at once
    stride: Positive | None = None  #: tokens of each further window that none before it scored
    max_tokens: Positive = 64  #: of a language model's answer
    preprocessing: Preprocessing = Preprocessing()

    @model_validator(mode="after")
    def _windows_overlap(self) -> DatasetCard:
        if self.stride is not None and self.stride > (self.window or self.stride):
            raise ValueError("`stride` can't be larger than `window`: tokens would be left out")
        return self


class CalibrationCard(Frozen):
    """Samples that static quantisation takes the ranges of activations from, without labels: stored
    like the data set, prepared by its preprocessing unless they have their own, and never part of
    the test set."""

    name: str
    path: str
    split: str = ""
    samples: int = Field(256, gt=0, description="how many to use, starting with the first")
    preprocessing: Preprocessing | None = None


class Provenance(Frozen):
    """Licence and origin; ``sha256`` maps file names to digests that are checked on loading;
    ``install`` says how to get the files that packages bring."""

    licence: str = ""
    install: str = ""
    source: str = ""
    recipe: str = ""
    trained_on: str = ""
    trained_by: str = ""
    notes: str = ""
    sha256: dict[str, str] = Field({})
    figures: dict[str, Any] = Field({})


class Card(Frozen):
    """A model card."""

    name: str = Field(min_length=1)
    task: str
    description: str = ""
    distilled_from: str | None = None
    control_of: str | None = None
    variant_of: str | None = None  #: of which model others made this one a precision form
    source: Source
    #: which axis counts samples: a symbolic dimension, an axis' number, or "none"
    batch_axis: AxisName | None = None
    inputs: tuple[Tensor, ...] = ()  #: a language model's follow from its class
    outputs: tuple[Tensor, ...] = ()
    dataset: DatasetCard | None = None
    calibration: CalibrationCard | None = None
    provenance: Provenance = Provenance()
    path: Path  #: of the card itself, or of the ONNX file that it was made from

    @model_validator(mode="after")
    def _takes_something(self) -> Card:
        if self.source.gguf is not None and self.task != GENERATES:
            raise ValueError(f'a GGUF file is a language model: `task = "{GENERATES}"`')
        follow = self.task == GENERATES and self.source.is_checkpoint
        if "inputs" not in self.model_fields_set and not follow:
            raise ValueError("`inputs` must list the model's inputs: [[inputs]]")
        return self

    @field_validator("task")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        known = task_names()
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    def file(self, name: str) -> Path:
        """A file that the card names: relative to the card, or ``package:path`` for one that an
        installed package brought, relative to the folders that Python imports from."""
        if name.startswith(PREFIX):
            return in_packages(name.removeprefix(PREFIX))
        return self.path.parent / name

    def model_file(self) -> ModelFile:
        """The model's files in the form that backends take."""
        torch = None
        if self.source.torch is not None:
            file, _, factory = self.source.torch.partition(":")
            weights = self.file(self.source.weights) if self.source.weights else None
            torch = TorchSource(self.file(file), factory, weights)
        folder = self.checkpoint_folder()
        if folder is not None:
            loader = _DECODER_LOADER if self.task == GENERATES else _LOADER
            torch = TorchSource(loader, "load", folder=folder, imports=imports_of(str(folder)))
        onnx = without_links(self.file(self.source.onnx)) if self.source.onnx else None
        return ModelFile(self.name, onnx=onnx, torch=torch)

    def checkpoint_folder(self) -> Path | None:
        """The folder that transformers loads: the card's, or where its GGUF file is unpacked."""
        if self.source.pretrained is not None:
            return self.file(self.source.pretrained)
        if self.source.gguf is not None:
            return unpacked_folder(self.file(self.source.gguf))
        return None

    def named_files(self) -> Iterator[str]:
        """Every file that the card needs, as the card writes it."""
        if self.source.gguf:
            yield self.source.gguf
        if self.source.onnx:
            yield self.source.onnx
        if self.source.torch:
            yield self.source.torch.partition(":")[0]
        if self.source.weights:
            yield self.source.weights
        if self.source.pretrained:
            folder = self.file(self.source.pretrained)
            found = sorted(p.name for p in folder.glob("*") if p.suffix in _CHECKPOINT_FILES)
            for name in found or ["config.json"]:
                yield f"{self.source.pretrained}/{name}"
        if self.dataset:
            yield _file_of(self.dataset.path)
        if self.calibration:
            yield _file_of(self.calibration.path)

    def data_paths(self) -> set[str]:
        """What it names that is data, and may be a folder."""
        parts = (self.dataset, self.calibration)
        return {_file_of(part.path) for part in parts if part is not None}

    @cached_property
    def _content(self) -> str:
        return self.read_again_sha256()

    def read_again_sha256(self) -> str:
        """What `content_sha256` is of the files as they are now."""
        digest = hashlib.sha256()
        defining = {
            "torch": self.source.torch,
            "inputs": [tensor.model_dump(mode="json") for tensor in self.inputs],
        }
        digest.update(json.dumps(defining, sort_keys=True).encode())
        for name in self.named_files():
            if name not in self.data_paths():
                hashed = content_sha256 if name == self.source.onnx else file_sha256
                digest.update(hashed(self.file(name)).encode())
        return digest.hexdigest()

    def content_sha256(self) -> str:
        """Hash of what defines the computation: graph, weights, network file and inputs."""
        return self._content


def _file_of(path: str) -> str:
    """Without the function of ``file.py:function``."""
    file, _, function = path.rpartition(":")
    return file if file.endswith(".py") and function.isidentifier() else path


def load_card(path: Path) -> Card:
    """Read and check a card. Raises `SpecError` naming the file, the key and what is expected."""
    data = read_toml(path, "model card")
    try:
        card = Card.model_validate({**data, "path": path.absolute()})
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, _known_keys())}") from error
    _check_files(card)
    return card


def _known_keys() -> list[str]:
    kinds = (
        Card,
        Source,
        Tensor,
        DatasetCard,
        ColumnsCard,
        CalibrationCard,
        Preprocessing,
        Provenance,
    )
    return [name for kind in kinds for name in kind.model_fields if name != "path" or kind != Card]


def _refuse_not_installed(card: Card, name: str) -> None:
    """Raise `SpecError` where a package would bring the missing file ``name``."""
    if name.startswith(PREFIX):
        raise SpecError(
            f"{card.name}: {name.removeprefix(PREFIX)} is not installed. "
            f"Install it: {card.provenance.install or 'see ' + card.path.name}"
        )


def _check_files(card: Card) -> None:
    """Every file is there, and is the one that the card was written for."""
    for name in card.named_files():
        if not (
            card.file(name).exists() if name in card.data_paths() else card.file(name).is_file()
        ):
            _refuse_not_installed(card, name)
            raise SpecError(
                f"{card.path}: it names the file {name}, which is missing (looked for "
                f"{card.file(name)})."
            )
    for name, expected in card.provenance.sha256.items():
        path = card.file(name)
        if not path.is_file():
            _refuse_not_installed(card, name)
            raise SpecError(f"{card.path}: `provenance.sha256` names {name}, which is missing.")
        actual = file_sha256(path)
        if actual != expected.lower():
            raise SpecError(
                f"{card.path}: {name} is not the file that the card describes: its "
                f"sha256 is {actual[:12]}..., the card says {expected[:12]}.... Restore the file, "
                "or update the card."
            )


def card_for_onnx(path: Path) -> Card:
    """A card for a bare ONNX file: task ``raw``, inputs as the graph declares them.

    Raises `SpecError` for a file that is missing, truncated or not ONNX. What runtimes take, though
    ONNX's checker does not, is a card too; `checker_words` says what it finds.
    """
    import onnx  # onnx: start-up

    if path.is_symlink() and not path.exists():
        raise SpecError(f"{path}: a symbolic link to {os.readlink(path)}, which does not exist.")
    if not path.is_file():
        raise SpecError(f"{path}: no such file.")
    try:
        model = onnx.load(str(path), load_external_data=False)
        without_links(path)
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(
            f"{path}: not a valid ONNX model (truncated, or another format): {_words(error)}"
        ) from error
    if not model.graph.output:
        raise SpecError(
            f"{path}: not a valid ONNX model (truncated, or another format): it has no output."
        )
    constants = {tensor.name for tensor in model.graph.initializer}
    if not model.graph.node and not {value.name for value in model.graph.output} <= constants:
        raise SpecError(f"{path}: the ONNX model has no node, so there is nothing to run.")
    initialised = {tensor.name for tensor in model.graph.initializer}
    data = {
        "name": path.stem,
        "task": "raw",
        "source": {"onnx": path.name},
        "inputs": [_tensor(v, path) for v in model.graph.input if v.name not in initialised],
        "outputs": [_output(v) for v in model.graph.output],
        "path": path.absolute(),
    }
    try:
        return Card.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, _known_keys())}") from error


def checker_words(card: Card) -> str | None:
    """What ONNX's checker finds in a model that was given as an ONNX file; None where it is
    content."""
    import onnx  # onnx: start-up

    if card.source.onnx is None or card.path.suffix != ".onnx":
        return None
    try:
        onnx.checker.check_model(str(without_links(card.path)))
    except Exception as error:
        found = _words(error)
        return f"ONNX's checker rejects the file, but a runtime may still accept it: {found}"
    return None


def _words(error: Exception) -> str:
    """An error's text on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines).partition("==> Context")[0].strip(" .") or type(error).__name__
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]}..."


def _tensor(value: Any, path: Path) -> dict[str, Any]:
    """An ONNX ValueInfoProto in the card's form."""
    if not value.type.HasField("tensor_type"):
        raise SpecError(
            f"{path}: the input {value.name!r} is not a tensor but a "
            f"{value.type.WhichOneof('value') or 'value'}, which bench can't feed."
        )
    return _output(value)


def _output(value: Any) -> dict[str, Any]:
    """As `_tensor`; what is no tensor of numbers (text, a sequence, a map) is an ``object``."""
    from onnx import helper  # onnx: start-up

    if not value.type.HasField("tensor_type"):
        return {"name": value.name, "dtype": "object", "shape": []}
    kind = value.type.tensor_type
    shape = [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param
        for dim in kind.shape.dim
    ]
    return {
        "name": value.name,
        "dtype": np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name,
        "shape": shape,
    }
