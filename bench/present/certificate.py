"""A certificate for people: the verdicts in a table, and each one's evidence line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.text import Text

from bench.cards.tasks import find_metric
from bench.judge.certify.verdict import change_words
from bench.numbers import (
    MISSING,
    NAME_LIMIT,
    Scale,
    counted,
    p_value,
    percent,
    printable,
    significant,
    tiny,
)
from bench.present.columns import CERTIFICATE_COLUMNS
from bench.present.layout import FAILED, MARKED, OK, Figure, Line, lay_out, wrap
from bench.record.certificate import (
    Certificate,
    Decisions,
    Distributions,
    Finding,
    FreeRunning,
    Numbers,
    Party,
    VerdictName,
)
from bench.record.placement import placement_check
from bench.record.result import Estimate
from bench.variants import in_words

WORDS: Mapping[VerdictName, str] = {
    "same": "same",
    "equivalent": "different but equivalent",
    "degraded": "degraded",
    "inconclusive": "inconclusive",
    "impossible": "not possible here",
}
_STYLES: Mapping[VerdictName, str] = {
    "same": "green",
    "equivalent": "green",
    "degraded": "red",
    "inconclusive": "yellow",
    "impossible": "dim",
}
MARKS: Mapping[VerdictName, str] = {
    "same": OK,
    "equivalent": OK,
    "degraded": FAILED,
    "inconclusive": MARKED,
    "impossible": "",
}
_SAID_LIMIT = 1000
_MOST_ROUNDINGS = 1e7  #: above which a number has an exponent


def certificate_text(certificate: Certificate, width: int = 80) -> Text:
    """What was held against what, a line a target, and each verdict's evidence."""
    text = Text()
    for line in head(certificate):
        text.append(wrap(line, width, 2) + "\n")
    text.append("\n")
    text.append_text(_table(certificate, width))
    text.append("\n")
    for line in legend(certificate):
        text.append(wrap(line, width, 2) + "\n")
    for finding in certificate.findings:
        text.append("\n")
        text.append(wrap(f"{party_words(certificate, finding.party)}:", width, 2) + " ")
        text.append(WORDS[finding.verdict] + "\n", style=f"bold {_STYLES[finding.verdict]}")
        for reason in finding.reasons:
            text.append(wrap("  " + printable(reason, _SAID_LIMIT), width, 4) + "\n")
        for what, said in evidence(certificate, finding):
            text.append(wrap(f"  {what}: {said}", width, 4) + "\n")
    return text


def party_words(certificate: Certificate, place: int) -> str:
    """``fashion-student in int8-static on openvino:cpu``."""
    party = certificate.parties[place]
    return _name(f"{party.model.name}{in_words(party.variant)} on {party.target}")


def _name(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)


def head(certificate: Certificate) -> Iterator[str]:
    """What everything is held against."""
    examined = certificate.examined
    # What tokens are drawn from is in the notes.
    drawn = "" if examined.unit == "token" else ", drawn at random"
    data = f" of {_name(examined.dataset)}" if examined.dataset else drawn
    if examined.clusters != examined.examples:
        data += f", in {counted(examined.clusters, 'document')}"
    rows = counted(examined.examples, examined.unit)
    yield f"Reference: {party_words(certificate, 0)}; {rows}{data}."
    for note in examined.notes:
        yield f"Note: {printable(note, _SAID_LIMIT)}."
    yield f"Noise floor, the reference against itself: {floor_words(certificate)}."


def floor_words(certificate: Certificate) -> str:
    """How far the reference differs from itself under each condition."""
    said: dict[str, list[str]] = {}
    for each in certificate.passes:
        if each.party == 0 and each.condition != "plain":
            found = certificate.floor.get(each.condition)
            outcome = "failed" if found is None else apart_words(found)
            said.setdefault(outcome, []).append(printable(each.detail or each.condition, 80))
    told = [f"{outcome} ({', '.join(details)})" for outcome, details in said.items()]
    return "; ".join(told) or "not checked"


def apart_words(found: Numbers) -> str:
    """``equal, bit for bit``, or the largest difference."""
    if found.nonfinite or found.nonfinite_reference:
        return "NaN or Inf on one side"
    if not found.largest:
        return "equal, bit for bit"
    return f"{roundings(found.roundings)} roundings"


def legend(certificate: Certificate) -> Iterator[str]:
    """What the columns of the table mean, and what is allowed."""
    if any(certificate.parties[finding.party].simulated for finding in certificate.findings):
        yield "* a simulated device: its answers count, its speed would not."
    numbers = [f.numbers for f in certificate.findings if f.numbers is not None]
    if any(each.largest for each in numbers):
        floors = (
            "; of floor: as a multiple of the reference's own largest difference"
            if any(each.floors is not None for each in numbers)
            else ""
        )
        yield (
            "Largest: in roundings, units in the last place of float32 (2^-23) relative to the "
            f"outputs' size{floors}. Limit: {printable(certificate.limit, 200)}."
        )
    decided = next((f.decisions for f in certificate.findings if f.decisions is not None), None)
    if decided is not None:
        scale, sure = scale_of(certificate, decided), certificate.asked.confidence
        less = ", lower is better" if decided.better == "lower" else ""
        yield (
            f"Change: of {printable(decided.metric, 80)}{less}; up to "
            f"{scale.margin(decided.margin)} either way counts as equivalent (two one-sided tests "
            f"at {100 * sure:.3g}%)."
        )


