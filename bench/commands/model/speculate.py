"""``bench model speculate ORIGINAL --draft STUDENT``: what a small model's drafts are worth."""

from __future__ import annotations

from contextlib import closing

import click

from bench.commands.completing import complete_models
from bench.commands.flags import LISTED_TARGETS, read_numbers
from bench.commands.output import print_drawing, print_json
from bench.folders import cache_folder

_OTHER_ANSWERS = 3


@click.command(name="speculate")
@click.argument("original", shell_complete=complete_models)
@click.option(
    "--draft",
    required=True,
    shell_complete=complete_models,
    help="The small model that drafts.",
)
@click.option(
    "-t",
    "--target",
    "targets",
    required=True,
    **LISTED_TARGETS,
    help="Targets of both.",
)
@click.option(
    "--length",
    "lengths",
    multiple=True,
    default=("1,2,4,8",),
    show_default=True,
    callback=read_numbers,
    help="Draft length in tokens.",
)
@click.option(
    "--prompts",
    type=click.IntRange(min=2),
    default=8,
    show_default=True,
    help="Number of prompts.",
)
@click.option(
    "--prompt",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Prompt length in tokens.",
)
@click.option(
    "--answer",
    type=click.IntRange(min=3),
    default=64,
    show_default=True,
    help="Answer length in tokens.",
)
@click.option(
    "--turns",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Processes; each answers all prompts.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Compute threads of one step; default: physical cores.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Seed of the prompts and of their order.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    original: str,
    draft: str,
    targets: tuple[str, ...],
    lengths: tuple[int, ...],
    prompts: int,
    prompt: int,
    answer: int,
    turns: int,
    threads: int | None,
    seed: int,
    *,
    as_json: bool,
) -> int:
    """Let a small model draft for ORIGINAL (speculative decoding, greedy), and time it.

    The original answers with and without drafts, in turns. Every answer is compared token by token,
    and the speed-up with the one predicted from the times of single steps. Exit status: 3 if an
    answer differs and no near tie explains it, 1 if no target could be tried.
    """
    from bench.measure.prepare import prepare  # numpy: start-up
    from bench.present.progress import choose_listener
    from bench.scenarios import GENERATE
    from bench.spec import Suite, with_flags
    from bench.trials.speculate import (
        Asked,
        check_answer,
        check_vocabularies,
        prompts_for,
        speculate,
    )
    from bench.trials.speculate_report import speculation_rows, speculation_text

    check_answer(answer, lengths)
    flags = {
        "models": (original, draft),
        "targets": targets,
        "scenarios": (GENERATE.of_text(prompt, answer).name,),
        "threads": threads,
        "seed": seed,
    }
    with (
        closing(choose_listener(quiet=False)) as listener,
        prepare(with_flags(Suite(), flags), listener, cache_folder()) as prepared,
    ):
        cells = prepared.plan.cells
        half = len(cells) // 2  # the original's, target by target, then the draft's
        pairs = list(zip(cells[:half], cells[half:], strict=True))
        names = [planned.cell.model.name for planned in pairs[0]]
        check_vocabularies(*pairs[0])
        asked = Asked(
            prompts_for(pairs[0][0], prompts, prompt, seed),
            answer,
            tuple(dict.fromkeys(lengths)),
            turns,
            seed,
        )
        found = [
            speculate(one, other, asked, prepared.launcher, listener.phase) for one, other in pairs
        ]
    if as_json:
        rows = [speculation_rows(each) for each in found]
        print_json({"original": names[0], "draft": names[1], "targets": rows})
    else:
        print_drawing(lambda width: speculation_text(found, names[0], names[1], width))
    if any(each.wrong for each in found):
        return _OTHER_ANSWERS
    return 1 if all(each.failure for each in found) else 0
