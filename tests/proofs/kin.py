"""How often `bench debug lineage` takes independently trained models for relatives, and
relatives for relatives.

Small classifiers are trained by the hundred on data that ship: Fashion-MNIST's test images (6,000
to draw training sets from, 4,000 to compare on) and scikit-learn's digits (600 and 1,197). One
trial is ten independent models of one kind: a pair and eight that may be its controls. No model is
in two trials, so trials are independent of each other but for the data they draw from.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from engine import HERE, Finding, report
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor
from torch.nn import functional

from bench.arrays import Array
from bench.cards.tasks.base import Columns
from bench.judge.kin import Classes, Compared, quality_gap
from bench.judge.lineage import FEWEST_CONTROLS, lineage, matrices
from bench.judge.lineage import Finding as Verdict
from bench.stats.kinship import kinship
from bench.stats.proportion import clopper_pearson

MODELS = 10  #: of a trial: a pair, and eight to choose controls from
BATCH = 50
PROCESSES = 2
CLASSES = Classes()
Parameters = list[Tensor]


@dataclass(frozen=True)
class Data:
    """Images of shape (n, 1, side, side), labels, and which are trained and which compared on."""

    images: Tensor
    labels: Tensor
    training: Array
    test: Array


@cache
def data(name: str) -> Data:
    if name == "digits":
        images, labels = load_digits(return_X_y=True)
        shaped = torch.from_numpy(images.reshape(-1, 1, 8, 8).astype(np.float32)) / 8 - 1
        size = 600
    else:
        stored = np.load(HERE.parents[1] / "models" / "data" / "fashion-mnist-test.npz")
        labels = stored["labels"]
        pixels = torch.from_numpy(stored["images"].astype(np.float32))[:, None]
        shaped = functional.avg_pool2d((pixels / 255 - 0.286) / 0.353, 2)  # 14 x 14: fast
        size = 6000
    order = np.random.default_rng(0).permutation(len(labels))
    return Data(shaped, torch.from_numpy(labels.astype(np.int64)), order[:size], order[size:])


# -- many networks trained at once ----------------------------------------------------------------


def dense(count: int, side: int, generator: torch.Generator) -> Parameters:
    """First weights of ``count`` networks with one hidden layer."""
    inputs, hidden = side * side, 32
    return [
        torch.randn(count, inputs, hidden, generator=generator) * math.sqrt(2 / inputs),
        torch.zeros(count, 1, hidden),
        torch.randn(count, hidden, 10, generator=generator) * math.sqrt(1 / hidden),
        torch.zeros(count, 1, 10),
    ]


def dense_logits(parameters: Parameters, images: Tensor) -> Tensor:
    """Images (count, n, 1, side, side), an own row for each network; logits (count, n, 10)."""
    first, bias, last, last_bias = parameters
    hidden = torch.relu(torch.baddbmm(bias, images.flatten(2), first))
    return torch.baddbmm(last_bias, hidden, last)


def convolutional(count: int, side: int, generator: torch.Generator) -> Parameters:
    """First weights of ``count`` networks of two convolutions of stride 2."""
    flat = 16 * math.ceil(side / 4) ** 2
    return [
        torch.randn(count * 8, 1, 3, 3, generator=generator) * math.sqrt(2 / 9),
        torch.zeros(count * 8),
        torch.randn(count * 16, 8, 3, 3, generator=generator) * math.sqrt(2 / 72),
        torch.zeros(count * 16),
        torch.randn(count, flat, 10, generator=generator) * math.sqrt(1 / flat),
        torch.zeros(count, 1, 10),
    ]


def convolutional_logits(parameters: Parameters, images: Tensor) -> Tensor:
    """The same by grouped convolutions, a group for each network."""
    one, one_bias, two, two_bias, last, last_bias = parameters
    count = len(images)
    x = images[:, :, 0].transpose(0, 1)
    for weights, bias in ((one, one_bias), (two, two_bias)):
        x = torch.relu(functional.conv2d(x, weights, bias, 2, padding=1, groups=count))
    flat = x.reshape(len(x), count, -1).transpose(0, 1)
    return torch.baddbmm(last_bias, flat, last)


@dataclass(frozen=True)
class Kind:
    """Models of one make: ``examples`` a training set, of ``epochs`` passes; ``shared`` where all
    train on the same set and only seeds differ."""

    name: str
    data: str
    begin: Callable[[int, int, torch.Generator], Parameters]
    logits: Callable[[Parameters, Tensor], Tensor]
    examples: int
    epochs: int
    shared: bool = False

    def training_sets(self, count: int, rng: np.random.Generator) -> Tensor:
        pool = data(self.data).training
        if self.shared:
            rows = [rng.choice(pool, self.examples, replace=False)] * count
        else:
            rows = [rng.choice(pool, self.examples, replace=False) for _ in range(count)]
        return torch.from_numpy(np.stack(rows))

    def train(
        self,
        rows: Tensor,
        seed: int,
        begin: Parameters | None = None,
        epochs: int | None = None,
        rate: float = 3e-3,
        teach: Callable[[Tensor], Tensor] | None = None,
    ) -> Parameters:
        """One network for each row of training examples: Adam, its rate falling to 0. ``teach``
        gives logits to learn instead of the labels (Hinton et al. 2015, temperature 2)."""
        generator = torch.Generator().manual_seed(seed)
        all_data = data(self.data)
        count, examples = rows.shape
        first = begin or self.begin(count, all_data.images.shape[-1], generator)
        parameters = [p.detach().clone().requires_grad_() for p in first]
        optimiser = torch.optim.Adam(parameters, lr=rate)
        steps = (epochs or self.epochs) * (examples // BATCH)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
        for _ in range(epochs or self.epochs):
            order = torch.stack([torch.randperm(examples, generator=generator) for _ in rows])
            for start in range(0, examples - BATCH + 1, BATCH):
                batch = rows.gather(1, order[:, start : start + BATCH])
                images = all_data.images[batch]
                found = self.logits(parameters, images).flatten(0, 1)
                if teach is None:
                    loss = functional.cross_entropy(found, all_data.labels[batch].flatten())
                else:
                    wanted = functional.softmax(teach(images).flatten(0, 1) / 2, 1)
                    loss = 4 * functional.cross_entropy(found / 2, wanted)
                optimiser.zero_grad()
                (loss * count).backward()
                optimiser.step()
                schedule.step()
        return [p.detach() for p in parameters]

    def predictions(self, parameters: Parameters, count: int) -> list[Columns]:
        """Of the examples to compare on."""
        known = data(self.data)
        found = []
        with torch.inference_mode():
            for chunk in np.array_split(known.test, 8):
                images = known.images[torch.from_numpy(chunk)]
                each = images.expand(count, *images.shape)
                found.append(self.logits(parameters, each).argmax(-1))
        labels = known.labels[torch.from_numpy(known.test)].numpy()
        return [{"label": labels, "predicted": p} for p in torch.cat(found, 1).numpy()]


@dataclass(frozen=True)
class Forests:
    """Random forests, each of its own training set."""

    name: str
    examples: int = 1000

    def independent(self, seed: int) -> list[Columns]:
        known = data("fashion")
        rng = np.random.default_rng(seed)
        flat, labels = known.images.flatten(1).numpy(), known.labels.numpy()
        found = []
        for place in range(MODELS):
            rows = rng.choice(known.training, self.examples, replace=False)
            forest = RandomForestClassifier(12, random_state=1000 * seed + place)
            predicted = forest.fit(flat[rows], labels[rows]).predict(flat[known.test])
            found.append({"label": labels[known.test], "predicted": predicted})
        return found


DENSE = Kind("dense networks, Fashion-MNIST", "fashion", dense, dense_logits, 1500, 8)
SAME_DATA = Kind(
    "dense networks, Fashion-MNIST, all on the same training set",
    "fashion",
    dense,
    dense_logits,
    1500,
    8,
    shared=True,
)
CONVOLUTIONAL = Kind(
    "convolutional networks, Fashion-MNIST",
    "fashion",
    convolutional,
    convolutional_logits,
    1500,
    6,
)
DIGITS = Kind("dense networks, digits", "digits", dense, dense_logits, 300, 25)
FORESTS = Forests("random forests, Fashion-MNIST")
#: Trials of each kind.
TRIALS: dict[Kind | Forests, int] = {
    DENSE: 40,
    SAME_DATA: 30,
    CONVOLUTIONAL: 24,
    FORESTS: 16,
    DIGITS: 40,
}
#: So many of each kind derive models of the first too, and are judged by controls of another kind.
TRIALS_OF_POWER = 12
DERIVED = ("copied", "quantised to 8 bits", "fine-tuned", "distilled")


# -- a trial --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """What was said of one trial's models.

    ``verdict`` is that of the independent pair by the first five controls that count, ``by_all``
    whether it is accused by all that count; ``choices`` how many of the choices of five accuse it,
    and how many there are; ``pairs`` the same for all pairs of the trial, five controls each;
    ``related`` the verdict of what was derived of the first; ``alien`` that of the pair by controls
    of another kind.
    """

    kind: str
    verdict: Verdict
    by_all: bool
    choices: tuple[int, int]
    pairs: tuple[int, int]
    related: dict[str, Verdict] = field(default_factory=dict)
    alien: Verdict | None = None


def trial(kind: Kind | Forests, seed: int, number: int) -> Trial:
    """Train ten models, and in the first trials what is derived of the first; judge all."""
    torch.set_num_threads(1)
    if isinstance(kind, Forests):
        return judged(kind.name, kind.independent(seed))
    rng = np.random.default_rng(seed)
    parameters = kind.train(kind.training_sets(MODELS, rng), seed)
    models = kind.predictions(parameters, MODELS)
    if number >= TRIALS_OF_POWER:
        return judged(kind.name, models)
    original = first_of(parameters)
    derived = {
        name: kind.predictions(made, 1)[0] for name, made in relatives(kind, original, rng, seed)
    }
    alien = None
    if kind is DENSE:
        others = CONVOLUTIONAL.train(CONVOLUTIONAL.training_sets(8, rng), seed)
        controls = CONVOLUTIONAL.predictions(others, 8)
        alien = verdict(models[0], models[1], controls)
    related = {name: verdict(models[0], made, models[1:]) for name, made in derived.items()}
    return judged(kind.name, models, related, alien)


def first_of(parameters: Parameters) -> Parameters:
    """The first of several networks that were trained at once."""
    return [p[: len(p) // MODELS] for p in parameters]


def relatives(
    kind: Kind, original: Parameters, rng: np.random.Generator, seed: int
) -> Iterator[tuple[str, Parameters]]:
    """What is derived from the original: it saw none of the original's training examples on
    purpose, and other seeds."""
    yield "copied", original
    yield "quantised to 8 bits", [rounded(p) for p in original]
    fresh = kind.training_sets(1, rng)
    tuned = kind.train(fresh, seed + 1, original, max(1, kind.epochs // 4), 5e-4)
    yield "fine-tuned", tuned
    pool = data(kind.data).training
    transfer = rng.choice(pool, min(2 * kind.examples, len(pool)), replace=False)
    rows = torch.from_numpy(transfer)[None]

    def teach(images: Tensor) -> Tensor:
        with torch.no_grad():
            return kind.logits(original, images)

    yield "distilled", kind.train(rows, seed + 2, epochs=2 * kind.epochs, teach=teach)


def rounded(values: Tensor) -> Tensor:
    """To 255 steps of one scale, as weights are by symmetric 8-bit quantisation."""
    scale = values.abs().max() / 127
    return values if scale == 0 else torch.round(values / scale) * scale


def verdict(
    a: Columns, b: Columns, candidates: Sequence[Columns], compared: Compared = CLASSES
) -> Verdict:
    """What `bench debug lineage` finds by the first five candidates of B's accuracy, with
    somebody's word that they are of its recipe."""
    fit = [each for each in candidates if quality_gap(compared, each, b) is None]
    named = {f"control {place}": each for place, each in enumerate(fit[:FEWEST_CONTROLS])}
    return lineage(("a", a), ("b", b), named, vouched_for=frozenset(named)).finding