def scale_of(certificate: Certificate, decisions: Decisions) -> Scale:
    """How the metric is written."""
    return find_metric(certificate.parties[0].model.task, decisions.metric).scale


# -- the table ------------------------------------------------------------------------------------


def _table(certificate: Certificate, width: int) -> Text:
    lines: list[Line] = []
    heading = ""
    for finding in certificate.findings:
        party = certificate.parties[finding.party]
        name = _name(f"{party.model.name}{in_words(party.variant)}")
        if name != heading:
            lines.append(Line(heading := name))
        label = _name(party.target) + (" *" if party.simulated else "")
        lines.append(Line(label, MARKS[finding.verdict], _figures(certificate, finding)))
    return lay_out(CERTIFICATE_COLUMNS, _units(certificate), lines, width)


def _units(certificate: Certificate) -> dict[str, str]:
    found = {"roundings": "roundings", "divergence": "nats"}
    for finding in certificate.findings:
        if finding.decisions is not None:
            found["change"] = scale_of(certificate, finding.decisions).steps
    return found


def _figures(certificate: Certificate, finding: Finding) -> dict[str, Figure]:
    shown = {"verdict": Figure(finding.verdict, style=_STYLES[finding.verdict])}
    numbers, decisions = finding.numbers, finding.decisions
    if numbers is not None:
        shown["roundings"] = Figure(roundings(numbers.roundings))
        if numbers.floors is not None:
            shown["floors"] = Figure(significant(numbers.floors, 2))
    if finding.distributions is not None and finding.distributions.divergence is not None:
        shown["divergence"] = Figure(tiny(finding.distributions.divergence.value))
    if decisions is not None:
        scale, margin = scale_of(certificate, decisions), decisions.margin
        found = changed(decisions, decisions.gain)
        ends = (scale.held_to(end, margin) for end in (found.low, found.high))
        low, high = (end.removeprefix("+") for end in ends)
        shown["change"] = Figure(scale.held_to(found.value, margin), f"({low} to {high})")
    return shown


def changed(decisions: Decisions, gain: Estimate) -> Estimate:
    """A gain turned into what it is: the candidate's metric minus the reference's."""
    if decisions.better == "higher":
        return gain
    return gain.model_copy(
        update={"value": -gain.value, "low": -gain.high, "high": -gain.low}, deep=True
    )


def roundings(value: float) -> str:
    """A number of roundings to two digits: ``0.5``, ``41``, ``5,700,000``, ``2.3e9``."""
    if value < 100:
        return significant(value, 2)
    if value < _MOST_ROUNDINGS:
        return f"{float(f'{value:.1e}'):,.0f}"
    return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


# -- the evidence ---------------------------------------------------------------------------------


def evidence(certificate: Certificate, finding: Finding) -> Iterator[tuple[str, str]]:
    """What each kind of evidence says beyond the reasons, as a heading and a sentence."""
    party, unit = certificate.parties[finding.party], certificate.examined.unit
    yield from _device(party)
    numbers = finding.numbers
    if numbers is not None and (numbers.largest or numbers.nonfinite or numbers.beyond):
        yield "Numbers", f"{numbers_words(numbers, unit)}."
    if finding.itself is not None:
        yield "Against itself, in a fresh process", f"{apart_words(finding.itself)}."
    if finding.distributions is not None:
        yield "Distributions", f"{distributions_words(finding.distributions, unit)}."
    if finding.decisions is not None:
        yield "Decisions", f"{decisions_words(certificate, finding)}."
        if finding.decisions.groups:
            yield groups_words(certificate, finding.decisions)
    if finding.running is not None:
        yield "Free running", f"{running_words(finding.running)}."
    for place in certificate.places:
        if place.party == finding.party:
            stage = "" if place.stage == "whole model" else f", in {printable(place.stage, 40)}"
            yield f"Where{stage}", printable(place.sentence, _SAID_LIMIT)


def _device(party: Party) -> Iterator[tuple[str, str]]:
    if party.simulated:
        yield "Device", "simulated."
    check = None if party.placement is None else placement_check(party.placement, party.target)
    if check is not None and not check.ok:
        yield "Placement", f"{printable(check.detail, _SAID_LIMIT)}."


