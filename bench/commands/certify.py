"""``bench certify MODEL --reference R --on T``: is the model on that target still the model?"""

from __future__ import annotations

import shlex
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.chosen import run_option
from bench.commands.completing import complete_models, complete_targets
from bench.commands.flags import (
    LISTED_TARGETS,
    LISTED_VARIANTS,
    SHARE_OF_TRUST,
    FiniteRange,
)
from bench.commands.output import print_drawing
from bench.defaults import CONFIDENCE
from bench.files import file_stem, write_text

if TYPE_CHECKING:
    from bench.record.certificate import Certificate

_DEGRADED = 1
_INCONCLUSIVE = 3


@click.command(name="certify")
@click.argument("model", shell_complete=complete_models)
@click.option(
    "-r",
    "--reference",
    required=True,
    shell_complete=complete_targets,
    help="The reference target, e.g. onnxruntime:cpu.",
)
@click.option(
    "-t",
    "--on",
    "on",
    required=True,
    **LISTED_TARGETS,
    help="Targets to certify.",
)
@click.option(
    "--against",
    default="",
    metavar="MODEL",
    help="Compare MODEL with this one, not with itself.",
)
@click.option(
    "--variant",
    "variants",
    **LISTED_VARIANTS,
    help="Precision forms to certify. Default: fp32.",
)
@click.option(
    "--margin",
    type=FiniteRange(min=0, min_open=True),
    help="Change of the metric that counts as equivalent (0.005: half a point of accuracy); "
    "default: the task's own.",
)
@click.option(
    "--confidence",
    type=SHARE_OF_TRUST,
    default=f"{CONFIDENCE:.0%}",
    show_default=True,
    help="Confidence of every interval and test.",
)
@click.option(
    "--examples", type=click.IntRange(min=1), help="Use the first N examples; default: all."
)
@click.option(
    "--prompts",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Prompts that a language model continues by itself.",
)
@run_option(
    "--runs",
    "runs",
    multiple=True,
    metavar="RUN",
    help="Compare the scores of stored runs; nothing is run.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Compute threads; default: physical cores."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Seed of random inputs.",
)
@click.option(
    "--where/--no-where",
    "looks_where",
    default=True,
    show_default=True,
    help="Search for the first tensor that differs.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write; default: certificates/MODEL-TIME.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    model: str,
    reference: str,
    on: tuple[str, ...],
    against: str,
    variants: tuple[str, ...],
    margin: float | None,
    confidence: float,
    examples: int | None,
    prompts: int,
    runs: tuple[Path, ...],
    threads: int | None,
    seed: int,
    *,
    looks_where: bool,
    output: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Certify that MODEL is still the same on other targets or in other precision.

    Runs it there and on the reference with the same inputs. The verdict per target is: same,
    different but equivalent (within a margin of the task's metric), degraded, inconclusive (with
    the number of examples needed to decide), or not possible here (the target refuses the model).
    Writes a folder with the verdicts, their evidence and a page.

    Exit status: 1 if one is degraded, else 3 if one is inconclusive or none could be run, else 0.
    """
    from bench.present.certificate import certificate_text  # numpy: start-up
    from bench.present.page.certificate import certificate_html, certificate_page
    from bench.present.progress import choose_listener
    from bench.store.certificates import FILE, PAGE, StoredEvidence
    from bench.trials.certify.make import Request, make
    from bench.trials.certify.stored import make_of_runs

    request = Request(
        model=model,
        reference=reference,
        on=on,
        against=against,
        variants=variants,
        margin=margin,
        confidence=confidence,
        examples=examples,
        prompts=prompts,
        threads=threads,
        seed=seed,
        looks_where=looks_where,
    )
    folder = output or _folder(model)
    if runs:
        if examples is not None or threads is not None:
            raise click.UsageError(
                "--examples and --threads only apply when models are run, not with --runs."
            )
        certificate = make_of_runs(request, runs, folder, _command())
    else:
        with closing(choose_listener(quiet=quiet)) as listener:
            certificate = make(request, listener, folder, _command())
    page = certificate_page(certificate, StoredEvidence(folder, certificate).read)
    write_text(folder / PAGE, certificate_html(page))
    if as_json:
        click.echo(certificate.model_dump_json(indent=1))
    else:
        print_drawing(lambda width: certificate_text(certificate, width))
        click.echo(
            f"\nWritten to {folder}: {FILE} with its evidence, and {PAGE} to read."
            f"\n`bench publish --check {shlex.quote(str(folder))}` derives all of it again."
        )
    return exit_status(certificate)


def exit_status(certificate: Certificate) -> int:
    """By the worst verdict."""
    verdicts = {finding.verdict for finding in certificate.findings}
    if "degraded" in verdicts:
        return _DEGRADED
    # What a target refuses is no verdict on it, unless nothing else was asked.
    open_still = "inconclusive" in verdicts or verdicts == {"impossible"}
    return _INCONCLUSIVE if open_still else 0


def _folder(model: str) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("certificates") / f"{file_stem(Path(model).stem)}-{now}"


def _command() -> str:
    return shlex.join(["bench", *sys.argv[1:]])