def judged(
    kind: str,
    models: list[Columns],
    related: dict[str, Verdict] | None = None,
    alien: Verdict | None = None,
) -> Trial:
    a, b, *controls = models
    measured = matrices(CLASSES, models, [CLASSES.deciding])[CLASSES.deciding]
    fit = _fit(models, 0, 1)
    accused = [accuses(measured, (0, 1, *chosen)) for chosen in itertools.combinations(fit, 5)]
    pairs = []
    for one, other in itertools.combinations(range(MODELS), 2):
        rest = _fit(models, one, other)
        if len(rest) >= FEWEST_CONTROLS:
            pairs.append(accuses(measured, (one, other, *rest[:FEWEST_CONTROLS])))
    return Trial(
        kind,
        verdict(a, b, controls),
        len(fit) >= FEWEST_CONTROLS and accuses(measured, (0, 1, *fit)),
        (sum(accused), len(accused)),
        (sum(pairs), len(pairs)),
        related or {},
        alien,
    )


def _fit(models: list[Columns], a: int, b: int) -> list[int]:
    """Which of the other models are of B's accuracy."""
    others = (place for place in range(MODELS) if place not in (a, b))
    return [place for place in others if quality_gap(CLASSES, models[place], models[b]) is None]


def accuses(measured: tuple[Array, Array], chosen: tuple[int, ...]) -> bool:
    """Whether the first two are found more alike than the others make expect."""
    values, resampled = measured
    found = kinship(
        values[np.ix_(chosen, chosen)], resampled[:, np.array(chosen)[:, None], np.array(chosen)]
    )
    return found is not None and found.excess.low > 0


