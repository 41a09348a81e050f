"""GGUF files of the tiny language models, as llama.cpp's converter writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny_decoders import tiny

#: Class -> what GGUF calls its architecture.
ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen3ForCausalLM": "qwen3"}


def save_gguf(
    name: str,
    path: Path,
    *,
    kind: str = "F32",
    architecture: str = "",
    without: str = "",
    further: dict[str, Any] | None = None,
    parts: int = 0,
) -> Any:
    """The model of the class ``name`` with its matrices stored as ``kind``; returns the model.

    ``without`` leaves a tensor out, ``further`` adds some, ``parts`` says that there are so many.
    """
    import gguf

    model = tiny(name)
    called = ARCHITECTURES[name]
    writer = gguf.GGUFWriter(str(path), architecture or called)
    _describe(writer, model.config, kind)
    if parts:
        writer.add_uint16("split.count", parts)
    names = gguf.get_tensor_name_map(
        next(arch for arch, text in gguf.MODEL_ARCH_NAMES.items() if text == called),
        model.config.num_hidden_layers,
    )
    tensors = {
        names.get_name(key, try_suffixes=(".weight", ".bias")): value.detach().numpy()
        for key, value in model.state_dict().items()
    }
    for key, value in {**tensors, **(further or {})}.items():
        if key == without:
            continue
        stored = gguf.GGMLQuantizationType[kind if value.ndim == 2 else "F32"]
        array = gguf.quantize(np.ascontiguousarray(_permuted(called, key, value, model)), stored)
        writer.add_tensor(key, array, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _permuted(architecture: str, key: str, value: Any, model: Any) -> Any:
    """Rows of queries and keys in the order that llama.cpp's rotary embedding has for Llama
    (`LlamaModel.permute` of its convert_hf_to_gguf.py)."""
    heads = {
        "attn_q": model.config.num_attention_heads,
        "attn_k": model.config.num_key_value_heads,
    }.get(key.split(".")[-2])
    if architecture != "llama" or heads is None:
        return value
    rows = value.shape[0] // heads // 2
    return value.reshape(heads, 2, rows, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def _describe(writer: Any, config: Any, kind: str) -> None:
    import gguf

    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    # Bytes that are letters stand for themselves in GPT-2's alphabet; "Ġ" is the blank.
    letters = [chr(code) for code in range(33, 127)]
    merged = ["th", "the", "Ġthe"]
    tokens = [*letters, "Ġ", *merged]
    tokens += [f"<unused{number}>" for number in range(config.vocab_size - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_merges(["t h", "th e", "Ġ the"])
