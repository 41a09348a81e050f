"""Lineage on simulated models: shared difficulty, errors of their own, known relations."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from rich.cells import cell_len

from bench.cards.architecture import Architecture
from bench.cards.tasks.base import Columns
from bench.errors import SpecError
from bench.judge.lineage import FEWEST_CONTROLS, Known, Lineage, lineage, sentences
from bench.present.lineage import lineage_row, lineage_text

N, CLASSES = 1000, 10
CONTROLS = tuple(f"c{place}" for place in range(1, FEWEST_CONTROLS + 1))
Logits = np.ndarray


class World:
    """Labelled examples, some of them hard for every model."""

    def __init__(self, seed: int, examples: int = N) -> None:
        self.rng = np.random.default_rng(seed)
        self.labels = self.rng.integers(0, CLASSES, examples)
        hard = self.rng.gamma(4, 1, (examples, 1))
        self.evidence = np.eye(CLASSES)[self.labels] * hard
        self.evidence += self.rng.normal(0, 0.9, (examples, CLASSES))

    def trained(self) -> Logits:
        """An independent model: some are noisier than others."""
        deviation = self.rng.uniform(1.18, 1.22)
        return np.asarray(self.evidence + self.rng.normal(0, deviation, self.evidence.shape))

    def distilled(self, teacher: Logits) -> Logits:
        """Learned from the teacher's logits, and no label."""
        return np.asarray(teacher + self.rng.normal(0, 0.3, teacher.shape))

    def fine_tuned(self, original: Logits) -> Logits:
        return np.asarray(0.9 * original + 0.1 * self.trained())

    def quantised(self, original: Logits) -> Logits:
        return np.round(original * 16) / 16

    def answers(self, logits: Logits) -> Columns:
        return {"label": self.labels, "predicted": logits.argmax(axis=1)}

    def controls(self, count: int = FEWEST_CONTROLS) -> dict[str, Columns]:
        return {f"c{place + 1}": self.answers(self.trained()) for place in range(count)}

    def accurate_to(self, share: float) -> Columns:
        """Right on ``share`` of the examples, wrong on others by chance."""
        wrong = self.rng.random(len(self.labels)) > share
        return {"label": self.labels, "predicted": (self.labels + wrong) % CLASSES}


def judge(a: Columns, b: Columns, controls: dict[str, Columns], **known: Known) -> Lineage:
    """With somebody's word that the controls are of B's recipe."""
    return lineage(("a", a), ("b", b), controls, known, vouched_for=frozenset(controls))


def words(found: Lineage) -> str:
    return " ".join(sentences(found))


# -- the verdict ----------------------------------------------------------------------------------


def test_independent_models_are_not_called_alike() -> None:
    found = []
    for seed in range(40):
        world = World(seed)
        a, b = (world.answers(world.trained()) for _ in range(2))
        found.append(judge(a, b, world.controls(8)).finding)
    # At 95% on both sides, one of 40 is to be expected.
    assert found.count("more alike") <= 1
    assert found.count("withheld") <= 10


@pytest.mark.parametrize("made", [World.distilled, World.fine_tuned, World.quantised])
def test_a_derived_model_is_found_to_be_more_alike(
    made: Callable[[World, Logits], Logits],
) -> None:
    found = []
    for seed in range(10):
        world = World(100 + seed)
        original = world.trained()
        derived = world.answers(made(world, original))
        found.append(judge(world.answers(original), derived, world.controls(8)).finding)
    decided = [finding for finding in found if finding != "withheld"]
    assert len(decided) >= 6
    assert decided.count("more alike") >= len(decided) - 1


def test_a_copy_is_found_and_the_words_accuse_nobody() -> None:
    world = World(7)
    a = world.answers(world.trained())
    found = judge(a, dict(a), world.controls())
    assert found.finding == "more alike"
    assert found.deciding.value is not None
    assert found.deciding.value.estimate == 1
    assert (
        "b makes its mistakes where a does more than a new model trained independently"
    ) in words(found)
    assert "outputs alone can't tell which" in words(found)
    assert "independently of a" in words(found)


def test_no_evidence_is_said_to_be_no_proof() -> None:
    world = World(8)
    a, b = (world.answers(world.trained()) for _ in range(2))
    found = judge(a, b, world.controls())
    assert found.finding in ("inconclusive", "not more alike")
    assert "not evidence that one of a and b was made from the other" in words(found)
    assert "more than" not in words(found).replace("no more than", "")


