"""What all HTML is rendered with: templates that escape whatever is put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str) -> Environment:
    """The templates in the folder of ``package``; a name that one of them lacks is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # jinja2: start-up

    return Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
