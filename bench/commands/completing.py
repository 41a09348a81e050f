"""What shells complete behind flags. A press of the tab key imports this: nothing is probed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from bench.discover import backend_entry_points, card_paths, suite_paths
from bench.scenarios import SCENARIOS
from bench.variants import VARIANTS

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _names(known: Callable[[], Iterable[str]], *, files: str = "") -> Complete:
    """Completes the last name of a list with commas, and (``files``) paths."""

    def complete(
        context: click.Context, flag: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, begun = incomplete.rpartition(",")
        found = [name for name in known() if name.startswith(begun)]
        items = [CompletionItem(f"{before}{comma}{name}") for name in found]
        return items + ([CompletionItem(incomplete, type=files)] if files else [])

    return complete


def _suites_and_models() -> list[str]:
    return [*suite_paths(), *card_paths()]


#: A backend alone stands for all of its devices, which only the runtime itself could list.
complete_targets = _names(backend_entry_points)
complete_models = _names(card_paths, files="file")
complete_what = _names(_suites_and_models, files="file")
complete_scenarios = _names(SCENARIOS.names)
complete_variants = _names(VARIANTS.names)
