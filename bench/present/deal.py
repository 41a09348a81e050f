"""The deal for people: the front as a table, and plain sentences; and as raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.text import Text

from bench.cards.tasks.base import Change, MetricRow
from bench.judge.alike import sample_sizes, sample_words, settings_in_words
from bench.judge.deal import Cost, Deal, Offer, Point, cheapest, cost_of, level_with, safest
from bench.judge.drafting import Drafting
from bench.judge.energy import main_energy
from bench.numbers import (
    BYTE_UNITS,
    ENERGY_UNITS,
    NAME_LIMIT,
    RATE_UNITS,
    TIME_UNITS,
    Unit,
    column_unit,
    common_scale,
    half_width,
    in_unit,
    printable,
    ratio,
    with_unit,
)
from bench.present.ci.tables import Table
from bench.present.columns import DEAL_COLUMNS
from bench.present.energy import way_words
from bench.present.layout import TIED, Figure, Line, lay_out, wrap
from bench.present.pairs import by_what, change_words
from bench.record.result import Estimate, Record
from bench.stats.interval import Interval
from bench.variants import in_words, suffix

#: What is said of those that are named beside a winner, wherever one is named.
LEVEL = "not distinguishable from it"
_FEW = 3  #: so many are named, more are counted
_TITLES: dict[Cost, str] = {
    "latency": "latency, one sample at a time",
    "throughput": "throughput",
    "energy": "energy per sample, gross",
    "memory": "peak memory of the worker",
    "size": "size of the file",
}
_UNITS: dict[Cost, tuple[Unit, ...]] = {
    "latency": TIME_UNITS,
    "throughput": RATE_UNITS,
    "energy": ENERGY_UNITS,
    "memory": BYTE_UNITS,
    "size": BYTE_UNITS,
}


def deal_text(deal: Deal, width: int = 80) -> Text:
    """The front, what it means, and the sentences, no line wider than ``width``."""
    text = Text(f"Accuracy against {_TITLES[deal.cost]}, best first\n")
    text.append_text(_table(deal, width))
    for note in notes(deal):
        text.append(wrap(f"- {note}", width, indent=2) + "\n")
    for said in sentences(deal):
        text.append("\n" + wrap(said, width, indent=2) + "\n")
    return text


def _table(deal: Deal, width: int) -> Text:
    shown = [_shown(point.record, deal.cost) for point in deal.points]
    unit = column_unit(shown, _UNITS[deal.cost])
    lines = [
        Line(f"{place:>2} {point_name(point)}", " ", _figures(point, value, unit, deal.cost))
        for place, (point, value) in enumerate(zip(deal.points, shown, strict=True), 1)
    ]
    scale = common_scale(metric.scale for metric in deal.metrics)
    units = {"cost": unit.name} | ({"accuracy": scale.unit} if scale else {})
    return lay_out(DEAL_COLUMNS, units, lines, width)


def _shown(record: Record, cost: Cost) -> float | None:
    """The cost as it is shown: throughput as samples a second."""
    value = cost_of(record, cost)
    return 1e9 / value if value and cost == "throughput" else value


def front_table(deal: Deal) -> Table:
    """The front as plain text, a unit in each figure."""
    header = ("", "Model and target", deal.cost.capitalize(), "Accuracy", "Standing")
    rows = []
    for place, point in enumerate(deal.points, 1):
        value = with_unit(_shown(point.record, deal.cost), _UNITS[deal.cost])
        found = _figures(point, None, _UNITS[deal.cost][0], deal.cost)
        assert point.scored is not None
        assert point.scored.accuracy is not None
        score = point.scored.accuracy.value
        accuracy = point.metric.scale.value(score.value, score.low, score.high)
        cost = f"{value} {found['cost'].interval}".rstrip()
        rows.append((str(place), point_name(point), cost, accuracy, found["standing"].value))
    return Table(header, rows, numbers=frozenset({0, 2, 3}), names=frozenset({1}))


def _figures(point: Point, value: float | None, unit: Unit, cost: Cost) -> dict[str, Figure]:
    spread = _spread(point.record, cost)
    interval = half_width(spread.value, spread.low, spread.high) if spread else ""
    words = {"front": "front", "open": "open", "dominated": f"beaten by {_by(point)}"}
    style = {"front": "green", "open": "", "dominated": "dim"}[point.standing.state]
    return {
        "cost": Figure(in_unit(value, unit), interval),
        "accuracy": _accuracy(point),
        "standing": Figure(words[point.standing.state], style=style),
    }


def _spread(record: Record, cost: Cost) -> Estimate | None:
    if cost == "latency":
        return record.latency.median_ns if record.latency else None
    if cost == "energy":
        found = main_energy(record)
        return found.gross_j if found else None
    return record.throughput if cost == "throughput" else None


def _accuracy(point: Point) -> Figure:
    assert point.scored is not None
    assert point.scored.accuracy is not None
    score, scale = point.scored.accuracy.value, point.metric.scale
    return Figure(scale.bare(score.value), scale.side(score.half_width))


def _by(point: Point) -> str:
    return "" if point.standing.by is None else str(point.standing.by + 1)


def point_name(point: Point) -> str:
    """Model, variant and target, as people are told of a point."""
    cell = point.cell
    variant = suffix(cell.variant)
    name = printable(f"{cell.model.name}{variant} {cell.target}", limit=NAME_LIMIT)
    return ", ".join(filter(None, (name, settings_in_words(point.apart))))


def notes(deal: Deal) -> list[str]:
    """What the standings mean, and how sure they are."""
    share = f"{100 * deal.confidence:g}%"
    lost = " and ".join(_negligible_words(deal, metric) for metric in deal.metrics)
    return [
        "front: nothing beats it; beaten by: that one is cheaper and at least as accurate; "
        "open: the intervals can't decide.",
        f"Differences of up to {lost} are ignored; all intervals hold jointly with {share} "
        "confidence.",
        *_shape_notes(deal),
        *_energy_words(deal),
        *(f"accuracy is {metric.words()}." for metric in deal.metrics if metric.words()),
    ]


def _shape_notes(deal: Deal) -> list[str]:
    """What the points take, where a sample isn't as large for all: that is not the same work."""
    takers: dict[object, dict[str, str]] = {}
    for cell in (point.cell for point in deal.points):
        name = printable(cell.model.name, limit=NAME_LIMIT)
        words = sample_words(cell) or "nothing"
        takers.setdefault(sample_sizes(cell), {})[name] = words
    if len(takers) < 2:
        return []
    taken = "; ".join(
        f"{' and '.join(each)} {next(iter(each.values()))}" for each in takers.values()
    )
    return [f"Inputs differ in shape, so costs are not all of the same work: {taken}."]


