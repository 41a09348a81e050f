"""What drafting is worth on a target: a real greedy loop, beside what is foretold of it.

Both models are loaded in one worker. Prompt by prompt the original answers alone and with drafts of
each length, in turns of random order; then the original's own answer is read again by both, in
steps of one token and of several. That tells what the loop is foretold from without running it:
what the draft puts first at each token, and how long each kind of step takes.

All intervals come from drawing the prompts again, each with all its turns. Those of the lengths
hold together (Bonferroni): the best of several is looked for, which one interval alone would
flatter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.arrays import Array
from bench.backend import Options
from bench.cards.datasets.examples import Document, Prompt
from bench.cards.language.prompts import prompt_tokens
from bench.cards.language.tokens import Tokens
from bench.decoding import Decoder
from bench.defaults import CONFIDENCE
from bench.errors import BenchError, SpecError
from bench.measure.language.steps import tokenizer_of
from bench.measure.plan import PlannedCell
from bench.runtimes.client import Worker
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.stats.clusters import cluster_intervals, ratio
from bench.stats.interval import Interval
from bench.stats.multiple import simultaneous_confidence
from bench.stats.of_means import OfMeans
from bench.stats.speculation import checks, shares, walk
from bench.worker.messages import ReadText, Speculate, Speculated, TextRead

#: Two logits nearer to each other than this share of the largest are a near tie, which rounding may
#: break either way where several tokens are computed at once: hundreds of float32 roundings. Our
#: choice.
TIE = 1e-4
#: Text that most tokenizers split each in a way of its own.
_PLAIN = "In the beginning God created the heaven and the earth; 1,189 chapters follow (Gen. 1)."


@dataclass(frozen=True)
class Asked:
    """What is tried: prompts [prompts, tokens], how many tokens each answer has, the lengths of
    drafts, and how often (each time in a fresh process)."""

    prompts: Array
    answer: int
    lengths: tuple[int, ...]
    turns: int
    seed: int


@dataclass(frozen=True)
class Split:
    """Where an answer with drafts left the original's: the prompt, the token (from 0), and how far
    the two best logits were apart there, over the largest."""

    length: int
    prompt: int
    token: int
    margin: float

    @property
    def tie(self) -> bool:
        return self.margin <= TIE


@dataclass(frozen=True)
class AtLength:
    """Drafts of one length. Speed-ups are of what comes behind the first token, and ``whole`` those
    of queries with both models' prompts; ``fit`` is the measured over the predicted."""

    length: int
    accepted: float
    tokens: float  #: of an iteration
    measured: Interval
    predicted: Interval
    fit: Interval
    whole: Interval


@dataclass(frozen=True)
class Speculation:
    """What was found on one target, or why nothing was."""

    target: str
    agreement: Interval | None = None  #: of what the draft puts first with the original's answer
    draft_step: Interval | None = None  #: over one of the original's
    checks: Mapping[int, Interval] = field(default_factory=dict)  #: the same by tokens at once
    step_ns: float | None = None  #: of the original, one token
    cuts: bool = False
    at: tuple[AtLength, ...] = ()
    splits: tuple[Split, ...] = ()
    answers: int = 0  #: that were compared, with drafts
    failure: str = ""

    @property
    def best(self) -> AtLength:
        """Where drafting was fastest."""
        return max(self.at, key=lambda one: one.measured.estimate)

    @property
    def wrong(self) -> tuple[Split, ...]:
        """Answers that no tie explains."""
        return tuple(split for split in self.splits if not split.tie)


def prompts_for(planned: PlannedCell, count: int, length: int, seed: int) -> Array:
    """Beginnings of the texts that the model is scored on, each of another document; where there
    are none that are long enough, the text that all language models are timed on."""
    decoder, tokenizer = planned.model.decoder, tokenizer_of(planned.model)
    assert decoder is not None
    data = planned.model.dataset
    texts = (
        [one.text for one in data.language if isinstance(one, Document | Prompt)] if data else []
    )
    if tokenizer is None or not texts:
        return prompt_tokens(decoder, tokenizer, count, length, seed)
    tokens, found = Tokens(tokenizer), []
    begun = [] if tokens.first is None else [tokens.first]
    for place in np.random.default_rng(seed).permutation(len(texts)):
        ids = np.array([*begun, *tokens.ids(texts[place])], np.int64)[:length]
        if len(ids) == length:
            found.append(ids)
        if len(found) == count:
            return np.stack(found)
    return prompt_tokens(decoder, tokenizer, count, length, seed)