# -- the figures ----------------------------------------------------------------------------------


def prove(quick: bool) -> None:
    """Train and judge every trial, two at a time."""
    wanted = [
        (kind, 1000 * place + number, number)
        for place, (kind, count) in enumerate(TRIALS.items(), 1)
        for number in range(3 if quick else count)
    ]
    context = multiprocessing.get_context("spawn")
    trials = []
    with ProcessPoolExecutor(PROCESSES, context) as pool:
        for done in pool.map(trial, *zip(*wanted, strict=True)):
            trials.append(done)
            if len(trials) % 10 == 0:
                print(f"  {len(trials)} of {len(wanted)} trials", flush=True)
    report("lineage", findings(trials), details(trials))


def findings(trials: Sequence[Trial]) -> list[Finding]:
    """False alarms, then power."""
    found = [alarms("independent models found to be more alike, five controls", trials)]
    for kind in dict.fromkeys(t.kind for t in trials):
        found.append(alarms(f"the same, {kind}", [t for t in trials if t.kind == kind], None))
    accused = sum(t.by_all for t in trials)
    found.append(
        Finding(
            "the same, all controls that count, five to eight",
            share(accused, len(trials)),
            "at most 5%",
            accused / len(trials) <= 0.05,
        )
    )
    found += [*_choices(trials), _all_pairs(trials)]
    found += [_power(name, [t for t in trials if name in t.related]) for name in DERIVED]
    aliens = [t.alien == "more alike" for t in trials if t.alien is not None]
    if aliens:
        found.append(
            Finding(
                "independent dense networks found to be more alike where somebody vouches for "
                "convolutional controls",
                share(sum(aliens), len(aliens)),
                "-",
                None,
            )
        )
    return found


