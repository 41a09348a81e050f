"""bench/cards/language/states.py: what a class keeps between steps is found by running it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from tiny_decoders import CLASSES, tiny

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from bench.cards.language.causal import decoding_module, prepared  # noqa: E402
from bench.cards.language.states import plan_state  # noqa: E402
from bench.cards.language.tracing import FILLS, branchless  # noqa: E402
from bench.decoding import Decoder  # noqa: E402

#: Class -> how its state changes, and the positions where something begins to behave otherwise.
STATES: dict[str, tuple[set[str], tuple[int, ...]]] = {
    **dict.fromkeys(CLASSES, ({"grows"}, ())),
    "MistralForCausalLM": ({"slides"}, (7,)),
    "Gemma3ForCausalLM": ({"slides", "grows"}, (7,)),
    "DeepseekV4ForCausalLM": ({"slides", "rest", "groups", "replaced"}, (4, 6, 9)),
}
#: Past the second boundary of each.
TOKENS = 20


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost far more than such small products."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def decoding(name: str) -> Any:
    model = tiny(name)
    config = prepared(model.config)
    return decoding_module(model, plan_state(type(model), config, FILLS))


def arguments(decoder: Decoder, ids: Any, past: Any, position: int) -> list[Any]:
    mask = [torch.ones(len(ids), position + ids.shape[1], dtype=torch.long)]
    return [ids, *(mask if decoder.mask else []), *past]


def empty(decoder: Decoder, batch: int) -> list[Any]:
    return [torch.full(decoder.shape(t, batch, 0), t.fill) for t in decoder.state]


def steps(module: Any, ids: Any, prompt: int) -> Any:
    """Logits and state of each step: a prompt, then token by token."""
    decoder, position = module.decoder, 0
    past = empty(decoder, len(ids))
    for count in (prompt, *[1] * (ids.shape[1] - prompt)):
        given = arguments(decoder, ids[:, position : position + count], past, position)
        with torch.inference_mode():
            logits, *past = module(*given)
        position += count
        yield position, logits, past


def some_ids() -> Any:
    return torch.randint(0, 128, (2, TOKENS), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", CLASSES)
def test_how_each_tensor_changes_is_found_without_a_table_of_classes(name: str) -> None:
    decoder = decoding(name).decoder
    changes, boundaries = STATES[name]
    assert {decoder.change(tensor) for tensor in decoder.state} == changes
    assert decoder.boundaries() == boundaries
    assert bool(decoder.mask) == ("grows" not in changes), "where nothing else tells the position"


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_goes_on_from_its_state_as_if_it_had_never_been_taken_out(name: str) -> None:
    module, ids = decoding(name), some_ids()
    with torch.inference_mode():
        whole = module.model(input_ids=ids, use_cache=False).logits
    for position, logits, past in steps(module, ids, prompt=3):
        assert torch.allclose(logits[:, -1], whole[:, position - 1], atol=1e-5), position
        shapes = [module.decoder.shape(tensor, 2, position) for tensor in module.decoder.state]
        assert [tuple(tensor.shape) for tensor in past] == shapes


@pytest.mark.parametrize("name", [n for n, (changes, _) in STATES.items() if changes != {"grows"}])
@pytest.mark.parametrize("prompt", [1, 8])
def test_caches_without_branches_count_as_the_classes_do(name: str, prompt: int) -> None:
    """What an export traces, run as it is: much quicker to see than by an export."""
    module, ids = decoding(name), some_ids()
    plain = list(steps(module, ids, prompt))
    with branchless():
        traced = list(steps(module, ids, prompt))
    for (position, logits, past), (_, others, states) in zip(plain, traced, strict=True):
        for mine, theirs in zip([logits, *past], [others, *states], strict=True):
            assert torch.allclose(mine, theirs, atol=1e-6), position


def test_branches_come_back_when_tracing_ends() -> None:
    cache_utils = importlib.import_module("transformers.cache_utils")
    before = cache_utils.DynamicSlidingWindowLayer.update
    with branchless():
        assert cache_utils.DynamicSlidingWindowLayer.update is not before
    assert cache_utils.DynamicSlidingWindowLayer.update is before


def test_a_description_is_read_back_as_it_was_written() -> None:
    decoder = decoding("DeepseekV4ForCausalLM").decoder
    assert Decoder.from_json(decoder.to_json()) == decoder


@pytest.mark.parametrize("text", ["[]", "{}", '{"state": [{}]}', "nonsense"])
def test_what_describes_no_decoder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"decoder|JSON|value"):
        Decoder.from_json(text)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Mamba", {"hidden_size": 32, "state_size": 8}),
        (
            "Lfm2",
            {
                "hidden_size": 32,
                "num_attention_heads": 2,
                "layer_types": ["conv", "full_attention"],
            },
        ),
    ],
    ids=["instead of keys and values", "beside them"],
)
def test_a_class_with_a_recurrent_state_is_refused_by_name(
    name: str, values: dict[str, Any]
) -> None:
    """Its layers write into the tensor that they were given: the caller's bound buffer."""
    import transformers

    config = getattr(transformers, f"{name}Config")(vocab_size=64, num_hidden_layers=2, **values)
    kind = getattr(transformers, f"{name}ForCausalLM")
    with pytest.raises(ValueError, match=f"{name}ForCausalLM keeps a recurrent state") as caught:
        plan_state(kind, config, FILLS)
    assert "\n" not in str(caught.value)
