"""From a GGUF file to a checkpoint folder: dequantised once, by transformers' own reader."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.apart import apart
from bench.cards.card import Card
from bench.cards.export import silence
from bench.cards.language.cards import card_of_decoder
from bench.cards.modules import import_torch
from bench.cards.unpacked import Stored, stored_in, unpacked_folder, versions
from bench.errors import BenchError, SpecError, Unavailable, kind_and_line
from bench.files import making_in

_MAGIC = b"GGUF"
#: `from_pretrained` asks for accelerate wherever it is given a GGUF file.
_NEEDED = ("transformers", "gguf", "accelerate")
#: How llama.cpp's gguf-split names the parts of a file.
_PART = re.compile(r"-\d{5}-of-(\d{5})$")
#: How the names of llama.cpp's file types begin, before that of the precision.
_FILE_TYPES = ("MOSTLY_", "ALL_")
#: Scales of a rotary embedding, which transformers doesn't take from GGUF.
_ROPE = "rope_freqs.weight"


def card_for_gguf(path: Path) -> Card:
    """The card of a GGUF file's model. Raises `SpecError` and `Unavailable`, a sentence each."""
    return card_of_decoder(path, unpack(path), {"gguf": path.name})


def unpack(path: Path) -> Path:
    """The checkpoint folder of a GGUF file, made when it is first asked for.

    Raises `SpecError` for a file that can't be read as one whole language model, `Unavailable`
    without the packages that read it.
    """
    _refuse_by_name(path)
    folder = unpacked_folder(path)
    if stored_in(folder) is not None:
        return folder
    _require(path)
    import_torch()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with making_in(folder.parent) as making:
            whole = making / "whole"
            apart(str(path), lambda: _unpack(path, whole))
            if stored_in(folder) is None:
                whole.replace(folder)
    except OSError as error:
        raise SpecError(
            f"{folder.parent}: {path.name} can't be unpacked there: {error.strerror or error}. Set "
            "BENCH_CACHE to a folder with room for its weights in float32."
        ) from error
    return folder


def _refuse_by_name(path: Path) -> None:
    """Raise `SpecError` for what its name and its first bytes rule out."""
    if not path.is_file():
        raise SpecError(f"{path}: no such file.")
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise SpecError(f"{path}: not a GGUF file: it doesn't begin with the letters GGUF.")
    part = _PART.search(path.stem)
    if part is not None:
        raise _split(path, int(part[1]))


def _split(path: Path, parts: int) -> SpecError:
    return SpecError(
        f"{path}: one of {parts} parts of a GGUF file, but bench reads whole files. Join them: "
        f"llama-gguf-split --merge {path.name} whole.gguf."
    )


def _require(path: Path) -> None:
    for package in _NEEDED:
        if importlib.util.find_spec(package) is None:
            raise Unavailable(
                f"{path}: reading GGUF files needs {package}, which is not installed.",
                "pip install 'infer-bench[gguf,torch]'",
            )


def _unpack(path: Path, folder: Path) -> None:
    """Write ``folder``: config.json, the weights in float32, and the tokenizer where there is
    one."""
    with silence():
        facts = _read(path)
        config, kind = _class_of(path, facts)
        model = _dequantised(path, facts, config, kind)
        model.save_pretrained(folder)
        no_tokenizer = _write_tokenizer(path, folder)
        stored = Stored(
            _precision(facts), dict(_shares(facts)), " and ".join(versions()), no_tokenizer
        )
    stored.write(folder)


def _read(path: Path) -> Any:
    """What the file says of itself, with a view of each tensor. Raises `SpecError`."""
    import gguf  # gguf: optional

    try:
        facts = gguf.GGUFReader(path)
    except Exception as error:
        raise SpecError(
            f"{path}: can't be read as GGUF, so it is truncated, damaged, or of a newer version "
            f"than {versions()[0]} knows: {kind_and_line(error)}. Copy it again."
        ) from error
    parts = _field(facts, "split.count")
    if parts is not None and int(parts) > 1:
        raise _split(path, int(parts))
    return facts


