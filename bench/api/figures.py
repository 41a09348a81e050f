"""The pictures of the report as plotly figures."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from bench.errors import Unavailable
from bench.present.page.page import make_page
from bench.store.run import StoredRun

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

#: Pixels above a figure for its title, which a page writes beside it.
_TITLE_PX = 48


def figures_of(stored: StoredRun) -> dict[str, Figure]:
    """Every picture that the report has of a run, by its name there. Raises `Unavailable` where
    plotly is not installed."""
    try:
        from plotly.graph_objects import Figure  # plotly: start-up
    except ImportError as error:
        raise Unavailable(
            "Run.figures makes plotly figures, and plotly is not installed.",
            "Install it: pip install 'infer-bench[report]'.",
        ) from error
    found = {}
    for picture in make_page([stored]).pictures:
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
