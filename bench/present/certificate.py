"""A certificate for people: the verdicts, and the evidence line by line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from rich.text import Text

from bench.numbers import NAME_LIMIT, percent, printable, significant
from bench.present.layout import wrap
from bench.record.certificate import (
    Certificate,
    Decisions,
    Distributions,
    Finding,
    FreeRunning,
    Numbers,
)
from bench.record.result import Estimate
from bench.variants import in_words

WORDS = {
    "same": "same",
    "equivalent": "different but equivalent",
    "degraded": "degraded",
    "inconclusive": "inconclusive",
}
_STYLES = {"same": "green", "equivalent": "green", "degraded": "red", "inconclusive": "yellow"}


def certificate_text(certificate: Certificate, width: int = 80) -> Text:
    """What was held against what, the noise floor, and each target's verdict with its evidence."""
    text = Text()
    for line in _head(certificate):
        text.append(wrap(line, width, 0) + "\n")
    for finding in certificate.findings:
        text.append("\n")
        text.append(f"{party_words(certificate, finding.party)}: ")
        text.append(WORDS[finding.verdict] + "\n", style=f"bold {_STYLES[finding.verdict]}")
        for line in _evidence(certificate, finding):
            text.append(wrap(line, width, 2) + "\n")
    return text


def party_words(certificate: Certificate, place: int) -> str:
    """``fashion-student in int8-static on openvino:cpu``."""
    party = certificate.parties[place]
    name = f"{party.model.name}{in_words(party.variant)} on {party.target}"
    return printable(name, limit=NAME_LIMIT)


def _head(certificate: Certificate) -> Iterator[str]:
    examined = certificate.examined
    # What tokens are drawn from is in the notes.
    drawn = "" if examined.unit == "token" else ", drawn"
    data = f" of {examined.dataset}" if examined.dataset else drawn
    yield (
        f"{party_words(certificate, 0)} is the reference; {examined.examples:,} "
        f"{examined.unit}s{data}."
    )
    for note in examined.notes:
        yield f"Note: {note}."
    yield f"Noise floor, the reference beside itself: {floor_words(certificate)}."


def floor_words(certificate: Certificate) -> str:
    """How far the reference differs from itself under each condition."""
    told = []
    for each in certificate.passes:
        if each.party == 0 and each.condition != "plain":
            found = certificate.floor.get(each.condition)
            said = "failed" if found is None else _largest(found)
            told.append(f"{each.detail} {said}")
    return ", ".join(told) or "not looked at"


def _largest(found: Numbers) -> str:
    return significant(found.largest) if found.largest else "equal"


def _evidence(certificate: Certificate, finding: Finding) -> Iterator[str]:
    yield from finding.reasons
    if finding.numbers is not None:
        yield f"Numbers: {numbers_words(finding.numbers, certificate.examined.unit)}."
    if finding.itself is not None:
        yield f"Beside itself, in a fresh process: {_largest(finding.itself)}."
    if finding.distributions is not None:
        yield f"Distributions: {distributions_words(finding.distributions)}."
    if finding.decisions is not None:
        yield f"Decisions: {decisions_words(finding.decisions)}."
    if finding.running is not None:
        yield f"By itself: {running_words(finding.running)}."
    for place in certificate.places:
        if place.party == finding.party:
            yield f"Where ({place.stage}): {place.sentence}"


def numbers_words(found: Numbers, unit: str) -> str:
    """The largest difference, in its units."""
    floors = f", {significant(found.floors, 2)} floors" if found.floors is not None else ""
    return (
        f"largest difference {significant(found.largest)} ({significant(found.roundings, 2)} "
        f"roundings{floors}), median {significant(found.median)}, p99 {significant(found.p99)}; "
        f"beyond the limit in {found.beyond:,} of {found.rows:,} {unit}s"
    )


def distributions_words(found: Distributions) -> str:
    """Divergence, its tail, and what follows for drafting."""
    told = [f"KL divergence {_estimate(found.divergence)} nats"]
    if found.divergence_error is None:
        told[0] += " at least"
    elif found.divergence_error:
        told[0] += f" (at most {significant(found.divergence_error, 2)} more)"
    if "p99" in found.quantiles:
        told.append(f"p99 {significant(found.quantiles['p99'])}")
    told.append(f"same first {_percent(found.same_first)}")
    told.append(f"right one's probability changes by {_estimate(found.probability_change)} (RMS)")
    if found.ln_perplexity_ratio is not None:
        told.append(f"ln of the perplexities' ratio {_estimate(found.ln_perplexity_ratio)}")
    told.append(f"acceptance {_percent(found.acceptance)}")
    if found.infinite:
        told.append(f"infinite in {found.infinite:,}")
    return ", ".join(told)


def decisions_words(found: Decisions) -> str:
    """The metric of both, the change with its interval, and who was right alone."""
    flips = ""
    if found.lost is not None and found.gained is not None:
        flips = f"; {found.lost:,} right became wrong and {found.gained:,} wrong became right"
    return (
        f"{found.metric} {significant(found.candidate)} beside {significant(found.reference)}"
        f"{flips}; {found.test} p = {significant(found.p, 2)}, margin {significant(found.margin)}"
    )


def running_words(found: FreeRunning) -> str:
    """How many whole answers are the same, where the others part, and what the reference does."""
    again = found.same_again
    itself = "" if again is None else f"; the reference's own, given again: {again:.1%}"
    told = (
        f"{_percent(found.same)} of {found.prompts} greedy answers are the same to the last token"
    )
    differ = found.prompts - round(found.same.value * found.prompts)
    if not differ:
        return told + itself
    ties = f"{found.ties:,} of them" if found.ties else "none of them"
    return (
        f"{told}; {differ:,} part from the reference's, {_tokens(found.first)}, {ties} where its "
        f"two likeliest tokens tie{itself}"
    )


def _tokens(first: Mapping[str, float]) -> str:
    """``half within 14 tokens and the first after 1``."""
    return f"half within {math.ceil(first['p50'])} tokens and the first after {first['least']:.0f}"


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return "unknown"
    return f"{significant(found.value)} ({significant(found.low)} to {significant(found.high)})"


def _percent(found: Estimate | None) -> str:
    return "unknown" if found is None else percent(found.value, found.low, found.high)