def _class_of(path: Path, facts: Any) -> tuple[Any, Any]:
    """The model's configuration and class, without one for quantised weights."""
    import transformers  # transformers: optional

    name = _field(facts, "general.architecture")
    which = f"transformers {transformers.__version__}"
    try:
        config = transformers.AutoConfig.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise SpecError(
            f"{path}: {which} reads no GGUF file of the architecture {name!r}: "
            f"{kind_and_line(error)}. Use the model's checkpoint folder, or export it yourself "
            "and name the .onnx file."
        ) from error
    kind = transformers.MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if kind is None or config.is_encoder_decoder:
        raise SpecError(
            f"{path}: {which} has no decoder-only class for the architecture {name!r}, the only "
            "kind of language model that bench measures."
        )
    # transformers 5.24 takes a class's default for some architectures, Qwen3 among them.
    width = _field(facts, f"{name}.attention.key_length")
    if width is not None and hasattr(config, "head_dim"):
        config.head_dim = int(width)
    return config, kind


def _dequantised(path: Path, facts: Any, config: Any, kind: Any) -> Any:
    """The model in float32, every weight from the file and none left over. Raises `SpecError`."""
    import torch  # torch: optional

    try:
        loaded, info = kind.from_pretrained(
            path.parent,
            config=config,
            gguf_file=path.name,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        raise SpecError(
            f"{path}: its weights can't be read as {kind.__name__}: {kind_and_line(error)}."
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise SpecError(
            f"{path}: it has no weights for {missing[0]}"
            f"{f' and {len(missing) - 1} more' if missing[1:] else ''} of {kind.__name__}, which "
            "would be random. Convert the whole model again."
        )
    _refuse_left_over(path, facts, loaded)
    # A class that came out of a quantised file refuses to be saved and cast, so the same one is
    # made without; it takes the tensors as they are.
    config.__dict__.pop("quantization_config", None)
    with torch.device("meta"):
        plain = kind(config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    return plain


def _refuse_left_over(path: Path, facts: Any, model: Any) -> None:
    """Raise `SpecError` where the file has more weights than the class took: what it leaves out
    without a word (scales of a rotary embedding, say) is part of the network."""
    held = {tensor.data_ptr(): tensor.numel() for tensor in model.state_dict().values()}
    left = sum(int(tensor.n_elements) for tensor in facts.tensors) - sum(held.values())
    if left > 0:
        named = [tensor.name for tensor in facts.tensors if tensor.name == _ROPE]
        where = f" ({named[0]})" if named else ""
        raise SpecError(
            f"{path}: transformers leaves {left} of its weights out of {type(model).__name__}"
            f"{where}, so it would be a different network. Use the model's checkpoint folder."
        )


def _write_tokenizer(path: Path, folder: Path) -> str:
    """tokenizer.json, and a chat's template, from what the file holds; where that can't be had, why
    not."""
    import transformers  # transformers: optional

    try:
        found = transformers.AutoTokenizer.from_pretrained(
            path.parent, gguf_file=path.name, local_files_only=True, trust_remote_code=False
        )
        found.save_pretrained(folder)
    except BenchError:
        raise
    except Exception as error:
        return f"its tokenizer can't be read from the GGUF file: {kind_and_line(error)}"
    return ""


def _precision(facts: Any) -> str:
    """What llama.cpp calls the file's precision, else the type of most weights."""
    import gguf  # gguf: optional

    number = _field(facts, "general.file_type")
    try:
        name = gguf.LlamaFileType(int(number)).name
    except (TypeError, ValueError):
        return next(name for name, _ in _shares(facts))
    for begin in _FILE_TYPES:
        name = name.removeprefix(begin)
    return str(name)


def _shares(facts: Any) -> Iterator[tuple[str, float]]:
    """Of the weights by type, the largest first."""
    counts: dict[str, int] = {}
    for tensor in facts.tensors:
        name = tensor.tensor_type.name
        counts[name] = counts.get(name, 0) + int(tensor.n_elements)
    total = sum(counts.values())
    for name in sorted(counts, key=lambda name: -counts[name]):
        yield name, counts[name] / total


def _field(facts: Any, name: str) -> Any:
    """A value of the file's metadata; None where it isn't there."""
    field = facts.get_field(name)
    return None if field is None else field.contents()
