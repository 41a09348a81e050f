"""Pictures as PNG files, drawn by kaleido in a browser that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import SpecError, Unavailable, without_stop
from bench.numbers import printable
from bench.present.page.names import in_picture
from bench.present.page.parts import Picture

WIDTH = 900  #: CSS pixels
TITLE_HEIGHT = 36  #: CSS pixels: a file has no heading above it
SCALE = 2  #: pixels of the file for a CSS pixel
_REMEDY = (
    "Install the extra `report-png` (pip install 'infer-bench[report-png]') and Chromium or Chrome."
)


def write_pictures(pictures: Sequence[Picture], folder: Path) -> int:
    """Each picture as ``NAME.png`` on white; how many there are.

    Raises `Unavailable` without kaleido or a browser, `SpecError` where the folder can't be made.
    """
    try:
        import kaleido  # kaleido: optional
    except ImportError as error:
        raise Unavailable("PNG files need kaleido, which is not installed.", _REMEDY) from error
    import plotly.graph_objects as go  # plotly: start-up

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"{folder}: pictures can't be written there: {error.strerror}.") from error
    jobs = []
    for picture in pictures:
        figure = go.Figure(picture.spec)
        figure.update_layout(
            paper_bgcolor="white",
            plot_bgcolor="white",
            title={"text": in_picture(picture.title), "x": 0.01, "y": 1, "yanchor": "top"},
            title_font_size=15,
            title_pad_t=10,
            margin_t=figure.layout.margin.t + TITLE_HEIGHT,
        )
        options = {"width": WIDTH, "height": picture.height + TITLE_HEIGHT, "scale": SCALE}
        jobs.append({"fig": figure, "path": str(folder / f"{picture.name}.png"), "opts": options})
    try:
        kaleido.write_fig_from_object_sync(jobs)
    except Exception as error:  # kaleido's and choreographer's errors share no base of their own
        raise _explained(error) from error
    return len(jobs)


def _explained(error: Exception) -> Unavailable:
    name = type(error).__name__
    if "NotFound" in name:
        return Unavailable("PNG files need Chromium or Chrome, and none was found.", _REMEDY)
    # Some of choreographer's errors hold their lines as a tuple.
    lines = str(error.args[0] if error.args else name).strip().splitlines()
    words = without_stop(printable(lines[0], limit=200)) if lines else name
    return Unavailable(f"the browser could not draw the pictures: {words}.", _REMEDY)
