"""A bisection for people, and as a raw row."""

from __future__ import annotations

from dataclasses import asdict

from rich.text import Text

from bench.numbers import NAME_LIMIT, printable, significant
from bench.present.columns import BISECT_COLUMNS
from bench.present.layout import Figure, Line, lay_out, wrap
from bench.trials.bisect import Bisection, Compared

#: Tensors before and after the first that differs.
_BEFORE, _AFTER = 4, 3


def bisect_text(found: Bisection, width: int = 80) -> Text:
    """The verdict, and the tensors around the first that differs."""
    text = Text(wrap(sentence(found), width, indent=2) + "\n")
    shown = _around(found)
    if shown:
        lines = [
            Line(_name(each.tensor), "·" if each.ok else "✗", _figures(each)) for each in shown
        ]
        text.append("\n")
        text.append_text(lay_out(BISECT_COLUMNS, {}, lines, width))
    text.append("\n" + wrap(f"Reference: {found.reference}; {found.tolerance}.", width, 2) + "\n")
    return text


def sentence(found: Bisection) -> str:
    """What was found, in plain words."""
    target, model = _name(found.target), _name(found.model)
    if found.beside:
        return _of_form(found)
    if found.agrees:
        return f"{target} agrees with the reference on {model}."
    if found.chance:
        return f"{model} can't be compared on {target}: {found.chance}."
    if found.doubted_by:
        where = f", from {_name(found.first.tensor)} on" if found.first is not None else ""
        by = " and ".join(found.doubted_by)
        return (
            f"The reference is in doubt: {found.reference} differs from {target} on "
            f"{model}{where}, and {by} agree{'s' * (len(found.doubted_by) == 1)} with {target}."
        )
    if found.first is None:
        return (
            f"{target} disagrees on the outputs of {model}, and no intermediate tensor of floating "
            "point could be marked."
        )
    if len(found.region) > 1:
        nodes = ", ".join(_node(each) for each in found.region[:6])
        more = f" and {len(found.region) - 6} more" if len(found.region) > 6 else ""
        return (
            f"{target} disagrees on {model}, but agrees when a tensor between these nodes is "
            f"read, so the fault is in how it fuses them: {nodes}{more}."
        )
    return (
        f"{target} disagrees on {model}: the first tensor that differs is "
        f"{_name(found.first.tensor)}, made by {_node(found.first)}; {_size(found.first)}."
    )


def _of_form(found: Bisection) -> str:
    """The same of a precision form beside what it was made of."""
    model, form = f"{_name(found.model)} on {_name(found.target)}", _name(found.beside)
    if found.agrees:
        return f"{model} agrees with {form} on the reference."
    if found.first is None:
        return f"{model} differs from {form}, and they share no tensor that shows where."
    between = ""
    if len(found.region) > 1:
        between = f" or one of the {len(found.region) - 1} before it, which can't be distinguished"
    return (
        f"{model} differs from {form} first in the tensor {_name(found.first.tensor)}, made by "
        f"{_node(found.first)}{between}; {_size(found.first)}."
    )


def _around(found: Bisection) -> tuple[Compared, ...]:
    if found.first is None or found.first not in found.compared:
        return found.compared[-(_BEFORE + _AFTER) :]
    place = found.compared.index(found.first)
    return found.compared[max(0, place - _BEFORE) : place + _AFTER + 1]


def _figures(each: Compared) -> dict[str, Figure]:
    style = "" if each.ok else "red"
    return {
        "op": Figure(printable(each.op, limit=24)),
        "shape": Figure("x".join(map(str, each.shape)) or "scalar"),
        "error": Figure(_error(each), style=style),
        "jump": Figure("begins here" if each.jumped and not each.ok else ""),
    }


def _size(each: Compared) -> str:
    """How large an error is, as the end of a sentence."""
    if each.error is None:
        return "one side has NaN or Inf there, or another shape"
    if each.error > 1:
        return f"its error is {significant(each.error, 2)} times the largest value"
    return f"its error is {_error(each)} of the largest value"


def _error(each: Compared) -> str:
    if each.error is None:
        return "no number"
    return f"{each.error:.1e}"


def _node(each: Compared) -> str:
    name = f" {_name(each.node)}" if each.node else ""
    return f"{printable(each.op, limit=40)}{name}"


def _name(text: str) -> str:
    return printable(text, limit=NAME_LIMIT)


def bisect_row(found: Bisection) -> dict[str, object]:
    """A bisection as JSON-ready data."""
    return {**asdict(found), "agrees": found.agrees, "sentence": sentence(found)}
