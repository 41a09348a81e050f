"""What all HTML is rendered with: templates that escape whatever is put in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(*packages: str) -> Environment:
    """The templates in the folders of ``packages``, the first of a name; a name that one of them
    lacks is an error."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined  # start-up

    return Environment(
        loader=ChoiceLoader([PackageLoader(package, ".") for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
