"""``bench debug selftest TARGET``: test a target end to end, and write a report."""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import get_terminal_size

import click

from bench.commands.completing import complete_targets
from bench.commands.flags import DURATION
from bench.discover import load_backend
from bench.errors import SpecError
from bench.files import write_text
from bench.machine.facts import machine_facts
from bench.numbers import printable

PACKAGES = ("infer-bench", "numpy", "onnx")


@click.command(name="selftest")
@click.argument("target", shell_complete=complete_targets)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the report; default: selftest-BACKEND.md.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=DURATION,
    default="10m",
    show_default=True,
    help="Kill a worker silent for this long.",
)
@click.option(
    "--contract",
    is_flag=True,
    help="Run the tests that every backend has to pass (the extra `contract`); no report.",
)
def command(target: str, output: Path | None, timeout_s: float, contract: bool) -> int:
    """Test TARGET (a backend, or backend:device) end to end, and write a report to send back.

    Creates small models, compiles and runs them, and compares them with a reference; then tries bad
    requests and repeated loading. The report contains no names of machines, users or folders. Exit
    status: 1 if a step failed.
    """
    from bench.capabilities import declaration  # numpy: start-up
    from bench.contract.running import run_contract
    from bench.present.layout import wrap
    from bench.runtimes.processes import launcher
    from bench.runtimes.targets import parse_target, runtime_of
    from bench.trials.selftest import SelfTest, check_forms
    from bench.trials.selftest_report import as_data, as_markdown, line

    wanted = parse_target(target)
    if contract:
        return run_contract(target)
    runtime = runtime_of(wanted)
    check_forms(runtime)
    path = output or Path(f"selftest-{wanted.backend}.md")
    if not path.parent.is_dir():
        raise SpecError(f"{path.parent} is not a folder. Create it, or write somewhere else.")
    width = get_terminal_size((80, 24)).columns
    with (
        tempfile.TemporaryDirectory(prefix="bench-selftest-") as folder,
        launcher(Path(folder) / "logs", timeout_s) as processes,
    ):
        test = SelfTest(
            wanted,
            runtime,
            processes,
            Path(folder),
            told=lambda step: click.echo(wrap(printable(line(step), limit=400), width, indent=4)),
            trials=declaration(load_backend(wanted.backend)).trials,
        )
        test.run()
    data = as_data(test, machine_facts(PACKAGES))
    write_text(path, as_markdown(data))
    click.echo()
    click.echo(f"{'passed' if test.ok else 'FAILED'}; the report is in {path}")
    return 0 if test.ok else 1
