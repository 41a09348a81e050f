"""A distilled model as the drafter of its original, from records and predictions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_records import a_cell, a_record

from bench.cell import ModelIdentity
from bench.judge.deal import Deal
from bench.judge.drafting import Drafting, draftings
from bench.present import deal as deal_words
from bench.record.result import Footprint, Record
from bench.stats.speculation import improvement

DOCUMENTS, TOKENS, VOCABULARY = 30, 400, 50
ORIGINAL = ModelIdentity(
    name="large", sha256="a" * 64, task="text-generation", file_bytes=1, distilled_from=None
)
STUDENT = ORIGINAL.model_copy(
    update={"name": "small", "sha256": "b" * 64, "distilled_from": "large"}
)
#: ns of a step of the original by tokens at once, and of one of the draft
STEPS, DRAFT_NS = {1: 1000.0, 2: 1100.0, 3: 1200.0, 5: 1400.0, 9: 1800.0}, 100.0
TARGET = "onnxruntime:cpu"


def timed(model: ModelIdentity, scenario: str, ns: float, *, cuts: bool = True) -> Record:
    told = Footprint(
        weights_bytes=1,
        cache_bytes=1,
        cache_token_bytes=1,
        logits_bytes=1,
        needed_bytes=1,
        cache_cuts=cuts,
    )
    cell = a_cell(model, TARGET, scenario)
    return a_record(cell, ns).model_copy(update={"footprint": told})


def records(*, cuts: bool = True) -> list[Record]:
    checked = [
        timed(ORIGINAL, f"verify@32+{tokens - 1}", ns, cuts=cuts)
        for tokens, ns in STEPS.items()
        if tokens > 1
    ]
    one = timed(ORIGINAL, "decode@32", STEPS[1], cuts=cuts)
    return [one, *checked, timed(STUDENT, "decode@32", DRAFT_NS)]


class Run:
    """A stored run whose models agree on so many tokens, independently."""

    def __init__(self, stored: list[Record], agree: float = 0.8, vocabulary: int = VOCABULARY):
        self.records = stored
        rng = np.random.default_rng(3)
        count = DOCUMENTS * TOKENS
        predicted = rng.integers(0, VOCABULARY - 1, count)
        agreed = rng.random(count) < agree
        predicted[::TOKENS] = -1
        common: dict[str, Any] = {
            "document": np.repeat(np.arange(DOCUMENTS), TOKENS),
            "bytes": np.full(count, 3),
            "token": np.zeros(count, np.int64),
            "log_p": np.zeros(count),
        }
        self.columns = {
            "large": {**common, "predicted": predicted, "vocabulary": np.full(count, 50)},
            "small": {
                **common,
                "predicted": np.where(agreed | (predicted < 0), predicted, VOCABULARY - 1),
                "vocabulary": np.full(count, vocabulary),
            },
        }

    def scored_columns(self, record: Record) -> dict[str, Any]:
        return self.columns[record.cell.model.name]


def found(run: Run) -> Drafting:
    (one,) = draftings(run)  # type: ignore[arg-type]
    return one


def test_the_speed_up_is_leviathans_where_tokens_are_independent() -> None:
    drafting = found(Run(records()))
    assert (drafting.original, drafting.draft, drafting.depth) == ("large", "small", 32)
    assert drafting.agreement is not None
    assert drafting.agreement.estimate == pytest.approx(0.8, abs=0.01)
    assert [each.length for each in drafting.lengths] == [1, 2, 4, 8]
    for each in drafting.lengths:
        draft, check = DRAFT_NS / STEPS[1], STEPS[each.length + 1] / STEPS[1]
        assert each.speedup.estimate == pytest.approx(
            improvement(0.8, each.length, draft, check), rel=0.02
        )
        assert each.speedup.low < each.speedup.estimate < each.speedup.high
    assert drafting.best is not None
    assert drafting.best.length == 4


def test_texts_and_times_each_widen_the_interval() -> None:
    def width(run: Run) -> float:
        interval = found(run).lengths[0].speedup
        return float(np.log(interval.high / interval.low))

    def sure(record: Record) -> Record:
        assert record.latency is not None
        median = record.latency.median_ns
        exact = median.model_copy(update={"low": median.value, "high": median.value})
        latency = record.latency.model_copy(update={"median_ns": exact})
        return record.model_copy(update={"latency": latency})

    both = width(Run(records()))
    texts_alone = width(Run([sure(record) for record in records()]))
    times_alone = width(Run(records(), agree=1.0))
    assert both == pytest.approx(np.hypot(texts_alone, times_alone), rel=0.2)


def test_a_state_that_can_not_be_cut_makes_longer_steps_which_have_to_be_measured() -> None:
    drafting = found(Run(records(cuts=False)))
    assert [each.length for each in drafting.lengths] == [1, 2, 4]
    cut = found(Run(records()))
    for slow, fast in zip(drafting.lengths, cut.lengths, strict=False):
        assert slow.speedup.estimate < fast.speedup.estimate
    short = [r for r in records(cuts=False) if r.cell.scenario in ("decode@32", "verify@32+2")]
    assert "--draft 2,4" in found(Run(short)).missing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda run: run.records.__setitem__(
                slice(None), [r for r in run.records if "verify" not in r.cell.scenario]
            ),
            "--scenario verify --depth 32",
        ),
        (
            lambda run: run.records.__setitem__(
                slice(None), [r.model_copy(update={"accuracy": None}) for r in run.records]
            ),
            "score both",
        ),
        (
            lambda run: run.columns["small"].update(vocabulary=np.full(DOCUMENTS * TOKENS, 51)),
            "can't draft for the other: their vocabularies",
        ),
    ],
)
def test_what_was_not_measured_is_asked_for(change: Any, words: str) -> None:
    run = Run(records())
    change(run)
    drafting = found(run)
    assert not drafting.lengths
    assert words in drafting.missing
    (_, said) = worded(drafting)
    assert words in said


def worded(drafting: Drafting) -> list[str]:
    deal = Deal("latency", (), {("large", TARGET): ()}, None, 0.95, (drafting,))
    return [
        "",
        *(
            text.replace("\u00a0", " ")
            for text in deal_words._drafting_words(deal, "large", TARGET)
        ),
    ]


def test_it_is_said_per_target_with_the_command_that_measures_it() -> None:
    (_, said) = worded(found(Run(records())))
    assert said.startswith(f"On {TARGET} small as a drafter for large is an expected 1.88x (")
    assert "loses nothing (drafts of 4 tokens; 1: 1.50x, 2: 1.7" in said
    assert f"`bench model speculate large --draft small -t {TARGET}`" in said
    (_, slow) = worded(found(Run(records(), agree=0.02)))
    assert "not worth it" in slow


def test_a_control_drafts_for_nobody() -> None:
    control = STUDENT.model_copy(update={"name": "control", "control_of": "small"})
    more = [*records(), timed(control, "decode@32", 90.0)]
    assert found(Run(more)).draft == "small"
