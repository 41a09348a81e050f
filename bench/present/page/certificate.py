"""A certificate as a page: what was held against what, the verdicts, and their evidence.

Everything is from the certificate and the files that it names; no verdict is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.arrays import Array
from bench.errors import SpecError
from bench.numbers import MISSING, counted, p_value, printable, size, tiny
from bench.present.certificate import (
    MARKS,
    WORDS,
    apart_words,
    changed,
    evidence,
    floor_words,
    legend,
    party_words,
    roundings,
    scale_of,
)
from bench.present.page.names import shown
from bench.present.page.parts import Column, Entry, Table, bounds
from bench.present.page.svg import Bin, Interval, Mark, curve, histogram, intervals
from bench.present.page.template import rendered
from bench.record.certificate import Certificate, Decisions, Finding, Numbers, Party, VerdictName
from bench.record.placement import share_percent
from bench.variants import DEFAULT

#: Columns of a file of evidence, by its name.
Read = Callable[[str], Mapping[str, Array]]
TONES: Mapping[VerdictName, str] = {
    "same": "good",
    "equivalent": "good",
    "degraded": "bad",
    "inconclusive": "warn",
    "impossible": "dim",
}
_BINS_A_DECADE = 6
_MOST_BINS = 60
_POINTS = 100  #: of a curve
_MOST_GROUPS = 40  #: drawn; the table has all
_DIGEST = 16  #: characters of a digest that a table shows


@dataclass(frozen=True)
class Drawing:
    """A picture, what it shows in words, and its data."""

    name: str
    title: str
    words: str
    svg: str
    table: Table


@dataclass(frozen=True)
class Part:
    """One party's verdict with all its evidence."""

    name: str
    title: str
    verdict: str
    mark: str
    tone: str
    reasons: tuple[str, ...]
    evidence: tuple[tuple[str, str], ...]
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class CertificatePage:
    """All that is said and shown."""

    title: str
    subtitle: str
    headline: str
    verdicts: Table
    overview: Drawing | None
    legend: tuple[str, ...]
    held: tuple[str, ...]
    parties: Table
    floor: str
    floors: Table
    parts: tuple[Part, ...]
    command: str
    files: Table


def certificate_page(certificate: Certificate, read: Read) -> CertificatePage:
    """The page of a certificate, whose evidence ``read`` gives by the name of its file.

    Evidence that can't be read leaves out its pictures, not the verdicts.
    """
    facts = certificate.facts
    machine = printable(str(facts.get("cpu_model") or "unknown processor"), 80)
    created = printable(certificate.created_at, 40).replace("T", " ").replace("+00:00", " UTC")
    return CertificatePage(
        title=f"Certificate of {shown(certificate.parties[0].model.name)}",
        subtitle=f"{created} · {machine} · bench {printable(certificate.bench_version, 40)}",
        headline=_headline(certificate),
        verdicts=_verdicts(certificate),
        overview=_overview(certificate),
        legend=tuple(legend(certificate)),
        held=tuple(_held(certificate)),
        parties=_parties(certificate),
        floor=f"The reference beside itself: {floor_words(certificate)}.",
        floors=_floors(certificate),
        parts=tuple(_part(certificate, finding, read) for finding in certificate.findings),
        command=printable(certificate.command, 2000),
        files=_files(certificate),
    )


def certificate_html(page: CertificatePage) -> str:
    """The page as one HTML document that needs no network."""
    return rendered("certificate.html.jinja", page=page)


def _headline(certificate: Certificate) -> str:
    """How many of the targets got each verdict, the reference named."""
    verdicts = [finding.verdict for finding in certificate.findings]
    told = [
        f"{verdicts.count(verdict)} {words}"
        for verdict, words in WORDS.items()
        if verdict in verdicts
    ]
    if len(verdicts) == 1:
        finding = certificate.findings[0]
        said = f"{party_words(certificate, finding.party)} is {WORDS[finding.verdict]}"
        if finding.verdict in ("inconclusive", "impossible"):
            said = f"{party_words(certificate, finding.party)}: {WORDS[finding.verdict]}"
    else:
        said = f"Of {len(verdicts)} held against the reference: {', '.join(told)}"
    return f"{said}. Reference: {party_words(certificate, 0)}."


