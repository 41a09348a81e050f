"""A causal language model as a plain PyTorch module: token ids and the past in, logits and the
present out. Runs in workers too: needs torch and transformers.

`load` is the factory that a `bench.backend.TorchSource` names; it is called with the checkpoint's
folder, or with a GGUF file.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from pathlib import Path
from typing import Any

from bench.cards import pretrained
from bench.cards.language.states import Plan, cache_argument, plan_state, put
from bench.cards.language.tracing import FILLS, branchless
from bench.decoding import Decoder

#: How the names of classes end that give logits of the next token.
HEADS = ("ForCausalLM", "LMHeadModel")
#: Experts in the form that trains in a tenth of the time that the exported one takes.
_TRAINED_EXPERTS = "grouped_mm"
#: Tokens that a class is tried on when it is loaded.
_TRIED = 4
#: Rounding in a few layers of float32 is far below; another answer is far above.
_SAME = 1e-3


def is_causal(config: dict[str, Any]) -> bool:
    """Whether config.json names a class that gives logits of the next token."""
    return architecture_of(config).endswith(HEADS)


def architecture_of(config: dict[str, Any]) -> str:
    return str((config.get("architectures") or [""])[0])


def load(source: str) -> Any:
    """The checkpoint in fp32, as a module with its state as inputs and outputs.

    Its attribute ``decoder`` describes them. Raises `ValueError`, in words for the user, for a
    class that isn't supported, and for weights that aren't the class's.
    """
    kind, config = class_of(source)
    plan = plan_state(kind, config, FILLS)
    module = decoding_module(_whole_model(kind, source), plan)
    _refuse_other_answers(module)
    return module


def load_for_training(source: str) -> Any:
    """The checkpoint's model as transformers has it, computed in the forms that train fast.

    Raises `ValueError` as `load` does.
    """
    kind, _ = class_of(source)
    model = _whole_model(kind, source)
    if kind._supports_sdpa:
        model.config._attn_implementation = "sdpa"
    experts = pretrained.has_experts(source)
    model.config._experts_implementation = _TRAINED_EXPERTS if experts else None
    return model.eval()


def describe(source: str) -> Decoder:
    """What `load` would take and give, without reading the weights."""
    kind, config = class_of(source)
    return decoder_of(kind, config, plan_state(kind, config, FILLS))


def class_of(source: str) -> tuple[Any, Any]:
    """The class that config.json names and its configuration. Raises `ValueError`."""
    import transformers  # transformers: optional

    found = json.loads((Path(source) / "config.json").read_text("utf-8"))
    name = architecture_of(found)
    kind = getattr(transformers, name, None)
    if kind is None:
        raise ValueError(
            f"transformers {transformers.__version__} has no {name}, and code that comes with a "
            "checkpoint is never run. Install a version that has it, or export the model yourself "
            "and name the .onnx file."
        )
    if found.get("is_encoder_decoder"):
        raise ValueError(
            f"{name} has an encoder beside its decoder, which bench can't feed. It measures "
            "decoder-only models."
        )
    config = kind.config_class.from_pretrained(
        source, local_files_only=True, trust_remote_code=False
    )
    return kind, prepared(config)


def prepared(config: Any) -> Any:
    """The configuration, so that what follows from it can be exported."""
    config.use_cache = True
    config._attn_implementation = "eager"
    config._experts_implementation = pretrained.EXPERTS
    return config


def decoder_of(kind: Any, config: Any, plan: Plan) -> Decoder:
    """The description of the class's module."""
    return Decoder(
        architecture=kind.__name__,
        vocabulary=int(config.vocab_size),
        state=plan.tensors,
        lengths=dict(plan.lengths),
        context=getattr(config, "max_position_embeddings", None),
        mask="attention_mask" if plan.counted else "",
        chooses=tuple(_chosen(config)),
    )


def _chosen(config: Any) -> Any:
    """What the class chooses by rank, in words."""
    experts = getattr(config, "num_experts_per_tok", None)
    if experts:
        yield f"{experts} experts a token"
    if getattr(config, "index_topk", None):
        yield f"{config.index_topk} entries of the sparse attention"


