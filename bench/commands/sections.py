"""A command with many options, whose help lists them in sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

_OTHER = "Other"
#: Where the words of the help begin, at most.
_COLUMN = 26


class SectionOption(click.Option):
    """An option that knows below which heading the help lists it."""

    def __init__(self, *args: Any, section: str = "", **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.section = section


class SectionCommand(click.Command):
    """Sections stand in the order of their first options. Options of another class come last,
    below ``others[name]``, or below `Other`."""

    def __init__(self, *args: Any, others: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._others = others

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        for option in sorted(options, key=lambda each: self._section(each) == _OTHER):
            line = option.get_help_record(ctx)
            if line is not None:
                sections.setdefault(self._section(option), []).append(line)
        widest = max(len(line[0]) for lines in sections.values() for line in lines)
        for title, lines in sections.items():
            with formatter.section(title):
                # One column for all sections: the first line is filled up to the widest of all.
                (flag, words), *rest = lines
                formatter.write_dl([(flag.ljust(min(widest, _COLUMN)), words), *rest], _COLUMN)

    def _section(self, option: click.Option) -> str:
        if isinstance(option, SectionOption):
            return option.section
        return self._others.get(option.name or "", _OTHER)


def options_of(section: str) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """`click.option` for the options of one section."""

    def option(*names: str, **attributes: Any) -> Callable[..., Any]:
        return click.option(*names, cls=SectionOption, section=section, **attributes)

    return option
