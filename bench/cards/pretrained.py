"""A Hugging Face checkpoint folder as a plain PyTorch module. Runs in workers: needs transformers.

`load` is the factory that a `bench.backend.TorchSource` names; it is called with the folder. This
file is loaded by path, by the exporter and by PyTorch's adapters alike, so it imports nothing of
`bench`.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

#: What is kept of what a model returns, by the end of its architecture's name in config.json.
HEADS = {
    "ForSequenceClassification": ("logits",),
    "ForTokenClassification": ("logits",),
    "ForQuestionAnswering": ("start_logits", "end_logits"),
    "ForMaskedLM": ("logits",),
    "ForImageClassification": ("logits",),
    "VisionModelWithProjection": ("image_embeds",),
    "TextModelWithProjection": ("text_embeds",),
    "Model": ("last_hidden_state",),
}
#: Architectures that generate text, whose names end like those of bare models.
_GENERATES = ("ForCausalLM", "LMHeadModel", "HeadsModel", "ForConditionalGeneration")
#: What networks for images that say nothing were trained on.
_IMAGENET = (224, 224)
#: Constants that count positions: old checkpoints hold them, newer classes make them.
_COUNTED = "position_ids"
#: Experts in a form that exports: "grouped_mm", the default, and "eager" don't.
EXPERTS = "batched_mm"


def read_config(folder: str) -> dict[str, Any]:
    """The checkpoint's config.json."""
    found: dict[str, Any] = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    return found


def imports_of(folder: str) -> tuple[str, ...]:
    """The modules of transformers that loading the checkpoint imports, which takes seconds."""
    try:
        kind = str(read_config(folder).get("model_type", "")).replace("-", "_")
    except (OSError, ValueError):
        kind = ""
    modeling = (f"transformers.models.{kind}.modeling_{kind}",) if kind.isidentifier() else ()
    return ("transformers.modeling_utils", *modeling)


def architecture_of(config: dict[str, Any]) -> str:
    """The name of the class that the checkpoint was saved from; empty where none is named."""
    return str((config.get("architectures") or [""])[0])


def head_of(config: dict[str, Any]) -> str:
    """The key of `HEADS` that the architecture ends with; a checkpoint that names none is bare.

    Raises `ValueError`, in words for the user, for an architecture that can't be measured.
    """
    name = architecture_of(config) or "Model"
    if name.endswith(_GENERATES):
        raise ValueError(
            f"the architecture {name} generates text, which bench can't measure yet. It measures "
            f"{_supported()}."
        )
    if config.get("is_encoder_decoder") and not name.endswith("EncoderModel"):
        raise ValueError(
            "an encoder-decoder takes its own outputs as inputs, which bench can't feed. Save its "
            "encoder where transformers has a class for that (as T5EncoderModel is of T5), or "
            "export one half of it, and name the .onnx file."
        )
    if "text_config" in config and "vision_config" in config:
        raise ValueError(
            f"{name} is two networks, one of text and one of images. Save the one to measure, for "
            f"example `transformers.{_stem(name)}VisionModel.from_pretrained(FOLDER)"
            ".save_pretrained(OTHER)`, and name that folder."
        )
    head = next((head for head in HEADS if name.endswith(head)), None)
    if head is None:
        raise ValueError(
            f"the architecture {name} has a head that bench doesn't know. It measures "
            f"{_supported()}. Export this one yourself, and name the .onnx file."
        )
    return head


def _stem(name: str) -> str:
    """``CLIP`` of ``CLIPModel`` and of ``CLIPForImageClassification``."""
    return name.partition("For")[0].removesuffix("Model")


def _supported() -> str:
    return "bare models (...Model) and " + ", ".join(f"...{h}" for h in HEADS if h != "Model")


def load(folder: str) -> Any:
    """The checkpoint in fp32, as a module from tensors to the tensors that its head gives.

    Raises `ValueError`, in words for the user, for weights that aren't the architecture's.
    """
    import torch  # torch: optional
    import transformers

    config = read_config(folder)
    model = _whole_model(torch, transformers, folder, config)
    kept = HEADS[head_of(config)]
    fed = "pixel_values" if takes_pixels(config) else "input_ids"
    if fed not in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"{type(model).__name__} takes no {fed}, the only inputs that bench can feed. "
            "Export it yourself, and name the .onnx file."
        )

    class OfTokens(torch.nn.Module):  # type: ignore[misc]
        """Token ids and their mask."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            found = self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
            return tuple(found[name] for name in kept)

    class OfPixels(torch.nn.Module):  # type: ignore[misc]
        """Prepared images."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: Any) -> Any:
            found = self.model(pixel_values=pixel_values, return_dict=True)
            return tuple(found[name] for name in kept)

    return (OfPixels if takes_pixels(config) else OfTokens)().eval()


