"""Numbers, decisions and the verdict of a certificate, on made evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.cards.tasks import find_task
from bench.judge.certify.decisions import decisions_of
from bench.judge.certify.distributions import distributions_of
from bench.judge.certify.numbers import explained, numbers_of
from bench.judge.certify.verdict import judge
from bench.record.certificate import Decisions, Numbers
from bench.record.rows import distribution_rows, output_rows
from bench.variants import FP32

CONFIDENCE = 0.95
MARGIN = 0.005


def rows(mine: Any, theirs: Any) -> dict[str, Any]:
    return output_rows([np.asarray(mine)], [np.asarray(theirs)], FP32.tolerance)


def numbers(**changes: Any) -> Numbers:
    plain: dict[str, Any] = {
        "rows": 1000,
        "beyond": 0,
        "nonfinite": 0,
        "nonfinite_reference": 0,
        "largest": 0.0,
        "median": 0.0,
        "p99": 0.0,
        "roundings": 0.0,
    }
    return Numbers(**plain | changes)


def classified(lost: int, gained: int, n: int = 10_000, classes: int = 10) -> Decisions:
    """A candidate that has ``lost`` examples wrong that the reference has right, all of class 0."""
    label = np.arange(n) % classes
    theirs, mine = label.copy(), label.copy()
    first = np.flatnonzero(label == 0)
    mine[first[:lost]] = 1
    theirs[first[lost : lost + gained]] = 1
    reference = {"label": label, "predicted": theirs, "group": label}
    found = decisions_of(
        find_task("classification"),
        {**reference, "predicted": mine},
        reference,
        MARGIN,
        CONFIDENCE,
        [f"class {c}" for c in range(classes)],
    )
    assert found is not None
    return found


# -- rows -----------------------------------------------------------------------------------------


def test_equal_infinities_and_nan_agree_and_others_are_told_of() -> None:
    inf, nan = np.inf, np.nan
    theirs = np.array([[inf, 1], [nan, 1], [-inf, 1], [1, 2], [1, nan]], np.float32)
    mine = np.array([[inf, 1], [nan, 1], [inf, 1], [1, nan], [1, 2]], np.float32)

    assert rows(mine, theirs)["nonfinite"].tolist() == [0, 0, 1, 1, 2]
    assert rows(mine, theirs)["difference"].tolist() == [0, 0, 0, 0, 0]


def test_a_difference_is_told_in_units_of_the_outputs_rounding() -> None:
    theirs = np.full((3, 4), 8.0, np.float32)
    mine = theirs.copy()
    mine[1, 2] = np.nextafter(np.float32(8), np.float32(9))

    found = rows(mine, theirs)

    assert found["roundings"].tolist() == [0, 1, 0]
    assert (found["excess"] < 1).all()


def test_a_row_beyond_the_limit_is_counted_whichever_output_it_is_in() -> None:
    theirs = np.ones((4, 3), np.float32)
    off = theirs.copy()
    off[2] += 1e-2

    found = output_rows([theirs, off], [theirs, theirs], FP32.tolerance)

    assert numbers_of(found).beyond == 1


# -- numbers --------------------------------------------------------------------------------------


def test_what_stays_within_rounding_is_explained_whatever_the_floor_is() -> None:
    assert explained(numbers(largest=1e-6), [])
    assert explained(numbers(largest=1e-6), [numbers()])


def test_beyond_rounding_only_a_reference_that_wanders_as_far_explains_it() -> None:
    far = numbers(beyond=3, largest=0.02)

    assert not explained(far, [])
    assert not explained(far, [numbers(largest=1e-6)])
    assert explained(far, [numbers(beyond=2, largest=0.015)])
    assert not explained(far, [numbers(beyond=2, largest=0.005)])  # four times its own
    assert not explained(numbers(beyond=60, largest=0.02), [numbers(beyond=2, largest=0.015)])


def test_nan_is_never_explained() -> None:
    assert not explained(numbers(nonfinite=1), [numbers(beyond=5, largest=1.0)])


# -- distributions --------------------------------------------------------------------------------


def test_flattened_distributions_with_the_same_first_are_seen() -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(0, 3, (400, 10))
    found = distributions_of(
        distribution_rows(theirs / 2, theirs, theirs.argmax(axis=1)),
        np.arange(400),
        CONFIDENCE,
        of_tokens=False,
    )

    assert found is not None
    assert found.same_first is not None
    assert found.same_first.value == 1
    assert found.divergence is not None
    assert found.divergence.low > 0.1
    assert found.acceptance is not None
    assert found.acceptance.high < 0.9


def test_documents_are_resampled_and_not_tokens() -> None:
    """Rows of one document are all alike: as independent tokens they would look certain."""
    rng = np.random.default_rng(1)
    document = np.repeat(np.arange(30), 100)
    theirs = rng.normal(0, 1, (3000, 5))
    mine = theirs + rng.normal(0, 1, (30, 5))[document]
    right = np.zeros(3000, np.int64)

    def width(clusters: np.ndarray) -> float:
        found = distributions_of(
            distribution_rows(mine, theirs, right), clusters, CONFIDENCE, of_tokens=True
        )
        assert found is not None
        assert found.divergence is not None
        return found.divergence.high - found.divergence.low

    assert width(document) > 3 * width(np.arange(3000))


def test_what_the_candidate_rules_out_is_counted_apart() -> None:
    theirs = np.zeros((40, 3))
    mine = theirs.copy()
    mine[:4, 1] = -np.inf

    found = distributions_of(
        distribution_rows(mine, theirs, None), np.arange(40), CONFIDENCE, of_tokens=False
    )

    assert found is not None
    assert found.divergence is not None
    assert found.infinite == 4
    assert found.divergence.value == pytest.approx(0)
    assert found.probability_change is None  # nobody says what is right


# -- the verdict ----------------------------------------------------------------------------------

FAR = numbers(beyond=900, largest=0.4)


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"),
    [
        (20, 28, "equivalent"),
        (30, 0, "equivalent"),  # certainly worse, and by less than the margin
        (55, 10, "inconclusive"),
        (300, 0, "degraded"),
        (0, 300, "equivalent"),  # better
    ],
)
def test_the_metric_decides_where_numbers_differ(lost: int, gained: int, verdict: str) -> None:
    decisions = classified(lost, gained, classes=1)

    assert judge(FAR, [], decisions, "example").verdict == verdict


def test_inconclusive_says_how_many_more_examples_decide() -> None:
    decisions = classified(55, 10, classes=1)
    found = judge(FAR, [], decisions, "example")

    assert decisions.needed is not None
    assert f"{decisions.needed - decisions.examples:,} more examples" in found.reasons[-1]


def test_a_class_that_is_surely_worse_is_degraded_though_the_whole_is_not() -> None:
    """40 of 10,000 is within half a point, but they are 4% of the thousand of one class."""
    decisions = classified(40, 0)
    found = judge(FAR, [], decisions, "example")

    assert [group.name for group in decisions.groups if group.degraded] == ["class 0"]
    assert found.verdict == "degraded"
    assert "class 0" in found.reasons[-1]


def test_with_many_classes_chance_degrades_one_in_no_more_than_the_level() -> None:
    """100 classes of 50: each loses and gains a few by chance alone, and none is really worse."""
    rng = np.random.default_rng(2)
    label = np.repeat(np.arange(100), 50)
    false = 0
    for _ in range(40):
        mine, theirs = (np.where(rng.random(5000) < 0.9, label, -1) for _ in range(2))
        reference = {"label": label, "predicted": theirs, "group": label}
        found = decisions_of(
            find_task("classification"),
            {**reference, "predicted": mine},
            reference,
            MARGIN,
            CONFIDENCE,
            [str(c) for c in range(100)],
        )
        assert found is not None
        false += any(group.degraded for group in found.groups)

    assert false <= 4  # 5% of 40, and two standard errors


def test_the_rules_apply_in_their_order() -> None:
    worse = classified(300, 0)

    assert judge(numbers(), [], worse, "example").verdict == "same"
    assert judge(numbers(nonfinite=1), [], None, "example").verdict == "degraded"
    assert judge(numbers(nonfinite_reference=1), [], None, "example").verdict == "inconclusive"
    assert judge(numbers(), [], None, "example", ["It fell back."]).verdict == "inconclusive"
    assert judge(FAR, [], None, "example").verdict == "inconclusive"
    wandering = worse.model_copy(update={"floor": 2 * MARGIN})
    found = judge(FAR, [], wandering, "example")
    assert found.verdict == "inconclusive"
    assert "disagrees with itself" in found.reasons[-1]


def test_few_examples_say_how_many_any_verdict_takes() -> None:
    decisions = classified(0, 0, n=20, classes=1)
    found = judge(FAR, [], decisions, "example")

    assert found.verdict == "inconclusive"
    assert "519 more examples" in found.reasons[-1]
