"""Pairs of models in sentences: what holds on several targets is said once, with its exceptions."""

from __future__ import annotations

from collections.abc import Sequence

from bench.judge.pairs import Pair
from bench.numbers import NAME_LIMIT, printable, ratio
from bench.present.pairs import accuracy_words, object_of, sentence, subject


def once(pairs: Sequence[Pair]) -> list[str]:
    """One sentence for the targets of two models that agree, and one for each that doesn't."""
    by_models: dict[tuple[str, ...], list[Pair]] = {}
    for pair in pairs:
        key = (pair.model, pair.variant, pair.other, pair.other_variant)
        by_models.setdefault(key, []).append(pair)
    return [text for found in by_models.values() for text in _said(found)]


def _said(pairs: Sequence[Pair]) -> list[str]:
    """The largest number of targets that agree first, the exceptions after it."""
    agreeing: dict[tuple[object, ...], list[Pair]] = {}
    for pair in pairs:
        agreeing.setdefault(_verdict(pair), []).append(pair)
    found = []
    for alike in sorted(agreeing.values(), key=len, reverse=True):
        if len(alike) == 1 or alike[0].speedup is None or alike[0].contended:
            found += [sentence(pair) for pair in alike]
        else:
            found.append(_together(alike, everywhere=len(alike) == len(pairs)))
    return found


def _verdict(pair: Pair) -> tuple[object, ...]:
    """What two sentences have to share, the speeds themselves aside."""
    speed = pair.speedup.verdict if pair.speedup else pair.missing
    return speed, pair.contended, accuracy_words(pair.accuracy)


def _together(pairs: Sequence[Pair], *, everywhere: bool) -> str:
    first = pairs[0]
    assert first.speedup is not None
    names = ", ".join(printable(pair.target, limit=NAME_LIMIT) for pair in pairs)
    where = f"all {len(pairs)} targets" if everywhere and len(pairs) > 2 else names
    model, other = subject(first), object_of(first)
    values = sorted(pair.speedup.value for pair in pairs if pair.speedup)
    span = f"{ratio(values[0])} to {ratio(values[-1])}"
    accuracy = accuracy_words(first.accuracy)
    established = first.accuracy is not None and first.accuracy.significant
    if first.speedup.verdict == "unclear":
        speed = f"no speed difference was established between {model} and {other} ({span})"
        return f"On {where} {speed}; {f'{model} is ' if established else ''}{accuracy}."
    joint = " and" if established else ";"
    return f"On {where} {model} is {span} as fast as {other}{joint} {accuracy}."