def share(count: int, of: int) -> str:
    """A share with its exact interval; the units have to be independent."""
    if of == 0:
        return "none judged"
    found = clopper_pearson(count, of)
    return (
        f"{count} of {of} ({found.estimate:.1%}; 95% interval {found.low:.1%} to {found.high:.1%})"
    )


def alarms(claim: str, trials: Sequence[Trial], most: float | None = 0.05) -> Finding:
    seen = [t.verdict for t in trials if t.verdict != "withheld"]
    count, aside = sum(v == "more alike" for v in seen), len(trials) - len(seen)
    words = f"{share(count, len(seen))}; withheld for {aside} more"
    if most is None or not seen:
        return Finding(claim, words, "-", None)
    met = clopper_pearson(count, len(seen)).high <= most
    return Finding(claim, words, f"at most {most:.0%}, and so the whole interval", met)


def _choices(trials: Sequence[Trial]) -> list[Finding]:
    judged_at_all = [t.choices for t in trials if t.choices[1]]
    mean = float(np.mean([accused / of for accused, of in judged_at_all]))
    worst = sum(accused > 0 for accused, _ in judged_at_all)
    most = max(of for _, of in judged_at_all)
    return [
        Finding(
            "the same over all choices of five of the eight, mean of the pairs",
            f"{mean:.2%} of up to {most} choices a pair",
            "at most 5%",
            mean <= 0.05,
        ),
        Finding(
            "pairs that some choice of five of the eight accuses",
            share(worst, len(judged_at_all)),
            "at most 5%",
            worst / len(judged_at_all) <= 0.05,
        ),
    ]


def _all_pairs(trials: Sequence[Trial]) -> Finding:
    count, of = (sum(t.pairs[place] for t in trials) for place in (0, 1))
    return Finding(
        "all pairs of the ten models of a trial, five controls each (they share models, so no "
        "interval)",
        f"{count} of {of} ({count / of:.2%})",
        "at most 5%",
        count / of <= 0.05,
    )


def _power(name: str, trials: Sequence[Trial]) -> Finding:
    """Of one way of deriving a model: found, of those that were judged."""
    verdicts = [t.related[name] for t in trials]
    seen = [v for v in verdicts if v != "withheld"]
    found = sum(v == "more alike" for v in seen)
    words = f"{share(found, len(seen))}; withheld for {len(verdicts) - len(seen)} more"
    met = len(seen) > 0 and found / len(seen) >= 0.9
    return Finding(f"networks found to be related when {name}, five controls", words, "90%", met)


def details(trials: Sequence[Trial]) -> dict[str, Any]:
    return {
        "trials": [
            {
                "kind": t.kind,
                "verdict": t.verdict,
                "accused_by_all_controls": t.by_all,
                "choices_accusing": t.choices,
                "pairs_accused": t.pairs,
                "derived": t.related,
                "other_architecture": t.alien,
            }
            for t in trials
        ]
    }
