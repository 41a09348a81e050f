"""Language models for targets that take fixed shapes alone: a graph for just the timed step."""

from __future__ import annotations

from dataclasses import replace

from bench.cards.language.static import static_form
from bench.measure.plan import PlannedCell


def in_static_form(planned: PlannedCell) -> PlannedCell:
    """The cell with a static form to load, where its model keeps a state and its target declares
    that it takes no other. Raises `BenchError` where there is none."""
    source = planned.file.onnx
    if planned.model.decoder is None or source is None or not planned.choice.static_shapes:
        return planned
    shapes = {name: tuple(array.shape) for name, array in planned.feeds.items()}
    return replace(planned, static=static_form(source, shapes, planned.cell.model.name))
