"""A merged run: a folder with the runs of several machines, as a fleet or a merge makes it.

```text
<folder>/
  fleet.json               what it is made of (`MergedRun`)
  machines/NAME/           the run directory of that machine, as `bench run` writes one
  machines/NAME/RUN/       each of them, where a machine has several
```

Everything that reads, derives or checks a run directory works on those below unchanged, and
whoever reads runs below a folder (`bench.store.find.find_runs`) finds them: ``fleet.json`` only
says what was put together. To make one: `machine_folder` says where a machine's run belongs,
`write_merged` writes ``fleet.json``, whole or not at all, as often as there is news.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from bench import __version__
from bench.cell import Cell, Frozen
from bench.errors import SpecError
from bench.files import file_stem, write_text
from bench.spec import Suite
from bench.validation import first_problem, refuse_newer

FILE = "fleet.json"
MACHINES = "machines"
MERGED_VERSION = 1


class MergedMachine(Frozen):
    """A machine of a merged run, and where its runs are."""

    name: str  #: unique within the merged run
    runs: tuple[str, ...]  #: folders within the merged run, with ``/`` between the parts
    #: of a fleet: its clock minus the driver's, in s; times in its files are its own
    clock_offset_s: float | None = None
    remarks: tuple[str, ...] = ()  #: of a fleet: what whoever reads the figures has to be told
    price_per_hour: float | None = Field(None, gt=0, lt=1e9)  #: of a fleet whose file says so
    currency: str = ""


class LeftOut(Frozen):
    """A record that was left out, because a later one of the same cell counts."""

    cell_id: str
    cell: str  #: in words
    finished_at: str


class MergedRun(Frozen):
    """What `fleet.json` holds."""

    schema_version: int = MERGED_VERSION
    made_by: Literal["fleet", "merge"]
    bench_version: str = __version__  #: of the driver, or of the merge
    label: str = ""
    created_at: str  #: ISO 8601, UTC: when the fleet began; of a merge that of its first run
    machines: tuple[MergedMachine, ...] = ()
    #: what the fleet was asked for and the cells it planned; a merge has only what its runs say
    suite: Suite | None = None
    plan: tuple[Cell, ...] = ()
    #: of a merge the measurements that another one of the same cell on the same machine replaces
    left_out: tuple[LeftOut, ...] = ()


def machine_folder(folder: Path, name: str) -> Path:
    """Where the run of a machine belongs in the merged run in ``folder``.

    Two names give two folders, on file systems that don't tell A from a as well.
    """
    if name == name.lower():
        return folder / MACHINES / file_stem(name)
    # The space makes it a name that isn't plain, so that it gets a digest, which tells it from one
    # that differs in case alone.
    return folder / MACHINES / file_stem(f"{name} ")


def write_merged(folder: Path, merged: MergedRun) -> None:
    """Write `fleet.json`; one that was there is replaced when the new one is whole.

    Raises `SpecError` where it can't be written.
    """
    write_text(folder / FILE, merged.model_dump_json(indent=1) + "\n")


def read_merged(folder: Path) -> MergedRun | None:
    """What `fleet.json` of a folder says; None where there is none.

    Fields that this bench doesn't know are left out. Raises `SpecError` where it is broken, or was
    written by a newer schema.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SpecError(f"{path}: can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: can't be read as a merged run: {error}.") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    refuse_newer(path, version, MERGED_VERSION)
    try:
        return MergedRun.model_validate(data, extra="ignore")
    except ValidationError as error:
        raise SpecError(f"{path}: {first_problem(error, MergedRun.model_fields)}") from error