# -- tables ---------------------------------------------------------------------------------------


def _verdicts(certificate: Certificate) -> Table:
    decided = next((f.decisions for f in certificate.findings if f.decisions), None)
    steps = scale_of(certificate, decided).steps if decided is not None else ""
    columns = (
        Column(("model",), "Model"),
        Column(("variant",), "Precision"),
        Column(("target",), "Target"),
        Column(("verdict",), "Verdict"),
        Column(("largest_roundings",), "Largest", "roundings", numeric=True),
        Column(("largest_floors",), "of floor", numeric=True),
        Column(bounds("kl_divergence", "nats"), "KL", "nats", numeric=True),
        Column(bounds("change"), "Change", steps, numeric=True),
    )
    rows = tuple(_verdict_row(certificate, finding) for finding in certificate.findings)
    return Table("verdicts", "Verdicts", columns, rows)


def _verdict_row(certificate: Certificate, finding: Finding) -> tuple[Entry, ...]:
    party, numbers = certificate.parties[finding.party], finding.numbers
    divergence = finding.distributions.divergence if finding.distributions else None
    floors = numbers.floors if numbers else None
    return (
        Entry(shown(party.model.name)),
        Entry(party.variant),
        Entry(shown(party.target) + (" *" if party.simulated else "")),
        Entry(f"{MARKS[finding.verdict]} {WORDS[finding.verdict]}", tone=TONES[finding.verdict]),
        Entry(roundings(numbers.roundings), values=(numbers.roundings,)) if numbers else _absent(1),
        Entry(tiny(floors), values=(floors,)) if floors is not None else _absent(1),
        Entry(
            tiny(divergence.value),
            f"({tiny(divergence.low)} to {tiny(divergence.high)})",
            (divergence.value, divergence.low, divergence.high),
        )
        if divergence
        else _absent(3),
        _change_entry(certificate, finding.decisions),
    )


def _change_entry(certificate: Certificate, found: Decisions | None) -> Entry:
    if found is None:
        return _absent(3)
    scale, change = scale_of(certificate, found), changed(found, found.gain)
    value, low, high = (
        scale.held_to(each, found.margin) for each in (change.value, change.low, change.high)
    )
    return Entry(value, f"({low} to {high})", (change.value, change.low, change.high))


def _absent(values: int) -> Entry:
    return Entry(MISSING, values=(None,) * values, tone="dim")


def _held(certificate: Certificate) -> Iterator[str]:
    """What both were run on, and what counts as the same."""
    examined, asked = certificate.examined, certificate.asked
    rows = counted(examined.examples, examined.unit)
    if examined.dataset:
        digest = f", digest {examined.dataset_sha256[:_DIGEST]}" if examined.dataset_sha256 else ""
        yield f"Both were run on {rows} of {shown(examined.dataset)}{digest}."
    else:
        yield f"Both were run on {rows}, drawn at random with seed {asked.seed}."
    if examined.clusters != examined.examples:
        yield f"Intervals are over {counted(examined.clusters, 'document')}, which are resampled."
    yield f"Digest of all inputs: {examined.inputs_sha256[:_DIGEST]}."
    yield f"Limit of a value's difference: {printable(certificate.limit, 200)}."
    for note in examined.notes:
        yield printable(note, 400)
    if asked.runs:
        yield f"Made from stored runs: {', '.join(map(shown, asked.runs))}."


def _parties(certificate: Certificate) -> Table:
    columns = (
        Column(("role",), "Role"),
        Column(("model",), "Model"),
        Column(("sha256",), "Digest"),
        Column(("precision",), "Precision"),
        Column(("target",), "Target"),
        Column(("device",), "Device"),
        Column(("version",), "Version"),
        Column(("threads",), "Threads", numeric=True),
        Column(("on_device",), "On device"),
        Column(("file_bytes",), "File", numeric=True),
    )
    rows = tuple(_party_row(place, party) for place, party in enumerate(certificate.parties))
    return Table("parties", "Who was held against whom", columns, rows)