def numbers_words(found: Numbers, unit: str) -> str:
    """The distribution of differences, in its units."""
    floors = (
        f", {significant(found.floors, 2)} times the reference's own"
        if found.floors is not None
        else ""
    )
    rows = counted(found.rows, unit)
    beyond = f"{found.beyond:,} of {rows}" if found.beyond else f"none of {rows}"
    return (
        f"at most {roundings(found.roundings)} roundings apart ({tiny(found.largest)}{floors}); "
        f"by half of the {unit}s {tiny(found.median)} or less, by 99% {tiny(found.p99)} or less; "
        f"{beyond} beyond the limit"
    )


def distributions_words(found: Distributions, unit: str) -> str:
    """Divergence, its tail, and what follows for drafting."""
    divergence = f"KL divergence {_tiny(found.divergence)} nats a{'n' * (unit[0] in 'ae')} {unit}"
    if found.divergence_error is None:
        divergence += " or more"
    elif found.divergence_error:
        divergence += f" (at most {tiny(found.divergence_error)} more)"
    told = [divergence]
    if "p99" in found.quantiles:
        told.append(f"for 99% {tiny(found.quantiles['p99'])} or less")
    if found.infinite:
        told.append(f"infinite for {found.infinite:,}")
    first = "token" if unit == "token" else "class"
    told.append(f"the same most probable {first} in {_share(found.same_first)}")
    told.append(f"RMS change of the correct one's probability {_tiny(found.probability_change)}")
    if found.ln_perplexity_ratio is not None:
        told.append(f"ln perplexity ratio {_tiny(found.ln_perplexity_ratio)}")
    if unit == "token":
        least = f" or up to {percent(found.acceptance_error)} more" * (found.acceptance_error > 0)
        told.append(f"accepted as a draft {_share(found.acceptance)}{least}")
    return "; ".join(told)


def decisions_words(certificate: Certificate, finding: Finding) -> str:
    """The metric of both, who was right alone, and the change where no reason tells it."""
    found = finding.decisions
    assert found is not None
    scale = scale_of(certificate, found)
    metric = printable(found.metric, 80)
    mine, theirs = (
        scale.held_to(value, found.margin).removeprefix("+") + scale.unit
        for value in (found.candidate, found.reference)
    )
    told = [f"{metric} {mine} against {theirs}"]
    change = change_words(found, scale)
    if not any(change in reason for reason in finding.reasons):
        told[0] += f", a change of {change.partition(' changes by ')[2]}"
    if found.lost == found.gained == 0:
        told.append(f"none of {found.examples:,} answers changed between correct and incorrect")
    elif found.lost is not None and found.gained is not None:
        flips = f"{found.lost:,} turned incorrect and {found.gained:,} turned correct"
        told.append(f"{flips} ({_test(found)})")
    else:
        told.append(_test(found))
    if found.floor:
        floor = scale.steps_of(scale.held_to(found.floor, found.margin).removeprefix("+"))
        told.append(f"the reference's own passes differ by up to {floor}")
    return "; ".join(told)


def _test(found: Decisions) -> str:
    return f"{printable(found.test, 80)}: {p_value(found.p)}"


def groups_words(certificate: Certificate, found: Decisions) -> tuple[str, str]:
    """How many classes, or groups of documents, are worse by more than the margin."""
    of_documents = certificate.examined.unit != "example"
    what = "group" if of_documents else "class"
    margin = scale_of(certificate, found).margin(found.margin)
    worse = [printable(group.name, 40) for group in found.groups if group.degraded]
    least = min(found.groups, key=lambda group: group.gain.value)
    scale = scale_of(certificate, found)
    change = scale.held_to(changed(found, least.gain).value, found.margin)
    count = f"none of {len(found.groups)}" if not worse else ", ".join(worse)
    said = f"{count} worse by more than {margin} (Holm-corrected)"
    if least.gain.value < 0:
        said += f"; worst {printable(least.name, 40)}, {scale.steps_of(change)}"
    return f"By {what}", said + "."


def running_words(found: FreeRunning) -> str:
    """How many whole answers agree, and where the others part."""
    answers = f"{counted(found.prompts, 'greedy answer')} ({counted(found.tokens, 'token')})"
    told = [f"of {answers} {_share(found.same)} are the same throughout"]
    if found.same_again is not None:
        told.append(f"{percent(found.same_again)} of the reference's own when repeated")
    if "p50" in found.first:
        told.append(
            f"the others part after {found.first['p50']:.0f} tokens (median), at the earliest "
            f"after {found.first.get('least', 0):.0f}, "
            f"{found.ties or 'none'} where the reference's two best were tied"
        )
    return "; ".join(told)


def _tiny(found: Estimate | None) -> str:
    if found is None:
        return "unknown"
    return f"{tiny(found.value)} ({tiny(found.low)} to {tiny(found.high)})"


def _share(found: Estimate | None) -> str:
    """A share with its interval; ``all`` where nothing is missing."""
    if found is None:
        return MISSING
    if found.value == 1:
        return "all"
    return percent(found.value, found.low, found.high)