def check_answer(answer: int, lengths: Sequence[int]) -> None:
    """Raise `SpecError` where no whole draft fits into an answer, so that its check isn't timed."""
    longest = max(lengths)
    if answer < 2 * longest + 3:
        raise SpecError(
            f"--answer {answer}: drafts of {longest} tokens need answers of {2 * longest + 3} or "
            "more. Give a larger --answer, or a smaller --length."
        )


def check_vocabularies(original: PlannedCell, draft: PlannedCell) -> None:
    """Raise `SpecError` where one model's ids aren't the other's."""
    mine, its = original.model, draft.model
    names = f"{mine.card.name} and {its.card.name}"
    if mine.decoder is None or its.decoder is None:
        raise SpecError(f"{names}: both need a token cache: drafting is for language models.")
    one, other = mine.decoder.vocabulary, its.decoder.vocabulary
    if one != other:
        raise SpecError(
            f"{names}: their vocabularies have {one} and {other} tokens, so one can't draft for "
            "the other. A student with its original's tokenizer can: bench model distill."
        )
    paths = tokenizer_of(mine), tokenizer_of(its)
    if None in paths:
        return
    one_text, other_text = (Tokens(path).ids(_PLAIN) for path in paths if path is not None)
    if not np.array_equal(one_text, other_text):
        raise SpecError(
            f"{names}: their tokenizers split text into other ids, so one can't draft for the "
            "other. A student with its original's tokenizer can: bench model distill."
        )


def speculate(
    original: PlannedCell,
    draft: PlannedCell,
    asked: Asked,
    launcher: Launcher,
    say: Callable[[str], None],
) -> Speculation:
    """Both on the target of their cells. What goes wrong there is told in the answer."""
    target = str(original.choice.target)
    try:
        for planned in (original, draft):
            if planned.refused is not None:
                raise planned.refused
        turns = []
        for turn in range(asked.turns):
            say(f"drafting on {target}, turn {turn + 1} of {asked.turns}")
            turns.append(_turn(original, draft, asked, turn, launcher))
    except BenchError as error:
        return Speculation(target, failure=str(error))
    return found_in(target, asked, turns)


@dataclass(frozen=True)
class Answers:
    """What was made of one prompt in one turn: answers by length of the drafts (0 is the original
    alone), its answer as the draft reads it, and as the original does by tokens at once."""

    said: Mapping[int, Speculated]
    foreseen: TextRead
    read: Mapping[int, TextRead]


def _turn(
    original: PlannedCell, draft: PlannedCell, asked: Asked, turn: int, launcher: Launcher
) -> list[Answers]:
    """All prompts in a fresh worker, the first of them twice: what a process does for the first
    time isn't timed."""
    rng = np.random.default_rng([asked.seed, turn])
    choice = original.choice
    assert choice.device is not None
    with loaded_worker(
        launcher, choice.runtime, choice.device, original.file, _options(original)
    ) as (worker, _):
        worker.load_draft(draft.file, choice.device, _options(draft))
        described = _described(original), _described(draft)
        _answers(worker, described, asked.prompts[0], asked, rng)
        order = rng.permutation(len(asked.prompts))
        found = {
            int(place): _answers(worker, described, asked.prompts[place], asked, rng)
            for place in order
        }
    return [found[place] for place in sorted(found)]


def _options(planned: PlannedCell) -> Options:
    """Without shapes: steps are of many lengths."""
    options = planned.options
    return Options(options.threads, options.allow_fallback, extra=options.extra)


def _described(planned: PlannedCell) -> str:
    decoder: Decoder | None = planned.model.decoder
    assert decoder is not None
    return decoder.to_json()


def _answers(
    worker: Worker,
    described: tuple[str, str],
    prompt: Array,
    asked: Asked,
    rng: np.random.Generator,
) -> Answers:
    said = {
        int(length): worker.speculate(Speculate(*described, prompt, asked.answer, int(length)))
        for length in rng.permutation([0, *asked.lengths])
    }
    text = said[0].tokens[:-1]
    sizes = known_sizes(asked, cuts=said[0].cuts)
    read = {
        int(size): worker.read_text(ReadText(described[0], False, prompt, text, int(size)))
        for size in rng.permutation(sizes)
    }
    foreseen = worker.read_text(ReadText(described[1], True, prompt, text, 1))
    return Answers(said, foreseen, read)


def known_sizes(asked: Asked, *, cuts: bool) -> list[int]:
    """The steps that are timed: one token, and each draft with the token before it. A state that
    can't be cut makes longer ones (`bench.stats.speculation.checks`)."""
    longest = max(asked.lengths)
    sizes = {1, *(length + 1 for length in asked.lengths), *([] if cuts else [2 * longest + 1])}
    return sorted(sizes)


# -- from answers to figures ----------------------------------------------------------------------


