"""Write the checkpoints of the language models, their ONNX files and their model cards.

The sentences and figures of a card come from the training run that made its weights.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from bench.cards.catalog import find_model
from bench.cards.language.export import export_decoder
from bench.unchanged import file_sha256

DATA = "data/verse-test.jsonl"
ONNX = "model.onnx"
LICENCE = (
    "weights: Apache-2.0; text: the King James Bible of 1611, out of copyright, see "
    "data/LICENSE-king-james-bible"
)


@dataclass(frozen=True)
class Trained:
    """What a card says of a trained model beyond its files."""

    name: str
    description: str
    relation: str  #: a line of TOML, or empty
    trained_on: str
    notes: str
    figures: dict[str, float | int]


def save_checkpoint(net: PreTrainedModel, tokenizer: Tokenizer, end: str, folder: Path) -> None:
    """A Hugging Face checkpoint with weights rounded to bfloat16."""
    shutil.rmtree(folder, ignore_errors=True)
    net.config.dtype = torch.bfloat16
    rounded = {name: weight.bfloat16() for name, weight in net.state_dict().items()}
    net.save_pretrained(folder, state_dict=rounded)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)  # safetensors makes it readable to its owner alone
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "model_max_length": net.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
    }
    text = json.dumps(described, indent=2)
    (folder / "tokenizer_config.json").write_text(f"{text}\n", "utf-8")


def publish(trained: Trained, folder: Path, cache: Path) -> Path:
    """Write ``folder/NAME/model.onnx`` from the checkpoint ``folder/NAME``, and
    ``folder/NAME.toml``."""
    path, onnx = folder / f"{trained.name}.toml", folder / trained.name / ONNX
    onnx.unlink(missing_ok=True)
    path.write_text(_text(trained, folder), "utf-8")
    shutil.copyfile(export_decoder(find_model(str(path)), cache), onnx)
    path.write_text(_text(trained, folder), "utf-8")
    find_model(str(path))
    return path


def _text(trained: Trained, folder: Path) -> str:
    files = [*sorted((folder / trained.name).iterdir()), folder / DATA]
    digests = "\n".join(f'"{file.relative_to(folder)}" = "{file_sha256(file)}"' for file in files)
    figures = "\n".join(f"{name} = {value!r}" for name, value in trained.figures.items())
    onnx = f"{trained.name}/{ONNX}"
    onnx_line = f'onnx = "{onnx}"\n' if (folder / onnx).is_file() else ""
    return f'''# Written by models/recipes/language.py; run it again rather than edit this.
name = "{trained.name}"
task = "text-generation"
description = "{trained.description}"
{trained.relation}
[source]
pretrained = "{trained.name}"
{onnx_line}
[dataset]
name = "verse-test"
path = "{DATA}"
split = "test"

[provenance]
licence = "{LICENCE}"
recipe = "python models/recipes/language.py"
source = "the text of Debian's package bible-kjv-text 4.38 (`apt-get install bible-kjv`)"
trained_by = "the infer-bench project"
trained_on = "{trained.trained_on}"
notes = "{trained.notes}"

[provenance.sha256]
{digests}

[provenance.figures]
{figures}
'''
