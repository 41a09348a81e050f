"""A model made ready to be planned: files exported, data loaded, variants made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bench.apart import apart, tell
from bench.arrays import Array
from bench.backend import ModelFile, TorchSource
from bench.cards import modules
from bench.cards.calibration import load_calibration
from bench.cards.card import Card, checker_words
from bench.cards.checkpoints import checkpoint_limits
from bench.cards.datasets import Dataset, load_dataset
from bench.cards.digest import own_files
from bench.cards.export import TRACED_SIZE, export, feeds_for
from bench.cards.files import external_data, stored_bytes
from bench.cards.language.buffers import export_buffered
from bench.cards.language.cards import TASK, described
from bench.cards.language.export import export_decoder
from bench.cards.language.found import decoder_in
from bench.cards.unpacked import Stored, stored_in
from bench.cards.variants import Calibration, Form, make_form
from bench.decoding import Decoder
from bench.errors import (
    BenchError,
    ModelChanged,
    OutOfMemory,
    SpecError,
    Unsupported,
    WorkerCrashed,
)
from bench.unchanged import stored_files
from bench.variants import DEFAULT, find_variant

#: Every form that a model can have, in the words of `bench.backend.Backend.forms`.
FORMS = ("onnx", "torch")
#: Beside "onnx": a language model's second form, with a static cache.
STATIC_CACHE = "static cache"


@dataclass(frozen=True)
class Loaded:
    """A model made ready: its card, its files after export, its data set if it has one, and the
    variants that were made of it (the default is ``file``).

    ``sha256`` identifies what computes. ``examples`` are inputs that the model's own file gives,
    ``index_limits`` the rows of the tables that integer inputs index, where there is no ONNX form
    that shows them, ``computes_in`` the types of a module's parameters. ``refused`` says why there
    is no ONNX form where one was needed, ``unfit`` why nothing of the model can be measured,
    ``doubts`` what looks wrong with the file. ``code`` are the Python files that its own file
    imports from its folders. ``decoder`` describes the state of a language model, ``stored`` how a
    GGUF file stored its weights.
    """

    card: Card
    file: ModelFile
    dataset: Dataset | None
    variants: Mapping[str, Form] = field(default_factory=dict)
    sha256: str = ""
    state_bytes: int = 0
    examples: Mapping[str, Array] | None = None
    index_limits: Mapping[str, int] = field(default_factory=dict)
    computes_in: str = ""
    refused: BenchError | None = None
    decoder: Decoder | None = None
    stored: Stored | None = None
    unfit: BenchError | None = None
    code: tuple[Path, ...] = ()
    doubts: tuple[str, ...] = ()
    buffered: Path | None = None  #: a language model's form with a static cache
    not_buffered: BenchError | None = None  #: why there is none where one was needed

    def form(self, variant: str) -> Form:
        """The model's files in the precision ``variant``."""
        form = self.variants.get(variant) or Form(
            replace(self.file, variant=find_variant(variant).runs_as)
        )
        return replace(form, refused=form.refused or self.refused)

    @property
    def identity(self) -> str:
        """SHA-256 of what computes."""
        return self.sha256 or self.card.content_sha256()


def card_forms(cards: Sequence[Card]) -> set[str]:
    """The forms (`bench.backend.Backend.forms`) that models of these cards will be there in: a
    PyTorch module is exported as well."""
    torch = any(card.source.torch or card.source.is_checkpoint for card in cards)
    return {"onnx", "torch"} if torch else {"onnx"}


def file_bytes(file: ModelFile) -> int:
    """Size of the ONNX file with its external data, or of the weights where there is no ONNX form;
    0 where neither is a file."""
    if file.onnx is not None:
        return stored_bytes(file.onnx)
    if file.torch is not None and file.torch.weights is not None:
        return file.torch.weights.stat().st_size
    if file.torch is not None and file.torch.folder is not None:
        found = file.torch.folder.glob("*")
        return sum(part.stat().st_size for part in found if part.suffix in (".safetensors", ".bin"))
    return 0


def load(
    card: Card,
    cache: Path,
    say: Callable[[str], None],
    variants: Sequence[str] = (DEFAULT,),
    forms: Collection[str] = FORMS,
    guess: Callable[[Loaded, int], Mapping[str, Array]] | None = None,
    spare_bytes: int | None = None,
) -> Loaded:
    """Export where one of ``forms`` asks for it, make the variants, read the data set where there
    is one. Where the export fails, what is loaded says why.

    ``say`` is told what takes time while it is done. ``guess(model, number)`` makes up inputs of a
    model that has none to be calibrated on. Raises `OutOfMemory` for a data set that
    ``spare_bytes`` of memory can't hold.
    """
    words = checker_words(card)
    folder = card.checkpoint_folder()
    model = Loaded(
        card,
        card.model_file(),
        None,
        doubts=() if words is None else (words,),
        stored=None if folder is None else stored_in(folder),
    )
    if model.file.onnx is None and model.file.torch is not None:
        model = _made_apart(model, model.file.torch, cache, say, forms)
    model = replace(model, decoder=_decoder(model))
    has_folder = model.file.torch is not None and model.file.torch.folder is not None
    if STATIC_CACHE in forms and model.decoder is not None and has_folder:
        model = _with_static_cache(model, cache, say)
    dataset = load_dataset(card, spare_bytes) if card.dataset is not None else None
    made = {}
    for variant in variants:
        if variant != DEFAULT:
            say(f"making {card.name} {variant}")
        form = make_form(model.file, variant, cache, _calibration(model, dataset, variant, guess))
        made[variant] = replace(form, file=_with_files(form.file, model))
    file = _with_files(model.file, model)
    _refuse_changed(model.card)
    return replace(model, file=file, dataset=dataset, variants=made)


