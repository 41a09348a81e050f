"""What a run says of itself before anything is measured: the suite, the machine, the plan."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_validator

from bench.cell import Cell, Frozen
from bench.record.result import SCHEMA_VERSION
from bench.spec import Suite


class RunHeader(Frozen):
    """What `run.json` holds."""

    schema_version: int = SCHEMA_VERSION
    bench_version: str
    created_at: str
    command: str
    suite: Suite
    targets: tuple[str, ...]
    models: tuple[str, ...]  #: as they were asked for: names, or absolute paths
    facts: dict[str, Any]
    #: what its owner calls the machine (`[machine] name` in the configuration), else the host's
    #: name; empty where that was left out, and in runs of a bench that knew no names
    machine_name: str = ""
    label: str = ""  #: what whoever measured calls this run
    cells: tuple[Cell, ...]
    #: whether the cells are a part of what the suite asks for, because other machines of a fleet
    #: measured the rest
    shared: bool = False
    #: version by distribution of each environment other than the interpreter of `bench`
    environments: dict[str, dict[str, str]] = Field(default_factory=dict)
    #: whether workers.jsonl and facts.jsonl hold what its records follow from; a run that an older
    #: bench began has neither
    keeps_raw: bool = False

    @field_validator("facts")
    @classmethod
    def _are_json(cls, facts: dict[str, Any]) -> dict[str, Any]:
        json.dumps(facts, allow_nan=False, default=str)  # ValueError: what JSON has no form for
        return facts
