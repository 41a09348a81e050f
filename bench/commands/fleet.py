"""``bench fleet``: measure on several machines at once, and look at what each has."""

from __future__ import annotations

import sys
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.commands.chosen import default_results, run_option
from bench.commands.flags import read_name
from bench.commands.output import hint, print_json
from bench.discover import suite_paths
from bench.errors import SpecError
from bench.files import file_stem
from bench.numbers import counted, printable, size

if TYPE_CHECKING:
    from bench.fleet.driver import Asked, Outcome
    from bench.fleet.file import FleetFile
    from bench.fleet.nodes import Backend, NodeFacts
    from bench.fleet.transport import Transport
    from bench.spec import Suite

_INTERRUPTED = 130
#: What makes a transport of a fleet file and an address: imported when it is used, for it imports
#: an engine that not every installation has.
CONNECT = "bench.fleet.ray.connect"


def _cluster_options(command: click.decorators.FC) -> click.decorators.FC:
    """How the cluster is found."""
    file = click.option(
        "--fleet",
        "file",
        type=click.Path(path_type=Path),
        help="Fleet file: [cluster] address, [nodes.NAME] host, python, ...",
    )
    address = click.option(
        "--address", help="Address of a running cluster; default: one on this machine."
    )
    return file(address(command))


@click.group(name="fleet")
def command() -> None:
    """Measure on several machines at once, which a Ray cluster connects."""


