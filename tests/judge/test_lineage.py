"""Whether two models are more alike than independently trained ones, and what may be concluded."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from bench.errors import SpecError
from bench.judge.lineage import Likeness, Lineage, lineage, sentences
from bench.stats.interval import Interval

LABELS = np.random.default_rng(1).integers(0, 4, 400)


def model(seed: int, wrong: float = 0.2, like: dict | None = None) -> dict[str, np.ndarray]:
    """Predictions with so many errors; like another's where that errs."""
    rng = np.random.default_rng(seed)
    errs = rng.random(400) < wrong
    predicted = np.where(errs, (LABELS + 1 + rng.integers(0, 3, 400)) % 4, LABELS)
    if like is not None:
        copied = rng.random(400) < 0.8
        predicted = np.where(copied, like["predicted"], predicted)
    return {"label": LABELS, "predicted": predicted}


A = model(2)
B = model(3, like=A)
CONTROLS = {"c": model(4), "d": model(5, 0.23)}


def found() -> Lineage:
    return lineage(("a", A), ("b", B), CONTROLS)


def likeness(key: str) -> Likeness:
    return next(one for one in found().likenesses if one.key == key)


def test_each_measure_is_of_a_and_b_and_of_each_with_each_control() -> None:
    def right(m: dict[str, np.ndarray]) -> np.ndarray:
        return m["predicted"] == m["label"]

    kappa, agree = likeness("error_consistency"), likeness("agreement")
    assert kappa.value is not None
    assert agree.value is not None
    assert kappa.value.estimate == pytest.approx(cohen_kappa_score(right(A), right(B)))
    assert agree.value.estimate == pytest.approx(np.mean(A["predicted"] == B["predicted"]))
    assert list(kappa.controls) == list(kappa.excess) == list(kappa.beside) == ["c", "d"]
    for name, control in CONTROLS.items():
        with_a = cohen_kappa_score(right(A), right(control))
        with_b = cohen_kappa_score(right(B), right(control))
        one, excess, beside = kappa.controls[name], kappa.excess[name], kappa.beside[name]
        assert one is not None
        assert excess is not None
        assert beside is not None
        assert one.estimate == pytest.approx(with_a)
        assert beside.estimate == pytest.approx(with_b)
        assert excess.estimate == pytest.approx(kappa.value.estimate - with_a)
    same = likeness("same_wrong")
    both = ~right(A) & ~right(B)
    assert same.value is not None
    assert same.value.estimate == pytest.approx(
        np.mean(A["predicted"][both] == B["predicted"][both])
    )


def test_the_intervals_of_all_measures_and_controls_hold_together() -> None:
    """Three measures against two controls: 5% shared by 6. Accuracies stand on their own."""
    assert likeness("agreement").value.confidence == pytest.approx(1 - 0.05 / 6)  # type: ignore[union-attr]
    assert {i.confidence for i in found().accuracies.values()} == {0.95}
    alone = lineage(("a", A), ("b", B), {})
    assert alone.likenesses[0].value.confidence == 0.95  # type: ignore[union-attr]
    assert found().examples == 400
    assert list(found().accuracies) == ["a", "b", "c", "d"]
    assert found().accuracies["a"].estimate == np.mean(A["predicted"] == LABELS)


def test_a_model_made_from_another_is_more_alike_than_the_controls() -> None:
    assert found().finding == "more alike"
    said = sentences(found())
    assert said[0].startswith("b errs where a does more than every control: kappa ")
    assert "outputs alone can't tell these apart" in said[-1]


def test_likeness_without_a_control_means_nothing() -> None:
    (said,) = sentences(lineage(("a", A), ("b", B), {}))
    assert "means nothing by itself" in said


def excess(**ends: tuple[float, float] | None) -> Likeness:
    known = {
        name: None if both is None else Interval(sum(both) / 2, *both, 0.95)
        for name, both in ends.items()
    }
    value = Interval(0.5, 0.4, 0.6, 0.95)
    return Likeness("error_consistency", "kappa", value, dict.fromkeys(ends, value), known, {})


@pytest.mark.parametrize(
    ("ends", "finding"),
    [
        ({"c": (0.01, 0.2), "d": (0.1, 0.2)}, "more alike"),
        ({"c": (0.0, 0.2), "d": (0.1, 0.2)}, "inconclusive"),
        ({"c": (-0.1, 0.0), "d": (0.1, 0.2)}, "not more alike"),
        ({"c": (-0.1, 0.01), "d": (-0.1, 0.2)}, "inconclusive"),
        ({"c": None, "d": (0.1, 0.2)}, "inconclusive"),
        ({}, "inconclusive"),
    ],
)
def test_it_takes_all_controls_to_be_more_alike_and_one_not_to_be(ends: dict, finding: str) -> None:
    assert excess(**ends).finding == finding


def stands(of_control: float) -> Lineage:
    accuracies = {"a": 0.9, "b": 0.8, "c": of_control}
    intervals = {name: Interval(x, x, x, 0.95) for name, x in accuracies.items()}
    return Lineage("a", "b", 400, intervals, (excess(c=(0.1, 0.2)),), 0.95)


def test_a_control_is_unlike_b_beyond_two_points_of_accuracy() -> None:
    assert stands(0.8199).unlike_controls == []
    assert stands(0.7801).unlike_controls == []
    assert stands(0.8201).unlike_controls == ["c"]
    assert stands(0.7799).unlike_controls == ["c"]
    assert stands(0.9).controls == ["c"]


def test_a_control_that_is_nearer_to_b_than_a_is_is_told() -> None:
    near = {"c": model(6, like=B)}
    near["c"]["predicted"] = B["predicted"].copy()
    said = " ".join(sentences(lineage(("a", A), ("b", B), near)))
    assert "b errs like c even more than like a" in said
    assert "even more" not in " ".join(sentences(found()))


def test_the_hardest_control_is_the_one_that_is_quoted() -> None:
    kappa = likeness("error_consistency")
    least = min(kappa.excess, key=lambda name: kappa.excess[name].estimate)  # type: ignore[union-attr]
    assert f" of {least}; excess " in sentences(found())[0]


def test_models_that_are_always_right_have_no_kappa() -> None:
    right = {"label": LABELS, "predicted": LABELS}
    said = sentences(lineage(("a", right), ("b", right), {"c": right}))
    assert "kappa does not exist" in said[0]


def test_each_model_has_a_name_of_its_own_and_the_same_examples() -> None:
    with pytest.raises(SpecError, match="a name of its own"):
        lineage(("a", A), ("a", B), {})
    other = {"label": LABELS[::-1], "predicted": LABELS}
    with pytest.raises(SpecError, match="c was scored on other examples than a"):
        lineage(("a", A), ("b", B), {"c": other})
