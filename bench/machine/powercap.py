"""Energy counters of this machine's CPUs: RAPL as Linux shows it below ``/sys/class/powercap``.

What is what (kernel: Documentation/power/powercap/powercap.rst): a control type has zones
(``intel-rapl:0``, named ``package-0``) and these have parts (``intel-rapl:0:0``, named ``core``,
``uncore`` or ``dram``). AMD's counters are shown under the same names. Energies must not be added
up blindly:

- ``core`` and ``uncore`` are parts of their package and are not read. ``dram`` is none, and is a
  scope of its own.
- ``psys`` is the whole platform and contains the packages: a scope of its own, too.
- ``intel-rapl-mmio`` shows the same package through another register (codecarbon#950).
- AMD's multi-die packages show one counter once a die (codecarbon#1274): of ``package-0-die-0``
  and ``package-0-die-1`` with the same value one is read.

Since CVE-2020-8694 (energies tell secrets of other programs) the counters are for root alone. A
scope of which one counter can't be read is not measured: the energy of one socket is not that of
the CPUs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/class/powercap")
#: Two dies whose counters stand so near show one counter: each counts from when the machine was
#: started, so those of two would be many J apart.
_MIRRORED_UJ = 1_000_000
#: What names mean; others are parts of these.
_SCOPES = {"package": "package", "dram": "dram", "psys": "platform"}
_DIE = re.compile(r"(package-\d+)-die-\d+")


@dataclass(frozen=True)
class Zone:
    """A counter: which scope it belongs to, and where it wraps."""

    name: str  #: ``package-0``, or ``package-0 dram``
    scope: str
    file: Path
    wraps_at_uj: int | None

    def read_uj(self) -> int:
        """Raises `OSError`, or `ValueError` where it holds no number."""
        return int(self.file.read_text())


@dataclass(frozen=True)
class Found:
    """The counters that may be read and are added up by scope, and why others are not."""

    zones: tuple[Zone, ...] = ()
    trouble: str = ""  #: why this machine has none, with the remedy
    closed: str = ""  #: why scopes are not measured although it has counters, with the remedy
    left_out: tuple[str, ...] = ()


def find_zones(root: Path = ROOT) -> Found:
    """What can be read of the energy of this machine's CPUs."""
    folders = sorted(root.glob("intel-rapl*:*")) if root.is_dir() else []
    zones = [zone for folder in folders if (zone := _zone(folder)) is not None]
    if not zones:
        return Found(
            trouble=f"there are no RAPL counters in {root}: virtual machines usually hide them; "
            "otherwise try `sudo modprobe intel_rapl_msr`. A wall meter (--wall-command, "
            "--wall-csv) works without them"
        )
    errors = {zone: error for zone in zones if (error := _error(zone)) is not None}
    kept, left_out = _single([zone for zone in zones if zone not in errors])
    # What another interface shows of the same counter isn't missed.
    missed = {z: e for z, e in errors.items() if z.name not in {other.name for other in kept}}
    scopes = {zone.scope for zone in missed}
    whole = [zone for zone in kept if zone.scope not in scopes]
    return Found(tuple(whole), closed=_closed(missed, root), left_out=tuple(left_out))


def _zone(folder: Path) -> Zone | None:
    """A zone as its folder tells; None for parts of others."""
    try:
        name = (folder / "name").read_text().strip()
        scope = _SCOPES.get(name.partition("-")[0])
        if scope is None or not (folder / "energy_uj").exists():
            return None
        if scope == "dram":
            name = f"{(_parent(folder) / 'name').read_text().strip()} dram"
    except OSError:
        return None
    return Zone(name, scope, folder / "energy_uj", _wraps_at(folder))


def _wraps_at(folder: Path) -> int | None:
    """Where a zone's counter ends; None where it doesn't tell, so that no step back is a wrap."""
    try:
        return int((folder / "max_energy_range_uj").read_text()) or None
    except (OSError, ValueError):
        return None


def _parent(folder: Path) -> Path:
    """``intel-rapl:0`` of ``intel-rapl:0:2``, which lies beside it as a link."""
    return folder.with_name(folder.name.rpartition(":")[0])


def _error(zone: Zone) -> OSError | ValueError | None:
    """Why a counter can't be read; None where it can."""
    try:
        zone.read_uj()
    except (OSError, ValueError) as error:
        return error
    return None


def _single(zones: Sequence[Zone]) -> tuple[list[Zone], list[str]]:
    """Each counter once, that of the CPU's own registers first, and what was left out."""
    kept: list[Zone] = []
    left_out: list[str] = []
    for zone in sorted(zones, key=lambda z: ("mmio" in z.file.parent.name, z.file.parent.name)):
        twin = next((other for other in kept if _same(zone, other)), None)
        if twin is None:
            kept.append(zone)
            continue
        left_out.append(
            f"{zone.file.parent.name} ({zone.name}) is the same counter as "
            f"{twin.file.parent.name} ({twin.name}), which is read"
        )
    return kept, left_out


def _same(zone: Zone, other: Zone) -> bool:
    if zone.name == other.name:
        return True
    dies = _DIE.fullmatch(zone.name), _DIE.fullmatch(other.name)
    if not all(dies) or dies[0][1] != dies[1][1]:  # type: ignore[index]
        return False
    return abs(zone.read_uj() - other.read_uj()) < _MIRRORED_UJ


def _closed(errors: Mapping[Zone, OSError | ValueError], root: Path) -> str:
    """Why the scopes of these counters are not measured, with the remedy; empty for none."""
    if not errors:
        return ""
    scopes = " and ".join(dict.fromkeys(zone.scope for zone in errors))
    denied = [zone.name for zone, error in errors.items() if isinstance(error, PermissionError)]
    told = [
        f"{zone.name} can't be read: {error}"
        for zone, error in errors.items()
        if not isinstance(error, PermissionError)
    ]
    if denied:
        told.append(
            f"the counters of {', '.join(denied)} are readable only by root, because they can leak "
            "secrets of other programs (CVE-2020-8694); if nobody else uses the machine: "
            f"sudo chmod a+r {root}/intel-rapl*/energy_uj"
        )
    return f"energy of {scopes}: {'; '.join(told)}"
