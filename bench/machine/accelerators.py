"""The accelerators that the system shows, whether or not a backend can use them.

A backend lists what its runtime can reach. Where it lists nothing, a person asks whether the card
is there at all: this module looks for it the way one does by hand, on the PCI bus (sysfs), among
the device files and with the vendor's own tool. What tells whom is data: ``accelerators.toml``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.programs import ask

#: A vendor's tool that needs longer hangs, most likely on its driver.
TOOL_TIMEOUT_S = 10.0
_PCI = "sys/bus/pci/devices"
#: A version: at least two numbers joined by dots.
_VERSION = re.compile(r"\d+(?:\.\d+)+\w*")


class Pci(BaseModel):
    """Which PCI devices are meant: of ``vendor``, and of one of ``classes`` or ``devices``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    vendor: str
    classes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


class Kind(BaseModel):
    """One entry of ``accelerators.toml``, which says what the fields mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    vendor: str
    kind: str
    nodes: tuple[str, ...]
    driver: tuple[str, ...]
    targets: tuple[str, ...]
    install: str
    pci: Pci | None = None
    runtime: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    cards: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accelerator:
    """What the system shows of one kind of accelerator.

    ``pci`` holds an ``address vendor:device`` for each card; ``nodes`` the device files. ``driver``
    and ``runtime`` are versions, None where there is none. ``trouble`` says why the vendor's tool
    did not answer. ``present`` are the targets of bench that answered and use it.
    """

    name: str
    pci: tuple[str, ...]
    nodes: tuple[str, ...]
    driver: str | None
    runtime: str | None
    trouble: str
    present: tuple[str, ...]
    install: str


Run = Callable[[Sequence[str]], str]


def find_accelerators(
    targets: Iterable[str], root: Path = Path("/"), run: Run | None = None
) -> list[Accelerator]:
    """What is on the bus, or has a device file, below ``root``.

    ``targets`` are those that answered, such as ``openvino:gpu``. ``run`` starts a vendor's tool
    and returns what it prints; it raises `OSError` or `subprocess.SubprocessError`.
    """
    answered = list(targets)
    found = []
    for kind in kinds():
        pci, nodes = _on_the_bus(kind, root), _nodes(kind, root)
        if kind.pci is not None and not pci and not _owned(nodes):
            continue
        if pci or nodes:
            found.append(_describe(kind, pci, nodes, answered, root, run or run_tool))
    return found


def kinds() -> list[Kind]:
    """The entries of ``accelerators.toml``."""
    text = Path(__file__).with_name("accelerators.toml").read_text("utf-8")
    return [Kind.model_validate(entry) for entry in tomllib.loads(text)["accelerator"]]


def _owned(nodes: tuple[str, ...]) -> bool:
    """Whether a device file proves the vendor: in a container the bus may be hidden, but files
    under ``/dev/dri`` and ``/dev/accel`` are of any vendor."""
    return any(not node.startswith(("dev/dri/", "dev/accel/")) for node in nodes)


def _on_the_bus(kind: Kind, root: Path) -> tuple[str, ...]:
    if kind.pci is None:
        return ()
    cards = []
    for folder in sorted((root / _PCI).glob("*")):
        vendor, device, group = (_hex(folder / name) for name in ("vendor", "device", "class"))
        of_kind = group[:4] in kind.pci.classes or device in kind.pci.devices
        if vendor == kind.pci.vendor and of_kind:
            cards.append(f"{folder.name} {vendor}:{device}")
    return tuple(cards)


def _hex(path: Path) -> str:
    """``0x10de`` in a file of sysfs as ``10de``."""
    return (_read(path) or "").removeprefix("0x").lower()


def _nodes(kind: Kind, root: Path) -> tuple[str, ...]:
    try:
        found = [path for pattern in kind.nodes for path in sorted(root.glob(pattern))]
    except OSError:  # a folder that only root may read
        found = []
    return tuple(str(path.relative_to(root)) for path in found)


def _describe(
    kind: Kind,
    pci: tuple[str, ...],
    nodes: tuple[str, ...],
    answered: Sequence[str],
    root: Path,
    run: Run,
) -> Accelerator:
    driver, trouble = _first_version(kind.driver, root), ""
    if kind.tool and (root != Path("/") or shutil.which(kind.tool[0])):
        told, trouble = _ask(kind.tool, run)
        driver = told or driver
    return Accelerator(
        name=f"{kind.vendor} {kind.kind}",
        pci=pci,
        nodes=nodes,
        driver=driver,
        runtime=_first_version(kind.runtime, root),
        trouble=trouble,
        present=tuple(a for a in answered if _is_of(a, kind.targets)),
        install=kind.install,
    )


def _is_of(target: str, families: Sequence[str]) -> bool:
    """``openvino:gpu.1`` and ``openvino:gpu:1`` are of ``openvino:gpu``."""
    return any(re.fullmatch(rf"{re.escape(family)}([:.].*)?", target) for family in families)


def _first_version(files: Sequence[str], root: Path) -> str | None:
    """The first version in the files that exist; ``loaded`` where one has no version in it."""
    texts = [text for name in files if (text := _read(root / name)) is not None]
    for text in texts:
        found = _VERSION.search(text)
        if found:
            return found[0]
    return "loaded" if texts else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _ask(command: Sequence[str], run: Run) -> tuple[str | None, str]:
    """The version that a vendor's tool tells, and why it told none."""
    try:
        found = _VERSION.search(run(command))
    except FileNotFoundError:
        return None, ""
    except subprocess.TimeoutExpired:
        return None, (
            f"{command[0]} did not answer within {TOOL_TIMEOUT_S:g} s: its driver seems to hang"
        )
    except subprocess.CalledProcessError as error:
        lines = f"{error.stderr or ''}\n{error.stdout or ''}".split("\n")
        said = next((line.strip() for line in lines if line.strip()), "no reason")
        return None, f"{command[0]} failed: {said}"
    except OSError as error:
        return None, f"{command[0]} can't be started: {error.strerror}"
    return (found[0] if found else None), ""


def run_tool(command: Sequence[str]) -> str:
    """What a vendor's tool prints. Raises `OSError` or `subprocess.SubprocessError`."""
    done = ask(command, TOOL_TIMEOUT_S)
    done.check_returncode()
    return done.stdout