@command.command(short_help="Measure a suite on every node.")
@click.argument("suite", required=False, type=click.Path(path_type=Path))
@_cluster_options
@click.option(
    "--spread",
    type=click.Choice(["kind", "node", "target"]),
    help="Which nodes measure a cell: one of each kind (default), each, or any one.",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    help="Folder of the run; default: a new one in results/runs.",
)
@run_option("--resume", "resumed", metavar="RUN", help="Resume a fleet run.")
@click.option("--label", default="", callback=read_name, help="What to call this run.")
@click.option(
    "--allow",
    multiple=True,
    metavar="versions|machine",
    help="Accept and record these differences between nodes, or from before.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
def run(
    suite: Path | None,
    file: Path | None,
    address: str | None,
    spread: str | None,
    out: Path | None,
    resumed: Path | None,
    label: str,
    *,
    allow: tuple[str, ...],
    quiet: bool,
) -> int:
    """Measure SUITE on every node that has its targets, and put the runs in one folder.

    A node measures one lease at a time. If a node is lost, another measures its lease again.
    """
    from bench.fleet.driver import ALLOWANCES  # pydantic: start-up
    from bench.fleet.run import asked_before, asked_for

    for kind in allow:
        if kind not in ALLOWANCES:
            raise SpecError(f"--allow {kind}: nodes can differ in {', '.join(ALLOWANCES)}.")
    if resumed is not None:
        given = {"SUITE": suite, "-o": out, "--spread": spread, "--label": label}
        wrong = [name for name, value in given.items() if value]
        if wrong:
            raise SpecError(
                f"--resume keeps the settings of the run: leave out {' and '.join(wrong)}."
            )
        asked = asked_before(resumed, allow)
        if file is not None:
            asked = asked.model_copy(update={"file": _fleet_file(file), "where": str(file)})
        return _measure(asked, address or asked.address, resumed, quiet=quiet, resumed=True)
    asked = asked_for(
        _suite(suite),
        label=label,
        allow=allow,
        file=_fleet_file(file),
        where=str(file or ""),
        address=address,
        **({"spread": spread} if spread else {}),
    )
    return _measure(asked, address, out or _new_folder(asked), quiet=quiet, resumed=False)


def _new_folder(asked: Asked) -> Path:
    """Where a run goes that nobody named a folder for."""
    stamp = asked.created_at[:19].replace("-", "").replace(":", "")
    return default_results() / f"{stamp}Z-{file_stem(asked.suite.name)}-fleet"


def _measure(asked: Asked, address: str | None, out: Path, *, quiet: bool, resumed: bool) -> int:
    """One session of a fleet run; the exit code."""
    from bench.fleet.driver import Surroundings  # start-up
    from bench.fleet.run import Models, resume, start
    from bench.fleet.screen import Screen
    from bench.folders import cache_folder

    screen = Screen(None if quiet else sys.stderr)
    models = Models(asked.suite, cache_folder(), screen.note)
    with closing(_connect(asked.file, address)) as transport:
        around = Surroundings(transport, screen, models.load, models.packed)
        outcome = resume(out, around, asked) if resumed else start(asked, out, around)
    _tell(outcome)
    if outcome.interrupted:
        return _INTERRUPTED
    return 1 if outcome.failed else 0


def _tell(outcome: Outcome) -> None:
    """Where the results are, and how to read them."""
    click.echo(f"{outcome.path}: {counted(outcome.measured, 'cell')} of {outcome.cells} measured.")
    if outcome.left:
        click.echo(f"Resume with: bench fleet run --resume {outcome.path}", err=True)
    elif outcome.measured:
        hint(f"Read it with: bench matrix {outcome.path}")


@command.command(short_help="List each node's targets, and what is missing.")
@_cluster_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(file: Path | None, address: str | None, *, as_json: bool) -> None:
    """List each node's targets: device, driver, runtime, and what is missing."""
    from bench.fleet.file import refuse_unknown  # pydantic: start-up

    table = _fleet_file(file)
    with closing(_connect(table, address)) as transport:
        nodes = transport.nodes()
    refuse_unknown(table, [node.name for node in nodes], file)
    if as_json:
        print_json([node.to_json() for node in nodes])
        return
    for node in nodes:
        _print_node(node)
    if not nodes:
        click.echo("The cluster has no node.")


def _print_node(node: NodeFacts) -> None:
    """What a node is, a line for each of its devices, and one for each runtime that isn't there."""
    from bench.fleet.known import clock_words, other_version  # numpy: start-up
    from bench.present.layout import TIED, wrap  # rich: start-up

    cpu = node.machine.get("cpu_model") or "unknown CPU"
    threads = counted(node.threads, "thread")
    click.echo(click.style(printable(f"{node.name}  {cpu}, {threads}"), bold=True))
    width = max((len(target) for target in node.devices), default=0)
    for backend in node.backends:
        for line in (*_devices(backend, width), *_missing(backend)):
            click.echo(wrap("  " + printable(line).replace("  ", 2 * TIED), 80, indent=4))
    for words in (other_version(node), clock_words(node)):
        if words:
            click.echo(wrap(f"  note: {words}", 80, indent=4))
    click.echo()


def _devices(backend: Backend, width: int) -> list[str]:
    lines = []
    for device in backend.devices:
        words = [device.name or device.vendor or "device"]
        words += [size(device.memory_bytes)] if device.memory_bytes else []
        words += [f"driver {device.driver}"] if device.driver else []
        target = f"{backend.label}:{device.id}"
        lines.append(f"{target:<{width}}  {', '.join(words)}; {backend.name} {backend.version}")
    return lines


def _missing(backend: Backend) -> list[str]:
    if not backend.devices:
        return [f"missing: {backend.label}: {backend.unavailable or 'it reports no device'}"]
    return [f"missing: {words}" for words in dict.fromkeys(backend.absent.values())]


def _fleet_file(path: Path | None) -> FleetFile:
    from bench.fleet.file import FleetFile, load_fleet  # pydantic: start-up

    return FleetFile() if path is None else load_fleet(path)


def _suite(path: Path | None) -> Suite:
    """A suite file, or the default suite."""
    from bench.spec import load_suite  # pydantic: start-up

    if path is None and "default" not in suite_paths():
        raise SpecError("the default suite is not installed: name a suite file.")
    return load_suite(path or suite_paths()["default"])


def _connect(file: FleetFile, address: str | None) -> Transport:
    transport: Transport = import_module(CONNECT).connect(file, address)
    return transport