# -- when it is withheld --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "said"), [(4, "1 more is needed"), (3, "2 more are needed"), (1, "4 more are")]
)
def test_with_too_few_controls_it_says_how_many_more(count: int, said: str) -> None:
    world = World(9)
    a = world.answers(world.trained())
    found = judge(a, dict(a), world.controls(count))
    assert found.finding == "withheld"
    assert found.missing == FEWEST_CONTROLS - count
    assert said in words(found)
    assert all(each.excess is None for each in found.likenesses)
    assert found.deciding.value is not None  # what was measured is shown nevertheless


def test_without_controls_it_says_what_is_needed() -> None:
    world = World(9)
    a, b = (world.answers(world.trained()) for _ in range(2))
    found = judge(a, b, {})
    assert found.finding == "withheld"
    assert "at least 5 independently trained models" in words(found)
    assert "--control" in words(found)


def test_equal_controls_count_once() -> None:
    world = World(10)
    a, b, one = (world.answers(world.trained()) for _ in range(3))
    found = judge(a, b, {name: dict(one) for name in CONTROLS})
    assert found.controls == ("c1",)
    assert found.finding == "withheld"
    assert "c2, c3, c4 and c5, because it gives the same answers as c1" in words(found)
    assert "4 more are needed" in words(found)


@pytest.mark.parametrize("other", ["a", "b"])
def test_a_control_that_is_one_of_the_two_does_not_count(other: str) -> None:
    world = World(11)
    both = {name: world.answers(world.trained()) for name in ("a", "b")}
    controls = world.controls(4) | {"same": dict(both[other])}
    found = judge(both["a"], both["b"], controls)
    assert found.passed_over == {"same": f"it gives the same answers as {other}"}
    assert found.finding == "withheld"


def test_controls_that_are_nearly_equal_accuse_nobody() -> None:
    world = World(12)
    a, b = (world.answers(world.trained()) for _ in range(2))
    trained = world.trained()
    clones = {name: world.answers(world.distilled(trained)) for name in CONTROLS}
    found = judge(a, b, clones)
    assert len(found.controls) == FEWEST_CONTROLS
    assert found.finding != "more alike"


def test_a_control_of_another_accuracy_is_named_and_not_counted() -> None:
    world = World(13)
    a, b = (world.answers(world.trained()) for _ in range(2))
    weak = world.answers(world.trained() + world.rng.normal(0, 3, (N, CLASSES)))
    found = judge(a, b, world.controls(4) | {"weak": weak})
    assert found.finding == "withheld"
    assert list(found.passed_over) == ["weak"]
    assert "Not counted as a control: weak, because its accuracy is" in words(found)
    assert "points below that of b" in words(found)


def test_among_models_that_seldom_err_a_point_of_accuracy_is_much() -> None:
    world = World(14, examples=20_000)
    a, b, near = (world.accurate_to(0.98) for _ in range(3))
    found = judge(a, b, {"near": near, "far": world.accurate_to(0.97)})
    assert found.controls == ("near",)
    world = World(14, examples=20_000)
    a, b = (world.accurate_to(0.80) for _ in range(2))
    found = judge(a, b, {"near": world.accurate_to(0.79)})
    assert found.controls == ("near",)


def test_a_difference_that_few_examples_do_not_establish_passes() -> None:
    world = World(15, examples=60)
    a, b = (world.accurate_to(0.5) for _ in range(2))
    other = {"label": b["label"], "predicted": b["predicted"].copy()}
    wrong = np.flatnonzero(b["label"] != b["predicted"])[:3]
    other["predicted"][wrong] = b["label"][wrong]  # 5 points better, by three examples
    assert judge(a, b, {"c": other}).controls == ("c",)


def test_models_that_are_always_right_have_no_verdict() -> None:
    labels = np.arange(500) % 5
    perfect = {"label": labels, "predicted": labels}
    found = judge(perfect, perfect, dict.fromkeys(CONTROLS, perfect))
    assert found.finding == "withheld"
    assert lineage_text(found).plain
    assert found.deciding.value is None