def _party_row(place: int, party: Party) -> tuple[Entry, ...]:
    fact = party.placement
    placed = share_percent(fact) if fact is not None else ""
    nodes = f"of {sum(fact.nodes.values()):,} nodes" if fact is not None and placed else ""
    computes = f"computes in {printable(fact.precision, 40)}" if fact and fact.precision else ""
    other = computes and fact is not None and fact.precision != party.variant
    return (
        Entry("reference" if place == 0 else "candidate"),
        Entry(shown(party.model.name)),
        Entry(party.model.sha256[:_DIGEST]),
        Entry(
            party.variant if party.variant != DEFAULT else party.computes_in or DEFAULT,
            computes if other else "",
        ),
        Entry(shown(party.target)),
        Entry(shown(party.device_name) + (", simulated" if party.simulated else "")),
        Entry(shown(party.runtime_version)),
        Entry(str(party.threads), values=(party.threads,)),
        Entry(placed or MISSING, nodes),
        Entry(size(party.model.file_bytes), values=(party.model.file_bytes,)),
    )


def _floors(certificate: Certificate) -> Table:
    """The reference's further passes, and each target's own."""
    columns = (
        Column(("who",), "Who"),
        Column(("condition",), "Asked again"),
        Column(("rows",), f"{certificate.examined.unit}s".capitalize(), numeric=True),
        Column(("largest_roundings",), "Largest", "roundings", numeric=True),
        Column(("largest",), "Largest", numeric=True),
        Column(("beyond",), "Beyond the limit", numeric=True),
        Column(("outcome",), "Outcome"),
    )
    found: list[tuple[Entry, ...]] = []
    for each in certificate.passes:
        if each.condition == "plain":
            continue
        numbers = (
            certificate.floor.get(each.condition)
            if each.party == 0
            else _itself(certificate, each.party)
        )
        who = party_words(certificate, each.party)
        found.append(
            _floor_row(who, printable(each.detail or each.condition, 80), numbers, each.failure)
        )
    return Table("floors", "Each beside itself", columns, tuple(found))


def _itself(certificate: Certificate, party: int) -> Numbers | None:
    return next((f.itself for f in certificate.findings if f.party == party), None)


def _floor_row(who: str, detail: str, found: Numbers | None, failure: str) -> tuple[Entry, ...]:
    if found is None:
        said = printable(failure, 300) or "not looked at"
        return (Entry(who), Entry(detail), *[_absent(1)] * 4, Entry(said, tone="warn"))
    return (
        Entry(who),
        Entry(detail),
        Entry(f"{found.rows:,}", values=(found.rows,)),
        Entry(roundings(found.roundings), values=(found.roundings,)),
        Entry(tiny(found.largest), values=(found.largest,)),
        Entry(f"{found.beyond:,}", values=(found.beyond,)),
        Entry(apart_words(found)),
    )


def _files(certificate: Certificate) -> Table:
    columns = (Column(("file",), "File"), Column(("sha256",), "SHA-256"))
    rows = tuple((Entry(printable(n, 120)), Entry(d)) for n, d in certificate.files.items())
    return Table("files", "Evidence", columns, rows)


# -- a party --------------------------------------------------------------------------------------


def _part(certificate: Certificate, finding: Finding, read: Read) -> Part:
    name = f"party-{finding.party}"
    drawings = [
        *_of_rows(certificate, finding, name, read),
        _of_decisions(certificate, finding, name),
    ]
    return Part(
        name=name,
        title=party_words(certificate, finding.party),
        verdict=WORDS[finding.verdict],
        mark=MARKS[finding.verdict],
        tone=TONES[finding.verdict],
        reasons=tuple(printable(reason, 1000) for reason in finding.reasons),
        evidence=tuple(evidence(certificate, finding)),
        drawings=tuple(each for each in drawings if each is not None),
    )


