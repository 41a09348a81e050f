"""The fleet file: how the cluster is reached, which nodes take part, and how each measures."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import Field, ValidationError, field_validator, model_validator

from bench.cell import Frozen
from bench.config import ENVIRONMENT_NAME
from bench.discover import nearest
from bench.errors import SpecError
from bench.runtimes.targets import parse_target
from bench.validation import first_problem, read_toml


class ClusterTable(Frozen):
    """``[cluster]``."""

    address: str | None = Field(None, min_length=1, description="address of a running cluster")


class NodeTable(Frozen):
    """``[nodes.NAME]``: one machine, found in the cluster by one of the first three keys, else by a
    host that is called NAME."""

    host: str | None = Field(None, min_length=1, description="its host name or address")
    node_id: str | None = Field(None, min_length=1, description="its id in the cluster")
    resource: str | None = Field(None, min_length=1, description="a resource that only it has")
    python: str | None = Field(None, min_length=1, description="the interpreter used for measuring")
    variables: dict[str, str] = Field(default_factory=dict, description="set there for measuring")
    kind: str | None = Field(None, min_length=1, description="nodes of a kind share their cells")
    targets: tuple[str, ...] | None = Field(None, description="only these of its targets")
    price_per_hour: float | None = Field(
        None, gt=0, lt=1e9, description="cost of the whole machine per hour"
    )
    currency: str = Field("", max_length=8, description="written after prices, for example EUR")

    @model_validator(mode="after")
    def _found_one_way(self) -> NodeTable:
        ways = [name for name in ("host", "node_id", "resource") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"give only one of {', '.join(ways)} to identify a node")
        return self

    @field_validator("variables")
    @classmethod
    def _can_be_set(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name or "=" in name or "\0" in name + text:
                raise ValueError(f"{name!r} can't be the name of an environment variable")
        return value

    @field_validator("targets")
    @classmethod
    def _are_targets(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            try:
                parse_target(text)
            except SpecError as error:
                raise ValueError(str(error)) from error
        return value


class FleetFile(Frozen):
    """A fleet file. Without ``[nodes]`` every node of the cluster takes part, under its machine
    name; else those that are named."""

    cluster: ClusterTable = ClusterTable()
    nodes: dict[str, NodeTable] = Field(default_factory=dict)

    @field_validator("nodes")
    @classmethod
    def _named_well(cls, value: dict[str, NodeTable]) -> dict[str, NodeTable]:
        found: dict[tuple[str | None, ...], str] = {}
        for name, table in value.items():
            if not ENVIRONMENT_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a valid node name: use letters, digits, '.', '_' and '-'"
                )
            way = (table.host, table.node_id, table.resource)
            place = way if any(way) else (name, None, None)
            if place in found:
                raise ValueError(f"{found[place]} and {name} would be the same machine")
            found[place] = name
        return value

    def node(self, name: str) -> NodeTable:
        """What is said of a node; nothing of one that isn't named."""
        return self.nodes.get(name) or NodeTable()


def load_fleet(path: Path) -> FleetFile:
    """Read a fleet file. Raises `SpecError` that names the file and the key."""
    try:
        return FleetFile.model_validate(read_toml(path, "fleet file"))
    except ValidationError as error:
        known = [*FleetFile.model_fields, *ClusterTable.model_fields, *NodeTable.model_fields]
        raise SpecError(f"{path}: {first_problem(error, known)}") from error


def refuse_unknown(file: FleetFile, present: Collection[str], path: object) -> None:
    """Raises `SpecError` for a node of the file that isn't in the cluster, whose nodes are called
    ``present``."""
    missing = [name for name in file.nodes if name not in present]
    if not missing:
        return
    close = nearest(missing[0], present)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    raise SpecError(
        f"{path}: no node of the cluster is called `{'`, `'.join(missing)}`. {hint}The cluster "
        "has: "
        f"{', '.join(present) or 'no node'}."
    )
