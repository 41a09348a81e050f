"""Language models for targets that take fixed shapes alone: a graph for just the timed step."""

from __future__ import annotations

from dataclasses import replace

from bench.cards.language.static import static_form, static_texts
from bench.errors import Unsupported
from bench.measure.plan import PlannedCell
from bench.scenarios import find_scenario


def in_static_form(planned: PlannedCell) -> PlannedCell:
    """The cell with a static form to load, where its model keeps a state and its target declares
    that it takes no other. Raises `BenchError` where there is none."""
    model, source = planned.model, planned.file.onnx
    if model.decoder is None or source is None or not planned.choice.static_shapes:
        return planned
    name = planned.cell.model.name
    if planned.prompts is None:
        shapes = {name: tuple(array.shape) for name, array in planned.feeds.items()}
        return replace(planned, static=static_form(source, shapes, name))
    if model.buffered is None:
        raise model.not_buffered or Unsupported(
            f"{name}: {planned.choice.target} takes only fixed shapes, so whole texts need the "
            "form with a static cache, exported from a checkpoint folder. Name that folder."
        )
    if planned.cell.variant != "fp32":
        raise Unsupported(
            f"{name}: whole texts on {planned.choice.target} need the form with a static cache, "
            "which only exists in fp32. Leave --variant out."
        )
    _, batch, prompt = planned.prompts.shape
    answer = find_scenario(planned.cell.scenario).answer or 0
    form = static_texts(model.buffered, model.decoder, batch, prompt, answer, name)
    return replace(planned, static=form)