def decoding_module(model: Any, plan: Plan) -> Any:
    """``model`` with the state that ``plan`` describes as inputs and outputs."""
    import torch  # torch: optional
    from transformers import DynamicCache

    decoder = decoder_of(type(model), model.config, plan)
    names = [decoder.tokens, *filter(None, [decoder.mask]), *(t.input for t in decoder.state)]
    argument = cache_argument(model)

    def restored(past: tuple[Any, ...], position: Any) -> Any:
        cache = DynamicCache(config=model.config)
        for place, settled in plan.settled.items():
            put(cache, place, settled)
        for layer in cache.layers:
            layer.device = past[0].device
        for places, tensor in zip(plan.slots, past, strict=True):
            for place in places:
                put(cache, place, tensor)
        for place, length in plan.counts.items():
            put(cache, place, length.of(position))
        return cache

    class Decoding(torch.nn.Module):  # type: ignore[misc]
        """One step: any number of new tokens after the past."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *given: Any) -> Any:
            input_ids, *past = given
            position: Any = 0
            if decoder.mask:
                position = past.pop(0).shape[1] - input_ids.shape[1]
            elif grows is not None:
                position = past[grows[0]].shape[grows[1]]
            cache = restored(tuple(past), position)
            exporting = torch.compiler.is_exporting()
            with branchless() if exporting else contextlib.nullcontext():
                found = self.model(
                    input_ids=input_ids, use_cache=True, return_dict=True, **{argument: cache}
                )
            return (found["logits"], *(taken(cache, places[0]) for places in plan.slots))

        def cached_steps(self) -> Any:
            """A text from its beginning. The same steps as `forward`'s, without taking the state
            out of the cache and putting it back."""
            return CachedSteps()

    class CachedSteps:
        """A function of new tokens that gives their logits, and keeps the class's own cache in
        between; its `state` is what `forward` would give, while there are tokens in it."""

        def __init__(self) -> None:
            self.cache = DynamicCache(config=model.config)

        def __call__(self, input_ids: Any) -> Any:
            given = {"input_ids": input_ids, argument: self.cache}
            return model(use_cache=True, return_dict=True, **given)["logits"]

        def state(self) -> list[Any]:
            return [taken(self.cache, places[0]) for places in plan.slots]

        def put_back(self, state: Any, position: int) -> None:
            self.cache = restored(tuple(state), position)

    grows = next(
        (
            (index, tensor.axis)
            for index, tensor in enumerate(decoder.state)
            if decoder.change(tensor) == "grows"
        ),
        None,
    )
    Decoding.forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            for name in ("self", *names)
        ]
    )
    module = Decoding().eval()
    module.decoder = decoder
    return module


def _refuse_other_answers(module: Any) -> None:
    """Raise `ValueError` for a class that answers otherwise where its state was taken out and put
    back between two tokens: some do more than look into their cache."""
    import torch  # torch: optional

    decoder: Decoder = module.decoder
    ids = torch.arange(_TRIED).unsqueeze(0) % decoder.vocabulary
    past = [
        torch.full(decoder.shape(tensor, 1, 0), tensor.fill, dtype=getattr(torch, tensor.dtype))
        for tensor in decoder.state
    ]
    try:
        with torch.inference_mode():
            whole = module.model(input_ids=ids, use_cache=False).logits
            for end in (_TRIED - 1, _TRIED):
                new = ids[:, _TRIED - 1 :] if end == _TRIED else ids[:, :end]
                mask = [torch.ones(1, end, dtype=torch.long)] if decoder.mask else []
                logits, *past = module(new, *mask, *past)
        same = torch.allclose(logits[:, -1], whole[:, -1], rtol=_SAME, atol=_SAME)
    except Exception as error:
        raise ValueError(
            f"{decoder.architecture} can't continue from a state that was restored into its cache: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not same:
        raise ValueError(
            f"{decoder.architecture} gives other answers after its state was saved and restored, "
            "so bench can't decode with it step by step. Export it yourself, and name the .onnx "
            "file."
        )


def taken(cache: Any, place: Any) -> Any:
    """What is at ``place`` of a cache."""
    number, name, *keys = place
    value = getattr(cache.layers[number], name)
    for key in keys:
        value = value[key]
    return value


def _whole_model(kind: Any, source: str) -> Any:
    """Every weight of the class from the checkpoint, none made up."""
    import torch  # torch: optional
    import transformers

    model = pretrained.with_all_weights(torch, transformers, kind, source)
    prepared(model.config)
    return model