def _of_rows(
    certificate: Certificate, finding: Finding, name: str, read: Read
) -> Iterator[Drawing | None]:
    """Pictures of the file that compares a party with the reference row by row."""
    plain = next(
        (p for p in certificate.passes if (p.party, p.condition) == (finding.party, "plain")), None
    )
    if plain is None or not plain.rows:
        return
    try:
        rows = read(plain.rows)
    except SpecError:
        return
    unit = certificate.examined.unit
    yield _differences(certificate, rows, f"{name}-numbers", unit)
    if "divergence" in rows:
        yield _divergences(rows, f"{name}-distributions", unit)


def _differences(
    certificate: Certificate, rows: Mapping[str, Array], name: str, unit: str
) -> Drawing | None:
    """How many rows differ by how many roundings, beside the floor and the limit."""
    apart = rows["roundings"] > 0
    if not apart.any():
        return None
    values, excess = rows["roundings"][apart], rows["excess"][apart]
    bins = _bins(values, excess > 1)
    floor = max((each.roundings for each in certificate.floor.values()), default=0.0)
    # A row's limit depends on its values: the picture has the middle one.
    limit = float(np.median(values / np.maximum(excess, np.finfo(float).tiny)))
    marks = [Mark(limit, "limit")] + ([Mark(floor, "noise floor")] if floor else [])
    equal = int((~apart).sum())
    same = f" {counted(equal, unit)} are equal, bit for bit, and not drawn." if equal else ""
    itself = (
        f"the reference differs from itself by {roundings(floor)}"
        if floor
        else "the reference doesn't differ from itself"
    )
    table = Table(
        f"{name}-data",
        "Differences",
        (
            Column(("from",), "From", "roundings", numeric=True),
            Column(("to",), "To", "roundings", numeric=True),
            Column(("rows",), f"{unit}s".capitalize(), numeric=True),
            Column(("beyond",), "Beyond the limit", numeric=True),
        ),
        tuple(
            (
                *(Entry(roundings(end), values=(end,)) for end in (each.low, each.high)),
                *(Entry(f"{n:,}", values=(n,)) for n in (each.rows, each.beyond)),
            )
            for each in bins
        ),
    )
    return Drawing(
        name,
        "How far outputs differ",
        f"{unit.capitalize()}s by their largest difference: at most {roundings(values.max())} "
        f"roundings, half of those that differ {roundings(float(np.median(values)))} or less; "
        f"{itself}. {int((excess > 1).sum()):,} of {counted(len(apart), unit)} are beyond the "
        f"limit, which for the middle one is {roundings(limit)} roundings.{same}",
        histogram(bins, marks, "largest difference, roundings (log scale)"),
        table,
    )


def _bins(values: Array, beyond: Array) -> list[Bin]:
    low, high = float(values.min()), float(values.max())
    decades = np.log10(high / low)
    count = int(min(_MOST_BINS, max(8, np.ceil(decades * _BINS_A_DECADE))))
    edges = np.geomspace(low / 1.001, high * 1.001, count + 1)
    rows = np.histogram(values, edges)[0]
    over = np.histogram(values[beyond], edges)[0]
    return [
        Bin(float(a), float(b), int(n), int(m))
        for a, b, n, m in zip(edges[:-1], edges[1:], rows, over, strict=True)
    ]


def _divergences(rows: Mapping[str, Array], name: str, unit: str) -> Drawing | None:
    found = np.asarray(rows["divergence"], np.float64)
    found = found[np.isfinite(found)]
    positive = found[found > 0]
    if len(positive) < 2 or positive.min() == positive.max():
        return None
    shares = np.linspace(0, 1, _POINTS + 1)
    values = np.quantile(positive, shares)
    below = 1 - len(positive) / len(found)  # rows without any divergence
    points = [
        (float(v), float(below + (1 - below) * s)) for v, s in zip(values, shares, strict=True)
    ]
    quantiles = {q: float(np.quantile(found, q)) for q in (0.5, 0.9, 0.99, 1.0)}
    table = Table(
        f"{name}-data",
        "Quantiles of KL divergence",
        (
            Column(("share",), "Share", numeric=True),
            Column(("kl_divergence_nats",), "KL", "nats", numeric=True),
        ),
        tuple(
            (Entry(f"{100 * q:.0f}%", values=(q,)), Entry(tiny(v), values=(v,)))
            for q, v in quantiles.items()
        ),
    )
    marks = [Mark(quantiles[q], f"{100 * q:.0f}%") for q in (0.5, 0.99) if quantiles[q] > 0]
    return Drawing(
        name,
        "How far distributions differ",
        f"The share of {unit}s (from 0 below to all above) whose divergence from the reference's "
        f"distribution is no larger: half {tiny(quantiles[0.5])} nats or less, 99% "
        f"{tiny(quantiles[0.99])} or less, at most {tiny(quantiles[1.0])}.",
        curve(points, marks, "KL divergence, nats (log scale)"),
        table,
    )


