"""How far language models go on alike by themselves: greedy answers beside the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.arrays import Array
from bench.backend import Options
from bench.decoding import Decoder
from bench.errors import BenchError
from bench.measure.language.texts import Window, scored
from bench.measure.listener import Listener
from bench.measure.plan import PlannedCell
from bench.record.certificate import Answers, Condition
from bench.runtimes.loaded import loaded_worker
from bench.runtimes.processes import Launcher
from bench.store.certificates import Evidence
from bench.trials.certify.passes import Cast
from bench.trials.certify.samples import other_threads
from bench.trials.certify.texts import Texts
from bench.worker.messages import GoOn

#: Texts that are gone on with, unless somebody says otherwise.
PROMPTS = 32
#: Tokens of an answer; half the context where that is less.
_ANSWERED = 64


def go_on_alone(
    found: Cast,
    examiner: Texts,
    launcher: Launcher,
    evidence: Evidence,
    listener: Listener,
    prompts: int,
) -> tuple[Answers, ...]:
    """The reference's greedy answers, once more by itself and with another thread count, and those
    of each party that sees the same tokens.

    A party that can't answer costs its own. Nothing where the reference can't, or nothing is asked.
    """
    reference = found.reference
    asked = _asked(examiner, reference, prompts)
    if not asked:
        return ()
    listener.phase(f"{len(asked)} greedy answers of {_words(reference)}")
    try:
        said = _said(examiner, reference, asked, launcher)
        gaps = _gaps(examiner, reference, asked, said, launcher)
    except BenchError as error:
        return (Answers(party=0, condition="plain", failure=str(error)),)
    told = []

    def compared(party: int, condition: Condition, planned: PlannedCell) -> None:
        try:
            rows = rows_of(said, _said(examiner, planned, asked, launcher), gaps)
        except BenchError as error:
            told.append(Answers(party=party, condition=condition, failure=str(error)))
        else:
            told.append(Answers(party=party, condition=condition, rows=evidence.keep(rows)))

    listener.phase(f"the same again of {_words(reference)}")
    compared(0, "again", reference)
    compared(0, "threads", _with_other_threads(reference))
    split = examiner.view(reference).split
    for place, planned in enumerate(found.candidates, start=1):
        if planned.choice.unavailable or planned.refused:
            continue
        try:
            same = examiner.view(planned).split == split
        except BenchError:  # which its pass has told
            continue
        if same:
            listener.phase(f"{len(asked)} greedy answers of {_words(planned)}")
            compared(place, "plain", planned)
    return tuple(told)


def rows_of(
    reference: Sequence[Array], candidate: Sequence[Array], gaps: Sequence[Array]
) -> dict[str, Array]:
    """The columns that `bench.judge.certify.running` reads, a row an answer. ``gaps`` are, at each
    token of the reference's answers, how much likelier it was than the next."""
    first = np.array([_first_other(a, b) for a, b in zip(reference, candidate, strict=True)])
    return {
        "tokens": np.array([len(answer) for answer in reference], np.int64),
        "first": first,
        "gap": np.array(
            [
                np.nan if place < 0 else float(gap[min(place, len(gap) - 1)])
                for place, gap in zip(first, gaps, strict=True)
            ]
        ),
    }


def _first_other(one: Array, other: Array) -> int:
    """The place of the first token that isn't the same in both, -1 where there is none."""
    count = min(len(one), len(other))
    differ = np.flatnonzero(one[:count] != other[:count])
    if len(differ):
        return int(differ[0])
    return -1 if len(one) == len(other) else count


def _answered(decoder: Decoder) -> int:
    return _ANSWERED if decoder.context is None else min(_ANSWERED, decoder.context // 2)


def _asked(examiner: Texts, reference: PlannedCell, prompts: int) -> list[Array]:
    """The beginnings of the first texts that the context holds with an answer."""
    view = examiner.view(reference)
    context = view.decoder.context
    room = None if context is None else context - _answered(view.decoder)
    fit = [ids for ids in view.starts if len(ids) and (room is None or len(ids) <= room)]
    return fit[:prompts]


def _said(
    examiner: Texts, planned: PlannedCell, asked: Sequence[Array], launcher: Launcher
) -> list[Array]:
    """What a party goes on with; nothing ends an answer but its length, so that all are as long."""
    decoder = examiner.view(planned).decoder
    described, most = decoder.to_json(), _answered(decoder)
    options, choice = planned.options, planned.choice
    options = Options(options.threads, options.allow_fallback, extra=options.extra)
    ends = np.array([], np.int64)
    with loaded_worker(launcher, choice.runtime, choice.device, planned.file, options) as (
        worker,
        _,
    ):
        return [worker.go_on(GoOn(described, ids, ends, most)) for ids in asked]


def _gaps(
    examiner: Texts,
    reference: PlannedCell,
    asked: Sequence[Array],
    said: Sequence[Array],
    launcher: Launcher,
) -> list[Array]:
    """At each token of the reference's answers, how much likelier it was than the next, in nats."""
    every = [_behind(ids, answer) for ids, answer in zip(asked, said, strict=True)]
    found = scored(reference, examiner.view(reference).decoder, every, launcher, ())
    gaps = found.best[:, 0].astype(np.float64) - found.best[:, 1]
    ends = np.cumsum([len(answer) for answer in said])
    return list(np.split(gaps, ends[:-1]))


def _behind(ids: Array, answer: Array) -> Window:
    """An answer's tokens as what comes behind its prompt."""
    together = np.concatenate([ids, answer])
    targets = together[1:].copy()
    targets[: len(ids) - 1] = -1
    return Window(together[:-1], targets)


def _with_other_threads(planned: PlannedCell) -> PlannedCell:
    threads = other_threads(planned.options.threads)
    return replace(planned, options=replace(planned.options, threads=threads))


def _words(planned: PlannedCell) -> str:
    return f"{planned.cell.model.name} on {planned.choice.target}"