def test_one_shared_error_among_few_is_no_evidence() -> None:
    labels = np.arange(300) % 5

    def wrong_on(*places: int) -> Columns:
        predicted = labels.copy()
        predicted[list(places)] = (labels[list(places)] + 1) % 5
        return {"label": labels, "predicted": predicted}

    controls = {f"c{place}": wrong_on(place) for place in range(1, 6)}
    found = judge(wrong_on(0), wrong_on(0), controls)
    assert found.finding == "withheld"
    assert "a is wrong on 1 of the 300 examples, but at least 20 mistakes" in words(found)


# -- what is known of the models ------------------------------------------------------------------

SMALL = Architecture(frozenset({"convolution", "dense"}), 10_000)
LARGE = Architecture(frozenset({"convolution", "dense"}), 50_000)
FOREST = Architecture(frozenset({"trees"}), 10_000)


def counted(known: dict[str, Known], vouched_for: frozenset[str] = frozenset()) -> Lineage:
    world = World(16)
    a, b, c = (world.answers(world.trained()) for _ in range(3))
    return lineage(("a", a), ("b", b), {"c": c}, known, vouched_for)


def test_of_unknown_models_somebody_has_to_vouch_for_the_controls() -> None:
    found = counted({})
    assert found.controls == ()
    assert "unknown whether it has the architecture and recipe of b" in words(found)
    assert "--same-recipe" in words(found)
    assert "no control is valid" in words(found)
    assert counted({}, frozenset("c")).controls == ("c",)


@pytest.mark.parametrize("other", [LARGE, FOREST])
def test_another_architecture_does_not_count_whoever_vouches(other: Architecture) -> None:
    known = {"b": Known("b", architecture=SMALL), "c": Known("c", architecture=other)}
    found = counted(known, frozenset("c"))
    assert found.controls == ()
    assert f"it is of another architecture ({other})" in words(found)


def test_the_same_architecture_needs_nobody_to_vouch() -> None:
    same = Architecture(SMALL.families, 12_000)
    known = {"b": Known("b", architecture=SMALL), "c": Known("c", architecture=same)}
    assert counted(known).controls == ("c",)


@pytest.mark.parametrize(("size", "counts"), [(1001, True), (1500, False)])
def test_of_a_stored_run_files_of_one_size_are_of_one_architecture(size: int, counts: bool) -> None:
    known = {"b": Known("b", file_bytes=1000), "c": Known("c", file_bytes=size)}
    assert bool(counted(known).controls) == counts


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"c": Known("c", frozenset("a"))}, "it or a was made from the other"),
        ({"b": Known("b", frozenset("c"))}, "it or b was made from the other"),
        (
            {"a": Known("a", frozenset("x")), "c": Known("c", frozenset("x"))},
            "it was made from x, like a",
        ),
    ],
)
def test_a_relative_is_no_control(known: dict[str, Known], reason: str) -> None:
    assert counted(known, frozenset("c")).passed_over == {"c": reason}


def test_a_control_made_of_another_control_does_not_count() -> None:
    world = World(17)
    a, b, c, d = (world.answers(world.trained()) for _ in range(4))
    known = {"d": Known("d", frozenset("c"))}
    found = judge(a, b, {"c": c, "d": d}, **known)
    assert found.controls == ("c",)


# -- how it is told -------------------------------------------------------------------------------


def test_other_examples_and_one_name_twice_are_refused() -> None:
    one, other = World(1), World(2)
    a, b = one.answers(one.trained()), other.answers(other.trained())
    with pytest.raises(SpecError, match="b was scored on other examples than a"):
        lineage(("a", a), ("b", b), {})
    with pytest.raises(SpecError, match="its own name"):
        lineage(("a", a), ("a", a), {})


@pytest.mark.parametrize("name", ["fashion-student", "[red]x[/red]", "\x1b[31m", "y" * 300])
@pytest.mark.parametrize("count", [0, 2, 5])
def test_the_report_fits_80_columns_and_is_json(name: str, count: int) -> None:
    world = World(18)
    a, b = (world.answers(world.trained()) for _ in range(2))
    controls = world.controls(count)
    if controls:
        controls[name + "c"] = controls.pop("c1")
    found = lineage((name, a), ("b", b), controls, vouched_for=frozenset(controls))
    text = lineage_text(found, 80).plain
    assert max(map(cell_len, text.splitlines())) <= 80
    assert text.replace("\n", "").isprintable()
    row = lineage_row(found)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["controls_missing"] == FEWEST_CONTROLS - count