def found_in(target: str, asked: Asked, turns: Sequence[Sequence[Answers]]) -> Speculation:
    """The figures of all turns, each a list with an entry for each prompt."""
    prompts = [[turn[place] for turn in turns] for place in range(len(turns[0]))]
    cuts = prompts[0][0].said[0].cuts
    sizes = known_sizes(asked, cuts=cuts)
    steps = np.array([[_step_ns(each, size) for size in sizes] for each in prompts])
    drafts = np.array(
        [np.concatenate([one.foreseen.step_ns for one in each]).mean() for each in prompts]
    )
    agreed = [each[0].foreseen.predicted == each[0].said[0].tokens[1:] for each in prompts]
    told = [
        _ratio(drafts, steps[:, 0]),
        *(_ratio(steps[:, i], steps[:, 0]) for i in range(len(sizes))),
    ]
    share = ratio(
        np.array([each.sum() for each in agreed]), np.array([len(each) for each in agreed])
    )
    agreement, draft_step, *by_size = _intervals([share, *told])
    return Speculation(
        target,
        agreement=agreement,
        draft_step=draft_step,
        checks=dict(zip(sizes, by_size, strict=True)),
        step_ns=float(steps[:, 0].mean()),
        cuts=cuts,
        at=tuple(
            _at(length, asked, prompts, agreed, steps, drafts, sizes, cuts=cuts)
            for length in asked.lengths
        ),
        splits=tuple(_splits(asked, prompts)),
        answers=len(prompts) * len(asked.lengths) * len(turns),
    )


def _step_ns(each: Sequence[Answers], size: int) -> float:
    """Of a prompt the mean time of a step of ``size`` tokens along its answer, over all turns."""
    return float(np.concatenate([one.read[size].step_ns for one in each]).mean())


def _at(
    length: int,
    asked: Asked,
    prompts: Sequence[Sequence[Answers]],
    agreed: Sequence[Array],
    steps: Array,
    drafts: Array,
    sizes: Sequence[int],
    *,
    cuts: bool,
) -> AtLength:
    foretold = []
    for each, step_ns, draft_ns in zip(agreed, steps, drafts, strict=True):
        walked = walk(each, length)
        parts = shares(checks(walked, length, cuts=cuts), sizes)
        assert parts is not None, "the longest step is known"
        foretold.append(parts @ step_ns + walked.drafted.sum() * draft_ns)
    said = [[one.said[length] for one in each] for each in prompts]
    alone = [[one.said[0] for one in each] for each in prompts]
    took = np.array([sum(one.rest_ns for one in each) for each in said], np.float64)
    took_alone = np.array([sum(one.rest_ns for one in each) for each in alone], np.float64)
    whole = took + [sum(one.prompt_ns for one in each) for each in said]
    whole_alone = took_alone + [sum(one.prompt_ns for one in each) for each in alone]
    predicted = (asked.answer - 1) * steps[:, 0], np.array(foretold)
    fit = np.stack([took_alone, took, *predicted], axis=1)
    measured, expected, over, entire = _intervals(
        [
            _ratio(took_alone, took),
            _ratio(*predicted),
            OfMeans(fit, lambda m: m[..., 0] / m[..., 1] / (m[..., 2] / m[..., 3])),
            _ratio(whole_alone, whole),
        ],
        simultaneous_confidence(len(asked.lengths), CONFIDENCE),
    )
    drafted = sum(int(one.drafted.sum()) for each in said for one in each)
    accepted = sum(int(one.accepted.sum()) for each in said for one in each)
    iterations = sum(len(one.accepted) for each in said for one in each)
    return AtLength(
        length,
        accepted=accepted / max(1, drafted),
        tokens=(accepted + iterations) / iterations,
        measured=measured,
        predicted=expected,
        fit=over,
        whole=entire,
    )


def _ratio(over: Array, under: Array) -> OfMeans:
    return ratio(np.asarray(over, np.float64), np.asarray(under, np.float64))


def _intervals(statistics: Sequence[OfMeans], confidence: float = CONFIDENCE) -> list[Interval]:
    unknown = Interval(np.nan, np.nan, np.nan, confidence)
    return [
        each if each is not None else unknown for each in cluster_intervals(statistics, confidence)
    ]


def _splits(asked: Asked, prompts: Sequence[Sequence[Answers]]) -> list[Split]:
    """Where an answer is another one than the original's alone, of the same turn."""
    found = []
    for place, each in enumerate(prompts):
        for one in each:
            for length in asked.lengths:
                differs = np.flatnonzero(one.said[length].tokens != one.said[0].tokens)
                if len(differs):
                    token = int(differs[0])
                    margin = float(one.said[0].margins[token])
                    found.append(Split(length, place, token, margin))
    return found