def _energy_words(deal: Deal) -> list[str]:
    """What the energies are of, where that is the cost."""
    found = main_energy(deal.points[0].record) if deal.cost == "energy" else None
    if found is None:
        return []
    way = way_words((found.scope, found.kind))
    return [f"energies are of {way}; cells without such an energy are left out."]


def _negligible_words(deal: Deal, metric: MetricRow) -> str:
    """``0.5 points of accuracy``, ``0.05 of perplexity``."""
    what = "accuracy" if metric.scale.is_fraction else metric.name
    return f"{metric.scale.steps_of(metric.scale.chosen(deal.negligible(metric)))} of {what}"


# -- sentences ------------------------------------------------------------------------------------


def sentences(deal: Deal) -> list[str]:
    """The answer, then one for each original and target: what is on offer in its place."""
    said = [answer(deal)]
    for (original, target), offers in deal.offers.items():
        for apart in dict.fromkeys(offer.apart for offer in offers):
            mine = [offer for offer in offers if offer.apart == apart]
            worth = [w for offer in mine if (w := _offer_words(offer, original, deal))]
            where = ", ".join(
                filter(None, (printable(target, limit=NAME_LIMIT), settings_in_words(apart)))
            )
            if worth:
                said.append(f"On {where} {'; '.join(worth)}.")
        said += _drafting_words(deal, original, target)
    return said


