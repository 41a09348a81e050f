"""A decoder's files for runtimes that take fixed shapes alone, made when first asked for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.arrays import Array
from bench.backend import StaticStep, StoredFile
from bench.cards.files import content_sha256, external_data
from bench.cards.language.fixed import Fixed, Output, Shape, fixed
from bench.decoding import POSITION, Decoder
from bench.errors import SpecError
from bench.files import being_made
from bench.folders import cache_folder
from bench.unchanged import stored_files

#: The key of an ONNX file's ``metadata_props`` that tells what of the dynamic graph is left.
_KEY = "bench.static"
#: Raised whenever the way that they are made changes, so that older files are not used.
_RECIPE = 1


@dataclass(frozen=True)
class StaticForm:
    """A file for one set of shapes: the inputs that it has, and all outputs of the dynamic graph,
    of which those without an element are not in the file. ``steps`` are the files for whole texts,
    of which it is then the one for a single token."""

    path: Path
    files: tuple[StoredFile, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    steps: tuple[StaticStep, ...] = ()

    def whole(self, given: Sequence[Array]) -> list[Array]:
        """The outputs of the dynamic graph from those of the file; a text's are its logits."""
        if self.steps:
            return list(given)
        left = iter(given)
        return [
            np.zeros(out.shape, out.dtype) if 0 in out.shape else next(left) for out in self.outputs
        ]


def static_form(path: Path, shapes: Mapping[str, Shape], name: str) -> StaticForm:
    """The ONNX file ``path`` for inputs of ``shapes`` alone.

    Raises `Unsupported` where it has no such form, `SpecError` where it can't be kept.
    """
    import onnx  # onnx: start-up

    sha256 = content_sha256(path)
    text = json.dumps([_RECIPE, onnx.__version__, sorted(shapes.items())])
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    target = cache_folder() / "static" / sha256[:16] / f"{path.stem}-{key}.onnx"
    if not target.is_file():
        model = onnx.load(str(path), load_external_data=False)
        made = fixed(model, shapes, name)
        try:
            _keep(path, made, target)
        except OSError as error:
            raise SpecError(
                f"{target.parent}: static forms can't be kept there: {error.strerror or error}. "
                "Set BENCH_CACHE to a folder with room."
            ) from error
    told = next(
        json.loads(entry.value)
        for entry in onnx.load(str(target), load_external_data=False).metadata_props
        if entry.key == _KEY
    )
    return StaticForm(
        target,
        stored_files([target, *external_data(target)]),
        tuple(told["inputs"]),
        tuple(Output(n, dtype, tuple(shape)) for n, dtype, shape in told["outputs"]),
    )


def static_texts(
    path: Path, decoder: Decoder, batch: int, prompt: int, answer: int, name: str
) -> StaticForm:
    """Files for texts of a prompt and its answer out of ``path``, the form with a static cache:
    for a single token, for the whole prompt, and for any number where a runtime has gears."""
    capacity, forms = prompt + answer, {}
    for tokens in {1, prompt}:
        shapes: dict[str, Shape] = {decoder.tokens: (batch, tokens), POSITION: (1,)}
        shapes |= {t.input: decoder.buffer(t, batch, capacity) for t in decoder.state}
        forms[tokens] = static_form(path, shapes, name)
    steps = [StaticStep(form.path, batch, n, capacity) for n, form in sorted(forms.items())]
    files = stored_files([path, *external_data(path)])
    return replace(
        forms[1],
        files=(*files, *(file for form in forms.values() for file in form.files)),
        steps=(*steps, StaticStep(path, batch, 0, capacity)),
    )


def _keep(source: Path, made: Fixed, target: Path) -> None:
    """Write the file, and its weights beside it where they lie in files of their own: runtimes
    follow no links and look into no other folder, so they are copied once a model."""
    import onnx  # onnx: start-up

    target.parent.mkdir(parents=True, exist_ok=True)
    for part in external_data(source):
        copy = target.parent / part.relative_to(source.parent)
        if not copy.is_file() or copy.stat().st_size != part.stat().st_size:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with being_made(copy) as making:
                shutil.copyfile(part, making)
    del made.model.metadata_props[:]  # it is no decoder of any length any more
    told = {
        "inputs": made.inputs,
        "outputs": [(out.name, out.dtype, out.shape) for out in made.outputs],
    }
    made.model.metadata_props.add(key=_KEY, value=json.dumps(told))
    with being_made(target) as making:
        onnx.save(made.model, str(making))
