"""What drafting is worth, for people and as raw rows."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from bench.numbers import NAME_LIMIT, duration, percent, printable, ratio, significant
from bench.present.columns import SPECULATE_COLUMNS
from bench.present.deal import interval_row
from bench.present.layout import Figure, Line, lay_out, wrap
from bench.stats.interval import Interval
from bench.trials.speculate import AtLength, Speculation

#: What two intervals' ratio may be off by and still be called a prediction that held: our choice.
_HELD = 0.1


def speculation_text(
    found: Sequence[Speculation], original: str, draft: str, width: int = 80
) -> Text:
    """A table and sentences for each target."""
    text = Text(f"{_name(draft)} drafts for {_name(original)}\n")
    lines: list[Line] = []
    for each in found:
        lines.append(Line(_name(each.target)))
        if each.failure:
            lines.append(Line("", "✗", message=printable(each.failure, limit=500)))
        lines += [Line(_tokens(at.length), "·", _figures(at)) for at in each.at]
    text.append_text(lay_out(SPECULATE_COLUMNS, {}, lines, width))
    for each in found:
        for said in sentences(each):
            text.append("\n" + wrap(f"- {said}", width, indent=2))
    text.append("\n" if any(not each.failure for each in found) else "")
    return text


def _figures(at: AtLength) -> dict[str, Figure]:
    return {
        "accepted": Figure(percent(at.accepted)),
        "tokens": Figure(significant(at.tokens)),
        "predicted": Figure(_times(at.predicted)),
        "measured": Figure(_times(at.measured)),
        "whole": Figure(_times(at.whole)),
    }


def sentences(found: Speculation) -> list[str]:
    """What was seen on a target, in plain words."""
    if found.failure:
        return []
    return [
        f"{_name(found.target)}: {_worth(found)}",
        _parts(found),
        _held(found),
        _lossless(found),
    ]


def _worth(found: Speculation) -> str:
    best = found.best
    how = f"{_times(best.measured)} with drafts of {_tokens(best.length)}"
    if best.measured.low > 1:
        return f"drafting makes answers faster, at most {how}."
    if best.measured.high < 1:
        return f"drafting doesn't pay at any length that was tried; the least slow is {how}."
    return f"no gain from drafting is established; the best is {how}."


def _parts(found: Speculation) -> str:
    assert found.agreement is not None
    assert found.draft_step is not None
    agreed = found.agreement
    several = {size: each for size, each in found.checks.items() if size > 1}
    steps = ", ".join(f"{size}: {significant(each.estimate)}" for size, each in several.items())
    return (
        f"The draft predicts {percent(agreed.estimate, agreed.low, agreed.high)} of the "
        f"original's own tokens. A step of the original takes {duration(found.step_ns)}; one of "
        "the draft "
        f"{significant(found.draft_step.estimate)} of that; steps of several tokens at once "
        f"({steps}) times that."
    )


def _held(found: Speculation) -> str:
    off = [at for at in found.at if at.fit.low > 1 + _HELD or at.fit.high < 1 - _HELD]
    if not off:
        return (
            "The prediction from these is within 10% of the measurement, or not "
            "distinguishable from that."
        )
    worst = max(off, key=lambda at: abs(at.fit.estimate - 1))
    return (
        f"The prediction differs from the measurement: with drafts of {_tokens(worst.length)} the "
        f"speed-up is {_times(worst.fit)} of it. The work between the steps (saving and "
        "truncating states, changing lengths) is not part of the prediction."
    )


def _lossless(found: Speculation) -> str:
    how = (
        "rejected tokens are removed from its state"
        if found.cuts
        else "its state can't be truncated, so accepted tokens are processed again after a "
        "rejection"
    )
    if not found.splits:
        return f"All {found.answers} answers are the original's, token for token; {how}."
    nearest = max(split.margin for split in found.splits)
    count = f"{len(found.splits)} of {found.answers} answers diverged from the original's"
    if not found.wrong:
        return f"{count}, each at a near tie (logits at most {nearest:.1e} apart); {how}."
    first = max(found.wrong, key=lambda split: split.margin)
    return (
        f"NOT lossless: {count}, and no tie explains {len(found.wrong)}: at token {first.token} of "
        f"prompt {first.prompt + 1} the two best logits are {first.margin:.1e} of the largest "
        f"apart; {how}."
    )


def _tokens(count: int) -> str:
    return f"{count} token{'s' * (count != 1)}"


def _times(interval: Interval) -> str:
    return ratio(interval.estimate, interval.low, interval.high)


def _name(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)


# -- raw ------------------------------------------------------------------------------------------


def speculation_rows(found: Speculation) -> dict[str, object]:
    """What was found on a target as JSON-ready data."""
    return {
        "target": found.target,
        "failure": found.failure,
        "agreement": interval_row(found.agreement),
        "step_ns": found.step_ns,
        "draft_step": interval_row(found.draft_step),
        "checks": {str(size): interval_row(each) for size, each in found.checks.items()},
        "cuts": found.cuts,
        "lengths": [
            {
                "length": at.length,
                "accepted": at.accepted,
                "tokens": at.tokens,
                **{
                    name: interval_row(getattr(at, name))
                    for name in ("measured", "predicted", "fit", "whole")
                },
            }
            for at in found.at
        ],
        "answers": found.answers,
        "splits": [
            {
                "length": split.length,
                "prompt": split.prompt,
                "token": split.token,
                "margin": split.margin,
                "tie": split.tie,
            }
            for split in found.splits
        ],
        "sentences": sentences(found),
    }