def _drafting_words(deal: Deal, original: str, target: str) -> list[str]:
    """What each distilled model would be worth as a drafter; of several depths the greatest that
    something is known of."""
    found: dict[str, Drafting] = {}
    for each in deal.draftings:
        if (each.original, each.target) != (original, target):
            continue
        kept = found.get(each.draft)
        if kept is None or bool(each.lengths) >= bool(kept.lengths):
            found[each.draft] = each
    return [_drafted(each) + _three(each, deal) for each in found.values()]


def _drafted(drafting: Drafting) -> str:
    draft, original, target = (
        printable(text, limit=NAME_LIMIT)
        for text in (drafting.draft, drafting.original, drafting.target)
    )
    best, measured = drafting.best, f"bench model speculate {original} --draft {draft} -t {target}"
    if best is None:
        return f"{draft} as a drafter for {original} on {target}: {drafting.missing}."
    times = best.speedup
    value = ratio(times.estimate, times.low, times.high)
    if times.low > 1:
        worth = f"an expected {value} as fast, and loses nothing"
    elif times.high < 1:
        worth = f"not worth it: an expected {value} as fast"
    else:
        worth = f"possibly not worth it: an expected {value} as fast"
    others = ", ".join(
        f"{each.length}: {ratio(each.speedup.estimate)}"
        for each in drafting.lengths
        if each is not best
    )
    of_others = f"; {others}" if others else ""
    length = f"{best.length} token{'s' * (best.length != 1)}"
    return (
        f"On {target} {draft} as a drafter for {original} is {worth} (drafts of {length}"
        f"{of_others}; after {drafting.depth} tokens). Measure it with `{measured}`."
    )


def _three(drafting: Drafting, deal: Deal) -> str:
    """Replace, draft or quantise: what each is worth, where all are known."""
    best, told = drafting.best, []
    for offer in deal.offers.get((drafting.original, drafting.target), ()):
        speed = offer.pair.speedup
        if speed is None:
            continue
        if offer.kind == "distilled" and offer.pair.model == drafting.draft:
            told.append(f"replacing it is {ratio(speed.value)} as fast")
        elif offer.kind == "variant":
            told.append(f"quantising{in_words(offer.pair.variant)} {ratio(speed.value)}")
    if best is None or not told:
        return ""
    told.insert(1, f"drafting {ratio(best.speedup.estimate)} with the same text")
    return f" Replace, draft or quantise: {', '.join(told)}."


def answer(deal: Deal) -> str:
    """The best of all, and the best of what is as accurate as the most accurate."""
    best, safe = cheapest(deal), safest(deal)
    most = superlative(deal.cost)
    named = point_name(best) + level_words(deal, best)
    if safe is best:
        return f"The {most} is {named}, and nothing is measurably more accurate."
    if safe is None:
        return f"The {most} is {named}; the most accurate is undecided{_why_undecided(deal)}."
    scale = safe.metric.scale
    lost = scale.steps_of(scale.chosen(deal.negligible(safe.metric)))
    return (
        f"The {most} overall is {named}; the {most} within {lost} of the most accurate is "
        f"{point_name(safe)}{level_words(deal, safe)}."
    )


def _why_undecided(deal: Deal) -> str:
    found = deal.undecided
    if found is None:
        return ""
    best, other = point_name(found.best), point_name(found.other)
    if found.lost:
        return f": without predictions {best} can't be compared with {other}"
    scale, negligible = found.best.metric.scale, deal.negligible(found.best.metric)
    by = f"more than {scale.steps_of(scale.chosen(negligible))} " if negligible else ""
    return f": {best} may be {by}worse than {other}"


def level_words(deal: Deal, best: Point) -> str:
    """`` (not distinguishable from it: a, b)``: whoever names a winner names these; or nothing."""
    found = level_with(deal, best)
    return f" ({LEVEL}: {listed([point_name(point) for point in found])})" if found else ""


