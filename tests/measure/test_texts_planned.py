"""What is planned where language models answer whole queries: offline at a batch, under load."""

from __future__ import annotations

import pytest
from test_decoding import RUNTIME, model, plan

from bench.backend import Device
from bench.bounds import PRESETS, in_words
from bench.cell import Cell
from bench.errors import SpecError, Unsupported
from bench.measure.language.steps import refusal, refused_streams
from bench.measure.plan import PlannedCell, make_plan
from bench.runtimes.targets import Choice, parse_target
from bench.scenarios import find_scenario
from bench.spec import Suite, make_suite

BOUNDED = {"scenarios": ("server",), "bounds": "llama3.1-8b-server"}


def only(suite: Suite) -> PlannedCell:
    (planned,) = plan(suite, model())
    return planned


def test_a_batch_of_prompts_is_of_one_length_distinct_and_in_turns() -> None:
    suite = Suite(scenarios=("offline",), batch=(3,), prompt=(16,), answer=(5,))
    planned = only(suite)
    assert refusal(planned.model, find_scenario(planned.cell.scenario), suite) is None
    assert planned.cell.scenario == "offline@16+5"
    assert planned.cell.batch == 3
    assert planned.cell.shapes["input_ids"] == (3, 16)
    assert planned.prompts is not None
    assert planned.prompts.shape[1:] == (3, 16)
    prompts = {tuple(prompt) for query in planned.prompts.tolist() for prompt in query}
    assert len(prompts) == len(planned.prompts) * 3
    assert (planned.feeds["input_ids"] == planned.prompts[0]).all()
    assert planned.options.shapes == {}, "lengths of the steps differ"


def test_prompts_are_drawn_with_the_seed() -> None:
    one, again, other = (
        only(Suite(scenarios=("offline",), prompt=(16,), answer=(4,), batch=(2,), seed=seed))
        for seed in (1, 1, 2)
    )
    assert one.cell.id == again.cell.id
    assert one.cell.input_sha256 != other.cell.input_sha256


def test_each_pair_of_lengths_is_a_cell_and_one_named_in_full_is_the_only_one() -> None:
    suite = Suite(scenarios=("offline",), batch=(2,), prompt=(8, 16), answer=(4, 5))
    names = [p.cell.scenario for p in plan(suite, model())]
    assert names == ["offline@8+4", "offline@8+5", "offline@16+4", "offline@16+5"]
    named = Suite(scenarios=("offline@9+3",), batch=(2,), prompt=(8, 16))
    assert [p.cell.scenario for p in plan(named, model())] == ["offline@9+3"]


def test_one_scenario_means_samples_for_one_model_and_texts_for_another() -> None:
    choice = Choice(parse_target("fake:cpu"), RUNTIME, Device("cpu", "", "a CPU"), named=True)
    text, other = model(), model(None)
    other = type(other)(
        other.card.model_copy(update={"name": "net"}), other.file, None, sha256="1" * 64
    )
    suite = Suite(
        scenarios=("offline", "server"),
        batch=(2,),
        prompt=(8,),
        answer=(4,),
        latency_bound="5ms",
        bounds="llama3.1-8b-interactive",
    )
    cells = [p.cell for p in make_plan(suite, [text, other], [choice]).cells]
    found = {(cell.model.name, cell.scenario): in_words(cell) for cell in cells}
    assert found == {
        ("net", "offline"): "",
        ("net", "server"): "p99 ≤ 5.00 ms",
        ("tiny", "offline@8+4"): "",
        ("tiny", "server@8+4"): "TTFT p99 ≤ 500 ms, TPOT p99 ≤ 30.0 ms",
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenarios": ("server",), "latency_bound": "5ms"}, "--bounds llama3.1-8b-server"),
        (BOUNDED | {"answer": (1,)}, "a query of one token has no TPOT"),
        (BOUNDED | {"prompt": (60,), "answer": (5,)}, "a smaller --prompt or --answer"),
        ({"scenarios": ("offline",), "batch": (2,), "lane": "api"}, "Leave out --lane"),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_sentence(
    changes: dict[str, object], words: str
) -> None:
    planned = only(Suite.model_validate({"prompt": (16,), "answer": (5,)} | changes))
    assert isinstance(planned.refused, Unsupported)
    assert words in str(planned.refused)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scenarios": ("offline@8+4",), "batch": (2,)}, "has no token cache"),
        (BOUNDED, "Give --latency-bound"),
    ],
)
def test_a_model_that_makes_no_tokens_is_asked_for_none(
    changes: dict[str, object], words: str
) -> None:
    (planned,) = plan(Suite.model_validate(changes), model(None))
    assert words in str(planned.refused)


def test_streams_are_refused_where_queries_are_answered_one_after_the_other() -> None:
    for text, refused in (("fake:cpu?streams=2", True), ("fake:cpu?streams=1", False)):
        choice = Choice(parse_target(text), RUNTIME, Device("cpu", "", "a CPU"), named=True)
        found = refused_streams("tiny", choice)
        assert (found is not None) == refused
        assert found is None or "can't use streams" in str(found)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"scenarios": ["server"]}, "--bounds llama3.1-8b-server"),
        ({"bounds": "llama3.1-8b-server"}, "go together"),
        (
            {"scenarios": ["server"], "bounds": "llama9"},
            "not a known pair of bounds; known: llama3.1-8b",
        ),
        ({"scenarios": ["server"], "ttft_bound": "2s"}, "give both"),
        ({"scenarios": ["server"], "ttft_bound": "2s", "tpot_bound": "1"}, "time with its unit"),
        (
            {
                "scenarios": ["server"],
                "ttft_bound": "2s",
                "tpot_bound": "9ms",
                "bounds": "deepseek-r1-server",
            },
            "or a pair by its name",
        ),
    ],
)
def test_bounds_that_do_not_fit_are_refused(data: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make_suite(data, "the flags")


def test_a_pair_by_its_name_is_mlperfs() -> None:
    """mlcommons/inference_policies, inference_rules.adoc, in ms."""
    pairs = {p.name: (p.ttft_ns / 1e6, p.tpot_ns / 1e6) for p in PRESETS}
    assert pairs["llama3.1-8b-server"] == (2000, 100)
    assert pairs["llama3.1-8b-interactive"] == (500, 30)
    assert pairs["deepseek-r1-server"] == (2000, 80)
    assert pairs["deepseek-r1-interactive"] == (1500, 15)
    named = Suite.model_validate({"scenarios": ("server",), "bounds": "deepseek-r1-server"})
    said = Suite(scenarios=("server",), ttft_bound="2s", tpot_bound="80ms")
    assert (named.ttft_bound_ns, named.tpot_bound_ns) == (2 * 10**9, 80 * 10**6)
    assert (said.ttft_bound_ns, said.tpot_bound_ns) == (2 * 10**9, 80 * 10**6)


def test_a_cell_without_bounds_on_tokens_has_the_id_that_it_had_before_there_were_any() -> None:
    planned = only(Suite(scenarios=("prefill",), prompt=(8,)))
    cell = planned.cell
    assert cell.id != cell.model_copy(update={"ttft_bound_ns": 5}).id
    old = {k: v for k, v in cell.model_dump().items() if not k.startswith(("ttft", "tpot"))}
    assert Cell.model_validate(old).id == cell.id