# -- decisions ------------------------------------------------------------------------------------


def _overview(certificate: Certificate) -> Drawing | None:
    """Each target's change of the metric on the band of what counts as equivalent."""
    decided = [(f, f.decisions) for f in certificate.findings if f.decisions is not None]
    if not decided:
        return None
    rows = [
        _interval(certificate, d, party_words(certificate, f.party), TONES[f.verdict])
        for f, d in decided
    ]
    first = decided[0][1]
    return _change_drawing(certificate, first, rows, "change", "Does the answer change?", "")


def _of_decisions(certificate: Certificate, finding: Finding, name: str) -> Drawing | None:
    """The change of the whole, and of each class or group."""
    found = finding.decisions
    if found is None or not found.groups or not any(g.gain.value for g in found.groups):
        return None
    rows = [_interval(certificate, found, "all", TONES[finding.verdict])]
    for group in found.groups[:_MOST_GROUPS]:
        change = changed(found, group.gain)
        factor = scale_of(certificate, found).factor
        rows.append(
            Interval(
                f"{printable(group.name, 40)} ({p_value(group.p)})",
                change.value * factor,
                change.low * factor,
                change.high * factor,
                "bad" if group.degraded else "",
            )
        )
    what = "class" if certificate.examined.unit == "example" else "group of documents"
    rest = len(found.groups) - _MOST_GROUPS
    words = (
        f" By {what} each interval is its own; p, of being no worse than the margin, is corrected "
        f"for all {len(found.groups)} (Holm)."
    )
    words += f" {rest:,} more are not drawn." if rest > 0 else ""
    title = f"Does the answer change, by {what}?"
    return _change_drawing(certificate, found, rows, f"{name}-decisions", title, words)


def _interval(certificate: Certificate, found: Decisions, label: str, tone: str) -> Interval:
    factor, change = scale_of(certificate, found).factor, changed(found, found.gain)
    return Interval(label, change.value * factor, change.low * factor, change.high * factor, tone)


def _change_drawing(
    certificate: Certificate,
    found: Decisions,
    rows: Sequence[Interval],
    name: str,
    title: str,
    more: str,
) -> Drawing:
    scale, metric = scale_of(certificate, found), printable(found.metric, 80)
    level = f"{100 * found.gain.confidence:.3g}%"
    unit = f", {scale.steps}" if scale.steps else ""
    less = ", where less is better" if found.better == "lower" else ""
    outside = [row.label for row in rows if row.tone == "bad"]
    told = f" Degraded: {', '.join(outside)}." if outside else ""
    table = Table(
        f"{name}-data",
        f"Change of {metric}",
        (
            Column(("what",), "What"),
            Column(bounds("change"), "Change", scale.steps, numeric=True),
        ),
        tuple(
            (
                Entry(row.label),
                Entry(
                    scale.held_to(row.value / scale.factor, found.margin),
                    f"({scale.held_to(row.low / scale.factor, found.margin)} to "
                    f"{scale.held_to(row.high / scale.factor, found.margin)})",
                    (row.value, row.low, row.high),
                ),
            )
            for row in rows
        ),
    )
    return Drawing(
        name,
        title,
        f"The change of {metric} from the reference{less}, with the {level} interval that two "
        f"one-sided tests take; within the band of {scale.margin(found.margin)} either way it "
        f"counts as equivalent.{told}{more}",
        intervals(rows, found.margin * scale.factor, f"change of {metric}{unit}"),
        table,
    )
