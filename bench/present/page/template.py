"""The templates of pages, and what all of them are rendered with.

Everything that came from outside passes their autoescaping as text, or `as_json` where it stands
inside a script element.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from bench import __version__
from bench.present.templates import environment

if TYPE_CHECKING:
    from markupsafe import Markup

_PAGES = "bench.present.page"


def rendered(template: str, package: str = _PAGES, **values: object) -> str:
    """A template of ``package`` on top of those beside this file, with the style and the script of
    all pages."""
    from markupsafe import Markup  # markupsafe: start-up

    templates = environment(package, _PAGES)
    templates.filters["words"] = _with_code
    templates.filters["as_json"] = lambda value: Markup(as_json(value))
    return templates.get_template(template).render(
        version=__version__,
        css=Markup(style()),
        script=Markup((files(_PAGES) / "page.js").read_text(encoding="utf-8")),
        **values,
    )


def style() -> str:
    """The one style sheet of all pages."""
    return (files(_PAGES) / "page.css").read_text(encoding="utf-8")


def _with_code(text: str) -> Markup:
    """Escaped text in which what stands in backticks is code."""
    from markupsafe import Markup, escape  # markupsafe: start-up

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def as_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it can end the element or begin
    another (HTML standard, 4.12.1.3 "Restrictions for contents of script elements")."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
