"""A Hugging Face checkpoint folder as a plain PyTorch module. Runs in workers: needs transformers.

`load` is the factory that a `bench.backend.TorchSource` names; it is called with the folder. This
file is loaded by path, by the exporter and by PyTorch's adapters alike, so it imports nothing of
`bench`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: What each head gives, by the end of the architecture's name in config.json. Everything else is
#: loaded as the bare model, whose first output are the states of its last layer.
HEADS = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForImageClassification": "AutoModelForImageClassification",
    "ForMaskedLM": "AutoModelForMaskedLM",
}


def read_config(folder: str) -> dict[str, Any]:
    """The checkpoint's config.json."""
    found: dict[str, Any] = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    return found


def head_of(config: dict[str, Any]) -> str:
    """The key of `HEADS` that the architecture ends with; empty for a bare model."""
    architecture = (config.get("architectures") or [""])[0]
    return next((head for head in HEADS if architecture.endswith(head)), "")


def load(folder: str) -> Any:
    """The checkpoint in fp32, as a module from tensors to one tensor."""
    import torch  # torch: optional
    import transformers

    transformers.utils.logging.disable_progress_bar()
    kind = getattr(transformers, HEADS.get(head_of(read_config(folder)), "AutoModel"))
    # Eager attention exports to plain operators, and computes what the fused kernels do.
    model = kind.from_pretrained(
        folder, local_files_only=True, attn_implementation="eager", dtype=torch.float32
    )

    class OfTokens(torch.nn.Module):  # type: ignore[misc]
        """Token ids and their mask."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(
                input_ids=input_ids, attention_mask=attention_mask, return_dict=False
            )[0]

    class OfPixels(torch.nn.Module):  # type: ignore[misc]
        """Prepared images."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: Any) -> Any:
            return self.model(pixel_values=pixel_values, return_dict=False)[0]

    return (OfPixels if takes_pixels(read_config(folder)) else OfTokens)().eval()


def takes_pixels(config: dict[str, Any]) -> bool:
    """Whether the model takes images."""
    return "image_size" in config and "vocab_size" not in config