def listed(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


def superlative(cost: Cost) -> str:
    """What the cheapest is called."""
    words = {"latency": "fastest", "throughput": "fastest", "energy": "thriftiest"}
    return words.get(cost, "smallest")


def _offer_words(offer: Offer, original: str, deal: Deal) -> str:
    """``the distilled x is 9.8x as fast as y and 2.1 points less accurate``."""
    speed, change = offer.pair.speed, offer.pair.accuracy
    if speed is None or change is None:
        return ""
    times = ratio(speed.value, speed.low, speed.high)
    fast, than = f"{times} as fast", "as"
    if speed.verdict == "unclear":
        fast, than = f"not measurably faster or slower ({times})", "than"
    other = f" {than} {printable(original, limit=NAME_LIMIT)}" if offer.kind == "distilled" else ""
    other += by_what(offer.pair)
    lost = _lost_words(change, deal.negligible(change.metric))
    return f"{_offered(offer)} is {fast}{other} and {lost}"


def _offered(offer: Offer) -> str:
    name = printable(offer.pair.model, limit=NAME_LIMIT)
    variant = in_words(offer.pair.variant)
    if offer.kind == "variant":
        return f"{name}{variant}"
    return f"the distilled {name}{variant}"


def _lost_words(change: Change, loss: float) -> str:
    gain, scale = change.gain, change.metric.scale
    if not change.significant:
        if gain.low >= -loss:
            return "loses nothing measurable"
        return f"may lose up to {scale.steps_of(scale.amount(-gain.low))}"
    low, high = sorted((abs(gain.low), abs(gain.high)))
    interval = f"({scale.amount(low)} to {scale.amount(high)})".replace(" ", TIED)
    return f"{scale.steps_of(scale.amount(abs(gain.estimate)))} {interval} {change_words(change)}"


# -- raw ------------------------------------------------------------------------------------------


def deal_rows(
    deal: Deal, places: Mapping[str, tuple[str, str]] = MappingProxyType({})
) -> dict[str, object]:
    """The deal as JSON-ready data; ``places`` are machine and target by what is shown as target."""
    return {
        "cost": deal.cost,
        "loss": deal.negligible(deal.metrics[0]),
        "confidence": deal.confidence,
        "points": [_row(point, deal, places) for point in deal.points],
        **_winners(deal),
        "drafting": [_drafting_row(each) for each in deal.draftings],
        "sentences": sentences(deal),
    }


def _winners(deal: Deal) -> dict[str, object]:
    """Those that the answer names, and what can't be told apart from each by cost."""
    found = {"cheapest": cheapest(deal), "as_accurate": safest(deal)}
    return {name: None if best is None else _cell_id(best) for name, best in found.items()} | {
        f"{name}_tied": [] if best is None else [_cell_id(p) for p in level_with(deal, best)]
        for name, best in found.items()
    }


def _row(point: Point, deal: Deal, places: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    assert point.scored is not None
    assert point.scored.accuracy is not None
    by = point.standing.by
    accuracy = point.scored.accuracy
    machine, target = places.get(point.cell.target, ("", point.cell.target))
    dominating = "" if by is None else deal.points[by].cell.target
    return {
        "cell_id": _cell_id(point),
        "model": point.cell.model.name,
        "variant": point.cell.variant,
        "machine": machine,
        "target": target,
        "cost": cost_of(point.record, deal.cost),
        "metric": accuracy.metric,
        "accuracy": accuracy.value.value,
        "accuracy_low": accuracy.value.low,
        "accuracy_high": accuracy.value.high,
        "standing": point.standing.state,
        "dominated_by": None if by is None else _cell_id(deal.points[by]),
        "dominated_on": None if by is None else places.get(dominating, ("", ""))[0],
    }


def _cell_id(point: Point) -> str:
    """Of the cell as it was measured, without the machine (`bench.judge.joined`)."""
    return point.record.cell_id.partition(" ")[0]


def _drafting_row(each: Drafting) -> dict[str, object]:
    return {
        "original": each.original,
        "draft": each.draft,
        "target": each.target,
        "depth": each.depth,
        "agreement": interval_row(each.agreement),
        "missing": each.missing,
        "lengths": [
            {"length": at.length, "tokens": at.tokens, "speedup": interval_row(at.speedup)}
            for at in each.lengths
        ],
    }


def interval_row(found: Interval | None) -> dict[str, float] | None:
    """An interval as JSON-ready data."""
    if found is None:
        return None
    return {
        "value": found.estimate,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
    }
