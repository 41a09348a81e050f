"""The pictures of the report as plotly figures."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from bench.present.page.page import make_page
from bench.store.run import StoredRun

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: Pixels above a figure for its title, which a page writes beside it.
_TITLE_PX = 48


def figures_of(stored: StoredRun) -> dict[str, Figure]:
    """Every picture that the report has of a run, by its name there. Raises `Unavailable` where
    plotly is not installed."""
    pictures = make_page([stored]).pictures
    from plotly.graph_objects import Figure  # plotly: start-up; a page without it is an error

    found = {}
    for picture in pictures:
        spec = copy.deepcopy(picture.spec)
        figure = Figure(data=spec["data"], layout=spec["layout"])
        margin = spec["layout"].get("margin", {})
        figure.update_layout(
            title={"text": picture.title},
            height=picture.height + _TITLE_PX,
            margin={"t": margin.get("t", 0) + _TITLE_PX},
        )
        found[picture.name.removeprefix("a-")] = figure
    return found