def _calibration(
    model: Loaded,
    dataset: Dataset | None,
    variant: str,
    guess: Callable[[Loaded, int], Mapping[str, Array]] | None,
) -> Callable[[], Calibration]:
    """What gives the samples that a variant of a model is calibrated on, or says why it can't."""
    if model.decoder is not None:
        return partial(_nothing_cached, model.card.name, variant)
    made_up = partial(guess, model) if guess is not None else None
    return partial(load_calibration, model.card, dataset, variant, made_up)


def _nothing_cached(name: str, variant: str) -> Calibration:
    raise Unsupported(
        f"{name}: {variant} needs samples for the ranges of activations, but bench has none for a "
        "language model's cache. Use int8-dynamic or int4."
    )


def _with_files(file: ModelFile, model: Loaded) -> ModelFile:
    """With all that it consists of, as it is now."""
    card = model.card
    named = [card.file(n) for n in card.named_files() if n not in card.data_paths()]
    graph = [] if file.onnx is None else [file.onnx, *external_data(file.onnx)]
    return replace(file, files=stored_files([*named, *graph, *model.code]))


def _refuse_changed(card: Card) -> None:
    """What was hashed for the model's identity has to be what is loaded."""
    if card.read_again_sha256() != card.content_sha256():
        raise ModelChanged(
            f"{card.name}: its files changed while they were read. Run again without changing them."
        )


def _made_apart(
    model: Loaded,
    source: TorchSource,
    cache: Path,
    say: Callable[[str], None],
    forms: Collection[str],
) -> Loaded:
    """`_from_torch` in a process of its own. Where that dies the model's rows say so."""
    modules.import_torch()  # once, and not in each of these processes
    try:
        name = modules.source_name(source)
        made = apart(name, lambda: _from_torch(model, source, cache, forms), say)
    except (WorkerCrashed, OutOfMemory) as error:
        return replace(model, refused=error)
    return replace(made, card=model.card)


def _from_torch(model: Loaded, source: TorchSource, cache: Path, forms: Collection[str]) -> Loaded:
    """A model that is there as a PyTorch module alone: what the module tells, and its export."""
    card = model.card
    try:
        if source.folder is None:
            tell(f"making {card.name}")
            model = _described(model, source)
        if "onnx" in forms:
            tell(f"exporting {card.name} to ONNX")
            model = replace(model, file=replace(model.file, onnx=exported(card, cache)))
        elif source.folder is not None:
            model = replace(model, index_limits=checkpoint_limits(source.folder))
    except BenchError as error:
        if source.folder is None and isinstance(error, SpecError):
            raise  # the user's own code: nothing of it can be measured
        model = replace(model, refused=error)
    finally:
        modules.forget(source)
    return model


def exported(card: Card, cache: Path) -> Path:
    """The card's module as a checked ONNX file in the cache. Raises what the exporters raise."""
    return (export_decoder if card.task == TASK else export)(card, cache)


def _with_static_cache(model: Loaded, cache: Path, say: Callable[[str], None]) -> Loaded:
    """With the form for whole texts on targets of fixed shapes, or why there is none."""
    say(f"exporting {model.card.name} with a static cache")
    modules.import_torch()
    try:
        path = apart(model.card.name, lambda: export_buffered(model.card, cache))
        return replace(model, buffered=path)
    except BenchError as error:
        return replace(model, not_buffered=error)


def _decoder(model: Loaded) -> Decoder | None:
    """The description of a language model's state; None for every other model."""
    if model.file.onnx is not None:
        return decoder_in(model.file.onnx)
    folder = model.file.torch.folder if model.file.torch is not None else None
    return described(folder) if model.card.task == TASK and folder is not None else None


def _described(model: Loaded, source: TorchSource) -> Loaded:
    """What only the module itself can tell. Raises `SpecError` where it can't be measured."""
    made = modules.make(source)
    text = f"{model.card.content_sha256()} {made.sha256}"
    feeds = feeds_for(model.card, made, TRACED_SIZE)
    modules.refuse_chance(made, feeds)
    return replace(
        model,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        state_bytes=made.state_bytes,
        examples=modules.examples(made),
        index_limits=modules.index_limits(made, feeds),
        code=own_files(source.file),
        computes_in=modules.computes_in(made),
    )