def _whole_model(torch: Any, transformers: Any, folder: str, config: dict[str, Any]) -> Any:
    """The class that the checkpoint was saved from, with every weight of it from the checkpoint.

    A pooler that the checkpoint lacks is left out, since nothing of it is kept.
    """
    name = architecture_of(config)
    head_of(config)  # refuses
    kind = getattr(transformers, name or "AutoModel", None)
    if kind is None:
        raise ValueError(
            f"transformers {transformers.__version__} has no {name}, and code that comes with a "
            "checkpoint is never run. Install a version that has it, or export the model yourself "
            "and name the .onnx file."
        )
    if not name:
        _refuse_what_may_have_lost_its_head(config)
    return with_all_weights(torch, transformers, kind, folder)


def _refuse_what_may_have_lost_its_head(config: dict[str, Any]) -> None:
    """Raise `ValueError` where config.json names no class and the model's kind generates text: its
    head may be its embedding, so that no weight tells whether it has one."""
    from transformers.models.auto import modeling_auto  # transformers: optional

    kind = config.get("model_type", "")
    generating = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)
    if generating is not None and kind not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        bare = modeling_auto.MODEL_MAPPING_NAMES.get(kind)
        raise ValueError(
            "config.json names no architecture, so it is unknown whether the model generates text. "
            f'Add "architectures": ["{generating}"], or ["{bare}"] for the network without its '
            "head."
        )


def with_all_weights(torch: Any, transformers: Any, kind: Any, folder: str) -> Any:
    """A model of the class ``kind``, every weight of it from the checkpoint, and none left over.

    Raises `ValueError`, in words for the user, where that can't be.
    """
    model, missing, unused = _loaded(torch, transformers, kind, folder)
    optional = "add_pooling_layer" in inspect.signature(type(model).__init__).parameters
    if missing and optional and all(key.split(".")[0] == "pooler" for key in missing):
        model, missing, unused = _loaded(torch, transformers, kind, folder, add_pooling_layer=False)
    what = type(model).__name__
    if missing:
        raise ValueError(
            f"the checkpoint has no weights for {_some(missing)} of {what}, which would be random. "
            "Save the whole model including its head, or name its architecture in config.json."
        )
    if unused:
        raise ValueError(
            f"the checkpoint has weights that {what} doesn't use, {_some(unused)}, so it is a "
            "different network. Name its architecture in config.json."
        )
    return model


def _loaded(
    torch: Any, transformers: Any, kind: Any, folder: str, **options: Any
) -> tuple[Any, list[str], list[str]]:
    """A model, and the names of its weights that aren't in the checkpoint and the other way
    round."""
    said = transformers.utils.logging
    level = said.get_verbosity()
    said.disable_progress_bar()
    said.set_verbosity(said.CRITICAL)  # what is wrong is said once, below
    try:
        # Eager attention exports to plain operators, and computes what the fused kernels do.
        model, info = kind.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="eager",
            dtype=torch.float32,
            **({"experts_implementation": EXPERTS} if has_experts(folder) else {}),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    finally:
        said.set_verbosity(level)
    for name, stored, wanted in sorted(info["mismatched_keys"])[:1]:
        raise ValueError(
            f"{name} has the shape {tuple(stored)} in the checkpoint and {tuple(wanted)} in what "
            "config.json describes, so it would be random. Fix config.json."
        )
    found = [
        sorted(key for key in info[which] if not key.endswith(_COUNTED))
        for which in ("missing_keys", "unexpected_keys")
    ]
    return model, found[0], found[1]


def has_experts(folder: str) -> bool:
    """Whether config.json counts experts, as mixtures of them do under one name or another."""
    return any("expert" in name and count for name, count in read_config(folder).items())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def takes_pixels(config: dict[str, Any]) -> bool:
    """Whether the model takes images. Networks of convolutions take any size and tell none."""
    return "vocab_size" not in config and ("image_size" in config or "num_channels" in config)


def image_size(folder: str, config: dict[str, Any]) -> tuple[int, int]:
    """Height and width: of config.json, else what the images are prepared to
    (preprocessor_config.json), else those of ImageNet."""
    sizes = [config.get("image_size")]
    try:
        prepared = json.loads((Path(folder) / "preprocessor_config.json").read_text("utf-8"))
        if prepared.get("do_center_crop", True):
            sizes.append(prepared.get("crop_size"))
        sizes.append(prepared.get("size"))
    except (OSError, ValueError):
        pass
    return next((found for size in sizes if (found := _height_and_width(size))), _IMAGENET)


def _height_and_width(size: Any) -> tuple[int, int] | None:
    """Of a number, a pair, or what an image processor writes."""
    if isinstance(size, dict):
        edge = size.get("shortest_edge")
        size = [size.get("height", edge), size.get("width", edge)]
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
