"""Tiny language models with random weights, of architectures whose caches differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: What most of them have in common.
_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "vocab_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
_HEADS = {"head_dim": 8}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
#: Class -> its configuration's class and values.
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaForCausalLM": ("LlamaConfig", _SMALL),
    "Qwen3ForCausalLM": ("Qwen3Config", _SMALL | _HEADS),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 128, "n_positions": 256},
    ),
    "MistralForCausalLM": ("MistralConfig", _SMALL | _HEADS | {"sliding_window": 8}),
    "GemmaForCausalLM": ("GemmaConfig", _SMALL | _HEADS),
    "Gemma3ForCausalLM": (
        "Gemma3TextConfig",
        _SMALL
        | _HEADS
        | {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "PhiForCausalLM": ("PhiConfig", _SMALL),
    "Qwen3MoeForCausalLM": ("Qwen3MoeConfig", _SMALL | _HEADS | _EXPERTS | {"num_experts": 4}),
    "DeepseekV3ForCausalLM": (
        "DeepseekV3Config",
        _SMALL
        | _EXPERTS
        | {
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "n_shared_experts": 1,
            "kv_lora_rank": 16,
            "q_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
            "first_k_dense_replace": 1,
        },
    ),
    "DeepseekV4ForCausalLM": (
        "DeepseekV4Config",
        _SMALL
        | _EXPERTS
        | {
            "num_key_value_heads": 1,
            "head_dim": 16,
            "layer_types": ["compressed_sparse_attention", "heavily_compressed_attention"],
            "sliding_window": 7,
            "compress_rates": {
                "compressed_sparse_attention": 4,
                "heavily_compressed_attention": 9,
            },
            "q_lora_rank": 16,
            "o_lora_rank": 8,
            "o_groups": 2,
            "index_n_heads": 2,
            "index_head_dim": 8,
            "index_topk": 4,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "hc_mult": 2,
            "hc_sinkhorn_iters": 1,
            "num_hash_layers": 0,
        },
    ),
}


def tiny(name: str) -> Any:
    """A model of the class ``name``, its weights large enough that its answers differ."""
    import torch
    import transformers

    config_name, values = CLASSES[name]
    config = getattr(transformers, config_name)(**values)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        model = getattr(transformers, name)(config).eval()
        for weight in model.parameters():
            weight.add_((0.3 if weight.ndim < 2 else 0.1) * torch.randn_like(weight))
    return model


def save(name: str, folder: Path) -> Path:
    """A checkpoint folder of it."""
    path = folder / name
    tiny(name).save_pretrained(path)
    return path
